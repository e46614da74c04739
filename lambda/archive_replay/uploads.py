"""Objects on their way to S3: written whole or not at all, and never over what a later run has written."""

from __future__ import annotations

import zlib
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from archive_replay.aws_errors import ABSENT, CONFLICT, DENIED, code_of, explained
from archive_replay.faults import Superseded, Throttled

if TYPE_CHECKING:
    from types import TracebackType

    from mypy_boto3_s3.client import S3Client

PART = 8 << 20
"""Bytes held back before a part is uploaded (S3: parts of 5 MiB or more, but the last)."""
COPY_PART = 1 << 30
"""Bytes in a part of an object that is copied in parts (S3: 5 GiB or less)."""
COMPRESSION_LEVEL = 6
STARTED = "replay-started"
"""Metadata of every result: when the run began that wrote it. An older run never replaces a newer run's result."""


@dataclass
class Upload:
    """One object on its way to S3; leaving the `with` block completes it, an exception leaves nothing behind.

    Up to one part it is a single request, past that a multipart upload, so that memory stays flat.
    """

    s3: S3Client
    bucket: str
    key: str
    compress: bool
    started: str
    shared: bool = True
    written: int = 0
    """Bytes in the object so far."""
    _held: bytearray = field(default_factory=bytearray)
    _upload_id: str = ""
    _parts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # zlib's own gzip header bears neither time nor name: the same content gives the same bytes.
        self._gzip = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 31) if self.compress else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._explained():
                    self._complete()
        finally:
            self._abort()

    def write(self, data: bytes) -> None:
        """Adds to the object."""
        self._hold(self._gzip.compress(data) if self._gzip else data)

    def copy(self, source: Any, size: int, condition: dict[str, str]) -> None:
        """Makes the object of another one, in parts: conditions on those are as old as conditional writes.

        Args:
            source: boto3's `CopySource`.
            size: Its bytes.
            condition: On what the object depends.
        """
        try:
            self._begin()
            for first in range(0, size, COPY_PART):
                number = len(self._parts) + 1
                answer = self.s3.upload_part_copy(
                    Bucket=self.bucket,
                    Key=self.key,
                    UploadId=self._upload_id,
                    PartNumber=number,
                    CopySource=source,
                    CopySourceRange=f"bytes={first}-{min(first + COPY_PART, size) - 1}",
                )
                self._parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            self._put(condition)
        finally:
            self._abort()

    def _hold(self, data: bytes) -> None:
        self.written += len(data)
        self._held += data
        while len(self._held) >= PART:
            with self._explained():
                self._send(bytes(self._held[:PART]))
            del self._held[:PART]

    def _send(self, part: bytes) -> None:
        if not self._upload_id:
            self._begin()
        number = len(self._parts) + 1
        response = self.s3.upload_part(
            Bucket=self.bucket, Key=self.key, UploadId=self._upload_id, PartNumber=number, Body=part
        )
        self._parts.append({"PartNumber": number, "ETag": response["ETag"]})

    def _begin(self) -> None:
        self._upload_id = self.s3.create_multipart_upload(
            Bucket=self.bucket, Key=self.key, **self._metadata()
        )["UploadId"]

    def _complete(self) -> None:
        if self._gzip:
            self._hold(self._gzip.flush())
        if self._upload_id and self._held:
            self._send(bytes(self._held))
        for _ in range(5):
            try:
                self._put(condition_on(self.s3, self.bucket, self.key, self.started) if self.shared else {})
                return
            except ClientError as error:
                if not self.started or code_of(error) not in CONFLICT | ABSENT:
                    raise
                if self._upload_id:
                    break  # S3 wants the parts anew after a conflict
        raise Throttled(f"s3://{self.bucket}/{self.key} is being written by another run")

    def _put(self, condition: dict[str, str]) -> None:
        if self._upload_id:
            self.s3.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},  # type: ignore[typeddict-item] # as S3 gave them
                **condition,  # type: ignore[arg-type] # IfMatch or IfNoneMatch
            )
            self._upload_id = ""
        else:
            self.s3.put_object(
                Bucket=self.bucket,
                Key=self.key,
                Body=bytes(self._held),
                **self._metadata(),
                **condition,  # type: ignore[arg-type] # IfMatch or IfNoneMatch
            )

    def _metadata(self) -> dict[str, Any]:
        return {"Metadata": {STARTED: self.started}} if self.started else {}

    def _abort(self) -> None:
        if self._upload_id:
            # What cannot be aborted is left to the bucket's lifecycle rule; the first error matters more.
            with suppress(ClientError, BotoCoreError):
                self.s3.abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=self._upload_id)
            self._upload_id = ""

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"write s3://{self.bucket}/{self.key}")


def head(s3: S3Client, bucket: str, key: str) -> Any:
    """What S3 says of the object; None when it is not there."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # 403 is what S3 says of a missing object to those who may list only a part of the bucket.
        if code_of(error) in ABSENT | DENIED:
            return None
        raise


def condition_on(s3: S3Client, bucket: str, key: str, started: str) -> dict[str, str]:
    """On what a write depends, so that of two runs the later one wins, whichever ends last."""
    if not started:
        return {}
    found = head(s3, bucket, key)
    if found is None:
        return {"IfNoneMatch": "*"}
    if found["Metadata"].get(STARTED, "") > started:
        raise Superseded(f"s3://{bucket}/{key} was written by a run that began later")
    return {"IfMatch": found["ETag"]}
