"""An S3 and a Lambda in memory, and an archive pipeline on them: what the tests of the Lambda code run against.

They stand for boto3's clients, so `storage` runs for real: only what these two do is made up.
"""

# ruff: noqa: N803 - the arguments are called as boto3 calls them
from __future__ import annotations

import gzip
import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fake_s3 import SOURCE, Body, FakeS3, Stored, fault

from object_replay.index import Handler
from object_replay.patience import Clock
from object_replay.settings import Run
from object_replay.storage import Storage

FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"
STREAM = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/no-such-stream"
LAYER = "arn:aws:lambda:eu-west-1:111122223333:layer:units"


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
    contexts: list[Any] = field(default_factory=list)
    """The client context of each call."""
    faults: list[Exception] = field(default_factory=list)
    response_limit: int = 6 << 20
    seconds: float = 0.0
    """How long each call takes; the worker waits for it."""
    worker: Context = field(default_factory=Context)
    configuration: dict[str, Any] = field(
        default_factory=lambda: {
            "FunctionArn": FUNCTION,
            "CodeSha256": "c0de",
            "Runtime": "python3.14",
            "Handler": "index.handler",
            "Environment": {"Variables": {"UNIT": "C"}},
            "Layers": [{"Arn": f"{LAYER}:1", "CodeSize": 1}, {"Arn": f"{LAYER}:2", "CodeSize": 1}],
            "LastModified": "2026-01-01T00:00:00.000+0000",
            "RevisionId": "1",
        }
    )
    looks: int = 0
    """How often the configuration was read."""
    look_faults: list[Exception] = field(default_factory=list)

    def fail(self, code: str, status: int) -> None:
        """Makes the next call fail."""
        self.faults.append(fault("Invoke", code, status))

    def get_function_configuration(self, *, FunctionName: str) -> dict[str, Any]:
        assert FunctionName == FUNCTION
        self.looks += 1
        if self.look_faults:
            raise self.look_faults.pop(0)
        return self.configuration

    def invoke(self, *, FunctionName: str, Payload: bytes, ClientContext: str = "") -> dict[str, Any]:
        assert FunctionName == FUNCTION
        assert len(Payload) <= 6_291_556
        assert len(ClientContext) <= 3583
        if self.faults:
            raise self.faults.pop(0)
        self.worker.left -= self.seconds
        assert self.worker.left > 0, "Lambda would have ended the worker"
        event = json.loads(Payload)
        self.events.append(event)
        self.contexts.append(json.loads(b64decode(ClientContext or b"bnVsbA==")))
        try:
            answer = self.code(event)
        except Exception as error:  # noqa: BLE001  # as Lambda does
            values = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": []}
            return {"FunctionError": "Unhandled", "Payload": Body(json.dumps(values).encode())}
        # As the runtime of Python 3.14 encodes it.
        payload = answer if isinstance(answer, bytes) else json.dumps(answer, ensure_ascii=False).encode()
        if len(payload) > self.response_limit:
            values = {
                "errorType": "Function.ResponseSizeTooLarge",
                "errorMessage": "Response payload size exceeded",
            }
            return {"FunctionError": "Unhandled", "Payload": Body(json.dumps(values).encode())}
        return {"Payload": Body(payload)}


class FakeClock(Clock):
    """Time that passes only by sleeping, for the worker as well."""

    def __init__(self, worker: Context) -> None:
        self._worker = worker
        self.moment = datetime(2026, 6, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)
        self._worker.left -= seconds


@dataclass
class Pipeline:
    """An archive pipeline, and a state machine that calls its steps one after the other."""

    s3: FakeS3
    function: FakeLambda
    settings: dict[str, Any]
    started: str = "2026-02-01T00:00:00.000Z"
    name: str = "run-1"

    def __post_init__(self) -> None:
        self.clock = FakeClock(self.context)

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
    def publishes(self) -> bool:
        return bool(self.settings["Function"]["Contract"] != "S3_EVENT")

    @property
    def storage(self) -> Storage:
        return Storage(self.s3)  # type: ignore[arg-type]  # a fake

    def plan(self, **messages: Any) -> dict[str, Any]:
        """The planning step's answer."""
        return self._step("PLAN", self.run, Messages=messages or {"All": True})

    def manifest(self) -> list[dict[str, Any]]:
        bucket = self.settings["Destination"]["Bucket"]
        body = self.s3.buckets[bucket][f"runs/out/{self.name}/manifest.jsonl"].body
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
        if "Failure" in state or not state["Summary"]["objects"] or not self.publishes:
            return dict(state.get("Failure") or state["Summary"])
        assert state["Run"].items() >= planned["Run"].items()
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

    def handler(self) -> Handler:
        """The function in a new sandbox."""
        return Handler(lambda: (self.s3, self.function), self.clock)  # type: ignore[arg-type,return-value]  # fakes

    def _step(self, step: str, run: dict[str, Any], **rest: Any) -> dict[str, Any]:
        # What passes from step to step is JSON.
        event = json.loads(json.dumps({"Step": step, "Run": run, **rest}))
        # As the runtime of Python 3.14 encodes it: half of a surrogate pair ends the process.
        answer: dict[str, Any] = json.loads(
            json.dumps(self.handler()(event, self.context), ensure_ascii=False).encode()
        )
        return answer

    def parsed(self, **plan: int | str) -> Run:
        return Run.parse({**self.run, "Plan": plan})
