"""What becomes of runs when their resource is removed."""

from __future__ import annotations

import pytest
from simulated_aws.invariants import check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import LONG, Service, last, run_ids, states
from simulated_aws.templates import failing, reprocessing, then
from simulated_aws.world import World


@pytest.mark.parametrize(("on_removal", "state"), [("CANCEL", "CANCELLED"), ("LEAVE", "RUNNING")])
def test_a_removal_cancels_or_leaves_the_run_as_it_was_told(
    service: Service, on_removal: str, state: str
) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None, on_removal=on_removal)).destroy()

    assert states(world) == [state]
    assert world.cloudformation.status == "DELETE_COMPLETE"
    check(world)


@pytest.mark.parametrize(
    "physical_id",
    [
        "Weather-Backfill-1ABCDEFGHIJKL",
        "sensors/not-started",
        "sensors/never-was",
        "meters/never-was",
        "2026/01/01/[$LATEST]0123456789abcdef",
        "sensors/{the finished run}",
    ],
)
def test_a_delete_of_whatever_there_is_not_succeeds_and_keeps_the_id(
    service: Service, physical_id: str
) -> None:
    with World(service.kind) as world:
        resource = reprocessing(service.kind)
        world.deploy(resource)
        named = physical_id.replace("{the finished run}", run_ids(world)[0])
        world.cloudformation.stray_delete(resource[0], named)  # type: ignore[arg-type]  # the custom resource
        world.timeline.run()

    assert last(world, "Delete").succeeded
    assert last(world, "Delete").answer_id == named
    assert states(world) == ["SUCCEEDED"]
    check(world)


@pytest.mark.parametrize("gone", ["the run", "the pipeline"])
def test_a_delete_succeeds_when_what_it_would_cancel_is_gone(gone: str) -> None:
    with World(runs=[RunPlan(forgotten_after=60.0)]) as world:
        world.deploy(reprocessing())
        if gone == "the pipeline":
            world.service.missing = frozenset({"sensors"})  # type: ignore[union-attr]  # IoT Analytics is the default
        world.destroy()

    assert last(world, "Delete").answer_id == last(world, "Create").answer_id
    assert world.cloudformation.status == "DELETE_COMPLETE"
    check(world)


def test_the_clean_up_of_an_id_of_another_pipeline_leaves_the_new_run_alone(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=5.0), RunPlan(takes=5.0), LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None, pipeline="sensors"))
        world.let_pass(60)
        renamed = reprocessing(service.kind, timeout=None, pipeline="meters", trigger="t2")
        world.deploy(then(renamed, failing()))
        world.let_pass(60)
        world.deploy(reprocessing(service.kind, timeout=None, pipeline="sensors", trigger="t3"))

    assert last(world, "Delete").physical_id.startswith("meters/")
    assert last(world, "Delete").succeeded
    assert states(world)[-1] == "RUNNING"
    check(world)


def test_the_clean_up_of_a_failed_create_leaves_a_newer_run_alone(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        resource = reprocessing(service.kind, timeout=None)
        world.deploy(resource)
        # as CloudFormation may send it where a failed Create was left as it was (`--no-rollback`)
        world.cloudformation.stray_delete(resource[0], "sensors/not-started")  # type: ignore[arg-type]  # it is one
        world.timeline.run()

    assert last(world, "Delete").succeeded
    assert states(world) == ["RUNNING"]
    check(world)
