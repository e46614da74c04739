"""Scenarios: what people, CloudFormation, Lambda, the network and the pipeline do, as values that can be played."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .functions import LambdaPlan, MakeHandler
from .requests import CloudFormationPlan, Request
from .resources import Other, Template
from .runs import RunPlan
from .templates import failing, reprocessing
from .timeline import FOR_EVER, Steps, Until
from .troubles import Fault
from .world import World

MAY_BE_DEPLOYED = (
    "NONE",
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "DELETE_COMPLETE",
)
NEVER = 1e8
SOUGHT_FOR = 300.0
"""Seconds after a request's last call for which a run that appears may be taken for the one that it has started."""


@dataclass(frozen=True)
class Deploy:
    """A deploy of the stack.

    Args:
        trigger: Which definition; another one reprocesses.
        because: The stack's path, which tells why a deploy reprocesses and reprocesses nothing itself; empty for none.
        pipeline: Which pipeline.
        second: Whether there is a second construct for the same pipeline.
        later_fails: Whether another resource fails after the custom resource.
        longer: Seconds by which the wait is longer than the scenario says; the data do not depend on it.
        interrupted_after: Seconds after which somebody interferes.
        interruption: How.
        then_wait: Seconds until the next step.
    """

    trigger: str = "t1"
    because: str = ""
    pipeline: str = "sensors"
    second: bool = False
    later_fails: bool = False
    longer: int = 0
    interrupted_after: float | None = None
    interruption: str = "sibling"
    then_wait: float = 0.0


@dataclass(frozen=True)
class Destroy:
    """The stack is deleted."""

    then_wait: float = 0.0


Step = Deploy | Destroy


@dataclass(frozen=True)
class Stray:
    """A Delete out of season, for an id that was issued before and is not the current one."""

    after: float


@dataclass(frozen=True)
class Scenario:
    """A whole story.

    Args:
        before: Deployed in calm weather before the story begins.
        run_before: What its run does.
        steps: What people do; in the end the stack is deleted.

    What AWS does is counted from the beginning of the story: calls, events, requests and seconds.
    """

    kind: str = "IOT_ANALYTICS"
    before: Deploy | None = None
    run_before: RunPlan = field(default_factory=lambda: RunPlan(takes=5.0))
    steps: tuple[Step, ...] = (Deploy(),)
    timeout: int | None = 120
    on_timeout: str = "FAIL"
    on_rollback: str = "KEEP"
    on_removal: str = "CANCEL"
    signal: bool = False
    messages: str = "all"
    runs: tuple[RunPlan, ...] = (RunPlan(),)
    faults: tuple[Fault, ...] = ()
    functions: LambdaPlan = field(default_factory=LambdaPlan)
    cloudformation: CloudFormationPlan = field(default_factory=CloudFormationPlan)
    iam_takes: float = 0.0
    foreign_runs: tuple[float, ...] = ()
    strays: tuple[Stray, ...] = ()
    one_at_a_time: bool = False
    log_page: int = 50
    log_lag: float = 0.0
    debug: bool = False
    seed: int = 0

    def world(self, make_handler: MakeHandler | None = None) -> World:
        """The world as the story begins."""
        world = World(
            self.kind,
            runs=(self.run_before, *self.runs) if self.before else self.runs,
            functions=replace(self.functions, duplicates=(), throttled=()),
            cloudformation=replace(self.cloudformation, repeats=()),
            seed=self.seed,
            one_at_a_time=self.one_at_a_time,
            log_page=self.log_page,
            log_lag=self.log_lag,
            debug=self.debug,
            make_handler=make_handler,
        )
        if self.before:
            replace(self, iam_takes=0.0).begin(self.before, world)
            world.timeline.run()
        world.begin(self.faults, self.functions, self.cloudformation)
        return world

    def play(self, make_handler: MakeHandler | None = None) -> World:
        """The world after the story. Its threads have ended."""
        with self.world(make_handler) as world:
            world.timeline.process(self._story(world))
            for when in self.foreign_runs:
                world.timeline.process(self._start_foreign_run(world, world.began + when))
            for stray in self.strays:
                world.timeline.at(world.began + stray.after, lambda: delete_what_was_replaced(world))
            world.timeline.run()
        return world

    def _story(self, world: World) -> Steps:
        cloudformation, timeline = world.cloudformation, world.timeline
        for step in (*self.steps, Destroy()):
            is_deploy = isinstance(step, Deploy)
            if cloudformation.status == "UPDATE_ROLLBACK_FAILED" and is_deploy:
                timeline.process(cloudformation.continue_rollback())
                yield from self._idle(world)
            if is_deploy and cloudformation.status not in MAY_BE_DEPLOYED:
                timeline.process(cloudformation.destroy())
                yield from self._idle(world)
                if cloudformation.status not in MAY_BE_DEPLOYED:
                    break
            if isinstance(step, Deploy):
                self.begin(step, world)
                if step.interrupted_after is not None:
                    timeline.at(
                        world.now + step.interrupted_after,
                        lambda step=step: cloudformation.interrupt(step.interruption),  # type: ignore[misc]  # binds early
                    )
            elif cloudformation.status not in ("NONE", "DELETE_COMPLETE"):
                timeline.process(cloudformation.destroy())
            yield from self._idle(world)
            yield Until(world.now + step.then_wait)

    def begin(self, step: Deploy, world: World) -> None:
        """Begins a deploy. A new role, and a policy that names another pipeline, take their time to reach IAM."""
        if world.cloudformation.status in ("NONE", "DELETE_COMPLETE"):
            world.network.denied_until = {"role": world.now + self.iam_takes, step.pipeline: 0.0}
        elif step.pipeline not in world.network.denied_until:
            world.network.denied_until[step.pipeline] = world.now + self.iam_takes
        world.timeline.process(world.cloudformation.deploy(self.template(step)))

    @staticmethod
    def _idle(world: World) -> Steps:
        yield Until(world.now + 0.1)
        yield Until(FOR_EVER, lambda: not world.cloudformation.is_busy)

    def template(self, step: Deploy) -> Template:
        """What the step deploys."""
        common: dict[str, Any] = {
            "trigger": step.trigger + step.pipeline,
            "because": step.because,
            "pipeline": step.pipeline,
            "messages": {
                "all": {"All": True},
                "last": {"LastSeconds": 86400},
                "range": {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-02-01T00:00:00Z"},
                "paths": {"S3Paths": ["channel/sensors/__dt=2025-01-01 00:00:00/1_2_3.json.gz"]},
            }[self.messages],
            "timeout": self.timeout and self.timeout + step.longer,
            "on_timeout": self.on_timeout,
            "on_rollback": self.on_rollback,
            "on_removal": self.on_removal,
            "signal": self.signal,
        }
        template = reprocessing(self.kind, **common)
        if step.second:
            template += reprocessing(self.kind, logical_id="Second", **common)
        return (*template, failing() if step.later_fails else Other("Later"))

    def _start_foreign_run(self, world: World, when: float) -> Steps:
        yield Until(when)
        while not may_start_a_foreign_run(world):
            yield Until(world.now + 5.0)
        start_a_foreign_run(world)


def start_a_foreign_run(world: World) -> None:
    """Somebody else starts a run."""
    run = world.service.add("sensors", None, "", {}, name=f"foreign{len(world.runs)}")
    run.plan = replace(run.plan, listed_after=0.0)


def may_start_a_foreign_run(world: World) -> bool:
    """Whether a run that begins now can be told from ours."""
    return world.kind != "IOT_ANALYTICS" or not _is_unsettled(world)


def delete_what_was_replaced(world: World) -> None:
    """A Delete out of season, for an id that was issued before and is not the current one."""
    cloudformation = world.cloudformation
    for request in reversed(world.requests):
        accepted = request.accepted
        spec = cloudformation.current(request.logical_id)
        if request.type == "Delete" or not accepted or spec is None:
            continue
        if request.event["StackId"] == cloudformation.stack_id and request.answer_id != spec[1]:
            cloudformation.stray_delete(spec[0], request.answer_id)
            return


def _is_unsettled(world: World) -> bool:
    """Whether a run that appears now might be taken for ours: as long as it may not be known which is."""
    return any(_seeks_its_run(world, request) for request in world.requests if request.type != "Delete")


def _seeks_its_run(world: World, request: Request) -> bool:
    invocations = [each for each in world.functions.invocations if each.request_id == request.request_id]
    if any(not each.is_continuation and each.ended > world.now for each in invocations):
        return True
    if request.succeeded or any(each.is_continuation for each in invocations):
        return False
    calls = (call.time for call in reversed(world.network.calls) if call.request_id == request.request_id)
    return world.now <= next(calls, request.made) + SOUGHT_FOR
