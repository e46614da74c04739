"""The decisions about a Delete: what it ends, and that it passes."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.aws_errors import (
    Denied,
    Fault,
    Missing,
    Refused,
    Throttled,
    Unclear,
    Unreachable,
)
from pipeline_reprocessing_handler.ledger import LISTED_WITHIN, Ledger
from pipeline_reprocessing_handler.lifecycle import Lifecycle
from pipeline_reprocessing_handler.pipelines import State, Status
from pipeline_reprocessing_handler.response import Answer
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Lifecycle]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RUNNING = Status(State.RUNNING)
INVENTED = "weather-Backfill-1TBV0FNGWF0Q5"


@pytest.fixture
def earlier(ledger_of: Callable[..., Ledger], pipeline: FakePipeline) -> Callable[..., None]:
    """Makes an earlier request with its run: `earlier("run-1", 2, "answer~Create~SUCCESS")`, 2 minutes ago."""

    def make(run_id: str, minutes: int, *notes: str) -> None:
        ledger = ledger_of(f"of {run_id}", made_at=NOW - timedelta(minutes=minutes))
        for note in ("asks~Create~0123", *notes):
            ledger.note(note)
        pipeline.states[run_id] = RUNNING
        pipeline.started[f"of {run_id}"] = run_id

    return make


@pytest.mark.parametrize("physical_id", ["weather/run-1", "weather/run-1/1738324800"])
@pytest.mark.parametrize("state", list(State))
def test_a_delete_ends_the_run_that_its_id_names(
    lifecycle_of: Open, pipeline: FakePipeline, state: State, physical_id: str
) -> None:
    pipeline.states = {"run-1": Status(state), "run-2": RUNNING}

    outcome = lifecycle_of("Delete", event={"PhysicalResourceId": physical_id}).remove()

    assert outcome == Answer(physical_id)
    may_go_on = state in (State.RUNNING, State.UNKNOWN)  # a new run may not be listed yet
    assert pipeline.runs_cancelled() == (["run-1"] if may_go_on else [])
    assert pipeline.states["run-2"] == RUNNING


def test_a_delete_may_leave_the_run_alone(lifecycle_of: Open, pipeline: FakePipeline) -> None:
    pipeline.states = {"run-1": RUNNING}

    outcome = lifecycle_of("Delete", OnRemoval="LEAVE").remove()

    assert outcome == Answer("weather/run-1")
    assert pipeline.cancelled == []


def test_the_clean_up_of_an_id_of_another_pipeline_ends_nothing(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws, earlier: Callable[..., None]
) -> None:
    earlier("run-1", 1)
    before = len(aws.sent)

    lifecycle_of("Delete", event={"PhysicalResourceId": "weather_2/run-1"}).remove()

    assert pipeline.cancelled == []
    assert len(aws.sent) == before


def test_a_delete_with_an_invented_id_ends_what_an_unanswered_create_has_started(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock, aws: FakeAws
) -> None:
    lifecycle_of().create_or_update()
    clock.sleep(30)

    outcome = lifecycle_of("Delete", event={"PhysicalResourceId": INVENTED}).remove()

    assert outcome == Answer(INVENTED)
    assert pipeline.runs_cancelled() == ["run-1"]
    assert any(
        note.startswith("asks~Delete~") for note in aws.notes()
    )  # so that a Create that has not started yet does not
    assert 2 * LISTED_WITHIN.total_seconds() in clock.slept  # or has been seen


def test_a_delete_with_an_invented_id_ends_of_those_that_succeeded_the_newest_only(
    lifecycle_of: Open, pipeline: FakePipeline, earlier: Callable[..., None]
) -> None:
    earlier("run-1", 3, "answer~Create~SUCCESS")
    earlier("run-2", 2, "answer~Create~SUCCESS")

    lifecycle_of("Delete", event={"PhysicalResourceId": INVENTED}).remove()

    assert pipeline.runs_cancelled() == ["run-2"]


def test_a_delete_with_an_invented_id_ends_what_failed_before_it(
    lifecycle_of: Open, pipeline: FakePipeline, earlier: Callable[..., None]
) -> None:
    earlier("run-1", 3, "answer~Create~FAILED")
    earlier("run-2", 2)
    earlier("run-3", 1, "answer~Create~SUCCESS")

    lifecycle_of("Delete", event={"PhysicalResourceId": INVENTED}).remove()

    assert pipeline.runs_cancelled() == ["run-3", "run-2", "run-1"]


def test_a_delete_of_a_resource_that_never_started_anything_succeeds(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"of another resource": RUNNING}

    outcome = lifecycle_of("Delete", event={"PhysicalResourceId": "weather/not-started"}).remove()

    assert outcome == Answer("weather/not-started")
    assert pipeline.cancelled == []
    assert clock.slept == []


def test_an_id_that_names_no_run_may_be_wrong_where_the_start_was_in_doubt(
    lifecycle_of: Open, pipeline: FakePipeline, earlier: Callable[..., None]
) -> None:
    earlier("run-1", 2, "answer~Create~FAILED")
    earlier("run-2", 1, "answer~Update~SUCCESS")  # of the resource that has replaced this one

    lifecycle_of("Delete", event={"PhysicalResourceId": "weather/not-started"}).remove()

    assert pipeline.runs_cancelled() == ["run-1"]


@pytest.mark.parametrize("fault", [Denied("no"), Missing("gone"), Refused("never"), Unreachable("no host")])
def test_a_delete_that_can_do_nothing_succeeds(
    lifecycle_of: Open, pipeline: FakePipeline, logged: io.StringIO, fault: Fault
) -> None:
    pipeline.trouble["status"] = [fault]

    assert lifecycle_of("Delete").remove() == Answer("weather/run-1")

    assert logged.getvalue() == f"[WARNING] runs that still go on are left alone: {fault}\n"


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops")])
def test_a_delete_that_may_succeed_later_fails(
    lifecycle_of: Open, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.trouble["status"] = [fault]

    with pytest.raises(Failure) as failure:
        lifecycle_of("Delete").remove()

    assert str(failure.value) == f"pipeline 'weather': whether a run still goes on is not known: {fault}"
