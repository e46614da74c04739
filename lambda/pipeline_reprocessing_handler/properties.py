"""The properties of the custom resource: the contract between the construct and its handler, parsed once.

Every scalar of a property may arrive as a string, and old shapes of the properties come back on rollback and Delete for
ever: keys are only ever added.

`Because` is for people and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from .validation import (
    ANSWER_ALLOWANCE,
    EPOCH,
    LONGEST_CUSTOM_RESOURCE_WAIT,
    MAX_WAIT,
    Failure,
    OnRemoval,
    OnRollback,
    OnTimeout,
    check_endpoint_url,
    check_last,
    check_order,
    check_pipeline_name,
    check_s3_key,
    check_s3_path,
    check_s3_path_count,
    check_wait,
    format_time,
    one_of,
    parse_time,
    shown,
    state_machine_name,
)


class Kind(StrEnum):
    """The kinds of pipeline that can be reprocessed."""

    IOT_ANALYTICS = "IOT_ANALYTICS"
    STATE_MACHINE = "STATE_MACHINE"


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
        kind = one_of("Pipeline.Kind", values.get("Kind"), Kind)
        if kind is Kind.STATE_MACHINE:
            arn = text("Pipeline.Arn", values.get("Arn"))
            return cls(kind, state_machine_name("Pipeline.Arn", arn), arn=arn)
        url = values.get("EndpointUrl")
        return cls(
            kind,
            check_pipeline_name("Pipeline.Name", text("Pipeline.Name", values.get("Name"))),
            endpoint_url=None
            if url is None
            else check_endpoint_url("Pipeline.EndpointUrl", text("Pipeline.EndpointUrl", url)),
        )


@dataclass(frozen=True)
class Messages:
    """Which stored messages a run reads; none of the fields set means all of them."""

    start: datetime | None = None
    end: datetime | None = None
    last_seconds: int | None = None
    s3_paths: tuple[str, ...] = ()
    keys_from: str | None = None
    """A file with the keys of objects: `s3://<bucket>/<key>`."""

    @classmethod
    def parse(cls, properties: object, kind: Kind) -> Messages:
        """Reads a selection, whose paths are those that this kind of pipeline takes."""
        values = _mapping("Messages", properties)
        ways = [
            way
            for way in (("StartTime", "EndTime"), ("LastSeconds",), ("S3Paths",), ("KeysFrom",), ("All",))
            if any(values.get(key) is not None for key in way)
        ]
        if len(ways) != 1:
            raise Failure(
                "'Messages' must have exactly one of StartTime and/or EndTime, LastSeconds, S3Paths, KeysFrom, All; "
                f"got {', '.join(sorted(values)) or 'none'}"
            )
        if ways == [("LastSeconds",)]:
            return cls(
                last_seconds=check_last(
                    "Messages.LastSeconds", _whole("Messages.LastSeconds", values["LastSeconds"])
                )
            )
        if ways == [("S3Paths",)]:
            return cls(s3_paths=_s3_paths(values["S3Paths"], kind))
        if ways == [("KeysFrom",)]:
            return cls(keys_from=text("Messages.KeysFrom", values["KeysFrom"]))
        if ways == [("All",)]:
            if str(values["All"]).lower() != "true":  # replaying everything is always said aloud
                raise Failure(f"'Messages.All' must be true, got {shown(values['All'])}")
            return cls()
        start, end = (
            parse_time(f"Messages.{key}", text(f"Messages.{key}", values[key]))
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
        if self.keys_from:
            return {"KeysFrom": self.keys_from}
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
            on_timeout=one_of("Wait.OnTimeout", values.get("OnTimeout", OnTimeout.FAIL), OnTimeout),
            signal_url=None if url is None else text("Wait.SignalUrl", url),
        )


@dataclass(frozen=True)
class Properties:
    """The properties of the custom resource."""

    target: Target
    messages: Messages
    trigger: str
    values: Mapping[str, Any]
    """What only the deploy knows of what decides the data, by name."""
    wait: Wait | None
    on_rollback: OnRollback
    on_removal: OnRemoval

    @classmethod
    def parse(cls, properties: object) -> Properties:
        values = _mapping("ResourceProperties", properties)
        target = Target.parse(values.get("Pipeline"))
        return cls(
            target=target,
            messages=Messages.parse(values.get("Messages"), target.kind),
            trigger=text("Trigger", values.get("Trigger")),
            values=_mapping("Values", values.get("Values", {})),
            wait=Wait.parse(values.get("Wait")),
            on_rollback=one_of("OnRollback", values.get("OnRollback", OnRollback.KEEP), OnRollback),
            on_removal=one_of("OnRemoval", values.get("OnRemoval", OnRemoval.CANCEL), OnRemoval),
        )

    @property
    def digest(self) -> str:
        """A digest of what decides the data: the same for every request that asks for the same."""
        target, messages, trigger = self.decides_the_data
        document = [target.kind, target.name, target.arn, messages.properties(), trigger, dict(self.values)]
        return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def decides_the_data(self) -> tuple[Target, Messages, str]:
        """What has to change before anything is reprocessed; a new time-out alone starts nothing."""
        return replace(self.target, endpoint_url=None), self.messages, self.trigger


def _s3_paths(value: object, kind: Kind) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Failure(f"'Messages.S3Paths' must be a list of object keys, got {shown(value)}")
    check_s3_path_count("Messages.S3Paths", len(value))
    check = check_s3_path if kind is Kind.IOT_ANALYTICS else check_s3_key
    return tuple(
        check(f"Messages.S3Paths[{index}]", text(f"Messages.S3Paths[{index}]", path))
        for index, path in enumerate(value)
    )


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Failure(f"'{name}' must be an object, got {type(value).__name__}")
    return value


def text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Failure(f"'{name}' must be a text that is not empty, got {shown(value)}")
    return value


def _whole(name: str, value: object) -> int:
    try:
        return int(value) if isinstance(value, str) or type(value) is int else int("")
    except ValueError:
        raise Failure(f"'{name}' must be a whole number, got {shown(value)}") from None


def readable(properties: object) -> Properties | None:
    """Old properties may have any shape that a version before this one wrote; unreadable ones tell nothing."""
    try:
        return Properties.parse(properties)
    except Exception:  # noqa: BLE001  # whatever it is: the request itself has to be answered
        return None
