"""Where objects are kept: S3, a folder, or this process."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


_UNFINISHED = ".unfinished-"


class StorageError(Exception):
    """An object could not be read, written or listed; the text says which and why."""


@dataclass(frozen=True)
class Entry:
    """One object in a listing, its size in bytes."""

    key: str
    size: int


class ObjectStore(Protocol):
    """The part of S3 that channels and data stores need. All calls may come from several threads."""

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Writes one object."""

    def get(self, bucket: str, key: str) -> bytes:
        """Reads one object."""

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """All objects whose keys begin with the prefix, in the order of their keys."""


class S3Store:
    """Objects in S3, at the endpoint and with the credentials that the environment names."""

    def __init__(self) -> None:
        self._s3: S3Client = boto3.client(
            "s3",
            # Path style, because an emulator on loopback has no host name for each bucket.
            config=Config(max_pool_connections=32, s3={"addressing_style": "path"}),
        )

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Writes one object."""
        try:
            self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/gzip")
        except (ClientError, BotoCoreError) as error:
            raise StorageError(f"'{key}' cannot be written to bucket '{bucket}': {error}") from error

    def get(self, bucket: str, key: str) -> bytes:
        """Reads one object."""
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise StorageError(f"'{key}' cannot be read from bucket '{bucket}': {error}") from error

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """All objects whose keys begin with the prefix, in the order of their keys."""
        try:
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield Entry(key=found["Key"], size=found["Size"])
        except (ClientError, BotoCoreError) as error:
            raise StorageError(f"bucket '{bucket}' cannot be listed: {error}") from error


class FolderStore:
    """Objects as files: a folder for each bucket, and in it a file at each key.

    For what the service keeps for itself: those keys are made here, none comes from a request.

    Args:
        folder: The folder of the buckets; it is made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Writes one object."""
        file = self._file(bucket, key)
        unfinished = file.with_name(f"{_UNFINISHED}{uuid.uuid4()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(body)
            # Nobody ever sees half an object.
            unfinished.replace(file)
        except OSError as error:
            raise StorageError(f"'{key}' cannot be written to bucket '{bucket}': {error}") from error

    def get(self, bucket: str, key: str) -> bytes:
        """Reads one object."""
        try:
            return self._file(bucket, key).read_bytes()
        except OSError as error:
            raise StorageError(f"'{key}' cannot be read from bucket '{bucket}': {error}") from error

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """All objects whose keys begin with the prefix, in the order of their keys."""
        folder = self._folder / bucket
        files = (
            file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(_UNFINISHED)
        )
        for key, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
            if key.startswith(prefix):
                yield Entry(key=key, size=file.stat().st_size)

    def _file(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / key


class MemoryStore:
    """Objects in this process: what the service keeps for itself, and tests without S3.

    Args:
        buckets: The buckets that there are. Without it every bucket is.
    """

    def __init__(self, *buckets: str) -> None:
        self._buckets = frozenset(buckets)
        self._objects: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Writes one object."""
        self._need(bucket)
        with self._lock:
            self._objects[bucket, key] = body

    def get(self, bucket: str, key: str) -> bytes:
        """Reads one object."""
        self._need(bucket)
        with self._lock:
            if (bucket, key) not in self._objects:
                raise StorageError(f"'{key}' cannot be read from bucket '{bucket}': it is not there")
            return self._objects[bucket, key]

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """All objects whose keys begin with the prefix, in the order of their keys."""
        self._need(bucket)
        with self._lock:
            found = [
                Entry(key=key, size=len(body))
                for (its_bucket, key), body in self._objects.items()
                if its_bucket == bucket and key.startswith(prefix)
            ]
        yield from sorted(found, key=lambda entry: entry.key)

    def _need(self, bucket: str) -> None:
        if self._buckets and bucket not in self._buckets:
            raise StorageError(f"bucket '{bucket}' does not exist")
