"""The answer to a request: at most 4,096 bytes, delivered once, to whoever listens."""

from __future__ import annotations

import json
import logging
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from .aws import Aws
from .aws_errors import Fault
from .ledger import Ledger
from .request import Request, requested_at, valid_until
from .validation import ANSWER_ALLOWANCE, MAX_WAIT

log = logging.getLogger(__name__)

MAX_ANSWER = 4096
"""Bytes of a response object, everything included (CloudFormation User Guide, custom resource response objects)."""
SEND_FOR = timedelta(seconds=60)
"""How long one attempt at an answer may take, with its repeats."""
LEASE = timedelta(seconds=75)
"""After this an answer that somebody else has begun to send is there, or never will be."""
COPIED = ("StackId", "RequestId", "LogicalResourceId")
"""Fields that an answer copies from its request."""


@dataclass(frozen=True)
class Answer:
    """What has become of a request."""

    succeeded: bool
    reason: str
    physical_id: str
    data: Mapping[str, Any]
    no_echo: bool = False


@dataclass(frozen=True)
class Delivery:
    """An answer on its way, and where it goes."""

    kind: str
    """Names the marks of its delivery in the ledger: `answer-1`, `answer-sent`."""
    request_id: str
    url: str = field(repr=False)
    body: bytes
    until: datetime
    """When nobody listens any more."""

    @property
    def sent(self) -> str:
        return f"{self.kind}-sent"


def delivery_of(answer: Answer, event: Mapping[str, Any], *, now: datetime) -> Delivery:
    """Addresses an answer: to the request's ResponseURL, or to the WaitCondition that took over from it."""
    waiting = event.get("CrHelperData")
    signal_url = _signal_url(event)
    if waiting and signal_url:
        started_at, deadline = (
            datetime.fromtimestamp(waiting[key], UTC) for key in ("started_at", "deadline")
        )
        return signal_of(
            answer, event, signal_url, until=min(deadline + ANSWER_ALLOWANCE, started_at + MAX_WAIT)
        )
    try:
        until = Request.parse(event, now=now).answer_by
    except Exception:  # noqa: BLE001  # whatever it is: an answer goes out
        until = (requested_at(event) or now) + ANSWER_ALLOWANCE
    return Delivery(
        kind="answer",
        request_id=str(event.get("RequestId", "")),
        url=event["ResponseURL"],
        body=_fitted(_response(answer, event)),
        until=until,
    )


def signal_of(answer: Answer, event: Mapping[str, Any], url: str, *, until: datetime) -> Delivery:
    """Addresses an answer to a WaitCondition."""
    return Delivery(
        kind="signal",
        request_id=event["RequestId"],
        url=url,
        body=_fitted(_signal(answer, event)),
        # The handle of an earlier deploy, to which a rollback returns, may have ceased to be one.
        until=min(until, valid_until(url) or until),
    )


def deliver(delivery: Delivery, ledger: Ledger, aws: Aws) -> bool:
    """Sends an answer unless it has been sent; False if it cannot be sent now.

    Of several invocations that want to answer one request, the holder of the ledger's claim does; the next one
    takes over only when the claim is old and the answer has not arrived.
    """
    for attempt in count(1):
        try:
            marks = ledger.marks(delivery.request_id)
            if delivery.sent in marks or aws.clock.now() >= delivery.until:
                log.info("nothing to send: the request was answered, or nobody listens any more")
                return True
            claim = f"{delivery.kind}-{attempt}"
            # in doubt it is ours: twice is better than never
            if claim in marks or not ledger.mark(delivery.request_id, claim, in_doubt=True):
                lease_ends = marks.get(claim, aws.clock.now()) + LEASE
                while aws.clock.now() < lease_ends and delivery.sent not in ledger.marks(delivery.request_id):
                    aws.clock.sleep(2.0)
                continue
        except Fault as fault:
            log.warning("answering without the ledger: %s", fault)
        if not _put_until_taken(delivery, aws):
            return False
        try:
            ledger.mark(delivery.request_id, delivery.sent)
        except Fault as fault:
            log.warning("the answer is sent and not recorded: %s", fault)
        break
    return True


def _put_until_taken(delivery: Delivery, aws: Aws) -> bool:
    until, pause = min(delivery.until, aws.clock.now() + SEND_FOR), 1.0
    while aws.clock.now() < until:
        try:
            status = aws.put(delivery.url, delivery.body)
            if 200 <= status < 300:
                return True
            log.warning("the answer was refused with HTTP status %s", status)
        except Fault as fault:
            log.warning("the answer was not delivered: %s", fault)
        aws.clock.sleep(pause)
        pause = min(2 * pause, 16.0)
    return False


def _response(answer: Answer, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Status": "SUCCESS" if answer.succeeded else "FAILED",
        "Reason": answer.reason or ("" if answer.succeeded else "no reason is known"),
        "PhysicalResourceId": answer.physical_id,
        **{key: str(event.get(key, "")) for key in COPIED},
        "NoEcho": answer.no_echo,
        "Data": dict(answer.data),
    }


def _signal(answer: Answer, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Status": "SUCCESS" if answer.succeeded else "FAILURE",
        "Reason": answer.reason or "the run has succeeded",
        "UniqueId": event["RequestId"],
        "Data": _head(answer.physical_id, 1024),
    }


def _signal_url(event: Mapping[str, Any]) -> str | None:
    properties = event.get("ResourceProperties")
    wait = properties.get("Wait") if isinstance(properties, Mapping) else None
    return wait.get("SignalUrl") if isinstance(wait, Mapping) else None


def _fitted(body: dict[str, Any]) -> bytes:
    """The body in at most 4,096 bytes: the end of a long reason goes first, as the start says most."""
    if len(encoded := _encoded(body)) <= MAX_ANSWER:
        return encoded
    room = MAX_ANSWER - len(_encoded({**body, "Reason": ""}))
    if reason := _head(body["Reason"], room):
        return _encoded({**body, "Reason": reason})
    failed = {"Status": "FAILED", "Reason": "the attributes do not fit an answer of 4,096 bytes", "Data": {}}
    return _encoded({**body, **failed, "PhysicalResourceId": _head(body["PhysicalResourceId"], 1024)})


def _head(text: str, room: int) -> str:
    """As much of the beginning as takes that many bytes in JSON, where one character takes up to twelve."""
    lengths = range(1, len(text) + 1)
    return text[: bisect_right(lengths, room, key=lambda length: len(_encoded(text[:length])) - len('""'))]


def _encoded(value: object) -> bytes:
    return json.dumps(value, default=str).encode()
