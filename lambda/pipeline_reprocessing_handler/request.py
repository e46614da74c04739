"""The contract between the construct and its handler: properties in, one frozen and checked `Request` out.

The construct imports this module for its own checks at synth, so that a rule is written once. It imports
nothing outside the standard library. Every scalar of a property may arrive as a string, and old shapes of
the properties come back on rollback and Delete for ever: keys are only ever added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

MAX_S3_PATHS = 100
"""Paths in one selection (API: `ChannelMessages.s3Paths`, 1 to 100 entries)."""
MAX_S3_PATH_LENGTH = 1024
MAX_PIPELINE_NAME_LENGTH = 128
MAX_WAIT = timedelta(hours=12)
"""The longest wait that CloudFormation knows: a WaitCondition's, 43,200 s."""
MAX_LAST = timedelta(days=36_500)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ANSWER_ALLOWANCE = timedelta(minutes=5)
"""What a request may take on top of the wait: start the run, wait for IAM, cancel, answer, retry all that."""
LONGEST_CUSTOM_RESOURCE_WAIT = timedelta(hours=1) - ANSWER_ALLOWANCE
"""A longer wait needs a WaitCondition: a custom resource ends after 3,600 s (`ServiceTimeout`)."""

ARRIVED_AT = "ArrivedAt"
"""Key under which an event carries the time (epoch seconds) at which the handler first saw it."""

NOT_STARTED = "not-started"
"""Stands for the run in the physical id of a request that failed before it started one."""

_Choice = TypeVar("_Choice", bound=StrEnum)
_PIPELINE_NAME = re.compile(r"(?!__)[a-zA-Z0-9_]+")
_S3_PATH = re.compile(r"[a-zA-Z0-9/_!'(){}*\s.\-=:]+")
_STATE_MACHINE_ARN = re.compile(r"arn:[^:]+:states:[^:]+:[^:]+:stateMachine:([^:/]{1,80})")


class Failure(ValueError):
    """A request that cannot be fulfilled; its text is what CloudFormation shows as the reason."""

    def __init__(self, reason: str, *, physical_id: str | None = None) -> None:
        super().__init__(reason)
        self.physical_id = physical_id


class RequestType(StrEnum):
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"


class Kind(StrEnum):
    """The kinds of pipeline that can be reprocessed."""

    IOT_ANALYTICS = "IOT_ANALYTICS"
    STATE_MACHINE = "STATE_MACHINE"


class OnTimeout(StrEnum):
    """What happens to a run that is still going at the end of the wait."""

    FAIL = "FAIL"
    DETACH = "DETACH"


class OnRollback(StrEnum):
    """Whether a rollback runs the restored definition again."""

    KEEP = "KEEP"
    REPROCESS = "REPROCESS"


class OnRemoval(StrEnum):
    """What happens to a run that is still going when the resource is removed."""

    CANCEL = "CANCEL"
    LEAVE = "LEAVE"


def check_request_type(value: object) -> RequestType:
    """What CloudFormation wants, if it is something that this handler knows."""
    return _one_of("RequestType", value, RequestType)


def check_pipeline_name(argument: str, value: str) -> str:
    """The name itself, if IoT Analytics accepts it (API: `PipelineName`)."""
    if not 1 <= len(value) <= MAX_PIPELINE_NAME_LENGTH:
        raise Failure(f"'{argument}' must have 1 to {MAX_PIPELINE_NAME_LENGTH} characters, got {len(value)}")
    if not _PIPELINE_NAME.fullmatch(value):
        raise Failure(
            f"'{argument}' must consist of letters, digits and underscores and not begin with two underscores, "
            f"got '{value}'; IoT Analytics allows no hyphens"
        )
    return value


def check_s3_path_count(argument: str, count: int) -> None:
    """Raises unless that many paths fit one call."""
    if not 1 <= count <= MAX_S3_PATHS:
        raise Failure(
            f"'{argument}' must have 1 to {MAX_S3_PATHS} entries, got {count}; select by time to replay more objects"
        )


def check_s3_path(argument: str, value: str) -> str:
    """The path itself, if the API accepts it: a full object key without the bucket (API: `S3PathChannelMessage`)."""
    if not 1 <= len(value) <= MAX_S3_PATH_LENGTH:
        raise Failure(f"'{argument}' must have 1 to {MAX_S3_PATH_LENGTH} characters, got {len(value)}")
    if value.startswith("s3://"):
        raise Failure(
            f"'{argument}' must be an object key without its bucket, got '{value}'; leave out 's3://<bucket>/'"
        )
    if not _S3_PATH.fullmatch(value):
        raise Failure(
            f"'{argument}' has a character that the API refuses, got '{value}'; it takes {_S3_PATH.pattern}"
        )
    return value


def check_time(argument: str, value: datetime) -> datetime:
    """The time in UTC, if it names one instant in whole seconds."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise Failure(
            f"'{argument}' must know its time zone, got {value.isoformat()}; add tzinfo=timezone.utc"
        )
    if value.microsecond:
        raise Failure(
            f"'{argument}' must be in whole seconds, got {value.isoformat()}; use .replace(microsecond=0)"
        )
    if value < EPOCH:
        raise Failure(f"'{argument}' must not be before 1970, got {value.isoformat()}")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Failure(f"'{argument}' must be before the year 10000 in UTC, got {value.isoformat()}") from None


def parse_time(argument: str, value: str) -> datetime:
    """The time that an ISO 8601 text with an offset names."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Failure(
            f"'{argument}' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got '{value}'"
        ) from None
    return check_time(argument, moment)


def check_order(start: tuple[str, datetime], end: tuple[str, datetime]) -> None:
    """Raises unless the range holds at least a second: start is inclusive, end exclusive."""
    if start[1] >= end[1]:
        raise Failure(
            f"'{start[0]}' must be before '{end[0]}', got {format_time(start[1])} and {format_time(end[1])}"
        )


def check_last(argument: str, seconds: int) -> int:
    """The seconds themselves, if they are between one second and a hundred years."""
    if not 1 <= seconds <= MAX_LAST.total_seconds():
        raise Failure(
            f"'{argument}' must be between 1 second and {MAX_LAST.days} days, got {seconds} seconds; "
            "use .all() to replay everything"
        )
    return seconds


def check_wait(argument: str, seconds: int) -> int:
    """The seconds themselves, if CloudFormation can wait that long."""
    if seconds < 1:
        raise Failure(
            f"'{argument}' must be at least 1 second, got {seconds}; use Wait.none() to return at once"
        )
    if seconds > MAX_WAIT.total_seconds():
        raise Failure(
            f"'{argument}' must be at most 12 hours, got {Decimal(seconds) / 3600:g} hours; use Wait.none() to "
            "return at once"
        )
    return seconds


def check_endpoint_url(argument: str, value: str) -> str:
    """The URL itself, if it is one that a client can be pointed at."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # also of a port that is none
        usable = False
    if not usable or "@" in value:
        shown = re.sub(r"[^/]*@", "***@", value)  # what stands before the @ may be a password
        raise Failure(f"'{argument}' must be an http or https URL without credentials, got '{shown}'")
    return value


def state_machine_name(argument: str, arn: str) -> str:
    """The machine's name, from its ARN."""
    match = _STATE_MACHINE_ARN.fullmatch(arn)
    if not match:
        raise Failure(f"'{argument}' must be the ARN of a state machine, got '{arn}'")
    return match[1]


def format_time(moment: datetime) -> str:
    """The time as the properties and the attributes write it: `2025-01-31T00:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Target:
    """The pipeline to reprocess."""

    kind: Kind
    name: str
    arn: str = ""
    endpoint_url: str | None = None

    @classmethod
    def parse(cls, properties: object) -> Target:
        values = _mapping("Pipeline", properties)
        kind = _one_of("Pipeline.Kind", values.get("Kind"), Kind)
        if kind is Kind.STATE_MACHINE:
            arn = _text("Pipeline.Arn", values.get("Arn"))
            return cls(kind, state_machine_name("Pipeline.Arn", arn), arn=arn)
        url = values.get("EndpointUrl")
        return cls(
            kind,
            check_pipeline_name("Pipeline.Name", _text("Pipeline.Name", values.get("Name"))),
            endpoint_url=None
            if url is None
            else check_endpoint_url("Pipeline.EndpointUrl", _text("Pipeline.EndpointUrl", url)),
        )


@dataclass(frozen=True)
class Messages:
    """Which stored messages a run reads; none of the fields set means all of them."""

    start: datetime | None = None
    end: datetime | None = None
    last_seconds: int | None = None
    s3_paths: tuple[str, ...] = ()

    @classmethod
    def parse(cls, properties: object) -> Messages:
        values = _mapping("Messages", properties)
        ways = [
            way
            for way in (("StartTime", "EndTime"), ("LastSeconds",), ("S3Paths",), ("All",))
            if any(values.get(key) is not None for key in way)
        ]
        if len(ways) != 1:
            raise Failure(
                "'Messages' must have exactly one of StartTime and/or EndTime, LastSeconds, S3Paths, All; "
                f"got {', '.join(sorted(values)) or 'none'}"
            )
        if ways == [("LastSeconds",)]:
            return cls(
                last_seconds=check_last(
                    "Messages.LastSeconds", _whole("Messages.LastSeconds", values["LastSeconds"])
                )
            )
        if ways == [("S3Paths",)]:
            return cls(s3_paths=_s3_paths(values["S3Paths"]))
        if ways == [("All",)]:
            if str(values["All"]).lower() != "true":  # replaying everything is always said aloud
                raise Failure(f"'Messages.All' must be true, got {_shown(values['All'])}")
            return cls()
        start, end = (
            parse_time(f"Messages.{key}", _text(f"Messages.{key}", values[key]))
            if values.get(key) is not None
            else None
            for key in ("StartTime", "EndTime")
        )
        if start and end:
            check_order(("Messages.StartTime", start), ("Messages.EndTime", end))
        return cls(start=start, end=end)

    def at(self, moment: datetime) -> Messages:
        """The same selection with `LastSeconds` counted back from that moment, to 1970 at most."""
        if self.last_seconds is None:
            return self
        end = moment.replace(microsecond=0)
        return Messages(start=max(end - timedelta(seconds=self.last_seconds), EPOCH), end=end)

    def properties(self) -> dict[str, Any]:
        """The selection as the properties write it."""
        if self.last_seconds is not None:
            return {"LastSeconds": self.last_seconds}
        if self.s3_paths:
            return {"S3Paths": list(self.s3_paths)}
        times = {"StartTime": self.start, "EndTime": self.end}
        return {key: format_time(value) for key, value in times.items() if value} or {"All": True}


@dataclass(frozen=True)
class Wait:
    """How long a deploy waits for the run, and what it does then."""

    timeout: timedelta
    on_timeout: OnTimeout
    signal_url: str | None = field(default=None, repr=False)
    """The handle of a WaitCondition: a secret, whoever reads it can end the wait."""

    def condition_ends(self, started_at: datetime) -> datetime:
        """When a WaitCondition for a run that was started then stops listening."""
        return started_at + min(self.timeout + ANSWER_ALLOWANCE, MAX_WAIT)

    @classmethod
    def parse(cls, properties: object) -> Wait | None:
        if not properties:
            return None
        values = _mapping("Wait", properties)
        seconds = check_wait(
            "Wait.TimeoutSeconds", _whole("Wait.TimeoutSeconds", values.get("TimeoutSeconds"))
        )
        url = values.get("SignalUrl")
        if url is None and seconds > LONGEST_CUSTOM_RESOURCE_WAIT.total_seconds():
            raise Failure(
                f"'Wait.TimeoutSeconds' above {LONGEST_CUSTOM_RESOURCE_WAIT.total_seconds():.0f} needs "
                f"'Wait.SignalUrl', got {seconds}"
            )
        return cls(
            timeout=timedelta(seconds=seconds),
            on_timeout=_one_of("Wait.OnTimeout", values.get("OnTimeout", OnTimeout.FAIL), OnTimeout),
            signal_url=None if url is None else _text("Wait.SignalUrl", url),
        )


@dataclass(frozen=True)
class Settings:
    """The properties of the custom resource."""

    target: Target
    messages: Messages
    trigger: str
    values: str
    """What only the deploy knows of what decides the data, as canonical JSON."""
    wait: Wait | None
    on_rollback: OnRollback
    on_removal: OnRemoval

    @classmethod
    def parse(cls, properties: object) -> Settings:
        values = _mapping("ResourceProperties", properties)
        return cls(
            target=Target.parse(values.get("Pipeline")),
            messages=Messages.parse(values.get("Messages")),
            trigger=_text("Trigger", values.get("Trigger")),
            values=json.dumps(values.get("Values", {}), sort_keys=True),
            wait=Wait.parse(values.get("Wait")),
            on_rollback=_one_of("OnRollback", values.get("OnRollback", OnRollback.KEEP), OnRollback),
            on_removal=_one_of("OnRemoval", values.get("OnRemoval", OnRemoval.CANCEL), OnRemoval),
        )

    @property
    def decides_the_data(self) -> tuple[Target, Messages, str, str]:
        """What has to change before anything is reprocessed; a new time-out alone starts nothing."""
        return replace(self.target, endpoint_url=None), self.messages, self.trigger, self.values


@dataclass(frozen=True)
class Request:
    """One request of CloudFormation. Its ResponseURL is not here: only `lifecycle` needs that secret."""

    type: RequestType
    stack_id: str
    request_id: str
    logical_id: str
    physical_id: str
    settings: Settings
    previous: Settings | None
    requested_at: datetime

    @classmethod
    def parse(cls, event: Mapping[str, Any], *, now: datetime) -> Request:
        """Reads an event.

        Args:
            event: What Lambda was called with.
            now: Stands in for the time of the request where the event bears none.

        Raises:
            Failure: A property is missing or wrong; the text names it.
        """
        return cls(
            type=check_request_type(event.get("RequestType")),
            stack_id=_text("StackId", event.get("StackId")),
            request_id=_text("RequestId", event.get("RequestId")),
            logical_id=_text("LogicalResourceId", event.get("LogicalResourceId")),
            physical_id=str(event.get("PhysicalResourceId") or ""),
            settings=Settings.parse(event.get("ResourceProperties")),
            previous=_readable(event.get("OldResourceProperties")),
            requested_at=requested_at(event) or now,
        )

    @property
    def changes_the_data(self) -> bool:
        """Whether what decides the resulting data differs from what the resource had before."""
        return self.previous is None or self.previous.decides_the_data != self.settings.decides_the_data

    @property
    def new_signal_url(self) -> str | None:
        """The handle of a WaitCondition that this deploy makes, of which nobody has been told before."""
        before = self.previous.wait.signal_url if self.previous and self.previous.wait else None
        url = self.settings.wait.signal_url if self.settings.wait else None
        return None if url == before else url

    @property
    def answer_by(self) -> datetime:
        """When CloudFormation stops listening (`ServiceTimeout`)."""
        wait = self.settings.wait
        waits_here = wait is not None and wait.signal_url is None
        return self.requested_at + ANSWER_ALLOWANCE + (wait.timeout if wait and waits_here else timedelta())

    @property
    def messages(self) -> Messages:
        """The selection, counted from the time of the request: the same however often the event comes."""
        return self.settings.messages.at(self.requested_at)

    @property
    def asks_for(self) -> str:
        """A digest of what decides the data: the same for every request that asks for the same."""
        target, messages, trigger, values = self.settings.decides_the_data
        document = [target.kind, target.name, target.arn, messages.properties(), trigger, values]
        return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]

    def cause(self, why: str) -> str:
        """Why a run is cancelled, for those who look at the run."""
        return f"{why} ({self.logical_id} of {self.stack_id})"

    def failure(self, why: str, run_id: str | None = None) -> Failure:
        """A failure whose reason names pipeline and run first."""
        pipeline = f"pipeline '{self.settings.target.name}'"
        if run_id is None:
            return Failure(f"{pipeline}: {why}")
        return Failure(f"{pipeline}, run '{run_id}': {why}", physical_id=self.id_of(run_id))

    def id_of(self, run_id: str) -> str:
        """The physical id of the resource whose run that is."""
        return f"{self.settings.target.name}/{run_id}"


def run_of(physical_id: str, target: Target) -> str | None:
    """The run that a physical id of ours names; None if it names none, or was invented by CloudFormation."""
    run_id = physical_id.removeprefix(f"{target.name}/")
    return None if run_id in (physical_id, NOT_STARTED, "") else run_id


def is_of_ours(physical_id: str) -> bool:
    """Whether the handler has given that id; CloudFormation invents `<stack>-<logical id>-<suffix>`, without a slash."""
    return "/" in physical_id


def requested_at(event: Mapping[str, Any]) -> datetime | None:
    """When CloudFormation made the request: it signed the ResponseURL then (seen in real requests; AWS documents no such thing).

    A continuation carries the time at which the first invocation came, for URLs without a signature.
    """
    signed_at = _signed_at(str(event.get("ResponseURL")))
    if signed_at:
        return signed_at
    arrived = event.get(ARRIVED_AT)
    return datetime.fromtimestamp(arrived, UTC) if isinstance(arrived, int | float) else None


def valid_until(url: str) -> datetime | None:
    """When a pre-signed URL ceases to be taken, if it says so (seen: 24 hours for the handle of a WaitCondition)."""
    signed_at = _signed_at(url)
    try:
        return signed_at and signed_at + timedelta(seconds=int(_query(url)["X-Amz-Expires"][0]))
    except (KeyError, ValueError, OverflowError):
        return None


def _signed_at(url: str) -> datetime | None:
    try:
        return datetime.strptime(_query(url)["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return None


def _query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def secrets_of(event: Mapping[str, Any]) -> frozenset[str]:
    """The texts in an event with which anybody could answer in our name."""
    urls = [event.get("ResponseURL")]
    for properties in (event.get("ResourceProperties"), event.get("OldResourceProperties")):
        wait = properties.get("Wait") if isinstance(properties, Mapping) else None
        urls.append(wait.get("SignalUrl") if isinstance(wait, Mapping) else None)
    whole = [url for url in urls if isinstance(url, str) and url]
    return frozenset(part for url in whole for part in (url, url.partition("?")[2]) if part)


def _s3_paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Failure(f"'Messages.S3Paths' must be a list of object keys, got {type(value).__name__}")
    check_s3_path_count("Messages.S3Paths", len(value))
    return tuple(
        check_s3_path(f"Messages.S3Paths[{index}]", _text(f"Messages.S3Paths[{index}]", path))
        for index, path in enumerate(value)
    )


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Failure(f"'{name}' must be an object, got {type(value).__name__}")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Failure(f"'{name}' must be a text that is not empty, got {_shown(value)}")
    return value


def _whole(name: str, value: object) -> int:
    try:
        return int(value) if isinstance(value, str) or type(value) is int else int("")
    except ValueError:
        raise Failure(f"'{name}' must be a whole number, got {_shown(value)}") from None


def _one_of(name: str, value: object, choices: type[_Choice]) -> _Choice:
    try:
        return choices(str(value))
    except ValueError:
        raise Failure(f"'{name}' must be one of {', '.join(choices)}, got {_shown(value)}") from None


def _shown(value: object) -> str:
    return f"'{value[:200]}'" if isinstance(value, str) else type(value).__name__


def _readable(properties: object) -> Settings | None:
    """Old properties may have any shape that a version before this one wrote; unreadable ones tell nothing."""
    try:
        return Settings.parse(properties)
    except Failure:
        return None
