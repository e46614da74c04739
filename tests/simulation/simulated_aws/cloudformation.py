"""CloudFormation: one stack, its custom resources and WaitConditions, deploys, rollbacks, clean-ups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .requests import STACK_NAME, Answer, CloudFormationPlan, Request, Requests, Wait
from .resources import CustomResource, Other, Ref, Resource, Template, WaitCondition, WaitHandle
from .timeline import Steps, Timeline, Until

REMAKING_TAKES = 45.0
"""Seconds for a stack's function, role and log group to go and to be made again: the two never overlap."""


@dataclass
class _Deployed:
    spec: Resource
    physical_id: str
    properties: Mapping[str, Any]
    """Resolved, every scalar a string."""


class SimulatedCloudFormation(Requests):
    """One stack after another of one name, each with an id of its own."""

    def __init__(self, timeline: Timeline, plan: CloudFormationPlan, queue: Callable[[str], None]) -> None:
        super().__init__(timeline, plan, queue)
        self._interruption: str | None = None
        self._deployed: dict[str, _Deployed] = {}
        self._unfinished_rollback: list[tuple[CustomResource, Mapping[str, Any]]] = []
        self._template: Template = ()
        self._to_clean_up: list[tuple[CustomResource, str, Mapping[str, Any]]] = []
        self.is_busy = False
        self.gone: set[str] = set()
        """Stacks whose function, role and log group are no more."""
        self.on_new_stack: Callable[[], None] = lambda: None

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
        properties = self._deployed[spec.logical_id].properties
        request = self._request("Delete", spec, properties, physical_id=physical_id)
        self._timeline.process(self._listen(request))

    def current(self, logical_id: str) -> tuple[CustomResource, str] | None:
        """A custom resource of the stack, and its physical id."""
        deployed = self._deployed.get(logical_id)
        if deployed is None or not isinstance(deployed.spec, CustomResource):
            return None
        return deployed.spec, deployed.physical_id

    def describe_stacks(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert parameters["StackName"].rpartition("/")[0] == self.stack_id.rpartition("/")[0]
        is_this_one = parameters["StackName"] == self.stack_id
        return {"Stacks": [{"StackStatus": self.status if is_this_one else "DELETE_COMPLETE"}]}

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
                keeps_old=not self.plan.cleans_up_after_rollback,
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
        yield Until(self._timeline.now + self.plan.reacts_after)

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
