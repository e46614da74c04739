"""Reprocessing runs: each reads a channel's archive in a thread of its own and writes a data store.

What the service left open, and what happens here:

- Several runs of one pipeline may go on at once. None of them replaces or de-duplicates what was written before.
- A run keeps to the activities that the pipeline had when it was started.
- A message that an activity cannot process is counted, logged and left out; the run goes on. A run ends FAILED if an object
  cannot be read or written, or if it was told to fail.
- A cancelled run stops between two objects; what it has written stays.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from local_aws.iot_analytics.activities import Steps
from local_aws.iot_analytics.archive import ArchiveObject, ChannelArchive, Selection
from local_aws.iot_analytics.data_store import DataStoreFiles
from local_aws.iot_analytics.errors import not_found
from local_aws.iot_analytics.messages import Message
from local_aws.iot_analytics.storage import StorageError

RUNNING, SUCCEEDED, CANCELLED, FAILED = "RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"

# How many objects are read ahead of the one in work, and written behind it. Storage is the slow part.
_AHEAD = 8
_CONNECTIONS = 4

# A cancel answers when the run has stopped, or after this time if its object in work takes longer.
_CANCEL_SECONDS = 10

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """One reprocessing run and how far it is.

    Args:
        id: Its reprocessing id.
        pipeline: The pipeline's name.
        created: When it was started.
        status: RUNNING, SUCCEEDED, CANCELLED or FAILED.
        reason: Why it failed.
        objects: How many archive objects are selected; None until they are listed.
        objects_done: How many of them are through.
        messages_read: The messages in them.
        messages_written: The messages now in the data store.
        messages_dropped: The messages that a filter has let fall.
        messages_failed: The messages that an activity could not process.
        failures: Why, the first few.
    """

    id: str
    pipeline: str
    created: datetime
    status: str = RUNNING
    reason: str | None = None
    objects: int | None = None
    objects_done: int = 0
    messages_read: int = 0
    messages_written: int = 0
    messages_dropped: int = 0
    messages_failed: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """What a run is to do."""

    steps: Steps
    archive: ChannelArchive
    selection: Selection
    files: DataStoreFiles


@dataclass
class Misfortune:
    """A failure that is to befall runs.

    Args:
        pipeline: Only runs of this pipeline, or None for any.
        run: Only the run with this id, or None for any.
        after_objects: How many objects a run gets through before.
        reason: What is reported.
        times: How many runs it befalls.
    """

    pipeline: str | None = None
    run: str | None = None
    after_objects: int = 0
    reason: str = "told to fail"
    times: int = 1

    def befalls(self, run: Run) -> bool:
        """Whether the run is due to fail now."""
        return (
            self.times > 0
            and self.pipeline in {None, run.pipeline}
            and self.run in {None, run.id}
            and run.objects_done >= self.after_objects
        )


@dataclass
class Pace:
    """How runs go on.

    Args:
        seconds_per_object: How long a run waits before each object, so that there is something to watch.
        hold: Whether runs stand still before their next object.
        keep_summaries: How many runs of a pipeline DescribePipeline tells about, the newest ones. How many the service
            kept is unknown.
    """

    seconds_per_object: float = 0.0
    hold: bool = False
    keep_summaries: int = 100


class _Cancelled(Exception):
    """The run is to stop."""


class _Failed(Exception):
    """The run is to fail; the text says why."""


@dataclass
class _Thread:
    run: Run
    work: Work
    cancelled: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class Runs:
    """All runs there are.

    Args:
        now: The clock.
        new_id: A new reprocessing id each time.
    """

    def __init__(self, now: Callable[[], datetime], new_id: Callable[[], str]) -> None:
        self._now = now
        self._new_id = new_id
        self._threads: dict[str, _Thread] = {}
        self._misfortunes: list[Misfortune] = []
        self._pace = Pace()
        # Guards all of it, and wakes the runs that wait.
        self._changed = threading.Condition()

    def start(self, pipeline: str, work: Work) -> Run:
        """Starts a run and returns at once."""
        run = Run(id=self._new_id(), pipeline=pipeline, created=self._now())
        thread = _Thread(run, work)
        with self._changed:
            self._threads[run.id] = thread
        threading.Thread(target=self._go, args=(thread,), name=f"run {run.id}", daemon=True).start()
        return run

    def cancel(self, pipeline: str, run_id: str) -> None:
        """Stops a run. One that has ended stays as it is.

        Raises:
            ServiceError: ResourceNotFoundException if the pipeline has no such run.
        """
        thread = self._threads.get(run_id)
        if thread is None or thread.run.pipeline != pipeline:
            raise not_found("reprocessing", run_id)
        self._stop([thread])

    def forget(self, pipeline: str) -> None:
        """Stops the runs of a pipeline that is being deleted, and drops them."""
        with self._changed:
            its = [thread for thread in self._threads.values() if thread.run.pipeline == pipeline]
        self._stop(its)
        with self._changed:
            for thread in its:
                self._threads.pop(thread.run.id, None)

    def stop(self) -> None:
        """Stops all runs, at the server's end."""
        with self._changed:
            threads = list(self._threads.values())
        self._stop(threads)

    def all(self) -> list[Run]:
        """Every run, the oldest first."""
        with self._changed:
            return [thread.run for thread in self._threads.values()]

    def summarised(self, pipeline: str) -> list[Run]:
        """The runs that DescribePipeline tells about, the newest first."""
        runs = [run for run in self.all() if run.pipeline == pipeline]
        return runs[::-1][: self._pace.keep_summaries]

    @property
    def pace(self) -> Pace:
        """How runs go on."""
        return self._pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        with self._changed:
            self._pace = pace
            self._changed.notify_all()

    def befall(self, misfortune: Misfortune) -> None:
        """Makes a run fail that goes on now, or one that is still to come."""
        with self._changed:
            self._misfortunes.append(misfortune)
            self._changed.notify_all()

    def spare(self) -> None:
        """Takes back all failures that have not happened."""
        with self._changed:
            self._misfortunes.clear()

    def _stop(self, threads: Sequence[_Thread]) -> None:
        with self._changed:
            for thread in threads:
                thread.cancelled = True
            self._changed.notify_all()
        for thread in threads:
            thread.ended.wait(_CANCEL_SECONDS)

    def _go(self, thread: _Thread) -> None:
        run = thread.run
        status, reason = SUCCEEDED, None
        try:
            self._process(thread)
        except _Cancelled:
            status = CANCELLED
        except (_Failed, StorageError) as error:
            status, reason = FAILED, str(error)
        except Exception as error:  # noqa: BLE001  # a run that died must not be reported as running for ever
            _log.exception("run %s of pipeline %s broke", run.id, run.pipeline)
            status, reason = FAILED, f"{type(error).__name__}: {error}"
        with self._changed:
            run.reason = reason
            run.status = status
        _log.info("run %s of pipeline %s: %s %s", run.id, run.pipeline, status, reason or "")
        thread.ended.set()

    def _process(self, thread: _Thread) -> None:
        run, work = thread.run, thread.work
        objects = work.archive.objects(work.selection)
        with self._changed:
            run.objects = len(objects)
        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix=f"run {run.id}") as pool:
            reads: deque[tuple[ArchiveObject, Future[list[Message]]]] = deque()
            writes: deque[Future[None]] = deque()
            unread = iter(objects)
            try:
                for _ in range(len(objects)):
                    while len(reads) < _AHEAD and (ahead := next(unread, None)):
                        reads.append((ahead, pool.submit(work.archive.read, ahead)))
                    self._checkpoint(thread)
                    source, messages = reads.popleft()
                    self._one(thread, source, messages.result(), pool, writes)
                    while len(writes) > _AHEAD:
                        writes.popleft().result()
                while writes:
                    writes.popleft().result()
                self._checkpoint(thread)
            finally:
                for _, read in reads:
                    read.cancel()

    def _one(
        self,
        thread: _Thread,
        source: ArchiveObject,
        messages: Sequence[Message],
        pool: ThreadPoolExecutor,
        writes: deque[Future[None]],
    ) -> None:
        run, work = thread.run, thread.work
        batch = work.steps.process(messages)
        for reason in batch.reasons:
            _log.warning("run %s, %s: %s", run.id, source.key, reason)
        if batch.messages:
            writes.append(pool.submit(work.files.write, batch.messages, source=source, run=run.id))
        with self._changed:
            run.objects_done += 1
            run.messages_read += len(messages)
            run.messages_written += len(batch.messages)
            run.messages_dropped += batch.dropped
            run.messages_failed += batch.failed
            run.failures += batch.reasons[: max(0, 10 - len(run.failures))]

    def _checkpoint(self, thread: _Thread) -> None:
        """Waits as long as it has to, before each object and before the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._interrupted(thread), timeout=self._pace.seconds_per_object)
            self._changed.wait_for(lambda: self._interrupted(thread) or not self._pace.hold)
            self._interrupted(thread)

    def _interrupted(self, thread: _Thread) -> bool:
        if thread.cancelled:
            raise _Cancelled
        for misfortune in self._misfortunes:
            if misfortune.befalls(thread.run):
                misfortune.times -= 1
                raise _Failed(misfortune.reason)
        return False
