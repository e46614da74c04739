"""The decisions about a Delete: what it ends, and that it passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Missing, Refused, Throttled, Unclear
from pipeline_reprocessing_handler.lifecycle import Reprocessing, Settled
from pipeline_reprocessing_handler.pipelines import State, Status
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakePipeline

    Open = Callable[..., Reprocessing]

RUNNING = Status(State.RUNNING)


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

    assert str(failure.value) == f"pipeline 'weather': whether a run still goes on is not known: {fault}"
