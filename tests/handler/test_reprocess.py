"""What people get to read and in which order things are done; random faults and races are in tests/simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.faults import Conflict, Denied, Fault, Missing, Refused, Throttled, Unclear
from pipeline_reprocessing_handler.ledger import SUPERSEDING, Ledger
from pipeline_reprocessing_handler.pipelines import State, Status
from pipeline_reprocessing_handler.reprocess import FORGOTTEN_AFTER, LAST_WORD, Reprocessing, Settled, Waiting
from pipeline_reprocessing_handler.request import Failure, Request, Target

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Reprocessing]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RUNNING = Status(State.RUNNING)


@pytest.fixture
def reprocessing(
    request_of: Callable[..., Request],
    properties: dict[str, Any],
    ledger: Ledger,
    aws: FakeAws,
    pipeline: FakePipeline,
) -> Open:
    """Opens the life of a resource: `reprocessing("Update", Trigger=..., was={...}, ...)`."""

    def make(
        type_: str = "Create",
        *,
        was: dict[str, Any] | None = None,
        event: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Reprocessing:
        old = {} if type_ == "Create" else {"OldResourceProperties": {**properties, **(was or {})}}
        request = request_of(type_, {**properties, **changes}, **old, **(event or {}))
        return Reprocessing(request, ledger, aws, lambda target, aws: pipeline)

    return make


def waiting_for(run_id: str = "run-1", *, minutes: float = 50) -> Waiting:
    return Waiting(
        run_id=run_id,
        started_at=NOW.timestamp(),
        deadline=(NOW + timedelta(minutes=minutes)).timestamp(),
        stack_status="CREATE_IN_PROGRESS",
        listed_at=NOW.timestamp(),
    )


def reason(failure: pytest.ExceptionInfo[Failure]) -> str:
    return str(failure.value)


# -- Create -------------------------------------------------------------------------------------------------


def test_a_create_starts_a_run_and_waits(reprocessing: Open, pipeline: FakePipeline) -> None:
    outcome = reprocessing().begin()

    assert outcome == waiting_for()
    assert pipeline.states == {"run-1": RUNNING}


def test_the_state_of_a_wait_survives_json() -> None:
    assert Waiting(**waiting_for().state()) == waiting_for()


def test_a_wait_ends_in_time_for_the_answer(reprocessing: Open, clock: FakeClock) -> None:
    repeated = reprocessing(Wait={"TimeoutSeconds": "60"})
    clock.sleep(200)  # the run was hard to start

    outcome = repeated.begin()

    assert isinstance(outcome, Waiting)
    assert outcome.deadline == (NOW + timedelta(seconds=200 + 60)).timestamp()
    assert outcome.deadline + LAST_WORD.total_seconds() <= (NOW + timedelta(seconds=60 + 300)).timestamp()


def test_without_a_wait_the_run_goes_on_by_itself(reprocessing: Open, pipeline: FakePipeline) -> None:
    outcome = reprocessing(Wait=None, Messages={"EndTime": "2025-01-31T00:00:00Z"}).begin()

    assert outcome == Settled(
        "weather/run-1",
        {
            "ReprocessingId": "run-1",
            "Status": "RUNNING",
            "StartTime": "",
            "EndTime": "2025-01-31T00:00:00Z",
            "PipelineName": "weather",
        },
    )
    assert pipeline.cancelled == []


def test_a_request_that_comes_again_is_one_run(reprocessing: Open, pipeline: FakePipeline) -> None:
    again = {"RequestId": "5f2a-10"}

    first, second = reprocessing(event=again).begin(), reprocessing(event=again).begin()

    assert first == second
    assert len(pipeline.states) == 1


def test_a_request_that_comes_again_after_its_answer_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, ledger: Ledger
) -> None:
    for mark in ("before=0", "answer-1", "answer-sent"):
        ledger.mark("5f2a-10", mark)

    with pytest.raises(Failure) as failure:
        reprocessing(event={"RequestId": "5f2a-10"}).begin()

    assert reason(failure) == (
        "pipeline 'weather': the request came again after it was answered; nothing is started"
    )
    assert pipeline.states == {}


def test_a_request_that_comes_too_late_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    late = reprocessing()
    clock.sleep(240)

    with pytest.raises(Failure) as failure:
        late.begin()

    assert reason(failure) == (
        "pipeline 'weather': the run could not be started within 4 minutes of the request"
    )
    assert pipeline.states == {}


def test_a_resource_that_was_removed_meanwhile_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, ledger: Ledger
) -> None:
    create = reprocessing()
    ledger.mark(SUPERSEDING, f"{NOW.timestamp() + 30:.3f}=5f2a-11")

    with pytest.raises(Failure) as failure:
        create.begin()

    assert reason(failure) == "pipeline 'weather': superseded before its run was started, by a later request"
    assert pipeline.states == {}


def test_a_service_that_is_busy_for_ever_fails_the_deploy_in_time(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.trouble["start"] = [Throttled("iotanalytics:start_pipeline_reprocessing: busy")] * 1000

    with pytest.raises(Failure) as failure:
        reprocessing().begin()

    assert reason(failure) in (
        "pipeline 'weather': the run could not be started within 4 minutes of the request",
        "pipeline 'weather': the run could not be started: iotanalytics:start_pipeline_reprocessing: busy",
    )
    assert clock.now() <= NOW + timedelta(minutes=5)
    assert failure.value.physical_id is None


def test_what_is_refused_at_the_start_names_the_pipeline(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.trouble["bookmark"] = [Denied("iotanalytics:describe_pipeline: AccessDenied: no")]

    with pytest.raises(Failure) as failure:
        reprocessing().begin()

    assert reason(failure) == "pipeline 'weather': iotanalytics:describe_pipeline: AccessDenied: no"


@pytest.mark.parametrize("fault", [Conflict("busy"), Throttled("busy")])
def test_a_start_that_is_not_taken_is_tried_again(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock, fault: Fault
) -> None:
    pipeline.trouble["start"] = [fault, fault]

    outcome = reprocessing().begin()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-1"
    assert clock.slept == [1, 2]


# -- Update -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED, State.UNKNOWN])
def test_an_update_that_changes_no_data_keeps_everything(
    reprocessing: Open, pipeline: FakePipeline, state: State
) -> None:
    pipeline.states = {"run-1": Status(state)}

    outcome = reprocessing("Update", Wait={"TimeoutSeconds": "60"}).begin()

    assert isinstance(outcome, Settled)
    assert outcome.physical_id == "weather/run-1"
    assert (outcome.data["ReprocessingId"], outcome.data["Status"]) == ("run-1", state)
    assert (len(pipeline.states), pipeline.cancelled) == (1, [])


def test_an_update_that_changes_no_data_tells_what_the_run_has_read(
    reprocessing: Open, clock: FakeClock
) -> None:
    last_hour = {"Messages": {"LastSeconds": "3600"}}
    first = reprocessing(**last_hour)
    started = first.begin()
    assert isinstance(started, Waiting)
    clock.sleep(86_400)

    later = {"RequestId": "5f2a-11", "ArrivedAt": clock.now().timestamp()}
    outcome = reprocessing("Update", was=last_hour, event=later, **last_hour, Wait=None).begin()

    assert isinstance(outcome, Settled)
    assert outcome.data["EndTime"] == first.going_on(started).data["EndTime"] == "2025-01-31T12:00:00Z"


def test_an_update_that_changes_no_data_asks_for_nothing(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.trouble["status"] = [Denied("no")]

    outcome = reprocessing("Update", OnRemoval="LEAVE").begin()

    assert isinstance(outcome, Settled)
    assert outcome.data["Status"] == "UNKNOWN"


def test_an_update_supersedes_the_run_that_still_goes_on(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.states = {"run-1": RUNNING}

    outcome = reprocessing("Update", Trigger="b" * 64).begin()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-2"
    assert [run_id for run_id, _ in pipeline.cancelled] == ["run-1"]
    assert pipeline.cancelled[0][1].startswith(
        "superseded by a new deploy (Backfill of arn:aws:cloudformation:"
    )


def test_a_run_that_will_not_end_does_not_hold_up_the_deploy(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.ends_when_cancelled = False

    outcome = reprocessing("Update", Trigger="b" * 64).begin()

    assert isinstance(outcome, Waiting)
    assert len(pipeline.cancelled) == 1
    assert clock.now() <= NOW + timedelta(minutes=1, seconds=10)


def test_a_cancelled_run_that_is_not_listed_yet_is_seen_to_end_before_the_next_one_starts(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.UNKNOWN)}
    pipeline.ends_when_cancelled = False
    listed_at = NOW + timedelta(seconds=10)
    pipeline.comes_true["run-1"] = lambda: Status(
        State.CANCELLED if clock.now() >= listed_at else State.UNKNOWN
    )

    outcome = reprocessing("Update", Trigger="b" * 64).begin()

    assert isinstance(outcome, Waiting)
    assert outcome.started_at >= listed_at.timestamp()


def test_a_run_that_never_was_is_not_looked_for(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.ends_when_cancelled = False

    outcome = reprocessing("Update", Trigger="b" * 64).begin()

    assert isinstance(outcome, Waiting)
    assert pipeline.cancelled
    assert clock.now() == NOW


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("Create", "ROLLBACK_IN_PROGRESS"),
        ("Create", "UPDATE_ROLLBACK_IN_PROGRESS"),
        ("Create", "DELETE_IN_PROGRESS"),
        ("Update", "DELETE_IN_PROGRESS"),
    ],
)
def test_a_request_that_its_stack_has_given_up_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws, type_: str, status: str
) -> None:
    aws.stack_status = status

    with pytest.raises(Failure) as failure:
        reprocessing(type_, was={"Trigger": "b" * 64}).begin()

    assert reason(failure) == (
        f"pipeline 'weather': superseded before its run was started, the stack is in {status}"
    )
    assert pipeline.states == {}


@pytest.mark.parametrize(("on_rollback", "runs"), [("KEEP", ["run-1"]), ("REPROCESS", ["run-1", "run-2"])])
def test_a_rollback_runs_the_old_definition_again_only_on_request(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws, on_rollback: str, runs: list[str]
) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    pipeline.states = {"run-1": RUNNING}

    outcome = reprocessing("Update", Trigger="b" * 64, OnRollback=on_rollback).begin()

    assert list(pipeline.states) == runs
    assert [run_id for run_id, _ in pipeline.cancelled] == ["run-1"]
    assert isinstance(outcome, Settled) is (on_rollback == "KEEP")


def test_a_rollback_that_keeps_the_data_keeps_the_id(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws
) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"

    outcome = reprocessing("Update", Trigger="b" * 64, event={"PhysicalResourceId": "weather/run-7"}).begin()

    assert isinstance(outcome, Settled)
    assert outcome.physical_id == "weather/run-7"


def test_a_pipeline_that_was_exchanged_is_left_alone_where_the_new_policy_says_nothing_of_it(
    request_of: Callable[..., Request],
    properties: dict[str, Any],
    ledger: Ledger,
    aws: FakeAws,
    pipeline: FakePipeline,
) -> None:
    class Elsewhere:
        def status(self, run_id: str) -> Status:
            raise Denied("no")

    def open_pipeline(target: Target, aws: object) -> Any:
        return Elsewhere() if target.name == "weather" else pipeline

    old = {**properties}
    new = {**properties, "Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather_2"}}
    request = request_of("Update", new, OldResourceProperties=old)

    outcome = Reprocessing(request, ledger, aws, open_pipeline).begin()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-1"


# -- waiting ------------------------------------------------------------------------------------------------


def test_a_run_that_succeeds_settles_the_request(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}

    outcome = reprocessing().proceed(waiting_for(), until=LATER)

    assert isinstance(outcome, Settled)
    assert outcome.physical_id == "weather/run-1"
    assert outcome.data["Status"] == "SUCCEEDED"
    assert clock.slept == []


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status(State.FAILED), "the run ended FAILED"),
        (Status(State.CANCELLED), "the run ended CANCELLED"),
        (
            Status(State.FAILED, "States.TaskFailed: no such table"),
            "the run ended FAILED: States.TaskFailed: no such table",
        ),
    ],
)
def test_a_run_that_fails_says_why(
    reprocessing: Open, pipeline: FakePipeline, status: Status, text: str
) -> None:
    pipeline.states = {"run-1": status}

    with pytest.raises(Failure) as failure:
        reprocessing().proceed(waiting_for(), until=LATER)

    assert reason(failure) == f"pipeline 'weather', run 'run-1': {text}"
    assert failure.value.physical_id == "weather/run-1"
    assert pipeline.cancelled == []


def test_a_request_that_comes_when_nobody_listens_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    late = reprocessing()
    clock.moment += timedelta(hours=1)

    with pytest.raises(Failure) as failure:
        late.begin()

    assert (
        reason(failure) == "pipeline 'weather': the request came when nobody waited for its answer any more"
    )
    assert pipeline.states == {}


def test_looks_grow_rarer_from_half_a_second_to_five(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": RUNNING}

    outcome = reprocessing().proceed(waiting_for(), until=NOW + timedelta(minutes=10))

    assert isinstance(outcome, Waiting)
    assert clock.slept[:10] == [0.5] * 10
    assert clock.slept[:-1] == sorted(clock.slept[:-1])
    assert max(clock.slept) == 5
    assert len(clock.slept) < 180  # one look in 3.3 s or more on average


def test_a_wait_is_handed_over_in_time(reprocessing: Open, pipeline: FakePipeline, clock: FakeClock) -> None:
    pipeline.states = {"run-1": RUNNING}
    until = NOW + timedelta(seconds=33)

    outcome = reprocessing().proceed(waiting_for(), until=until)

    assert outcome == replace(waiting_for(), listed_at=clock.now().timestamp())
    assert until <= clock.now() <= until + timedelta(seconds=0.05)


def test_a_run_that_takes_too_long_is_cancelled(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": RUNNING}

    with pytest.raises(Failure) as failure:
        reprocessing().proceed(waiting_for(minutes=1.5), until=LATER)

    assert (
        reason(failure) == "pipeline 'weather', run 'run-1': not finished within 1.5 minutes, and cancelled"
    )
    assert failure.value.physical_id == "weather/run-1"
    assert pipeline.states["run-1"].state is State.CANCELLED
    assert clock.now() == NOW + timedelta(minutes=1.5)


def test_a_run_may_go_on_after_the_wait(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.states = {"run-1": RUNNING}
    patient = reprocessing(Wait={"TimeoutSeconds": "60", "OnTimeout": "DETACH"})

    outcome = patient.proceed(waiting_for(minutes=1), until=LATER)

    assert isinstance(outcome, Settled)
    assert outcome.data["Status"] == "RUNNING"
    assert pipeline.cancelled == []


@pytest.mark.parametrize("status", ["ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_a_stack_that_turns_away_supersedes_the_run(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws, status: str
) -> None:
    pipeline.states = {"run-1": RUNNING}
    aws.stack_status = status

    with pytest.raises(Failure) as failure:
        reprocessing().proceed(waiting_for(), until=LATER)

    assert reason(failure) == f"pipeline 'weather', run 'run-1': superseded, the stack is in {status}"
    assert [run_id for run_id, _ in pipeline.cancelled] == ["run-1"]


def test_the_stack_is_looked_at_now_and_then(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": RUNNING}

    reprocessing().proceed(waiting_for(), until=NOW + timedelta(minutes=2))

    assert 5 <= aws.operations().count("describe_stacks") <= 9


def test_a_stack_that_cannot_be_looked_at_changes_nothing(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}
    aws.scripts["describe_stacks"] = [Denied("no")]

    assert isinstance(reprocessing().proceed(waiting_for(), until=LATER), Settled)


def test_a_run_that_is_not_listed_for_minutes_is_given_up(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.UNKNOWN, "pipeline 'weather' does not exist")}

    with pytest.raises(Failure) as failure:
        reprocessing().proceed(waiting_for(), until=LATER)

    assert reason(failure) == (
        "pipeline 'weather', run 'run-1': the run is not listed any more: pipeline 'weather' does not exist"
    )
    assert NOW + FORGOTTEN_AFTER < clock.now() <= NOW + FORGOTTEN_AFTER + timedelta(seconds=10)


def test_a_run_that_is_listed_late_is_waited_for(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.states = {"run-1": Status(State.UNKNOWN)}
    on_the_way = reprocessing()

    outcome = on_the_way.proceed(waiting_for(), until=NOW + timedelta(minutes=1))
    assert isinstance(outcome, Waiting)
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}

    assert isinstance(on_the_way.proceed(outcome, until=LATER), Settled)


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops")])
def test_a_status_that_cannot_be_read_for_a_while_is_read_later(
    reprocessing: Open, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}
    pipeline.trouble["status"] = [fault] * 20

    assert isinstance(reprocessing().proceed(waiting_for(), until=LATER), Settled)


@pytest.mark.parametrize("fault", [Denied("no"), Refused("no")])
def test_a_status_that_can_never_be_read_ends_the_run(
    reprocessing: Open, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.trouble["status"] = [fault]

    with pytest.raises(Failure) as failure:
        reprocessing().proceed(waiting_for(), until=LATER)

    assert reason(failure) == "pipeline 'weather', run 'run-1': its status cannot be read: no"
    [(run_id, cause)] = pipeline.cancelled
    assert (run_id, cause.partition(" (")[0]) == ("run-1", "its status cannot be read")


def test_a_run_that_cannot_be_cancelled_is_told_all_the_same(
    reprocessing: Open, pipeline: FakePipeline
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.trouble["cancel"] = [Denied("no")]

    failure = reprocessing().give_up(waiting_for(), "nobody can wait for it: no")

    assert str(failure) == "pipeline 'weather', run 'run-1': nobody can wait for it: no"


# -- Delete -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
def test_a_delete_ends_the_run_that_its_id_names(
    reprocessing: Open, pipeline: FakePipeline, state: State
) -> None:
    pipeline.states = {"run-1": Status(state), "run-2": RUNNING}

    outcome = reprocessing("Delete").remove()

    assert outcome == Settled("weather/run-1", {})
    may_go_on = state in (State.RUNNING, State.UNKNOWN)  # a new run may not be listed yet
    assert [run_id for run_id, _ in pipeline.cancelled] == (["run-1"] if may_go_on else [])
    assert pipeline.states["run-2"] == RUNNING


def test_a_delete_may_leave_the_run_alone(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.states = {"run-1": RUNNING}

    outcome = reprocessing("Delete", OnRemoval="LEAVE").remove()

    assert outcome == Settled("weather/run-1", {})
    assert pipeline.cancelled == []


def test_a_delete_with_an_invented_id_ends_what_an_unanswered_create_has_started(
    reprocessing: Open, pipeline: FakePipeline
) -> None:
    reprocessing().begin()

    outcome = reprocessing("Delete", event={"PhysicalResourceId": "weather-Backfill-1TBV0"}).remove()

    assert outcome == Settled("weather-Backfill-1TBV0", {})
    assert [run_id for run_id, _ in pipeline.cancelled] == ["run-1"]


def test_a_delete_of_a_resource_that_never_started_anything_succeeds(
    reprocessing: Open, pipeline: FakePipeline
) -> None:
    pipeline.states = {"somebody's": RUNNING}

    outcome = reprocessing("Delete", event={"PhysicalResourceId": "weather/not-started"}).remove()

    assert outcome == Settled("weather/not-started", {})
    assert pipeline.cancelled == []


@pytest.mark.parametrize("fault", [Denied("no"), Missing("gone"), Refused("never")])
def test_a_delete_that_can_do_nothing_succeeds(
    reprocessing: Open, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.trouble["status"] = [fault]

    assert reprocessing("Delete").remove() == Settled("weather/run-1", {})


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops")])
def test_a_delete_that_may_succeed_later_fails(
    reprocessing: Open, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.trouble["status"] = [fault]

    with pytest.raises(Failure) as failure:
        reprocessing("Delete").remove()

    assert reason(failure) == f"pipeline 'weather': whether a run still goes on is not known: {fault}"
