"""The contract between the construct and its function: the state machine's JSON in, frozen dataclasses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MANIFEST = "manifest.jsonl"
"""What a run's manifest is called in the run's folder."""


class Layout(StrEnum):
    """How the keys of an archive are made."""

    IOT_ANALYTICS = "IOT_ANALYTICS"
    FIREHOSE = "FIREHOSE"


class Contract(StrEnum):
    """What the user's function takes and gives."""

    LAMBDA_ACTIVITY = "LAMBDA_ACTIVITY"
    FIREHOSE = "FIREHOSE"


@dataclass(frozen=True)
class Source:
    """The archive: a bucket, the prefix of everything in it that belongs to the archive, and its layout."""

    layout: Layout
    bucket: str
    root: str
    buffer_seconds: int = 0
    """How long after the time in its key an object may still hold messages (Firehose's buffer interval)."""


@dataclass(frozen=True)
class Function:
    """The user's transforming function and how it is called."""

    arn: str
    contract: Contract
    batch_size: int


@dataclass(frozen=True)
class Destination:
    """Where results, failed messages and the notes of each run go."""

    bucket: str
    prefix: str
    errors_prefix: str
    runs_prefix: str


@dataclass(frozen=True)
class Settings:
    """One archive pipeline, as the construct wrote it into the state machine's definition."""

    source: Source
    function: Function
    destination: Destination
    max_concurrency: int
    tolerated_failure_percentage: float

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Settings:
        source, function, destination = values["Source"], values["Function"], values["Destination"]
        return cls(
            source=Source(
                layout=Layout(source["Layout"]),
                bucket=source["Bucket"],
                root=source["Root"],
                buffer_seconds=int(source.get("BufferSeconds", 0)),
            ),
            function=Function(
                arn=function["Arn"],
                contract=Contract(function["Contract"]),
                batch_size=int(function["BatchSize"]),
            ),
            destination=Destination(
                bucket=destination["Bucket"],
                prefix=destination["Prefix"],
                errors_prefix=destination["ErrorsPrefix"],
                runs_prefix=destination["RunsPrefix"],
            ),
            max_concurrency=int(values["MaxConcurrency"]),
            tolerated_failure_percentage=float(values["ToleratedFailurePercentage"]),
        )


@dataclass(frozen=True)
class Selection:
    """Which messages a run replays; nothing set means all of them. Start is inclusive, end exclusive."""

    start: datetime | None = None
    end: datetime | None = None
    s3_paths: tuple[str, ...] = ()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Selection:
        """Reads `messages` of the execution's input.

        Raises:
            ValueError: It names no selection, or a time that cannot be read; the text says which.
        """
        if values.get("S3Paths"):
            return cls(s3_paths=tuple(values["S3Paths"]))
        start, end = _time(values, "StartTime"), _time(values, "EndTime")
        if start is None and end is None and str(values.get("All", "")).lower() != "true":
            raise ValueError(
                "'messages' must have StartTime and/or EndTime, S3Paths, or All, got "
                f"{', '.join(sorted(values)) or 'none'}"
            )
        if start is not None and end is not None and start >= end:
            raise ValueError(
                f"'StartTime' must be before 'EndTime', got {values['StartTime']} and {values['EndTime']}"
            )
        return cls(start=start, end=end)


@dataclass(frozen=True)
class WorkItem:
    """Objects that one worker replays, one after the other: a line of the manifest, or what is left of one."""

    number: int
    """Which line of the manifest."""
    keys: Sequence[str]
    part: int = 0
    """How many calls of the worker have left something of it."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> WorkItem:
        return cls(number=int(values["Number"]), keys=values["Keys"], part=int(values["Part"]))

    def properties(self) -> dict[str, Any]:
        return {"Number": self.number, "Keys": self.keys, "Part": self.part}

    def after(self, done: int) -> WorkItem:
        """What is left of it for the next call when so many objects are done."""
        return WorkItem(self.number, self.keys[done:], self.part + 1)


@dataclass(frozen=True)
class Run:
    """One execution of the state machine, and what it was planned to do."""

    name: str
    started: str
    """When the execution began, as Step Functions writes it: `2026-01-31T00:00:00.000Z`, so texts compare as times."""
    settings: Settings
    objects: int = 0
    work_items: int = 0
    bytes: int = 0
    skipped: int = 0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Run:
        plan = values.get("Plan") or {}
        return cls(
            name=values["Name"],
            started=values["Started"],
            settings=Settings.parse(values["Settings"]),
            objects=int(plan.get("Objects", 0)),
            work_items=int(plan.get("WorkItems", 0)),
            bytes=int(plan.get("Bytes", 0)),
            skipped=int(plan.get("Skipped", 0)),
        )

    @property
    def folder(self) -> str:
        """Where this run keeps its manifest, its staged results, its notes and its summary."""
        return f"{self.settings.destination.runs_prefix}{self.name}/"

    @property
    def manifest_key(self) -> str:
        return f"{self.folder}{MANIFEST}"

    @property
    def results_prefix(self) -> str:
        return f"{self.folder}results/"

    @property
    def staged_prefix(self) -> str:
        """Where results wait until it is known that the run may publish them."""
        return f"{self.folder}staged/"

    @property
    def published_prefix(self) -> str:
        """Where it is noted which work items have been published."""
        return f"{self.folder}published/"

    @property
    def summary_key(self) -> str:
        return f"{self.folder}summary.json"

    def exceeds_tolerance(self, failed: int, total: int) -> bool:
        """Whether so many failures are more than the share that the user tolerates."""
        return failed * 100 > self.settings.tolerated_failure_percentage * total


def _time(values: Mapping[str, Any], name: str) -> datetime | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"'{name}' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got '{text}'"
        ) from None
    return moment.astimezone(UTC)
