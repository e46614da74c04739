"""The way from the function to AWS: where calls are delayed, lost, refused, and sandboxes die."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import botocore.session
from botocore.model import OperationModel
from botocore.validate import ParamValidator

import pipeline_reprocessing_handler
from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Unclear
from pipeline_reprocessing_handler.clients import READ_TIMEOUT

from .errors import denied, error_of
from .functions import Crash, Invocation, Sandbox
from .timeline import FOR_EVER, Timeline
from .troubles import WITHOUT_EFFECT, Trouble, Troubles

LATEST = 8.0
"""Seconds after the client has given up: no call takes effect later than that."""
_CRASHES = (Trouble.CRASH_BEFORE, Trouble.CRASH_AFTER)
_HANGS = (Trouble.HANGS_BEFORE, Trouble.HANGS_AFTER, Trouble.LATE)


@dataclass
class Call:
    """One call that the function has made."""

    time: float
    service: str
    operation: str
    request_id: str
    logical_id: str
    parameters: Mapping[str, Any] = field(repr=False)
    trouble: Trouble | None


Effect = Callable[[Mapping[str, Any], Invocation], Any]


class Network:
    """Carries every call of every sandbox.

    Args:
        timeline: When.
        troubles: What goes wrong.
        random: How long a call takes; None: always the same.
        effect: Does what the call asks for.
        receive: Takes a PUT.
    """

    def __init__(
        self,
        timeline: Timeline,
        troubles: Troubles,
        random: Random | None,
        effects: Mapping[str, Effect],
        receive: Callable[[str, bytes], int],
    ) -> None:
        self._timeline = timeline
        self._troubles = troubles
        self._random = random
        self._effects = effects
        self._receive = receive
        self.calls: list[Call] = []
        self.is_gone: Callable[[Invocation], bool] = lambda invocation: False
        self.during: Callable[[str], str] = lambda request_id: "unknown"
        """What kind of request it is, as `Fault` calls it."""
        self.denied_until: dict[str, float] = {}
        """Until when IAM does not know yet what the policy allows: by pipeline, or `role` for everything."""
        self.hang_takes = float(READ_TIMEOUT)
        """Seconds until the client gives up; more where the connection takes its time as well."""

    def call(self, sandbox: Sandbox, service: str, operation: str, parameters: Mapping[str, Any]) -> Any:
        invocation = sandbox.invocation
        assert invocation
        _validate(service, operation, parameters)
        trouble = self._meet(service, operation, parameters, invocation)
        call = self.calls[-1]
        takes = self._time_of(trouble)
        sandbox.sleep(takes / 2)
        if trouble not in _CRASHES and self._is_denied(invocation, parameters):
            call.trouble = trouble = Trouble.DENIED
        if trouble is Trouble.DENIED:
            raise denied(service, operation, _resource_of(parameters))
        answer: Any = None
        if trouble is Trouble.LATE:
            self._timeline.at(
                self._timeline.now + READ_TIMEOUT / 2 + self._late(),
                lambda: self._take_effect_unseen(operation, parameters, invocation),
            )
        elif trouble not in WITHOUT_EFFECT:
            answer = self._effects[operation](parameters, invocation)
            if trouble is Trouble.CRASH_AFTER:
                raise Crash
        sandbox.sleep(takes / 2)
        if trouble not in (None, Trouble.SLOW):
            raise error_of(trouble, service)
        return answer

    def put(self, sandbox: Sandbox, url: str, body: bytes) -> int:
        invocation = sandbox.invocation
        assert invocation
        trouble = self._meet("s3", "put", {"body": body}, invocation)
        takes = self._time_of(trouble)
        sandbox.sleep(takes / 2)
        status = 200
        if trouble is Trouble.LATE:
            self._timeline.at(
                self._timeline.now + READ_TIMEOUT / 2 + self._late(), lambda: self._receive_unseen(url, body)
            )
        elif trouble not in WITHOUT_EFFECT:
            status = self._receive(url, body)
            if trouble is Trouble.CRASH_AFTER:
                raise Crash
        sandbox.sleep(takes / 2)
        if trouble in (Trouble.REFUSED, Trouble.DENIED):
            return 403
        if trouble in (Trouble.UNAVAILABLE, Trouble.THROTTLED, Trouble.ERROR_BEFORE, Trouble.ERROR_AFTER):
            return 503
        if trouble not in (None, Trouble.SLOW):
            # as `Aws.put` says it
            raise Unclear("PUT to a host failed: ProtocolError")
        return status

    def _meet(
        self, service: str, operation: str, parameters: Mapping[str, Any], invocation: Invocation
    ) -> Trouble | None:
        trouble = self._troubles.next(operation, self.during(invocation.request_id))
        invocation.calls += 1
        self.calls.append(
            Call(
                self._timeline.now,
                service,
                operation,
                invocation.request_id,
                invocation.logical_id,
                parameters,
                trouble,
            )
        )
        if trouble is Trouble.CRASH_BEFORE:
            raise Crash
        return trouble

    def _time_of(self, trouble: Trouble | None) -> float:
        if trouble in _HANGS:
            return self.hang_takes
        if trouble is Trouble.SLOW:
            return READ_TIMEOUT - 1.0
        return 0.06 if self._random is None else self._random.choice((0.02, 0.05, 0.1, 0.4))

    def _late(self) -> float:
        return LATEST if self._random is None else self._random.uniform(0.1, LATEST)

    def _take_effect_unseen(
        self, operation: str, parameters: Mapping[str, Any], invocation: Invocation
    ) -> None:
        with suppress(Exception):  # nobody waits for the answer
            self._effects[operation](parameters, invocation)

    def _receive_unseen(self, url: str, body: bytes) -> None:
        self._receive(url, body)

    def _is_denied(self, invocation: Invocation, parameters: Mapping[str, Any]) -> bool:
        if self.is_gone(invocation):
            return True
        if not self.denied_until:
            return False
        now = self._timeline.now
        pipeline = str(parameters.get("pipelineName", ""))
        return now < self.denied_until.get("role", -FOR_EVER) or now < self.denied_until.get(
            pipeline, -FOR_EVER
        )


class SimulatedAws(Aws):
    """The handler's own `Aws`, whose clients lead into the simulation."""

    def __init__(self, network: Network, sandbox: Sandbox) -> None:
        # pauses that differ from sandbox to sandbox, and are the same each time
        super().__init__(sandbox.clock, Random(len(network.calls)))
        self._network = network
        self._sandbox = sandbox

    def _client(self, service: str, endpoint_url: str | None) -> Any:
        return _Client(self._network, self._sandbox, service)

    def put(self, url: str, body: bytes) -> int:
        return self._network.put(self._sandbox, url, body)


class _Client:
    def __init__(self, network: Network, sandbox: Sandbox, service: str) -> None:
        self._network, self._sandbox, self._service = network, sandbox, service

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **parameters: self._network.call(self._sandbox, self._service, operation, parameters)


@cache
def _operation(service: str, operation: str) -> OperationModel:
    session = botocore.session.Session()
    loader = session.get_component("data_loader")
    loader.search_paths.insert(0, str(Path(pipeline_reprocessing_handler.__file__).parent / "service_models"))
    model = session.get_service_model(service)
    return model.operation_model("".join(word.title() for word in operation.split("_")))


_VALIDATOR = ParamValidator()


def _validate(service: str, operation: str, parameters: Mapping[str, Any]) -> None:
    """As boto3 does, before anything is sent."""
    shape: Any = _operation(service, operation).input_shape
    report = _VALIDATOR.validate(parameters, shape)
    if report.has_errors():
        raise AssertionError(f"{service}:{operation}: {report.generate_report()}")


def _resource_of(parameters: Mapping[str, Any]) -> str:
    for key in (
        "pipelineName",
        "stateMachineArn",
        "executionArn",
        "logStreamName",
        "StackName",
        "FunctionName",
    ):
        if key in parameters:
            return f"arn:aws:service:eu-west-1:123456789012:{parameters[key]}"
    return "*"
