"""What every kind of pipeline can do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pipeline_reprocessing_handler.request import Request

from .counts import Counts


class State(StrEnum):
    """Where a run stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """The pipeline does not list the run: not yet, or no more."""


@dataclass(frozen=True)
class Status:
    """A run's state and, where the service tells, why, and what the run has processed."""

    state: State
    cause: str = ""
    counts: Counts = field(default_factory=Counts)


class Pipeline(Protocol):
    """A pipeline that can be reprocessed. Every method may raise a `Fault`."""

    def bookmark(self) -> str:
        """What to remember before a start, so that `find` can tell a new run from the old ones."""

    def start(self, request: Request) -> str:
        """Starts a run, sending the call a single time unless the service itself makes repeats harmless."""

    def find(
        self,
        request: Request,
        bookmark: str,
        *,
        until: datetime | None = None,
        others: Collection[str] = (),
    ) -> str | None:
        """The run that this request has started since the bookmark, and until then, if there is one.

        Args:
            request: The request.
            bookmark: What `bookmark` gave before.
            until: What began later is somebody else's.
            others: So are these runs.
        """

    def status(self, run_id: str) -> Status:
        """Where the run stands."""

    def cancel(self, run_id: str, cause: str) -> bool:
        """Asks the run to end; False if it has ended already, or never was."""
