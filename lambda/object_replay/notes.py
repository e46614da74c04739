"""What each call of a worker notes for the summary: which objects it finished, and what happened to each of them.

A note says which keys it covers, and every call writes a note of its own. So a step that AWS or the state machine
repeats neither replaces the note of another call nor counts an object twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from object_replay.faults import told
from object_replay.settings import Run, WorkItem
from object_replay.storage import CONNECTIONS, Storage, lines
from object_replay.tally import Tally

_NO_NOTES: tuple[str, Sequence[Note]] = ("", ())


@dataclass(frozen=True)
class Note:
    """What one call of a worker replayed.

    Args:
        call: The id of that call of the worker, under which it staged results.
        finished: When the call ended, as an ISO 8601 time in UTC: the later note of an object counts.
        stopped: Why the run cannot go on; an empty text when it can.
        objects: What happened to each object that the call finished, by key.
    """

    call: str
    finished: str
    stopped: str
    objects: Mapping[str, Tally]

    def write(self, storage: Storage, run: Run, item: WorkItem) -> None:
        """Writes the note.

        Args:
            storage: Where to.
            run: The execution.
            item: The work item that the call was given.
        """
        storage.write_json(
            run.settings.destination.bucket,
            f"{run.results_prefix}{item.number:06d}-{item.part:03d}-{self.call}.json",
            {
                "Call": self.call,
                "Finished": self.finished,
                "Stopped": told(self.stopped),
                "Objects": {key: vars(tally) for key, tally in self.objects.items()},
            },
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Note:
        """Reads a note."""
        return cls(
            values["Call"],
            values["Finished"],
            values["Stopped"],
            {key: Tally(**tally) for key, tally in values["Objects"].items()},
        )


@dataclass(frozen=True)
class PublishingNote:
    """What one call of a worker published.

    Args:
        finished: When the call ended, as an ISO 8601 time in UTC: the later note of an object counts.
        stopped: Why the run cannot go on; an empty text when it can.
        objects: By key of each object that the call finished, whether a run that began later had been there.
    """

    finished: str
    stopped: str
    objects: Mapping[str, bool]

    def write(self, storage: Storage, run: Run, item: WorkItem, *, call: str) -> None:
        """Writes the note; see `Note.write`."""
        storage.write_json(
            run.settings.destination.bucket,
            f"{run.published_prefix}{item.number:06d}-{call}.json",
            {"Finished": self.finished, "Stopped": told(self.stopped), "Objects": self.objects},
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> PublishingNote:
        """Reads a note."""
        return cls(values["Finished"], values["Stopped"], values["Objects"])


def summed(storage: Storage, run: Run) -> tuple[Tally, str]:
    """Adds up all notes of a run, each object once.

    Returns:
        What happened to all objects, and why the run cannot go on: an empty text when it can.
    """
    total, stopped = Tally(), ""
    for notes in _by_work_item(storage, run, run.results_prefix, Note.parse):
        latest = _latest(notes)
        for key, note in latest.items():
            total.add(note.objects[key])
        # What stopped one call does not stop the run if another call finished the same objects after it.
        counting = [note for note in notes if not note.objects or note in latest.values()]
        stopped = stopped or next((note.stopped for note in counting if note.stopped), "")
    return total, stopped


def outcomes(storage: Storage, run: Run) -> Iterator[tuple[str, Tally | None]]:
    """What happened to each object of a run, by the note that counts; None for one of which no note tells."""
    bucket = run.settings.destination.bucket
    noted = _numbered(storage, run, run.results_prefix, Note.parse)
    number, notes = next(noted, _NO_NOTES)
    for line in lines(storage.read(bucket, run.manifest_key)):
        item = WorkItem.parse(json.loads(line))
        latest: dict[str, Note] = {}
        if number == f"{item.number:06d}":
            latest = _latest(notes)
            number, notes = next(noted, _NO_NOTES)
        for key in item.keys:
            yield key, latest[key].objects[key] if key in latest else None


def replayed(storage: Storage, run: Run, item: WorkItem) -> Mapping[str, Note]:
    """The note that counts for each object of a work item, by key."""
    prefix = f"{run.results_prefix}{item.number:06d}-"
    found: dict[str, Note] = {}
    for notes in _by_work_item(storage, run, prefix, Note.parse):
        found |= _latest(notes, until=run.summarised)
    return found


def _latest(notes: Sequence[Note], until: str = "") -> dict[str, Note]:
    """The last note of each object, or the last one until a time: what is noted after the verdict has no part in it."""
    found: dict[str, Note] = {}
    for note in notes:
        for key in note.objects:
            if key not in found or not until or note.finished <= until:
                found[key] = note
    return found


@dataclass
class Published:
    """What became of publishing.

    Args:
        objects: How many it is finished for.
        superseded: Of how many a later run's result was in its place.
        stopped: Why some worker could not go on.
    """

    objects: int = 0
    superseded: int = 0
    stopped: str = ""


def published(storage: Storage, run: Run) -> Published:
    """Adds up all notes on publishing, each object once."""
    total = Published()
    for notes in _by_work_item(storage, run, run.published_prefix, PublishingNote.parse):
        total.stopped = total.stopped or next((note.stopped for note in notes if note.stopped), "")
        objects: dict[str, bool] = {}
        for note in notes:
            objects.update(note.objects)
        total.objects += len(objects)
        total.superseded += sum(objects.values())
    return total


_AnyNote = TypeVar("_AnyNote", Note, PublishingNote)


def _by_work_item(
    storage: Storage, run: Run, prefix: str, parse: Callable[[Mapping[str, Any]], _AnyNote]
) -> Iterator[Sequence[_AnyNote]]:
    """The notes under the prefix, those of a work item together and the latest last."""
    return (notes for _, notes in _numbered(storage, run, prefix, parse))


def _numbered(
    storage: Storage, run: Run, prefix: str, parse: Callable[[Mapping[str, Any]], _AnyNote]
) -> Iterator[tuple[str, Sequence[_AnyNote]]]:
    """The same with the number of the work item, in the order of these."""
    bucket = run.settings.destination.bucket
    keys = (item.key for item in storage.list(bucket, prefix))
    with ThreadPoolExecutor(CONNECTIONS) as readers:
        read = readers.map(lambda key: (key, parse(storage.read_json(bucket, key))), keys)
        # They stand together, for the number comes first in their names.
        for number, group in groupby(read, key=lambda each: each[0].rpartition("/")[2][:6]):
            yield number, sorted((note for _, note in group), key=lambda note: note.finished)
