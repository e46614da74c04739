"""How long a call waits for what may pass: throttling, and policies of which IAM has not heard yet."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from object_replay.faults import Denied, Throttled, Unreadable

MARGIN_SECONDS = 60.0
"""Time kept for what boto3 repeats and for writing down what was done, before Lambda ends the function."""
PROPAGATION = timedelta(seconds=60)
"""For how long after the start of a run access may be denied by a policy that the same deploy made. Most are known
within some seconds, some within twenty."""
_LONGEST_PAUSE = 20.0

Remaining = Callable[[], float]
"""Seconds until Lambda ends the function."""

_Result = TypeVar("_Result")


class Clock:
    """The time of day, and waiting."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Patience:
    """Repeats what may pass while there is time for it.

    Args:
        clock: Where the time comes from.
        started: When the run began.
        remaining: Tells the time left to this call.
    """

    def __init__(self, clock: Clock, started: str, remaining: Remaining) -> None:
        self._clock = clock
        self._settled = datetime.fromisoformat(started) + PROPAGATION
        self._remaining = remaining
        self.throttled_for = 0.0
        """Seconds that this call has waited because it was throttled, in all its threads together."""

    def until_allowed(self, action: Callable[[], _Result]) -> _Result:
        """Repeats what is denied, in the first minute of a run.

        Raises:
            Denied: It is still denied. So does `Unreadable`.
        """
        for pause in _pauses():
            try:
                return action()
            except (Denied, Unreadable):
                if self._clock.now() >= self._settled or not self._has_time_for(pause):
                    raise
            self._clock.sleep(pause)
        raise AssertionError  # pauses never end

    def until_it_runs(self, action: Callable[[], _Result]) -> _Result:
        """Repeats what is throttled, while there is time.

        Raises:
            Throttled: It is still throttled. The state machine repeats the step, for hours.
        """
        for pause in _pauses():
            try:
                return action()
            except Throttled:
                if not self._has_time_for(pause):
                    raise
            self._clock.sleep(pause)
            self.throttled_for += pause
        raise AssertionError  # pauses never end

    def persistently(self, action: Callable[[], _Result]) -> _Result:
        """Repeats what is throttled or not allowed yet; see the two above."""
        return self.until_it_runs(lambda: self.until_allowed(action))

    def pause(self) -> None:
        """Waits for a moment before something that failed is tried again."""
        self._clock.sleep(next(_pauses()))

    def _has_time_for(self, pause: float) -> bool:
        return self._remaining() - pause > MARGIN_SECONDS


def _pauses() -> Iterator[float]:
    """Seconds, longer and longer. Each is random, so that workers that wait together do not come back together."""
    longest = 1.0
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311  # no secret
        longest = min(2 * longest, _LONGEST_PAUSE)
