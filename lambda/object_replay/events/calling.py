"""The second step: the user's function, called for each object of a work item as S3 calls it.

The function writes its own results. One call is one call: what may have run is not sent again, for its effects would be
there twice. An object on which the function fails is tried again, as Lambda does it for S3, but for what was deleted or
written again in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from object_replay.events.batch_failures import BatchFailed, failed_messages
from object_replay.events.gate import Gate
from object_replay.events.notifications import ObjectEvent, client_context, encoded
from object_replay.faults import (
    FunctionFailed,
    ObjectFailure,
    OutOfReservation,
    ReplayStopped,
    ResultUnknown,
    Throttled,
)
from object_replay.notes import replayed
from object_replay.patience import MARGIN_SECONDS
from object_replay.settings import Form, Run, WorkItem
from object_replay.storage import Availability, Storage, StoredObject
from object_replay.tally import Tally
from object_replay.worker import Abandoned, Call, OutOfTime, Worker

REFUSED_FOR = timedelta(seconds=30)
"""After so long without a single call a run ends: the function's reserved concurrency is 0, or in use. With the longest
pause between two tries that is within a minute."""


class Invoke(Protocol):
    """Calls the user's function; see `Functions.invoke`."""

    def __call__(self, payload: bytes, *, context: Mapping[str, object]) -> bytes: ...


class EventWorker(Worker):
    """Calls the function for a work item's objects.

    Args:
        run: The execution.
        storage: Where the objects are, and the notes of the run.
        invoke: Calls the user's function.
        call: The call of the Lambda function.
    """

    def __init__(self, run: Run, storage: Storage, invoke: Invoke, call: Call) -> None:
        super().__init__(run, storage, call)
        self._invoke = invoke
        self._function = run.settings.function
        self._gate = Gate(run.settings.calls_per_worker)
        self._began = call.now()

    def replay(self, item: WorkItem) -> WorkItem:
        """See `Worker.replay`.

        Raises:
            ResultUnknown: The function was called, and that cannot be noted: to repeat the work item would call it again.
        """
        try:
            return super().replay(item)
        except Throttled as error:
            if not self._progress.tallies and self._progress.tried == item.tried:
                raise
            raise ResultUnknown(str(error)) from error

    def give_up(self, item: WorkItem, *, reason: str) -> None:
        """See `Worker.give_up`. What a call has noted before it came to its end is known."""
        done = replayed(self._storage, self._run, item)
        super().give_up(item.without(done, item.tried), reason=reason)

    def _replay_all(self, item: WorkItem) -> None:
        self._progress.tried |= item.tried
        # An object on which the function has failed is tried alone.
        fresh = [key for key in item.keys if key not in item.tried]
        size = self._function.notification.batch_size
        batches = [[key] for key in item.keys if key in item.tried]
        batches += [fresh[first : first + size] for first in range(0, len(fresh), size)]
        # While some wait for the function, others look at their objects: the gate counts the calls.
        with ThreadPoolExecutor(2 * self._run.settings.calls_per_worker - 1) as threads:
            for each in [threads.submit(self._attempt, keys) for keys in batches]:
                each.result()

    def _give_up(self, key: str, reason: str) -> Tally:
        return Tally.of_failed(key, f"{reason}; it is not known whether your function ran")

    def _attempt(self, keys: Sequence[str]) -> None:
        """Calls the function for the objects, unless this call is closing, and records how that went."""
        progress = self._progress
        if progress.is_closing:
            return
        try:
            self._try(keys)
        except Abandoned:
            return
        except (OutOfTime, Throttled, ReplayStopped) as error:
            left = [key for key in keys if key not in progress.tallies]
            if isinstance(error, ReplayStopped):
                self._record({key: Tally.of_failed(key, str(error)) for key in left}, stopped=str(error))
            else:
                # However long the function takes, another call of the worker has time for it.
                self._record({}, {key: Throttled(str(error)) for key in left})
        except BaseException:
            progress.is_closing = progress.is_ending = True
            raise

    def _try(self, keys: Sequence[str], before: StoredObject | None = None) -> None:
        """Calls the function for objects together, and again for each of those on which it fails."""
        objects = [found for key in keys if (found := self._ready(key, before))]
        if not objects:
            return
        try:
            failures = self._called(objects)
        except ResultUnknown as error:
            reason = f"it is not known whether your function ran: {error}"
            self._record({each.key: Tally.of_failed(each.key, reason) for each in objects})
            return
        self._record({each.key: Tally(objects=1) for each in objects if each.key not in failures})
        failed, tried = [each for each in objects if each.key in failures], self._progress.tried
        # Where all of a batch failed, only calls with one object each tell which is the bad one: that was no try.
        counts = not 1 < len(objects) == len(failed)
        # Before any is called again: another worker must know of all of them.
        tried |= {each.key: tried.get(each.key, 0) + counts for each in failed}
        for each in failed:
            self._failed(each, failures[each.key])

    def _failed(self, found: StoredObject, reason: str) -> None:
        tried = self._progress.tried[found.key]
        if tried <= self._function.retries:
            if tried:
                self._patience.pause()
            self._try([found.key], found)
            return
        # Where S3 does not tell, it has failed: another worker would call the function once more.
        with suppress(Throttled):
            if not self._ready(found.key, found):
                return  # it failed for the lack of what it reads
        self._record({found.key: Tally.of_failed(found.key, reason)})

    def _ready(self, key: str, before: StoredObject | None) -> StoredObject | None:
        """The object as it is now; None where the function need not be called, which is recorded."""
        bucket = self._run.settings.source.bucket
        try:
            found = self._patience.persistently(lambda: self._storage.current(bucket, key))
        except ObjectFailure as error:
            self._record({key: Tally.of_failed(key, str(error))})
            return None
        if found is None:
            self._record({key: Tally(objects=1, gone_objects=1)})
        elif self._is_later(found, before):
            self._record({key: Tally(objects=1, changed_objects=1)})
        elif found.availability is not Availability.READABLE:
            self._record({key: Tally(objects=1, skipped_objects=1)})
        else:
            return found
        return None

    def _is_later(self, found: StoredObject, before: StoredObject | None) -> bool:
        """Whether the object was written after the run began: S3 has told the function of that itself."""
        # Its time has whole seconds, equal bytes have equal ETags, and not every bucket has versions.
        if before and replace(before, availability=found.availability) != found:
            return True
        return found.last_modified > datetime.fromisoformat(self._run.started)

    def _called(self, objects: Sequence[StoredObject]) -> Mapping[str, str]:
        """Calls the function for the objects; gives the reasons of those on which it failed.

        Raises:
            ResultUnknown: It may have run.
        """
        events = {event.message_id: event for event in (ObjectEvent(self._run, each) for each in objects)}
        notification = self._function.notification
        if notification.form is Form.SQS:
            payload = {"Records": [event.message(notification) for event in events.values()]}
        else:
            payload = next(iter(events.values())).payload(notification)
        try:
            answer = self._patience.persistently(lambda: self._invoked(encoded(payload)))
            reported = failed_messages(answer, events) if notification.form is Form.SQS else ()
        except (FunctionFailed, BatchFailed) as error:
            return {each.key: str(error) for each in objects}
        return {events[id].object.key: "your function reported it in 'batchItemFailures'" for id in reported}  # noqa: A001

    def _invoked(self, payload: bytes) -> bytes:
        try:
            with self._gate:
                self._check_time()
                return self._invoke(payload, context=client_context(self._run))
        except OutOfReservation as error:
            if self._is_refused:
                raise ReplayStopped(
                    "your function has taken no call since the run was planned: its reserved concurrency is 0, or all of "
                    f"it is in use; raise the reservation ({error})"
                ) from error
            raise

    def _check_time(self) -> None:
        if self._progress.is_ending:
            raise Abandoned
        # A worker that Lambda ends in a call cannot tell what came of it. A new one has time for the longest.
        longest = min(self._function.timeout, self._began_with - 2 * MARGIN_SECONDS)
        if self._remaining() < MARGIN_SECONDS + longest:
            raise OutOfTime("the worker has no time left for a call of your function")

    @property
    def _is_refused(self) -> bool:
        """Whether the function has taken no call since the run was planned."""
        # Planning alone may take minutes. A call of another worker may hold the reservation for as long as it may take.
        others = self._run.settings.workers > 1
        wait = max(REFUSED_FOR, timedelta(seconds=self._function.timeout if others else 0))
        limit = datetime.fromisoformat(self._run.planned or self._run.started) + wait
        return not self._gate.has_opened and self._began < limit <= self._now()
