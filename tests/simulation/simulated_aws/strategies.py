"""What Hypothesis draws: worlds, and what happens in them. Each strategy is made once, for that costs more than a draw."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from .functions import LambdaPlan
from .requests import CloudFormationPlan
from .runs import RunPlan
from .scenarios import NEVER, Deploy, Destroy, Scenario, Stray
from .timeline import FOR_EVER
from .troubles import ANY, CRASHES, UNCLEAR, Fault, Trouble

KINDS = ("IOT_ANALYTICS", "STATE_MACHINE")
INTERRUPTIONS = st.sampled_from(["sibling", "cancel", "destroy"])

_LOGS = ("create_log_stream", "describe_log_streams")
_SERVICE = {
    "IOT_ANALYTICS": ("start_pipeline_reprocessing", "describe_pipeline", "cancel_pipeline_reprocessing"),
    "STATE_MACHINE": ("start_execution", "describe_execution", "stop_execution"),
}
_PASSING = (Trouble.THROTTLED, *UNCLEAR, Trouble.SLOW, Trouble.UNREACHABLE)
_REFUSALS = (Trouble.REFUSED, Trouble.UNAVAILABLE)


@cache
def passing(kind: str, *, fair: bool) -> st.SearchStrategy[Fault]:
    """Trouble after which a repeated call is answered."""
    times = st.integers(1, 4 if fair else 30)
    calls = st.builds(Fault, _operations(kind), st.sampled_from(_PASSING), st.integers(1, 12), times)
    answers = st.builds(Fault, st.just("put"), st.sampled_from(_REFUSALS), st.integers(1, 6), times)
    return st.one_of(calls, answers)


@cache
def crashes(kind: str, *, fair: bool) -> st.SearchStrategy[Fault]:
    """The end of a sandbox, before or after what a call does."""
    return st.builds(
        Fault,
        st.one_of(_operations(kind), st.just(ANY)),
        st.sampled_from(sorted(CRASHES)),
        st.integers(1, 40),
        st.just(1) if fair else st.integers(1, 10),
    )


@cache
def denials(kind: str) -> st.SearchStrategy[Fault]:
    """A permission that is missing for a while."""
    return st.builds(
        Fault, _operations(kind), st.just(Trouble.DENIED), st.integers(1, 12), st.integers(1, 100)
    )


@cache
def _operations(kind: str) -> st.SearchStrategy[str]:
    return st.sampled_from([*_SERVICE[kind], *_LOGS, "invoke", "describe_stacks", "put"])


@cache
def _faults(kind: str, *, fair: bool) -> st.SearchStrategy[tuple[Fault, ...]]:
    if not fair:
        faults = st.one_of(passing(kind, fair=False), crashes(kind, fair=False), denials(kind))
        return st.lists(faults, max_size=5).map(tuple)
    few = st.lists(passing(kind, fair=True), max_size=2)
    one = st.lists(crashes(kind, fair=True), max_size=1)
    return st.builds(lambda *lists: tuple(itertools.chain(*lists)), few, one)


SECONDS = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, 110.0, 300.0]), st.floats(0, 400, allow_nan=False)
)


@cache
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


@cache
def worlds(kind: str, *, fair: bool) -> st.SearchStrategy[Scenario]:
    """A kind of pipeline, a stack's properties, and how AWS behaves: what is settled before anything happens."""

    @cache
    def world(timeout: int | None) -> st.SearchStrategy[Scenario]:
        return st.builds(
            Scenario,
            kind=st.just(kind),
            steps=st.just(()),
            timeout=st.just(timeout),
            on_timeout=st.sampled_from(["FAIL", "DETACH"]),
            on_rollback=st.sampled_from(["KEEP", "REPROCESS"]),
            on_removal=st.sampled_from(["CANCEL", "CANCEL", "LEAVE"]),
            signal=st.booleans() if timeout else st.just(False),
            messages=st.sampled_from(["all", "last", "range", "paths"]),
            runs=_runs(fair=fair),
            functions=st.builds(LambdaPlan, cold=st.booleans()),
            cloudformation=st.builds(
                CloudFormationPlan,
                dated=st.sampled_from([True, True, False]),
                cleans_up_after_rollback=st.booleans(),
                reacts_after=st.sampled_from([1.0, 3.0, 10.0]),
            ),
            iam_takes=st.sampled_from([0.0, 0.0, 5.0, 40.0] if fair else [0.0, 20.0, 58.0, 100.0]),
            one_at_a_time=st.just(False) if fair else st.booleans(),
            log_page=st.sampled_from([50, 1, 3]),
            log_lag=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
            debug=st.booleans(),
            seed=st.one_of(st.just(0), st.integers(0, 2**16)),
        )

    return st.sampled_from([120, 120, 30, 1000, None]).flatmap(world)


def deploys(*, interrupted: bool) -> st.SearchStrategy[Deploy]:
    """A deploy; one that may be interrupted also says when the next step follows."""
    what = {
        "trigger": st.sampled_from(["t1", "t2", "t3"]),
        "pipeline": st.sampled_from(["sensors", "sensors", "sensors", "meters"]),
        "second": st.sampled_from([False, False, True]),
        "later_fails": st.sampled_from([False, False, True]),
    }
    if not interrupted:
        return st.builds(Deploy, **what)
    return st.builds(
        Deploy,
        **what,
        interrupted_after=st.one_of(st.none(), st.none(), SECONDS),
        interruption=INTERRUPTIONS,
        then_wait=st.sampled_from([0.0, 0.0, 30.0, 1000.0]),
    )


_STEPS = st.lists(
    st.one_of(*[deploys(interrupted=True)] * 3, st.builds(Destroy)), min_size=1, max_size=4
).map(tuple)


_KINDS = st.sampled_from(KINDS)
_THROTTLED = st.lists(st.tuples(SECONDS, st.floats(1, 30_000)), max_size=1)
_DUPLICATES = st.lists(st.tuples(st.integers(1, 8), SECONDS), max_size=2)
_REPEATS = st.lists(st.tuples(st.integers(1, 4), SECONDS), max_size=1)
_FOREIGN_RUNS = st.lists(SECONDS, max_size=1)
_STRAYS = st.lists(st.builds(Stray, SECONDS), max_size=1)


@st.composite
def scenarios(draw: st.DrawFn, *, fair: bool) -> Scenario:
    """Any story, whole before it begins; a fair one keeps within the bounds of `invariants`."""
    kind = draw(_KINDS)
    world = draw(worlds(kind, fair=fair))
    throttled = () if fair else draw(_THROTTLED)
    return replace(
        world,
        steps=draw(_STEPS),
        faults=draw(_faults(kind, fair=fair)),
        functions=replace(
            world.functions,
            duplicates=tuple(draw(_DUPLICATES)),
            throttled=tuple((since, since + length) for since, length in throttled),
        ),
        cloudformation=replace(world.cloudformation, repeats=tuple(draw(_REPEATS))),
        foreign_runs=tuple(draw(_FOREIGN_RUNS)),
        strays=tuple(draw(_STRAYS)),
    )
