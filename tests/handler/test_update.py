"""The decisions about an Update: what it starts, what it ends, and what it leaves alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Refused, Throttled, Unclear, Unreachable
from pipeline_reprocessing_handler.invocation import MADE_AT, Waiting
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.lifecycle import Lifecycle
from pipeline_reprocessing_handler.pipelines import Counts, State, Status
from pipeline_reprocessing_handler.properties import Target
from pipeline_reprocessing_handler.response import Answer

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Lifecycle]
    Earlier = Callable[..., None]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RUNNING = Status(State.RUNNING)
OTHER = {"Trigger": "b" * 64}


@pytest.fixture
def earlier(ledger_of: Callable[..., Ledger], pipeline: FakePipeline) -> Earlier:
    """Makes an earlier request with its run: `earlier("run-1", 2, "answer~Create~SUCCESS")`, 2 minutes ago."""

    def make(run_id: str, minutes: int, *notes: str) -> None:
        ledger = ledger_of(f"of {run_id}", made_at=NOW - timedelta(minutes=minutes))
        for note in notes:
            ledger.note(note)
        pipeline.states[run_id] = RUNNING
        pipeline.started[f"of {run_id}"] = run_id

    return make


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED, State.UNKNOWN])
def test_an_update_that_changes_no_data_keeps_everything(
    lifecycle_of: Open, pipeline: FakePipeline, state: State
) -> None:
    pipeline.states = {"run-1": Status(state)}

    outcome = lifecycle_of("Update", Wait={"TimeoutSeconds": "60"}).create_or_update()

    assert isinstance(outcome, Answer)
    assert (outcome.physical_id, outcome.ends_wait) == ("weather/run-1", True)
    assert (outcome.data["ReprocessingId"], outcome.data["Status"]) == ("run-1", state)
    assert (len(pipeline.states), pipeline.cancelled) == (1, [])


def test_an_update_that_changes_no_data_says_so_with_the_numbers_of_the_run(
    lifecycle_of: Open, pipeline: FakePipeline
) -> None:
    counts = Counts(objects=2, messages_in=7)
    pipeline.states = {"run-1": Status(State.SUCCEEDED, counts=counts)}

    outcome = lifecycle_of("Update", OnRemoval="LEAVE").create_or_update()

    assert isinstance(outcome, Answer)
    assert outcome.reason == "nothing is reprocessed: nothing that decides the data has changed"
    assert outcome.data.items() >= counts.attributes.items()


@pytest.mark.parametrize(
    ("physical_id", "end"),
    [
        ("weather/run-1/1738238400", "2025-01-30T12:00:00Z"),
        ("weather/run-1", "2025-01-31T12:00:00Z"),  # ids of earlier versions do not say
    ],
)
def test_an_update_that_changes_no_data_tells_what_the_run_has_read(
    lifecycle_of: Open, physical_id: str, end: str
) -> None:
    last_hour = {"Messages": {"LastSeconds": "3600"}, "Wait": None}

    update = lifecycle_of("Update", was=last_hour, event={"PhysicalResourceId": physical_id}, **last_hour)
    outcome = update.create_or_update()

    assert isinstance(outcome, Answer)
    assert (outcome.physical_id, outcome.data["EndTime"]) == (physical_id, end)


@pytest.mark.parametrize("fault", [Denied("no"), Throttled("busy")])
def test_an_update_that_changes_no_data_does_not_wait_for_the_runs_status(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock, fault: Fault
) -> None:
    pipeline.trouble["status"] = [fault]

    outcome = lifecycle_of("Update", OnRemoval="LEAVE").create_or_update()

    assert isinstance(outcome, Answer)
    assert outcome.data["Status"] == "UNKNOWN"
    assert clock.now() == NOW


@pytest.mark.parametrize("was", [{}, {"Because": {"Telemetry/Earlier": {"code": "00000000"}}}])
def test_an_update_of_what_tells_why_keeps_everything_and_does_not_tell_it(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws, logged: io.StringIO, was: dict[str, Any]
) -> None:
    pipeline.states = {"run-1": RUNNING}
    because = {"Telemetry/ToCelsius": {"code": "1f0c9a2e"}}

    outcome = lifecycle_of("Update", was=was, Because=because).create_or_update()

    assert isinstance(outcome, Answer)
    assert outcome.reason == "nothing is reprocessed: nothing that decides the data has changed"
    assert (pipeline.started, pipeline.cancelled) == ({}, [])
    written = f"{outcome}{logged.getvalue()}{aws.streams}{aws.sent}"
    assert "Telemetry" not in written
    assert "1f0c9a2e" not in written


def test_an_update_supersedes_the_run_that_still_goes_on(lifecycle_of: Open, pipeline: FakePipeline) -> None:
    pipeline.states = {"run-1": RUNNING}

    outcome = lifecycle_of("Update", was=OTHER).create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-2"
    ((run_id, cause),) = pipeline.cancelled
    assert run_id == "run-1"
    assert cause.startswith("superseded by a new deploy (Backfill of arn:aws:cloudformation:")


def test_an_update_ends_what_requests_that_were_given_up_have_started(
    lifecycle_of: Open, pipeline: FakePipeline, earlier: Earlier
) -> None:
    earlier("run-1", 3, "asks~Update~0123", "answer~Update~SUCCESS")
    earlier("run-2", 2, "asks~Update~4567", "answer~Update~FAILED")
    earlier("run-3", 1, "asks~Update~89ab")

    outcome = lifecycle_of("Update", was=OTHER, event={"PhysicalResourceId": "weather/not-started"})

    assert isinstance(outcome.create_or_update(), Waiting)
    assert pipeline.runs_cancelled() == ["run-3", "run-2"]


def test_an_update_ends_of_the_deploys_that_succeeded_the_newest_only(
    lifecycle_of: Open, pipeline: FakePipeline, earlier: Earlier
) -> None:
    earlier("run-1", 2, "asks~Create~0123", "answer~Create~SUCCESS")
    earlier("run-2", 1, "asks~Update~4567", "answer~Update~SUCCESS")

    lifecycle_of("Update", was=OTHER, event={"PhysicalResourceId": "weather/run-7"}).create_or_update()

    assert pipeline.runs_cancelled() == ["run-7", "run-2"]


def test_an_update_whose_signal_failed_has_not_succeeded(
    lifecycle_of: Open, pipeline: FakePipeline, earlier: Earlier
) -> None:
    earlier("run-1", 2, "asks~Create~0123", "answer~Create~SUCCESS", "signal~Create~FAILED")
    earlier("run-2", 1, "asks~Update~4567", "answer~Update~SUCCESS")

    lifecycle_of("Update", was=OTHER, event={"PhysicalResourceId": "weather/run-2"}).create_or_update()

    assert pipeline.runs_cancelled() == ["run-2", "run-1"]


def test_a_run_that_will_not_end_does_not_hold_up_the_deploy(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.ends_when_cancelled = False

    outcome = lifecycle_of("Update", was=OTHER).create_or_update()

    assert isinstance(outcome, Waiting)
    assert len(pipeline.cancelled) == 1
    assert clock.now() <= NOW + timedelta(minutes=1, seconds=10)


def test_a_cancelled_run_that_is_listed_late_ends_before_the_next_one_starts(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.UNKNOWN)}
    pipeline.ends_when_cancelled = False
    listed_at = NOW + timedelta(seconds=10)
    pipeline.comes_true["run-1"] = lambda: Status(
        State.CANCELLED if clock.now() >= listed_at else State.UNKNOWN
    )

    outcome = lifecycle_of("Update", was=OTHER).create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.started_at >= listed_at.timestamp()


def test_a_run_that_never_was_is_not_waited_for(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.ends_when_cancelled = False

    outcome = lifecycle_of("Update", was=OTHER).create_or_update()

    assert isinstance(outcome, Waiting)
    assert pipeline.cancelled
    assert clock.now() == NOW


# A pipeline that was exchanged for another.


@pytest.fixture
def exchange(
    lifecycle_of: Open, pipeline: FakePipeline, properties: dict[str, Any]
) -> Callable[[FakePipeline], Lifecycle]:
    """An Update from the pipeline 'weather', which is the one given, to 'weather_2'."""

    def make(old: FakePipeline) -> Lifecycle:
        now = {"Kind": "IOT_ANALYTICS", "Name": "weather_2"}
        update = lifecycle_of("Update", was={"Pipeline": properties["Pipeline"]}, Pipeline=now)

        def open_pipeline(target: Target, aws: object, ledger: object) -> FakePipeline:
            return old if target.name == "weather" else pipeline

        return replace(update, open_pipeline=open_pipeline)

    return make


def test_a_run_of_the_pipeline_before_is_ended_on_that_pipeline(
    exchange: Callable[..., Lifecycle], pipeline: FakePipeline, earlier: Earlier
) -> None:
    earlier("run-5", 1, "asks~Update~0123")
    old = type(pipeline)()
    old.states, pipeline.states = {"run-1": RUNNING, **pipeline.states}, {}
    old.started, pipeline.started = pipeline.started, {}

    outcome = exchange(old).create_or_update()

    assert isinstance(outcome, Waiting)
    assert old.runs_cancelled() == ["run-1", "run-5"]
    assert pipeline.cancelled == []


def test_earlier_runs_are_not_looked_for_on_the_new_pipeline(
    exchange: Callable[..., Lifecycle], pipeline: FakePipeline, earlier: Earlier
) -> None:
    earlier("run-5", 1, "asks~Update~0123")  # the fake pipeline would have such a run

    exchange(type(pipeline)()).create_or_update()

    assert pipeline.cancelled == []


@pytest.mark.parametrize("fault", [Denied("no"), Unreachable("no host")])
def test_a_pipeline_that_was_exchanged_may_be_out_of_reach(
    exchange: Callable[..., Lifecycle], pipeline: FakePipeline, logged: io.StringIO, fault: Fault
) -> None:
    old = type(pipeline)()
    old.trouble["status"] = [fault]

    outcome = exchange(old).create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-1"
    assert f"[WARNING] what runs on pipeline 'weather' is left alone: {fault}\n" in logged.getvalue()


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops"), Refused("no")])
def test_a_pipeline_that_was_exchanged_has_to_answer_where_it_may(
    exchange: Callable[..., Lifecycle], pipeline: FakePipeline, fault: Fault
) -> None:
    old = type(pipeline)()
    old.trouble["status"] = [fault]

    with pytest.raises(Exception, match=f"^pipeline 'weather_2': {fault}$"):
        exchange(old).create_or_update()

    assert pipeline.states == {}


@pytest.mark.parametrize("fault", [Denied("no"), Unreachable("no host")])
def test_a_pipeline_that_stays_has_to_be_within_reach(
    lifecycle_of: Open, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.trouble["status"] = [fault]

    with pytest.raises(Exception, match=f"^pipeline 'weather': {fault}$"):
        lifecycle_of("Update", was=OTHER).create_or_update()

    assert pipeline.states == {}


def test_an_undated_update_that_comes_again_is_as_old_as_its_first_note(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock, ledger_of: Callable[..., Ledger]
) -> None:
    ledger_of("5f2a-10", made_at=NOW).note("asks~Update~0123")
    ledger_of("5f2a-11", made_at=NOW + timedelta(minutes=2)).note("asks~Update~4567")
    clock.sleep(180)

    with pytest.raises(Exception, match="superseded before its run was started, by a later request"):
        lifecycle_of("Update", was=OTHER, event={"RequestId": "5f2a-10"}).create_or_update()

    assert pipeline.started == {}


def test_a_dated_update_that_comes_again_is_as_old_as_it_says(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    clock.sleep(60)

    update = lifecycle_of("Update", was=OTHER, event={MADE_AT: NOW.timestamp()})
    outcome = update.create_or_update()

    assert isinstance(outcome, Waiting)
    assert update.ledger.read().own.made_at == NOW
