"""An S3 in memory, as strict as S3 is: it stands for boto3's client, so `storage` and `uploads` run for real.

Limits and errors are those of the API reference (PutObject, CopyObject, UploadPart, UploadPartCopy,
CompleteMultipartUpload, DeleteObjects) and of the user guide's "Amazon S3 multipart upload limits".
"""

# ruff: noqa: N803 - the arguments are called as boto3 calls them
from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError, ReadTimeoutError

SOURCE, DESTINATION = "raw-bucket", "result-bucket"

MIB, GIB = 1 << 20, 1 << 30
MAX_KEY = 1_024
MAX_METADATA = 2_048
MAX_REMOVED = 1_000
MAX_PARTS = 10_000
MIN_PART = 5 * MIB
MAX_PART = 5 * GIB
CONDITIONS = {"IfMatch", "IfNoneMatch"}


def fault(operation: str, code: str, status: int) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": f"{code} in {operation}"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, operation)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


class Body(io.BytesIO):
    """A response's body, whose connection may break."""

    def __init__(self, data: bytes, breaks_after: int | None = None) -> None:
        super().__init__(data)
        self._left = breaks_after

    def read(self, size: int | None = -1, /) -> bytes:
        if self._left is not None:
            if self._left <= 0:
                raise ReadTimeoutError(endpoint_url="https://s3")
            size = min(size if size and size > 0 else self._left, self._left)
            self._left -= size
        return super().read(size)


@dataclass
class Stored:
    body: bytes
    metadata: dict[str, str]
    parts: tuple[bytes, ...] = ()
    """The MD5 of each part of a multipart upload."""
    modified: datetime = datetime(2027, 1, 1, tzinfo=UTC)
    """After the times in all keys."""
    storage_class: str = "STANDARD"
    restore: str = ""
    """S3's `x-amz-restore`: `ongoing-request="true"`, or `"false"` with an expiry date; nothing if none was asked for."""
    archive_status: str = ""
    version: str = ""
    """Of an object in a bucket with versions."""

    @property
    def etag(self) -> str:
        """S3's: of the bytes alone, so equal bytes have the same one whatever their metadata."""
        if self.parts:
            return f'"{_md5(b"".join(self.parts)).hex()}-{len(self.parts)}"'
        return f'"{_md5(self.body).hex()}"'


@dataclass
class Multipart:
    """An upload that is neither completed nor aborted."""

    bucket: str
    key: str
    metadata: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class FakeS3:
    """Buckets of objects, with S3's conditional writes and multipart uploads."""

    buckets: dict[str, dict[str, Stored]] = field(default_factory=lambda: {SOURCE: {}, DESTINATION: {}})
    uploads: dict[str, Multipart] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, str, Callable[[], Exception]]] = field(default_factory=list)
    """Operation, pattern of the key, and what it raises; each strikes once."""
    key_errors: list[tuple[str, str]] = field(default_factory=list)
    """Pattern of the key, and the error that DeleteObjects has for it in an answer of 200; each strikes once."""
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Operation and pattern of the key that are denied, always."""
    breaks_after: list[int] = field(default_factory=list)
    """After how many bytes the next downloads break off."""
    before_write: list[Callable[[], None]] = field(default_factory=list)
    """What happens between the next look at an object and the write: someone else's write."""
    page = 3
    copy_limit = 5 * GIB
    is_old = False
    """Whether conditions on copies are unknown here."""

    def _called(self, operation: str, bucket: str, key: str) -> dict[str, Stored]:
        self.calls.append((operation, key))
        if self._is_denied(operation, key):
            raise fault(operation, "403" if operation == "HeadObject" else "AccessDenied", 403)
        for planned in self.faults:
            if planned[0] == operation and re.search(planned[1], key):
                self.faults.remove(planned)
                raise planned[2]()
        if bucket not in self.buckets:
            raise fault(operation, "404" if operation == "HeadObject" else "NoSuchBucket", 404)
        if len(key.encode()) > MAX_KEY:
            raise fault(operation, "KeyTooLongError", 400)
        return self.buckets[bucket]

    def _is_denied(self, operation: str, key: str) -> bool:
        return any(operation == name and re.search(pattern, key) for name, pattern in self.denied)

    def get_paginator(self, operation: str) -> FakeS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(
        self, *, Bucket: str, Prefix: str, OptionalObjectAttributes: list[str] | None = None
    ) -> Iterator[dict[str, Any]]:  # boto3's names
        objects = self._called("ListObjectsV2", Bucket, Prefix)
        keys = sorted(key for key in objects if key.startswith(Prefix))
        if not keys:
            yield {"KeyCount": 0}
        for first in range(0, len(keys), self.page):
            yield {
                "Contents": [
                    self._listed(key, objects[key], OptionalObjectAttributes or [])
                    for key in keys[first : first + self.page]
                ]
            }

    @staticmethod
    def _listed(key: str, found: Stored, attributes: list[str]) -> dict[str, Any]:
        status = {"IsRestoreInProgress": 'ongoing-request="true"' in found.restore}
        return {
            "Key": key,
            "Size": len(found.body),
            "LastModified": found.modified,
            "StorageClass": found.storage_class,
            **({"RestoreStatus": status} if found.restore and "RestoreStatus" in attributes else {}),
        }

    def get_object(self, *, Bucket: str, Key: str, Range: str = "", IfMatch: str = "") -> dict[str, Any]:
        objects = self._called("GetObject", Bucket, Key)
        if Key not in objects:
            raise fault("GetObject", "NoSuchKey", 404)
        found = objects[Key]
        if IfMatch and IfMatch != found.etag:
            raise fault("GetObject", "PreconditionFailed", 412)
        start = int(Range.removeprefix("bytes=").removesuffix("-")) if Range else 0
        if Range and start >= len(found.body):
            raise fault("GetObject", "InvalidRange", 416)
        breaks = self.breaks_after.pop(0) if self.breaks_after else None
        return {"ETag": found.etag, "Body": Body(found.body[start:], breaks)}

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        objects = self._called("HeadObject", Bucket, Key)
        if Key not in objects:
            raise fault("HeadObject", "404", 404)
        found = objects[Key]
        # S3 leaves out what does not apply, and the standard class.
        optional = {
            "StorageClass": found.storage_class if found.storage_class != "STANDARD" else "",
            "Restore": found.restore,
            "ArchiveStatus": found.archive_status,
            "VersionId": found.version,
        }
        return {
            "ETag": found.etag,
            "Metadata": dict(found.metadata),
            "ContentLength": len(found.body),
            "LastModified": found.modified,
            **{name: value for name, value in optional.items() if value},
        }

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes,
        Metadata: Mapping[str, str] | None = None,
        **conditions: str,
    ) -> dict[str, Any]:
        self._called("PutObject", Bucket, Key)
        stored = Stored(bytes(Body), _metadata("PutObject", Metadata))
        self._write("PutObject", Bucket, Key, stored, conditions)
        return {"ETag": stored.etag}

    def copy_object(
        self, *, Bucket: str, Key: str, CopySource: Mapping[str, str], **conditions: str
    ) -> dict[str, Any]:
        if self.is_old and conditions.keys() & CONDITIONS:
            raise ParamValidationError(report="Unknown parameter in input")
        self._called("CopyObject", Bucket, Key)
        source = self._source("CopyObject", CopySource)
        if len(source.body) > self.copy_limit:
            raise fault("CopyObject", "InvalidRequest", 400)
        if (CopySource["Bucket"], CopySource["Key"]) == (Bucket, Key):
            raise fault("CopyObject", "InvalidRequest", 400)  # nothing would change
        stored = Stored(source.body, dict(source.metadata))  # not in parts any more
        self._write("CopyObject", Bucket, Key, stored, conditions)
        return {"CopyObjectResult": {"ETag": stored.etag}}

    def upload_part_copy(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        PartNumber: int,
        CopySource: Mapping[str, str],
        CopySourceRange: str = "",
        CopySourceIfMatch: str = "",
    ) -> dict[str, Any]:
        self._called("UploadPartCopy", Bucket, Key)
        source = self._source("UploadPartCopy", CopySource)
        if CopySourceIfMatch and CopySourceIfMatch != source.etag:
            raise fault("UploadPartCopy", "PreconditionFailed", 412)
        body = source.body
        if CopySourceRange:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", CopySourceRange)
            if not match or not int(match[1]) <= int(match[2]) < len(body):
                raise fault("UploadPartCopy", "InvalidArgument", 400)
            if len(body) <= MIN_PART:
                raise fault("UploadPartCopy", "InvalidRequest", 400)  # of so small a source there is no range
            body = body[int(match[1]) : int(match[2]) + 1]
        etag = self._part("UploadPartCopy", Bucket, Key, UploadId, PartNumber, body)
        return {"CopyPartResult": {"ETag": etag}}

    def _source(self, operation: str, source: Mapping[str, str]) -> Stored:
        if source["Key"] not in self.buckets[source["Bucket"]]:
            raise fault(operation, "NoSuchKey", 404)
        return self.buckets[source["Bucket"]][source["Key"]]

    def delete_object(self, *, Bucket: str, Key: str, **conditions: str) -> dict[str, Any]:
        objects = self._called("DeleteObject", Bucket, Key)
        if self.before_write:
            self.before_write.pop(0)()
        assert conditions.keys() <= {"IfMatch"}
        _check("DeleteObject", objects.get(Key), conditions)
        objects.pop(Key, None)
        return {}

    def delete_objects(self, *, Bucket: str, Delete: Mapping[str, Any]) -> dict[str, Any]:
        keys = [each["Key"] for each in Delete["Objects"]]
        self.calls += [("DeleteObjects", key) for key in keys]
        for planned in self.faults:
            if planned[0] == "DeleteObjects" and any(re.search(planned[1], key) for key in keys):
                self.faults.remove(planned)
                raise planned[2]()
        if not 0 < len(keys) <= MAX_REMOVED or not all(keys):
            raise fault("DeleteObjects", "MalformedXML", 400)
        errors = []
        for key in keys:
            if code := self._key_error(key):
                errors.append({"Key": key, "Code": code, "Message": f"{code} in DeleteObjects"})
            else:
                self.buckets[Bucket].pop(key, None)
        failed = {error["Key"] for error in errors}
        deleted = [{"Key": key} for key in keys if key not in failed and not Delete.get("Quiet")]
        return ({"Errors": errors} if errors else {}) | ({"Deleted": deleted} if deleted else {})

    def _key_error(self, key: str) -> str:
        if self._is_denied("DeleteObjects", key):
            return "AccessDenied"
        for planned in self.key_errors:
            if re.search(planned[0], key):
                self.key_errors.remove(planned)
                return planned[1]
        return "KeyTooLongError" if len(key.encode()) > MAX_KEY else ""

    def create_multipart_upload(
        self, *, Bucket: str, Key: str, Metadata: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        self._called("CreateMultipartUpload", Bucket, Key)
        upload = f"upload-{len(self.calls)}"
        self.uploads[upload] = Multipart(Bucket, Key, _metadata("CreateMultipartUpload", Metadata))
        return {"UploadId": upload}

    def upload_part(
        self, *, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: bytes
    ) -> dict[str, Any]:
        self._called("UploadPart", Bucket, Key)
        return {"ETag": self._part("UploadPart", Bucket, Key, UploadId, PartNumber, bytes(Body))}

    def _part(self, operation: str, bucket: str, key: str, upload: str, number: int, body: bytes) -> str:
        found = self._upload(operation, bucket, key, upload)
        if not 1 <= number <= MAX_PARTS:
            raise fault(operation, "InvalidArgument", 400)
        if len(body) > MAX_PART:
            raise fault(operation, "EntityTooLarge", 400)
        found.parts[number] = body
        return f'"{_md5(body).hex()}"'

    def _upload(self, operation: str, bucket: str, key: str, upload: str) -> Multipart:
        found = self.uploads.get(upload)
        if not found or (found.bucket, found.key) != (bucket, key):
            raise fault(operation, "NoSuchUpload", 404)
        return found

    def complete_multipart_upload(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        MultipartUpload: Mapping[str, Any],
        **conditions: str,
    ) -> dict[str, Any]:
        operation = "CompleteMultipartUpload"
        self._called(operation, Bucket, Key)
        upload = self._upload(operation, Bucket, Key, UploadId)
        parts = MultipartUpload["Parts"]
        if not parts:
            raise fault(operation, "MalformedXML", 400)
        numbers = [part["PartNumber"] for part in parts]
        if numbers != sorted(set(numbers)):
            raise fault(operation, "InvalidPartOrder", 400)
        if any(
            part["PartNumber"] not in upload.parts
            or part["ETag"] != f'"{_md5(upload.parts[part["PartNumber"]]).hex()}"'
            for part in parts
        ):
            raise fault(operation, "InvalidPart", 400)
        bodies = [upload.parts[number] for number in numbers]
        if any(len(body) < MIN_PART for body in bodies[:-1]):
            raise fault(operation, "EntityTooSmall", 400)
        stored = Stored(b"".join(bodies), upload.metadata, tuple(map(_md5, bodies)))
        self._write(operation, Bucket, Key, stored, conditions)
        del self.uploads[UploadId]
        return {"ETag": stored.etag}

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> dict[str, Any]:
        self._called("AbortMultipartUpload", Bucket, Key)
        self._upload("AbortMultipartUpload", Bucket, Key, UploadId)
        del self.uploads[UploadId]
        return {}

    def _write(
        self, operation: str, bucket: str, key: str, stored: Stored, conditions: Mapping[str, str]
    ) -> None:
        if self.before_write:
            self.before_write.pop(0)()
        assert conditions.keys() <= CONDITIONS
        _check(operation, self.buckets[bucket].get(key), conditions)
        self.buckets[bucket][key] = stored

    def fail(self, operation: str, code: str, status: int, key: str = "") -> None:
        """Makes the next such call fail."""
        self.faults.append((operation, key, lambda: fault(operation, code, status)))

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return sorted(key for key in self.buckets[bucket] if key.startswith(prefix))

    def lines(self, prefix: str) -> list[Any]:
        """All results (or errors) under the prefix, in the order of their keys."""
        return [
            json.loads(line)
            for key in self.keys(DESTINATION, prefix)
            for line in gzip.decompress(self.buckets[DESTINATION][key].body).splitlines()
        ]


def _check(operation: str, found: Stored | None, conditions: Mapping[str, str]) -> None:
    """Conditional requests, as the user guide's "Prevent object overwrites" says."""
    if conditions.keys() >= CONDITIONS or conditions.get("IfNoneMatch", "*") != "*":
        raise fault(operation, "NotImplemented", 501)
    if "IfNoneMatch" in conditions and found:
        raise fault(operation, "PreconditionFailed", 412)
    if "IfMatch" in conditions and not found:
        raise fault(operation, "NoSuchKey", 404)
    if "IfMatch" in conditions and found and found.etag != conditions["IfMatch"]:
        raise fault(operation, "PreconditionFailed", 412)


def _metadata(operation: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    values = dict(metadata or {})
    if not all(text.isascii() for item in values.items() for text in item):
        raise ParamValidationError(report="Non ascii characters found in S3 metadata")
    if sum(len(name) + len(value) for name, value in values.items()) > MAX_METADATA:
        raise fault(operation, "MetadataTooLarge", 400)
    return values
