"""How a deploy ends when its run does, or when its time is up."""

from __future__ import annotations

import pytest
from simulated_aws.invariants import check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import LONG, STATE_MACHINE, Service, last, states
from simulated_aws.templates import reprocessing
from simulated_aws.world import World


def test_at_the_deadline_fail_cancels_the_run_and_fails_the_deploy_with_a_reason(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=120))

    [run] = world.runs
    expected = f"pipeline 'sensors', run '{run.id}': not finished within 2 minutes, and cancelled"
    assert last(world, "Create").reason == expected
    assert run.state(world.now) == "CANCELLED"
    assert 120 <= run.ended < 130
    check(world)


def test_at_the_deadline_detach_succeeds_and_the_run_goes_on(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=120, on_timeout="DETACH"))

    request = last(world, "Create")
    assert request.succeeded
    assert request.accepted
    assert request.accepted.document["Data"]["Status"] == "RUNNING"
    assert states(world) == ["RUNNING"]
    check(world)


@pytest.mark.parametrize(
    ("plan", "ended"),
    [
        (RunPlan(ends="FAILED"), "FAILED"),
        (RunPlan(takes=1000.0, cancelled_after=50.0), "CANCELLED"),
    ],
    ids=["failed", "cancelled by somebody else"],
)
def test_a_run_that_ends_badly_fails_the_deploy_with_pipeline_run_and_cause(
    service: Service, plan: RunPlan, ended: str
) -> None:
    with World(service.kind, runs=[plan]) as world:
        world.deploy(reprocessing(service.kind))

    reason = last(world, "Create").reason
    assert reason.startswith(f"pipeline 'sensors', run '{world.runs[0].id}': the run ended {ended}")
    if ended == "FAILED" and service is STATE_MACHINE:  # IoT Analytics gives no cause
        assert reason.endswith("States.TaskFailed: the transforming function raised KeyError")
    assert world.cloudformation.status == "ROLLBACK_COMPLETE"
    check(world)


def test_a_run_that_the_service_forgets_fails_the_deploy(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=0.1, forgotten_after=0.0)]) as world:
        world.deploy(reprocessing(service.kind))

    assert "the run is not listed any more" in last(world, "Create").reason
    check(world)
