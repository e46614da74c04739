"""What a failing deploy's swapped Update does."""

from __future__ import annotations

import pytest
from simulated_aws.invariants import ALWAYS, check
from simulated_aws.requests import CloudFormationPlan
from simulated_aws.runs import RunPlan
from simulated_aws.stories import HOUR, IOT_ANALYTICS, LONG, Service, last, states
from simulated_aws.templates import failing, reprocessing, then
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World


def test_a_rollback_starts_nothing_and_says_so(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind))
        world.deploy(then(reprocessing(service.kind, trigger="t2"), failing()))

    assert last(world, "Update").is_swapped
    assert len(world.runs) == 2
    assert any("nothing is reprocessed" in line and "KEEP" in line for line in world.functions.log)
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    check(world)


def test_a_rollback_under_reprocess_runs_the_restored_definition_once(service: Service) -> None:
    january, all_of_it = {"StartTime": "2025-01-01T00:00:00Z"}, {"All": True}

    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, on_rollback="REPROCESS", messages=january))
        changed = reprocessing(service.kind, on_rollback="REPROCESS", messages=all_of_it, trigger="t2")
        world.deploy(then(changed, failing()))

    first, failed, restored = world.runs
    start = "startTime" if service is IOT_ANALYTICS else "StartTime"
    assert restored.owner == last(world, "Update").request_id
    assert first.selection[start] == restored.selection[start]
    assert start not in failed.selection
    assert last(world, "Update").succeeded
    check(world)


def test_a_run_that_a_rollback_has_restored_goes_on_when_the_rollback_is_over(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(), RunPlan(), RunPlan(takes=600.0)]) as world:
        world.deploy(reprocessing(service.kind, on_rollback="REPROCESS", timeout=2 * HOUR))
        changed = reprocessing(service.kind, on_rollback="REPROCESS", timeout=2 * HOUR, trigger="t2")
        world.deploy(then(changed, failing()))

    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    assert states(world)[-1] == "SUCCEEDED"
    check(world)


def test_a_restored_run_is_not_given_up_when_the_stack_could_not_be_described(
    service: Service,
) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, on_rollback="REPROCESS"))
        changed = reprocessing(service.kind, on_rollback="REPROCESS", trigger="t2")
        # the swapped Update asks first, five times, then the chain
        world.meanwhile(
            32, lambda: world.troubles.add(Fault("describe_stacks", Trouble.THROTTLED, nth=1, times=5))
        )
        world.deploy(then(changed, failing()))

    assert world.troubles.met
    assert last(world, "Update").succeeded
    assert states(world)[-1] == "SUCCEEDED"
    check(world)


def test_a_run_that_fails_fails_its_update_which_keeps_its_id(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(), RunPlan(ends="FAILED")]) as world:
        world.deploy(reprocessing(service.kind)).deploy(reprocessing(service.kind, trigger="t2"))

    before = last(world, "Create").answer_id
    assert {request.answer_id for request in world.requests if request.type == "Update"} == {before}
    assert len(world.runs) == 2
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    check(world)


@pytest.mark.parametrize(
    "trouble", [Trouble.UNREACHABLE, Trouble.DENIED, Trouble.THROTTLED, Trouble.ERROR_BEFORE]
)
@pytest.mark.parametrize("operation", ["status", "describe_log_streams"])
def test_a_rollback_that_starts_nothing_does_not_fail_for_a_service_that_does_not_answer(
    service: Service, operation: str, trouble: Trouble
) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind))
        failing_for_good = Fault(getattr(service, operation, operation), trouble, times=10_000)
        world.meanwhile(40, lambda: world.troubles.add(failing_for_good))
        world.deploy(then(reprocessing(service.kind, trigger="t2"), failing()))

    assert world.troubles.met
    assert last(world, "Update").is_swapped
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    check(world, *ALWAYS)  # it goes on for longer than fair weather does


def test_a_deploy_that_fails_before_it_does_anything_leaves_the_run_of_what_is_restored_alone(
    service: Service,
) -> None:
    [unreadable] = reprocessing(
        service.kind, timeout=None, messages={"S3Paths": ["s3://raw/a"]}, trigger="t2"
    )

    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.deploy((unreadable,))

    assert last(world, "Update").is_swapped
    assert states(world) == ["RUNNING"]
    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    check(world)


def test_a_rollback_ends_the_run_that_the_failed_deploy_did_not_wait_for(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(), LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.let_pass(60)
        world.deploy(then(reprocessing(service.kind, timeout=None, trigger="t2"), failing()))

    assert states(world) == ["SUCCEEDED", "CANCELLED"]
    check(world)


@pytest.mark.parametrize("later", [9.0, 10.5, 10.75, 11.0])
def test_an_update_of_a_rollback_that_comes_again_as_that_ends_starts_nothing(
    service: Service, later: float
) -> None:
    again = CloudFormationPlan(repeats=((3, later),))

    with World(service.kind, cloudformation=again, log_lag=1.0) as world:
        world.deploy(reprocessing(service.kind, timeout=120))
        world.deploy(then(reprocessing(service.kind, timeout=120, trigger="t2"), failing()))

    assert last(world, "Update").is_swapped
    assert len(world.runs) == 2
    check(world)
