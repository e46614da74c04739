"""The fourth step: a work item's staged results, copied to their places when the whole run has gone well.

Until here a run has touched nothing that earlier runs have published: one that fails leaves that as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from archive_replay.faults import ReplayStopped, Superseded
from archive_replay.layouts import layout_of
from archive_replay.settings import Run, WorkItem
from archive_replay.storage import Storage

COPIES = 8
"""Results copied at the same time: S3 does the work, and what takes time is to ask it."""


def publish(run: Run, item: WorkItem, storage: Storage) -> None:
    """Publishes the results of a work item's objects; what has been published already is passed over.

    Args:
        run: The execution.
        item: Which objects.
        storage: Where the results are, and go.

    Raises:
        ReplayStopped: A result is gone, or cannot be written.
        Throttled: The work item should be repeated later.
    """
    bucket = run.settings.destination.bucket
    names = [layout_of(run.settings.source).output_name(key) for key in item.keys]
    superseded, stopped = 0, ""
    try:
        with ThreadPoolExecutor(COPIES) as copies:
            published = list(copies.map(lambda name: _publish(run, name, storage), names))
        superseded = sum(each.superseded for each in published)
        storage.remove_each(bucket, [key for each in published for key in each.staged])
    except ReplayStopped as error:
        stopped = str(error)
    note = {"Stopped": stopped, "Superseded": superseded}
    # Under the same name when repeated, so nothing counts twice.
    storage.write_json(bucket, f"{run.published_prefix}{item.number:06d}.json", note)
    if stopped:
        raise ReplayStopped(stopped)


@dataclass(frozen=True)
class _Published:
    """What became of a staged result."""

    superseded: bool = False
    """Whether that of a run that began later was in its place."""
    staged: Sequence[str] = ()
    """What is of no more use."""


def _publish(run: Run, name: str, storage: Storage) -> _Published:
    destination = run.settings.destination
    bucket, staged = destination.bucket, run.staged_prefix + name
    target, errors = destination.prefix + name, destination.errors_prefix + name
    try:
        copied = storage.copy(bucket, staged, target, run=run)
    except Superseded:
        return _Published(superseded=True, staged=[staged])
    noted = storage.started(bucket, errors)
    if copied:
        if noted and noted < run.started:
            # What earlier runs noted of the object is settled. What this run did stays, and a later one: so it goes
            # at once, and not with the others at the end, when another run may have noted something.
            storage.remove(bucket, errors)
        return _Published(staged=[staged])
    if noted < run.started:
        # It did not fail, of which there would be a note: then it was published before, or is gone.
        published = storage.started(bucket, target)
        if published < run.started:
            raise ReplayStopped(f"the staged result s3://{bucket}/{staged} is gone")
        return _Published(superseded=published > run.started)
    return _Published()
