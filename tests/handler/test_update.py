"""The decisions about an Update: what it starts, what it ends, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.lifecycle import Reprocessing, Settled, Waiting
from pipeline_reprocessing_handler.pipelines import Counts, State, Status
from pipeline_reprocessing_handler.properties import Target
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Reprocessing]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RUNNING = Status(State.RUNNING)


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


@pytest.mark.parametrize(
    ("stack_status", "changes", "reason"),
    [
        (
            "UPDATE_IN_PROGRESS",
            {"OnRemoval": "LEAVE"},
            "nothing is reprocessed: nothing that decides the data has changed",
        ),
        (
            "UPDATE_ROLLBACK_IN_PROGRESS",
            {"Trigger": "b" * 64},
            "nothing is reprocessed: the stack is rolling back and OnRollback is KEEP",
        ),
    ],
)
def test_an_update_that_starts_nothing_says_so_and_tells_of_the_last_run(
    reprocessing: Open,
    pipeline: FakePipeline,
    aws: FakeAws,
    stack_status: str,
    changes: dict[str, str],
    reason: str,
) -> None:
    counts = Counts(objects=2, messages_in=7)
    pipeline.states = {"run-1": Status(State.SUCCEEDED, counts=counts)}
    aws.stack_status = stack_status

    outcome = reprocessing("Update", **changes).begin()

    assert isinstance(outcome, Settled)
    assert outcome.reason == reason
    assert outcome.data.items() >= counts.attributes.items()


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

    assert str(failure.value) == (
        f"pipeline 'weather': superseded before its run was started, the stack is in {status}"
    )
    assert pipeline.states == {}


@pytest.mark.parametrize(
    "status", ["UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]
)
def test_an_update_of_a_rollback_that_comes_again_when_that_is_over_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws, status: str
) -> None:
    aws.stack_status = status

    outcome = reprocessing("Update", Trigger="b" * 64).begin()

    assert isinstance(outcome, Settled)
    assert [run_id for run_id in pipeline.states if run_id != "run-1"] == []


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
