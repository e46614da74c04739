"""What every kind of pipeline can do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pipeline_reprocessing_handler.aws import Clock
from pipeline_reprocessing_handler.invocation import Invocation
from pipeline_reprocessing_handler.ledger import Record

from .counts import Counts

log = logging.getLogger(__name__)

END_WITHIN = timedelta(minutes=1)
"""How long a cancelled run may take to end."""


class State(StrEnum):
    """The state of a run."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """The pipeline does not list the run: not yet, or no longer."""


@dataclass(frozen=True)
class Status:
    """A run's state and, where the service tells, why, and what the run has processed."""

    state: State
    cause: str = ""
    counts: Counts = field(default_factory=Counts)


class Pipeline(Protocol):
    """A pipeline that can be reprocessed. Every method may raise a `Fault`."""

    def start(self, request: Invocation, still_wanted: Callable[[], Record]) -> str:
        """Starts the request's run once, however often this is called and wherever it is interrupted.

        Args:
            request: The request.
            still_wanted: To be called before each attempt: gives the request's notes, or raises a `Failure`.

        Returns:
            The run's id, also if an earlier call has started it.
        """

    def started_run(self, request: Invocation, record: Record) -> str | None:
        """The run that another request of the resource has started, once nothing of its start is under way any more."""

    def status(self, run_id: str) -> Status:
        """The run's status."""

    def cancel(self, run_id: str, cause: str) -> bool:
        """Asks the run to end; False if it has ended already, or never was."""


def end_run(pipeline: Pipeline, run_id: str, cause: str, clock: Clock, until: datetime | None = None) -> None:
    """Cancels a run that still goes on, and sees it end, for `END_WITHIN` and at most until then."""
    before = pipeline.status(run_id).state
    if before not in (State.RUNNING, State.UNKNOWN):
        return
    log.info("cancelling run '%s': %s", run_id, cause)
    # A run that can be cancelled and is not listed yet will be: the next start must not take it for its own.
    goes_on = {State.RUNNING, before} if pipeline.cancel(run_id, cause) else {State.RUNNING}
    watch_until = clock.now() + END_WITHIN
    if until:
        watch_until = min(watch_until, until)
    pause = 0.5
    while pipeline.status(run_id).state in goes_on:
        if clock.now() >= watch_until:
            log.warning("run '%s' was cancelled and is not seen to end", run_id)
            return
        clock.sleep(pause)
        pause = min(2 * pause, 8.0)
