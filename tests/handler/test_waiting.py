"""The wait for a run, and each of its ends."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Refused, Throttled, Unclear
from pipeline_reprocessing_handler.lifecycle import FORGOTTEN_AFTER, Reprocessing, Settled, Waiting
from pipeline_reprocessing_handler.pipelines import Counts, State, Status
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Reprocessing]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RUNNING = Status(State.RUNNING)


def waiting_for(run_id: str = "run-1", *, minutes: float = 50) -> Waiting:
    return Waiting(
        run_id=run_id,
        started_at=NOW.timestamp(),
        deadline=(NOW + timedelta(minutes=minutes)).timestamp(),
        stack_status="CREATE_IN_PROGRESS",
        listed_at=NOW.timestamp(),
    )


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
    ("counts", "level", "reason"),
    [
        (Counts(), "INFO", "the run has succeeded"),
        (Counts(objects=2, messages_in=7), "INFO", "the run has succeeded: 2 objects, 7 messages in"),
        (
            Counts(objects=0, objects_skipped=3),
            "WARNING",
            "the run replayed nothing: the selection matched no object (0 objects, 3 objects skipped)",
        ),
        (
            Counts(objects=2, messages_in=0),
            "WARNING",
            "the run replayed nothing: no message was read (2 objects, 0 messages in)",
        ),
    ],
)
def test_a_run_that_succeeds_tells_what_it_has_replayed(
    reprocessing: Open, pipeline: FakePipeline, logged: io.StringIO, counts: Counts, level: str, reason: str
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED, counts=counts)}
    patient = reprocessing()
    logging.root.setLevel("INFO")

    outcome = patient.proceed(waiting_for(), until=LATER)

    assert isinstance(outcome, Settled)
    assert outcome.reason == reason
    assert outcome.data.items() >= counts.attributes.items()
    assert logged.getvalue() == f"[{level}] pipeline 'weather', run 'run-1': {reason}\n"


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

    assert str(failure.value) == f"pipeline 'weather', run 'run-1': {text}"
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
        str(failure.value)
        == "pipeline 'weather': the request came when nobody waited for its answer any more"
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
        str(failure.value)
        == "pipeline 'weather', run 'run-1': not finished within 1.5 minutes, and cancelled"
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
    assert outcome.reason == "the run goes on after 1 minutes; OnTimeout is DETACH"
    assert pipeline.cancelled == []


@pytest.mark.parametrize("status", ["ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_a_stack_that_turns_away_supersedes_the_run(
    reprocessing: Open, pipeline: FakePipeline, aws: FakeAws, status: str
) -> None:
    pipeline.states = {"run-1": RUNNING}
    aws.stack_status = status

    with pytest.raises(Failure) as failure:
        reprocessing().proceed(waiting_for(), until=LATER)

    assert str(failure.value) == f"pipeline 'weather', run 'run-1': superseded, the stack is in {status}"
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

    assert str(failure.value) == (
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

    assert str(failure.value) == "pipeline 'weather', run 'run-1': its status cannot be read: no"
    [(run_id, cause)] = pipeline.cancelled
    assert (run_id, cause.partition(" (")[0]) == ("run-1", "its status cannot be read")


def test_a_run_that_cannot_be_cancelled_is_told_all_the_same(
    reprocessing: Open, pipeline: FakePipeline
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.trouble["cancel"] = [Denied("no")]

    failure = reprocessing().give_up(waiting_for(), "nobody can wait for it: no")

    assert str(failure) == "pipeline 'weather', run 'run-1': nobody can wait for it: no"
