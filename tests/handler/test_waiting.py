"""The wait for a run, and each of its ends."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

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
from pipeline_reprocessing_handler.invocation import MADE_AT, Waiting
from pipeline_reprocessing_handler.lifecycle import Lifecycle
from pipeline_reprocessing_handler.pipelines import Counts, State, Status
from pipeline_reprocessing_handler.response import Answer
from pipeline_reprocessing_handler.validation import Failure
from pipeline_reprocessing_handler.waiting import FORGOTTEN_AFTER, LONGEST_BETWEEN_LOOKS, Wait

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakeContext, FakePipeline

    WaitOf = Callable[..., Wait]
    WaitingFor = Callable[..., Waiting]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RUNNING = Status(State.RUNNING)
SIGNAL_URL = "https://signals.example/wait?Signature=77aa"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_run_that_succeeds_settles_the_request(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}

    outcome = wait_of().go_on(waiting_for(), hand_over_at=LATER)

    assert isinstance(outcome, Answer)
    assert (outcome.physical_id, outcome.ends_wait) == ("weather/run-1/1738324800", True)
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
    wait_of: WaitOf,
    waiting_for: WaitingFor,
    pipeline: FakePipeline,
    logged: io.StringIO,
    counts: Counts,
    level: str,
    reason: str,
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED, counts=counts)}
    wait = wait_of()
    logging.root.setLevel("INFO")

    outcome = wait.go_on(waiting_for(), hand_over_at=LATER)

    assert isinstance(outcome, Answer)
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
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, status: Status, text: str
) -> None:
    pipeline.states = {"run-1": status}

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(), hand_over_at=LATER)

    assert str(failure.value) == f"pipeline 'weather', run 'run-1': {text}"
    assert failure.value.physical_id == "weather/run-1/1738324800"
    assert pipeline.cancelled == []


def test_a_request_that_arrives_after_its_timeout_starts_nothing(
    lifecycle_of: Callable[..., Lifecycle], pipeline: FakePipeline, clock: FakeClock
) -> None:
    late = lifecycle_of()
    clock.moment += timedelta(hours=1)

    with pytest.raises(Failure) as failure:
        late.create_or_update()

    assert str(failure.value) == "pipeline 'weather': the request arrived after its timeout"
    assert pipeline.states == {}


def test_looks_grow_rarer_from_half_a_second_to_a_few(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": RUNNING}

    outcome = wait_of().go_on(waiting_for(), hand_over_at=after(600))

    assert isinstance(outcome, Waiting)
    assert clock.slept[:10] == [0.5] * 10
    assert clock.slept[:-1] == sorted(clock.slept[:-1])
    assert max(clock.slept) == LONGEST_BETWEEN_LOOKS
    assert len(clock.slept) < 240  # one look in 2.5 s or more on average


# The hand-over.


def test_a_wait_is_handed_over_in_time(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, clock: FakeClock, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": RUNNING}
    wait = wait_of()

    outcome = wait.go_on(waiting_for(), hand_over_at=after(33))

    assert isinstance(outcome, Waiting)
    assert outcome == replace(waiting_for(), listed_at=outcome.listed_at)
    assert clock.now().timestamp() - outcome.listed_at < 2
    assert after(33) <= clock.now() <= after(33.05)
    (invocation,) = aws.invocations
    assert (invocation["FunctionName"], invocation["InvocationType"]) == ("handler", "Event")
    assert json.loads(invocation["Payload"]) == {
        **wait.invocation.event,
        "CrHelperPoll": True,
        "CrHelperData": asdict(outcome),
        MADE_AT: NOW.timestamp(),
    }


def test_what_tells_why_is_not_handed_over(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, properties: dict[str, Any]
) -> None:
    pipeline.states = {"run-1": RUNNING}
    messages = {"S3Paths": [f"{number:03d}{'x' * 1021}" for number in range(100)]}
    parts = dict.fromkeys(("code", "environment", "handler", "runtime"), "1f0c9a2e")
    told = {f"Wettermeßstelle/{number:0200d}": parts for number in range(100)}
    old = {**properties, "Messages": messages, "Because": told}
    wait = wait_of("Update", Messages=messages, Because=told, event={"OldResourceProperties": old})

    wait.go_on(waiting_for(), hand_over_at=NOW)

    (invocation,) = aws.invocations
    carried = json.loads(invocation["Payload"])
    assert len(invocation["Payload"]) <= 256 * 1024
    assert carried["ResourceProperties"] == {**properties, "Messages": messages}
    assert carried["OldResourceProperties"] == {**properties, "Messages": messages}


@pytest.mark.parametrize("old", [None, "text", ["Because"]])
def test_old_properties_of_any_shape_are_handed_over(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, old: object
) -> None:
    pipeline.states = {"run-1": RUNNING}

    wait_of("Update", event={"OldResourceProperties": old}).go_on(waiting_for(), hand_over_at=NOW)

    (invocation,) = aws.invocations
    assert json.loads(invocation["Payload"])["OldResourceProperties"] == old


def test_a_wait_is_not_handed_over_at_its_deadline(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": RUNNING}

    with pytest.raises(Failure, match="not finished within 1 minutes, and cancelled"):
        wait_of().go_on(waiting_for(minutes=1), hand_over_at=after(60))

    assert aws.invocations == []


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops"), Unreachable("none")])
def test_while_the_hand_over_is_throttled_the_run_is_watched(
    wait_of: WaitOf,
    waiting_for: WaitingFor,
    pipeline: FakePipeline,
    aws: FakeAws,
    clock: FakeClock,
    fault: Fault,
) -> None:
    aws.scripts["invoke"] = [fault]
    pipeline.comes_true["run-1"] = lambda: Status(
        State.SUCCEEDED if clock.now() >= after(300) else State.RUNNING
    )

    outcome = wait_of().go_on(waiting_for(), hand_over_at=NOW)

    assert isinstance(outcome, Answer)
    assert outcome.data["Status"] == "SUCCEEDED"
    assert pipeline.cancelled == []
    assert after(300) <= clock.now() <= after(300 + LONGEST_BETWEEN_LOOKS)
    assert 30 <= aws.operations().count("invoke") <= 60  # in pauses of up to ten seconds


def test_a_hand_over_that_is_taken_at_last_ends_the_invocation(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, clock: FakeClock
) -> None:
    aws.scripts["invoke"] = [*[Throttled("busy")] * 12, {"StatusCode": 202}]
    pipeline.states = {"run-1": RUNNING}

    outcome = wait_of().go_on(waiting_for(), hand_over_at=NOW)

    assert isinstance(outcome, Waiting)
    assert after(50) <= clock.now() <= after(120)
    assert pipeline.cancelled == []


def test_only_at_the_end_of_the_patience_a_throttled_hand_over_ends_the_run(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, clock: FakeClock
) -> None:
    aws.scripts["invoke"] = [Throttled("busy")]
    pipeline.states = {"run-1": RUNNING}

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(), hand_over_at=after(570))

    assert str(failure.value) == (
        "pipeline 'weather', run 'run-1': the next invocation cannot be called: busy"
    )
    assert pipeline.runs_cancelled() == ["run-1"]
    assert after(900 - 90) <= clock.now() <= after(900 - 90 + 11)


@pytest.mark.parametrize("fault", [Denied("no"), Refused("too large"), Missing("no such function")])
def test_a_hand_over_that_is_refused_ends_the_run_at_once(
    wait_of: WaitOf,
    waiting_for: WaitingFor,
    pipeline: FakePipeline,
    aws: FakeAws,
    clock: FakeClock,
    fault: Fault,
) -> None:
    aws.scripts["invoke"] = [fault]
    pipeline.states = {"run-1": RUNNING}
    clock.sleep(120)

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(), hand_over_at=after(120))

    assert str(failure.value) == (
        f"pipeline 'weather', run 'run-1': the next invocation cannot be called: {fault}"
    )
    assert pipeline.runs_cancelled() == ["run-1"]
    assert clock.now() == after(120)


def test_a_hand_over_waits_for_a_new_role(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, clock: FakeClock
) -> None:
    aws.scripts["invoke"] = [*[Denied("no")] * 6, {"StatusCode": 202}]
    pipeline.states = {"run-1": RUNNING}

    assert isinstance(wait_of().go_on(waiting_for(), hand_over_at=NOW), Waiting)

    assert NOW < clock.now() < after(60)


# The deadline, the stack, and a run that is not seen.


def test_a_run_that_takes_too_long_is_cancelled(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": RUNNING}

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(minutes=1.5), hand_over_at=LATER)

    assert (
        str(failure.value)
        == "pipeline 'weather', run 'run-1': not finished within 1.5 minutes, and cancelled"
    )
    assert failure.value.physical_id == "weather/run-1/1738324800"
    assert pipeline.states["run-1"].state is State.CANCELLED
    assert clock.now() == after(90)


def test_a_run_may_go_on_after_the_wait(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline
) -> None:
    pipeline.states = {"run-1": RUNNING}
    wait = wait_of(Wait={"TimeoutSeconds": "60", "OnTimeout": "DETACH"})

    outcome = wait.go_on(waiting_for(minutes=1), hand_over_at=LATER)

    assert isinstance(outcome, Answer)
    assert (outcome.data["Status"], outcome.ends_wait) == ("RUNNING", True)
    assert outcome.reason == "the run goes on after 1 minutes; OnTimeout is DETACH"
    assert pipeline.cancelled == []


@pytest.mark.parametrize("status", ["ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_a_stack_that_turns_away_supersedes_the_run(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, status: str
) -> None:
    pipeline.states = {"run-1": RUNNING}
    aws.stack_status = status

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(), hand_over_at=LATER)

    assert str(failure.value) == f"pipeline 'weather', run 'run-1': superseded, the stack is in {status}"
    assert pipeline.runs_cancelled() == ["run-1"]


@pytest.mark.parametrize("note", ["answer~Create~SUCCESS", "answer~Create~FAILED"])
def test_a_late_duplicate_after_the_answer_cancels_nothing(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws, note: str
) -> None:
    pipeline.states = {"run-1": RUNNING}
    wait = wait_of(Wait={"TimeoutSeconds": "60", "OnTimeout": "DETACH"})
    wait.ledger.note(note)  # DETACH was answered, and later another deploy of the stack rolls back
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"

    with pytest.raises(Failure, match="the request was answered before"):
        wait.go_on(waiting_for(), hand_over_at=LATER)

    assert pipeline.cancelled == []


def test_the_answer_of_a_long_wait_does_not_end_it(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": RUNNING}
    wait = wait_of(Wait={"TimeoutSeconds": "42000", "SignalUrl": SIGNAL_URL})
    wait.ledger.note("answer~Create~SUCCESS")  # given at once
    aws.stack_status = "ROLLBACK_IN_PROGRESS"

    with pytest.raises(Failure, match="superseded"):
        wait.go_on(waiting_for(), hand_over_at=LATER)
    assert pipeline.runs_cancelled() == ["run-1"]

    wait.ledger.note("signal~Create~FAILED")
    pipeline.states = {"run-1": RUNNING}
    with pytest.raises(Failure, match="the request was answered before"):
        wait.go_on(waiting_for(), hand_over_at=LATER)
    assert pipeline.runs_cancelled() == ["run-1"]


def test_without_the_ledger_a_run_that_is_given_up_is_cancelled(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": RUNNING}
    aws.stack_status = "ROLLBACK_IN_PROGRESS"
    aws.scripts["describe_log_streams"] = [Denied("no")]

    with pytest.raises(Failure, match="superseded"):
        wait_of().go_on(waiting_for(), hand_over_at=LATER)

    assert pipeline.runs_cancelled() == ["run-1"]


def test_the_stack_is_looked_at_every_fifteen_seconds(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, aws: FakeAws
) -> None:
    pipeline.states = {"run-1": RUNNING}

    wait_of().go_on(waiting_for(), hand_over_at=after(120))

    assert 6 <= aws.operations().count("describe_stacks") <= 9


@pytest.mark.parametrize("fault", [Denied("no"), Throttled("busy")])
def test_a_stack_that_cannot_be_looked_at_changes_nothing(
    wait_of: WaitOf,
    waiting_for: WaitingFor,
    pipeline: FakePipeline,
    aws: FakeAws,
    clock: FakeClock,
    fault: Fault,
) -> None:
    clock.sleep(60)  # the role is no longer new
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}
    aws.scripts["describe_stacks"] = [fault]

    assert isinstance(wait_of().go_on(waiting_for(), hand_over_at=LATER), Answer)

    assert clock.now() == after(60)


def test_a_run_that_is_not_listed_for_minutes_is_given_up(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.UNKNOWN, "pipeline 'weather' does not exist")}

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(), hand_over_at=LATER)

    assert str(failure.value) == (
        "pipeline 'weather', run 'run-1': the run is not listed any more: pipeline 'weather' does not exist"
    )
    assert NOW + FORGOTTEN_AFTER < clock.now() <= NOW + FORGOTTEN_AFTER + timedelta(seconds=10)


def test_a_run_that_is_listed_late_is_waited_for(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline
) -> None:
    pipeline.states = {"run-1": Status(State.UNKNOWN)}
    wait = wait_of()

    outcome = wait.go_on(waiting_for(), hand_over_at=after(60))
    assert outcome == waiting_for()
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}

    assert isinstance(wait.go_on(outcome, hand_over_at=LATER), Answer)


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops")])
def test_a_status_that_cannot_be_read_for_a_while_is_read_later(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}
    pipeline.trouble["status"] = [fault] * 20

    assert isinstance(wait_of().go_on(waiting_for(), hand_over_at=LATER), Answer)


@pytest.mark.parametrize("fault", [Denied("no"), Refused("no")])
def test_a_status_that_can_never_be_read_ends_the_run(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, fault: Fault
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.trouble["status"] = [fault]

    with pytest.raises(Failure) as failure:
        wait_of().go_on(waiting_for(), hand_over_at=LATER)

    assert str(failure.value) == "pipeline 'weather', run 'run-1': its status cannot be read: no"
    ((run_id, cause),) = pipeline.cancelled
    assert (run_id, cause.partition(" (")[0]) == ("run-1", "its status cannot be read")


def test_a_run_that_cannot_be_cancelled_is_told_all_the_same(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline
) -> None:
    pipeline.states = {"run-1": RUNNING}
    pipeline.trouble["cancel"] = [Denied("no")]

    failure = wait_of().give_up(waiting_for(), "superseded")

    assert str(failure) == "pipeline 'weather', run 'run-1': superseded"


def test_the_selection_of_a_run_is_counted_from_its_request(
    wait_of: WaitOf, waiting_for: WaitingFor, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.states = {"run-1": Status(State.SUCCEEDED)}
    clock.sleep(1800)

    outcome = wait_of(Messages={"LastSeconds": "3600"}).go_on(waiting_for(), hand_over_at=LATER)

    assert isinstance(outcome, Answer)
    assert (outcome.data["StartTime"], outcome.data["EndTime"]) == (
        "2025-01-31T11:00:00Z",
        "2025-01-31T12:00:00Z",
    )


def test_a_short_invocation_hands_over_within_its_time(
    wait_of: WaitOf,
    waiting_for: WaitingFor,
    pipeline: FakePipeline,
    aws: FakeAws,
    clock: FakeClock,
    context: FakeContext,
) -> None:
    context.remaining = 60_000
    aws.scripts["invoke"] = [Throttled("busy")]
    pipeline.states = {"run-1": RUNNING}
    wait: Any = wait_of()

    with pytest.raises(Failure, match="the next invocation cannot be called"):
        wait.go_on(waiting_for(), hand_over_at=wait.invocation.hand_over_at)

    assert after(48) <= clock.now() <= after(59)
