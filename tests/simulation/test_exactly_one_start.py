"""Exactly one start for each trigger, whatever happens to events, calls and sandboxes."""

from __future__ import annotations

import pytest
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import check
from simulated_aws.requests import CloudFormationPlan
from simulated_aws.runs import RunPlan
from simulated_aws.scenarios import Deploy, Scenario
from simulated_aws.stories import IOT_ANALYTICS, Service, last
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import ANY, UNCLEAR, Fault, Trouble
from simulated_aws.world import World

from pipeline_reprocessing_handler.clients import CONNECT_TIMEOUT, READ_TIMEOUT

CRASHES = (Trouble.CRASH_BEFORE, Trouble.CRASH_AFTER)
HANDS_OVER_ONCE = LambdaPlan(timeout=150.0)
OUTLASTS_ONE_INVOCATION = RunPlan(takes=130.0)


def _deployed(service: Service, *, trigger: str, crash: Fault | None = None) -> World:
    """The world after a first deploy of t1 and, for another trigger, an update; only the last meets the crash."""
    deploys = tuple(dict.fromkeys(("t1", trigger)))
    runs = [RunPlan(takes=1.0), OUTLASTS_ONE_INVOCATION][-len(deploys) :]
    with World(service.kind, runs=runs, functions=HANDS_OVER_ONCE) as world:
        for each in deploys:
            if crash and each == trigger:
                world.troubles.add(crash)
            world.deploy(reprocessing(service.kind, trigger=each))
    return world


@pytest.mark.parametrize(("trigger", "type_"), [("t1", "Create"), ("t2", "Update")])
@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_at_any_call_of_a_deploy_costs_neither_a_run_nor_an_answer(
    service: Service, crash: Trouble, trigger: str, type_: str
) -> None:
    undisturbed = _deployed(service, trigger=trigger)
    begins = last(undisturbed, type_).made
    calls = [call for call in undisturbed.network.calls if call.time >= begins]
    assert [call.operation for call in calls].count("invoke") == 2

    for k in range(1, len(calls) + 1):
        world = _deployed(service, trigger=trigger, crash=Fault(ANY, crash, nth=k))

        request = last(world, type_)
        assert [fault.trouble for fault in world.troubles.met] == [crash], k
        assert len(world.service.of(request.request_id)) == 1, k
        assert request.succeeded, k
        assert sum(answer.accepted for answer in request.answers) == 1, k
        check(world)


@pytest.mark.parametrize("trouble", UNCLEAR)
def test_a_start_whose_answer_is_lost_is_one_run_whether_it_was_taken_or_not(
    service: Service, trouble: Trouble
) -> None:
    with World(service.kind, faults=[Fault(service.start, trouble)]) as world:
        world.deploy(reprocessing(service.kind))

    assert len(world.runs) == 1
    assert last(world, "Create").succeeded
    check(world)


def test_a_run_that_is_listed_late_is_not_started_again_when_its_start_was_lost() -> None:
    lost = Fault(IOT_ANALYTICS.start, Trouble.DROPPED_AFTER)

    with World(runs=[RunPlan(listed_after=15.0)], faults=[lost]) as world:
        world.deploy(reprocessing())

    assert world.troubles.calls[IOT_ANALYTICS.start] == 1
    assert last(world, "Create").succeeded
    check(world)


def test_a_throttled_start_is_sent_again_until_it_is_taken(service: Service) -> None:
    with World(service.kind, faults=[Fault(service.start, Trouble.THROTTLED, times=4)]) as world:
        world.deploy(reprocessing(service.kind))

    assert world.troubles.calls[service.start] == 5
    assert len(world.runs) == 1
    assert last(world, "Create").succeeded
    check(world)


def test_a_start_that_is_throttled_for_ever_fails_the_deploy_in_time(service: Service) -> None:
    with World(service.kind, faults=[Fault(service.start, Trouble.THROTTLED, times=10_000)]) as world:
        world.deploy(reprocessing(service.kind))

    assert world.runs == []
    assert "pipeline 'sensors': the run could not be started" in last(world, "Create").reason
    assert world.cloudformation.status == "ROLLBACK_COMPLETE"
    check(world)


@pytest.mark.parametrize("event", [1, 2], ids=["request", "continuation"])
def test_an_event_that_is_delivered_twice_at_once_is_one_run_and_one_answer(
    service: Service, event: int
) -> None:
    for seed in range(10):  # decides how the two interleave
        twice = LambdaPlan(duplicates=((event, 0.01 * seed),))
        with World(service.kind, functions=twice, seed=seed) as world:
            world.deploy(reprocessing(service.kind))

        assert len(world.functions.invocations) > 2
        assert len(world.runs) == 1
        assert len(last(world, "Create").answers) == 1
        check(world)


@pytest.mark.parametrize("later", [0.0, 1.0, 20.0, 29.0])
def test_a_request_that_cloudformation_repeats_is_one_run_and_one_answer(
    service: Service, later: float
) -> None:
    with World(service.kind, cloudformation=CloudFormationPlan(repeats=((1, later),))) as world:
        world.deploy(reprocessing(service.kind))

    requests = [event for event in world.functions.events if not event.hops]
    assert len(requests) == 2
    assert len(world.runs) == 1
    assert len(last(world, "Create").answers) == 1
    check(world)


def test_a_request_that_is_delivered_again_after_its_answer_starts_nothing(service: Service) -> None:
    with World(service.kind, functions=LambdaPlan(duplicates=((1, 200.0),))) as world:
        world.deploy(reprocessing(service.kind))

    assert len(world.runs) == 1
    assert len(last(world, "Create").answers) == 1
    check(world)


def test_an_undated_request_that_is_delivered_again_after_later_deploys_is_answered_once(
    service: Service,
) -> None:
    world = Scenario(
        kind=service.kind,
        steps=(Deploy("t1"), Deploy("t2"), Deploy("t3"), Deploy("t4", then_wait=200.0)),
        runs=(RunPlan(takes=5.0),),
        functions=LambdaPlan(duplicates=((1, 110.0),)),
        cloudformation=CloudFormationPlan(dated=False),
    ).play()

    duplicate = next(each for each in world.functions.invocations if each.started > 110)
    assert duplicate.request_id == world.requests[0].request_id
    assert [len(request.answers) for request in world.requests] == [1] * len(world.requests)
    check(world)


def test_an_update_that_changes_only_the_wait_starts_nothing(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, timeout=1000)).deploy(
            reprocessing(service.kind, timeout=2000)
        )

    assert len(world.runs) == 1
    assert last(world, "Update").answer_id == last(world, "Create").answer_id
    check(world)


@pytest.mark.parametrize("lag", [1.0, 4.0])
@pytest.mark.parametrize(
    "trouble", [Trouble.DROPPED_AFTER, Trouble.HANGS_AFTER, Trouble.LATE, Trouble.CRASH_AFTER]
)
def test_marks_that_are_listed_late_cost_neither_a_run_nor_an_answer(
    service: Service, trouble: Trouble, lag: float
) -> None:
    with World(service.kind, faults=[Fault(service.start, trouble)], log_lag=lag) as world:
        world.deploy(reprocessing(service.kind))

    assert len(world.runs) == 1
    assert last(world, "Create").succeeded
    check(world)


@pytest.mark.parametrize("later", [105, 110, 112, 115, 118, 120, 125, 130])
def test_a_claim_that_has_become_old_while_the_ledger_hung_is_not_used(later: int) -> None:
    hangs = [Fault("describe_log_streams", Trouble.HANGS_BEFORE, nth=nth, times=4) for nth in (4, 9)]
    twice = LambdaPlan(duplicates=((1, float(later)),))

    with World(runs=[RunPlan(takes=400.0)], faults=hangs, functions=twice) as world:
        world.network.hang_takes = CONNECT_TIMEOUT + READ_TIMEOUT
        world.deploy(reprocessing())

    assert len(world.runs) == 1
    assert last(world, "Create").succeeded
    check(world)
