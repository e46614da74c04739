"""The decisions about a Create: a run is started once, and a repeated request adopts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied, Missing, Throttled
from pipeline_reprocessing_handler.invocation import LAST_WORD, MADE_AT, START_BY, Waiting
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.lifecycle import Lifecycle
from pipeline_reprocessing_handler.pipelines import State, Status
from pipeline_reprocessing_handler.response import Answer
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Lifecycle]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RUNNING = Status(State.RUNNING)
SIGNAL_URL = "https://signals.example/wait?Signature=77aa"
AGAIN = {"RequestId": "5f2a-10"}


def test_a_create_starts_a_run_and_hands_the_wait_over(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws, waiting_for: Callable[..., Waiting]
) -> None:
    outcome = lifecycle_of().create_or_update()

    assert outcome == waiting_for()
    assert pipeline.states == {"run-1": RUNNING}
    (handed_over,) = aws.invocations
    assert Waiting(**json.loads(handed_over["Payload"])["CrHelperData"]) == outcome


def test_a_create_notes_itself_before_anything_else(lifecycle_of: Open, aws: FakeAws) -> None:
    create = lifecycle_of()

    create.create_or_update()

    assert aws.operations()[0] == "create_log_stream"
    assert aws.notes()[0] == f"asks~Create~{create.invocation.properties.digest}"


@pytest.mark.parametrize(("late", "wait"), [(0, 60), (200, 60), (235, 360 - 90 - 235)])
def test_a_wait_ends_in_time_for_the_answer(
    lifecycle_of: Open, clock: FakeClock, late: int, wait: int
) -> None:
    create = lifecycle_of(Wait={"TimeoutSeconds": "60"})
    clock.sleep(late)  # the run was hard to start

    outcome = create.create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.deadline == (NOW + timedelta(seconds=late + wait)).timestamp()


def test_a_long_wait_is_answered_when_its_run_is_handed_over(lifecycle_of: Open, aws: FakeAws) -> None:
    outcome = lifecycle_of(Wait={"TimeoutSeconds": "43200", "SignalUrl": SIGNAL_URL}).create_or_update()

    assert isinstance(outcome, Answer)
    assert (outcome.succeeded, outcome.data["Status"], outcome.ends_wait) == (True, "RUNNING", False)
    waiting = json.loads(aws.invocations[0]["Payload"])["CrHelperData"]
    assert waiting["deadline"] == (NOW + timedelta(hours=12) - LAST_WORD).timestamp()


def test_without_a_wait_the_run_goes_on_by_itself(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws
) -> None:
    outcome = lifecycle_of(Wait=None, Messages={"EndTime": "2025-01-31T00:00:00Z"}).create_or_update()

    assert outcome == Answer(
        "weather/run-1/1738324800",
        {
            "ReprocessingId": "run-1",
            "Status": "RUNNING",
            "StartTime": "",
            "EndTime": "2025-01-31T00:00:00Z",
            "PipelineName": "weather",
            "Objects": "",
            "ObjectsDone": "",
            "ObjectsGone": "",
            "ObjectsChanged": "",
            "ObjectsFailed": "",
            "ObjectsNotReplayed": "",
            "ObjectsSkipped": "",
            "MessagesIn": "",
            "MessagesOut": "",
            "MessagesDropped": "",
            "MessagesFailed": "",
        },
    )
    assert (pipeline.cancelled, aws.invocations) == ([], [])


def test_a_request_that_comes_again_is_one_run(lifecycle_of: Open, pipeline: FakePipeline) -> None:
    first = lifecycle_of(event=AGAIN).create_or_update()
    second = lifecycle_of(event=AGAIN).create_or_update()

    assert first == second
    assert len(pipeline.states) == 1


def test_a_request_that_comes_again_after_its_answer_starts_nothing(
    lifecycle_of: Open, pipeline: FakePipeline, ledger_of: Callable[..., Ledger]
) -> None:
    ledger_of("5f2a-10").note("answer~Create~SUCCESS")

    with pytest.raises(Failure) as failure:
        lifecycle_of(event=AGAIN).create_or_update()

    assert str(failure.value) == (
        "pipeline 'weather': the request came again after it was answered; nothing is done"
    )
    assert pipeline.states == {}


def test_a_request_that_arrives_after_its_timeout_starts_nothing(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws, clock: FakeClock
) -> None:
    late = lifecycle_of(Wait=None)
    clock.sleep(300)

    with pytest.raises(Failure) as failure:
        late.create_or_update()

    assert str(failure.value) == "pipeline 'weather': the request arrived after its timeout"
    assert (pipeline.states, aws.sent) == ({}, [])


@pytest.mark.parametrize("asks", ["asks~Delete~", "asks~Update~0123"])
def test_a_resource_that_was_removed_or_updated_meanwhile_starts_nothing(
    lifecycle_of: Open, pipeline: FakePipeline, ledger_of: Callable[..., Ledger], asks: str
) -> None:
    ledger_of("5f2a-11", made_at=NOW + timedelta(seconds=30)).note(asks)

    with pytest.raises(Failure) as failure:
        lifecycle_of().create_or_update()

    assert (
        str(failure.value) == "pipeline 'weather': superseded before its run was started, by a later request"
    )
    assert pipeline.states == {}


def test_a_request_that_is_superseded_while_it_starts_ends_its_run(
    lifecycle_of: Open,
    pipeline: FakePipeline,
    ledger_of: Callable[..., Ledger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = pipeline.start

    def superseded_meanwhile(*args: Any) -> str:
        run_id = start(*args)
        ledger_of("5f2a-11", made_at=NOW + timedelta(seconds=1)).note("asks~Update~0123")
        return run_id

    monkeypatch.setattr(pipeline, "start", superseded_meanwhile)

    with pytest.raises(Failure) as failure:
        lifecycle_of().create_or_update()

    assert str(failure.value) == (
        "pipeline 'weather', run 'run-1': superseded while its run was started, by a later request"
    )
    assert failure.value.physical_id == "weather/run-1/1738324800"
    assert pipeline.runs_cancelled() == ["run-1"]


def test_of_two_runs_that_were_noted_the_first_stays(
    lifecycle_of: Open, pipeline: FakePipeline, ledger_of: Callable[..., Ledger]
) -> None:
    pipeline.states["run-1"] = RUNNING
    ledger_of("5f2a-10").note("run~run-1")

    outcome = lifecycle_of(event=AGAIN).create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-1"
    assert pipeline.runs_cancelled() == ["run-2"]


def test_a_run_goes_on_when_the_ledger_has_gone_after_its_start(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = pipeline.start

    def and_then(*args: Any) -> str:
        run_id = start(*args)
        aws.scripts["describe_log_streams"] = [Denied("no")]
        return run_id

    monkeypatch.setattr(pipeline, "start", and_then)

    assert isinstance(lifecycle_of().create_or_update(), Waiting)


def test_without_its_note_nothing_is_started(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws
) -> None:
    aws.scripts["create_log_stream"] = [Missing("no such log group")]

    with pytest.raises(Failure) as failure:
        lifecycle_of().create_or_update()

    assert str(failure.value) == (
        "pipeline 'weather': the handler's log group 'handler-logs' does not exist; "
        "create it under that name and deploy again"
    )
    assert pipeline.states == {}


def test_what_is_refused_at_the_start_names_the_pipeline(lifecycle_of: Open, pipeline: FakePipeline) -> None:
    pipeline.trouble["start"] = [Denied("stepfunctions:start_execution: AccessDenied: no")]

    with pytest.raises(Failure) as failure:
        lifecycle_of().create_or_update()

    assert str(failure.value) == (
        "pipeline 'weather': the run could not be started: stepfunctions:start_execution: AccessDenied: no"
    )
    assert failure.value.physical_id is None


def test_a_create_asks_for_the_stack_once(lifecycle_of: Open, aws: FakeAws, clock: FakeClock) -> None:
    aws.scripts["describe_stacks"] = [Throttled("busy")]

    outcome = lifecycle_of().create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.stack_status == ""
    assert clock.now() == NOW


def test_a_request_that_comes_again_when_its_time_is_up_ends_its_run(
    lifecycle_of: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    lifecycle_of(Wait={"TimeoutSeconds": "60"}, event=AGAIN).create_or_update()
    clock.sleep(300)

    dated = {**AGAIN, MADE_AT: NOW.timestamp()}
    with pytest.raises(Failure, match="not finished within"):
        lifecycle_of(Wait={"TimeoutSeconds": "60"}, event=dated).create_or_update()

    assert pipeline.states["run-1"] == Status(State.CANCELLED)


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("Create", "ROLLBACK_IN_PROGRESS"),
        ("Create", "UPDATE_ROLLBACK_IN_PROGRESS"),
        ("Create", "DELETE_IN_PROGRESS"),
        ("Update", "DELETE_IN_PROGRESS"),
        ("Update", "ROLLBACK_IN_PROGRESS"),
    ],
)
def test_a_request_that_its_stack_has_given_up_starts_nothing(
    lifecycle_of: Open, pipeline: FakePipeline, aws: FakeAws, type_: str, status: str
) -> None:
    aws.stack_status = status

    with pytest.raises(Failure) as failure:
        lifecycle_of(type_, was={"Trigger": "b" * 64}).create_or_update()

    assert str(failure.value) == (
        f"pipeline 'weather': superseded before its run was started, the stack is in {status}"
    )
    assert pipeline.states == {}


def test_the_time_to_start_leaves_the_last_word() -> None:
    assert timedelta(minutes=5) == START_BY + LAST_WORD
