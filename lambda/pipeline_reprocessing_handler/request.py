"""One request of CloudFormation: an event in, one frozen and checked `Request` out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .properties import Messages, Properties, Target, readable, text
from .validation import (
    ANSWER_ALLOWANCE,
    Failure,
    one_of,
)

ARRIVED_AT = "ArrivedAt"
"""Key under which an event carries the time (epoch seconds) at which the handler first saw it."""
NOT_STARTED = "not-started"
"""Stands for the run in the physical id of a request that failed before it started one."""


class RequestType(StrEnum):
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"


def check_request_type(value: object) -> RequestType:
    """What CloudFormation wants, if it is something that this handler knows."""
    return one_of("RequestType", value, RequestType)


@dataclass(frozen=True)
class Request:
    """One request of CloudFormation. Its ResponseURL is not here: only `lifecycle` needs that secret."""

    type: RequestType
    stack_id: str
    request_id: str
    logical_id: str
    physical_id: str
    properties: Properties
    previous: Properties | None
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
            stack_id=text("StackId", event.get("StackId")),
            request_id=text("RequestId", event.get("RequestId")),
            logical_id=text("LogicalResourceId", event.get("LogicalResourceId")),
            physical_id=str(event.get("PhysicalResourceId") or ""),
            properties=Properties.parse(event.get("ResourceProperties")),
            previous=readable(event.get("OldResourceProperties")),
            requested_at=requested_at(event) or now,
        )

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
    def new_signal_url(self) -> str | None:
        """The handle of a WaitCondition that this deploy makes, of which nobody has been told before."""
        before = self.previous.wait.signal_url if self.previous and self.previous.wait else None
        url = self.properties.wait.signal_url if self.properties.wait else None
        return None if url == before else url

    @property
    def answer_by(self) -> datetime:
        """When CloudFormation stops listening (`ServiceTimeout`)."""
        wait = self.properties.wait
        waits_here = wait is not None and wait.signal_url is None
        return self.requested_at + ANSWER_ALLOWANCE + (wait.timeout if wait and waits_here else timedelta())

    @property
    def messages(self) -> Messages:
        """The selection, counted from the time of the request: the same however often the event comes."""
        return self.properties.messages.at(self.requested_at)

    @property
    def asks_for(self) -> str:
        """A digest of what decides the data: the same for every request that asks for the same."""
        target, messages, trigger = self.properties.decides_the_data
        values = dict(self.properties.values)
        document = [target.kind, target.name, target.arn, messages.properties(), trigger, values]
        return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]

    def cause(self, why: str) -> str:
        """Why a run is cancelled, for those who look at the run."""
        return f"{why} ({self.logical_id} of {self.stack_id})"

    def failure(self, why: str, run_id: str | None = None) -> Failure:
        """A failure whose reason names pipeline and run first."""
        pipeline = f"pipeline '{self.properties.target.name}'"
        if run_id is None:
            return Failure(f"{pipeline}: {why}")
        return Failure(f"{pipeline}, run '{run_id}': {why}", physical_id=self.id_of(run_id))

    def id_of(self, run_id: str) -> str:
        """The physical id of the resource whose run that is."""
        return f"{self.properties.target.name}/{run_id}"


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
