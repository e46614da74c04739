"""Objects on their way to S3: written whole or not at all, and never over what a later run has written."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from object_replay.aws_errors import ABSENT, CONFLICT, DENIED, code_of, explained
from object_replay.faults import Superseded, Throttled
from object_replay.gzip_stream import GzipStream
from object_replay.settings import Run

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

    Args:
        s3: A boto3 client.
        bucket: Where.
        key: As what.
        run: The run whose result, or whose errors, it is: it is gzip then, and bears the run's name and start. None is
            an object of the run's own folder, as it is.
        shared: Whether other runs write there too: then a result of a run that began later stays.
    """

    s3: S3Client
    bucket: str
    key: str
    run: Run | None = None
    shared: bool = True
    written: int = 0
    """Bytes in the object so far."""
    _held: bytearray = field(default_factory=bytearray)
    _upload_id: str = ""
    _parts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # S3's ETag is the MD5 of the bytes, and conditions on writes go by it: results of two runs must differ in their
        # bytes though their content is equal, or one that was written in the meantime looks like the one before.
        name = self.run and f"{self.run.name} {self.run.started}"
        self._gzip = GzipStream(name, level=COMPRESSION_LEVEL) if name else None

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

    def copy(self, source: Any, condition: dict[str, str]) -> None:
        """Makes the object of another one, in parts: conditions on those are as old as conditional writes.

        Args:
            source: boto3's `CopySource`.
            condition: On what the object depends.
        """
        found = self.s3.head_object(**source)
        size = found["ContentLength"]
        try:
            self._begin()
            for first in range(0, max(size, 1), COPY_PART):
                number = len(self._parts) + 1
                last = min(first + COPY_PART, size) - 1
                # Of a source of 5 MB or less S3 copies no range.
                part: dict[str, Any] = (
                    {"CopySourceRange": f"bytes={first}-{last}"} if size > COPY_PART else {}
                )
                answer = self.s3.upload_part_copy(
                    Bucket=self.bucket,
                    Key=self.key,
                    UploadId=self._upload_id,
                    PartNumber=number,
                    CopySource=source,
                    CopySourceIfMatch=found["ETag"],
                    **part,
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
                self._put(
                    condition_on(self.s3, self.bucket, self.key, self.run) if self.shared and self.run else {}
                )
                return
            except ClientError as error:
                if not self.run or code_of(error) not in CONFLICT | ABSENT:
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
        return {"Metadata": {STARTED: self.run.started}} if self.run else {}

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


def condition_on(s3: S3Client, bucket: str, key: str, run: Run) -> dict[str, str]:
    """On what a write depends, so that of two runs the later one wins, whichever ends last."""
    found = head(s3, bucket, key)
    if found is None:
        return {"IfNoneMatch": "*"}
    if found["Metadata"].get(STARTED, "") > run.started:
        raise Superseded(f"s3://{bucket}/{key} was written by a run that began later")
    return {"IfMatch": found["ETag"]}
