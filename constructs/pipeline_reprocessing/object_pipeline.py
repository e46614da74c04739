"""What all pipelines of objects in S3 are: a state machine that plans a run, gives the objects to workers, and sums up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jsii
from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk.aws_iam import Grant, IGrantable, IPrincipal, Policy, PolicyStatement, Role, ServicePrincipal
from aws_cdk.aws_lambda import Architecture, Code, Function, Runtime
from aws_cdk.aws_logs import LogGroup, RetentionDays
from aws_cdk.aws_s3 import IBucket
from aws_cdk.aws_stepfunctions import (
    DefinitionBody,
    LogLevel,
    LogOptions,
    StateMachine,
    StateMachineType,
)
from constructs import Construct

from pipeline_reprocessing.acknowledged import EXECUTIONS, OBJECTS, acknowledge_wildcard
from pipeline_reprocessing.assets import packaged
from pipeline_reprocessing.concurrency import Concurrency
from pipeline_reprocessing.pipelines import IReprocessablePipeline, executions_of
from pipeline_reprocessing.replay_workflow import MAPS, Workflow, manifests
from pipeline_reprocessing.reports import Reports

if TYPE_CHECKING:
    from aws_cdk.aws_cloudwatch import Metric


@jsii.implements(IGrantable)
class ObjectPipeline(IReprocessablePipeline, Construct):
    """Runs a function over objects in S3: `ArchivePipeline` and `S3EventPipeline` are such pipelines."""

    state_machine: StateMachine
    """Takes `{"messages": ...}` as `PipelineReprocessing` sends it; gives the run's summary."""
    function: Function
    """Does each step of a run: one function for all of them."""
    role: Role
    """The function's role."""
    policy: Policy
    """What the function may do."""
    log_group: LogGroup
    """The function's log group."""
    state_machine_log_group: LogGroup
    """The state machine's log group."""

    @property
    def grant_principal(self) -> IPrincipal:
        """Who reads the objects, calls the user's function and writes what a run writes: the function's role."""
        return self.role

    def grant_start_execution(self, grantee: IGrantable) -> Grant:
        """Lets someone else start a replay.

        Args:
            grantee: Who.
        """
        return self.state_machine.grant_start_execution(grantee)

    def metric_failed(self, **options: Any) -> Metric:
        """How many replays failed.

        Args:
            options: As for `StateMachine.metric_failed`. Default: the sum over 5 minutes.
        """
        return self.state_machine.metric_failed(**options)

    def _build(
        self,
        description: str,
        settings: Mapping[str, Any],
        *,
        concurrency: Concurrency,
        reports: Reports,
        statements: Sequence[PolicyStatement],
        objects: Sequence[str],
        memory_size: int,
        publishes: bool,
    ) -> None:
        """Makes the resources.

        Args:
            description: Of the function, its role and the state machine.
            settings: What the function is told of the pipeline.
            concurrency: Workers at the same time, and their calls.
            reports: Where the notes of runs are.
            statements: What the function may do, but for writing its log.
            objects: The ARNs in these with a wildcard.
            memory_size: Megabytes of the function.
            publishes: Whether runs publish results in the end.
        """
        self.log_group = self._logs("Logs")
        self.role = Role(
            self,
            "Role",
            assumed_by=ServicePrincipal("lambda.amazonaws.com"),
            description=description,
        )
        self.function = Function(
            self,
            "Function",
            description=description,
            code=Code.from_asset(str(packaged(self, "ObjectReplay", ("object_replay",)))),
            handler="object_replay.index.handler",
            runtime=Runtime.PYTHON_3_14,
            architecture=Architecture.ARM_64,
            memory_size=memory_size,
            timeout=Duration.minutes(15),
            log_group=self.log_group,
            role=self.role,
        )
        logging = PolicyStatement(
            actions=["logs:CreateLogStream", "logs:PutLogEvents"],
            resources=[self.log_group.log_group_arn],
        )
        self.policy = Policy(self, "Policy", statements=[logging, *statements])
        # Not by an argument of the policy, which takes no notice of Role.customize_roles.
        self.role.attach_inline_policy(self.policy)
        for arn in objects:
            acknowledge_wildcard(self.policy, arn, OBJECTS)
        workflow = Workflow(
            self,
            self.function,
            reports,
            {
                **settings,
                "Workers": concurrency.workers,
                "CallsPerWorker": concurrency.calls_per_worker,
            },
            concurrency,
            publishes,
        )
        self.state_machine_log_group = self._logs("StateMachineLogs")
        self.state_machine = StateMachine(
            self,
            "StateMachine",
            comment=description,
            state_machine_type=StateMachineType.STANDARD,
            definition_body=DefinitionBody.from_chainable(workflow.definition()),
            logs=LogOptions(destination=self.state_machine_log_group, level=LogLevel.ALL),
            tracing_enabled=True,
        )
        # CDK attaches the policy of the maps before it fills it, so a report of Role.customize_roles would lack it.
        maps = self.state_machine.node.find_child("DistributedMapPolicy")
        assert isinstance(maps, Policy)  # noqa: S101  # CDK's own, for the maps
        self.state_machine.role.attach_inline_policy(maps)
        # Without these a run would begin before it may do anything.
        self.state_machine.node.add_dependency(self.policy)
        if reports.bucket.encryption_key:
            reports.bucket.encryption_key.grant_encrypt_decrypt(self.role)
            reports.bucket.encryption_key.grant_decrypt(self.state_machine)  # it reads the manifest
        self._acknowledge_what_cdk_allows(reports, MAPS if publishes else MAPS[:1])

    def _logs(self, id: str) -> LogGroup:  # noqa: A002  # CDK's name for it
        return LogGroup(self, id, retention=RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)

    def _acknowledge_what_cdk_allows(self, reports: Reports, maps: Sequence[str]) -> None:
        """Says why the wildcards are right that CDK puts into the state machine's role."""
        stack = Stack.of(self)
        # As CDK writes it there: from the ARN, not as the attribute that has the name.
        name = stack.split_arn(
            self.state_machine.state_machine_arn, ArnFormat.COLON_RESOURCE_NAME
        ).resource_name
        for arn, reason in (
            (manifests(reports), OBJECTS),
            (f"{self.function.function_arn}:*", "CDK allows the versions of the function along with it."),
            (executions_of(stack, name), EXECUTIONS),
            *((executions_of(stack, f"{name}/{label}"), EXECUTIONS) for label in maps),
            ("*", "X-Ray, and the delivery of logs, know no resources."),
        ):
            acknowledge_wildcard(self.state_machine, arn, reason)


def listing(bucket: IBucket, prefix: str) -> PolicyStatement:
    """Allows to list what is under the prefix."""
    return PolicyStatement(
        actions=["s3:ListBucket"],
        resources=[bucket.bucket_arn],
        conditions={"StringLike": {"s3:prefix": [f"{prefix}*"]}},
    )
