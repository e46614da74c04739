"""How CloudFormation asks the function, and where S3 takes the answers and signals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .resources import CustomResource
from .timeline import Timeline

STACK_NAME = "Weather"
URL_LIVES = 7200
HANDLE_LIVES = 86_399
"""Seconds for which a pre-signed URL is taken (both seen)."""
LONGEST_ANSWER = 4096
CUSTOM_RESOURCE_TYPE = "Custom::PipelineReprocessing"


@dataclass(frozen=True)
class CloudFormationPlan:
    """How CloudFormation behaves.

    Args:
        dated: Whether a ResponseURL says when it was made.
        repeats: Which requests, by number, come again under the same RequestId, and how many seconds later.
        cleans_up_after_rollback: Whether an id that a rolled-back Update has replaced is deleted, too.
        reacts_after: Seconds from a failure to the next step.
    """

    dated: bool = True
    repeats: tuple[tuple[int, float], ...] = ()
    cleans_up_after_rollback: bool = False
    reacts_after: float = 1.0


@dataclass
class Answer:
    """One PUT to a ResponseURL that S3 has taken."""

    time: float
    body: bytes = field(repr=False)
    accepted: bool

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


@dataclass
class Request:
    """One request to the custom resource, as CloudFormation remembers it."""

    event: Mapping[str, Any] = field(repr=False)
    type: str
    request_id: str
    logical_id: str
    physical_id: str
    made: float
    deadline: float
    stack_status: str
    is_swapped: bool = False
    """Whether it is the Update of a rollback."""
    answers: list[Answer] = field(default_factory=list)
    abandoned: float | None = None
    """When CloudFormation stopped listening without an answer."""

    @property
    def accepted(self) -> Answer | None:
        return next((answer for answer in self.answers if answer.accepted), None)

    @property
    def succeeded(self) -> bool:
        return self.accepted is not None and self.accepted.document.get("Status") == "SUCCESS"

    @property
    def reason(self) -> str:
        return str(self.accepted.document.get("Reason")) if self.accepted else ""

    @property
    def answer_id(self) -> str:
        assert self.accepted
        return str(self.accepted.document["PhysicalResourceId"])


@dataclass
class Wait:
    """A WaitCondition, waiting for its handle to be signalled."""

    logical_id: str
    url: str = field(repr=False)
    made: float
    deadline: float
    signals: list[Answer] = field(default_factory=list)
    abandoned: float | None = None

    @property
    def accepted(self) -> Answer | None:
        return next((signal for signal in self.signals if signal.accepted), None)


class Requests:
    """All that was asked and waited for, of one stack after another.

    Args:
        timeline: When.
        plan: How CloudFormation behaves.
        queue: The asynchronous queue of the function.
    """

    def __init__(self, timeline: Timeline, plan: CloudFormationPlan, queue: Callable[[str], None]) -> None:
        self._timeline = timeline
        self.plan = plan
        self._queue = queue
        self._urls: dict[str, tuple[Request, float]] = {}
        self._handles: dict[str, float] = {}
        self._signals_before_wait: dict[str, list[bytes]] = {}
        self.stack_id = f"arn:aws:cloudformation:eu-west-1:123456789012:stack/{STACK_NAME}/0"
        self.status = "NONE"
        self.requests: list[Request] = []
        self.waits: list[Wait] = []
        self.secrets: list[str] = []

    def kind_of(self, request_id: str) -> str:
        """`Create`, `Update`, `rollback` or `Delete`; `unknown` where it was never made."""
        for request in self.requests:
            if request.request_id == request_id:
                return "rollback" if request.is_swapped else request.type
        return "unknown"

    def receive(self, url: str, body: bytes) -> int:
        """S3 takes a PUT."""
        now = self._timeline.now
        if url in self._urls:
            request, made = self._urls[url]
            if now > made + URL_LIVES:
                return 403
            waits = request.accepted is None and request.abandoned is None and now < request.deadline
            request.answers.append(Answer(now, body, accepted=waits))
            self._timeline.nudge()
            return 200
        if url not in self._handles or now > self._handles[url] + HANDLE_LIVES:
            return 403
        for wait in self.waits:
            if wait.url == url:
                waits = wait.accepted is None and wait.abandoned is None and now < wait.deadline
                wait.signals.append(Answer(now, body, accepted=waits))
                self._timeline.nudge()
                return 200
        self._signals_before_wait.setdefault(url, []).append(body)
        return 200

    def _request(
        self,
        type_: str,
        spec: CustomResource,
        properties: Mapping[str, Any],
        *,
        physical_id: str = "",
        old: Mapping[str, Any] | None = None,
        is_swapped: bool = False,
    ) -> Request:
        number, now = len(self.requests) + 1, self._timeline.now
        request_id = f"{number:08d}-aaaa-bbbb-cccc-000000000000"
        event: dict[str, Any] = {
            "RequestType": type_,
            "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:handler",
            "ResponseURL": "",
            "StackId": self.stack_id,
            "RequestId": request_id,
            "LogicalResourceId": spec.logical_id,
            "ResourceType": CUSTOM_RESOURCE_TYPE,
            "ResourceProperties": properties,
        }
        if type_ != "Create":
            event["PhysicalResourceId"] = physical_id
        if type_ == "Update":
            event["OldResourceProperties"] = old
        request = Request(
            event,
            type_,
            request_id,
            spec.logical_id,
            physical_id,
            now,
            now + spec.service_timeout,
            self.status,
            is_swapped,
        )
        self.requests.append(request)
        self._send(request)
        for number_, later in self.plan.repeats:
            if number_ == number:
                self._timeline.at(now + later, lambda: self.send_again(request))
        return request

    def _send(self, request: Request) -> None:
        url = self._url(f"{request.event['StackId']}|{request.logical_id}|{request.request_id}")
        self._urls[url] = (request, self._timeline.now)
        self._queue(json.dumps({**request.event, "ResponseURL": url}))

    def send_again(self, request: Request) -> None:
        """Repeats a request, under its RequestId and with a ResponseURL of its own, if it is still open."""
        if request.accepted is None and request.abandoned is None:
            self._send(request)

    def _new_handle(self, logical_id: str) -> str:
        url = self._url(f"{self.stack_id}/{logical_id}", HANDLE_LIVES)
        self._handles[url] = self._timeline.now
        return url

    def _url(self, key: str, lives: int = URL_LIVES) -> str:
        """A pre-signed URL. Its signature is what nobody may see."""
        number = len(self.secrets) + 1
        signature = f"SECRET{number:04d}ABCDEF0123456789"
        self.secrets.append(signature)
        address = f"https://cloudformation-custom-resource-response-euwest1.s3.eu-west-1.amazonaws.com/{quote(key, safe='')}"
        if not self.plan.dated:
            return f"{address}?AWSAccessKeyId=AKIA{number:016d}&Expires=1767300000&Signature={signature}%3D"
        stamp = self._timeline.time().strftime("%Y%m%dT%H%M%SZ")
        return (
            f"{address}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={stamp}&X-Amz-SignedHeaders=host"
            f"&X-Amz-Expires={lives}&X-Amz-Credential=AKIA{number:016d}%2F20260101%2Feu-west-1%2Fs3%2Faws4_request"
            f"&X-Amz-Signature={signature}"
        )
