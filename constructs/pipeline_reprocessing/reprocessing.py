"""The construct: reprocesses a pipeline's stored messages within the deploy that changes the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jsii
from aws_cdk import (
    Annotations,
    CfnResource,
    CfnWaitCondition,
    CfnWaitConditionHandle,
    CustomResource,
    Duration,
    IAnyProducer,
    IResolveContext,
    IStringProducer,
    Lazy,
    Stack,
    Token,
)
from aws_cdk.aws_iam import IGrantable, IPrincipal, Policy, Role
from aws_cdk.aws_lambda import Function
from aws_cdk.aws_logs import LogGroup
from constructs import Construct, Dependable, IConstruct, IDependable, IValidation

from pipeline_reprocessing.arguments import one_of, shown
from pipeline_reprocessing.messages import MessageSelection
from pipeline_reprocessing.overrides import Rendered
from pipeline_reprocessing.pipelines import IReprocessablePipeline
from pipeline_reprocessing.provider import ReprocessingHandler
from pipeline_reprocessing.trigger import (
    Fingerprints,
    Opaque,
    deciding_parts,
    digest,
    identity,
    ours,
    running_parts,
)
from pipeline_reprocessing.wait import Wait
from pipeline_reprocessing_handler.request import Failure, Kind, OnRemoval, OnRollback

_RESOURCE_TYPE = "Custom::PipelineReprocessing"
_ID_LENGTH = 255
"""CloudFormation's limit for logical ids."""


@jsii.implements(IGrantable)
class PipelineReprocessing(Opaque, Construct):
    """Brings a pipeline's stored data up to date when a deploy changes how the pipeline works.

    A deploy that changes what decides the resulting data (see `trigger`) reprocesses the selected messages once and,
    by default, ends only when that is done: it fails when the run fails. Any other deploy reprocesses nothing.

    Args:
        scope: Where the construct belongs.
        id: Its id in that scope.
        pipeline: What to run. Its definition, and the functions that this names, are watched.
        messages: What to run it on. There is no default: `MessageSelection.all()` replays everything.
        wait: How long the deploy waits for the run. Default: 50 minutes, then the run is cancelled and the deploy
            fails.
        rerun_on: Further constructs, such as functions or assets, whose change reprocesses. Default: none.
        version: A text of your own; changing it reprocesses. Default: none.
        on_rollback: What a failing deploy's rollback does: `KEEP` starts nothing, `REPROCESS` runs the restored
            definition. Default: `KEEP`.
        on_removal: What removing the construct does to a run that is still going: `CANCEL` or `LEAVE`. Default:
            `CANCEL`.

    Raises:
        ValueError: An argument is one that cannot be; the text names it, its value and the way out.

    Example:
        from aws_cdk import App, Duration, Stack
        from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine
        from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Wait

        stack = Stack(App(), "Telemetry")
        replay = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
        backfill = PipelineReprocessing(
            stack,
            "Backfill",
            pipeline=ReprocessablePipeline.state_machine(replay),
            messages=MessageSelection.last(Duration.days(30)),
            wait=Wait.for_completion(timeout=Duration.minutes(20)),
        )
        stack.export_value(backfill.status, name="BackfillStatus")
    """

    resource: CustomResource
    """The custom resource. Make what needs the reprocessed data depend on this construct."""
    policy: Policy
    """What the handler may do with this pipeline."""
    wait_condition: CfnWaitCondition | None
    """What waits in place of the custom resource when that takes more than 55 minutes."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002  # CDK's name for it
        *,
        pipeline: IReprocessablePipeline,
        messages: MessageSelection,
        wait: Wait | None = None,
        rerun_on: Sequence[IConstruct] | None = None,
        version: str | None = None,
        on_rollback: OnRollback = OnRollback.KEEP,
        on_removal: OnRemoval = OnRemoval.CANCEL,
    ) -> None:
        super().__init__(scope, id)
        wait = wait or Wait.for_completion(timeout=Duration.minutes(50))
        rerun_on = () if rerun_on is None else rerun_on
        self._check(pipeline, messages, wait, rerun_on, version)
        self._handler = ReprocessingHandler.of(self)
        self._binding = pipeline.bind(self)
        one_of("pipeline.properties.Kind", self._binding.properties.get("Kind", ""), Kind)
        self._messages = messages
        self._rerun_on = list(rerun_on)
        self._version = version

        self.policy = self._permission()
        handle = CfnWaitConditionHandle(self, "WaitHandle") if wait.needs_wait_condition else None
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type=_RESOURCE_TYPE,
            service_token=self.handler.function_arn,
            service_timeout=Duration.seconds(int(wait.service_timeout.total_seconds())),
            properties={
                "Pipeline": dict(self._binding.properties),
                "Messages": dict(messages.properties),
                "Trigger": self.trigger,
                # A WaitCondition waits once for each trigger, so it could not wait for a run for other values.
                **({} if handle else {"Values": Lazy.uncached_any(_Values(self))}),
                **({} if wait.timeout is None else {"Wait": _wait_property(wait, handle)}),
                "OnRollback": one_of("on_rollback", on_rollback, OnRollback).value,
                "OnRemoval": one_of("on_removal", on_removal, OnRemoval).value,
            },
        )
        self._settled = False
        self._seeing: Fingerprints | None = None
        self._known: tuple[str, Mapping[str, object]] | None = None
        self.wait_condition = None if handle is None else self._condition(handle, wait)
        self._run_after_what_it_needs()
        self.node.add_validation(_WhatIsNotWatched(self))

    @property
    def trigger(self) -> str:
        """The SHA-256 of what decides the resulting data, as a token: it is made at synth.

        It covers the pipeline's activities or the state machine's definition, the code, layers, handler, runtime and
        environment of the functions that these name, the same of `rerun_on`, the selection, and `version`.

        What only the deploy knows, such as the value of a parameter of this stack or the name of a bucket in it, is in
        it by its name alone. The custom resource has the value itself in its property `Values`, so that another value
        reprocesses as well. Not so for the values of other stacks, for secrets, and where a WaitCondition waits (see
        `Wait.for_completion`): there put what may change into `version`.

        Assets count by the hashes that they have at synth. `cdk deploy --exclusively` does not bundle what belongs to
        other stacks, and where such an asset is known by the hash of what comes out of the bundling, CDK then has only
        a placeholder, which reprocesses as any other change: deploy without it.
        """
        return Lazy.uncached_string(_Trigger(self))

    @property
    def reprocessing_id(self) -> str:
        """The id of the run: IoT Analytics' reprocessing id, or the name of the execution."""
        return self.resource.get_att_string("ReprocessingId")

    @property
    def pipeline_name(self) -> str:
        """The name of the pipeline, or of the state machine."""
        return self.resource.get_att_string("PipelineName")

    @property
    def status(self) -> str:
        """The run's status when the custom resource answered.

        It is `SUCCEEDED`; or `RUNNING` where that did not wait for the end: without a wait, after a time-out with
        `OnTimeout.DETACH`, and with a timeout above 55 minutes, for then the WaitCondition waits. It is `UNKNOWN` if an
        update had nothing to do and AWS does not list the resource's run any more.
        """
        return self.resource.get_att_string("Status")

    @property
    def start_time(self) -> str:
        """The start (inclusive) of the time range that was reprocessed, such as `2025-01-31T00:00:00Z`; may be empty.

        For `MessageSelection.last` this is where the deploy's own time has led to.
        """
        return self.resource.get_att_string("StartTime")

    @property
    def end_time(self) -> str:
        """The end (exclusive) of the time range that was reprocessed, in the form of `start_time`; may be empty."""
        return self.resource.get_att_string("EndTime")

    @property
    def handler(self) -> Function:
        """The Lambda function that answers CloudFormation; all constructs of a stack share it."""
        return self._handler.function

    @property
    def role(self) -> Role:
        """The handler's role."""
        return self._handler.role

    @property
    def log_group(self) -> LogGroup:
        """The handler's log group."""
        return self._handler.log_group

    @property
    def grant_principal(self) -> IPrincipal:
        """The handler's role, for `grant_...` methods of other constructs.

        All constructs of the stack share it. It starts runs and looks after them, but reads no data: what a pipeline
        needs for that is for the pipeline's own roles.
        """
        return self.role.grant_principal

    def _stands_for(self) -> tuple[object, Sequence[IConstruct]]:
        binding = self._binding
        told = [binding.properties["Kind"], binding.fingerprint, self._messages.properties, self._version]
        return told, [*binding.watched, *self._rerun_on]

    def _check(
        self,
        pipeline: IReprocessablePipeline,
        messages: MessageSelection,
        wait: Wait,
        rerun_on: object,
        version: str | None,
    ) -> None:
        for argument, value, kind, way_out in (
            (
                "pipeline",
                pipeline,
                IReprocessablePipeline,
                "such as ReprocessablePipeline.state_machine(...)",
            ),
            ("messages", messages, MessageSelection, "such as MessageSelection.all()"),
            ("wait", wait, Wait, "such as Wait.for_completion(timeout=...)"),
        ):
            if not isinstance(value, kind):
                raise Failure(
                    f"'{argument}' must be of type {kind.__name__}, got {shown(value)}; use one {way_out}"
                )
        if isinstance(rerun_on, str) or not isinstance(rerun_on, Iterable):
            raise Failure(
                f"'rerun_on' must be a list of constructs, got {shown(rerun_on)}; write rerun_on=[...]"
            )
        if wait.needs_wait_condition and not messages.is_known:
            raise Failure(
                "'messages' must be known at synth for a 'timeout' above 55 minutes, got a token; a WaitCondition "
                "waits once for each selection"
            )
        if version is not None and _is_token_or_no_text(version):
            raise Failure(
                f"'version' must be a text known at synth, got {'a token' if Token.is_unresolved(version) else shown(version)}; it is part of a hash made there"
            )
        for index, construct in enumerate(rerun_on):
            self._check_watchable(f"rerun_on[{index}]", construct)

    def _check_watchable(self, argument: str, construct: IConstruct) -> None:
        if not hasattr(construct, "node"):
            raise Failure(f"'{argument}' must be a construct, got {shown(construct)}")
        path = construct.node.path
        if construct in self.node.scopes:
            raise Failure(
                f"'{argument}' must not contain this construct, got '{path}'; name the parts that decide the data"
            )
        if not deciding_parts(construct):
            raise Failure(
                f"'{argument}' has nothing whose change this app could see, got '{path}'; put what changes into 'version'"
            )

    def _permission(self) -> Policy:
        """What the handler may do with this pipeline.

        The policy of another pipeline is another resource, with an id of its own. So where the pipeline is exchanged,
        or renamed, CloudFormation makes the new policy beside the old one, and removes one of them only in the
        clean-up, when the custom resource has been updated: the handler may start a run on the one pipeline and
        end a run on the other, on the way forward and in a rollback. One policy for both would be changed before.
        """
        policy = Policy(self, "Policy", roles=[self.role], statements=list(self._binding.statements))
        element = policy.node.default_child
        assert isinstance(element, CfnResource)  # noqa: S101  # a Policy has one
        element.override_logical_id(Lazy.uncached_string(_IdOfOnePipeline(element, self)))
        return policy

    def _condition(self, handle: CfnWaitConditionHandle, wait: Wait) -> CfnWaitCondition:
        """Waits for the run. It can wait only once, so each wait has a condition and a handle of its own."""
        timeout = int(wait.condition_timeout.total_seconds())
        condition = CfnWaitCondition(self, "WaitCondition", handle=handle.ref, timeout=str(timeout), count=1)
        condition.node.add_dependency(self.resource)
        for element in (handle, condition):
            element.override_logical_id(Lazy.uncached_string(_IdOfOneWait(element, timeout, self)))
        return condition

    def _run_after_what_it_needs(self) -> None:
        binding = self._binding
        self.resource.node.add_dependency(
            self.policy,
            self._handler.policy,
            *self._handler.queue(f"{binding.properties['Kind']} {binding.name}", self),
        )
        found = _WhatWasFound(self)
        Dependable.implement(found, found)
        self.resource.node.add_dependency(found)

    def _look(self, rendered: Rendered | None = None) -> tuple[str, Fingerprints]:
        """The trigger, and what was found by following references."""
        if self._seeing:
            raise Failure(
                f"the trigger of '{self.node.path}' must not be in what it is made from, got it in "
                f"'{self._seeing.place}'; put a text of your own there, and into 'version'"
            )
        stack = Stack.of(self)
        seen = self._seeing = Fingerprints(stack, rendered)
        try:
            return self._trigger_of(seen), seen
        finally:
            self._seeing = None

    def _trigger_of(self, seen: Fingerprints) -> str:
        stack = Stack.of(self)
        deciding: set[str] = set()
        for construct in (*self._binding.watched, *self._rerun_on):
            deciding.update(seen.of_construct(construct))
        value = {
            "resource": [identity(stack), stack.resolve(_cfn(self.resource).logical_id)],
            "pipeline": [self._binding.properties["Kind"], seen.of_settings(self._binding.fingerprint)],
            "messages": seen.named(self._messages.properties),
            "version": self._version,
        }
        return digest([value, sorted(deciding | seen.digests)])

    def _found(self) -> list[CfnResource]:
        # Called once in each synth, when nothing changes any more but before templates are written.
        self._settled, self._known = True, None
        binding = self._binding
        followed = self._look()[1].needed
        return [
            part
            for construct in (*binding.prerequisites, *binding.watched, *self._rerun_on, *followed)
            for part in running_parts(construct)
            if not (self._is_within(construct) and ours(part))
        ]

    def _not_watched(self) -> list[IConstruct]:
        """What was said to decide the data, but nothing in this app tells when it changes."""
        if self._version is not None or self._rerun_on:
            return []
        return [construct for construct in self._binding.watched if not self._sees(construct)]

    def _sees(self, construct: IConstruct) -> bool:
        # An imported one has no parts, but its ARN may lead to a resource, or be a value that CloudFormation knows.
        arn = getattr(construct, "function_arn", None) or getattr(construct, "state_machine_arn", None)
        return bool(deciding_parts(construct)) or Fingerprints(Stack.of(self)).sees(
            arn, in_deploys=self.wait_condition is None
        )

    def _is_within(self, construct: IConstruct) -> bool:
        return construct.node.path in {scope.node.path for scope in self.node.scopes}

    def _make_trigger(self) -> tuple[str, Mapping[str, object]]:
        """The trigger, and what CloudFormation has to look at in each deploy."""
        known = self._known
        if known is None:
            trigger, seen = self._look(Rendered())
            known = trigger, seen.values
        if self._settled:
            self._known = known
        return known


@jsii.implements(IStringProducer)
class _Trigger:
    """The trigger, made when the template is: what was changed until then counts."""

    def __init__(self, construct: PipelineReprocessing) -> None:
        self._construct = construct

    def produce(self, context: IResolveContext) -> str:
        if context.preparing or Rendered.in_progress:
            # Only looked through for references, of which a trigger has none, or for another part of the template.
            return "0" * 64
        return self._construct._make_trigger()[0]


@jsii.implements(IAnyProducer)
class _Values:
    """The values of which only the deploy knows whether they have changed."""

    def __init__(self, construct: PipelineReprocessing) -> None:
        self._construct = construct

    def produce(self, context: IResolveContext) -> object:
        if context.preparing or Rendered.in_progress:
            # As for the trigger: all references are within the stack, where CDK has nothing to prepare.
            return None
        return dict(self._construct._make_trigger()[1]) or None


@jsii.implements(IStringProducer)
class _IdOfOnePipeline:
    """A logical id that is another one for each pipeline, but stays when only the pipeline's definition changes."""

    def __init__(self, element: CfnResource, construct: PipelineReprocessing) -> None:
        self._element = element
        self._construct = construct

    def produce(self, context: IResolveContext) -> str:  # noqa: ARG002  # CDK calls it so
        binding = self._construct._binding
        names = Fingerprints(self._element.stack)
        return _with_end(self._element, [binding.properties["Kind"], names.named(binding.name)])


@jsii.implements(IStringProducer)
class _IdOfOneWait(_Trigger):
    """A logical id that is another one for each trigger and each time-out: CloudFormation updates neither."""

    def __init__(self, element: CfnResource, timeout: int, construct: PipelineReprocessing) -> None:
        super().__init__(construct)
        self._element = element
        self._timeout = timeout

    def produce(self, context: IResolveContext) -> str:
        return _with_end(self._element, [super().produce(context), self._timeout])


def _with_end(element: CfnResource, value: object) -> str:
    """The logical id that CDK gives the element, with the digest of a value at its end."""
    end = digest(value)[:16]
    # A long id is cut in front, for CDK tells such ids apart by their ends.
    return element.stack.get_logical_id(element)[len(end) - _ID_LENGTH :] + end


@jsii.implements(IDependable)
class _WhatWasFound(Dependable):
    """Lets the custom resource wait for what it watches, and for what was found by following references from there.

    CDK asks for them late, and only then may they be looked for: some values are fixed when they are first seen.
    """

    def __init__(self, construct: PipelineReprocessing) -> None:
        super().__init__()
        self._construct = construct

    @property
    def dependency_roots(self) -> list[IConstruct]:
        return [*self._construct._found()]


@jsii.implements(IValidation)
class _WhatIsNotWatched:
    """Warns when the app is complete: a function may be defined after whoever names it."""

    def __init__(self, construct: PipelineReprocessing) -> None:
        self._construct = construct

    def validate(self) -> list[str]:
        for missing in self._construct._not_watched():
            Annotations.of(self._construct).add_warning_v2(
                "pipeline-reprocessing:notWatched",
                f"'{missing.node.path}' is not defined in this app, so a change of it reprocesses nothing; "
                "put what changes with it into 'version'",
            )
        return []


def _wait_property(wait: Wait, handle: CfnWaitConditionHandle | None) -> dict[str, Any]:
    seconds = int(wait.timeout.total_seconds()) if wait.timeout else 0
    signal = {} if handle is None else {"SignalUrl": handle.ref}
    return {"TimeoutSeconds": seconds, "OnTimeout": wait.on_timeout.value, **signal}


def _cfn(resource: CustomResource) -> CfnResource:
    child = resource.node.default_child
    assert isinstance(child, CfnResource)  # noqa: S101  # CustomResource makes one
    return child


def _is_token_or_no_text(value: object) -> bool:
    return not isinstance(value, str) or Token.is_unresolved(value)
