"""The construct: reprocesses a pipeline's stored messages within the deploy that changes the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsii
from aws_cdk import (
    CfnWaitCondition,
    CfnWaitConditionHandle,
    CustomResource,
    Duration,
)
from aws_cdk.aws_iam import IGrantable, IPrincipal, Role
from aws_cdk.aws_lambda import Function
from aws_cdk.aws_logs import LogGroup
from constructs import Construct, IConstruct

from pipeline_reprocessing.arguments import check_type, one_of
from pipeline_reprocessing.logical_ids import new_id_for_each
from pipeline_reprocessing.messages import MessageSelection
from pipeline_reprocessing.permissions import PipelinePermission
from pipeline_reprocessing.pipelines import IReprocessablePipeline, PipelineBinding
from pipeline_reprocessing.provider import ReprocessingHandler
from pipeline_reprocessing.trigger.relevant import Opaque
from pipeline_reprocessing.trigger.trigger import Trigger
from pipeline_reprocessing.trigger.watch import Watch
from pipeline_reprocessing.wait import Wait
from pipeline_reprocessing_handler.properties import Kind
from pipeline_reprocessing_handler.validation import Failure, OnRemoval, OnRollback

_RESOURCE_TYPE = "Custom::PipelineReprocessing"


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
        watch: Which environment variables and layers of the watched functions decide no data. Default: those of
            `Watch.IGNORED_ENVIRONMENT` and `Watch.IGNORED_LAYERS`.
        on_rollback: What a failing deploy's rollback does: `KEEP` starts nothing, `REPROCESS` runs the restored
            definition. Default: `KEEP`.
        on_removal: What removing the construct does to a run that is still going: `CANCEL` or `LEAVE`. Default:
            `CANCEL`.

    Raises:
        ValueError: An argument is invalid; the text names it, its value and the way out.

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
    policy: PipelinePermission
    """What the handler may do with this pipeline. Its statements are in a policy that constructs of the stack share."""
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
        watch: Watch | None = None,
        on_rollback: OnRollback = OnRollback.KEEP,
        on_removal: OnRemoval = OnRemoval.CANCEL,
    ) -> None:
        super().__init__(scope, id)
        wait = Wait.for_completion(timeout=Duration.minutes(50)) if wait is None else wait
        check_type("pipeline", pipeline, IReprocessablePipeline, "ReprocessablePipeline.state_machine(...)")
        check_type("messages", messages, MessageSelection, "MessageSelection.all()")
        check_type("wait", wait, Wait, "Wait.for_completion(timeout=...)")
        check_type("watch", Watch() if watch is None else watch, Watch, "Watch(ignored_environment=[...])")
        if wait.needs_wait_condition and not messages.is_known:
            raise Failure(
                "'messages' must be known at synth for a 'timeout' above 55 minutes, got a token; a WaitCondition "
                "waits once for each selection"
            )
        self._handler = ReprocessingHandler.of(self)
        self._binding = pipeline.bind(self)
        check_type("pipeline.bind(...)", self._binding, PipelineBinding, "PipelineBinding(...)")
        messages.grant_read(pipeline)
        messages.check_for(one_of("pipeline.properties.Kind", self._binding.properties.get("Kind", ""), Kind))
        self._trigger = Trigger(
            self,
            self._binding,
            messages=messages,
            rerun_on=rerun_on,
            version=version,
            watch=Watch() if watch is None else watch,
            # A WaitCondition waits once for each trigger, so it could not wait for a run for other values.
            hands_on_values=not wait.needs_wait_condition,
        )

        self.policy = PipelinePermission(self, "Policy", self._handler.permissions, self._binding)
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
                "Because": self._trigger.because,
                "Values": self._trigger.values,
                **({} if wait.timeout is None else {"Wait": _wait_property(wait, handle)}),
                "OnRollback": one_of("on_rollback", on_rollback, OnRollback).value,
                "OnRemoval": one_of("on_removal", on_removal, OnRemoval).value,
            },
        )
        self._trigger.starts(self.resource)
        self.resource.node.add_dependency(
            self.policy,
            self._handler.policy,
            *self._handler.queue(f"{self._binding.properties['Kind']} {self._binding.name}", self),
        )
        self.wait_condition = None if handle is None else self._condition(handle, wait)

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
        return self._trigger.text

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
    def objects(self) -> str:
        """The number of objects that the run selected, as a text such as `365`; may be empty.

        This attribute and the ten that follow come from the output of the run's execution. An `ArchivePipeline`
        and an `S3EventPipeline` give those that they have. Your own state machine gives those that its output has, as
        whole numbers from 0 at the top level under `objects`, `objectsDone`, `objectsGone`, `objectsChanged`,
        `objectsFailed`, `objectsNotReplayed`, `objectsSkipped`, `messagesIn`, `messagesOut`, `messagesDropped` and
        `messagesFailed`.

        An attribute is empty if the output has no such number, if the pipeline is one of IoT Analytics, or if `status`
        is not `SUCCEEDED`: without a wait, after a time-out with `OnTimeout.DETACH`, and with a timeout above 55
        minutes, for then the custom resource answers before the run ends. An update that has nothing to do, and a
        rollback under `OnRollback.KEEP`, give the numbers of the run that the resource had before.

        CloudFormation refuses to export an empty value: use a `CfnOutput` without an `export_name`.
        """
        return self.resource.get_att_string("Objects")

    @property
    def objects_done(self) -> str:
        """The number of objects for which the function of an `S3EventPipeline` succeeded; may be empty, see `objects`."""
        return self.resource.get_att_string("ObjectsDone")

    @property
    def objects_gone(self) -> str:
        """The number of objects that were deleted before they were done; may be empty, see `objects`."""
        return self.resource.get_att_string("ObjectsGone")

    @property
    def objects_changed(self) -> str:
        """The number of objects that were written again since the run began; may be empty, see `objects`.

        S3 itself tells the function of those.
        """
        return self.resource.get_att_string("ObjectsChanged")

    @property
    def objects_failed(self) -> str:
        """The number of selected objects that failed as a whole and were tolerated; may be empty, see `objects`."""
        return self.resource.get_att_string("ObjectsFailed")

    @property
    def objects_not_replayed(self) -> str:
        """The number of selected objects that no worker finished; may be empty, see `objects`."""
        return self.resource.get_att_string("ObjectsNotReplayed")

    @property
    def objects_skipped(self) -> str:
        """The number of objects that the run found but did not take for messages; may be empty, see `objects`."""
        return self.resource.get_att_string("ObjectsSkipped")

    @property
    def messages_in(self) -> str:
        """The number of messages that the run read; may be empty, see `objects`."""
        return self.resource.get_att_string("MessagesIn")

    @property
    def messages_out(self) -> str:
        """The number of messages that the run wrote; may be empty, see `objects`."""
        return self.resource.get_att_string("MessagesOut")

    @property
    def messages_dropped(self) -> str:
        """The number of messages that the function dropped; may be empty, see `objects`."""
        return self.resource.get_att_string("MessagesDropped")

    @property
    def messages_failed(self) -> str:
        """The number of messages that failed and were tolerated; may be empty, see `objects`."""
        return self.resource.get_att_string("MessagesFailed")

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
        return self._trigger.parts

    def _condition(self, handle: CfnWaitConditionHandle, wait: Wait) -> CfnWaitCondition:
        """Waits for the run.

        CloudFormation waits for a condition once, and updates none, not even its time-out. So there is another
        condition, with a handle of its own, for each trigger and time-out.
        """
        timeout = int(wait.condition_timeout.total_seconds())
        condition = CfnWaitCondition(self, "WaitCondition", handle=handle.ref, timeout=str(timeout), count=1)
        condition.node.add_dependency(self.resource)
        for element in (handle, condition):
            new_id_for_each(element, lambda: [self._trigger.made().text, timeout])
        return condition


def _wait_property(wait: Wait, handle: CfnWaitConditionHandle | None) -> dict[str, Any]:
    seconds = int(wait.timeout.total_seconds()) if wait.timeout else 0
    signal = {} if handle is None else {"SignalUrl": handle.ref}
    return {"TimeoutSeconds": seconds, "OnTimeout": wait.on_timeout.value, **signal}
