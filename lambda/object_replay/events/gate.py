"""How many calls of the user's function are in flight: few at first, more as it takes them, fewer when it does not."""

from __future__ import annotations

from threading import Condition

from object_replay.faults import FunctionFailed, Throttled


class Gate:
    """Lets calls of the function through: one at first, one more with each that it takes, half after a throttled one.

    Who comes first goes first.

    Args:
        most: Calls in flight, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.room = 1
        """Calls in flight, at most, at the moment."""
        self._in_flight = 0
        self._came = self._went = 0
        self._changed = Condition()
        self.has_opened = False
        """Whether the function has run."""

    def __enter__(self) -> None:
        with self._changed:
            turn = self._came
            self._came += 1
            self._changed.wait_for(lambda: turn == self._went and self._in_flight < self.room)
            self._went += 1
            self._in_flight += 1
            self._changed.notify_all()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._changed:
            self._in_flight -= 1
            if kind is None or issubclass(kind, FunctionFailed):
                self.has_opened = True
                self.room = min(self._most, self.room + 1)
            elif issubclass(kind, Throttled):
                self.room = max(1, self.room // 2)
            self._changed.notify_all()
