"""Exactly one start for each request, however often it comes and wherever it is interrupted.

A start leaves marks in the ledger before and after it is sent, and whoever comes second reads them:

    made=<time>~<..>  when the request was made, which may be long before it arrives, and what it asks for, as a digest
    run=<id>          somebody started a run and said so: adopt it
    start-<n>         somebody holds the right to start until LEASE is over; then, if no run has turned up,
                      the next one takes start-<n+1>
    free-<n>          the holder of that claim has given it up, and no run will come of it
    before=<bookmark> what the pipeline's newest run was before anybody started one: tells new from old
    answer-sent       CloudFormation has its answer
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from .aws import READ_TIMEOUT, Clock
from .faults import Conflict, Fault, Throttled, Unclear
from .ledger import LISTED_WITHIN, SUPERSEDING, Ledger
from .pipelines import Pipeline, end_run
from .request import Failure, Request

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
            ledger.mark(request.request_id, f"made={self._made(marks):.3f}~{request.asks_for}")
        # A mark that was just made may be missing from the next reading, so what it says is kept here, too.
        bookmark = _after("before=", marks)
        if bookmark is None:
            bookmark = self._pipeline.bookmark()
            ledger.mark(request.request_id, f"before={bookmark}")
        for attempt in count(1):
            marks = ledger.marks(request.request_id)
            if run_id := _after("run=", marks):
                return run_id
            if "answer-sent" in marks:
                raise request.failure("the request came again after it was answered; nothing is started")
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
                        _after("before=", marks) or bookmark,
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
        if not first and (run_id := self._find(self._pipeline, request, bookmark)):
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
                run_id, fault = self._find(self._pipeline, self._request, bookmark), None
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
        while self._clock.now() < until and not _after("run=", self._ledger.marks(self._request.request_id)):
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
        first = _after("run=", marks) or run_id
        if first != run_id:
            end_run(self._pipeline, run_id, request.cause("another run was started before"), self._clock)
        return first

    def supersede_earlier(self, *, may_be_starting: bool) -> None:
        """From now on no request made before this one starts a run.

        Args:
            may_be_starting: Whether one may be just about to. Then this takes until it has seen this request's mark
                before it starts, or what it has claimed is seen by this request.
        """
        made = self._made(self._ledger.marks(self._request.request_id))
        self._ledger.mark(SUPERSEDING, f"{made:.3f}={self._request.request_id}")
        if may_be_starting:
            # A claim that was made less than LISTED_WITHIN after that mark may not have seen it, and is seen late itself.
            self._clock.sleep(2 * LISTED_WITHIN.total_seconds())

    def _is_superseded(self, marks: Mapping[str, datetime]) -> bool:
        """Whether a request made after this one has said so."""
        later = (mark.partition("=") for mark in self._ledger.marks(SUPERSEDING))
        made = self._made(marks)
        return any(float(when) > made for when, _, by in later if by != self._request.request_id)

    def _made(self, marks: Mapping[str, datetime]) -> float:
        """When this request was made; its marks know better where the event does not tell."""
        said = [_asked_at({mark: made}) for mark, made in marks.items() if mark.startswith("made=")]
        marked = [made.timestamp() for made in marks.values()]
        return min([self._request.requested_at.timestamp(), *said, *marked])

    def runs_for_the_same(self) -> frozenset[str]:
        """The runs that were started for just what this request asks for, too."""
        requests = self._ledger.requests().values()
        runs = (_after("run=", marks) for marks in requests if _asks_for(marks) == self._request.asks_for)
        return frozenset(run_id for run_id in runs if run_id)

    def asked_at(self, run_id: str) -> datetime:
        """When the request was made that started the run; where nobody knows, this one."""
        for marks in self._ledger.requests().values():
            if f"run={run_id}" in marks:
                return datetime.fromtimestamp(_asked_at(marks), UTC)
        return self._request.requested_at

    def left_behind(self, pipeline: Pipeline | None, *, unrecorded_only: bool = False) -> list[str]:
        """The runs of earlier requests that may still go on.

        Args:
            pipeline: Where to look for runs that were started and not recorded; None does not look.
            unrecorded_only: Leaves out those that were recorded.
        """
        request, requests = self._request, self._ledger.requests()
        made = self._made(requests.get(request.request_id, {}))
        started = {
            request_id: marks
            for request_id, marks in requests.items()
            if request_id != request.request_id
            and any(map(_is_claim, marks))
            and _asked_at(marks) <= made
            and not (unrecorded_only and _after("run=", marks))
        }
        run_ids = []
        for request_id, marks in started.items():
            is_open = "answer-sent" not in marks or (_open_claim(marks) and not _after("run=", marks))
            # of the answered ones only the newest can still go on
            if is_open or request_id == list(started)[-1]:
                if pipeline:
                    run_ids.append(self._settle(replace(request, request_id=request_id), marks, pipeline))
                else:
                    run_ids.append(_after("run=", marks))
        return [run_id for run_id in run_ids if run_id]

    def _settle(self, request: Request, marks: Mapping[str, datetime], pipeline: Pipeline) -> str | None:
        """The run that an earlier request has started, once nothing of it is under way any more."""
        while True:
            if run_id := _after("run=", marks):
                return run_id
            claimed = _open_claim(marks)
            if claimed is None:
                return None
            if self._clock.now() >= claimed + LEASE:
                return self._find(pipeline, request, _after("before=", marks) or "", until=claimed + LEASE)
            self._clock.sleep(2.0)
            marks = self._ledger.marks(request.request_id)

    def _find(
        self, pipeline: Pipeline, request: Request, bookmark: str, until: datetime | None = None
    ) -> str | None:
        """The run that the request has started unseen; none that another request has recorded as its own."""
        if not pipeline.find(request, bookmark, until=until):
            return None  # as nearly always, and the ledger is long
        others = self._ledger.recorded_runs(besides=request.request_id)
        return pipeline.find(request, bookmark, until=until, others=others)


def _after(prefix: str, marks: Mapping[str, datetime]) -> str | None:
    """What the oldest mark of that kind says."""
    return next((mark.removeprefix(prefix) for mark in marks if mark.startswith(prefix)), None)


def _asked_at(marks: Mapping[str, datetime]) -> float:
    return float((_after("made=", marks) or "0").partition("~")[0])


def _asks_for(marks: Mapping[str, datetime]) -> str:
    return (_after("made=", marks) or "").partition("~")[2]


def _open_claim(marks: Mapping[str, datetime]) -> datetime | None:
    """When the newest claim was made of which a run may still come."""
    claims = {mark: made for mark, made in marks.items() if _is_claim(mark)}
    return max((made for mark, made in claims.items() if f"free-{mark[6:]}" not in marks), default=None)


def _is_claim(mark: str) -> bool:
    return mark.startswith("start-")
