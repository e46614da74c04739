"""What every kind of pipeline can do, and what is told of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pipeline_reprocessing_handler.aws import Clock
from pipeline_reprocessing_handler.invocation import Invocation
from pipeline_reprocessing_handler.ledger import Record

log = logging.getLogger(__name__)

END_WITHIN = timedelta(minutes=1)
"""How long a cancelled run may take to end."""
MAX_COUNT = 2**63 - 1
"""A larger number is not a count, and several of them would not fit an answer of 4,096 bytes."""


class State(StrEnum):
    """The state of a run."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """The pipeline does not list the run: not yet, or no longer."""


@dataclass(frozen=True)
class Counts:
    """What a run that succeeded reports in its output; None where the output has no such number."""

    objects: int | None = None
    objects_done: int | None = None
    objects_gone: int | None = None
    objects_changed: int | None = None
    objects_failed: int | None = None
    objects_not_replayed: int | None = None
    objects_skipped: int | None = None
    messages_in: int | None = None
    messages_out: int | None = None
    messages_dropped: int | None = None
    messages_failed: int | None = None

    @classmethod
    def parse(cls, output: object) -> Counts:
        """Reads the output of an execution. Unknown shapes are valid: any state machine may be a pipeline.

        Args:
            output: The JSON text as the service returns it; None where it returns none.
        """
        try:
            document = json.loads(output) if isinstance(output, str) else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, Mapping):
            return cls()
        return cls(**{field.name: _count(document.get(_key(field.name))) for field in fields(cls)})

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of the custom resource: always all of them, as Fn::GetAtt fails on a missing one."""
        return {_attribute(name): "" if count is None else str(count) for name, count in asdict(self).items()}

    @property
    def why_nothing(self) -> str:
        """Why the run replayed nothing; empty if it replayed something, or does not tell."""
        if self.objects == 0:
            return "the selection matched no object"
        if self.objects_done == 0:
            return "no object was processed"
        return "no message was read" if self.messages_in == 0 else ""

    def __str__(self) -> str:
        """The known numbers, such as `365 objects, 0 objects failed`."""
        return ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in asdict(self).items() if count is not None
        )


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


def _attribute(name: str) -> str:
    return name.title().replace("_", "")


def _key(name: str) -> str:
    attribute = _attribute(name)
    return attribute[0].lower() + attribute[1:]


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None  # bool is an int, too
