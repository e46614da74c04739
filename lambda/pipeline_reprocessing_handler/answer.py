"""The answer to a request: at most 4,096 bytes, delivered once, to whoever listens."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from .aws import Aws
from .faults import Fault
from .ledger import Ledger
from .request import ANSWER_ALLOWANCE, Failure, Request, requested_at

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
class Letter:
    """An answer on its way."""

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


def letter(answer: Answer, event: Mapping[str, Any], *, now: datetime) -> Letter:
    """Addresses an answer: to the request's ResponseURL, or to the WaitCondition that took over from it."""
    waiting = event.get("CrHelperData")
    wait = event.get("ResourceProperties", {}).get("Wait") or {}
    if waiting and wait.get("SignalUrl"):
        return Letter(
            kind="signal",
            request_id=event["RequestId"],
            url=wait["SignalUrl"],
            body=_fitted(_signal(answer, event)),
            until=datetime.fromtimestamp(waiting["deadline"], UTC) + ANSWER_ALLOWANCE,
        )
    try:
        until = Request.parse(event, now=now).answer_by
    except Failure:
        until = (requested_at(event) or now) + ANSWER_ALLOWANCE
    return Letter(
        kind="answer",
        request_id=str(event.get("RequestId", "")),
        url=event["ResponseURL"],
        body=_fitted(_response(answer, event)),
        until=until,
    )


def post(letter: Letter, ledger: Ledger, aws: Aws) -> bool:
    """Delivers a letter unless it has been; False if it cannot be delivered now.

    Of several invocations that want to answer one request, the holder of the ledger's claim does; the next one
    takes over only when the claim is old and the letter has not arrived.
    """
    for attempt in count(1):
        try:
            marks = ledger.marks(letter.request_id)
            if letter.sent in marks or aws.clock.now() >= letter.until:
                log.info("nothing to send: the request was answered, or nobody listens any more")
                return True
            claim = f"{letter.kind}-{attempt}"
            if claim in marks or not ledger.mark(letter.request_id, claim):
                lease_ends = marks.get(claim, aws.clock.now()) + LEASE
                while aws.clock.now() < lease_ends and letter.sent not in ledger.marks(letter.request_id):
                    aws.clock.sleep(2.0)
                continue
        except Fault as fault:
            log.warning("answering without the ledger: %s", fault)  # twice is better than never
        if not _deliver(letter, aws):
            return False
        try:
            ledger.mark(letter.request_id, letter.sent)
        except Fault as fault:
            log.warning("the answer is sent and not recorded: %s", fault)
        break
    return True


def _deliver(letter: Letter, aws: Aws) -> bool:
    until, pause = min(letter.until, aws.clock.now() + SEND_FOR), 1.0
    while aws.clock.now() < until:
        try:
            status = aws.put(letter.url, letter.body)
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
        "Data": answer.physical_id,
    }


def _fitted(body: dict[str, Any]) -> bytes:
    """The body in at most 4,096 bytes: the end of a long reason goes first, as the start says most."""
    too_long = "the attributes do not fit an answer of 4,096 bytes"
    while len(encoded := json.dumps(body, default=str).encode()) > MAX_ANSWER:
        if len(body["Reason"]) > len(too_long):
            excess = len(encoded) - MAX_ANSWER
            # one character takes up to twelve bytes in JSON
            keep = len(body["Reason"]) - max(excess // 12, 1) - 1
            body = {**body, "Reason": body["Reason"][: max(keep, len(too_long))]}
        else:
            body = {**body, "Status": "FAILED", "Reason": too_long, "Data": {}}
            body["PhysicalResourceId"] = body["PhysicalResourceId"][:1024]
    return encoded
