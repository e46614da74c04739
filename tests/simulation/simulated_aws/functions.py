"""Lambda: the asynchronous queue, the sandboxes, and the function in them."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_reprocessing_handler.aws import Aws, Clock
from pipeline_reprocessing_handler.index import Handler

from .errors import service_error
from .timeline import FOR_EVER, Fiber, Killed, Timeline

RETRIES_AFTER = (60.0, 120.0)
"""Seconds after a failed attempt (Lambda developer guide, asynchronous invocation: one minute, two minutes)."""
EVENT_LIVES = 6 * 3600.0
LONGEST_CHAIN = 16
"""Self-invocations after which Lambda stops a chain, unless RecursiveLoop is Allow."""
LONGEST_PAYLOAD = 256 * 1024
FUNCTION_NAME = "handler"


class Crash(BaseException):
    """The process of a sandbox ends: out of memory, a hardware fault, `os._exit`."""


class TimedOut(BaseException):
    """The function's time is up: Lambda kills the process."""


@dataclass
class AsyncEvent:
    """One event in the asynchronous queue."""

    number: int
    payload: str = field(repr=False)
    queued: float
    hops: int
    """How many self-invocations led here."""
    attempts: int = 0
    lost: str = ""
    """Why Lambda gave it up."""

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.payload)
        return body


@dataclass
class Invocation:
    """One attempt at one event."""

    event: AsyncEvent
    body: dict[str, Any] = field(repr=False)
    request_id: str
    logical_id: str
    is_continuation: bool
    started: float
    times_out: float
    ended: float = FOR_EVER
    outcome: str = ""
    """`ok`, or what went wrong."""
    calls: int = 0


@dataclass
class LambdaPlan:
    """How Lambda behaves.

    Args:
        cold: Whether every invocation gets a sandbox of its own.
        duplicates: Which events, by number, are delivered a second time, and how many seconds later.
        throttled: From when to when nothing is invoked.
        recursive_loop: Whether the function's RecursiveLoop is Allow, as the template says.
        timeout: Seconds of one invocation.
    """

    cold: bool = False
    duplicates: tuple[tuple[int, float], ...] = ()
    throttled: tuple[tuple[float, float], ...] = ()
    recursive_loop: str = "Allow"
    timeout: float = 900.0


class Context:
    """What Lambda tells the function about its invocation."""

    function_name = FUNCTION_NAME
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, timeline: Timeline, invocation: Invocation) -> None:
        self._timeline = timeline
        self._invocation = invocation

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._invocation.times_out - self._timeline.now) * 1000))


class VirtualClock(Clock):
    """The clock of one sandbox: sleeping lets other invocations go on."""

    def __init__(self, timeline: Timeline, sandbox: Sandbox) -> None:
        self._timeline = timeline
        self._sandbox = sandbox

    def now(self) -> Any:
        return self._timeline.time()

    def sleep(self, seconds: float) -> None:
        self._sandbox.sleep(seconds)


class _Output(logging.Handler):
    """What a sandbox writes to its log."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def handle(self, record: logging.LogRecord) -> bool:
        self._lines.append(self.format(record))  # one thread at a time: no lock
        return True


MakeAws = Callable[["Sandbox"], Aws]
MakeHandler = Callable[[Aws], Handler]


class Sandbox:
    """A process in which the function runs, warm for the next event."""

    def __init__(
        self, timeline: Timeline, make_aws: MakeAws, make_handler: MakeHandler, lines: list[str]
    ) -> None:
        self._timeline = timeline
        self.output = _Output(lines)
        self.clock = VirtualClock(timeline, self)
        self._make_aws, self._make_handler = make_aws, make_handler
        self._handler: Handler | None = None
        self.invocation: Invocation | None = None
        self._fiber: Fiber | None = None

    def start(
        self,
        invocation: Invocation,
        body: dict[str, Any],
        then: Callable[[Sandbox, BaseException | None], None],
    ) -> None:
        self.invocation = invocation

        def handle() -> None:
            error: BaseException | None = None
            try:
                if self._handler is None:
                    self.sleep(0.3)  # the start of the process
                    self._handler = self._make_handler(self._make_aws(self))
                self._handler(body, Context(self._timeline, invocation))
            except Killed:
                raise
            except BaseException as caught:  # noqa: BLE001  # it is told to Lambda
                error = caught
            then(self, error)

        self._fiber = Fiber(self._timeline, handle, self.output)
        self._fiber.start()

    def sleep(self, seconds: float) -> None:
        assert self._fiber
        assert self.invocation
        left = self.invocation.times_out - self._timeline.now
        if seconds >= left:
            self._fiber.sleep(max(left, 0.0))
            raise TimedOut
        self._fiber.sleep(seconds)


class SimulatedLambda:
    """One function, invoked asynchronously."""

    def __init__(
        self, timeline: Timeline, plan: LambdaPlan, make_aws: MakeAws, make_handler: MakeHandler
    ) -> None:
        self._timeline = timeline
        self.plan = plan
        self._make_aws, self._make_handler = make_aws, make_handler
        self._warm: list[Sandbox] = []
        self.is_gone: Callable[[AsyncEvent], bool] = lambda event: False
        self.events: list[AsyncEvent] = []
        self.invocations: list[Invocation] = []
        self.log: list[str] = []
        """All that the function has written."""
        self.errors: list[str] = []
        """The tracebacks that Lambda has written for it."""

    def invoke(self, parameters: Mapping[str, Any], caller: Invocation) -> dict[str, Any]:
        """The function calls itself."""
        if parameters["FunctionName"] != FUNCTION_NAME:
            raise service_error("ResourceNotFoundException", 404, "Function not found")
        if parameters["InvocationType"] != "Event":
            raise service_error(
                "InvalidParameterValueException", 400, "this function is invoked asynchronously"
            )
        payload = parameters["Payload"].decode()
        if len(payload) > LONGEST_PAYLOAD:
            raise service_error("RequestTooLargeException", 413, "the payload is too large")
        self.queue(payload, hops=caller.event.hops + 1)
        return {"StatusCode": 202}

    def queue(self, payload: str, *, hops: int = 0) -> None:
        event = AsyncEvent(len(self.events) + 1, payload, self._timeline.now, hops)
        self.events.append(event)
        if hops > LONGEST_CHAIN and self.plan.recursive_loop != "Allow":
            event.lost = "recursion stopped"
            return
        deliveries = [
            0.05,
            *(0.05 + later for number, later in self.plan.duplicates if number == event.number),
        ]
        for delay in deliveries:
            copy = AsyncEvent(event.number, payload, event.queued, hops) if delay > 0.05 else event
            self._timeline.at(self._timeline.now + delay, lambda copy=copy: self._deliver(copy))  # type: ignore[misc]  # binds early

    def deliver_again(self, event: AsyncEvent) -> None:
        """Delivers an event a second time, beside the first and its repeats."""
        self._deliver(AsyncEvent(event.number, event.payload, event.queued, event.hops))

    def _deliver(self, event: AsyncEvent) -> None:
        now = self._timeline.now
        if self.is_gone(event):
            event.lost = "the function was deleted with its stack"
            return
        for since, until in self.plan.throttled:
            if since <= now < until:
                if now - event.queued > EVENT_LIVES:
                    event.lost = "throttled for six hours"
                else:
                    self._timeline.at(
                        min(until + 1.0, event.queued + EVENT_LIVES + 1), lambda: self._deliver(event)
                    )
                return
        event.attempts += 1
        body = event.body
        invocation = Invocation(
            event,
            body,
            str(body.get("RequestId", "")),
            str(body.get("LogicalResourceId", "")),
            "CrHelperPoll" in body,
            now,
            now + self.plan.timeout,
        )
        self.invocations.append(invocation)
        sandbox = (
            self._warm.pop()
            if self._warm and not self.plan.cold
            else Sandbox(self._timeline, self._make_aws, self._make_handler, self.log)
        )
        sandbox.start(invocation, body, self._ended)

    def _ended(self, sandbox: Sandbox, error: BaseException | None) -> None:
        invocation = sandbox.invocation
        assert invocation
        invocation.ended = self._timeline.now
        invocation.outcome = "ok" if error is None else type(error).__name__
        if error is None or isinstance(error, Exception):
            self._warm.append(sandbox)  # a new process comes after a crash or a time-out
        if error is not None:
            self.errors.append("".join(traceback.format_exception(error)))
            event = invocation.event
            if event.attempts > len(RETRIES_AFTER):
                event.lost = f"given up after {event.attempts} attempts: {invocation.outcome}"
            else:
                self._timeline.at(
                    self._timeline.now + RETRIES_AFTER[event.attempts - 1], lambda: self._deliver(event)
                )
