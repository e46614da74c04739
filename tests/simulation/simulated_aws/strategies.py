"""What Hypothesis draws: worlds, and what happens in them. Each strategy is made once, for that costs more than a draw."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import TypeVar

from hypothesis import strategies as st

from .fair_weather import FAIR_REPEATS
from .functions import LambdaPlan
from .requests import CloudFormationPlan
from .runs import RunPlan
from .scenarios import NEVER, Deploy, Destroy, Scenario, Step, Stray
from .timeline import FOR_EVER
from .troubles import ANY, CRASHES, HANGING, UNCLEAR, Fault, Trouble

Drawn = TypeVar("Drawn")


def weighted(*choices: tuple[int, st.SearchStrategy[Drawn]]) -> st.SearchStrategy[Drawn]:
    """One of the strategies, each as often as its weight says: `st.one_of` drops repeats."""
    strategies = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.sampled_from(range(len(strategies))).flatmap(strategies.__getitem__)


KINDS = ("IOT_ANALYTICS", "STATE_MACHINE")
INTERRUPTIONS = st.sampled_from(["sibling", "cancel", "destroy"])

_SERVICE = {
    "IOT_ANALYTICS": ("start_pipeline_reprocessing", "describe_pipeline", "cancel_pipeline_reprocessing"),
    "STATE_MACHINE": ("start_execution", "describe_execution", "stop_execution"),
}
_UNCLEAR = st.sampled_from([*UNCLEAR, Trouble.SLOW, Trouble.UNREACHABLE])
_REFUSALS = st.sampled_from([Trouble.REFUSED, Trouble.UNAVAILABLE])
_ROUGH_STREAKS = st.sampled_from([1, 2, 5, 8, 12, 30, 80])


@cache
def passing(kind: str, *, fair: bool) -> st.SearchStrategy[Fault]:
    """Trouble after which a repeated call is answered."""

    def streak(longest: int) -> st.SearchStrategy[int]:
        return st.sampled_from([1, longest, *range(1, longest + 1)]) if fair else _ROUGH_STREAKS

    @cache
    def troubles(operation: str) -> st.SearchStrategy[Trouble]:
        if operation == "put":
            return weighted((1, _UNCLEAR), (1, _REFUSALS))
        return weighted((1, st.just(Trouble.THROTTLED)), (1, _UNCLEAR))

    @cache
    def faults(aimed: tuple[str, str, int], trouble: Trouble) -> st.SearchStrategy[Fault]:
        # The time is bounded, too: what hangs costs more of it than a pause; after a start without a clear answer IoT
        # Analytics is asked for its run for half a minute; and a service without a connection is not tried for longer.
        is_slow = trouble in {*HANGING, Trouble.UNREACHABLE} or (
            trouble in UNCLEAR and aimed[0] == "start_pipeline_reprocessing"
        )
        longest = min(FAIR_REPEATS, 4) if is_slow else FAIR_REPEATS
        if trouble in UNCLEAR and aimed[0] == "create_log_stream":
            longest = 2  # a claim in doubt is another's until its lease ends, and there is time for one lease
        return _faults_of(aimed, trouble, streak(longest))

    return _aimed(kind).flatmap(
        lambda aimed: troubles(aimed[0]).flatmap(lambda trouble: faults(aimed, trouble))
    )


@cache
def crashes(kind: str, *, fair: bool) -> st.SearchStrategy[Fault]:
    """The end of a sandbox, before or after what a call does."""
    times = st.just(1) if fair else st.integers(1, 10)
    trouble = st.sampled_from(sorted(CRASHES))
    anywhere = st.builds(Fault, st.just(ANY), trouble, st.integers(1, 60), times)
    somewhere = st.tuples(_aimed(kind), trouble).flatmap(lambda drawn: _faults_of(*drawn, times))
    return weighted((1, anywhere), (1, somewhere))


@cache
def denials(kind: str) -> st.SearchStrategy[Fault]:
    """A permission that is missing for a while."""
    times = st.sampled_from([1, 5, 20, 100])
    return _aimed(kind).flatmap(lambda aimed: _faults_of(aimed, Trouble.DENIED, times))


def _faults_of(
    aimed: tuple[str, str, int], trouble: Trouble, times: st.SearchStrategy[int]
) -> st.SearchStrategy[Fault]:
    operation, during, latest = aimed
    nth = st.sampled_from([1, 1, *range(1, latest + 1)])
    return st.builds(Fault, st.just(operation), st.just(trouble), nth, times, st.just(during))


@cache
def _aimed(kind: str) -> st.SearchStrategy[tuple[str, str, int]]:
    """An operation, the requests it is called for, and up to which call trouble with it may wait."""
    start, look, cancel = _SERVICE[kind]
    of_updates = ["", "", "Update", "Update", "rollback", "rollback"]
    of_all = [*of_updates, "Create", "Delete"]

    def calls(operation: str, during: list[str], latest: int) -> st.SearchStrategy[tuple[str, str, int]]:
        return st.tuples(st.just(operation), st.sampled_from(during), st.just(latest))

    return weighted(
        (8, calls(start, of_updates, 2)),
        (4, calls("create_log_stream", of_all, 6)),
        (4, calls("describe_log_streams", of_all, 10)),
        (4, calls(cancel, of_all, 2)),
        (4, calls("invoke", of_updates, 2)),
        (4, calls("describe_stacks", [*of_updates, "rollback", "rollback"], 2)),
        (2, calls("put", of_all, 2)),
        (2, calls(look, of_all, 8)),
    )


@cache
def _faults(kind: str, *, fair: bool) -> st.SearchStrategy[tuple[Fault, ...]]:
    if not fair:
        faults = weighted((3, passing(kind, fair=False)), (1, crashes(kind, fair=False)), (1, denials(kind)))
        return st.lists(faults, max_size=5).map(tuple)
    # two streaks of one operation would be one of twice the length
    some = st.lists(passing(kind, fair=True), min_size=1, max_size=2, unique_by=lambda fault: fault.operation)
    few = weighted((1, st.just([])), (7, some))
    crash = weighted((3, st.just(())), (1, st.tuples(crashes(kind, fair=True))))
    return st.tuples(few, crash).map(lambda lists: tuple(itertools.chain(*lists)))


SECONDS = weighted(
    (2, st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, 110.0, 300.0])),
    (1, st.floats(0, 400, allow_nan=False)),
)


@cache
def _runs(*, fair: bool) -> st.SearchStrategy[tuple[RunPlan, ...]]:
    plan = st.builds(
        RunPlan,
        takes=st.sampled_from([30.0, 30.0, 5.0, 0.5, 100.0, 119.0, 121.0, 600.0, NEVER]),
        ends=st.sampled_from(["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED"]),
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
    def world(wait: tuple[int | None, str]) -> st.SearchStrategy[Scenario]:
        timeout, on_timeout = wait
        # what a deploy has waited for in vain would be no deploy
        may_go_on = timeout is None or on_timeout == "DETACH"
        return st.builds(
            Scenario,
            kind=st.just(kind),
            before=st.sampled_from([Deploy(), Deploy(), Deploy(), None]),
            steps=st.just(()),
            timeout=st.just(timeout),
            on_timeout=st.just(on_timeout),
            on_rollback=st.sampled_from(["KEEP", "REPROCESS"]),
            on_removal=st.sampled_from(["CANCEL", "CANCEL", "LEAVE"]),
            signal=st.booleans() if timeout else st.just(False),
            messages=st.sampled_from(["all", "last", "range", "paths"]),
            run_before=st.builds(RunPlan, takes=st.sampled_from([5.0, 600.0, NEVER] if may_go_on else [5.0])),
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

    timeouts = st.sampled_from([120, 120, 30, 1000, None])
    return st.tuples(timeouts, st.sampled_from(["FAIL", "FAIL", "DETACH"])).flatmap(world)


def deploys(*, interrupted: bool) -> st.SearchStrategy[Deploy]:
    """A deploy; one that may be interrupted also says when the next step follows."""
    what = {
        "trigger": st.sampled_from(["t2", "t2", "t3", "t1"]),
        "because": st.sampled_from(["", "Telemetry", "Weather"]),
        "pipeline": st.sampled_from(["sensors", "sensors", "sensors", "meters"]),
        "second": st.sampled_from([False, False, False, True]),
        "later_fails": st.sampled_from([False, False, True]),
        "longer": st.sampled_from([0, 0, 60]),
    }
    if not interrupted:
        return st.builds(Deploy, **what)
    return st.builds(
        Deploy,
        **what,
        interrupted_after=weighted((2, st.none()), (1, SECONDS)),
        interruption=INTERRUPTIONS,
        then_wait=st.sampled_from([0.0, 0.0, 30.0, 1000.0]),
    )


_STEP: st.SearchStrategy[Step] = weighted((6, deploys(interrupted=True)), (1, st.builds(Destroy)))
_STEPS = st.lists(_STEP, min_size=1, max_size=3).map(tuple)


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
    faults = draw(_faults(kind, fair=fair))
    throttled = () if fair else draw(_THROTTLED)
    return replace(
        world,
        steps=draw(_STEPS),
        faults=faults,
        functions=replace(
            world.functions,
            duplicates=tuple(draw(_DUPLICATES)),
            throttled=tuple((since, since + length) for since, length in throttled),
        ),
        cloudformation=replace(world.cloudformation, repeats=tuple(draw(_REPEATS))),
        foreign_runs=tuple(draw(_FOREIGN_RUNS)),
        strays=tuple(draw(_STRAYS)),
    )


@st.composite
def in_trouble(draw: st.DrawFn) -> Scenario:
    """A fair story in which a call that changes something gets no clear answer, or is throttled for as long as is fair."""
    scenario = draw(scenarios(fair=True))
    start, _, cancel = _SERVICE[scenario.kind]
    operation, trouble = draw(st.sampled_from([start, cancel, "invoke"])), draw(st.sampled_from(UNCLEAR))
    throttled = Fault(operation, Trouble.THROTTLED, times=FAIR_REPEATS)
    unclear = Fault(operation, trouble, draw(st.sampled_from([1, 2])))
    return replace(scenario, faults=(draw(st.sampled_from([throttled, unclear])),))
