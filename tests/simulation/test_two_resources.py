"""Two resources for one pipeline."""

from __future__ import annotations

from simulated_aws.invariants import check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import Service, states
from simulated_aws.templates import reprocessing
from simulated_aws.world import World


def test_two_resources_on_one_pipeline_do_not_touch_each_others_runs(service: Service) -> None:
    first = reprocessing(service.kind, timeout=None)
    second = reprocessing(service.kind, timeout=None, logical_id="Second")

    with World(service.kind, runs=[RunPlan(takes=5000.0)]) as world:
        world.deploy(first + second)
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2") + second)
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2"))

    assert [(run.resource, run.state(world.now)) for run in world.runs] == [
        ("Backfill", "CANCELLED"),  # superseded by its own Update
        ("Second", "CANCELLED"),  # removed
        ("Backfill", "RUNNING"),
    ]
    check(world)


def test_two_resources_on_one_pipeline_that_wait_run_one_after_the_other(service: Service) -> None:
    both = reprocessing(service.kind) + reprocessing(service.kind, logical_id="Second")

    with World(service.kind) as world:
        world.deploy(both)

    first, second = world.runs
    assert (first.resource, second.resource) == ("Backfill", "Second")
    assert first.ended <= second.created
    assert states(world) == ["SUCCEEDED", "SUCCEEDED"]
    check(world)
