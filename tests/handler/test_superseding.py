"""Which runs of earlier requests may still go on, and how they are found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.ledger import LISTED_WITHIN, SUPERSEDING, Ledger
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.starting import LEASE
from pipeline_reprocessing_handler.superseding import EarlierRequests

if TYPE_CHECKING:
    from tests.handler.conftest import FakeClock, FakePipeline

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
OLDER, NEWER = NOW.timestamp() - 60, NOW.timestamp() + 60


@pytest.fixture
def earlier(request_of: Callable[..., Request], ledger: Ledger, clock: FakeClock) -> EarlierRequests:
    """As the request with the id `request-1`, made now, sees them."""
    return EarlierRequests(request_of("Delete"), ledger, clock)


@pytest.fixture
def began(ledger: Ledger, clock: FakeClock) -> Callable[..., None]:
    """Marks a request that has claimed its start: `began("a", OLDER, "run=run-1", "answer-sent")`."""

    def mark(request_id: str, made: float, *marks: str) -> None:
        for each in (f"made={made:.3f}~0123", "before=0", "start-1", *marks):
            ledger.mark(request_id, each)
        clock.moment += timedelta(milliseconds=1)

    return mark


def test_the_run_of_a_request_that_was_not_answered_is_left_behind(
    earlier: EarlierRequests, began: Callable[..., None], pipeline: FakePipeline
) -> None:
    began("a", OLDER, "run=run-1")

    assert earlier.left_behind(pipeline) == ["run-1"]


def test_of_the_answered_only_the_newest_can_still_go_on(
    earlier: EarlierRequests, began: Callable[..., None], pipeline: FakePipeline
) -> None:
    for name in ("a", "b", "c"):
        began(name, OLDER, f"run={name}", "answer-sent")

    assert earlier.left_behind(pipeline) == ["c"]


def test_an_answered_request_whose_start_is_in_doubt_is_settled(
    earlier: EarlierRequests, began: Callable[..., None], pipeline: FakePipeline, clock: FakeClock
) -> None:
    began("a", OLDER, "answer-sent")
    began("b", OLDER, "run=b", "answer-sent")
    pipeline.start(earlier._request)
    claimed = NOW

    assert earlier.left_behind(pipeline) == ["run-1", "b"]

    assert clock.now() >= claimed + LEASE
    assert pipeline.looked_for[-1] == (claimed + LEASE, frozenset({"b"}))


def test_a_claim_that_was_given_up_is_not_waited_for(
    earlier: EarlierRequests, began: Callable[..., None], pipeline: FakePipeline, clock: FakeClock
) -> None:
    began("a", OLDER, "free-1")

    assert earlier.left_behind(pipeline) == []

    assert clock.slept == []


def test_a_run_that_is_recorded_while_it_is_waited_for_is_taken_at_once(
    earlier: EarlierRequests,
    began: Callable[..., None],
    ledger: Ledger,
    pipeline: FakePipeline,
    clock: FakeClock,
) -> None:
    began("a", OLDER)
    sleep = clock.sleep

    def and_then(seconds: float) -> None:
        sleep(seconds)
        ledger.mark("a", "run=run-1")

    clock.sleep = and_then  # type: ignore[method-assign]  # what happens meanwhile

    assert earlier.left_behind(pipeline) == ["run-1"]

    assert len(clock.slept) == 1


def test_the_newest_open_claim_decides_how_long_a_start_may_be_under_way(
    earlier: EarlierRequests,
    began: Callable[..., None],
    ledger: Ledger,
    pipeline: FakePipeline,
    clock: FakeClock,
) -> None:
    began("a", OLDER)
    clock.sleep(100)
    ledger.mark("a", "start-2")
    second = clock.now()

    assert earlier.left_behind(pipeline) == []

    assert clock.now() >= second + LEASE


def test_what_later_requests_have_begun_is_theirs(
    earlier: EarlierRequests, began: Callable[..., None], pipeline: FakePipeline
) -> None:
    began("a", NEWER, "run=run-1")

    assert earlier.left_behind(pipeline) == []


def test_without_a_pipeline_only_what_was_recorded_is_known(
    earlier: EarlierRequests, began: Callable[..., None], clock: FakeClock
) -> None:
    began("a", OLDER)
    began("b", OLDER, "run=b")

    assert earlier.left_behind(None) == ["b"]

    assert clock.slept == []


def test_runs_that_were_recorded_can_be_left_out(
    earlier: EarlierRequests, began: Callable[..., None], pipeline: FakePipeline
) -> None:
    began("a", OLDER, "run=run-1")

    assert earlier.left_behind(pipeline, unrecorded_only=True) == []


def test_only_a_request_that_may_be_starting_is_given_time_to_see_it(
    earlier: EarlierRequests, ledger: Ledger, clock: FakeClock
) -> None:
    earlier.supersede(may_be_starting=False)
    assert clock.slept == []

    earlier.supersede(may_be_starting=True)

    assert clock.slept == [2 * LISTED_WITHIN.total_seconds()]
    assert list(ledger.marks(SUPERSEDING)) == [f"{NOW.timestamp():.3f}=request-1"]


def test_the_runs_for_the_same_are_told_by_what_was_asked_for(
    earlier: EarlierRequests, ledger: Ledger
) -> None:
    for name, asks_for in (("a", earlier._request.asks_for), ("b", "0123")):
        ledger.mark(name, f"made={OLDER:.3f}~{asks_for}")
        ledger.mark(name, f"run={name}")

    assert earlier.runs_for_the_same() == {"a"}


def test_a_run_was_asked_for_when_its_request_was_made(
    earlier: EarlierRequests, began: Callable[..., None]
) -> None:
    began("a", OLDER, "run=run-1")

    assert earlier.asked_at("run-1") == datetime.fromtimestamp(OLDER, UTC)
    assert earlier.asked_at("nobody's") == NOW
