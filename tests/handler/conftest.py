"""An AWS in memory with a clock of its own, and events as CloudFormation sends them."""

import io
import json
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
from botocore.stub import Stubber

from pipeline_reprocessing_handler import clients
from pipeline_reprocessing_handler.aws import Aws, Clock
from pipeline_reprocessing_handler.aws_errors import Conflict, Fault
from pipeline_reprocessing_handler.crhelper_adapter import CrhelperAdapter
from pipeline_reprocessing_handler.invocation import MADE_AT, Invocation, Waiting
from pipeline_reprocessing_handler.ledger import Ledger, Record
from pipeline_reprocessing_handler.lifecycle import Lifecycle
from pipeline_reprocessing_handler.pipelines import State, Status
from pipeline_reprocessing_handler.response import Answer
from pipeline_reprocessing_handler.waiting import Wait

sys.path.insert(0, str(Path(__file__).parent / "answering"))  # for the tests of IoT Analytics

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
LOG_GROUP = "handler-logs"
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"
STACK_ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f"

IOT_PROPERTIES: dict[str, Any] = {
    "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:handler",
    "Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather"},
    "Messages": {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-01-31T00:00:00Z"},
    "Trigger": "a" * 64,
    "Wait": {"TimeoutSeconds": "3000", "OnTimeout": "FAIL"},
}


class FakeClock(Clock):
    """Time that passes only by sleeping."""

    def __init__(self, now: datetime = NOW) -> None:
        self.moment = now
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)


class FakeAws(Aws):
    """Log streams, the stack's status, hand-overs and answers, in memory; other calls get what a test has put there.

    What has an endpoint of its own really goes there.
    """

    PAGE = 2

    def __init__(self) -> None:
        self.time = FakeClock()
        super().__init__(self.time, Random(0))
        self._first = self  # `patient` copies; whatever a test puts here later counts for the copies, too
        self.streams: dict[str, int] = {}
        self.stack_status = "CREATE_IN_PROGRESS"
        self.invocations: list[dict[str, Any]] = []
        self.sent: list[tuple[str, str, Mapping[str, Any]]] = []
        self.called_at: list[tuple[str, datetime]] = []
        self.answers: list[tuple[str, bytes]] = []
        self.http_statuses: list[int | Fault] = []
        """What the next PUTs get; after them 200."""
        self.scripts: dict[str, list[Any]] = {}
        """What the next calls of an operation answer or raise; the last one stays."""

    def send(
        self, service: str, operation: str, endpoint_url: str | None, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self.sent.append((service, operation, parameters))
        self.called_at.append((operation, self.time.now()))
        if endpoint_url:
            return super().send(service, operation, endpoint_url, parameters)
        if script := self._first.scripts.get(operation):
            answer = script.pop(0) if len(script) > 1 else script[0]
            if isinstance(answer, Exception):
                raise answer
            told: Mapping[str, Any] = answer(parameters) if callable(answer) else answer
            return told
        reply: Mapping[str, Any] = getattr(self._first, f"_{operation}")(**parameters)
        return reply

    def put(self, url: str, body: bytes) -> int:
        statuses = self._first.http_statuses
        status = statuses.pop(0) if statuses else 200
        if isinstance(status, Fault):
            raise status
        if 200 <= status < 300:
            self.answers.append((url, body))
        return status

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The answers, read."""
        return [json.loads(body) for _, body in self.answers]

    def operations(self) -> list[str]:
        return [operation for _, operation, _ in self.sent]

    def notes(self) -> list[str]:
        """The ends of the streams' names: notes, claims and owners of runs."""
        return [name.rpartition("/")[2] for name in self.streams]

    def _create_log_stream(self, *, logGroupName: str, logStreamName: str) -> Mapping[str, Any]:  # noqa: N803  # boto3's names
        assert logGroupName == LOG_GROUP
        if logStreamName in self.streams:
            raise Conflict("logs:create_log_stream: ResourceAlreadyExistsException")
        self.streams[logStreamName] = int(self.time.now().timestamp() * 1000)
        return {}

    def _describe_log_streams(
        self,
        *,
        logGroupName: str,  # noqa: N803  # boto3's names
        logStreamNamePrefix: str,  # noqa: N803  # boto3's names
        nextToken: str = "0",  # noqa: N803  # boto3's names
    ) -> Mapping[str, Any]:
        names = sorted(name for name in self.streams if name.startswith(logStreamNamePrefix))
        first, last = int(nextToken), int(nextToken) + self.PAGE
        page = [{"logStreamName": name, "creationTime": self.streams[name]} for name in names[first:last]]
        return {"logStreams": page, **({"nextToken": str(last)} if last < len(names) else {})}

    def _describe_stacks(self, *, StackName: str) -> Mapping[str, Any]:  # noqa: N803  # boto3's names
        return {"Stacks": [{"StackStatus": self.stack_status}]}

    def _invoke(self, **parameters: Any) -> Mapping[str, Any]:
        self.invocations.append(parameters)
        return {"StatusCode": 202}


class FakePipeline:
    """A pipeline whose runs stand where a test has put them."""

    def __init__(self) -> None:
        self.states: dict[str, Status] = {}
        self.started: dict[str, str] = {}
        """The run of each request."""
        self.cancelled: list[tuple[str, str]] = []
        self.trouble: dict[str, list[Fault]] = {}
        """What the next calls of a method raise."""
        self.ends_when_cancelled = True
        self.comes_true: dict[str, Callable[[], Status]] = {}
        """Runs whose status changes by itself."""

    def start(self, request: Invocation, still_wanted: Callable[[], Record]) -> str:
        still_wanted()
        self._trouble("start")
        if request.request_id not in self.started:
            self.started[request.request_id] = run_id = f"run-{len(self.states) + 1}"
            self.states[run_id] = Status(State.RUNNING)
        return self.started[request.request_id]

    def started_run(self, request: Invocation, record: Record) -> str | None:
        self._trouble("started_run")
        return self.started.get(record.request_id)

    def status(self, run_id: str) -> Status:
        self._trouble("status")
        if run_id in self.comes_true:
            return self.comes_true[run_id]()
        return self.states.get(run_id, Status(State.UNKNOWN))

    def cancel(self, run_id: str, cause: str) -> bool:
        self._trouble("cancel")
        self.cancelled.append((run_id, cause))
        took = run_id in self.states
        if self.ends_when_cancelled:
            self.states[run_id] = Status(State.CANCELLED)
        return took

    def runs_cancelled(self) -> list[str]:
        return [run_id for run_id, _ in self.cancelled]

    def _trouble(self, method: str) -> None:
        if self.trouble.get(method):
            raise self.trouble[method].pop(0)


@dataclass
class FakeContext:
    """What Lambda passes beside the event."""

    function_name: str = "handler"
    remaining: int = 900_000
    aws_request_id: str = "0b6b2a3e"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Server:
    """An HTTP server on the loopback interface that answers what a test has put there, the last one for ever.

    An answer is a status, headers and a body; None drops the connection; a number of seconds is silence.
    """

    url: str
    received: list[Received] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes] | float | None] = field(default_factory=list)


def _serve(server: ThreadingHTTPServer) -> Iterator[Server]:
    scheme = "https" if hasattr(server.socket, "context") else "http"
    served = Server(f"{scheme}://127.0.0.1:{server.server_port}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            served.received.append(Received(self.command, self.path, self.headers.items(), body))
            answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
            if isinstance(answer, tuple):
                status, headers, content = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            elif answer is not None:
                self.connection.settimeout(answer)
                with suppress(TimeoutError):
                    self.rfile.read(1)  # until the client hangs up
                self.close_connection = True
            else:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
            """Nothing: a test looks at `received`."""

    server.RequestHandlerClass = Handler
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def clock(aws: FakeAws) -> FakeClock:
    return aws.time


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture
def properties() -> dict[str, Any]:
    return deepcopy(IOT_PROPERTIES)


@pytest.fixture
def event_of() -> Callable[..., dict[str, Any]]:
    """Makes an event: `event_of("Create", properties, PhysicalResourceId=...)`."""
    numbers = count(1)

    def make(
        type_: str = "Create", properties: object = None, *, missing: tuple[str, ...] = (), **fields: Any
    ) -> dict[str, Any]:
        event = {
            "RequestType": type_,
            "ResponseURL": RESPONSE_URL,
            "StackId": STACK_ID,
            "RequestId": "" if "RequestId" in fields else f"request-{next(numbers)}",
            "ResourceType": "Custom::PipelineReprocessing",
            "LogicalResourceId": "Backfill",
            "ResourceProperties": deepcopy(IOT_PROPERTIES if properties is None else properties),
            **({} if type_ == "Create" else {"PhysicalResourceId": "weather/run-1"}),
            **fields,
        }
        return {key: value for key, value in event.items() if key not in missing}

    return make


@pytest.fixture
def invocation_of(
    event_of: Callable[..., dict[str, Any]], context: FakeContext, clock: FakeClock
) -> Callable[..., Invocation]:
    """Makes an invocation that begins now."""
    return lambda *args, **fields: Invocation.parse(event_of(*args, **fields), context, clock.now())


@pytest.fixture
def ledger_of(aws: FakeAws, invocation_of: Callable[..., Invocation]) -> Callable[..., Ledger]:
    """Opens the ledger as another request would: `ledger_of("request-7", made_at=..., ...)`."""

    def make(request_id: str = "request-1", *, made_at: datetime = NOW, **fields: Any) -> Ledger:
        made = {MADE_AT: made_at.timestamp(), **fields}
        return Ledger(aws, LOG_GROUP, invocation_of(RequestId=request_id, **made))

    return make


@pytest.fixture
def ledger(ledger_of: Callable[..., Ledger]) -> Ledger:
    """That of `request-1`, which is made now."""
    return ledger_of()


@pytest.fixture(autouse=True)
def fresh_sandbox() -> None:
    """No client and no connection of another test; the session keeps the service models that it has read."""
    clients.client.cache_clear()
    clients.http.cache_clear()


@pytest.fixture
def real_aws(fresh_sandbox: None) -> Aws:
    """The real way to AWS, with a clock that passes by sleeping alone."""
    return Aws(FakeClock(), Random(0))


@pytest.fixture
def stub(real_aws: Aws) -> Iterator[Callable[[str], Stubber]]:
    """Gives botocore's stub of a service: it checks requests and answers against the service's own model."""
    stubbers: list[Stubber] = []

    def make(service: str) -> Stubber:
        stubber = Stubber(real_aws._client(service, None))
        stubber.activate()
        stubbers.append(stubber)
        return stubber

    yield make
    for stubber in stubbers:
        stubber.assert_no_pending_responses()


@pytest.fixture
def server(fresh_sandbox: None) -> Iterator[Server]:
    """An HTTP server; its tests are marked `loopback`."""
    yield from _serve(ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler))


@pytest.fixture
def serve() -> Callable[[ThreadingHTTPServer], Iterator[Server]]:
    """Runs a server of one's own: `yield from serve(...)` in a fixture."""
    return _serve


@pytest.fixture
def unused_tcp_port_url() -> Callable[[], str]:
    """Gives a URL at which no server listens."""

    def make() -> str:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{held.getsockname()[1]}"

    return make


@pytest.fixture
def lifecycle_of(
    invocation_of: Callable[..., Invocation],
    properties: dict[str, Any],
    aws: FakeAws,
    pipeline: FakePipeline,
) -> Callable[..., Lifecycle]:
    """Opens the life of a resource: `lifecycle_of("Update", Trigger=..., was={...}, ...)`."""

    def make(
        type_: str = "Create",
        *,
        was: dict[str, Any] | None = None,
        event: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Lifecycle:
        old = {} if type_ == "Create" else {"OldResourceProperties": {**properties, **(was or {})}}
        invocation = invocation_of(type_, {**properties, **changes}, **{**old, **(event or {})})
        ledger = Ledger(aws, LOG_GROUP, invocation)
        return Lifecycle(invocation, ledger, aws, lambda target, aws, ledger: pipeline)

    return make


@pytest.fixture
def waiting_for() -> Callable[..., Waiting]:
    """How the wait for a run stands that was started at NOW."""

    def make(
        run_id: str = "run-1", *, minutes: float = 50, stack_status: str = "CREATE_IN_PROGRESS"
    ) -> Waiting:
        began = NOW.timestamp()
        return Waiting(run_id, began, began + 60 * minutes, stack_status, began)

    return make


@pytest.fixture
def wait_of(
    invocation_of: Callable[..., Invocation],
    waiting_for: Callable[..., Waiting],
    properties: dict[str, Any],
    aws: FakeAws,
    pipeline: FakePipeline,
) -> Callable[..., Wait]:
    """Opens a continuation of a Create whose request was made at NOW: `wait_of(Wait={...}, event={...})`."""

    def make(type_: str = "Create", *, event: dict[str, Any] | None = None, **changes: Any) -> Wait:
        carried = {"CrHelperPoll": True, "CrHelperData": asdict(waiting_for()), MADE_AT: NOW.timestamp()}
        invocation = invocation_of(type_, {**properties, **changes}, **{**carried, **(event or {})})
        ledger = Ledger(aws, LOG_GROUP, invocation)
        return Wait(invocation, ledger, aws, lambda target, aws, ledger: pipeline)

    return make


def _not_called(invocation: Invocation) -> Answer:
    raise AssertionError("called")


@pytest.fixture
def adapter_of(aws: FakeAws) -> Callable[..., CrhelperAdapter]:
    """Makes the adapter: `adapter_of(begin=..., go_on=..., remove=...)`."""

    def make(
        begin: Callable[..., Any] = _not_called,
        go_on: Callable[..., Any] = _not_called,
        remove: Callable[..., Any] = _not_called,
    ) -> CrhelperAdapter:
        return CrhelperAdapter(aws, LOG_GROUP, begin=begin, go_on=go_on, remove=remove)

    return make


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, as the runtime would write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    logging.root.addHandler(handler)
    level = logging.root.level
    yield stream
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)
