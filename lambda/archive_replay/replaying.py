"""The second step: a work item's objects, transformed into one staged result each.

Nothing of what earlier runs have published is touched: a result is staged when it is complete or not at all, and
published when the whole run has gone well. What could not be replayed goes to the errors prefix with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from archive_replay.batches import Batch, batches
from archive_replay.calls import Calls
from archive_replay.compression import peeked, unpacked
from archive_replay.errors import Errors
from archive_replay.faults import FunctionFailed, ObjectFailure, ReplayStopped, Throttled
from archive_replay.framing import Framed, error_output, framed, is_error_output
from archive_replay.json_values import Damaged
from archive_replay.layouts import layout_of
from archive_replay.notes import Note
from archive_replay.patience import MARGIN_SECONDS, Patience, Remaining
from archive_replay.settings import Contract, Framing, Layout, Run, WorkItem
from archive_replay.storage import Storage
from archive_replay.tally import Tally
from archive_replay.transforms import (
    FirehoseTransformation,
    Invoke,
    LambdaActivity,
    Outcome,
    Search,
    Transform,
    outcomes,
)

_SKIPPED = (
    "was skipped: it is Firehose's error output, not messages; ErrorOutput.REPLAY replays the raw data in it"
)


class OutOfTime(Exception):
    """The function ends before the object does; the text says why."""


class NoResult(Exception):
    """The object's messages failed: all of them, or one where none may, and the rest cannot change that."""


class Abandoned(Exception):
    """The object is left as it was, for the run cannot succeed any more."""


class InTime:
    """Does what there is time for, and raises `OutOfTime` before Lambda would end the function.

    A call of the user's function may take as long as the longest one so far did: a worker that is ended loses all that
    is left of its work item, one that stops leaves it to the next call.

    Args:
        remaining: Tells the time left.
        invoke: Calls the user's function.
        patience: Repeats what is throttled.
        is_ending: Tells whether the run cannot succeed any more.
    """

    def __init__(
        self, remaining: Remaining, invoke: Invoke, patience: Patience, is_ending: Callable[[], bool]
    ) -> None:
        self._is_ending = is_ending
        self._remaining = remaining
        self._invoke = invoke
        self._patience = patience
        self._longest = 0.0
        self._failure = ""

    def chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, one after the other."""
        for chunk in chunks:
            self._check(MARGIN_SECONDS)
            yield chunk

    def invoke(self, payload: bytes) -> bytes:
        """What the user's function gives for the payload; while it is throttled, it is called again."""
        return self._patience.persistently(lambda: self._invoked(payload))

    def _invoked(self, payload: bytes) -> bytes:
        before = self._check(MARGIN_SECONDS + self._longest)
        try:
            answer = self._invoke(payload)
        except FunctionFailed as error:
            self._failure = f"; your function failed last with {error}"
            self._longest = max(self._longest, before - self._remaining())
            raise
        self._longest = max(self._longest, before - self._remaining())
        return answer

    def _check(self, seconds: float) -> float:
        if self._is_ending():
            raise Abandoned
        left = self._remaining()
        if left < seconds:
            raise OutOfTime(
                f"takes longer than a function may run: it is too large, or your function too slow{self._failure}"
            )
        return left


@dataclass
class _Progress:
    """How far one call has come with a work item, whose objects are replayed in several threads."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    """What happened to the objects that are finished."""
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
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total


class Worker:
    """Replays work items of one run.

    Args:
        run: The execution.
        storage: Archive and destination.
        invoke: Calls the user's function.
        now: Tells the time.
        call: The id of this call of the worker.
        remaining: Tells the time left to it.
        patience: Repeats what may pass.
    """

    def __init__(
        self,
        run: Run,
        storage: Storage,
        invoke: Invoke,
        *,
        now: Callable[[], datetime],
        call: str,
        remaining: Remaining,
        patience: Patience,
    ) -> None:
        self._run = run
        self._storage = storage
        self._now = now
        self._call = call
        self._patience = patience
        self._remaining = remaining
        self._began_with = remaining()
        self._progress = _Progress()
        self._in_time = InTime(remaining, invoke, patience, lambda: self._progress.is_ending)
        self._layout = layout_of(run.settings.source)
        self._search = Search()

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
        at_once = self._run.settings.calls_per_worker
        with Calls(at_once) as calls, ThreadPoolExecutor(at_once) as threads:
            objects = [threads.submit(self._attempt, key, turn, calls) for turn, key in enumerate(item.keys)]
            for each in objects:
                each.result()
        if not progress.tallies and progress.left:
            # Not even the first one was finished, which went before all others: another call would not do better.
            key = min(progress.left, key=item.keys.index)
            error = progress.left[key]
            if isinstance(error, Throttled):
                raise error
            if self._was_slowed:
                raise Throttled(str(error))
            progress.tallies[key] = self._give_up(key, str(error))
        self._note(item, progress.tallies, progress.stopped)
        return item.without(progress.tallies)

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

    def _note(self, item: WorkItem, tallies: Mapping[str, Tally], stopped: str) -> None:
        note = Note(self._call, self._now().isoformat(), stopped, tallies)
        self._patience.persistently(lambda: note.write(self._storage, self._run, item))
        if reason := stopped or self._verdict(_Progress(dict(tallies)).total):
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

    def _attempt(self, key: str, turn: int, calls: Calls) -> None:
        """Replays one object, unless the call is closing, and records how that went."""
        progress = self._progress
        if progress.is_closing:
            return
        tally, stopped = None, ""
        try:
            # What S3 throttles, or does not allow yet, begins anew; a throttled function does not.
            try:
                tally = self._patience.persistently(lambda: self._replay(key, turn, calls))
            except ObjectFailure as error:
                tally = self._give_up(key, str(error))
        except Abandoned:
            return
        except (OutOfTime, Throttled) as error:
            progress.left[key] = error
        except ReplayStopped as error:
            stopped = str(error)
            tally = Tally.of_failed(key, stopped)
        except BaseException:
            # The worker fails, and what the others do is lost.
            progress.is_closing = progress.is_ending = True
            raise
        with progress.lock:
            if tally:
                progress.tallies[key] = tally
            progress.stopped = progress.stopped or stopped
            progress.is_ending |= bool(progress.stopped or self._verdict(progress.total))
            progress.is_closing |= progress.is_ending or not tally

    def _replay(self, key: str, turn: int, calls: Calls) -> Tally:
        """Replays one object: afterwards its result is staged whole and its errors are noted, or only those."""
        settings = self._run.settings
        tally = Tally(objects=1)
        transform = self._transform(key)
        with self._errors(key) as errors:

            def reject(number: int, text: bytes, reason: str) -> None:
                errors.add_unreadable(number, text, reason)
                if self._is_strict:
                    raise NoResult

            def invoked(batch: Batch) -> list[Outcome]:
                found: list[Outcome] = []
                for outcome in outcomes(transform, batch, self._search):
                    found.append(outcome)
                    if outcome.failures and self._is_strict:
                        break
                return found

            chunks = self._in_time.chunks(self._storage.read(settings.source.bucket, key))
            messages = self._messages(key, _counted(chunks, tally))
            if messages is None:
                self._unstage(key)
                errors.add_object(_SKIPPED)
                return Tally(objects=1, skipped_objects=1)
            given = batches(
                messages,
                size=settings.function.batch_size,
                max_bytes=settings.function.max_bytes,
                reject=reject,
            )
            try:
                with self._storage.upload(
                    settings.destination.bucket,
                    self._staged(key),
                    run=self._run,
                    shared=False,
                ) as results:
                    for found in calls.ordered(invoked, given, turn=turn):
                        for outcome in found:
                            results.write(outcome.data)
                            tally.messages_in += outcome.messages
                            tally.messages_out += outcome.count
                            tally.messages_dropped += outcome.dropped
                            for failure in outcome.failures:
                                errors.add(failure.number, failure.message, failure.reason)
                        if errors.tally.messages_failed and self._is_strict:
                            raise NoResult
                        if self._progress.is_ending:
                            raise Abandoned
                    failed = errors.tally.messages_failed
                    if failed and failed == tally.messages_in + errors.unreadable:
                        raise NoResult  # so nothing is staged
                tally.bytes_out = results.written
            except NoResult:
                self._unstage(key)
                tally.failed_objects = 0 if self._is_strict else 1
        tally.messages_in += errors.unreadable
        tally.add(errors.tally)
        return tally

    def _messages(self, key: str, chunks: Iterator[bytes]) -> Iterator[Framed | Damaged] | None:
        """The object's messages; None if it holds none, but what Firehose could not deliver."""
        source = self._run.settings.source
        if source.layout is not Layout.FIREHOSE:
            return framed(source.framing, chunks, key)
        if source.framing in {Framing.JSON, Framing.LINES}:
            chunks = unpacked(chunks, key)
            content, chunks = peeked(chunks, 1)
        else:
            head, chunks = peeked(chunks, 1)
            content = b""
            with suppress(ObjectFailure):  # it is cut, and what is wrong with it is told when it is read
                content = next(unpacked(iter([head]), key), b"")
        if is_error_output(content):
            return error_output(unpacked(chunks, key)) if source.replays_error_output else None
        return framed(source.framing, chunks, key)

    def _give_up(self, key: str, reason: str) -> Tally:
        """Notes that an object failed as a whole: it stages nothing, and what was published of it stays."""
        self._patience.persistently(lambda: self._note_failure(key, reason))
        return Tally.of_failed(key, reason)

    def _note_failure(self, key: str, reason: str) -> None:
        self._unstage(key)
        with self._errors(key) as errors:
            errors.add_object(reason)

    def _unstage(self, key: str) -> None:
        """Takes back what an attempt has staged that was cut off after it: a failed object publishes nothing."""
        self._storage.remove(self._run.settings.destination.bucket, self._staged(key))

    def _staged(self, key: str) -> str:
        return self._run.staged_key(self._call, self._layout.output_name(key))

    def _errors(self, key: str) -> Errors:
        destination = self._run.settings.destination
        name = self._layout.output_name(key)
        return Errors(
            self._storage,
            destination.bucket,
            destination.errors_prefix + name,
            key,
            result=destination.prefix + name,
            run=self._run,
        )

    def _transform(self, key: str) -> Transform:
        function, source = self._run.settings.function, self._run.settings.source
        if function.contract is Contract.LAMBDA_ACTIVITY:
            return LambdaActivity(self._in_time.invoke)
        return FirehoseTransformation(
            self._in_time.invoke,
            stream_arn=function.stream_arn,
            region=function.arn.split(":")[3],
            arrived=self._arrived(key),
            source=f"s3://{source.bucket}/{key}",
            framing=function.result_framing,
        )

    def _arrived(self, key: str) -> datetime:
        """When the object's oldest message arrived, as far as is known: the same whenever the object is replayed."""
        if interval := self._layout.interval(key):
            return interval[0]
        found = self._storage.look_at(self._run.settings.source.bucket, key)
        return found.last_modified if found else datetime.fromisoformat(self._run.started)


def _counted(chunks: Iterable[bytes], tally: Tally) -> Iterator[bytes]:
    for chunk in chunks:
        tally.bytes_in += len(chunk)
        yield chunk
