"""The second step: a work item's objects, transformed one after the other into one staged result each.

Nothing of what earlier runs have published is touched: a result is staged when it is complete or not at all, and
published when the whole run has gone well. What could not be replayed goes to the errors prefix with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from archive_replay.errors import Errors
from archive_replay.faults import FunctionFailed, ObjectFailure, ReplayStopped, Throttled
from archive_replay.layouts import layout_of
from archive_replay.notes import Note
from archive_replay.reading import JsonLines, Reader, gunzipped
from archive_replay.settings import Contract, Run, WorkItem
from archive_replay.storage import Storage
from archive_replay.tally import Tally
from archive_replay.transforms import (
    FirehoseTransformation,
    Invoke,
    LambdaActivity,
    Search,
    Transform,
    outcomes,
)

MARGIN_SECONDS = 60.0
"""Time kept for what boto3 repeats and for writing down what was done, before Lambda ends the function."""

Remaining = Callable[[], float]
"""Seconds until Lambda ends the function."""


class OutOfTime(Exception):
    """The function ends before the object does; the text says why."""


class NoResult(Exception):
    """The object's messages failed: all of them, or one where none may, and the rest cannot change that."""


class InTime:
    """Does what there is time for, and raises `OutOfTime` before Lambda would end the function.

    A call of the user's function may take as long as the longest one so far did: a worker that is ended loses all that
    is left of its work item, one that stops leaves it to the next call.

    Args:
        remaining: Tells the time left.
        invoke: Calls the user's function.
    """

    def __init__(self, remaining: Remaining, invoke: Invoke) -> None:
        self._remaining = remaining
        self._invoke = invoke
        self._longest = 0.0
        self._failure = ""

    def chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, one after the other."""
        for chunk in chunks:
            self._check(MARGIN_SECONDS)
            yield chunk

    def invoke(self, payload: bytes) -> bytes:
        """What the user's function gives for the payload."""
        before = self._check(MARGIN_SECONDS + self._longest)
        try:
            return self._invoke(payload)
        except FunctionFailed as error:
            self._failure = f"; your function failed last with {error}"
            raise
        finally:
            self._longest = max(self._longest, before - self._remaining())

    def _check(self, seconds: float) -> float:
        left = self._remaining()
        if left < seconds:
            raise OutOfTime(
                f"takes longer than a function may run: it is too large, or your function too slow{self._failure}"
            )
        return left


class Worker:
    """Replays work items of one run.

    Args:
        run: The execution.
        storage: Archive and destination.
        invoke: Calls the user's function.
        now: Tells the time.
        call: The id of this call of the worker.
    """

    reader: Reader = JsonLines()

    def __init__(
        self, run: Run, storage: Storage, invoke: Invoke, *, now: Callable[[], datetime], call: str
    ) -> None:
        self._now = now
        self._call = call
        self._run = run
        self._storage = storage
        self._invoke = invoke
        self._layout = layout_of(run.settings.source)
        self._search = Search()

    def replay(self, item: WorkItem, *, remaining: Remaining) -> WorkItem:
        """Replays as many of a work item's objects as there is time for.

        Args:
            item: The objects.
            remaining: Tells the time left.

        Returns:
            What is left for the next call: no keys when it is done.

        Raises:
            ReplayStopped: Nothing can be replayed, or more has failed than is tolerated.
            Throttled: The work item should be repeated later.
        """
        tallies: dict[str, Tally] = {}
        tally, stopped = Tally(), ""
        in_time = InTime(remaining, self._invoke)
        try:
            for key in item.keys:
                try:
                    tallies[key] = self._replay(key, in_time)
                except (OutOfTime, Throttled) as error:
                    if tallies:
                        break  # what is done stays done, and the next call begins with this one
                    if isinstance(error, Throttled):
                        raise
                    tallies[key] = self._give_up(key, str(error))
                tally.add(tallies[key])
                if self._verdict(tally):
                    break
        except ReplayStopped as error:
            stopped = str(error)
            tallies[key] = Tally.of_failed(key, stopped)
        self._note(item, tallies, stopped)
        return item.without(tallies)

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
        note = Note(self._now().isoformat(), stopped, tallies)
        note.write(self._storage, self._run, item, call=self._call)
        tally = Tally()
        for each in tallies.values():
            tally.add(each)
        if stopped:
            raise ReplayStopped(stopped)
        if verdict := self._verdict(tally):
            raise ReplayStopped(verdict)

    def _verdict(self, tally: Tally) -> str:
        """Why the run fails, whatever the other workers do; an empty text while that is open."""
        if self._run.exceeds_tolerance(tally.failed_objects, self._run.objects):
            return "more objects failed than are tolerated"
        if tally.messages_failed and self._is_strict:
            return "messages failed and none is tolerated"
        return ""

    @property
    def _is_strict(self) -> bool:
        return not self._run.settings.tolerated_failure_percentage

    def _replay(self, key: str, in_time: InTime) -> Tally:
        """Replays one object: afterwards its result is staged whole and its errors are noted, or only those."""
        settings = self._run.settings
        tally = Tally(objects=1)
        transform = self._transform(key, in_time.invoke)
        with self._errors(key) as errors:

            def reject(number: int, text: bytes, reason: str) -> None:
                errors.add_unreadable(number, text, reason)
                if self._is_strict:
                    raise NoResult

            try:
                with self._storage.upload(
                    settings.destination.bucket,
                    self._staged(key),
                    run=self._run,
                    shared=False,
                ) as results:
                    chunks = _counted(self._storage.read(settings.source.bucket, key), tally)
                    for batch in self.reader.batches(
                        in_time.chunks(gunzipped(chunks)),
                        size=settings.function.batch_size,
                        reject=reject,
                    ):
                        for outcome in outcomes(transform, batch, self._search):
                            results.write(outcome.data)
                            tally.messages_in += outcome.messages
                            tally.messages_out += outcome.count
                            tally.messages_dropped += outcome.dropped
                            for failure in outcome.failures:
                                errors.add(failure.number, failure.message, failure.reason)
                            if self._is_strict and errors.tally.messages_failed:
                                raise NoResult
                    failed = errors.tally.messages_failed
                    # An empty result would replace what an earlier run made of these messages.
                    if failed and (self._is_strict or failed == tally.messages_in + errors.unreadable):
                        raise NoResult  # so that nothing is staged
                tally.bytes_out = results.written
            except NoResult:
                self._unstage(key)
                tally.failed_objects = 0 if self._is_strict else 1
            except ObjectFailure as error:
                self._unstage(key)
                errors.add_object(str(error))
                return Tally.of_failed(key, str(error), bytes_in=tally.bytes_in)
        tally.messages_in += errors.unreadable
        tally.add(errors.tally)
        return tally

    def _give_up(self, key: str, reason: str) -> Tally:
        self._unstage(key)
        with self._errors(key) as errors:
            errors.add_object(reason)
        return Tally.of_failed(key, reason)

    def _unstage(self, key: str) -> None:
        """Takes back what an attempt has staged that was cut off after it: a failed object publishes nothing."""
        self._storage.remove(self._run.settings.destination.bucket, self._staged(key))

    def _staged(self, key: str) -> str:
        return self._run.staged_prefix + self._layout.output_name(key)

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

    def _transform(self, key: str, invoke: Invoke) -> Transform:
        function = self._run.settings.function
        if function.contract is Contract.LAMBDA_ACTIVITY:
            return LambdaActivity(invoke)
        interval = self._layout.interval(key)
        stream = self._layout.stream(key) or "archive"
        _, partition, _, region, account, *_ = function.arn.split(":")
        return FirehoseTransformation(
            invoke,
            stream_arn=f"arn:{partition}:firehose:{region}:{account}:deliverystream/{stream}",
            region=region,
            arrived=interval[0] if interval else datetime.fromisoformat(self._run.started),
            key=key,
        )


def _counted(chunks: Iterable[bytes], tally: Tally) -> Iterator[bytes]:
    for chunk in chunks:
        tally.bytes_in += len(chunk)
        yield chunk
