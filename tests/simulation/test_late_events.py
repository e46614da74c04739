"""Events that arrive late or again, and trouble that meets them: they end nothing, and are waited for like others."""

from __future__ import annotations

import pytest
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import check
from simulated_aws.requests import CloudFormationPlan
from simulated_aws.resources import Other, Template
from simulated_aws.runs import RunPlan
from simulated_aws.stories import LONG, Service, last, states
from simulated_aws.templates import failing, reprocessing, then
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World

REFUSED = {"S3Paths": ["s3://raw/a"]}


def deploy(world: World, template: Template, seconds: float) -> None:
    """Deploys, and goes on after that time, although the deploy may not be over."""
    world.timeline.process(world.cloudformation.deploy(template))
    world.let_pass(seconds)


def test_the_retry_of_an_update_that_a_rollback_has_undone_ends_nothing(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.let_pass(60)
        world.troubles.add(Fault("create_log_stream", Trouble.CRASH_BEFORE, during="Update"))
        world.meanwhile(2, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2"))

    assert states(world) == ["RUNNING"]
    check(world)


def test_an_update_that_is_delivered_after_its_rollback_ends_nothing(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.let_pass(60)
        world.functions.plan = LambdaPlan(throttled=((world.now, world.now + 20),))
        world.meanwhile(2, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2"))

    assert states(world) == ["RUNNING"]
    check(world)


@pytest.mark.parametrize("dated", [True, False])
def test_a_rollback_that_arrives_again_in_a_later_deploy_ends_nothing(service: Service, dated: bool) -> None:
    [refused] = reprocessing(service.kind, timeout=None, messages=REFUSED, trigger="t2")
    plan = CloudFormationPlan(dated=dated)
    with World(service.kind, runs=[LONG], cloudformation=plan) as world:
        deploy(world, (*reprocessing(service.kind, timeout=None), Other("Later")), 400)
        deploy(world, (refused, Other("Later")), 110)
        again = world.functions.events[-1]

        deploy(world, (*reprocessing(service.kind, timeout=None), Other("Later", 2, takes=60.0)), 1)
        world.functions.deliver_again(again)
        world.timeline.run()

    assert [run.cancels for run in world.runs] == [[]]
    check(world)


@pytest.mark.parametrize("seed", range(8))
def test_a_start_in_doubt_is_ended_although_its_request_was_answered(service: Service, seed: int) -> None:
    in_doubt = Fault(service.start, Trouble.LATE)

    with World(service.kind, runs=[LONG], faults=[in_doubt], seed=seed) as world:
        world.meanwhile(0.8, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind, timeout=None))

    assert "RUNNING" not in states(world)
    check(world)


@pytest.mark.parametrize("trouble", [Trouble.HANGS_AFTER, Trouble.LATE])
def test_a_start_in_doubt_is_looked_for_however_late_it_is(service: Service, trouble: Trouble) -> None:
    late = LambdaPlan(throttled=((0, 201.5),))

    with World(
        service.kind, runs=[LONG], functions=late, faults=[Fault(service.start, trouble)], seed=3
    ) as world:
        world.deploy(reprocessing(service.kind, timeout=None))

    assert (states(world) == ["RUNNING"]) == last(world, "Create").succeeded


@pytest.mark.parametrize("operation", ["create_log_stream", "describe_log_streams"])
def test_a_late_duplicate_of_a_create_waits_for_one_throttled_call(service: Service, operation: str) -> None:
    again = LambdaPlan(duplicates=((1, 250.0),))

    with World(service.kind, runs=[RunPlan(takes=600)], functions=again) as world:
        world.meanwhile(249, lambda: world.troubles.add(Fault(operation, Trouble.THROTTLED)))
        world.deploy(reprocessing(service.kind, timeout=2000))

    assert world.troubles.met
    assert world.cloudformation.status == "CREATE_COMPLETE"
    check(world)


def test_the_retry_of_a_create_after_210_seconds_waits_for_one_throttled_call(service: Service) -> None:
    late = LambdaPlan(throttled=((0, 150),))

    with World(
        service.kind,
        runs=[RunPlan(takes=600)],
        functions=late,
        faults=[Fault("invoke", Trouble.CRASH_BEFORE)],
    ) as world:
        world.meanwhile(205, lambda: world.troubles.add(Fault("create_log_stream", Trouble.THROTTLED)))
        world.deploy(reprocessing(service.kind, timeout=2000))

    assert len(world.troubles.met) == 2
    assert world.cloudformation.status == "CREATE_COMPLETE"
    check(world)


def test_a_delete_that_is_delivered_late_waits_for_one_throttled_look(service: Service) -> None:
    with World(service.kind, runs=[LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.let_pass(50)
        world.functions.plan = LambdaPlan(throttled=((world.now, world.now + 212),))
        world.troubles.add(Fault(service.status, Trouble.THROTTLED, during="Delete"))
        world.destroy()

    assert last(world, "Delete").succeeded
    assert states(world) == ["CANCELLED"]
    check(world)


def test_an_answer_whose_note_was_lost_does_not_end_the_detached_run(service: Service) -> None:
    with World(service.kind, runs=[LONG], faults=[Fault("put", Trouble.CRASH_AFTER)]) as world:
        once_more = (*reprocessing(service.kind, timeout=120, on_timeout="DETACH"), failing())
        world.meanwhile(150, lambda: world.timeline.process(world.cloudformation.deploy(once_more)))
        world.deploy(reprocessing(service.kind, timeout=120, on_timeout="DETACH"))

    assert last(world, "Create").succeeded
    assert world.runs[0].cancels == []


def test_a_rollback_that_is_delivered_late_asks_for_the_stack_more_than_once(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, timeout=100))
        world.let_pass(60)
        world.troubles.add(Fault("describe_stacks", Trouble.THROTTLED, during="rollback"))
        world.functions.plan = LambdaPlan(throttled=((world.now + 33, world.now + 195),))
        world.deploy(then(reprocessing(service.kind, timeout=100, trigger="t2"), failing()))

    assert [met.operation for met in world.troubles.met] == ["describe_stacks"]
    assert len(world.runs) == 2
    check(world)


def test_a_long_wait_that_is_not_over_is_no_success_in_the_ledger(service: Service) -> None:
    denied = Fault("describe_stacks", Trouble.DENIED, times=10_000)
    plans = [RunPlan(takes=5), LONG, RunPlan(takes=5)]

    with World(service.kind, runs=plans, faults=[denied]) as world:
        world.deploy(reprocessing(service.kind, signal=True, timeout=3000))
        world.meanwhile(60, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind, trigger="t2", signal=True, timeout=3000))

    assert states(world) == ["SUCCEEDED", "CANCELLED"]
    check(world)


def test_the_last_look_at_a_run_waits_for_trouble_to_pass(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=290)]) as world:
        world.meanwhile(289, lambda: world.troubles.add(Fault(service.status, Trouble.THROTTLED, times=5)))
        world.deploy(reprocessing(service.kind, timeout=300))

    assert len(world.troubles.met) == 5
    assert last(world, "Create").succeeded
    check(world)


def test_a_refused_connection_is_waited_out_from_the_first_one_on(service: Service) -> None:
    hangs = Fault("describe_log_streams", Trouble.HANGS_BEFORE, times=3)

    with World(
        service.kind, runs=[RunPlan(takes=5)], faults=[hangs, Fault(service.start, Trouble.UNREACHABLE)]
    ) as world:
        world.deploy(reprocessing(service.kind, timeout=3000))

    assert len(world.troubles.met) == 4
    assert world.cloudformation.status == "CREATE_COMPLETE"
    check(world)


@pytest.mark.parametrize("removal", ["LEAVE", "CANCEL"])
def test_a_create_that_was_given_up_and_removed_starts_nothing_later(service: Service, removal: str) -> None:
    with World(service.kind, runs=[LONG]) as world:
        deploy(world, (Other("First"),), 20)
        world.troubles.add(Fault("create_log_stream", Trouble.CRASH_BEFORE, during="Create"))
        world.troubles.add(Fault("describe_stacks", Trouble.THROTTLED, during="Create"))
        world.meanwhile(2, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy((Other("First"), *reprocessing(service.kind, timeout=None, on_removal=removal)))

    assert states(world) == []


def test_a_rollback_that_arrives_again_before_its_answer_is_listed_starts_nothing(service: Service) -> None:
    plan = CloudFormationPlan(reacts_after=0.5)
    with World(service.kind, cloudformation=plan, log_lag=4.0) as world:
        world.deploy(reprocessing(service.kind))
        deploy(world, then(reprocessing(service.kind, trigger="t2"), failing()), 0.1)
        while world.cloudformation.is_busy:
            world.let_pass(0.1)
        again = world.functions.events[-1]

        deploy(world, reprocessing(service.kind, trigger="t3"), 0.1)
        world.functions.deliver_again(again)
        world.timeline.run()

    assert world.service.of(last(world, "Update").request_id)
    assert len(world.runs) == 3
    check(world)


def test_a_rollback_ends_the_run_of_the_later_of_two_deploys_of_one_second(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=5), LONG]) as world:
        world.deploy(reprocessing(service.kind, timeout=None))
        world.let_pass(60)
        # Only what tells why has changed: that is answered at once.
        deploy(world, reprocessing(service.kind, timeout=None, because="Telemetry"), 0.1)
        while world.cloudformation.is_busy:
            world.let_pass(0.1)
        world.meanwhile(0.2, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(service.kind, timeout=None, trigger="t2"))

    assert states(world) == ["SUCCEEDED", "CANCELLED"]
    check(world)


def test_a_start_that_a_new_policy_held_up_is_not_sent_in_vain(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, on_rollback="REPROCESS"))
        world.network.denied_until["meters"] = world.now + 40
        deploy(
            world, reprocessing(service.kind, trigger="t2", pipeline="meters", on_rollback="REPROCESS"), 1.1
        )
        world.cloudformation.send_again(world.requests[-1])
        world.cloudformation.interrupt("cancel")
        world.timeline.run()

    assert all(run.pipeline != "meters" for run in world.runs)
    check(world)
