"""One short story for each promise of docs/lifecycle.md, played by the real handler in the simulated AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from simulated_aws.cloudformation import CloudFormationPlan, Request
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import ALWAYS, a_failure_leaves_no_run, check, no_request_is_answered_twice
from simulated_aws.runs import RunPlan
from simulated_aws.templates import failing, reprocessing, then
from simulated_aws.troubles import ANY, Fault, Trouble
from simulated_aws.world import LOG_GROUP, World

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.reprocess import Settled, Waiting

HOUR = 3600
LONG = RunPlan(takes=2000.0)
"""Still runs when a deploy without a wait is long over."""


@dataclass(frozen=True)
class Service:
    """A kind of pipeline, and what its calls are called."""

    kind: str
    start: str
    status: str
    cancel: str


IOT_ANALYTICS = Service(
    "IOT_ANALYTICS", "start_pipeline_reprocessing", "describe_pipeline", "cancel_pipeline_reprocessing"
)
STATE_MACHINE = Service("STATE_MACHINE", "start_execution", "describe_execution", "stop_execution")


@pytest.fixture(params=[IOT_ANALYTICS, STATE_MACHINE], ids=lambda service: service.kind)
def service(request: pytest.FixtureRequest) -> Service:
    chosen: Service = request.param
    return chosen


def last(world: World, type_: str) -> Request:
    return [request for request in world.requests if request.type == type_][-1]


def run_ids(world: World) -> list[str]:
    return [run.id for run in world.runs]


def states(world: World) -> list[str]:
    return [run.state(world.now) for run in world.runs]


# -- 1. exactly one start -------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.ERROR_BEFORE,
        Trouble.ERROR_AFTER,
        Trouble.DROPPED_BEFORE,
        Trouble.DROPPED_AFTER,
        Trouble.HANGS_BEFORE,
        Trouble.HANGS_AFTER,
        Trouble.LATE,
    ],
)
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


def test_an_update_that_changes_only_the_wait_starts_nothing(service: Service) -> None:
    with World(service.kind) as world:
        world.deploy(reprocessing(service.kind, timeout=1000)).deploy(
            reprocessing(service.kind, timeout=2000)
        )

    assert len(world.runs) == 1
    assert last(world, "Update").answer_id == last(world, "Create").answer_id
    check(world)


# -- 2. superseding -------------------------------------------------------------------------------------------


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


# -- 3. rollback ----------------------------------------------------------------------------------------------


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


def test_a_restored_run_is_not_given_up_when_nobody_could_tell_that_the_stack_rolls_back(
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


# -- 4. removal -----------------------------------------------------------------------------------------------


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


# -- 5. time-outs and ends ------------------------------------------------------------------------------------


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


# -- 6. beyond one hour ---------------------------------------------------------------------------------------


def test_a_wait_of_twelve_hours_for_a_run_of_eleven_takes_forty_six_hand_overs(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=11 * HOUR)]) as world:
        world.deploy(reprocessing(service.kind, timeout=12 * HOUR))

    [wait] = world.cloudformation.waits
    assert last(world, "Create").succeeded
    assert wait.accepted
    assert wait.accepted.document["Status"] == "SUCCESS"
    assert 0 <= wait.accepted.time - world.runs[0].ended < 6
    # one to begin with, then one at the end of each invocation, 30 s before its 900 s are up
    assert world.troubles.calls["invoke"] == 1 + 11 * HOUR // (900 - 30) == 46
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


# -- 7. the answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [Trouble.REFUSED, Trouble.UNAVAILABLE, Trouble.DROPPED_BEFORE, Trouble.UNREACHABLE]
)
def test_an_answer_that_is_not_accepted_is_sent_again(trouble: Trouble) -> None:
    with World(faults=[Fault("put", trouble, times=3)]) as world:
        world.deploy(reprocessing())

    assert world.troubles.calls["put"] == 4
    assert len(last(world, "Create").answers) == 1
    assert last(world, "Create").succeeded
    check(world)


def test_an_answer_that_is_not_accepted_for_a_minute_is_sent_by_the_next_attempt_of_lambda() -> None:
    with World(faults=[Fault("put", Trouble.UNAVAILABLE, times=8)]) as world:
        world.deploy(reprocessing())

    assert "NotDelivered" in {invocation.outcome for invocation in world.functions.invocations}
    assert len(last(world, "Create").answers) == 1
    assert last(world, "Create").succeeded
    check(world)


def test_an_answer_is_never_sent_after_its_deadline() -> None:
    with World(faults=[Fault("put", Trouble.UNAVAILABLE, times=10_000)]) as world:
        world.deploy(reprocessing(timeout=None))

    sent = [
        (call, request)
        for call in world.network.calls
        for request in world.requests
        if call.operation == "put" and call.request_id == request.request_id
    ]
    assert sent
    assert all(call.time < request.deadline for call, request in sent)
    check(world, *ALWAYS, no_request_is_answered_twice, a_failure_leaves_no_run)


# -- 8. start-up ----------------------------------------------------------------------------------------------


def test_a_role_that_iam_does_not_know_yet_is_waited_for(service: Service) -> None:
    with World(service.kind) as world:
        world.network.denied_until = {"role": 50.0}
        world.deploy(reprocessing(service.kind))

    assert len(world.runs) == 1
    assert world.runs[0].created > 50
    assert last(world, "Create").succeeded
    check(world)


def test_a_permission_that_is_missing_fails_the_deploy_after_a_minute_with_action_and_resource(
    service: Service,
) -> None:
    with World(service.kind, faults=[Fault(service.start, Trouble.DENIED, times=10_000)]) as world:
        world.deploy(reprocessing(service.kind))

    request = last(world, "Create")
    assert request.accepted
    assert 50 < request.accepted.time < 75
    assert "is not authorized to perform" in request.reason
    assert service.start.replace("_", "") in request.reason.lower()
    assert "arn:aws:" in request.reason
    assert "sensors" in request.reason
    check(world)


# -- 9. secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [3000, 12 * HOUR], ids=["ResponseURL", "SignalUrl"])
def test_no_secret_is_written_even_at_debug_and_in_trouble(service: Service, timeout: int) -> None:
    trouble = [Fault("put", Trouble.DROPPED_BEFORE, times=20), Fault("invoke", Trouble.ERROR_BEFORE)]

    with World(service.kind, faults=trouble, debug=True) as world:
        world.deploy(reprocessing(service.kind, timeout=timeout))

    written = "\n".join([*world.functions.log, *world.functions.errors, *world.logs.streams])
    assert world.functions.errors
    assert len(world.functions.log) > 10
    assert not [secret for secret in world.cloudformation.secrets if secret in written]
    check(world, *ALWAYS)  # 20 lost answers in a row are no fair weather


class _Discreet(Handler):
    """Sets crhelper's own switch, as its documents say."""

    def begin(self, event: Mapping[str, Any], context: Any) -> Settled | Waiting:
        self._lifecycle.NoEcho = True
        return super().begin(event, context)


def test_no_echo_of_crhelper_reaches_the_answer_and_not_the_next() -> None:
    def discreet(aws: Aws) -> Handler:
        return _Discreet(aws, LOG_GROUP)

    with World(make_handler=discreet) as world:
        world.deploy(reprocessing(timeout=None)).destroy()

    created, deleted = last(world, "Create").accepted, last(world, "Delete").accepted
    assert created
    assert deleted
    assert created.document["NoEcho"] is True
    assert deleted.document["NoEcho"] is False
    check(world)


# -- 10. two constructs on one pipeline -----------------------------------------------------------------------


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
