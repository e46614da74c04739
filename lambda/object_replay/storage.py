"""Objects in S3, read and written as streams."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.session import Session

from object_replay.aws_errors import (
    ABSENT,
    CONFLICT,
    DENIED,
    PASSING,
    code_of,
    described,
    explained,
    is_passing,
)
from object_replay.faults import Denied, ObjectFailure, ReplayStopped, Throttled, Unreadable
from object_replay.settings import MAX_CALLS, Run
from object_replay.uploads import STARTED, Upload, condition_on, head

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import ErrorTypeDef

CHUNK = 1 << 20
"""Bytes read at once."""
CONNECTIONS = 16
"""Requests to S3 at the same time."""
REMOVALS = 3
"""Tries to remove an object before it is left to the step's repetition."""

_NOT_IN_ONE = {"InvalidRequest", "NotImplemented"}
"""What S3 answers to a copy of more than 5 GB, and where it knows no condition on a copy."""


_ARCHIVED = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes whose objects are read only while a restored copy exists. `GLACIER_IR` is read at once."""
_UNKNOWN = datetime(1, 1, 1, tzinfo=UTC)


class Availability(StrEnum):
    """Whether an object can be read."""

    READABLE = "READABLE"
    ARCHIVED = "ARCHIVED"
    """In S3 Glacier Flexible Retrieval, S3 Glacier Deep Archive or an archive tier, and not restored."""
    BEING_RESTORED = "BEING_RESTORED"


@dataclass(frozen=True)
class StoredObject:
    """What S3 says of an object without reading it."""

    key: str
    size: int
    last_modified: datetime = _UNKNOWN
    availability: Availability = Availability.READABLE
    etag: str = ""
    """Without quotes. Of the bytes of an object that was written at once: equal bytes have equal ETags."""
    version: str = ""
    """`null` for objects that are older than the bucket's versions; empty in a bucket without versions."""

    @property
    def is_folder(self) -> bool:
        """Whether it is what the console makes for a folder."""
        return self.key.endswith("/") and not self.size


@dataclass
class Storage:
    """Objects in S3, read and written as streams.

    Args:
        s3: A boto3 client.
    """

    s3: S3Client

    def list(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """The objects under the prefix, in the order of their keys."""
        with explained(f"list s3://{bucket}/{prefix}"):
            # With the status a listing says in one request what HeadObject says of an object each; it takes no other
            # permission. A restored object keeps its storage class.
            pages = self.s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"]
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    status = item.get("RestoreStatus")
                    if status and status.get("IsRestoreInProgress"):
                        availability = Availability.BEING_RESTORED
                    elif item.get("StorageClass") in _ARCHIVED and not status:
                        availability = Availability.ARCHIVED
                    else:
                        availability = Availability.READABLE
                    yield StoredObject(
                        item["Key"], item["Size"], item.get("LastModified", _UNKNOWN), availability
                    )

    def look_at(self, bucket: str, key: str) -> StoredObject | None:
        """What S3 says of one object; None if it is not there, or denied."""
        with explained(f"look at s3://{bucket}/{key}"):
            found = head(self.s3, bucket, key)
        return found and self._stored(key, found)

    def current(self, bucket: str, key: str) -> StoredObject | None:
        """What S3 says of one object; None if it is not there.

        Raises:
            Unreadable: It is denied.
            ObjectFailure: S3 says nothing of it, as of one that is encrypted with a key of the user's.
            Throttled: S3 is busy.
        """
        try:
            return self._stored(key, self.s3.head_object(Bucket=bucket, Key=key))
        except ClientError as error:
            code = code_of(error)
            if code in ABSENT or (code in DENIED and self._is_missing(bucket, key)):
                return None
            if is_passing(error):
                raise Throttled(f"cannot look at s3://{bucket}/{key}: {described(error)}") from error
            kind = Unreadable if code in DENIED else ObjectFailure
            raise kind(f"cannot be looked at: {described(error)}") from error
        except BotoCoreError as error:
            raise Throttled(f"cannot look at s3://{bucket}/{key}: {described(error)}") from error

    @staticmethod
    def _stored(key: str, found: Mapping[str, Any]) -> StoredObject:
        restore = found.get("Restore", "")
        # Only here S3 tells the archive tiers of S3 Intelligent-Tiering: listings give the class alone.
        if 'ongoing-request="true"' in restore:
            availability = Availability.BEING_RESTORED
        elif not restore and (found.get("StorageClass") in _ARCHIVED or found.get("ArchiveStatus")):
            availability = Availability.ARCHIVED
        else:
            availability = Availability.READABLE
        return StoredObject(
            key,
            found["ContentLength"],
            found["LastModified"],
            availability,
            etag=found["ETag"].strip('"'),
            version=found.get("VersionId", ""),
        )

    def read(self, bucket: str, key: str) -> Iterator[bytes]:
        """The object's bytes in chunks; a broken connection is taken up again where it broke.

        Raises:
            Unreadable: It is denied.
            ObjectFailure: It is missing, or cannot be read.
            Throttled: S3 is busy, the connection broke again and again, or the object was replaced meanwhile.
        """
        offset, etag, attempts = 0, "", 0
        while True:
            try:
                rest: dict[str, Any] = {"Range": f"bytes={offset}-", "IfMatch": etag} if offset else {}
                response = self.s3.get_object(Bucket=bucket, Key=key, **rest)
                etag = response["ETag"]
                while chunk := response["Body"].read(CHUNK):
                    offset, attempts = offset + len(chunk), 0
                    yield chunk
                return
            except ClientError as error:
                if code_of(error) == "NoSuchBucket":
                    raise ReplayStopped(f"cannot read s3://{bucket}: {described(error)}") from error
                if is_passing(error) or (offset and code_of(error) in CONFLICT):
                    raise Throttled(f"cannot read s3://{bucket}/{key}: {described(error)}") from error
                if code_of(error) in DENIED:
                    if self._is_missing(bucket, key):
                        raise ObjectFailure("cannot be read: it is not there") from error
                    raise Unreadable(f"cannot be read: {described(error)}") from error
                raise ObjectFailure(f"cannot be read: {described(error)}") from error
            except (BotoCoreError, OSError) as error:
                attempts += 1
                if attempts == 3:
                    raise Throttled(f"cannot read s3://{bucket}/{key}: {described(error)}") from error

    def _is_missing(self, bucket: str, key: str) -> bool:
        """Whether a listing lacks the object: without an unconditional s3:ListBucket S3 denies what is missing, too."""
        try:
            found = next(self.list(bucket, key), None)
        except (ReplayStopped, Throttled):
            return False
        return found is None or found.key != key

    def read_json(self, bucket: str, key: str) -> Any:
        """The object's content as JSON, of an object of the run's own."""
        try:
            return json.loads(b"".join(self.read(bucket, key)))
        except Unreadable as error:
            raise Denied(f"s3://{bucket}/{key} {error}") from error
        except ObjectFailure as error:
            raise ReplayStopped(f"s3://{bucket}/{key} {error}") from error

    def write_json(self, bucket: str, key: str, value: Any) -> None:
        """Writes the value as one JSON object."""
        with self.upload(bucket, key) as upload:
            # Half of a surrogate pair is no text: a reader could not write it again.
            upload.write(json.dumps(value, indent=1, ensure_ascii=False).encode(errors="replace"))

    def upload(self, bucket: str, key: str, *, run: Run | None = None, shared: bool = True) -> Upload:
        """An object that is written whole or not at all; see `Upload`."""
        return Upload(self.s3, bucket, key, run=run, shared=shared)

    def copy(self, bucket: str, key: str, target: str, *, run: Run) -> bool:
        """Copies an object within its bucket, in S3; a target that a run wrote that began later stays.

        Args:
            bucket: Where both are.
            key: What is copied, its metadata too.
            target: As what.
            run: The run that copies.

        Returns:
            Whether there was anything to copy.

        Raises:
            Superseded: A run that began later has written the target.
        """
        with explained(f"write s3://{bucket}/{target}"):
            for _ in range(5):
                try:
                    self._copy(bucket, key, target, run, condition_on(self.s3, bucket, target, run))
                    return True
                except ClientError as error:
                    if code_of(error) in ABSENT | DENIED and self._is_missing(bucket, key):
                        return False
                    if code_of(error) not in CONFLICT | ABSENT:
                        raise
        raise Throttled(f"s3://{bucket}/{target} is being written by another run")

    def _copy(self, bucket: str, key: str, target: str, run: Run, condition: dict[str, str]) -> None:
        source: Any = {"Bucket": bucket, "Key": key}
        try:
            self.s3.copy_object(Bucket=bucket, Key=target, CopySource=source, **condition)  # type: ignore[arg-type] # IfMatch or IfNoneMatch
            return
        except ParamValidationError:
            pass  # a boto3 that is older than conditions on copies
        except ClientError as error:
            if code_of(error) not in _NOT_IN_ONE:
                raise
        Upload(self.s3, bucket, target, run=run).copy(source, condition)

    def started(self, bucket: str, key: str) -> str:
        """When the run began that wrote the object; an empty text when there is none, or no run wrote it."""
        with explained(f"look at s3://{bucket}/{key}"):
            found = head(self.s3, bucket, key)
        return found["Metadata"].get(STARTED, "") if found else ""

    def remove_errors(self, bucket: str, key: str, *, run: Run, own: bool) -> None:
        """Removes the object if an earlier run wrote it, or this one (`own`); what a later run wrote stays."""
        with explained(f"remove s3://{bucket}/{key}"):
            found = head(self.s3, bucket, key)
            started = found["Metadata"].get(STARTED, "") if found else ""
            if not found or not started or started > run.started or (started == run.started and not own):
                return
            try:
                self.s3.delete_object(Bucket=bucket, Key=key, IfMatch=found["ETag"])
            except ClientError as error:
                if code_of(error) not in CONFLICT | ABSENT:  # else another run was faster
                    raise

    def remove(self, bucket: str, key: str) -> None:
        """Removes the object, if it is there."""
        with explained(f"remove s3://{bucket}/{key}"):
            self.s3.delete_object(Bucket=bucket, Key=key)

    def remove_all(self, bucket: str, prefix: str) -> None:
        """Removes every object under the prefix."""
        self.remove_each(bucket, [item.key for item in self.list(bucket, prefix)])

    def remove_each(self, bucket: str, keys: Sequence[str]) -> None:
        """Removes the objects, those that are there, a thousand with a request.

        S3 answers for each key: one that failed is no reason to keep the others.

        Raises:
            ReplayStopped: Some cannot be removed; all others are.
            Throttled: Some may be removed later; all others are.
        """
        left, final = list(keys), None
        for _ in range(REMOVALS):
            errors = list(self._refused(bucket, left))
            final = next((error for error in errors if error.get("Code") not in PASSING), final)
            left = [error.get("Key", "") for error in errors if error.get("Code") in PASSING]
            if not left:
                break
        if error := final or next(iter(errors), None):
            kind = Denied if error.get("Code") in DENIED else ReplayStopped if final else Throttled
            raise kind(
                f"cannot remove s3://{bucket}/{error.get('Key')}: {error.get('Code')}: {error.get('Message')}"
            )

    def _refused(self, bucket: str, keys: Sequence[str]) -> Iterator[ErrorTypeDef]:
        """Removes the objects, and gives the errors of those that S3 did not remove."""
        for some in (keys[first : first + 1000] for first in range(0, len(keys), 1000)):
            with explained(f"remove s3://{bucket}/{some[0]}"):
                answer = self.s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
            yield from answer.get("Errors", ())


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in the chunks, without their ends."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def connect() -> tuple[S3Client, LambdaClient]:
    """Clients for the real thing: time enough for the longest function, and boto3's standard retries for S3.

    A call of the user's function is sent once: boto3 would repeat one that may have run.
    """
    # Half a minute of pauses at most, which is within the time that a worker keeps; past that the state machine waits.
    # A bare botocore session: boto3's resource layer costs start-up time and is not used.
    session = Session()
    retries: Any = {"mode": "standard", "total_max_attempts": 6}
    s3 = session.create_client(
        "s3",
        config=Config(
            retries=retries, read_timeout=60, connect_timeout=10, max_pool_connections=2 * MAX_CALLS
        ),
    )
    once: Any = {"mode": "standard", "total_max_attempts": 1}
    functions = session.create_client(
        "lambda",
        config=Config(
            retries=once,
            read_timeout=905,
            connect_timeout=10,
            tcp_keepalive=True,
            max_pool_connections=MAX_CALLS,
        ),
    )
    return s3, functions  # type: ignore[return-value] # botocore's clients are untyped
