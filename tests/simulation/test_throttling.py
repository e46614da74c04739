"""A busy account: calls that are throttled for minutes cost a deploy time, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import LONG, Service, last, states
from simulated_aws.templates import failing, reprocessing, then
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World

FOR_MINUTES = 15
"""Throttled calls in a row: with pauses of up to 10 s they last for about two minutes."""
FOR_GOOD = 10_000


def throttled(operation: str, *, nth: int = 1, times: int = FOR_MINUTES) -> Fault:
    return Fault(operation, Trouble.THROTTLED, nth, times)


@pytest.mark.parametrize(
    ("operation", "trouble"),
    [
        *itertools.product(
            ["create_log_stream", "describe_log_streams", "describe_stacks", "status", "invoke"],
            [Trouble.THROTTLED, Trouble.ERROR_BEFORE],
        ),
        # a start without a clear answer is looked for before it is repeated
        ("start", Trouble.THROTTLED),
    ],
)
def test_minutes_of_throttling_cost_a_deploy_nothing_but_time(
    service: Service, operation: str, trouble: Trouble
) -> None:
    with World(service.kind) as world:
        for trigger in ("t1", "t2"):
            world.troubles.add(Fault(getattr(service, operation, operation), trouble, times=FOR_MINUTES))
            world.deploy(reprocessing(service.kind, trigger=trigger))

    assert len(world.troubles.met) > FOR_MINUTES / 2
    assert world.cloudformation.status == "UPDATE_COMPLETE"
    assert states(world) == ["SUCCEEDED", "SUCCEEDED"]
    check(world)


def test_a_hand_over_that_is_throttled_leaves_a_healthy_run_alone(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=1500.0)]) as world:
        # the first invocation hands over; the second tries from its 570th second on
        world.troubles.add(throttled("invoke", nth=2))
        world.deploy(reprocessing(service.kind))

    assert len(world.troubles.met) == FOR_MINUTES
    assert states(world) == ["SUCCEEDED"]
    assert world.runs[0].cancels == []
    check(world)


def test_a_run_that_ends_while_the_hand_over_is_throttled_is_answered_at_once(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=30.0)], faults=[throttled("invoke")]) as world:
        world.deploy(reprocessing(service.kind))

    answered = last(world, "Create").accepted
    assert answered
    assert answered.time < world.runs[0].ended + 5
    assert len(world.functions.invocations) == 1
    check(world)


def test_a_wait_beyond_an_hour_whose_hand_over_is_throttled_is_signalled_all_the_same(
    service: Service,
) -> None:
    with World(service.kind, runs=[RunPlan(takes=30.0)], faults=[throttled("invoke")]) as world:
        world.deploy(reprocessing(service.kind, timeout=7200))

    assert len(world.functions.invocations) == 1
    assert world.cloudformation.status == "CREATE_COMPLETE"
    check(world)


def test_a_hand_over_that_is_throttled_for_good_ends_the_run_in_time(service: Service) -> None:
    with World(service.kind, runs=[LONG], faults=[throttled("invoke", times=FOR_GOOD)]) as world:
        world.deploy(reprocessing(service.kind))

    assert "the next invocation cannot be called" in last(world, "Create").reason
    assert states(world) == ["CANCELLED"]
    assert world.cloudformation.status == "ROLLBACK_COMPLETE"
    check(world)


def test_a_removal_outlasts_minutes_of_throttling(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.troubles.add(throttled(service.cancel))
        world.destroy()

    assert last(world, "Delete").succeeded
    assert states(world) == ["CANCELLED"]
    check(world)


def test_a_time_out_under_throttling_still_ends_its_run(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.troubles.add(throttled(service.cancel, times=6))
        world.deploy(reprocessing(service.kind, timeout=60))

    assert "not finished within 1 minutes" in last(world, "Create").reason
    assert states(world) == ["CANCELLED"]
    check(world)


@pytest.mark.parametrize("trouble", [Trouble.THROTTLED, Trouble.DENIED, Trouble.ERROR_BEFORE])
def test_a_rollback_is_told_from_the_ledger_when_the_stack_cannot_be_described(
    service: Service, trouble: Trouble
) -> None:
    with World(service.kind, runs=[RunPlan(), RunPlan(takes=20.0, ends="FAILED")]) as world:
        world.deploy(reprocessing(service.kind))
        world.troubles.add(Fault("describe_stacks", trouble, times=FOR_GOOD))
        world.deploy(reprocessing(service.kind, trigger="t2"))

    assert last(world, "Update").is_swapped
    assert len(world.runs) == 2
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    assert any("by its earlier requests it is rolling back" in line for line in world.functions.log)
    check(world)


def test_a_rollback_after_another_resource_failed_outlasts_minutes_of_throttling(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind))
        # as the swapped Update asks
        world.meanwhile(32, lambda: world.troubles.add(throttled("describe_stacks")))
        world.deploy(then(reprocessing(service.kind, trigger="t2"), failing()))

    assert len(world.troubles.met) == FOR_MINUTES
    assert last(world, "Update").is_swapped
    assert len(world.runs) == 2
    check(world)


@pytest.mark.parametrize("trouble", [Trouble.THROTTLED, Trouble.DENIED])
def test_an_update_is_no_rollback_because_the_stack_cannot_be_described(
    service: Service, trouble: Trouble
) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind))
        world.troubles.add(Fault("describe_stacks", trouble, times=FOR_GOOD))
        world.deploy(reprocessing(service.kind, trigger="t2"))

    assert states(world) == ["SUCCEEDED", "SUCCEEDED"]
    assert any("by its earlier requests it is being updated" in line for line in world.functions.log)
    check(world)


@pytest.mark.parametrize("signal", [False, True])
def test_what_a_rollback_has_undone_is_run_again_though_the_stack_cannot_be_described(
    service: Service, signal: bool
) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, signal=signal))
        world.deploy(then(reprocessing(service.kind, signal=signal, trigger="t2"), failing()))
        world.troubles.add(Fault("describe_stacks", Trouble.DENIED, times=FOR_GOOD))
        world.deploy(reprocessing(service.kind, signal=signal, trigger="t2"))

    assert states(world) == ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]
    check(world)


def test_a_description_of_the_stack_that_is_denied_does_not_hold_up_the_start(service: Service) -> None:
    with World(service.kind, faults=[Fault("describe_stacks", Trouble.DENIED, times=FOR_GOOD)]) as world:
        world.deploy(reprocessing(service.kind))

    assert world.runs[0].created < 3
    check(world)


def test_twenty_resources_that_share_a_fifth_of_the_quota_deploy(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=5.0)], seed=7) as world:
        # every call of the ledger is throttled four times of five
        for nth in range(1, 400):
            if nth % 5:
                world.troubles.add(Fault("create_log_stream", Trouble.THROTTLED, nth=nth))
                world.troubles.add(Fault("describe_log_streams", Trouble.THROTTLED, nth=nth))
        resources = [
            part
            for number in range(20)
            for part in reprocessing(service.kind, logical_id=f"Backfill{number}", pipeline=f"p{number}")
        ]
        world.deploy(tuple(resources))

    assert world.cloudformation.status == "CREATE_COMPLETE"
    assert states(world) == ["SUCCEEDED"] * 20


def rolls_back(world: World) -> None:
    world.cloudformation.status = "UPDATE_ROLLBACK_IN_PROGRESS"


@pytest.mark.parametrize("later", [200.0, 400.0])
def test_a_late_duplicate_of_a_continuation_leaves_a_detached_run_alone(
    service: Service, later: float
) -> None:
    again = LambdaPlan(duplicates=((2, later),))

    with World(service.kind, runs=[LONG], functions=again) as world:
        # another deploy, which does not touch this resource, fails after the wait is over
        world.meanwhile(100, lambda: rolls_back(world))
        world.deploy(reprocessing(service.kind, timeout=60, on_timeout="DETACH"))

    assert last(world, "Create").succeeded
    assert world.functions.invocations[-1].started > later
    assert states(world) == ["RUNNING"]
    assert world.runs[0].cancels == []


@pytest.mark.parametrize(("later", "times"), [(200.0, 1), (400.0, 1), (400.0, FOR_GOOD)])
def test_a_late_duplicate_that_cannot_read_the_ledger_at_once_cancels_nothing(
    service: Service, later: float, times: int
) -> None:
    again = LambdaPlan(duplicates=((2, later),))

    with World(service.kind, runs=[LONG], functions=again) as world:
        # it would give the run up, because it cannot read its status
        world.meanwhile(
            190, lambda: world.troubles.add(Fault(service.status, Trouble.DENIED, times=FOR_GOOD))
        )
        world.meanwhile(190, lambda: world.troubles.add(throttled("describe_log_streams", times=times)))
        world.deploy(reprocessing(service.kind, timeout=60, on_timeout="DETACH"))

    assert last(world, "Create").succeeded
    assert {met.operation for met in world.troubles.met} == {service.status, "describe_log_streams"}
    assert world.runs[0].cancels == []
