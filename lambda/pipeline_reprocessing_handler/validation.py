"""What can be asked for: bounds, forms and choices, checked by the construct at synth and by the handler again.

It imports nothing outside the standard library.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

MAX_S3_PATHS = 100
"""Paths in one selection (API: `ChannelMessages.s3Paths`, 1 to 100 entries)."""
MAX_S3_KEY = 1024
"""Bytes of an object key in UTF-8 (S3 User Guide), and characters of a path (API: `S3PathChannelMessage`)."""
MAX_PIPELINE_NAME_LENGTH = 128
MAX_WAIT = timedelta(hours=12)
"""The longest wait that CloudFormation knows: a WaitCondition's, 43,200 s."""
MAX_LAST = timedelta(days=36_500)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ANSWER_ALLOWANCE = timedelta(minutes=5)
"""What a request may take on top of the wait: start the run, wait for IAM, cancel, answer, retry all that."""
LONGEST_CUSTOM_RESOURCE_WAIT = timedelta(hours=1) - ANSWER_ALLOWANCE
"""A longer wait needs a WaitCondition: a custom resource ends after 3,600 s (`ServiceTimeout`)."""
_Choice = TypeVar("_Choice", bound=StrEnum)
_PIPELINE_NAME = re.compile(r"(?!__)[a-zA-Z0-9_]+")
_S3_PATH = re.compile(r"[a-zA-Z0-9/_!'(){}*\s.\-=:]+", re.ASCII)
_STATE_MACHINE_ARN = re.compile(r"arn:[^:]+:states:[^:]+:[^:]+:stateMachine:([^:/]{1,80})")


class Failure(ValueError):
    """A request that cannot be fulfilled; its text is what CloudFormation shows as the reason."""

    def __init__(self, reason: str, *, physical_id: str | None = None) -> None:
        super().__init__(reason)
        self.physical_id = physical_id


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


def check_s3_key(argument: str, value: str) -> str:
    """The key itself, if an object can have it: without the bucket (S3 User Guide, naming objects)."""
    if not 1 <= (size := len(value.encode(errors="surrogatepass"))) <= MAX_S3_KEY:
        raise Failure(f"'{argument}' must have 1 to {MAX_S3_KEY} bytes in UTF-8, got {size}")
    _refuse_bucket(argument, value)
    return value


def check_s3_path(argument: str, value: str) -> str:
    """The path itself, if IoT Analytics accepts it: a full object key without the bucket (API: `S3PathChannelMessage`)."""
    if not 1 <= len(value) <= MAX_S3_KEY:
        raise Failure(f"'{argument}' must have 1 to {MAX_S3_KEY} characters, got {len(value)}")
    _refuse_bucket(argument, value)
    if not _S3_PATH.fullmatch(value):
        raise Failure(
            f"'{argument}' has a character that IoT Analytics refuses, got '{value}'; it takes {_S3_PATH.pattern}"
        )
    return value


def _refuse_bucket(argument: str, value: str) -> None:
    if value.startswith("s3://"):
        raise Failure(
            f"'{argument}' must be an object key without its bucket, got '{value}'; leave out 's3://<bucket>/'"
        )


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


def one_of(name: str, value: object, choices: type[_Choice]) -> _Choice:
    try:
        return choices(str(value))
    except ValueError:
        raise Failure(f"'{name}' must be one of {', '.join(choices)}, got {shown(value)}") from None


def shown(value: object) -> str:
    return f"'{value[:200]}'" if isinstance(value, str) else type(value).__name__
