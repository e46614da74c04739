"""The contract between the construct and its function: the state machine's JSON in, frozen dataclasses out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MANIFEST = "manifest.jsonl"
"""What a run's manifest is called in the run's folder."""
NOTES = (".json", ".jsonl")
"""What the names of all end with that a run of a pipeline of S3 events writes."""
MAX_KEYS = 100
"""Objects in a work item: 100 keys of at most 1,024 bytes keep a worker's input under Step Functions' 262,144 bytes."""
MAX_CALLS = 20
"""Calls of the user's function that a worker of S3 events has in flight, at most."""


class Layout(StrEnum):
    """How the keys of an archive are made."""

    IOT_ANALYTICS = "IOT_ANALYTICS"
    FIREHOSE = "FIREHOSE"
    OBJECTS = "OBJECTS"
    """Any keys; an object's time is when it was last modified."""


class Framing(StrEnum):
    """How the objects of an archive are divided into messages. Only boundaries are looked for: nothing is parsed.

    Gzip and ZIP are opened first, except for `GZIP_MEMBERS` and `OBJECT`.
    """

    JSON = "JSON"
    """JSON values one after the other: a line each, over several lines, or without a separator."""
    LINES = "LINES"
    """Lines of text in any encoding that keeps CR and LF as they are in ASCII."""
    GZIP_MEMBERS = "GZIP_MEMBERS"
    """Gzip members one after the other, handed over unopened, as CloudWatch Logs sends them to Firehose."""
    OBJECT = "OBJECT"
    """The object's bytes, as they are stored, are one message."""


class ResultFraming(StrEnum):
    """What is put between the results of a Firehose transformation."""

    LINES = "LINES"
    """A newline after each result that is text and lacks one; binary results stay as they are."""
    BYTES = "BYTES"
    """Nothing: the bytes as the function returned them."""


class Contract(StrEnum):
    """What the user's function takes and gives."""

    LAMBDA_ACTIVITY = "LAMBDA_ACTIVITY"
    FIREHOSE = "FIREHOSE"
    S3_EVENT = "S3_EVENT"
    """An event that S3 sends when an object is created; what the function makes of it is the function's own business."""


class Form(StrEnum):
    """In which form a function gets the events of S3."""

    S3 = "S3"
    """A notification of S3, as S3 calls a function with it."""
    EVENT_BRIDGE = "EVENT_BRIDGE"
    SQS = "SQS"
    SNS = "SNS"
    SNS_RAW = "SNS_RAW"
    """A message of a topic in a queue with raw message delivery."""


@dataclass(frozen=True)
class Source:
    """The archive: a bucket, the prefix of everything in it that belongs to the archive, and its layout."""

    layout: Layout
    bucket: str
    root: str
    buffer_seconds: int = 0
    """How long after the time in its key an object may still hold messages (Firehose's buffer interval)."""
    path: str = ""
    """What follows the root in a Firehose stream's keys, with its expressions: `!{timestamp:yyyy/MM/dd/HH/}`."""
    time_zone: str = "UTC"
    """Whose time a Firehose stream writes into its keys (IANA name)."""
    suffix: str = ""
    """What every key ends with."""
    framing: Framing = Framing.JSON
    replays_error_output: bool = False
    """Whether the raw data in objects of Firehose's error output are messages; else those objects are skipped."""


@dataclass(frozen=True)
class Notification:
    """How the function gets the events of S3."""

    form: Form
    arn: str = ""
    """Of the queue or the topic."""
    batch_size: int = 1
    """Events in a call, at most: more than one for queues only."""
    event_name: str = ""
    """What every event is called; empty for the name that tells how the object was written."""
    configuration_id: str = ""
    carrying: Notification | None = None
    """What a message of the queue or the topic holds."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Notification:
        return cls(
            form=Form(values["Form"]),
            arn=values.get("Arn", ""),
            batch_size=int(values.get("BatchSize", 1)),
            event_name=values.get("EventName", ""),
            configuration_id=values.get("ConfigurationId", ""),
            carrying=cls.parse(values["Carrying"]) if "Carrying" in values else None,
        )


@dataclass(frozen=True)
class Function:
    """The user's function and how it is called."""

    arn: str
    contract: Contract
    batch_size: int = 1
    """Messages in a batch, at most."""
    max_bytes: int = 4 << 20
    """Bytes of the messages in a batch, at most; a larger message is a batch of its own."""
    stream_arn: str = ""
    """The delivery stream that a Firehose transformation is told of."""
    result_framing: ResultFraming = ResultFraming.LINES
    notification: Notification = Notification(Form.S3)
    """For S3 events."""
    retries: int = 0
    """How often an object on which the function fails is tried again, for S3 events."""
    timeout: int = 0
    """Seconds that a call may take, for S3 events: a worker begins none that may outlast it."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Function:
        return cls(
            arn=values["Arn"],
            contract=Contract(values["Contract"]),
            batch_size=int(values.get("BatchSize", 1)),
            max_bytes=int(values.get("MaxBytes", cls.max_bytes)),
            stream_arn=values.get("StreamArn", ""),
            result_framing=ResultFraming(values.get("ResultFraming", ResultFraming.LINES)),
            notification=Notification.parse(values.get("Notification", {"Form": Form.S3})),
            retries=int(values.get("Retries", 0)),
            timeout=int(values.get("Timeout", 0)),
        )


@dataclass(frozen=True)
class Destination:
    """Where results, failed messages and the notes of each run go."""

    bucket: str
    runs_prefix: str
    prefix: str = ""
    """Of results; without a meaning where the function writes its own."""
    errors_prefix: str = ""


@dataclass(frozen=True)
class Limits:
    """With how much a run is refused before it calls the user's function; None for no limit."""

    max_objects: int | None = None
    max_bytes: int | None = None
    """Of the selected objects, as stored."""


@dataclass(frozen=True)
class Settings:
    """One pipeline, as the construct wrote it into the state machine's definition."""

    source: Source
    function: Function
    destination: Destination
    workers: int
    """Work items that are replayed at the same time."""
    calls_per_worker: int
    """Calls of the function that each worker keeps in flight."""
    tolerated_failure_percentage: float
    limits: Limits = Limits()

    @property
    def publishes(self) -> bool:
        """Whether the function gives results to publish; else it writes them itself."""
        return self.function.contract is not Contract.S3_EVENT

    @property
    def written(self) -> tuple[str, ...]:
        """The prefixes of all that a replay writes to the destination's bucket."""
        destination = self.destination
        results = (destination.prefix, destination.errors_prefix) if self.publishes else ()
        return (*results, destination.runs_prefix)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Settings:
        source, destination, limits = values["Source"], values["Destination"], values.get("Limits", {})
        return cls(
            source=Source(
                layout=Layout(source["Layout"]),
                bucket=source["Bucket"],
                root=source["Root"],
                buffer_seconds=int(source.get("BufferSeconds", 0)),
                path=source.get("Path", ""),
                time_zone=source.get("TimeZone", "UTC"),
                suffix=source.get("Suffix", ""),
                framing=Framing(source.get("Framing", Framing.JSON)),
                replays_error_output=bool(source.get("ReplaysErrorOutput", False)),
            ),
            function=Function.parse(values["Function"]),
            destination=Destination(
                bucket=destination["Bucket"],
                runs_prefix=destination["RunsPrefix"],
                prefix=destination.get("Prefix", ""),
                errors_prefix=destination.get("ErrorsPrefix", ""),
            ),
            workers=int(values["Workers"]),
            calls_per_worker=int(values["CallsPerWorker"]),
            tolerated_failure_percentage=float(values["ToleratedFailurePercentage"]),
            limits=Limits(_optional(limits.get("MaxObjects")), _optional(limits.get("MaxBytes"))),
        )


@dataclass(frozen=True)
class Selection:
    """Which messages a run replays; nothing set means all of them. Start is inclusive, end exclusive."""

    start: datetime | None = None
    end: datetime | None = None
    s3_paths: tuple[str, ...] = ()
    keys_from: tuple[str, str] | None = None
    """Bucket and key of a file that names the objects."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Selection:
        """Reads `messages` of the execution's input.

        Raises:
            ValueError: It names no selection, or a time that cannot be read; the text says which.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"'messages' must be an object, got {json.dumps(values)[:200]}")
        if paths := values.get("S3Paths"):
            if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
                raise ValueError(f"'S3Paths' must be a list of object keys, got {json.dumps(paths)[:200]}")
            return cls(s3_paths=tuple(paths))
        if (place := values.get("KeysFrom")) is not None:
            bucket, _, key = str(place).removeprefix("s3://").partition("/")
            if not (str(place).startswith("s3://") and bucket and key):
                raise ValueError(f"'KeysFrom' must be s3://<bucket>/<key>, got {json.dumps(place)[:200]}")
            return cls(keys_from=(bucket, key))
        start, end = _time(values, "StartTime"), _time(values, "EndTime")
        if start is None and end is None and str(values.get("All", "")).lower() != "true":
            raise ValueError(
                "'messages' must have StartTime and/or EndTime, S3Paths, KeysFrom, or All, got "
                f"{', '.join(sorted(values)) or 'none'}"
            )
        if start is not None and end is not None and start >= end:
            raise ValueError(
                f"'StartTime' must be before 'EndTime', got {values['StartTime']} and {values['EndTime']}"
            )
        return cls(start=_utc(start), end=_utc(end))


@dataclass(frozen=True)
class WorkItem:
    """Objects that one worker replays, one after the other: a line of the manifest, or what is left of one."""

    number: int
    """Which line of the manifest."""
    keys: Sequence[str]
    part: int = 0
    """How many calls of the worker have left something of it."""
    tried: Mapping[str, int] = field(default_factory=dict)
    """How often the function has failed on objects that are tried again."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> WorkItem:
        return cls(
            number=int(values["Number"]),
            keys=values["Keys"],
            part=int(values["Part"]),
            tried=values.get("Tried", {}),
        )

    def properties(self) -> dict[str, Any]:
        tried = {"Tried": dict(self.tried)} if self.tried else {}
        return {"Number": self.number, "Keys": self.keys, "Part": self.part, **tried}

    def without(self, done: Collection[str], tried: Mapping[str, int]) -> WorkItem:
        """What is left of it for the next call when these objects are done, and others have failed so often."""
        keys = [key for key in self.keys if key not in done]
        return WorkItem(self.number, keys, self.part + 1, {key: tried[key] for key in keys if key in tried})


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
    planned: str = ""
    """When the first step was done, as an ISO 8601 time in UTC; empty before."""
    function_digest: str = ""
    """What the user's function was when the run was planned: results of another one are not published with them."""
    summarised: str = ""
    """When the notes of the workers were added up, as an ISO 8601 time in UTC; empty before. Later notes do not count."""

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
            planned=values.get("Planned", ""),
            function_digest=plan.get("FunctionDigest", ""),
            summarised=values.get("Summarised", ""),
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

    def staged_key(self, call: str, name: str) -> str:
        """Where a call of a worker stages a result: a call that is repeated takes nothing from another."""
        return f"{self.staged_prefix}{call}/{name}"

    @property
    def published_prefix(self) -> str:
        """Where it is noted which work items have been published."""
        return f"{self.folder}published/"

    @property
    def summary_key(self) -> str:
        return f"{self.folder}summary.json"

    @property
    def errors_key(self) -> str:
        """Where all objects that failed are listed, for functions that write their own results."""
        return f"{self.folder}errors.jsonl"

    @property
    def remaining_key(self) -> str:
        """Where a run that ended early lists what failed and what it has not come to."""
        return f"{self.folder}remaining.jsonl"

    def exceeds_tolerance(self, failed: int, total: int) -> bool:
        """Whether so many failures are more than the share that the user tolerates."""
        return failed * 100 > self.settings.tolerated_failure_percentage * total


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


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
    return moment


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment else None
    except OverflowError:
        # In UTC it is before the year 1 or after 9999, and nothing is stored from there.
        return (
            datetime(1, 1, 1, tzinfo=UTC)
            if moment and moment.year == 1
            else datetime(9999, 12, 31, tzinfo=UTC)
        )
