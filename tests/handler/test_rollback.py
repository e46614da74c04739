"""An Update of a rollback, told by the stack's status or, where that is not known, by the ledger."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Throttled, Unclear
from pipeline_reprocessing_handler.invocation import Waiting
from pipeline_reprocessing_handler.ledger import LISTED_WITHIN, Ledger
from pipeline_reprocessing_handler.lifecycle import ASK_FOR_STACK, Lifecycle
from pipeline_reprocessing_handler.pipelines import Counts, State, Status
from pipeline_reprocessing_handler.properties import Properties
from pipeline_reprocessing_handler.response import Answer
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock, FakePipeline

    Open = Callable[..., Lifecycle]
    Deployed = Callable[..., None]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RUNNING = Status(State.RUNNING)
BACK = {"Trigger": "a" * 64}
FAILED = {"Trigger": "b" * 64}
ROLLING_BACK = "UPDATE_ROLLBACK_IN_PROGRESS"
KEPT = "nothing is reprocessed: the stack is rolling back and OnRollback is KEEP"


@pytest.fixture
def deployed(
    ledger_of: Callable[..., Ledger], pipeline: FakePipeline, properties: dict[str, Any]
) -> Deployed:
    """Makes an earlier deploy with its run: `deployed("run-2", FAILED, 2, "answer~Update~FAILED")`, 2 minutes ago."""

    def make(run_id: str, what: dict[str, str], minutes: int, *notes: str) -> None:
        ledger = ledger_of(f"of {run_id}", made_at=NOW - timedelta(minutes=minutes))
        for note in (f"asks~Update~{Properties.parse({**properties, **what}).digest}", *notes):
            ledger.note(note)
        pipeline.states[run_id] = RUNNING
        pipeline.started[f"of {run_id}"] = run_id

    return make


@pytest.fixture
def a_failed_deploy(deployed: Deployed) -> None:
    """The run of what is to be restored, which has succeeded, and that of the deploy that failed."""
    deployed("run-1", BACK, 60, "answer~Update~SUCCESS")
    deployed("run-2", FAILED, 2, "answer~Update~FAILED")


@pytest.fixture
def rollback(lifecycle_of: Open) -> Callable[..., Lifecycle]:
    """The Update that restores what was before."""

    def make(**changes: Any) -> Lifecycle:
        event = {"PhysicalResourceId": "weather/run-1/1738321200"}
        return lifecycle_of("Update", was=FAILED, event=event, **{**BACK, **changes})

    return make


@pytest.mark.usefixtures("a_failed_deploy")
@pytest.mark.parametrize(
    "status",
    [ROLLING_BACK, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"],
)
def test_a_rollback_under_keep_ends_the_failed_run_and_starts_nothing(
    rollback: Callable[..., Lifecycle], pipeline: FakePipeline, aws: FakeAws, status: str
) -> None:
    aws.stack_status = status

    outcome = rollback().create_or_update()

    assert isinstance(outcome, Answer)
    assert (outcome.physical_id, outcome.reason) == ("weather/run-1/1738321200", KEPT)
    assert not outcome.ends_wait  # what is restored has been waited for long ago
    assert list(pipeline.states) == ["run-1", "run-2"]
    assert pipeline.runs_cancelled() == ["run-2"]


@pytest.mark.usefixtures("a_failed_deploy")
def test_a_rollback_under_keep_tells_of_the_run_that_it_restores(
    rollback: Callable[..., Lifecycle], pipeline: FakePipeline, aws: FakeAws
) -> None:
    aws.stack_status = ROLLING_BACK
    pipeline.states["run-1"] = Status(State.SUCCEEDED, counts=Counts(objects=2, messages_in=7))

    outcome = rollback().create_or_update()

    assert isinstance(outcome, Answer)
    assert (outcome.data["ReprocessingId"], outcome.data["Objects"]) == ("run-1", "2")


@pytest.mark.usefixtures("a_failed_deploy")
def test_a_rollback_under_reprocess_runs_what_it_restores_again(
    rollback: Callable[..., Lifecycle], pipeline: FakePipeline, aws: FakeAws
) -> None:
    aws.stack_status = ROLLING_BACK

    outcome = rollback(OnRollback="REPROCESS").create_or_update()

    assert isinstance(outcome, Waiting)
    assert (outcome.run_id, outcome.stack_status) == ("run-3", ROLLING_BACK)
    assert pipeline.runs_cancelled() == ["run-1", "run-2"]


@pytest.mark.usefixtures("a_failed_deploy")
@pytest.mark.parametrize("keeps", [True, False])
def test_a_rollback_gives_what_may_be_starting_time_to_see_it(
    rollback: Callable[..., Lifecycle], aws: FakeAws, clock: FakeClock, keeps: bool
) -> None:
    aws.stack_status = ROLLING_BACK

    rollback(OnRollback="KEEP" if keeps else "REPROCESS").create_or_update()

    assert 2 * LISTED_WITHIN.total_seconds() in clock.slept


def test_a_plain_update_does_not_wait_for_what_may_be_starting(
    rollback: Callable[..., Lifecycle], clock: FakeClock
) -> None:
    rollback().create_or_update()  # it is no rollback: the stack does not say so

    assert clock.slept == []


@pytest.mark.parametrize("fault", [Denied("no"), Throttled("busy"), Unclear("oops")])
@pytest.mark.parametrize("where", ["ledger", "pipeline"])
def test_a_rollback_under_keep_succeeds_whatever_does_not_answer(
    rollback: Callable[..., Lifecycle],
    deployed: Deployed,
    pipeline: FakePipeline,
    aws: FakeAws,
    fault: Fault,
    where: str,
) -> None:
    deployed("run-2", FAILED, 2)
    aws.stack_status = ROLLING_BACK
    if where == "ledger":
        aws.scripts = {"create_log_stream": [fault], "describe_log_streams": [fault]}
    else:
        pipeline.trouble = {"started_run": [fault], "status": [fault]}

    outcome = rollback().create_or_update()

    assert isinstance(outcome, Answer)
    assert outcome.reason == KEPT
    assert list(pipeline.states) == ["run-2"]


@pytest.mark.usefixtures("a_failed_deploy")
@pytest.mark.parametrize("fault", [Throttled("busy"), Denied("no"), Unclear("oops")])
def test_a_rollback_is_told_from_the_ledger_when_the_stack_is_not_known(
    rollback: Callable[..., Lifecycle],
    pipeline: FakePipeline,
    aws: FakeAws,
    logged: io.StringIO,
    fault: Fault,
) -> None:
    aws.scripts["describe_stacks"] = [fault]

    outcome = rollback().create_or_update()

    assert isinstance(outcome, Answer)
    assert outcome.reason == KEPT
    assert list(pipeline.states) == ["run-1", "run-2"]
    assert pipeline.runs_cancelled() == ["run-2"]
    assert (
        "[WARNING] the stack's status is not known; by its earlier requests it is rolling back\n"
        in logged.getvalue()
    )


@pytest.mark.usefixtures("a_failed_deploy")
def test_a_rollback_that_the_ledger_tells_is_not_given_up_when_it_is_over(
    rollback: Callable[..., Lifecycle], aws: FakeAws
) -> None:
    aws.scripts["describe_stacks"] = [Denied("no")]

    outcome = rollback(OnRollback="REPROCESS").create_or_update()

    assert isinstance(outcome, Waiting)
    assert outcome.stack_status == ROLLING_BACK


@pytest.mark.usefixtures("a_failed_deploy")
def test_a_blind_rollback_gives_what_may_be_starting_time_to_see_it(
    rollback: Callable[..., Lifecycle], aws: FakeAws, clock: FakeClock
) -> None:
    aws.scripts["describe_stacks"] = [Denied("no")]

    rollback().create_or_update()

    assert clock.slept == [2 * LISTED_WITHIN.total_seconds()]  # and reads the ledger once
    assert aws.operations().count("describe_log_streams") <= 4  # in pages of two


def test_a_change_back_after_a_deploy_that_succeeded_is_no_rollback(
    rollback: Callable[..., Lifecycle], deployed: Deployed, aws: FakeAws
) -> None:
    deployed("run-1", BACK, 60, "answer~Update~SUCCESS")
    deployed("run-2", FAILED, 2, "answer~Update~SUCCESS")
    aws.scripts["describe_stacks"] = [Denied("no")]

    outcome = rollback().create_or_update()

    assert isinstance(outcome, Waiting)
    assert (outcome.run_id, outcome.stack_status) == ("run-3", "")


@pytest.mark.usefixtures("a_failed_deploy")
def test_without_the_stack_and_the_ledger_an_update_starts_nothing(
    rollback: Callable[..., Lifecycle], pipeline: FakePipeline, aws: FakeAws
) -> None:
    aws.scripts = {"describe_stacks": [Throttled("busy")], "describe_log_streams": [Throttled("busy")]}

    with pytest.raises(Failure, match=r"^pipeline 'weather': busy$"):
        rollback().create_or_update()

    assert list(pipeline.states) == ["run-1", "run-2"]


@pytest.mark.parametrize("answered", [True, False])
def test_the_stack_is_asked_for_two_minutes_and_a_half_and_no_longer(
    rollback: Callable[..., Lifecycle],
    deployed: Deployed,
    aws: FakeAws,
    clock: FakeClock,
    pipeline: FakePipeline,
    answered: bool,
) -> None:
    asked: list[datetime] = []

    def busy(_: object) -> dict[str, Any]:
        asked.append(clock.now())
        if answered and clock.now() >= NOW + timedelta(minutes=2):
            return {"Stacks": [{"StackStatus": ROLLING_BACK}]}
        raise Throttled("busy")

    aws.scripts["describe_stacks"] = [busy]

    outcome = rollback().create_or_update()

    assert NOW + timedelta(minutes=2) <= asked[-1] <= NOW + ASK_FOR_STACK
    assert isinstance(outcome, Answer) is answered


def test_a_stack_that_is_denied_does_not_use_up_the_time_of_a_new_role(
    rollback: Callable[..., Lifecycle], aws: FakeAws, clock: FakeClock
) -> None:
    aws.scripts["describe_stacks"] = [Denied("no")]
    patient = aws.patient(NOW + timedelta(minutes=3), denials_pass_until=NOW + timedelta(minutes=1))
    update = rollback()

    Lifecycle(update.invocation, update.ledger, patient, update.open_pipeline).create_or_update()

    assert aws.operations().count("describe_stacks") <= 2  # the update, and the first look of the wait
    assert clock.now() <= NOW + timedelta(seconds=11)


@pytest.mark.parametrize("same", [True, False])
def test_a_run_for_just_what_is_restored_is_left_alone(
    rollback: Callable[..., Lifecycle], deployed: Deployed, pipeline: FakePipeline, aws: FakeAws, same: bool
) -> None:
    deployed("run-1", BACK if same else FAILED, 60, "answer~Update~SUCCESS")
    aws.stack_status = ROLLING_BACK

    rollback().create_or_update()

    assert pipeline.runs_cancelled() == ([] if same else ["run-1"])
