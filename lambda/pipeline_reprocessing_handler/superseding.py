"""What earlier requests of a resource have begun: kept from starting, found, and told apart from what is to stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from .aws import Clock
from .ledger import LISTED_WITHIN, SUPERSEDING, Ledger
from .marks import Marks
from .pipelines import Pipeline
from .request import Request
from .starting import LEASE, find_unseen, made_at


class EarlierRequests:
    """The requests to one resource that came before this one, as the ledger knows them.

    Args:
        request: This one.
        ledger: The marks of this resource.
        clock: What time it is.
    """

    def __init__(self, request: Request, ledger: Ledger, clock: Clock) -> None:
        self._request = request
        self._ledger = ledger
        self._clock = clock

    def supersede(self, *, may_be_starting: bool) -> None:
        """From now on no request made before this one starts a run.

        Args:
            may_be_starting: Whether one may be just about to. Then this takes until it has seen this request's mark
                before it starts, or what it has claimed is seen by this request.
        """
        made = made_at(self._request, self._ledger.marks(self._request.request_id))
        self._ledger.mark(SUPERSEDING, f"{made:.3f}={self._request.request_id}")
        if may_be_starting:
            # A claim that was made less than LISTED_WITHIN after that mark may not have seen it, and is seen late itself.
            self._clock.sleep(2 * LISTED_WITHIN.total_seconds())

    def runs_for_the_same(self) -> frozenset[str]:
        """The runs that were started for just what this request asks for, too."""
        requests = self._ledger.requests().values()
        runs = (marks.run for marks in requests if marks.asks_for == self._request.asks_for)
        return frozenset(run_id for run_id in runs if run_id)

    def asked_at(self, run_id: str) -> datetime:
        """When the request was made that started the run; where nobody knows, this one."""
        for marks in self._ledger.requests().values():
            if f"run={run_id}" in marks and marks.asked_at is not None:
                return datetime.fromtimestamp(marks.asked_at, UTC)
        return self._request.requested_at

    def left_behind(self, pipeline: Pipeline | None, *, unrecorded_only: bool = False) -> list[str]:
        """The runs of earlier requests that may still go on.

        Args:
            pipeline: Where to look for runs that were started and not recorded; None does not look.
            unrecorded_only: Leaves out those that were recorded.
        """
        request, requests = self._request, self._ledger.requests()
        made = made_at(request, requests.get(request.request_id, Marks()))
        started = {
            request_id: marks
            for request_id, marks in requests.items()
            if request_id != request.request_id
            and marks.is_claimed
            and (marks.asked_at or 0) <= made
            and not (unrecorded_only and marks.run)
        }
        run_ids = []
        for request_id, marks in started.items():
            is_open = not marks.is_answered or (marks.open_since and not marks.run)
            # of the answered ones only the newest can still go on
            if is_open or request_id == list(started)[-1]:
                if pipeline:
                    run_ids.append(self._settle(replace(request, request_id=request_id), marks, pipeline))
                else:
                    run_ids.append(marks.run)
        return [run_id for run_id in run_ids if run_id]

    def _settle(self, request: Request, marks: Marks, pipeline: Pipeline) -> str | None:
        """The run that an earlier request has started, once nothing of it is under way any more."""
        while True:
            if marks.run:
                return marks.run
            claimed = marks.open_since
            if claimed is None:
                return None
            if self._clock.now() >= claimed + LEASE:
                return find_unseen(
                    pipeline, request, marks.bookmark or "", self._ledger, until=claimed + LEASE
                )
            self._clock.sleep(2.0)
            marks = self._ledger.marks(request.request_id)
