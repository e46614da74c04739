"""The fourth step: a work item's staged results, copied to their places when the whole run has gone well.

Until here a run has touched nothing that earlier runs have published: one that fails leaves that as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from object_replay.faults import ReplayStopped, Superseded, Throttled
from object_replay.functions import is_same
from object_replay.layouts import layout_of
from object_replay.notes import PublishingNote, replayed
from object_replay.settings import Run, WorkItem
from object_replay.storage import Storage
from object_replay.tally import Tally

COPIES = 8
"""Results copied at the same time: S3 does the work, and what takes time is to ask it."""


def check_unchanged(run: Run, digest: Callable[[], str]) -> None:
    """Refuses to publish what two different functions made.

    An execution that is redriven goes on with the function as it is now: after a failed deploy that is the old one.

    Args:
        run: The execution.
        digest: Tells what the user's function is now.

    Raises:
        ReplayStopped: It is not what it was when the run was planned, or cannot be looked at.
        Throttled: The step should be repeated later.
    """
    # A run that an earlier version of this library planned has no digest.
    if run.function_digest and not is_same(digest(), run.function_digest):
        raise ReplayStopped(
            "your function has changed since this run was planned, and its results may be a mix of both; "
            "deploy again or start a new run: a redriven execution cannot publish"
        )


def publish(
    run: Run,
    item: WorkItem,
    storage: Storage,
    check: Callable[[], None],
    *,
    now: Callable[[], datetime],
    call: str,
) -> None:
    """Publishes the results of a work item's objects; what has been published already is passed over.

    Args:
        run: The execution.
        item: Which objects.
        storage: Where the results are, and go.
        check: Raises `ReplayStopped` if the run must not publish.
        now: Tells the time.
        call: The id of this call of the worker.

    Raises:
        ReplayStopped: A result is gone, or cannot be written, or none must be published.
        Throttled: The work item should be repeated later.
    """
    pending: dict[str, Future[_Published]] = {}
    errors: list[BaseException] = []
    try:
        check()
    except ReplayStopped as error:
        errors.append(error)
    else:
        layout = layout_of(run.settings.source)
        notes = replayed(storage, run, item)
        # One that fails keeps none of the others: all are waited for.
        with ThreadPoolExecutor(COPIES) as copies:
            for key in item.keys:
                if note := notes.get(key):
                    result = _Result(layout.output_name(key), note.call, note.objects[key])
                    pending[key] = copies.submit(_publish, run, result, storage)
        errors += filter(None, (each.exception() for each in pending.values()))
    stopped = next((error for error in errors if isinstance(error, ReplayStopped)), None)
    published = {key: each.result() for key, each in pending.items() if not each.exception()}
    PublishingNote(
        now().isoformat(),
        str(stopped or ""),
        {key: each.superseded for key, each in published.items()},
    ).write(storage, run, item, call=call)
    # Last, and without a word: what is left in the run's own folder does no harm.
    with suppress(ReplayStopped, Throttled):
        staged = [each.staged for each in published.values() if each.staged]
        storage.remove_each(run.settings.destination.bucket, staged)
    if errors:
        raise stopped or errors[0]


@dataclass(frozen=True)
class _Result:
    """What the call that counts made of an object."""

    name: str
    call: str
    tally: Tally

    @property
    def is_staged(self) -> bool:
        """Whether there is something to publish: an object that failed or was skipped keeps what it had."""
        return not self.tally.failed_objects and not self.tally.skipped_objects


@dataclass(frozen=True)
class _Published:
    """What became of a staged result."""

    superseded: bool = False
    """Whether that of a run that began later was in its place."""
    staged: str = ""
    """What is of no more use."""


def _publish(run: Run, result: _Result, storage: Storage) -> _Published:
    if not result.is_staged:
        return _Published()
    destination = run.settings.destination
    bucket, staged = destination.bucket, run.staged_key(result.call, result.name)
    target, errors = destination.prefix + result.name, destination.errors_prefix + result.name
    try:
        copied = storage.copy(bucket, staged, target, run=run)
    except Superseded:
        return _Published(superseded=True, staged=staged)
    if not copied:
        # It was published before, or is gone.
        published = storage.started(bucket, target)
        if published < run.started:
            raise ReplayStopped(f"the staged result s3://{bucket}/{staged} is gone")
        return _Published(superseded=published > run.started)
    # What earlier runs, and other calls of this run, noted of the object is settled. It goes at once, and not with the
    # others at the end, when another run may have noted something.
    storage.remove_errors(bucket, errors, run=run, own=not result.tally.messages_failed)
    return _Published(staged=staged)
