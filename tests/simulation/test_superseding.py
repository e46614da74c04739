"""A new request ends what an earlier one has begun, and nothing else."""

from __future__ import annotations

import pytest
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import ALWAYS, check
from simulated_aws.runs import RunPlan
from simulated_aws.scenarios import NEVER, start_a_foreign_run
from simulated_aws.stories import IOT_ANALYTICS, LONG, Service, last, states
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World


def test_an_update_ends_the_run_of_a_deploy_that_did_not_wait_before_it_starts_its_own(
    service: Service,
) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2"))

    old, new = world.runs
    assert [by for _, by in old.cancels] == [last(world, "Update").request_id]
    assert old.ended <= new.created
    assert new.cancels == []
    check(world)


def test_an_update_ends_the_run_of_a_deploy_that_was_detached_before_it_starts_its_own(
    service: Service,
) -> None:
    with World(service.kind, runs=[LONG, RunPlan()]) as world:
        world.deploy(reprocessing(service.kind, timeout=60, on_timeout="DETACH"))
        world.deploy(reprocessing(service.kind, timeout=60, on_timeout="DETACH", trigger="t2"))

    old, new = world.runs
    assert old.cancels
    assert old.ended <= new.created
    assert new.state(world.now) == "SUCCEEDED"
    check(world)


def test_the_clean_up_of_the_replaced_id_leaves_the_new_run_alone(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(), LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2"))

    assert last(world, "Delete").physical_id == last(world, "Create").answer_id
    assert last(world, "Delete").succeeded
    assert world.runs[1].cancels == []
    check(world)


def test_a_first_deploy_that_rolls_back_while_it_waits_leaves_no_run(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.meanwhile(20, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind))

    assert world.cloudformation.status == "ROLLBACK_COMPLETE"
    assert states(world) == ["CANCELLED"]
    check(world)


def test_an_update_that_rolls_back_while_it_waits_leaves_no_run(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(), LONG]) as world:
        world.deploy(reprocessing(service.kind))
        world.meanwhile(20, lambda: world.cloudformation.interrupt("cancel"))
        world.deploy(reprocessing(service.kind, trigger="t2"))

    assert world.cloudformation.status == "UPDATE_ROLLBACK_COMPLETE"
    assert states(world) == ["SUCCEEDED", "CANCELLED"]
    check(world)


def test_a_waiting_chain_sees_the_rollback_by_itself_and_ends_its_run(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(), LONG]) as world:
        world.deploy(reprocessing(service.kind))
        # Lambda lets nothing else in: the swapped Update cannot be who cancels
        world.functions.plan.throttled = ((world.now + 20, world.now + 120),)
        rolls_back = world.now + 20
        world.meanwhile(20, lambda: world.cloudformation.interrupt("cancel"))
        world.deploy(reprocessing(service.kind, trigger="t2"))

    updated = next(request for request in world.requests if request.type == "Update")
    [(when, by)] = world.runs[1].cancels
    assert by == updated.request_id
    assert when < rolls_back + 20
    check(world)


def test_a_delete_with_an_invented_id_ends_the_run_of_a_create_that_still_goes_on(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.meanwhile(20, lambda: world.cloudformation.interrupt("destroy"))
        world.deploy(reprocessing(service.kind))

    delete = last(world, "Delete")
    assert delete.physical_id.startswith("Weather-Backfill-")
    assert delete.answer_id == delete.physical_id
    assert states(world) == ["CANCELLED"]
    check(world)


def test_a_delete_with_an_invented_id_keeps_a_create_from_starting_that_has_not_started_yet(
    service: Service,
) -> None:
    busy = Fault(service.start, Trouble.THROTTLED, times=7)

    with World(service.kind, runs=[LONG], faults=[busy]) as world:
        world.meanwhile(3, lambda: world.cloudformation.interrupt("destroy"))
        world.deploy(reprocessing(service.kind))

    assert world.runs == []
    assert last(world, "Delete").succeeded
    assert world.cloudformation.status == "DELETE_COMPLETE"
    check(world)


def test_a_delete_with_an_invented_id_ends_a_run_whose_start_was_lost(service: Service) -> None:
    lost = Fault(service.start, Trouble.LATE)

    with World(service.kind, runs=[LONG], faults=[lost]) as world:
        world.meanwhile(3, lambda: world.cloudformation.interrupt("destroy"))
        world.deploy(reprocessing(service.kind))

    assert "RUNNING" not in states(world)
    assert world.cloudformation.status == "DELETE_COMPLETE"
    check(world)


def test_a_delete_with_an_invented_id_waits_for_the_role_of_a_create_that_waits_for_it(
    service: Service,
) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.network.denied_until = {"role": 8.0}
        world.meanwhile(1, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind))

    assert last(world, "Delete").succeeded
    assert "RUNNING" not in states(world)
    check(world)


def test_a_deploy_of_another_pipeline_that_crashed_costs_a_foreign_run_nothing() -> None:
    with World(runs=[RunPlan(), RunPlan(takes=NEVER), RunPlan()]) as world:
        world.deploy(reprocessing())
        start_a_foreign_run(world)
        # Lambda gives the event up before a run is started on the other pipeline
        world.troubles.add(Fault(IOT_ANALYTICS.start, Trouble.CRASH_BEFORE, times=3))
        world.deploy(reprocessing(pipeline="meters", trigger="t2"))
        world.deploy(reprocessing(trigger="t3"))

    foreign = next(run for run in world.runs if run.owner is None)
    assert len(world.troubles.met) == 3
    assert foreign.cancels == []
    check(world, *ALWAYS)


@pytest.mark.parametrize("how", ["sibling", "destroy"])
def test_a_create_that_comes_when_its_stack_goes_back_starts_nothing(service: Service, how: str) -> None:
    held_up = LambdaPlan(throttled=((0.0, 30.0),))

    with World(service.kind, runs=[LONG], functions=held_up) as world:
        world.meanwhile(5, lambda: world.cloudformation.interrupt(how))
        world.deploy(reprocessing(service.kind))

    assert world.runs == []
    assert any("superseded before its run was started" in line for line in world.functions.log)
    check(world)
