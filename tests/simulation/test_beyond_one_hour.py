"""Waits that a WaitCondition takes over."""

from __future__ import annotations

import pytest
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import ALWAYS, check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import HOUR, Service, last, states
from simulated_aws.templates import reprocessing
from simulated_aws.world import World


def test_a_wait_of_twelve_hours_for_a_run_of_eleven_takes_seventy_hand_overs(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=11 * HOUR)]) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    [wait] = world.cloudformation.waits
    assert last(world, "Create").succeeded
    assert wait.accepted
    assert wait.accepted.document["Status"] == "SUCCESS"
    assert 0 <= wait.accepted.time - world.runs[0].ended < 6
    # one to begin with, then one at the end of each invocation, 30 s before its 900 s are up
    assert world.troubles.calls["invoke"] == 1 + 11 * HOUR // (900 - 330) == 70
    check(world)


def test_an_update_waits_beyond_an_hour_too(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=2 * HOUR), RunPlan(takes=11 * HOUR)]) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR, trigger="t2"))

    first, second = world.cloudformation.waits
    assert first.logical_id != second.logical_id
    assert second.accepted
    assert second.accepted.document["Data"] == last(world, "Update").answer_id
    assert world.cloudformation.status == "UPDATE_COMPLETE"
    check(world)


def test_a_run_that_fails_after_hours_fails_the_condition_and_the_first_deploy(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=11 * HOUR, ends="FAILED")]) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    [wait] = world.cloudformation.waits
    assert wait.accepted
    assert wait.accepted.document["Status"] == "FAILURE"
    assert "the run ended FAILED" in wait.accepted.document["Reason"]
    assert world.cloudformation.status == "ROLLBACK_COMPLETE"
    check(world)


def test_a_run_that_fails_after_hours_rolls_the_update_back_and_starts_no_other(service: Service) -> None:
    runs = [RunPlan(takes=2 * HOUR), RunPlan(takes=2 * HOUR, ends="FAILED")]

    with World(service.kind, runs=runs) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR, trigger="t2"))

    assert last(world, "Update").is_swapped
    assert len(world.runs) == 2
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    check(world)


def test_a_wait_that_only_grew_beyond_an_hour_ends_at_once(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, timeout=3000))
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    assert len(world.runs) == 1
    assert world.cloudformation.status == "UPDATE_COMPLETE"
    check(world)


def test_a_removal_during_a_long_wait_ends_the_run(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=11 * HOUR)]) as world:
        world.meanwhile(2 * HOUR, lambda: world.cloudformation.interrupt("destroy"))
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    assert world.cloudformation.status == "DELETE_COMPLETE"
    assert states(world) == ["CANCELLED"]
    check(world)


def test_lambda_would_stop_the_chain_unless_recursion_is_allowed(service: Service) -> None:
    with World(
        service.kind, runs=[RunPlan(takes=11 * HOUR)], functions=LambdaPlan(recursive_loop="Terminate")
    ) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    assert [event.lost for event in world.functions.events if event.lost] == ["recursion stopped"]
    assert world.cloudformation.waits[0].accepted is None
    assert world.cloudformation.status == "ROLLBACK_COMPLETE"
    check(world, *ALWAYS)  # nobody is left to signal: hence `Allow` in the template


def test_a_long_wait_that_only_grew_is_another_condition_and_ends_at_once(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, timeout=2 * HOUR))
        world.deploy(reprocessing(service.kind, timeout=3 * HOUR))

    first, second = world.cloudformation.waits
    assert first.logical_id != second.logical_id
    assert second.accepted
    assert len(world.runs) == 1
    assert world.cloudformation.status == "UPDATE_COMPLETE"
    check(world)


@pytest.mark.parametrize("on_rollback", ["KEEP", "REPROCESS"])
@pytest.mark.parametrize("timeout", [2 * HOUR, 3000], ids=["long again", "short now"])
def test_a_rollback_to_a_wait_whose_handle_has_expired_succeeds(
    service: Service, timeout: int, on_rollback: str
) -> None:
    runs = [RunPlan(), RunPlan(ends="FAILED"), RunPlan()]

    with World(service.kind, runs=runs) as world:
        world.deploy(reprocessing(service.kind, timeout=2 * HOUR, on_rollback=on_rollback))
        world.let_pass(25 * HOUR)
        changed = reprocessing(service.kind, timeout=timeout, on_rollback=on_rollback, trigger="t2")
        world.deploy(changed)

    assert last(world, "Update").is_swapped
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    assert len(world.runs) == (2 if on_rollback == "KEEP" else 3)
    check(world)


def test_a_cancel_that_takes_a_minute_leaves_time_for_the_reason(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=20 * HOUR, cancel_takes=55.0)]) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    [wait] = world.cloudformation.waits
    assert wait.accepted
    assert "not finished within" in wait.accepted.document["Reason"]
    check(world)
