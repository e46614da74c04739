"""What each call of a worker notes for the summary: which objects it finished, and what happened to each of them.

A note says which keys it covers, and every call writes a note of its own. So a step that AWS or the state machine
repeats neither replaces the note of another call nor counts an object twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from archive_replay.settings import Run, WorkItem
from archive_replay.storage import CONNECTIONS, Storage
from archive_replay.tally import Tally


@dataclass(frozen=True)
class Note:
    """What one call of a worker did.

    Args:
        finished: When the call ended, as an ISO 8601 time in UTC: the later note of an object counts.
        stopped: Why the run cannot go on; an empty text when it can.
        objects: What happened to each object that the call finished, by key.
    """

    finished: str
    stopped: str
    objects: Mapping[str, Tally]

    def write(self, storage: Storage, run: Run, item: WorkItem, *, call: str) -> None:
        """Writes the note.

        Args:
            storage: Where to.
            run: The execution.
            item: The work item that the call was given.
            call: The id of this call of the worker.
        """
        storage.write_json(
            run.settings.destination.bucket,
            f"{run.results_prefix}{item.number:06d}-{item.part:03d}-{call}.json",
            {
                "Finished": self.finished,
                "Stopped": self.stopped,
                "Objects": {key: vars(tally) for key, tally in self.objects.items()},
            },
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Note:
        """Reads a note."""
        return cls(
            values["Finished"],
            values["Stopped"],
            {key: Tally(**tally) for key, tally in values["Objects"].items()},
        )


def summed(storage: Storage, run: Run) -> tuple[Tally, str]:
    """Adds up all notes of a run, each object once.

    Returns:
        What happened to all objects, and why the run cannot go on: an empty text when it can.
    """
    bucket = run.settings.destination.bucket
    keys = (item.key for item in storage.list(bucket, run.results_prefix))
    total, stopped = Tally(), ""
    with ThreadPoolExecutor(CONNECTIONS) as readers:
        read = readers.map(lambda key: (key, Note.parse(storage.read_json(bucket, key))), keys)
        # The notes of a work item stand together, for its number comes first in their names.
        for _, group in groupby(read, key=lambda each: each[0].removeprefix(run.results_prefix)[:6]):
            notes = sorted((note for _, note in group), key=lambda note: note.finished)
            stopped = stopped or next((note.stopped for note in notes if note.stopped), "")
            objects: dict[str, Tally] = {}
            for note in notes:
                objects.update(note.objects)
            for tally in objects.values():
                total.add(tally)
    return total, stopped
