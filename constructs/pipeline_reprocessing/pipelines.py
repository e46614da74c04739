"""The kinds of pipeline that can be reprocessed: what to start, with which permissions, and what decides the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import ArnFormat, Reference, Stack, Token, Tokenization
from aws_cdk.aws_iam import PolicyStatement
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_stepfunctions import (
    CfnStateMachine,
    CfnStateMachineAlias,
    CfnStateMachineVersion,
    IStateMachine,
    StateMachine,
    StateMachineType,
)
from aws_cdk.interfaces import ResourceEnvironment
from constructs import Construct, IConstruct

from pipeline_reprocessing.acknowledged import EXECUTIONS, acknowledge_wildcard
from pipeline_reprocessing.arguments import shown
from pipeline_reprocessing.trigger.relevant import Opaque
from pipeline_reprocessing_handler.properties import Kind
from pipeline_reprocessing_handler.validation import (
    Failure,
    check_endpoint_url,
    check_pipeline_name,
    state_machine_name,
)


@dataclass(frozen=True)
class PipelineBinding:
    """What `PipelineReprocessing` has to know of a pipeline."""

    name: str
    """What tells this pipeline from others of its kind in the stack."""
    properties: Mapping[str, Any]
    """The `Pipeline` property of the custom resource."""
    statements: Sequence[PolicyStatement]
    """What the handler must be allowed to do with this pipeline, each on its resource."""
    fingerprint: object = None
    """What else decides the resulting data: JSON-able, tokens allowed; a change of it reprocesses."""
    watched: Sequence[IConstruct] = ()
    """Constructs that decide the resulting data; a run starts after they are deployed, and when one changes."""
    prerequisites: Sequence[IConstruct] = ()
    """Constructs that a run needs but that do not decide the data: only deployed before it starts."""


class IReprocessablePipeline(Opaque):
    """A pipeline that can process its stored messages again: `ReprocessablePipeline` and `ArchivePipeline` make some.

    Derive your own kind from it, usually one that adds to what another kind gives. The handler starts only two kinds,
    so the `properties` that your `bind` gives are either `{"Kind": "STATE_MACHINE", "Arn": ...}` or
    `{"Kind": "IOT_ANALYTICS", "Name": ...}`, with an `"EndpointUrl"` as well if need be, and the `statements` allow
    what that takes. (No `abc.ABC`, so that a CDK construct, which has a metaclass of its own, can be one.)

    Example:
        from dataclasses import dataclass, replace

        from constructs import Construct
        from pipeline_reprocessing import IReprocessablePipeline, PipelineBinding

        @dataclass(frozen=True)
        class Calibrated(IReprocessablePipeline):
            pipeline: IReprocessablePipeline
            offset: float

            def bind(self, scope: Construct) -> PipelineBinding:
                binding = self.pipeline.bind(scope)
                return replace(binding, fingerprint=[binding.fingerprint, self.offset])
    """

    def bind(self, scope: Construct) -> PipelineBinding:
        """What `PipelineReprocessing` has to know of this pipeline.

        Args:
            scope: The `PipelineReprocessing`; or, where a construct stands in someone's `rerun_on`, that construct.

        Raises:
            ValueError: The pipeline is one that cannot be reprocessed from there.
        """
        raise NotImplementedError

    def _stands_for(self) -> tuple[object, Sequence[IConstruct]]:
        assert isinstance(self, Construct)  # noqa: S101  # nothing else is watched
        binding = self.bind(self)
        return binding.fingerprint, binding.watched


class ReprocessablePipeline:
    """Makes the pipelines that `PipelineReprocessing` can run, of services of AWS. See also `ArchivePipeline`.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine
        from pipeline_reprocessing import ReprocessablePipeline

        stack = Stack()
        replay = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
        pipeline = ReprocessablePipeline.state_machine(replay)
    """

    @staticmethod
    def iot_analytics(pipeline: CfnPipeline, *, endpoint_url: str | None = None) -> IReprocessablePipeline:
        """A pipeline of AWS IoT Analytics that this app defines.

        AWS ended IoT Analytics on 2025-12-15: this kind is for endpoints that still speak its API, and CDK's warning
        about the resource (E3710) stays visible. On today's AWS use `state_machine` or an `ArchivePipeline`.

        Args:
            pipeline: Its activities, and the Lambda functions that they name, are part of the trigger.
            endpoint_url: The http or https URL of another endpoint with this API. Default: AWS's for the region.

        Raises:
            ValueError: The pipeline's name, or the URL, is one that cannot be.
        """
        if not isinstance(pipeline, CfnPipeline):
            raise Failure(
                f"'pipeline' must be a CfnPipeline, got {shown(pipeline)}; use .iot_analytics_named() for one by name"
            )
        if pipeline.pipeline_name is not None:
            _check_name("pipeline.pipeline_name", pipeline.pipeline_name)
        return _IotAnalyticsPipeline(
            pipeline.ref, pipeline.pipeline_name or pipeline.ref, _endpoint(endpoint_url), pipeline
        )

    @staticmethod
    def iot_analytics_named(name: str, *, endpoint_url: str | None = None) -> IReprocessablePipeline:
        """A pipeline of AWS IoT Analytics by its name, in the account and region of the stack.

        This app does not see its activities, so a change of them reprocesses nothing by itself: use `version` or
        `rerun_on`. About the service's end see `iot_analytics`.

        Args:
            name: 1 to 128 letters, digits and underscores, not beginning with two underscores; or a token.
            endpoint_url: The http or https URL of another endpoint with this API. Default: AWS's for the region.

        Raises:
            ValueError: The name, or the URL, is one that cannot be.

        Source: API `PipelineName`.
        """
        return _IotAnalyticsPipeline(_check_name("name", name), name, _endpoint(endpoint_url))

    @staticmethod
    def state_machine(state_machine: IStateMachine) -> IReprocessablePipeline:
        """A state machine of Step Functions that reprocesses what its input selects.

        An execution's input is `{"messages": ..., "trigger": ..., "resource": ...}`: `messages` has `StartTime` and
        `EndTime` (either may be missing), `S3Paths`, or `"All": true`.

        Args:
            state_machine: A STANDARD one. Its definition, and the Lambda functions that it names, are part of the
                trigger where this app defines them.

        Raises:
            ValueError: It is an EXPRESS state machine, as far as synth can see that.

        Source: API `StartExecution`: names are unique, and executions can be stopped, for STANDARD only.
        """
        if not hasattr(state_machine, "state_machine_arn"):
            raise Failure(
                f"'state_machine' must be an IStateMachine, got {shown(state_machine)}; "
                "use StateMachine.from_state_machine_arn()"
            )
        _refuse_what_cannot_be_run(state_machine)
        arn = state_machine.state_machine_arn
        if not Token.is_unresolved(arn):
            state_machine_name("state_machine", arn)
        return _StateMachinePipeline(state_machine)


@dataclass(frozen=True)
class _IotAnalyticsPipeline(IReprocessablePipeline):
    reference: str
    name: str
    endpoint_url: str | None
    resource: CfnPipeline | None = None

    def bind(self, scope: Construct) -> PipelineBinding:
        if self.resource:
            _check_place("pipeline", self.resource.env, scope)
        arn = Stack.of(scope).format_arn(
            service="iotanalytics", resource="pipeline", resource_name=self.reference
        )
        actions = ("StartPipelineReprocessing", "CancelPipelineReprocessing", "DescribePipeline")
        target = {"Kind": Kind.IOT_ANALYTICS.value, "Name": self.reference}
        return PipelineBinding(
            name=self.name,
            properties=target if self.endpoint_url is None else target | {"EndpointUrl": self.endpoint_url},
            statements=[
                PolicyStatement(actions=[f"iotanalytics:{action}" for action in actions], resources=[arn])
            ],
            fingerprint={"Name": self.name},
            watched=[self.resource] if self.resource else [],
        )


@dataclass(frozen=True)
class _StateMachinePipeline(IReprocessablePipeline):
    machine: IStateMachine

    def bind(self, scope: Construct) -> PipelineBinding:
        arn = self.machine.state_machine_arn
        _refuse_what_cannot_be_run(self.machine)
        _check_place("state_machine", self.machine.env, scope)
        executions = _executions(Stack.of(scope), self.machine)
        acknowledge_wildcard(scope, executions, EXECUTIONS)
        return PipelineBinding(
            name=arn,
            properties={"Kind": Kind.STATE_MACHINE.value, "Arn": arn},
            statements=[
                PolicyStatement(actions=["states:StartExecution"], resources=[arn]),
                PolicyStatement(
                    actions=["states:DescribeExecution", "states:StopExecution"],
                    resources=[executions],
                ),
            ],
            # Another name is another state machine, whose ARN only the deploy would show.
            fingerprint={"Arn": arn, "Name": _given_name(self.machine)},
            watched=[self.machine],
        )


def _given_name(machine: IStateMachine) -> str | None:
    element = machine.node.default_child
    return element.state_machine_name if isinstance(element, CfnStateMachine) else None


def _executions(stack: Stack, machine: IStateMachine) -> str:
    """The ARN of all executions of a state machine."""
    arn = machine.state_machine_arn
    if not Token.is_unresolved(arn):
        return f"{arn.replace(':stateMachine:', ':execution:', 1)}:*"
    name = (
        machine.state_machine_name
        if isinstance(machine, StateMachine)
        else stack.split_arn(arn, ArnFormat.COLON_RESOURCE_NAME).resource_name
    )
    return executions_of(stack, name, machine.env)


def executions_of(stack: Stack, name: str | None, env: ResourceEnvironment | None = None) -> str:
    """The ARN of all executions of the state machine of that name, in the stack's account and region by default."""
    return stack.format_arn(
        account=env.account if env else None,
        region=env.region if env else None,
        service="states",
        resource="execution",
        resource_name=f"{name}:*",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def _check_place(argument: str, env: ResourceEnvironment, scope: Construct) -> None:
    """Raises if the handler, which is in the stack of the scope, could not reach what is there."""
    stack = Stack.of(scope)
    for name, there, here in (
        ("account", env.account, stack.account),
        ("region", env.region, stack.region),
    ):
        if not Token.is_unresolved(there) and not Token.is_unresolved(here) and there != here:
            raise Failure(
                f"'{argument}' must be in the {name} of the stack of '{scope.node.path}', '{here}', got '{there}'; "
                "put the PipelineReprocessing into a stack there"
            )


def _refuse_what_cannot_be_run(state_machine: IStateMachine) -> None:
    """Raises for what the handler could not start, find again and stop, as far as this app defines it."""
    tokens = Tokenization.reverse_string(state_machine.state_machine_arn).tokens
    targets = [token.target for token in tokens if isinstance(token, Reference)]
    for resource in (state_machine.node.default_child, *targets):
        if isinstance(resource, CfnStateMachineAlias | CfnStateMachineVersion):
            raise Failure(
                f"'state_machine' must be a state machine, got {shown(resource)}; name the state machine itself"
            )
        if (
            isinstance(resource, CfnStateMachine)
            and resource.state_machine_type == StateMachineType.EXPRESS.value
        ):
            raise Failure(
                f"'state_machine' must be of type STANDARD, got the EXPRESS one '{state_machine.node.path}'; EXPRESS "
                "executions can be started twice, and neither be found again nor stopped"
            )


def _check_name(argument: str, value: str) -> str:
    if not isinstance(value, str):
        raise Failure(f"'{argument}' must be a pipeline's name, got {shown(value)}")
    return value if Token.is_unresolved(value) else check_pipeline_name(argument, value)


def _endpoint(url: str | None) -> str | None:
    if url is not None and not isinstance(url, str):
        raise Failure(f"'endpoint_url' must be a URL, got {shown(url)}")
    return url if url is None or Token.is_unresolved(url) else check_endpoint_url("endpoint_url", url)
