"""How long a call waits, and for what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from object_replay.faults import Denied, Fault, ReplayStopped, Throttled, Unreadable
from object_replay.patience import Clock, Patience

STARTED = datetime(2026, 2, 1, tzinfo=UTC)


class Watch(Clock):
    """Time that passes only by sleeping."""

    def __init__(self, left: float) -> None:
        self.left = left
        self.moment = STARTED
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)
        self.left -= seconds


def patience(watch: Watch) -> Patience:
    return Patience(watch, STARTED.isoformat(), lambda: watch.left)


def failing(fault: Fault, times: int) -> Callable[[], str]:
    faults = [fault] * times

    def action() -> str:
        if faults:
            raise faults.pop()
        return "done"

    return action


@pytest.mark.parametrize("fault", [Denied("no"), Unreadable("no")])
def test_what_is_denied_is_tried_again_until_the_first_minute_of_the_run_is_over(fault: Fault) -> None:
    watch = Watch(900)

    assert patience(watch).until_allowed(failing(fault, 3)) == "done"
    assert len(watch.slept) == 3
    with pytest.raises(type(fault)):
        patience(watch).until_allowed(failing(fault, 1000))

    assert timedelta(seconds=60) <= watch.moment - STARTED < timedelta(seconds=80)


@pytest.mark.parametrize(("seconds", "times"), [(59.9, 1), (60, 0)])
def test_a_minute_after_the_start_a_denial_is_final(seconds: float, times: int) -> None:
    watch = Watch(900)
    watch.moment += timedelta(seconds=seconds)

    with pytest.raises(Denied):
        patience(watch).until_allowed(failing(Denied("no"), 1000))

    assert len(watch.slept) == times


@pytest.mark.parametrize("fault", [Throttled("busy"), ReplayStopped("gone")])
def test_only_a_denial_is_waited_for_until_it_is_allowed(fault: Fault) -> None:
    watch = Watch(900)

    with pytest.raises(type(fault)):
        patience(watch).until_allowed(failing(fault, 1))

    assert watch.slept == []


def test_throttling_is_waited_for_while_there_is_time_beyond_the_margin() -> None:
    watch = Watch(900)
    waiting = patience(watch)

    with pytest.raises(Throttled):
        waiting.until_it_runs(failing(Throttled("busy"), 1000))

    assert 60 < watch.left <= 80
    assert waiting.throttled_for == sum(watch.slept)
    assert patience(Watch(900)).throttled_for == 0
    assert patience(Watch(900)).until_it_runs(failing(Throttled("busy"), 3)) == "done"


@pytest.mark.parametrize("fault", [Denied("no"), Throttled("busy")])
def test_no_pause_reaches_into_the_margin(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("object_replay.patience.random.uniform", lambda _, longest: longest)
    kept, taken = Watch(61), Watch(61.5)

    for watch in (kept, taken):
        waiting = patience(watch)
        repeat = waiting.until_allowed if isinstance(fault, Denied) else waiting.until_it_runs
        with pytest.raises(type(fault)):
            repeat(failing(fault, 1000))

    assert kept.slept == []  # after a pause of a second exactly the margin would be left
    assert taken.slept == [1.0]


def test_pauses_double_up_to_twenty_seconds_and_are_never_shorter_than_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranges: list[tuple[float, float]] = []

    def uniform(shortest: float, longest: float) -> float:
        ranges.append((shortest, longest))
        return longest

    monkeypatch.setattr("object_replay.patience.random.uniform", uniform)

    patience(Watch(900)).until_it_runs(failing(Throttled("busy"), 7))

    assert ranges[:7] == [(0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (10, 20), (10, 20)]


def test_what_was_denied_and_then_allowed_was_not_throttled() -> None:
    waiting = patience(Watch(900))

    assert waiting.until_allowed(failing(Denied("no"), 1)) == "done"

    assert waiting.throttled_for == 0


def test_two_that_wait_together_do_not_come_back_together() -> None:
    watches = [Watch(900), Watch(900)]

    for watch in watches:
        patience(watch).until_it_runs(failing(Throttled("busy"), 4))

    assert watches[0].slept != watches[1].slept


def test_the_clock_tells_the_time_in_utc_and_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("object_replay.patience.time.sleep", slept.append)
    clock = Clock()

    times = [clock.now(), datetime.now(UTC), clock.now()]
    clock.sleep(2.5)

    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[0].utcoffset() == timedelta(0)
    assert slept == [2.5]
