"""One call of a worker: a work item's objects, several at the same time, for as long as there is time.

What is done with an object says the kind of pipeline: `archive.replaying` and `events.calling`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from object_replay.faults import ReplayStopped, Throttled
from object_replay.notes import Note
from object_replay.patience import Patience, Remaining
from object_replay.settings import Run, WorkItem
from object_replay.storage import Storage
from object_replay.tally import Tally


class OutOfTime(Exception):
    """The worker ends before the object does; the text says why."""


class Abandoned(Exception):
    """The object is left as it was, for the run cannot succeed any more."""


@dataclass
class Progress:
    """How far one call has come with a work item, whose objects are replayed in several threads."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    """What happened to the objects that are finished."""
    tried: dict[str, int] = field(default_factory=dict)
    """How often the function has failed on objects that are tried again."""
    left: dict[str, OutOfTime | Throttled] = field(default_factory=dict)
    """Why objects were not finished."""
    stopped: str = ""
    """Why the run cannot go on."""
    is_closing: bool = False
    """Whether no further object is begun."""
    is_ending: bool = False
    """Whether objects in hand are abandoned."""
    lock: Lock = field(default_factory=Lock)

    @property
    def total(self) -> Tally:
        return _total(self.tallies)


@dataclass(frozen=True)
class Call:
    """One call of the Lambda function."""

    id: str
    now: Callable[[], datetime]
    """Tells the time."""
    remaining: Remaining
    patience: Patience
    """Repeats what may pass."""


class Worker(ABC):
    """Replays a work item of one run.

    Args:
        run: The execution.
        storage: Where the objects are, and where results and notes go.
        call: The call of the Lambda function.
    """

    def __init__(self, run: Run, storage: Storage, call: Call) -> None:
        self._run = run
        self._storage = storage
        self._now = call.now
        self._call = call.id
        self._patience = call.patience
        self._remaining = call.remaining
        self._began_with = call.remaining()
        self._progress = Progress()

    @abstractmethod
    def _replay_all(self, item: WorkItem) -> None:
        """Replays the objects and records how that went, each with `_record`."""

    @abstractmethod
    def _give_up(self, key: str, reason: str) -> Tally:
        """Counts an object as failed as a whole."""

    def replay(self, item: WorkItem) -> WorkItem:
        """Replays as many of a work item's objects as there is time for, several of them at the same time.

        Args:
            item: The objects.

        Returns:
            What is left for the next call: no keys when it is done.

        Raises:
            ReplayStopped: Nothing can be replayed, or more has failed than is tolerated.
            Throttled: The work item should be repeated later.
        """
        progress = self._progress
        self._replay_all(item)
        if not progress.tallies and progress.left and progress.tried == item.tried:
            # Not even the first one was finished, which went before all others: another call would not do better.
            key = min(progress.left, key=item.keys.index)
            error = progress.left[key]
            if isinstance(error, Throttled):
                raise error
            if self._was_slowed:
                raise Throttled(str(error))
            progress.tallies[key] = self._give_up(key, str(error))
        self._note(item, progress.tallies, progress.stopped)
        return item.without(progress.tallies, progress.tried)

    def give_up(self, item: WorkItem, *, reason: str) -> None:
        """Counts all of a work item's objects as failed: their worker came to an end that it could not handle itself.

        Args:
            item: What was left of it.
            reason: What the state machine saw.

        Raises:
            ReplayStopped: More has failed than is tolerated.
        """
        tallies = {key: self._give_up(key, f"its worker failed: {reason}") for key in item.keys}
        self._note(item, tallies, stopped="")

    def _record(
        self,
        tallies: Mapping[str, Tally],
        left: Mapping[str, OutOfTime | Throttled] | None = None,
        stopped: str = "",
    ) -> None:
        """Records objects that are finished or left, and what that means for the others."""
        progress = self._progress
        with progress.lock:
            progress.tallies.update(tallies)
            progress.left.update(left or {})
            progress.stopped = progress.stopped or stopped
            progress.is_ending |= bool(progress.stopped or self._verdict(progress.total))
            progress.is_closing |= progress.is_ending or bool(left)

    def _note(self, item: WorkItem, tallies: Mapping[str, Tally], stopped: str) -> None:
        note = Note(self._call, self._now().isoformat(), stopped, tallies)
        self._patience.persistently(lambda: note.write(self._storage, self._run, item))
        if reason := stopped or self._verdict(_total(tallies)):
            raise ReplayStopped(reason)

    def _verdict(self, tally: Tally) -> str:
        """Why the run fails, whatever the other workers do; an empty text while that is open."""
        if self._run.exceeds_tolerance(tally.failed_objects, self._run.objects):
            return "more objects failed than are tolerated"
        if tally.messages_failed and self._is_strict:
            return "messages failed and none is tolerated"
        return ""

    @property
    def _was_slowed(self) -> bool:
        """Whether throttling took at least half of this call."""
        waited = self._patience.throttled_for / self._run.settings.calls_per_worker
        return 2 * waited >= self._began_with - self._remaining()

    @property
    def _is_strict(self) -> bool:
        return not self._run.settings.tolerated_failure_percentage


def _total(tallies: Mapping[str, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total
