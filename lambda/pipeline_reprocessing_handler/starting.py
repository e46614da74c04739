"""Exactly one start for each request, however often it comes and wherever it is interrupted: see `marks`."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from itertools import count

from .aws import READ_TIMEOUT, Clock
from .aws_errors import Conflict, Fault, Throttled, Unclear
from .ledger import SUPERSEDING, Ledger
from .marks import Marks
from .pipelines import Pipeline, end_run
from .request import Request
from .validation import Failure

log = logging.getLogger(__name__)

START_BY = timedelta(minutes=4)
"""After the request: later than this no run is started, so that the answer still arrives in time."""
SEND_FOR = timedelta(seconds=60)
"""How long the holder of a claim goes on trying to start."""
WATCH = timedelta(seconds=30)
"""How long a run may take to show up after a start without a clear answer."""
LEASE = SEND_FOR + WATCH + timedelta(seconds=2 * READ_TIMEOUT)
"""After this nothing that the holder of a claim has sent is still under way."""


class _InDoubt(Failure):
    """Whether a run was started is not known."""


class Starting:
    """The start of one request's run, beside those of the resource's other requests.

    Args:
        request: What CloudFormation wants.
        ledger: The marks of this resource.
        pipeline: What to start.
        clock: What time it is.
    """

    def __init__(self, request: Request, ledger: Ledger, pipeline: Pipeline, clock: Clock) -> None:
        self._request = request
        self._ledger = ledger
        self._pipeline = pipeline
        self._clock = clock

    def once(self) -> str:
        """The run of this request, started by this call or by an earlier one.

        Raises:
            Failure: It cannot be started, or must not be any more.
            Fault: AWS does not answer.
        """
        request, ledger = self._request, self._ledger
        start_by = request.requested_at + START_BY
        marks = ledger.marks(request.request_id)
        if not marks:
            ledger.mark(request.request_id, f"made={made_at(request, marks):.3f}~{request.asks_for}")
        # A mark that was just made may be missing from the next reading, so what it says is kept here, too.
        bookmark = marks.bookmark
        if bookmark is None:
            bookmark = self._pipeline.bookmark()
            ledger.mark(request.request_id, f"before={bookmark}")
        for attempt in count(1):
            marks = ledger.marks(request.request_id)
            if marks.is_answered:
                raise request.failure("the request came again after it was answered; nothing is done")
            if marks.run:
                return marks.run
            if self._is_superseded(marks):
                raise self._request.failure("superseded before its run was started, by a later request")
            now = self._clock.now()
            if now >= start_by:
                raise self._request.failure(
                    f"the run could not be started within {START_BY.seconds // 60} minutes of the request"
                )
            claim = f"start-{attempt}"
            if claim not in marks and ledger.mark(request.request_id, claim):
                try:
                    run_id = self._start(
                        marks.bookmark or bookmark,
                        first=attempt == 1,
                        until=min(now + SEND_FOR, start_by),
                    )
                except _InDoubt:
                    raise
                except (Failure, Fault):
                    self._release(attempt)
                    raise
                if run_id:
                    return self._record(run_id)
                self._release(attempt)
            else:
                claimed = marks.get(claim, now)
                self._wait_for_run_mark(until=min(claimed + LEASE, start_by))
        raise AssertionError("unreachable: the claims have no end")

    def _start(self, bookmark: str, *, first: bool, until: datetime) -> str | None:
        """The run, started or adopted; None if the claim ended without one."""
        request, clock = self._request, self._clock
        if not first and (run_id := self._find(bookmark)):
            return run_id
        pause, fault = 1.0, None
        while True:
            if self._is_superseded(self._ledger.marks(request.request_id)):
                raise request.failure("superseded before its run was started, by a later request")
            if clock.now() >= until:  # the ledger may have kept us waiting until the claim is another's
                break
            try:
                return self._pipeline.start(request)
            except (Throttled, Conflict, Unclear) as trouble:
                log.warning("the run is not started yet: %s", trouble)
                fault = trouble
            if isinstance(fault, Unclear) and (run_id := self._look_for_run(bookmark)):
                return run_id
            clock.sleep(min(pause, max((until - clock.now()).total_seconds(), 0.0)))
            pause = min(2 * pause, 15.0)
        if fault and clock.now() >= request.requested_at + START_BY:
            raise request.failure(f"the run could not be started: {fault}") from fault
        return None

    def _release(self, attempt: int) -> None:
        """Says that nothing comes of a claim any more; unsaid, it is waited for in vain."""
        try:
            self._ledger.mark(self._request.request_id, f"free-{attempt}")
        except Fault as fault:
            log.warning("the claim is not released: %s", fault)

    def _look_for_run(self, bookmark: str) -> str | None:
        until = self._clock.now() + WATCH
        while True:
            try:
                run_id, fault = self._find(bookmark), None
            except Fault as unseen:
                run_id, fault = None, unseen
            if run_id:
                return run_id
            if self._clock.now() >= until:
                break
            self._clock.sleep(2.0)
        if fault:
            doubt = f"whether the run was started is not known, so it is not started again: {fault}"
            raise _InDoubt(str(self._request.failure(doubt))) from fault
        return None

    def _wait_for_run_mark(self, *, until: datetime) -> None:
        while self._clock.now() < until and not self._ledger.marks(self._request.request_id).run:
            self._clock.sleep(2.0)

    def _record(self, run_id: str) -> str:
        request = self._request
        try:
            self._ledger.mark(request.request_id, f"run={run_id}")
            marks = self._ledger.marks(request.request_id)
            superseded = self._is_superseded(marks)
        except Fault as fault:
            # the continuation carries it all the same
            log.warning("run '%s' is not recorded: %s", run_id, fault)
            return run_id
        if superseded:
            end_run(self._pipeline, run_id, request.cause("superseded by a later request"), self._clock)
            raise self._request.failure("superseded while its run was started, by a later request", run_id)
        first = marks.run or run_id
        if first != run_id:
            end_run(self._pipeline, run_id, request.cause("another run was started before"), self._clock)
        return first

    def _find(self, bookmark: str) -> str | None:
        return find_unseen(self._pipeline, self._request, bookmark, self._ledger)

    def _is_superseded(self, marks: Marks) -> bool:
        """Whether a request made after this one has said so."""
        later = (mark.partition("=") for mark in self._ledger.marks(SUPERSEDING))
        made = made_at(self._request, marks)
        return any(float(when) > made for when, _, by in later if by != self._request.request_id)


def made_at(request: Request, marks: Marks) -> float:
    """When a request was made, in epoch seconds; its marks know better where the event does not tell."""
    said = request.requested_at.timestamp() if marks.asked_at is None else marks.asked_at
    return min([request.requested_at.timestamp(), said, *(made.timestamp() for made in marks.values())])


def find_unseen(
    pipeline: Pipeline, request: Request, bookmark: str, ledger: Ledger, until: datetime | None = None
) -> str | None:
    """The run that a request has started unseen; none that another request has recorded as its own."""
    if not pipeline.find(request, bookmark, until=until):
        return None  # as nearly always, and the ledger is long
    others = ledger.recorded_runs(besides=request.request_id)
    return pipeline.find(request, bookmark, until=until, others=others)
