"""Virtual time, and the one order in which everything happens.

Handler code runs in threads of which one at a time holds the baton: a thread gives it up only when it sleeps or
calls AWS and something else is due before it goes on. The same scenario therefore always plays in the same order,
and an hour of waiting costs nothing.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FOR_EVER = float("inf")


class Killed(BaseException):
    """Ends the handler code of a world that is thrown away."""


class Endless(AssertionError):
    """Something goes on for ever."""


@dataclass(frozen=True)
class Until:
    """What a process waits for: a condition, or that time comes, whichever is first."""

    deadline: float
    condition: Callable[[], bool] | None = None


Steps = Generator[Until, None, None]


class Timeline:
    """Seconds since `EPOCH`, and what is due when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._processes: list[_Process] = []
        self.fibers: list[Fiber] = []

    def time(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (max(when, self.now), next(self._order), action))

    def is_free_until(self, when: float) -> bool:
        """Whether nothing else is due before or at that time."""
        return not self._due or self._due[0][0] > when

    def process(self, steps: Steps) -> None:
        """Plays the steps, each when what the one before has yielded has come true."""
        process = _Process(self, steps)
        self._processes.append(process)
        self.at(self.now, process.advance)

    def nudge(self) -> None:
        """Tells every process that something has changed."""
        for process in self._processes:
            process.nudge()

    def run(self, *, until: float = FOR_EVER, most_events: int = 300_000) -> None:
        """Lets happen what is due, until nothing is."""
        for _ in range(most_events):
            if not self._due or self._due[0][0] > until:
                return
            self.now, _, action = heapq.heappop(self._due)
            action()
            if self._processes and self._processes[-1].is_over:
                self._processes = [process for process in self._processes if not process.is_over]
        raise Endless(f"still busy after {most_events} events, at {self.now:.0f} s")

    def close(self) -> None:
        """Ends every thread that still waits for its turn."""
        for fiber in self.fibers:
            fiber.kill()
        self.fibers.clear()


class _Process:
    def __init__(self, timeline: Timeline, steps: Steps) -> None:
        self._timeline = timeline
        self._steps = steps
        self._turn = 0
        self._until: Until | None = None
        self.is_over = False

    def advance(self, turn: int = 0) -> None:
        if turn != self._turn or self.is_over:
            return  # it went on already, for another reason
        self._turn += 1
        self._until = None
        try:
            until = next(self._steps)
        except StopIteration:
            self.is_over = True
            return
        self._until = until
        if until.condition and until.condition():
            self._timeline.at(self._timeline.now, partial(self.advance, self._turn))
        elif until.deadline < FOR_EVER:
            self._timeline.at(until.deadline, partial(self.advance, self._turn))

    def nudge(self) -> None:
        if self._until and self._until.condition and self._until.condition():
            self._timeline.at(self._timeline.now, partial(self.advance, self._turn))


class Fiber:
    """Handler code that can be put aside at every call and every sleep."""

    def __init__(self, timeline: Timeline, body: Callable[[], None], logs_to: logging.Handler) -> None:
        self._timeline = timeline
        self._body = body
        self._logs_to = logs_to
        self._worker = _Worker.idle()
        self._is_dead = False
        self.is_over = False
        timeline.fibers.append(self)

    def start(self) -> None:
        with self._own_logging():
            self._worker.work(self._run)
        self._put_away()

    def sleep(self, seconds: float) -> None:
        """Called within the fiber."""
        if self._is_dead:
            raise Killed
        wake = self._timeline.now + seconds
        if self._timeline.is_free_until(wake):
            self._timeline.now = wake
            return
        self._timeline.at(wake, self._resume)
        self._worker.give_baton_back()
        if self._is_dead:
            raise Killed

    def kill(self) -> None:
        if not self.is_over:
            self._is_dead = True
            self._resume()

    def _run(self) -> None:
        try:
            self._body()
        except Killed:
            pass
        finally:
            self.is_over = True

    def _resume(self) -> None:
        if self.is_over:
            return
        with self._own_logging():
            self._worker.go_on()
        self._put_away()

    def _put_away(self) -> None:
        if self.is_over:
            self._worker.free()
            if not self._is_dead:
                self._timeline.fibers.remove(self)

    @contextmanager
    def _own_logging(self) -> Iterator[None]:
        """Every sandbox is a process with a root logger of its own."""
        root = logging.root
        before, root.handlers = root.handlers, [self._logs_to]
        try:
            yield
        finally:
            root.handlers = before


class _Worker:
    """A thread that runs one fiber after another: starting a thread costs more than most invocations."""

    _IDLE: list[_Worker] = []  # noqa: RUF012  # one pool for all worlds of this process

    def __init__(self) -> None:
        self._mine, self._main = threading.Lock(), threading.Lock()
        self._mine.acquire()
        self._main.acquire()
        self._job: Callable[[], None] | None = None
        threading.Thread(target=self._loop, daemon=True, name="sandbox").start()

    @classmethod
    def idle(cls) -> _Worker:
        return cls._IDLE.pop() if cls._IDLE else cls()

    def free(self) -> None:
        self._IDLE.append(self)

    def work(self, job: Callable[[], None]) -> None:
        self._job = job
        self.go_on()

    def go_on(self) -> None:
        """Called by the main thread: returns when the worker gives the baton back, or has done its job."""
        self._mine.release()
        self._main.acquire()

    def give_baton_back(self) -> None:
        """Called by the worker: returns when it is its turn again."""
        self._main.release()
        self._mine.acquire()

    def _loop(self) -> None:
        while True:
            self._mine.acquire()
            job, self._job = self._job, None
            if job:
                job()
            self._main.release()
