"""Random scenarios: what people, CloudFormation, Lambda, the network and the pipeline do, drawn by Hypothesis.

Everything is drawn before the world begins, so that a failing scenario is a value that can be printed, shrunk and
played again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from pipeline_reprocessing_handler.starting import LEASE

from .cloudformation import CloudFormationPlan, Other, Template
from .functions import LambdaPlan, MakeHandler
from .runs import RunPlan
from .templates import failing, reprocessing
from .timeline import FOR_EVER, Steps, Until
from .troubles import ANY, Fault, Trouble
from .world import World

MAY_BE_DEPLOYED = (
    "NONE",
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "DELETE_COMPLETE",
)
NEVER = 1e8


@dataclass(frozen=True)
class Deploy:
    """A deploy of the stack.

    Args:
        trigger: Which definition; another one reprocesses.
        pipeline: Which pipeline.
        second: Whether there is a second construct for the same pipeline.
        later_fails: Whether another resource fails after the custom resource.
        interrupted_after: Seconds after which somebody interferes.
        interruption: How.
        then_wait: Seconds until the next step.
    """

    trigger: str = "t1"
    pipeline: str = "sensors"
    second: bool = False
    later_fails: bool = False
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
    """A whole story."""

    kind: str = "IOT_ANALYTICS"
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
    debug: bool = False
    seed: int = 0

    def play(self, make_handler: MakeHandler | None = None) -> World:
        """The world after the story. Its threads have ended."""
        world = World(
            self.kind,
            runs=self.runs,
            faults=self.faults,
            functions=self.functions,
            cloudformation=self.cloudformation,
            seed=self.seed,
            one_at_a_time=self.one_at_a_time,
            log_page=self.log_page,
            debug=self.debug,
            make_handler=make_handler,
        )
        with world:
            world.timeline.process(self._story(world))
            for when in self.foreign_runs:
                world.timeline.process(self._start_foreign_run(world, when))
            for stray in self.strays:
                world.timeline.at(stray.after, lambda: self._stray_delete(world))
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
                if cloudformation.status in ("NONE", "DELETE_COMPLETE"):
                    world.network.denied_until = {"role": world.now + self.iam_takes, step.pipeline: 0.0}
                elif step.pipeline not in world.network.denied_until:
                    world.network.denied_until[step.pipeline] = world.now + self.iam_takes
                timeline.process(cloudformation.deploy(self.template(step)))
                if step.interrupted_after is not None:
                    timeline.at(
                        world.now + step.interrupted_after,
                        lambda step=step: cloudformation.interrupt(step.interruption),  # type: ignore[misc]  # binds early
                    )
            elif cloudformation.status not in ("NONE", "DELETE_COMPLETE"):
                timeline.process(cloudformation.destroy())
            yield from self._idle(world)
            yield Until(world.now + step.then_wait)

    @staticmethod
    def _idle(world: World) -> Steps:
        yield Until(world.now + 0.1)
        yield Until(FOR_EVER, lambda: not world.cloudformation.is_busy)

    def template(self, step: Deploy) -> Template:
        """What the step deploys."""
        common: dict[str, Any] = {
            "trigger": step.trigger + step.pipeline,
            "pipeline": step.pipeline,
            "messages": {
                "all": {"All": True},
                "last": {"LastSeconds": 86400},
                "range": {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-02-01T00:00:00Z"},
                "paths": {"S3Paths": ["channel/sensors/__dt=2025-01-01 00:00:00/1_2_3.json.gz"]},
            }[self.messages],
            "timeout": self.timeout,
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
        """Somebody else starts a run, at a time at which ours can be told from it."""
        yield Until(when)
        while self.kind == "IOT_ANALYTICS" and _is_unsettled(world):
            yield Until(world.now + 5.0)
        run = world.service.add("sensors", None, "", {}, name=f"foreign{len(world.runs)}")
        run.plan = replace(run.plan, listed_after=0.0)

    @staticmethod
    def _stray_delete(world: World) -> None:
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
    """Whether a run that appears now might be taken for ours."""
    marks: dict[str, dict[str, float]] = {}
    for name, made in world.logs.streams.items():
        folder, _, mark = name.rpartition("/")
        marks.setdefault(folder, {})[mark] = made / 1000 - 1_767_225_600
    return any(_is_open(of_request, world.now) for of_request in marks.values())


def _is_open(marks: dict[str, float], now: float) -> bool:
    if not any(mark.startswith("before") for mark in marks):
        return False
    if any(mark.startswith("run=") for mark in marks):
        return False
    last = max(marks.values())
    return now <= last + LEASE.total_seconds() + 180


# -- strategies -----------------------------------------------------------------------------------------------

_LOGS = ("create_log_stream", "describe_log_streams")
_SERVICE = {
    "IOT_ANALYTICS": ("start_pipeline_reprocessing", "describe_pipeline", "cancel_pipeline_reprocessing"),
    "STATE_MACHINE": ("start_execution", "describe_execution", "stop_execution"),
}
_PASSING = (
    Trouble.THROTTLED,
    Trouble.ERROR_BEFORE,
    Trouble.ERROR_AFTER,
    Trouble.DROPPED_BEFORE,
    Trouble.DROPPED_AFTER,
    Trouble.HANGS_BEFORE,
    Trouble.HANGS_AFTER,
    Trouble.LATE,
    Trouble.SLOW,
    Trouble.UNREACHABLE,
)
_CRASHES = (Trouble.CRASH_BEFORE, Trouble.CRASH_AFTER)
_REFUSALS = (Trouble.REFUSED, Trouble.UNAVAILABLE)


def _faults(kind: str, *, fair: bool) -> st.SearchStrategy[tuple[Fault, ...]]:
    most = 4 if fair else 30
    operations = st.sampled_from([*_SERVICE[kind], *_LOGS, "invoke", "describe_stacks", "put"])
    passing = st.builds(
        Fault, operations, st.sampled_from(_PASSING), st.integers(1, 12), st.integers(1, most)
    )
    refused = st.builds(
        Fault, st.just("put"), st.sampled_from(_REFUSALS), st.integers(1, 6), st.integers(1, most)
    )
    crash = st.builds(
        Fault,
        st.one_of(operations, st.just(ANY)),
        st.sampled_from(_CRASHES),
        st.integers(1, 40),
        st.just(1) if fair else st.integers(1, 10),
    )
    if fair:
        return st.tuples(st.lists(st.one_of(passing, refused), max_size=2), st.lists(crash, max_size=1)).map(
            lambda lists: (*lists[0], *lists[1])
        )
    denied = st.builds(Fault, operations, st.just(Trouble.DENIED), st.integers(1, 12), st.integers(1, 100))
    return st.lists(st.one_of(passing, refused, crash, denied), max_size=5).map(tuple)


_SECONDS = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, 110.0, 300.0]), st.floats(0, 400, allow_nan=False)
)


def _runs(*, fair: bool) -> st.SearchStrategy[tuple[RunPlan, ...]]:
    plan = st.builds(
        RunPlan,
        takes=st.sampled_from([30.0, 0.5, 5.0, 100.0, 119.0, 121.0, 600.0, NEVER]),
        ends=st.sampled_from(["SUCCEEDED", "SUCCEEDED", "FAILED"]),
        listed_after=st.sampled_from([0.0, 0.0, 2.0, 15.0]),
        forgotten_after=st.sampled_from([FOR_EVER, FOR_EVER, 400.0]),
        cancel_takes=st.sampled_from([0.2, 5.0, 50.0] if fair else [0.2, 50.0, 300.0, NEVER]),
        cancelled_after=st.sampled_from([FOR_EVER, FOR_EVER, FOR_EVER, 10.0]),
    )
    return st.lists(plan, min_size=1, max_size=4).map(tuple)


_DEPLOYS = st.builds(
    Deploy,
    trigger=st.sampled_from(["t1", "t2", "t3"]),
    pipeline=st.sampled_from(["sensors", "sensors", "sensors", "meters"]),
    second=st.sampled_from([False, False, True]),
    later_fails=st.sampled_from([False, False, True]),
    interrupted_after=st.one_of(st.none(), st.none(), _SECONDS),
    interruption=st.sampled_from(["sibling", "cancel", "destroy"]),
    then_wait=st.sampled_from([0.0, 0.0, 30.0, 1000.0]),
)
_STEPS = st.lists(st.one_of(_DEPLOYS, _DEPLOYS, _DEPLOYS, st.builds(Destroy)), min_size=1, max_size=4).map(
    tuple
)


@st.composite
def scenarios(draw: st.DrawFn, *, fair: bool) -> Scenario:
    """Any story; a fair one keeps within the bounds of `invariants`."""
    kind = draw(st.sampled_from(["IOT_ANALYTICS", "STATE_MACHINE"]))
    timeout = draw(st.sampled_from([120, 120, 30, 1000, None]))
    throttled = () if fair else draw(st.lists(st.tuples(_SECONDS, st.floats(1, 30_000)), max_size=1))
    return Scenario(
        kind=kind,
        steps=draw(_STEPS),
        timeout=timeout,
        on_timeout=draw(st.sampled_from(["FAIL", "DETACH"])),
        on_rollback=draw(st.sampled_from(["KEEP", "REPROCESS"])),
        on_removal=draw(st.sampled_from(["CANCEL", "CANCEL", "LEAVE"])),
        signal=draw(st.booleans()) if timeout else False,
        messages=draw(st.sampled_from(["all", "last", "range", "paths"])),
        runs=draw(_runs(fair=fair)),
        faults=draw(_faults(kind, fair=fair)),
        functions=LambdaPlan(
            cold=draw(st.booleans()),
            duplicates=tuple(draw(st.lists(st.tuples(st.integers(1, 8), _SECONDS), max_size=2))),
            throttled=tuple((since, since + length) for since, length in throttled),
        ),
        cloudformation=CloudFormationPlan(
            dated=draw(st.sampled_from([True, True, False])),
            repeats=tuple(draw(st.lists(st.tuples(st.integers(1, 4), _SECONDS), max_size=1))),
            cleans_up_after_rollback=draw(st.booleans()),
            reacts_after=draw(st.sampled_from([1.0, 3.0, 10.0])),
        ),
        iam_takes=draw(st.sampled_from([0.0, 0.0, 5.0, 40.0] if fair else [0.0, 20.0, 58.0, 100.0])),
        foreign_runs=tuple(draw(st.lists(_SECONDS, max_size=1))),
        strays=tuple(draw(st.lists(st.builds(Stray, _SECONDS), max_size=1))),
        one_at_a_time=False if fair else draw(st.booleans()),
        log_page=draw(st.sampled_from([50, 1, 3])),
        debug=draw(st.booleans()),
        seed=draw(st.one_of(st.just(0), st.integers(0, 2**16))),
    )
