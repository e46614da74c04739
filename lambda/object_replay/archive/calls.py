"""Calls of the user's function in flight: several at once, while the order of results stays."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Condition
from typing import Generic, TypeVar

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


class Calls:
    """Makes calls in threads of its own.

    Args:
        at_once: Calls in flight, at most.
    """

    def __init__(self, at_once: int) -> None:
        self._threads = ThreadPoolExecutor(at_once)
        # What is answered waits for its turn to be written. So many payloads and answers are in memory.
        self._room = _Room(2 * at_once - 1)

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def ordered(
        self, call: Callable[[_Given], _Result], given: Iterator[_Given], *, turn: int
    ) -> Iterator[_Result]:
        """The results of the calls, in the order of what they are given.

        Args:
            call: What is called.
            given: What it is called with, one after the other; taken when there is room for it.
            turn: Who goes first where several objects wait for room: the lowest.
        """
        waiting = _Waiting[_Result](self._room, turn)
        try:
            for each in given:
                yield from waiting.make_room()
                waiting.add(self._threads.submit(call, each))
                yield from waiting.done()
            yield from waiting.all()
        finally:
            waiting.give_up()


class _Waiting(Generic[_Result]):
    """Calls of one object whose results have not been taken yet."""

    def __init__(self, room: _Room, turn: int) -> None:
        self._room = room
        self._turn = turn
        self._calls: deque[Future[_Result]] = deque()

    def add(self, call: Future[_Result]) -> None:
        self._calls.append(call)

    def make_room(self) -> Iterator[_Result]:
        """Takes room for one call. Results of its own make some, so that no object waits for itself."""
        self._room.want(self._turn)
        while not self._room.take(self._turn, wait=not self._calls):
            yield self._next()

    def done(self) -> Iterator[_Result]:
        while self._calls and self._calls[0].done():
            yield self._next()

    def all(self) -> Iterator[_Result]:
        while self._calls:
            yield self._next()

    def give_up(self) -> None:
        """Cancels the calls that have not begun, waits for those in flight, and forgets what they return."""
        self._room.forget(self._turn)
        # All at once: while one is waited for, the next would begin.
        in_flight = [call for call in self._calls if not call.cancel()]
        wait(in_flight)
        for _ in self._calls:
            self._room.give_back()
        self._calls.clear()

    def _next(self) -> _Result:
        call = self._calls.popleft()
        try:
            return call.result()
        finally:
            self._room.give_back()


class _Room:
    """Room for so many calls; who is first in turn is served first, so that objects end one after the other."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._turns: list[int] = []
        self._changed = Condition()

    def want(self, turn: int) -> None:
        """Gets in line, before those with a higher turn."""
        with self._changed:
            insort(self._turns, turn)

    def take(self, turn: int, *, wait: bool) -> bool:
        """Takes room for one call and leaves the line; False if there is none and the caller does not wait."""
        with self._changed:
            while not self._free or self._turns[0] != turn:
                if not wait:
                    return False
                self._changed.wait()
            self._free -= 1
            self._turns.remove(turn)
            self._changed.notify_all()
            return True

    def forget(self, turn: int) -> None:
        """Leaves the line, if it is in there."""
        with self._changed:
            if turn in self._turns:
                self._turns.remove(turn)
                self._changed.notify_all()

    def give_back(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()
