"""The decisions about a Create: a run is started once, and whoever comes again adopts it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.aws_errors import Conflict, Denied, Fault, Throttled
from pipeline_reprocessing_handler.ledger import SUPERSEDING, Ledger
from pipeline_reprocessing_handler.lifecycle import LAST_WORD, Reprocessing, Settled, Waiting
from pipeline_reprocessing_handler.pipelines import State, Status
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeClock, FakePipeline

    Open = Callable[..., Reprocessing]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RUNNING = Status(State.RUNNING)


def waiting_for(run_id: str = "run-1", *, minutes: float = 50) -> Waiting:
    return Waiting(
        run_id=run_id,
        started_at=NOW.timestamp(),
        deadline=(NOW + timedelta(minutes=minutes)).timestamp(),
        stack_status="CREATE_IN_PROGRESS",
        listed_at=NOW.timestamp(),
    )


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
    clock.sleep(35)  # and harder still
    shortened = repeated.begin()
    assert isinstance(shortened, Waiting)
    assert shortened.deadline == (NOW + timedelta(seconds=60 + 300) - LAST_WORD).timestamp()
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
            "Objects": "",
            "ObjectsFailed": "",
            "ObjectsNotReplayed": "",
            "ObjectsSkipped": "",
            "MessagesIn": "",
            "MessagesOut": "",
            "MessagesDropped": "",
            "MessagesFailed": "",
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

    assert str(failure.value) == (
        "pipeline 'weather': the request came again after it was answered; nothing is done"
    )
    assert pipeline.states == {}


def test_a_request_that_comes_too_late_starts_nothing(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    late = reprocessing()
    clock.sleep(240)

    with pytest.raises(Failure) as failure:
        late.begin()

    assert str(failure.value) == (
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

    assert (
        str(failure.value) == "pipeline 'weather': superseded before its run was started, by a later request"
    )
    assert pipeline.states == {}


def test_a_service_that_is_busy_for_ever_fails_the_deploy_in_time(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    pipeline.trouble["start"] = [Throttled("iotanalytics:start_pipeline_reprocessing: busy")] * 1000

    with pytest.raises(Failure) as failure:
        reprocessing().begin()

    assert str(failure.value) in (
        "pipeline 'weather': the run could not be started within 4 minutes of the request",
        "pipeline 'weather': the run could not be started: iotanalytics:start_pipeline_reprocessing: busy",
    )
    assert clock.now() <= NOW + timedelta(minutes=5)
    assert failure.value.physical_id is None


def test_what_is_refused_at_the_start_names_the_pipeline(reprocessing: Open, pipeline: FakePipeline) -> None:
    pipeline.trouble["bookmark"] = [Denied("iotanalytics:describe_pipeline: AccessDenied: no")]

    with pytest.raises(Failure) as failure:
        reprocessing().begin()

    assert str(failure.value) == "pipeline 'weather': iotanalytics:describe_pipeline: AccessDenied: no"


@pytest.mark.parametrize("fault", [Conflict("busy"), Throttled("busy")])
def test_a_start_that_is_not_taken_is_tried_again(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock, fault: Fault
) -> None:
    pipeline.trouble["start"] = [fault, fault]

    outcome = reprocessing().begin()

    assert isinstance(outcome, Waiting)
    assert outcome.run_id == "run-1"
    assert clock.slept == [1, 2]


def test_a_request_that_comes_again_when_its_time_is_up_ends_its_run(
    reprocessing: Open, pipeline: FakePipeline, clock: FakeClock
) -> None:
    again = {"RequestId": "5f2a-10"}
    reprocessing(Wait={"TimeoutSeconds": "60"}, event=again).begin()
    clock.sleep(300)

    with pytest.raises(Failure, match="not finished within"):
        reprocessing(Wait={"TimeoutSeconds": "60"}, event=again).begin()

    assert pipeline.states["run-1"] == Status(State.CANCELLED)
