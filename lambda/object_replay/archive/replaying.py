"""The second step: a work item's objects, transformed into one staged result each.

Nothing of what earlier runs have published is touched: a result is staged when it is complete or not at all, and
published when the whole run has gone well. What could not be replayed goes to the errors prefix with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

from object_replay.archive.batches import Batch, batches
from object_replay.archive.calls import Calls
from object_replay.archive.errors import Errors
from object_replay.archive.framing import Framed, error_output, framed, is_error_output
from object_replay.archive.json_values import Damaged
from object_replay.archive.transforms import (
    FirehoseTransformation,
    Invoke,
    LambdaActivity,
    Outcome,
    Search,
    Transform,
    outcomes,
)
from object_replay.compression import peeked, unpacked
from object_replay.faults import FunctionFailed, ObjectFailure, ReplayStopped, ResultUnknown, Throttled
from object_replay.layouts import layout_of
from object_replay.patience import MARGIN_SECONDS, Patience, Remaining
from object_replay.settings import Contract, Framing, Layout, Run, WorkItem
from object_replay.storage import Storage
from object_replay.tally import Tally
from object_replay.worker import Abandoned, Call, OutOfTime, Worker

_SKIPPED = (
    "was skipped: it is Firehose's error output, not messages; ErrorOutput.REPLAY replays the raw data in it"
)


class NoResult(Exception):
    """The object's messages failed: all of them, or one where none may, and the rest cannot change that."""


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
        except ResultUnknown as error:
            raise Throttled(str(error)) from error  # a second run does no harm: it gives the same result
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


class ArchiveWorker(Worker):
    """Transforms a work item's objects, and stages their results.

    Args:
        run: The execution.
        storage: Archive and destination.
        invoke: Calls the user's function.
        call: The call of the Lambda function.
    """

    def __init__(self, run: Run, storage: Storage, invoke: Invoke, call: Call) -> None:
        super().__init__(run, storage, call)
        self._in_time = InTime(self._remaining, invoke, self._patience, lambda: self._progress.is_ending)
        self._layout = layout_of(run.settings.source)
        self._search = Search()

    def _replay_all(self, item: WorkItem) -> None:
        at_once = self._run.settings.calls_per_worker
        with Calls(at_once) as calls, ThreadPoolExecutor(at_once) as threads:
            objects = [threads.submit(self._attempt, key, turn, calls) for turn, key in enumerate(item.keys)]
            for each in objects:
                each.result()

    def _attempt(self, key: str, turn: int, calls: Calls) -> None:
        """Replays one object, unless the call is closing, and records how that went."""
        progress = self._progress
        if progress.is_closing:
            return
        try:
            # What S3 throttles, or does not allow yet, begins anew; a throttled function does not.
            try:
                tally = self._patience.persistently(lambda: self._replay(key, turn, calls))
            except ObjectFailure as error:
                tally = self._give_up(key, str(error))
            self._record({key: tally})
        except Abandoned:
            return
        except (OutOfTime, Throttled) as error:
            self._record({}, {key: error})
        except ReplayStopped as error:
            self._record({key: Tally.of_failed(key, str(error))}, stopped=str(error))
        except BaseException:
            # The worker fails, and what the others do is lost.
            progress.is_closing = progress.is_ending = True
            raise

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
