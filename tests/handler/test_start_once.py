"""A start and its marks: who may start, who adopts, who waits, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.aws_errors import Refused, Throttled, Unclear
from pipeline_reprocessing_handler.ledger import SUPERSEDING, Ledger
from pipeline_reprocessing_handler.pipelines import State
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.starting import LEASE, START_BY, Starting, made_at
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeClock, FakePipeline

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
ID = "request-1"


@pytest.fixture
def request_(request_of: Callable[..., Request]) -> Request:
    return request_of()


@pytest.fixture
def starting(request_: Request, ledger: Ledger, pipeline: FakePipeline, clock: FakeClock) -> Starting:
    return Starting(request_, ledger, pipeline, clock)


def meanwhile(clock: FakeClock, seconds: float, action: Callable[[], object]) -> None:
    """Does something once so many seconds have been slept."""
    sleep, when = clock.sleep, NOW + timedelta(seconds=seconds)

    def and_then(seconds: float) -> None:
        is_due = clock.now() < when <= clock.now() + timedelta(seconds=seconds)
        sleep(seconds)
        if is_due:
            action()

    clock.sleep = and_then  # type: ignore[method-assign]  # what happens meanwhile


def test_a_start_leaves_its_marks(starting: Starting, request_: Request, ledger: Ledger) -> None:
    starting.once()

    assert list(ledger.marks(ID)) == [
        "before=0",
        f"made={NOW.timestamp():.3f}~{request_.asks_for}",
        "run=run-1",
        "start-1",
    ]


def test_whoever_comes_second_adopts_the_run_as_soon_as_it_is_recorded(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline, clock: FakeClock
) -> None:
    ledger.mark(ID, "start-1")
    meanwhile(clock, 10, lambda: ledger.mark(ID, "run=theirs"))

    assert starting.once() == "theirs"

    assert clock.now() <= NOW + timedelta(seconds=13)
    assert pipeline.states == {}


def test_whoever_comes_second_waits_until_the_claim_is_over_and_no_longer(
    starting: Starting, ledger: Ledger, clock: FakeClock
) -> None:
    ledger.mark(ID, "before=0")
    ledger.mark(ID, "start-1")

    starting.once()

    assert NOW + LEASE <= clock.now() <= NOW + LEASE + timedelta(seconds=3)
    assert "start-2" in ledger.marks(ID)


def test_whoever_takes_over_looks_for_the_run_of_the_dead_first(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline
) -> None:
    ledger.mark(ID, "before=0")
    ledger.mark(ID, "start-1")
    pipeline.start(starting._request)  # and died

    assert starting.once() == "run-1"

    assert len(pipeline.states) == 1


def test_a_run_that_another_request_has_recorded_is_not_adopted(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline
) -> None:
    ledger.mark(ID, "before=0")
    ledger.mark(ID, "start-1")
    pipeline.start(starting._request)
    ledger.mark("request-of-another", "run=run-1")

    assert starting.once() == "run-2"


def test_nobody_waits_for_a_claim_beyond_the_time_to_start(
    starting: Starting, ledger: Ledger, clock: FakeClock
) -> None:
    clock.sleep(START_BY.total_seconds() - 30)
    ledger.mark(ID, "start-1")

    with pytest.raises(Failure, match="could not be started within 4 minutes of the request"):
        starting.once()

    assert clock.now() <= NOW + START_BY + timedelta(seconds=3)


def test_a_superseded_request_makes_no_claim(starting: Starting, ledger: Ledger) -> None:
    ledger.mark(SUPERSEDING, f"{NOW.timestamp() + 1:.3f}=request-2")

    with pytest.raises(Failure, match="superseded before its run was started"):
        starting.once()

    assert not ledger.marks(ID).is_claimed


def test_a_request_of_the_same_moment_supersedes_nothing(starting: Starting, ledger: Ledger) -> None:
    ledger.mark(SUPERSEDING, f"{NOW.timestamp():.3f}=request-2")

    assert starting.once() == "run-1"


def test_a_request_that_is_superseded_while_it_starts_ends_its_run(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = pipeline.start

    def start_meanwhile(request: Request) -> str:
        ledger.mark(SUPERSEDING, f"{NOW.timestamp() + 1:.3f}=request-2")
        return start(request)

    monkeypatch.setattr(pipeline, "start", start_meanwhile)

    with pytest.raises(Failure, match="superseded while its run was started") as failure:
        starting.once()

    assert failure.value.physical_id == "weather/run-1"
    assert pipeline.states["run-1"].state is State.CANCELLED


def test_of_two_runs_that_were_recorded_the_first_stays(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = pipeline.start

    def start_meanwhile(request: Request) -> str:
        theirs = start(request)
        ledger.mark(ID, f"run={theirs}")
        starting._clock.sleep(1)
        return start(request)

    monkeypatch.setattr(pipeline, "start", start_meanwhile)

    assert starting.once() == "run-1"

    assert [run_id for run_id, _ in pipeline.cancelled] == ["run-2"]


def test_a_start_that_was_refused_releases_its_claim(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline
) -> None:
    pipeline.trouble["start"] = [Refused("no")]

    with pytest.raises(Refused):
        starting.once()

    assert "free-1" in ledger.marks(ID)


def test_a_claim_that_ended_without_a_run_is_released(
    starting: Starting, ledger: Ledger, pipeline: FakePipeline
) -> None:
    pipeline.trouble["start"] = [Throttled("busy")] * 9

    starting.once()

    assert "free-1" in ledger.marks(ID)
    assert len(pipeline.states) == 1


def test_a_start_in_doubt_keeps_its_claim(starting: Starting, ledger: Ledger, pipeline: FakePipeline) -> None:
    pipeline.trouble = {"start": [Unclear("oops")], "find": [Unclear("oops")] * 99}

    with pytest.raises(Failure, match="it is not started again"):
        starting.once()

    marks = ledger.marks(ID)
    assert "start-1" in marks
    assert "free-1" not in marks


def test_a_request_without_a_time_is_as_old_as_its_oldest_mark(
    request_of: Callable[..., Request], ledger: Ledger, clock: FakeClock
) -> None:
    ledger.mark(ID, "before=0")
    clock.sleep(60)
    again = request_of(ArrivedAt=clock.now().timestamp())

    assert made_at(again, ledger.marks(ID)) == NOW.timestamp()
