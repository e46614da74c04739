"""Exactly one start for each request, of an API that knows no client token.

The holder of the claim `start-<n>` may send a start until its lease ends. If no run has turned up by then, the next
invocation takes `start-<n+1>`, looks for a run first, and starts another only if there is none. `free-<n>` says that no
run will come of a claim. A run is found by comparing with the bookmark: the newest runs before the first start was sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Protocol

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Conflict, Fault, Unclear, Unreachable
from pipeline_reprocessing_handler.clients import READ_TIMEOUT
from pipeline_reprocessing_handler.invocation import START_BY, Invocation
from pipeline_reprocessing_handler.ledger import LISTED_WITHIN, Ledger, Record
from pipeline_reprocessing_handler.validation import Failure

log = logging.getLogger(__name__)

SEND_FOR = timedelta(seconds=60)
"""How long the holder of a claim goes on trying to start."""
WATCH = timedelta(seconds=30)
"""How long a run may take to show up after a start without a clear answer."""
LEASE = SEND_FOR + WATCH + timedelta(seconds=2 * READ_TIMEOUT)
"""After this nothing that the holder of a claim has sent is still under way."""


class Starts(Protocol):
    """What an API without a client token offers."""

    def bookmark(self) -> str: ...

    def newer_runs(self, bookmark: str, until: datetime | None = None) -> list[str]: ...

    def send_start(self, request: Invocation) -> str: ...


class _InDoubt(Failure):
    """Whether a run was started is not known."""


class StartOnce:
    """The start of one request's run, beside those of other invocations and requests.

    Args:
        pipeline: What to start.
        ledger: The notes and claims of the request.
        aws: The clock, and how long to be patient.
    """

    def __init__(self, pipeline: Starts, ledger: Ledger, aws: Aws) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._aws = aws
        self._clock = aws.clock

    def start(self, request: Invocation, still_wanted: Callable[[], Record]) -> str:
        """The run of the request, started by this call or by an earlier one.

        Raises:
            Failure: It cannot be started, or is no longer wanted.
            Fault: AWS does not answer.
        """
        bookmark = None
        for attempt in count(1):
            # The claim comes first, so that a later request that reads no claim knows: what is claimed after that
            # reading sees the later request, and ends.
            has_claim = self._ledger.claim(f"start-{attempt}")
            claimed_at = self._clock.now()
            try:
                record = still_wanted()
                start_by = record.made_at + START_BY
                run_id = record.said("run")
                if not run_id and claimed_at >= start_by:
                    # An invocation that came to its end may have sent a start that nothing else would find any more.
                    sent = record.said("before")
                    run_id = self._find(sent, request.request_id) if sent else None
                    if not run_id:
                        raise request.failure("the run could not be started in time")
                if not run_id and has_claim:
                    # A note that was just made may be missing from the next reading.
                    bookmark = record.said("before") or bookmark or self._note_bookmark()
                    if self._clock.now() > claimed_at + LISTED_WITHIN:
                        still_wanted()  # the bookmark has taken long
                    until = min(claimed_at + SEND_FOR, start_by)
                    run_id = self._send(request, bookmark, attempt, until, still_wanted)
            except _InDoubt:
                raise
            except (Failure, Fault):
                if has_claim:
                    self._release(attempt)
                raise
            if run_id:
                self._note_run(run_id)
                return run_id
            if has_claim:
                self._release(attempt)
            else:
                claimed_at = self._ledger.claims(request.request_id).get(f"start-{attempt}", claimed_at)
                until = min(claimed_at + LEASE, start_by)
                while self._clock.now() < until and not still_wanted().said("run"):
                    self._clock.sleep(2.0)
        raise AssertionError("unreachable: the claims have no end")

    def settle(self, record: Record) -> str | None:
        """The run that another request has started, once nothing of its start is under way any more."""
        if record.is_answered and not (record.said("run") or record.said("before")):
            return None  # it has never sent a start
        while not (run_id := record.said("run")):
            claimed_at = _open_since(self._ledger.claims(record.request_id))
            if claimed_at is None:
                return None
            if self._clock.now() >= claimed_at + LEASE:
                bookmark = record.said("before")
                # without a bookmark no start was sent
                return bookmark and self._find(bookmark, record.request_id, until=claimed_at + LEASE)
            self._clock.sleep(2.0)
            others = self._ledger.read().others
            record = next((each for each in others if each.request_id == record.request_id), record)
        return run_id

    def _send(
        self,
        request: Invocation,
        bookmark: str,
        attempt: int,
        until: datetime,
        still_wanted: Callable[[], Record],
    ) -> str | None:
        """The run, started or found; None if the claim ended without one."""
        if attempt > 1 and (run_id := self._find(bookmark, request.request_id)):
            return run_id
        fault: Fault | None = None
        for pause in self._aws.pauses():
            if fault:
                still_wanted()
            if self._clock.now() >= until:  # the ledger may have taken so long that the claim is another's
                break
            try:
                return self._pipeline.send_start(request)
            except Fault as trouble:
                # what is in doubt may have started a run, and is looked for however late it is
                in_doubt = isinstance(trouble, Unclear) and not isinstance(trouble, Unreachable)
                if not (in_doubt or isinstance(trouble, Conflict) or self._aws.may_pass(trouble)):
                    raise
                log.warning("the run is not started yet: %s", trouble)
                fault = trouble
            may_have_started = isinstance(fault, Unclear) and not isinstance(fault, Unreachable)
            if may_have_started and (run_id := self._look_for_run(request, bookmark)):
                return run_id
            self._clock.sleep(min(pause, max((until - self._clock.now()).total_seconds(), 0.0)))
        if fault and not self._aws.may_pass(fault):
            raise fault
        return None

    def _look_for_run(self, request: Invocation, bookmark: str) -> str | None:
        until = self._clock.now() + WATCH
        while True:
            try:
                run_id, fault = self._find(bookmark, request.request_id), None
            except Fault as unseen:
                run_id, fault = None, unseen
            if run_id:
                return run_id
            if self._clock.now() >= until:
                break
            self._clock.sleep(2.0)
        if fault:
            doubt = f"whether the run was started is not known, so it is not started again: {fault}"
            raise _InDoubt(str(request.failure(doubt))) from fault
        return None

    def _find(self, bookmark: str, request_id: str, until: datetime | None = None) -> str | None:
        """The run that a request has started unseen; none that another request has noted as its own."""
        newer = self._pipeline.newer_runs(bookmark, until)
        return next((run_id for run_id in newer if self._ledger.owners(run_id) <= {request_id}), None)

    def _note_bookmark(self) -> str:
        bookmark = self._pipeline.bookmark()
        self._ledger.note(f"before~{bookmark}")
        return bookmark

    def _note_run(self, run_id: str) -> None:
        try:
            self._ledger.note(f"run~{run_id}")
            self._ledger.own_run(run_id)
        except Fault as fault:
            # the continuation carries it all the same
            log.warning("run '%s' is not recorded: %s", run_id, fault)

    def _release(self, attempt: int) -> None:
        """Says that no run will come of a claim; otherwise other requests wait for it in vain."""
        try:
            self._ledger.claim(f"free-{attempt}")
        except Fault as fault:
            log.warning("the claim is not released: %s", fault)


def _open_since(claims: Mapping[str, datetime]) -> datetime | None:
    """When the newest claim was taken of which a run may still come."""
    taken = (
        claimed_at
        for claim, claimed_at in claims.items()
        if claim.startswith("start-") and f"free-{claim.removeprefix('start-')}" not in claims
    )
    return max(taken, default=None)
