"""One invocation of the function: an event and its context in, frozen and checked values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from .properties import Messages, Properties, Target, readable, text
from .validation import ANSWER_ALLOWANCE, Failure, one_of

LAST_WORD = timedelta(seconds=90)
"""Kept free before CloudFormation stops listening, to end a run and to answer."""
START_BY = ANSWER_ALLOWANCE - LAST_WORD
"""After the request: later than this no run is started, so that the answer still arrives in time."""
HAND_OVER_BEFORE_END = timedelta(seconds=330)
"""What is left of the function's time when this invocation begins to hand over to the next one."""
MADE_AT = "ArrivedAt"
"""Key under which a continuation carries the time (epoch seconds) at which its request was made."""
COPIED = ("StackId", "RequestId", "LogicalResourceId")
"""Fields that a response copies from its request."""
PATIENCE = timedelta(seconds=30)
"""How long trouble is waited out at least: a late event meets it no less than others."""
EVENT_LIVES = timedelta(hours=6)
"""How long Lambda keeps an event (developer guide, asynchronous invocation)."""
_NOT_STARTED = "not-started"
_RUN_AND_TIME = re.compile(r"(.+)/(\d{9,11})")


class Context(Protocol):
    """What Lambda passes beside the event."""

    @property
    def function_name(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...


class RequestType(StrEnum):
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"


@dataclass(frozen=True)
class Waiting:
    """A run is going on: all that a continuation needs to know besides the request. Times are epoch seconds."""

    run_id: str
    started_at: float
    deadline: float
    stack_status: str
    """The stack's status when the run was started; if it turns to rollback from there, the run is superseded."""
    listed_at: float
    """When the pipeline last listed the run."""


@dataclass(frozen=True)
class Recipient:
    """Where a response goes: `answer` to the request, or `signal` to a WaitCondition, until CloudFormation stops listening."""

    subject: str
    url: str = field(repr=False)
    until: datetime


@dataclass(frozen=True)
class Invocation:
    """One event, and what Lambda says about its handling."""

    event: Mapping[str, Any] = field(repr=False)
    stack_id: str
    request_id: str
    logical_id: str
    physical_id: str
    """Empty in a Create."""
    parsed: tuple[RequestType, Properties] | Exception
    """What is wanted, or why that is unreadable."""
    previous: Properties | None
    made_at: datetime
    """When CloudFormation made the request, as far as the event tells."""
    not_made_before: datetime
    """The same, or up to six hours earlier where the event does not tell: so long does Lambda keep an event."""
    recipient: Recipient
    new_condition: Recipient | None
    """The WaitCondition that this deploy creates and that has not been signalled yet."""
    began_at: datetime
    ends_at: datetime
    """When Lambda ends this invocation."""
    function_name: str

    @classmethod
    def parse(cls, event: Mapping[str, Any], context: Context, now: datetime) -> Invocation:
        """Reads an event that has a ResponseURL. An unreadable request is no error here, for it needs an answer, too."""
        dated = _made_at(event)
        made_at = dated or now
        previous = readable(event.get("OldResourceProperties"))
        is_continuation = "CrHelperData" in event
        answer = Recipient("answer", str(event["ResponseURL"]), made_at + ANSWER_ALLOWANCE)
        condition = None
        parsed: tuple[RequestType, Properties] | Exception
        try:
            for key in COPIED:
                text(key, event.get(key))
            type_ = one_of("RequestType", event.get("RequestType"), RequestType)
            parsed = type_, (properties := Properties.parse(event.get("ResourceProperties")))
            wait, old_wait = properties.wait, previous and previous.wait
            if wait and not wait.signal_url:
                answer = Recipient("answer", answer.url, answer.until + wait.timeout)
            elif wait and wait.signal_url and is_continuation:
                started_at = datetime.fromtimestamp(event["CrHelperData"]["started_at"], UTC)
                condition = Recipient("signal", wait.signal_url, wait.condition_ends(started_at))
            elif wait and wait.signal_url and not (old_wait and old_wait.signal_url == wait.signal_url):
                condition = Recipient("signal", wait.signal_url, wait.condition_ends(now))
        except Exception as error:  # noqa: BLE001  # whatever it is
            parsed = error
        return cls(
            event=event,
            stack_id=str(event.get("StackId", "")),
            request_id=str(event.get("RequestId", "")),
            logical_id=str(event.get("LogicalResourceId", "")),
            physical_id=str(event.get("PhysicalResourceId") or ""),
            parsed=parsed,
            previous=previous,
            made_at=made_at,
            not_made_before=dated or now - EVENT_LIVES,
            recipient=condition if is_continuation and condition else answer,
            new_condition=None if is_continuation else condition,
            began_at=now,
            ends_at=now + timedelta(milliseconds=context.get_remaining_time_in_millis()),
            function_name=context.function_name,
        )

    @property
    def type(self) -> RequestType:
        return self._read()[0]

    @property
    def properties(self) -> Properties:
        """What is wanted.

        Raises:
            Failure: A property is missing or invalid; the text names it.
        """
        return self._read()[1]

    def _read(self) -> tuple[RequestType, Properties]:
        if isinstance(self.parsed, Exception):
            raise self.parsed
        return self.parsed

    def until(self, *, keep: timedelta) -> datetime:
        """The deadline of this invocation, less the time to keep for what comes after."""
        share = min(keep, (self.ends_at - self.began_at) / 5)  # where the function's time is short
        return min(self.recipient.until - keep, self.ends_at - share)

    def at_least(self, until: datetime) -> datetime:
        """That time, or a later one within which this invocation can still be patient for a while."""
        return max(until, min(self.began_at + PATIENCE, self.recipient.until, self.ends_at))

    @property
    def hand_over_at(self) -> datetime:
        return self.ends_at - min(HAND_OVER_BEFORE_END, (self.ends_at - self.began_at) * 0.4)

    @property
    def changes_the_data(self) -> bool:
        """Whether what decides the resulting data differs from what the resource had before."""
        before, now = self.previous, self.properties
        if before is None or before.decides_the_data != now.decides_the_data:
            return True
        # Which values there are is in the trigger; they are left out where a WaitCondition waits.
        return any(
            before.values[name] != now.values[name] for name in before.values.keys() & now.values.keys()
        )

    @property
    def messages(self) -> Messages:
        """The selection, counted from the time of the request: the same however often the event arrives."""
        return self.properties.messages.at(self.made_at)

    def cause(self, why: str) -> str:
        """Why a run is cancelled, for people who look at the run."""
        return f"{why} ({self.logical_id} of {self.stack_id})"

    def failure(self, why: str, run_id: str | None = None) -> Failure:
        """A failure whose reason names pipeline and run first."""
        pipeline = f"pipeline '{self.properties.target.name}'"
        if run_id is None:
            return Failure(f"{pipeline}: {why}")
        return Failure(f"{pipeline}, run '{run_id}': {why}", physical_id=self.id_of(run_id))

    def id_of(self, run_id: str | None) -> str:
        """The physical id of the resource that has this run: `<pipeline>/<run>/<when it was requested>`."""
        name = self.logical_id or "resource"
        if not isinstance(self.parsed, Exception):
            name = self.properties.target.name
        return f"{name}/{run_id}/{self.made_at.timestamp():.0f}" if run_id else f"{name}/{_NOT_STARTED}"


def named_run(physical_id: str, target: Target) -> tuple[str, datetime | None] | None:
    """The run of that pipeline that a physical id names, and when it was requested; ids of earlier versions do not say."""
    name, _, rest = physical_id.partition("/")
    if name != target.name or rest in ("", _NOT_STARTED):
        return None
    if match := _RUN_AND_TIME.fullmatch(rest):
        return match[1], datetime.fromtimestamp(int(match[2]), UTC)
    return rest, None


def is_of_ours(physical_id: str) -> bool:
    """Whether the handler has given that id; CloudFormation invents `<stack>-<logical id>-<suffix>`, without a slash."""
    return "/" in physical_id


def valid_until(url: str) -> datetime | None:
    """When a pre-signed URL expires, if it says so (seen: 24 hours for the handle of a WaitCondition)."""
    signed_at = _signed_at(url)
    try:
        return signed_at and signed_at + timedelta(seconds=int(_query(url)["X-Amz-Expires"][0]))
    except (KeyError, ValueError, OverflowError):
        return None


def _made_at(event: Mapping[str, Any]) -> datetime | None:
    """When CloudFormation made the request: it signed the ResponseURL then (seen in real requests, not documented)."""
    carried = event.get(MADE_AT)
    if isinstance(carried, int | float):
        return datetime.fromtimestamp(carried, UTC)
    return _signed_at(str(event.get("ResponseURL")))


def _signed_at(url: str) -> datetime | None:
    try:
        return datetime.strptime(_query(url)["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return None


def _query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)
