"""The response to a request: at most 4,096 bytes, delivered once."""

from __future__ import annotations

import json
import logging
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from .aws import Aws
from .aws_errors import Fault
from .invocation import COPIED, Invocation, Recipient, valid_until
from .ledger import Ledger

log = logging.getLogger(__name__)

MAX_RESPONSE = 4096
"""Bytes of a response object, everything included (CloudFormation User Guide, custom resource response objects)."""
SEND_FOR = timedelta(seconds=60)
"""How long one attempt at a response may take, with its repeats."""
LEASE = timedelta(seconds=75)
"""After this a response that another invocation began to send has arrived, or never will."""
LEDGER_FOR = timedelta(seconds=15)
"""How long a response waits for the ledger. Without it a second response may be sent, and CloudFormation takes the first."""


@dataclass(frozen=True)
class Answer:
    """The outcome of a request."""

    physical_id: str
    data: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    """A sentence: what was done, why nothing was, or why the request failed."""
    succeeded: bool = True
    no_echo: bool = False
    ends_wait: bool = False
    """Whether the WaitCondition of this deploy, if there is one, is told the same."""
    signal_follows: bool = False
    """Whether the WaitCondition of this deploy is told later how the run has ended."""


def respond(answer: Answer, invocation: Invocation, ledger: Ledger, aws: Aws) -> bool:
    """Sends an answer to everything that waits for it; False if it cannot be sent now."""
    condition = invocation.new_condition if answer.ends_wait else None
    recipients = [*([condition] if condition else []), invocation.recipient]
    status = "FAILED" if not answer.succeeded else "WAITING" if answer.signal_follows else "SUCCESS"
    return all(_deliver(answer, to, invocation.event, ledger, aws, recorded=status) for to in recipients)


def _deliver(
    answer: Answer, to: Recipient, event: Mapping[str, Any], ledger: Ledger, aws: Aws, *, recorded: str
) -> bool:
    """Sends unless it has been sent, and notes the status that is to be recorded.

    Of several invocations for one request the holder of the ledger's claim sends. The next one takes over only when the
    claim is old and the response has not arrived.
    """
    body = _fitted(_response(answer, event) if to.subject == "answer" else _signal(answer, event))
    until = min(to.until, valid_until(to.url) or to.until)
    for attempt in count(1):
        if aws.clock.now() >= until:
            log.info("the %s is not sent: CloudFormation has stopped listening", to.subject)
            return True
        try:
            claim = f"{to.subject}-{attempt}"
            # in doubt the claim is ours: twice is better than never
            if not ledger.claim(claim, in_doubt=True):
                if _has_arrived(to, claim, ledger, aws):
                    log.info("the %s is not sent: the request was answered before", to.subject)
                    return True
                continue
        except Fault as fault:
            log.warning("the %s is sent without the ledger: %s", to.subject, fault)
        if not _put_until_taken(to, body, aws):
            return False
        break
    try:
        ledger.note(f"{to.subject}~{event.get('RequestType')}~{recorded}")
    except Fault as fault:
        log.warning("the %s is sent and not recorded: %s", to.subject, fault)
    return True


def _has_arrived(to: Recipient, claim: str, ledger: Ledger, aws: Aws) -> bool:
    """Waits for the holder of the claim to send, at most until its lease ends."""
    own = ledger.read().own
    if own.said(to.subject) is None:
        claimed_at = ledger.claims(own.request_id).get(claim, aws.clock.now())
        while aws.clock.now() < claimed_at + LEASE and own.said(to.subject) is None:
            aws.clock.sleep(2.0)
            own = ledger.read().own
    return own.said(to.subject) is not None


def _put_until_taken(to: Recipient, body: bytes, aws: Aws) -> bool:
    until = min(to.until, aws.clock.now() + SEND_FOR)
    for pause in aws.pauses():
        try:
            status = aws.put(to.url, body)
            if 200 <= status < 300:
                return True
            log.warning("the response was refused with HTTP status %s", status)
        except Fault as fault:
            log.warning("the response was not delivered: %s", fault)
        aws.clock.sleep(pause)
        if aws.clock.now() >= until:
            break
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


def _fitted(body: dict[str, Any]) -> bytes:
    """The body in at most 4,096 bytes: the end of a long reason goes first, as the start says most."""
    if len(encoded := _encoded(body)) <= MAX_RESPONSE:
        return encoded
    room = MAX_RESPONSE - len(_encoded({**body, "Reason": ""}))
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
