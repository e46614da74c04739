"""Moto's S3 and Step Functions, with the pipeline's worker and the user's function as Lambda functions in process."""

from __future__ import annotations

import gzip
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.session import Session
from moto.core.botocore_stubber import MockRawResponse
from moto_additions import executable
from pipeline_definitions import ACCOUNT, DESTINATION, REGION, SOURCE, worker_arn

from object_replay.index import Handler
from object_replay.patience import Clock

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client

PATIENCE = 30.0
"""Seconds of real time after which a test has hung."""
_ANSWER_LIMIT = 6 << 20
_LOADER = Session().get_component("data_loader")
"""Reads the services' descriptions once for all tests."""


class Busy(Exception):
    """Lambda has no place for this call: it answers 429."""


class Ended(BaseException):
    """Lambda ends the worker: no `except Exception` sees it."""

    def __init__(
        self, kind: str = "Runtime.ExitError", text: str = "Runtime exited with error: signal: killed"
    ):
        self.answer = {"errorType": kind, "errorMessage": f"RequestId: {uuid.uuid4()} Error: {text}"}


class SkippingClock(Clock):
    """Real time, in which sleeping takes none."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skipped)

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds


@dataclass
class Context:
    """Lambda's context of one call."""

    clock: SkippingClock
    deadline: datetime
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        return int((self.deadline - self.clock.now()).total_seconds() * 1000)


@dataclass
class Gate:
    """A place where a run waits until the test lets it go on."""

    reached: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)

    def wait(self) -> None:
        """Waits for the test."""
        self.reached.set()
        assert self.opened.wait(PATIENCE)


@dataclass
class Engine:
    """The archive pipelines on moto.

    Args:
        definitions: Their definitions, by name.
        clock: Where everybody's time comes from.
        code: The user's function.
    """

    definitions: Mapping[str, dict[str, Any]]
    clock: SkippingClock
    code: Callable[[Any], Any] = lambda event: event
    code_sha256: str = "0000"
    """The digest of the user's function."""
    busy_workers: int = 0
    """How many calls of the worker Lambda has no place for."""
    steps: list[tuple[str, str, list[str]]] = field(default_factory=list)
    """Run, step and keys of every call of the worker."""
    events: list[Any] = field(default_factory=list)
    """What the user's function was given."""
    escapes: bool = False
    """Whether the user's function writes JSON in ASCII, as most runtimes do, but not Python's from 3.12 on."""
    step_gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    """Before what step a run waits, by its name and the step."""
    write_gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    """Before what writes to S3 a run waits, by its name and a prefix of keys."""
    running: Counter[str] = field(default_factory=Counter)
    """Calls of the worker that have not ended, by run."""
    _lock: Lock = field(default_factory=Lock)
    _machines: dict[str, str] = field(default_factory=dict)
    _clients: dict[str, tuple[S3Client, LambdaClient]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._workers = set(map(worker_arn, self.definitions.values()))
        self._session = Session()
        self._session.register_component("data_loader", _LOADER)
        answers: dict[str, Any] = {"Invoke": self._invoke, "GetFunctionConfiguration": self._configuration}
        for operation, answer in answers.items():
            self._session.register(f"before-send.lambda.{operation}", answer)
        # Moto's interpreter makes its clients with the default session; two threads must not make its first one.
        boto3.setup_default_session(botocore_session=self._session, region_name=REGION)
        self.s3, _ = self._clients_of("the test")
        self.states = boto3.client("stepfunctions")
        for bucket in (SOURCE, DESTINATION):
            self.s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )

    def put(self, key: str, *messages: Any) -> str:
        """Stores an object of the archive, a JSON text in each line."""
        body = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        self.s3.put_object(Bucket=SOURCE, Key=key, Body=gzip.compress(body))
        return key

    def start(self, pipeline: str, name: str, **messages: Any) -> str:
        """Begins a run; gives its ARN."""
        if pipeline not in self._machines:
            self._machines[pipeline] = self.states.create_state_machine(
                name=pipeline,
                definition=executable(self.definitions[pipeline]),
                roleArn=f"arn:aws:iam::{ACCOUNT}:role/states",
            )["stateMachineArn"]
        execution: str = self.states.start_execution(
            stateMachineArn=self._machines[pipeline],
            name=name,
            input=json.dumps({"messages": messages or {"All": True}}),
        )["executionArn"]
        return execution

    def ended(self, execution: str) -> dict[str, Any]:
        """What Step Functions says of a run that has ended, when none of its calls of Lambda goes on either."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.states.describe_execution(executionArn=execution))
            return found["status"] != "RUNNING" and not self.running[found["name"]]

        deadline = time.monotonic() + PATIENCE
        while not is_over():
            assert time.monotonic() < deadline, f"{execution} still runs"
            time.sleep(0.05)
        return found

    def run(self, pipeline: str, name: str = "run-1", **messages: Any) -> dict[str, Any]:
        """A run from its start to its end."""
        return self.ended(self.start(pipeline, name, **messages))

    def summary(self, pipeline: str, name: str = "run-1", **messages: Any) -> dict[str, Any]:
        """The output of a run that succeeds."""
        described = self.run(pipeline, name, **messages)
        assert described["status"] == "SUCCEEDED", described
        summary: dict[str, Any] = json.loads(described["output"])
        return summary

    def history(self, described: Mapping[str, Any]) -> list[str]:
        """The types of a run's events, in their order."""
        arn = described["executionArn"]
        return [each["type"] for each in self.states.get_execution_history(executionArn=arn)["events"]]

    def stop_before(self, run: str, *, step: str = "", write: str = "") -> Gate:
        """Makes a run wait before a step, or before it writes keys with a prefix."""
        gates, place = (self.step_gates, step) if step else (self.write_gates, write)
        return gates.setdefault((run, place), Gate())

    def keys(self, prefix: str) -> list[str]:
        """Keys of the destination."""
        found = self.s3.list_objects_v2(Bucket=DESTINATION, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found]

    def body(self, key: str) -> bytes:
        """An object of the destination."""
        return self.s3.get_object(Bucket=DESTINATION, Key=key)["Body"].read()

    def stored(self, prefix: str) -> dict[str, bytes]:
        """The destination's objects under the prefix, in the order of their keys."""
        return {key: self.body(key) for key in self.keys(prefix)}

    def lines(self, prefix: str) -> list[Any]:
        """All results, or errors, under the prefix."""
        return [
            json.loads(line)
            for body in self.stored(prefix).values()
            for line in gzip.decompress(body).splitlines()
        ]

    def _clients_of(self, run: str) -> tuple[S3Client, LambdaClient]:
        with self._lock:
            if run not in self._clients:
                # botocore would wait between its own retries in real time.
                config = Config(region_name=REGION, retries={"total_max_attempts": 1})
                s3: Any = self._session.create_client("s3", config=config)
                s3.meta.events.register_first("before-send.s3", partial(self._before_s3, run))
                functions: Any = self._session.create_client("lambda", config=config)
                self._clients[run] = (s3, functions)
            return self._clients[run]

    def _before_s3(self, run: str, request: AWSPreparedRequest, **_: Any) -> None:
        path = unquote(urlsplit(request.url).path).removeprefix("/").removeprefix(f"{DESTINATION}/")
        for (held, prefix), gate in self.write_gates.items():
            if held == run and request.method in {"PUT", "POST"} and path.startswith(prefix):
                gate.wait()

    def _invoke(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Lambda's Invoke, by HTTP."""
        arn = unquote(request.url.split("/functions/")[1].partition("/invocations")[0])
        body: Any = request.body
        event = json.loads(body if isinstance(body, bytes) else body.read())
        try:
            if arn in self._workers:
                with self._lock:
                    self.busy_workers -= 1
                    if self.busy_workers >= 0:
                        raise Busy
                return _answer(request, lambda: self._worker(event))
            assert ":function:Enrich" in arn
            self.events.append(event)
            return _answer(request, lambda: self.code(event), escapes=self.escapes)
        except Busy:
            error = {
                "Type": "User",
                "message": "Rate Exceeded.",
                "Reason": "ConcurrentInvocationLimitExceeded",
            }
            return _response(request, 429, json.dumps(error).encode(), "TooManyRequestsException")
        except Ended as ended:
            if arn in self._workers:
                return _response(request, 200, json.dumps(ended.answer).encode(), "Unhandled")
            raise  # the user's function ends the worker that calls it

    def _configuration(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Lambda's GetFunctionConfiguration, by HTTP."""
        known = {"CodeSha256": self.code_sha256, "Runtime": "python3.14", "Handler": "index.handler"}
        known |= {"State": "Active", "LastUpdateStatus": "Successful"}
        return _response(request, 200, json.dumps(known).encode(), "")

    def _worker(self, event: Mapping[str, Any]) -> Any:
        run, step = event["Run"]["Name"], event["Step"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["Run"]["Started"])
        with self._lock:
            self.running[run] += 1
            self.steps.append((run, step, event.get("Batch", {}).get("Keys", [])))
        try:
            if gate := self.step_gates.get((run, step)):
                gate.wait()
            context = Context(self.clock, self.clock.now() + timedelta(seconds=900))
            answer = Handler(lambda: self._clients_of(run), self.clock)(event, context)
            if self.clock.now() > context.deadline:
                raise Ended("Sandbox.Timedout", "Task timed out after 900.00 seconds")
            return answer
        finally:
            with self._lock:
                self.running[run] -= 1


def _answer(
    request: AWSPreparedRequest, function: Callable[[], Any], *, escapes: bool = False
) -> AWSResponse:
    """The function's answer, or its exception, encoded as Python's runtime does."""
    kind = ""
    try:
        answer = function()
    except Busy:
        raise
    except Exception as error:  # noqa: BLE001 - as Lambda does
        kind = "Unhandled"
        answer = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
    try:
        text = json.dumps(answer, ensure_ascii=escapes).encode()
    except UnicodeEncodeError as half_a_pair:
        raise Ended(text="Runtime exited with error: exit status 1") from half_a_pair
    if len(text) > _ANSWER_LIMIT:
        kind = "Unhandled"
        text = (
            b'{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded"}'
        )
    return _response(request, 200, text, kind)


def _response(request: AWSPreparedRequest, status: int, body: bytes, error: str) -> AWSResponse:
    header = "X-Amz-Function-Error" if status == 200 else "x-amzn-ErrorType"
    headers: Any = {"Content-Type": "application/json", "x-amzn-RequestId": str(uuid.uuid4())}
    if error:
        headers[header] = error
    return AWSResponse(request.url, status, headers, MockRawResponse(body))
