"""CloudFormation: one stack, its custom resources and WaitConditions, deploys, rollbacks, clean-ups (FACTS section 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from .timeline import Steps, Timeline, Until

STACK_NAME = "Weather"
URL_LIVES = 7200
HANDLE_LIVES = 86_399
"""Seconds for which a pre-signed URL is taken (both seen)."""
LONGEST_ANSWER = 4096
REMAKING_TAKES = 45.0
"""Seconds for a stack's function, role and log group to go and to be made again: the two never overlap."""
CUSTOM_RESOURCE_TYPE = "Custom::PipelineReprocessing"


@dataclass(frozen=True)
class Ref:
    """The value of another resource of the template."""

    logical_id: str


@dataclass(frozen=True)
class CustomResource:
    logical_id: str
    properties: Mapping[str, Any]
    service_timeout: int


@dataclass(frozen=True)
class WaitHandle:
    logical_id: str


@dataclass(frozen=True)
class WaitCondition:
    logical_id: str
    handle: str
    timeout: int


@dataclass(frozen=True)
class Other:
    """Any other resource: takes some time, and may fail."""

    logical_id: str
    version: int = 1
    takes: float = 2.0
    fails: bool = False


Resource = CustomResource | WaitHandle | WaitCondition | Other
Template = tuple[Resource, ...]


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


@dataclass
class _Deployed:
    spec: Resource
    physical_id: str
    properties: Mapping[str, Any]
    """Resolved, every scalar a string."""


class Queue(Protocol):
    """The asynchronous queue of the function."""

    def __call__(self, payload: str) -> None: ...


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


class SimulatedCloudFormation:
    """One stack after another of one name, each with an id of its own."""

    def __init__(self, timeline: Timeline, plan: CloudFormationPlan, queue: Queue) -> None:
        self._timeline = timeline
        self._plan = plan
        self._queue = queue
        self._interruption: str | None = None
        self._deployed: dict[str, _Deployed] = {}
        self._unfinished_rollback: list[tuple[CustomResource, Mapping[str, Any]]] = []
        self._template: Template = ()
        self._to_clean_up: list[tuple[CustomResource, str, Mapping[str, Any]]] = []
        self._urls: dict[str, tuple[Request, float]] = {}
        self._handles: dict[str, float] = {}
        self._signals_before_wait: dict[str, list[bytes]] = {}
        self.stack_id = f"arn:aws:cloudformation:eu-west-1:123456789012:stack/{STACK_NAME}/0"
        self.status = "NONE"
        self.is_busy = False
        self.requests: list[Request] = []
        self.waits: list[Wait] = []
        self.secrets: list[str] = []
        self.gone: set[str] = set()
        """Stacks whose function, role and log group are no more."""
        self.on_new_stack: Callable[[], None] = lambda: None

    # -- what people do ---------------------------------------------------------------------------------------

    def deploy(self, template: Template) -> Steps:
        """Creates the stack, or updates it."""
        self.is_busy, self._interruption = True, None
        if self.status in ("NONE", "DELETE_COMPLETE"):
            yield from self._create_stack(template)
        else:
            yield from self._update_stack(template)
        self.is_busy = False
        self._timeline.nudge()

    def destroy(self) -> Steps:
        """Deletes the stack."""
        self.is_busy, self._interruption = True, None
        self.status = "DELETE_IN_PROGRESS"
        yield from self._remove_everything("DELETE_COMPLETE", "DELETE_FAILED")
        self.is_busy = False
        self._timeline.nudge()

    def continue_rollback(self) -> Steps:
        """Tries a failed rollback again."""
        self.is_busy, self._interruption = True, None
        yield from self._roll_back(self._unfinished_rollback)
        self.is_busy = False
        self._timeline.nudge()

    def interrupt(self, why: str) -> None:
        """Somebody cancels the deploy (`cancel`), deletes the stack that is being made (`destroy`), or another
        resource fails meanwhile (`sibling`)."""
        if (
            self.is_busy
            and self._interruption is None
            and self.status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS")
        ):
            self._interruption = why
            self._timeline.nudge()

    def stray_delete(self, spec: CustomResource, physical_id: str) -> None:
        """A Delete that nobody expects: late, or for an id that was never issued."""
        request = self._request("Delete", spec, self._resolved(spec.properties), physical_id=physical_id)
        self._timeline.process(self._listen(request))

    def current(self, logical_id: str) -> tuple[CustomResource, str] | None:
        """A custom resource of the stack, and its physical id."""
        deployed = self._deployed.get(logical_id)
        if deployed is None or not isinstance(deployed.spec, CustomResource):
            return None
        return deployed.spec, deployed.physical_id

    # -- what the function sees -------------------------------------------------------------------------------

    def describe_stacks(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert parameters["StackName"].rpartition("/")[0] == self.stack_id.rpartition("/")[0]
        is_this_one = parameters["StackName"] == self.stack_id
        return {"Stacks": [{"StackStatus": self.status if is_this_one else "DELETE_COMPLETE"}]}

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

    # -- stacks -----------------------------------------------------------------------------------------------

    def _create_stack(self, template: Template) -> Steps:
        number = int(self.stack_id.rpartition("/")[2]) + 1
        self.stack_id = f"{self.stack_id.rpartition('/')[0]}/{number}"
        self._deployed, self._to_clean_up, self.status = {}, [], "CREATE_IN_PROGRESS"
        self.on_new_stack()
        self._template = template
        for spec in template:
            succeeded = yield from self._create(spec)
            if self._interruption or not succeeded:
                break
        else:
            self.status = "CREATE_COMPLETE"
            return
        yield from self._pause()
        if self._interruption == "destroy":
            self.status = "DELETE_IN_PROGRESS"
            yield from self._remove_everything("DELETE_COMPLETE", "DELETE_FAILED")
        else:
            self.status = "ROLLBACK_IN_PROGRESS"
            yield from self._remove_everything("ROLLBACK_COMPLETE", "ROLLBACK_FAILED")

    def _update_stack(self, template: Template) -> Steps:
        self.status = "UPDATE_IN_PROGRESS"
        touched: list[tuple[CustomResource, Mapping[str, Any]]] = []
        made: list[str] = []
        for spec in template:
            deployed = self._deployed.get(spec.logical_id)
            if deployed is None:
                made.append(spec.logical_id)
                succeeded = yield from self._create(spec)
            elif deployed.spec == spec:
                continue
            elif isinstance(spec, CustomResource):
                assert isinstance(deployed.spec, CustomResource)
                touched.append((deployed.spec, deployed.properties))
                succeeded = yield from self._update(spec, deployed)
            elif isinstance(spec, WaitCondition):
                succeeded = False  # "Updates are not supported" of any of its properties
            else:
                succeeded = yield from self._create(spec)
            if self._interruption or not succeeded:
                yield from self._pause()
                yield from self._roll_back(touched, made)
                return
        gone = [
            item
            for item in self._deployed.values()
            if item.spec.logical_id not in {spec.logical_id for spec in template}
        ]
        self._template = template
        self.status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
        yield from self._clean_up()
        for item in reversed(gone):
            yield from self._remove(item)
        self.status = "UPDATE_COMPLETE"

    def _roll_back(
        self, touched: list[tuple[CustomResource, Mapping[str, Any]]], made: list[str] | None = None
    ) -> Steps:
        self.status = "UPDATE_ROLLBACK_IN_PROGRESS"
        before = [(spec, old) for spec, old in touched]
        for position, (spec, properties) in enumerate(before):
            deployed = self._deployed[spec.logical_id]
            attempted = deployed.properties
            request = self._request(
                "Update", spec, properties, physical_id=deployed.physical_id, old=attempted, is_swapped=True
            )
            yield from self._listen(request)
            if not request.succeeded:
                self.status = "UPDATE_ROLLBACK_FAILED"
                self._unfinished_rollback = before[position:]
                return
            self._replace(
                deployed,
                spec,
                request.answer_id,
                properties,
                keeps_old=not self._plan.cleans_up_after_rollback,
            )
        self._unfinished_rollback = []
        self.status = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
        yield from self._clean_up()
        for logical_id in reversed(made or []):
            if logical_id in self._deployed:
                yield from self._remove(self._deployed[logical_id])
        for kept in self._template:
            self._deployed[kept.logical_id].spec = kept
        self.status = "UPDATE_ROLLBACK_COMPLETE"

    def _remove_everything(self, then: str, or_else: str) -> Steps:
        yield from self._clean_up()
        succeeded = True
        for item in reversed(list(self._deployed.values())):
            succeeded = (yield from self._remove(item)) and succeeded
        if succeeded:
            self.gone.add(self.stack_id)
            yield Until(self._timeline.now + REMAKING_TAKES)
        self.status = then if succeeded else or_else

    def _clean_up(self) -> Steps:
        waiting, self._to_clean_up = self._to_clean_up, []
        current = {item.physical_id for item in self._deployed.values()}
        for spec, physical_id, properties in waiting:
            if physical_id not in current:
                yield from self._listen(self._request("Delete", spec, properties, physical_id=physical_id))

    # -- resources --------------------------------------------------------------------------------------------

    def _create(self, spec: Resource) -> Any:
        match spec:
            case Other():
                self._deployed[spec.logical_id] = _Deployed(spec, spec.logical_id, {})
                yield Until(self._timeline.now + spec.takes, lambda: self._interruption is not None)
                return not spec.fails
            case WaitHandle():
                self._deployed[spec.logical_id] = _Deployed(spec, self._new_handle(spec.logical_id), {})
                return True
            case WaitCondition():
                self._deployed[spec.logical_id] = _Deployed(spec, spec.logical_id, {})
                return (yield from self._wait_for_signal(spec))
            case CustomResource():
                properties = self._resolved(spec.properties)
                request = self._request("Create", spec, properties)
                yield from self._listen(request, interruptible=True)
                invented = f"{STACK_NAME}-{spec.logical_id}-{len(self.requests):08X}"
                physical_id = request.answer_id if request.accepted else invented
                self._deployed[spec.logical_id] = _Deployed(spec, physical_id, properties)
                return request.succeeded

    def _update(self, spec: CustomResource, deployed: _Deployed) -> Any:
        properties, old = self._resolved(spec.properties), deployed.properties
        request = self._request("Update", spec, properties, physical_id=deployed.physical_id, old=old)
        yield from self._listen(request, interruptible=True)
        if request.succeeded:
            self._replace(deployed, spec, request.answer_id, properties)
        else:
            deployed.properties = properties  # what the swapped Update calls old
            if request.accepted:
                self._replace(deployed, spec, request.answer_id, properties)
        return request.succeeded

    def _replace(
        self,
        deployed: _Deployed,
        spec: CustomResource,
        physical_id: str,
        properties: Mapping[str, Any],
        *,
        keeps_old: bool = False,
    ) -> None:
        if physical_id != deployed.physical_id:
            self._to_clean_up.append((spec, deployed.physical_id, deployed.properties))
        if keeps_old:
            self._to_clean_up = [
                item
                for item in self._to_clean_up
                if item[0].logical_id != spec.logical_id or item[1] == deployed.physical_id
            ]
        deployed.spec, deployed.physical_id, deployed.properties = spec, physical_id, properties

    def _remove(self, item: _Deployed) -> Any:
        succeeded = True
        if isinstance(item.spec, CustomResource):
            request = self._request("Delete", item.spec, item.properties, physical_id=item.physical_id)
            yield from self._listen(request)
            succeeded = request.succeeded
        if succeeded:
            del self._deployed[item.spec.logical_id]
        return succeeded

    def _wait_for_signal(self, spec: WaitCondition) -> Any:
        url = self._deployed[spec.handle].physical_id
        now = self._timeline.now
        wait = Wait(spec.logical_id, url, now, now + spec.timeout)
        self.waits.append(wait)
        early = self._signals_before_wait.pop(url, [])
        wait.signals.extend(Answer(now, body, accepted=index == 0) for index, body in enumerate(early))
        yield Until(wait.deadline, lambda: wait.accepted is not None or self._interruption is not None)
        if wait.accepted is None:
            wait.abandoned = self._timeline.now
            return False
        return wait.accepted.document.get("Status") == "SUCCESS"

    def _listen(self, request: Request, *, interruptible: bool = False) -> Steps:
        yield Until(
            request.deadline,
            lambda: request.accepted is not None or (interruptible and self._interruption is not None),
        )
        if request.accepted is None:
            request.abandoned = self._timeline.now

    def _pause(self) -> Steps:
        yield Until(self._timeline.now + self._plan.reacts_after)

    # -- requests ---------------------------------------------------------------------------------------------

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
        for number_, later in self._plan.repeats:
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
        if not self._plan.dated:
            return f"{address}?AWSAccessKeyId=AKIA{number:016d}&Expires=1767300000&Signature={signature}%3D"
        stamp = self._timeline.time().strftime("%Y%m%dT%H%M%SZ")
        return (
            f"{address}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={stamp}&X-Amz-SignedHeaders=host"
            f"&X-Amz-Expires={lives}&X-Amz-Credential=AKIA{number:016d}%2F20260101%2Feu-west-1%2Fs3%2Faws4_request"
            f"&X-Amz-Signature={signature}"
        )

    def _resolved(self, value: Any) -> Any:
        """Every scalar arrives as a string."""
        match value:
            case Ref():
                return self._deployed[value.logical_id].physical_id
            case bool():
                return str(value).lower()
            case dict():
                return {key: self._resolved(item) for key, item in value.items()}
            case list() | tuple():
                return [self._resolved(item) for item in value]
            case _:
                return str(value)
