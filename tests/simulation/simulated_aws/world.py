"""Everything together: one account, one function, one stack, one pipeline service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Any

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.index import Handler

from .cloudformation import SimulatedCloudFormation
from .functions import Invocation, LambdaPlan, MakeHandler, SimulatedLambda
from .logs import SimulatedLogs
from .network import Network, SimulatedAws
from .requests import CloudFormationPlan, Request
from .resources import Template
from .runs import RunPlan, Runs, SimulatedIotAnalytics, SimulatedStepFunctions
from .timeline import Steps, Timeline, Until
from .troubles import Fault, Troubles

LOG_GROUP = "/stack/handler"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:sensors"


class World:
    """A simulated AWS in which the real handler code runs. Use it in a `with` block.

    Args:
        kind: IOT_ANALYTICS or STATE_MACHINE.
        runs: What the runs will do, in the order in which they are started; the last plan holds for all further ones.
        faults: Trouble with calls.
        functions: How Lambda behaves.
        cloudformation: How CloudFormation behaves.
        seed: Decides how long each call takes, and so how concurrent invocations interleave; 0: all the same.
        one_at_a_time: Whether a pipeline that runs refuses another run with 409.
        log_page: Streams in one page of DescribeLogStreams.
        log_lag: Seconds until DescribeLogStreams lists a new stream.
        debug: Whether crhelper logs at DEBUG.
        make_handler: Makes the function's handler; tests of the checks put broken ones here.
    """

    def __init__(
        self,
        kind: str = "IOT_ANALYTICS",
        *,
        runs: Iterable[RunPlan] = (),
        faults: Iterable[Fault] = (),
        functions: LambdaPlan | None = None,
        cloudformation: CloudFormationPlan | None = None,
        seed: int = 0,
        one_at_a_time: bool = False,
        log_page: int = 50,
        log_lag: float = 0.0,
        debug: bool = False,
        make_handler: MakeHandler | None = None,
    ) -> None:
        self.kind = kind
        self.timeline = Timeline()
        self.troubles = Troubles(faults)
        self.logs = SimulatedLogs(self.timeline, log_page, log_lag)
        service = SimulatedIotAnalytics if kind == "IOT_ANALYTICS" else SimulatedStepFunctions
        self.service = service(self.timeline, tuple(runs), one_at_a_time=one_at_a_time)
        self.functions = SimulatedLambda(
            self.timeline,
            functions or LambdaPlan(),
            lambda sandbox: SimulatedAws(self.network, sandbox),
            lambda aws: _with_level((make_handler or _real)(aws), "DEBUG" if debug else "INFO"),
        )
        self.cloudformation = SimulatedCloudFormation(
            self.timeline, cloudformation or CloudFormationPlan(), self.functions.queue
        )
        self.network = Network(
            self.timeline,
            self.troubles,
            Random(seed) if seed else None,  # it is to be the same each time
            self._effects(),
            self.cloudformation.receive,
        )
        # A stack takes its function, its role and its log group with it.
        gone = self.cloudformation.gone
        self.functions.is_gone = lambda event: bool(gone) and event.body.get("StackId") in gone
        self.network.is_gone = lambda invocation: bool(gone) and invocation.body.get("StackId") in gone
        self.network.during = self.cloudformation.kind_of
        self.cloudformation.on_new_stack = self.logs.streams.clear
        self._level_before = logging.root.level
        self.began = 0.0
        """When the story began: what was deployed before is no part of it."""

    def begin(
        self, faults: Iterable[Fault], functions: LambdaPlan, cloudformation: CloudFormationPlan
    ) -> None:
        """Begins the story: AWS behaves like that from now on, and counts its calls, events and requests from here."""
        self.began = now = self.now
        events, requests = len(self.functions.events), len(self.requests)
        for fault in faults:
            self.troubles.add(fault)
        self.functions.plan = replace(
            functions,
            duplicates=tuple((number + events, later) for number, later in functions.duplicates),
            throttled=tuple((since + now, until + now) for since, until in functions.throttled),
        )
        self.cloudformation.plan = replace(
            cloudformation,
            repeats=tuple((number + requests, later) for number, later in cloudformation.repeats),
        )

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timeline.close()
        logging.root.setLevel(self._level_before)

    @property
    def now(self) -> float:
        return self.timeline.now

    @property
    def runs(self) -> list[Any]:
        return self.service.all

    @property
    def requests(self) -> list[Request]:
        return self.cloudformation.requests

    def deploy(self, template: Template) -> World:
        """Deploys, and lets everything happen until nothing is left to happen."""
        return self.play(self.cloudformation.deploy(template))

    def destroy(self) -> World:
        return self.play(self.cloudformation.destroy())

    def play(self, steps: Steps) -> World:
        self.timeline.process(steps)
        self.timeline.run()
        return self

    def let_pass(self, seconds: float) -> World:
        """Lets happen what happens in so many seconds, and no more."""
        then = self.now + seconds
        self.timeline.at(then, lambda: None)  # no sandbox goes beyond what is due
        self.timeline.run(until=then)
        return self

    def meanwhile(self, seconds: float, action: Callable[[], Any]) -> None:
        """Does something so many seconds from now."""
        self.timeline.at(self.now + seconds, lambda: action() and None)

    def idle(self) -> Steps:
        """Waits until the stack's operation is over."""
        yield Until(float("inf"), lambda: not self.cloudformation.is_busy)

    def _effects(self) -> dict[str, Callable[[Mapping[str, Any], Invocation], Any]]:
        logs, cloudformation, functions = self.logs, self.cloudformation, self.functions
        service: Runs = self.service

        def of_service(operation: str) -> Callable[[Mapping[str, Any], Invocation], Any]:
            return lambda parameters, invocation: getattr(service, operation)(
                parameters, invocation.request_id, invocation.logical_id
            )

        return {
            "create_log_stream": lambda parameters, _: logs.create_log_stream(parameters),
            "describe_log_streams": lambda parameters, _: logs.describe_log_streams(parameters),
            "describe_stacks": lambda parameters, _: cloudformation.describe_stacks(parameters),
            "invoke": functions.invoke,
            **{
                operation: of_service(operation)
                for operation in (
                    "start_pipeline_reprocessing",
                    "cancel_pipeline_reprocessing",
                    "describe_pipeline",
                    "start_execution",
                    "describe_execution",
                    "stop_execution",
                )
            },
        }


def _real(aws: Aws) -> Handler:
    return Handler(aws, LOG_GROUP)


def _with_level(handler: Handler, level: str) -> Handler:
    vars(handler._adapter)["_log_level"] = level  # crhelper's types leave private parts out
    return handler
