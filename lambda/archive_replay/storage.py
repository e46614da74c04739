"""All that talks to AWS: objects in S3, and the user's function. Everything else works on bytes and dataclasses."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.session import Session

if TYPE_CHECKING:
    from types import TracebackType

    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client

CHUNK = 1 << 20
PART = 8 << 20
"""Bytes held back before a part is uploaded (S3: parts of 5 MiB or more, but the last)."""
COPY_PART = 1 << 30
"""Bytes in a part of an object that is copied in parts (S3: 5 GiB or less)."""
COMPRESSION_LEVEL = 6
STARTED = "replay-started"
"""Metadata of every result: when the run began that wrote it. An older run never replaces a newer run's result."""

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_DENIED = {"403", "AccessDenied", "AccessDeniedException", "Forbidden", "AllAccessDisabled"}
_CONFLICT = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}
_NOT_IN_ONE = {"InvalidRequest", "NotImplemented"}
"""What S3 answers to a copy of more than 5 GB, and where it knows no condition on a copy."""
_BUSY = {
    "TooManyRequestsException",
    "ThrottlingException",
    "ResourceNotReadyException",
    "ResourceConflictException",
    "SnapStartNotReadyException",
}
_TOO_LARGE = {
    "RequestTooLargeException",
    "RequestEntityTooLargeException",
    "InvalidRequestContentException",
    "413",
}


class ObjectFailure(Exception):
    """One object cannot be replayed; the text says why. The others can."""


class Superseded(ObjectFailure):
    """A run that began later has written this object's result already."""


class ReplayStopped(Exception):
    """Nothing can be replayed, or too much has failed: going on would be a waste."""


class Denied(ReplayStopped):
    """What is not allowed: it may still become so, for IAM takes a while to hear of a new policy."""


class Throttled(Exception):
    """AWS asks to come back later, after boto3's own retries: the state machine repeats the batch with back-off."""


class FunctionFailed(Exception):
    """The user's function failed on this payload."""


@dataclass(frozen=True)
class StoredObject:
    """What a listing says of an object."""

    key: str
    size: int


@dataclass
class Storage:
    """Objects in S3, read and written as streams.

    Args:
        s3: A boto3 client.
    """

    s3: S3Client

    def list(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """The objects under the prefix, in the order of their keys."""
        with _explained(f"list s3://{bucket}/{prefix}"):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    yield StoredObject(key=item["Key"], size=item["Size"])

    def read(self, bucket: str, key: str) -> Iterator[bytes]:
        """The object's bytes in chunks; a broken connection is taken up again where it broke.

        Raises:
            ObjectFailure: It is missing, denied, or the connection broke again and again.
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
                if _code(error) == "NoSuchBucket":
                    raise ReplayStopped(f"cannot read s3://{bucket}: {_text(error)}") from error
                if _is_passing(error):
                    raise Throttled(f"cannot read s3://{bucket}/{key}: {_text(error)}") from error
                if _code(error) in _DENIED:
                    # Without an unconditional s3:ListBucket S3 answers 403 for a missing object too.
                    raise ObjectFailure(f"cannot be read: {_text(error)} (or it is not there)") from error
                raise ObjectFailure(f"cannot be read: {_text(error)}") from error
            except (BotoCoreError, OSError) as error:
                attempts += 1
                if attempts == 3:
                    raise ObjectFailure(f"cannot be read: {_text(error)}") from error

    def read_json(self, bucket: str, key: str) -> Any:
        """The object's content as JSON."""
        return json.loads(b"".join(self.read(bucket, key)))

    def write_json(self, bucket: str, key: str, value: Any) -> None:
        """Writes the value as one JSON object."""
        with self.upload(bucket, key) as upload:
            upload.write(json.dumps(value, indent=1).encode())

    def upload(
        self, bucket: str, key: str, *, compress: bool = False, started: str = "", shared: bool = True
    ) -> Upload:
        """An object that is written whole or not at all.

        Args:
            bucket: Where.
            key: As what.
            compress: Whether to gzip what is written.
            started: When the run began that writes it; a result of a run that began later then stays.
            shared: Whether other runs write there too.
        """
        return Upload(self.s3, bucket, key, compress=compress, started=started, shared=shared)

    def copy(self, bucket: str, key: str, target: str, *, started: str) -> bool:
        """Copies an object within its bucket, in S3; a target that a run wrote that began later stays.

        Args:
            bucket: Where both are.
            key: What is copied, its metadata too.
            target: As what.
            started: When the run began that copies.

        Returns:
            Whether there was anything to copy.

        Raises:
            Superseded: A run that began later has written the target.
        """
        with _explained(f"write s3://{bucket}/{target}"):
            for _ in range(5):
                try:
                    self._copy(bucket, key, target, started, _condition(self.s3, bucket, target, started))
                    return True
                except ClientError as error:
                    if _code(error) in _ABSENT | _DENIED and _head(self.s3, bucket, key) is None:
                        return False
                    if _code(error) not in _CONFLICT | _ABSENT:
                        raise
        raise Throttled(f"s3://{bucket}/{target} is being written by another run")

    def _copy(self, bucket: str, key: str, target: str, started: str, condition: dict[str, str]) -> None:
        source: Any = {"Bucket": bucket, "Key": key}
        try:
            self.s3.copy_object(Bucket=bucket, Key=target, CopySource=source, **condition)  # type: ignore[arg-type] # IfMatch or IfNoneMatch
            return
        except ParamValidationError:
            pass  # a boto3 that is older than conditions on copies
        except ClientError as error:
            if _code(error) not in _NOT_IN_ONE:
                raise
        size = self.s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
        upload = Upload(self.s3, bucket, target, compress=False, started=started)
        upload.copy(source, size, condition)

    def started(self, bucket: str, key: str) -> str:
        """When the run began that wrote the object; an empty text when there is none, or no run wrote it."""
        with _explained(f"look at s3://{bucket}/{key}"):
            found = _head(self.s3, bucket, key)
        return found["Metadata"].get(STARTED, "") if found else ""

    def remove(self, bucket: str, key: str) -> None:
        """Removes the object, if it is there."""
        with _explained(f"remove s3://{bucket}/{key}"):
            self.s3.delete_object(Bucket=bucket, Key=key)

    def remove_all(self, bucket: str, prefix: str) -> None:
        """Removes every object under the prefix."""
        self.remove_each(bucket, [item.key for item in self.list(bucket, prefix)])

    def remove_each(self, bucket: str, keys: Sequence[str]) -> None:
        """Removes the objects, those that are there, a thousand with a request."""
        for some in (keys[first : first + 1000] for first in range(0, len(keys), 1000)):
            with _explained(f"remove s3://{bucket}/{some[0]}"):
                answer = self.s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
            for error in answer.get("Errors", ()):
                raise ReplayStopped(
                    f"cannot remove s3://{bucket}/{error.get('Key')}: {error.get('Code')}: {error.get('Message')}"
                )


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
                self._put(_condition(self.s3, self.bucket, self.key, self.started) if self.shared else {})
                return
            except ClientError as error:
                if not self.started or _code(error) not in _CONFLICT | _ABSENT:
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
        return _explained(f"write s3://{self.bucket}/{self.key}")


@dataclass
class Functions:
    """The user's function, called synchronously.

    Args:
        client: A boto3 client.
        arn: The function, with its alias or version if it has one.
    """

    client: LambdaClient
    arn: str

    def invoke(self, payload: bytes) -> bytes:
        """What the function gives for the payload.

        Raises:
            FunctionFailed: It raised, timed out, or gave or was given too much.
            Throttled: It did not run, and may later.
            ReplayStopped: It can never run.
        """
        try:
            response = self.client.invoke(FunctionName=self.arn, Payload=payload)
            body = response["Payload"].read()
        except ClientError as error:
            if _code(error) in _TOO_LARGE:
                raise FunctionFailed(_text(error)) from error
            if _code(error) in _BUSY or _is_passing(error):
                raise Throttled(f"cannot invoke {self.arn}: {_text(error)}") from error
            raise ReplayStopped(f"cannot invoke {self.arn}: {_text(error)}") from error
        except (BotoCoreError, OSError) as error:
            raise Throttled(f"cannot invoke {self.arn}: {_text(error)}") from error
        if response.get("FunctionError"):
            raise FunctionFailed(_error_of(body))
        return body


def connect() -> tuple[S3Client, LambdaClient]:
    """Clients for the real thing: boto3's standard retries, and time enough for the longest function."""
    # A bare botocore session: boto3's resource layer costs start-up time and is not used.
    session = Session()
    retries: Any = {"mode": "standard", "total_max_attempts": 8}
    s3 = session.create_client("s3", config=Config(retries=retries, read_timeout=60, connect_timeout=10))
    functions = session.create_client(
        "lambda", config=Config(retries=retries, read_timeout=905, connect_timeout=10, tcp_keepalive=True)
    )
    return s3, functions  # type: ignore[return-value] # botocore's clients are untyped


def _head(s3: S3Client, bucket: str, key: str) -> Any:
    """What S3 says of the object; None when it is not there."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # 403 is what S3 says of a missing object to those who may list only a part of the bucket.
        if _code(error) in _ABSENT | _DENIED:
            return None
        raise


def _condition(s3: S3Client, bucket: str, key: str, started: str) -> dict[str, str]:
    """On what a write depends, so that of two runs the later one wins, whichever ends last."""
    if not started:
        return {}
    found = _head(s3, bucket, key)
    if found is None:
        return {"IfNoneMatch": "*"}
    if found["Metadata"].get(STARTED, "") > started:
        raise Superseded(f"s3://{bucket}/{key} was written by a run that began later")
    return {"IfMatch": found["ETag"]}


@contextmanager
def _explained(action: str) -> Iterator[None]:
    """Says what failed, and whether it is worth another try; any other object would fare the same."""
    try:
        yield
    except ClientError as error:
        kind = Throttled if _is_passing(error) else Denied if _code(error) in _DENIED else ReplayStopped
        raise kind(f"cannot {action}: {_text(error)}") from error
    except BotoCoreError as error:
        raise Throttled(f"cannot {action}: {_text(error)}") from error


def _is_passing(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status == 429 or _code(error) in {"SlowDown", "RequestTimeout"}


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _text(error: Exception) -> str:
    if isinstance(error, ClientError):
        return f"{_code(error)}: {error.response.get('Error', {}).get('Message', '')}"
    return f"{type(error).__name__}: {error}"


def _error_of(body: bytes) -> str:
    """What Lambda's error payload says, in one line."""
    try:
        values = json.loads(body)
        return f"{values.get('errorType') or 'Error'}: {values.get('errorMessage')}"
    except (ValueError, AttributeError):
        return body[:1000].decode(errors="replace")
