"""An S3 and a Lambda in memory, and an archive pipeline on them: what the tests of the Lambda code run against.

They stand for boto3's clients, so `storage` runs for real: only what these two do is made up.
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
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError, ReadTimeoutError

from archive_replay.index import Clock, Handler
from archive_replay.settings import Run
from archive_replay.storage import Storage

SOURCE, DESTINATION = "raw-bucket", "result-bucket"
FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"


def fault(operation: str, code: str, status: int) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": f"{code} in {operation}"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, operation)


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
    modified: datetime = datetime(2027, 1, 1, tzinfo=UTC)
    """After the times in all keys."""
    storage_class: str = "STANDARD"
    restore: str = ""
    """S3's `x-amz-restore`: `ongoing-request="true"`, or `"false"` with an expiry date; nothing if none was asked for."""
    archive_status: str = ""

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body + json.dumps(self.metadata).encode()).hexdigest()}"'


@dataclass
class FakeS3:
    """Buckets of objects, with S3's conditional writes and multipart uploads."""

    buckets: dict[str, dict[str, Stored]] = field(default_factory=lambda: {SOURCE: {}, DESTINATION: {}})
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, str, Callable[[], Exception]]] = field(default_factory=list)
    """Operation, pattern of the key, and what it raises; each strikes once."""
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Operation and pattern of the key that are denied, always."""
    breaks_after: list[int] = field(default_factory=list)
    """After how many bytes the next downloads break off."""
    before_write: list[Callable[[], None]] = field(default_factory=list)
    """What happens between the next look at an object and the write: someone else's write."""
    page = 3
    copy_limit = 5 << 30
    is_old = False
    """Whether conditions on copies are unknown here."""

    def _called(self, operation: str, bucket: str, key: str) -> dict[str, Stored]:
        self.calls.append((operation, key))
        if any(operation == name and re.search(pattern, key) for name, pattern in self.denied):
            raise fault(operation, "403" if operation == "HeadObject" else "AccessDenied", 403)
        for planned in self.faults:
            if planned[0] == operation and re.search(planned[1], key):
                self.faults.remove(planned)
                raise planned[2]()
        if bucket not in self.buckets:
            raise fault(operation, "404" if operation == "HeadObject" else "NoSuchBucket", 404)
        return self.buckets[bucket]

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
        }
        return {
            "ETag": found.etag,
            "Metadata": found.metadata,
            "ContentLength": len(found.body),
            "LastModified": found.modified,
            **{name: value for name, value in optional.items() if value},
        }

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **options: Any) -> dict[str, Any]:
        self._write("PutObject", Bucket, Key, Body, options)
        return {}

    def copy_object(
        self, *, Bucket: str, Key: str, CopySource: Mapping[str, str], **options: Any
    ) -> dict[str, Any]:
        if self.is_old and options.keys() & {"IfMatch", "IfNoneMatch"}:
            raise ParamValidationError(report="Unknown parameter in input")
        source = self._source(CopySource)
        if len(source.body) > self.copy_limit:
            raise fault("CopyObject", "InvalidRequest", 400)
        self._write("CopyObject", Bucket, Key, source.body, options | {"Metadata": source.metadata})
        return {}

    def upload_part_copy(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        PartNumber: int,
        CopySource: Mapping[str, str],
        CopySourceRange: str,
    ) -> dict[str, Any]:
        self._called("UploadPartCopy", Bucket, Key)
        first, last = map(int, CopySourceRange.removeprefix("bytes=").split("-"))
        source = self._source(CopySource)
        assert last < len(source.body)
        self.uploads[UploadId][PartNumber] = source.body[first : last + 1]
        return {"CopyPartResult": {"ETag": f'"{PartNumber}"'}}

    def _source(self, source: Mapping[str, str]) -> Stored:
        if source["Key"] not in self.buckets[source["Bucket"]]:
            raise fault("CopyObject", "NoSuchKey", 404)
        return self.buckets[source["Bucket"]][source["Key"]]

    def delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self._called("DeleteObject", Bucket, Key).pop(Key, None)
        return {}

    def delete_objects(self, *, Bucket: str, Delete: Mapping[str, Any]) -> dict[str, Any]:
        assert 0 < len(Delete["Objects"]) <= 1000
        for each in Delete["Objects"]:
            self._called("DeleteObjects", Bucket, each["Key"]).pop(each["Key"], None)
        return {}

    def create_multipart_upload(self, *, Bucket: str, Key: str, **options: Any) -> dict[str, Any]:
        self._called("CreateMultipartUpload", Bucket, Key)
        upload = f"upload-{len(self.calls)}"
        self.uploads[upload] = {}
        self._options = options
        return {"UploadId": upload}

    def upload_part(
        self, *, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: bytes
    ) -> dict[str, Any]:
        self._called("UploadPart", Bucket, Key)
        self.uploads[UploadId][PartNumber] = Body
        return {"ETag": f'"{PartNumber}"'}

    def complete_multipart_upload(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        MultipartUpload: Mapping[str, Any],
        **options: Any,
    ) -> dict[str, Any]:
        parts = self.uploads[UploadId]
        assert [part["PartNumber"] for part in MultipartUpload["Parts"]] == sorted(parts)
        assert all(len(parts[number]) >= 5 << 20 for number in sorted(parts)[:-1])
        body = b"".join(parts[number] for number in sorted(parts))
        self._write("CompleteMultipartUpload", Bucket, Key, body, options | self._options)
        del self.uploads[UploadId]
        return {}

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> dict[str, Any]:
        self._called("AbortMultipartUpload", Bucket, Key)
        del self.uploads[UploadId]
        return {}

    def _write(self, operation: str, bucket: str, key: str, body: bytes, options: Mapping[str, Any]) -> None:
        objects = self._called(operation, bucket, key)
        if self.before_write:
            self.before_write.pop(0)()
        found = objects.get(key)
        if options.get("IfNoneMatch") == "*" and found:
            raise fault(operation, "PreconditionFailed", 412)
        if "IfMatch" in options and (not found or found.etag != options["IfMatch"]):
            raise fault(operation, "PreconditionFailed" if found else "NoSuchKey", 412 if found else 404)
        objects[key] = Stored(bytes(body), dict(options.get("Metadata", {})))

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


@dataclass
class Context:
    """Seconds left to the worker."""

    left: float = 900.0
    aws_request_id: str = "00000000-0000-4000-8000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left * 1000)


@dataclass
class FakeLambda:
    """The user's function: Python code instead of a container."""

    code: Callable[[Any], Any] = lambda messages: messages
    events: list[Any] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    response_limit: int = 6 << 20
    seconds: float = 0.0
    """How long each call takes; the worker waits for it."""
    worker: Context = field(default_factory=Context)

    def fail(self, code: str, status: int) -> None:
        """Makes the next call fail."""
        self.faults.append(fault("Invoke", code, status))

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        assert FunctionName == FUNCTION
        assert len(Payload) <= 6_291_556
        if self.faults:
            raise self.faults.pop(0)
        self.worker.left -= self.seconds
        assert self.worker.left > 0, "Lambda would have ended the worker"
        event = json.loads(Payload)
        self.events.append(event)
        try:
            answer = self.code(event)
        except Exception as error:  # noqa: BLE001  # as Lambda does
            values = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": []}
            return {"FunctionError": "Unhandled", "Payload": Body(json.dumps(values).encode())}
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        if len(payload) > self.response_limit:
            values = {
                "errorType": "Function.ResponseSizeTooLarge",
                "errorMessage": "Response payload size exceeded",
            }
            return {"FunctionError": "Unhandled", "Payload": Body(json.dumps(values).encode())}
        return {"Payload": Body(payload)}


class FakeClock(Clock):
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 6, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)


@dataclass
class Pipeline:
    """An archive pipeline, and a state machine that calls its steps one after the other."""

    s3: FakeS3
    function: FakeLambda
    settings: dict[str, Any]
    clock: FakeClock = field(default_factory=FakeClock)
    started: str = "2026-02-01T00:00:00.000Z"
    name: str = "run-1"

    def put(self, key: str, *messages: Any, raw: bytes | None = None, compress: bool = True) -> str:
        """Stores an object of the archive: messages as JSON lines, or bytes as they are."""
        text = (
            raw if raw is not None else b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        )
        body = gzip.compress(text) if compress and raw is None else text
        self.s3.buckets[SOURCE][key] = Stored(body, {})
        return key

    @property
    def context(self) -> Context:
        return self.function.worker

    @staticmethod
    def channel_key(start: datetime, number: int = 0) -> str:
        """A key as IoT Analytics makes them."""
        first = int(start.timestamp() * 1000)
        return (
            f"raw/channel/telemetry/__dt={start:%Y-%m-%d} 00:00:00/"
            f"{first}_{first + 30_000}_111122223333_telemetry_{number}_{number}.json.gz"
        )

    @staticmethod
    def firehose_key(start: datetime, number: int = 0, suffix: str = ".gz") -> str:
        """A key as Firehose makes them."""
        return (
            f"raw/{start:%Y/%m/%d/%H}/telemetry-stream-2-{start:%Y-%m-%d-%H-%M-%S}-"
            f"0a1b2c3d-0000-4000-8000-{number:012x}{suffix}"
        )

    @property
    def run(self) -> dict[str, Any]:
        return {"Name": self.name, "Started": self.started, "Settings": self.settings}

    @property
    def storage(self) -> Storage:
        return Storage(self.s3)  # type: ignore[arg-type]  # a fake

    def plan(self, **messages: Any) -> dict[str, Any]:
        """The planning step's answer."""
        return self._step("PLAN", self.run, Messages=messages or {"All": True})

    def manifest(self) -> list[dict[str, Any]]:
        body = self.s3.buckets[DESTINATION][f"runs/out/{self.name}/manifest.jsonl"].body
        return [json.loads(line) for line in body.splitlines()]

    def replay(self, **messages: Any) -> dict[str, Any]:
        """Runs all steps as the state machine does; gives the execution's output, or its error and cause."""
        planned = self.plan(**messages)
        if "Failure" in planned:
            return dict(planned["Failure"])
        state: dict[str, Any] = dict(planned)
        for item in self.manifest() if planned["Run"]["Plan"]["Objects"] else ():
            try:
                self._child(planned["Run"], item)
            except Exception as error:  # noqa: BLE001  # as Step Functions does
                state["Error"] = {"Error": "States.ExceedToleratedFailureThreshold", "Cause": str(error)}
                break
        return self.finish(planned, state)

    def finish(
        self, planned: dict[str, Any], state: dict[str, Any] | None = None, *, times: int = 1
    ) -> dict[str, Any]:
        """What comes after the replay: the verdict and, if that is good, publishing, each item so many times."""
        state = self._step("SUMMARISE", planned["Run"], State=state or dict(planned))
        if "Failure" in state or not state["Summary"]["objects"]:
            return dict(state.get("Failure") or state["Summary"])
        assert state["Run"] == planned["Run"]
        for item in self.manifest() * times:
            try:
                self._step("PUBLISH", state["Run"], Batch=item)
            except Exception as error:  # noqa: BLE001  # as Step Functions does
                state["Error"] = {"Error": "States.ExceedToleratedFailureThreshold", "Cause": str(error)}
                break
        state = self._step("CLOSE", state["Run"], State=state)
        return dict(state.get("Failure") or state["Summary"])

    def _child(self, run: dict[str, Any], item: dict[str, Any]) -> None:
        for _ in range(100):
            if not item["Keys"]:
                return
            item = self._step("REPLAY", run, Batch=item)
        raise AssertionError("the item never ends")

    def _step(self, step: str, run: dict[str, Any], **rest: Any) -> dict[str, Any]:
        # What passes from step to step is JSON.
        handler = Handler(lambda: (self.s3, self.function), self.clock)  # type: ignore[arg-type,return-value]  # fakes
        event = json.loads(json.dumps({"Step": step, "Run": run, **rest}))
        answer: dict[str, Any] = json.loads(json.dumps(handler(event, self.context)))
        return answer

    def parsed(self, **plan: int) -> Run:
        return Run.parse({**self.run, "Plan": plan})


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


@pytest.fixture
def function() -> FakeLambda:
    return FakeLambda()


@pytest.fixture
def pipeline(s3: FakeS3, function: FakeLambda) -> Pipeline:
    """A pipeline on an IoT Analytics channel's archive with the Lambda activity's contract, tolerating nothing."""
    return Pipeline(
        s3,
        function,
        {
            "Source": {"Layout": "IOT_ANALYTICS", "Bucket": SOURCE, "Root": "raw/channel/telemetry/"},
            "Function": {
                "Arn": FUNCTION,
                "Contract": "LAMBDA_ACTIVITY",
                "BatchSize": 10,
                "MaxBytes": 4 << 20,
            },
            "Destination": {
                "Bucket": DESTINATION,
                "Prefix": "out/",
                "ErrorsPrefix": "errors/out/",
                "RunsPrefix": "runs/out/",
            },
            "Workers": 4,
            "CallsPerWorker": 1,
            "ToleratedFailurePercentage": 0,
        },
    )


@pytest.fixture
def firehose(pipeline: Pipeline) -> Pipeline:
    """The same on Firehose's archive with Firehose's contract."""
    pipeline.settings["Source"] = {
        "Layout": "FIREHOSE",
        "Bucket": SOURCE,
        "Root": "raw/",
        "BufferSeconds": 300,
    }
    pipeline.settings["Function"]["Contract"] = "FIREHOSE"
    return pipeline
