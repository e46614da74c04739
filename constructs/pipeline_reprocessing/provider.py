"""The Lambda function that answers CloudFormation: one for each stack, however many constructs are in it."""

from __future__ import annotations

from aws_cdk import ArnFormat, Aws, Duration, RemovalPolicy, Stack
from aws_cdk.aws_iam import Policy, PolicyStatement, Role, ServicePrincipal
from aws_cdk.aws_lambda import Architecture, Code, Function, RecursiveLoop, Runtime
from aws_cdk.aws_logs import LogGroup, RetentionDays
from constructs import Construct

from pipeline_reprocessing.assets import packaged
from pipeline_reprocessing.permissions import Permissions
from pipeline_reprocessing.trigger.relevant import Opaque

_ID = "PipelineReprocessingHandler"
_PACKAGES = ("pipeline_reprocessing_handler", "crhelper")


class ReprocessingHandler(Opaque, Construct):
    """The handler function with its own role, policy and log group."""

    def __init__(self, scope: Construct, id: str) -> None:  # noqa: A002  # CDK's name for it
        super().__init__(scope, id)
        self._queues: dict[str, list[Construct]] = {}
        self.log_group = LogGroup(
            self, "Logs", retention=RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        self.role = Role(
            self,
            "Role",
            assumed_by=ServicePrincipal("lambda.amazonaws.com"),
            description="Reprocesses data pipelines from within a deploy",
        )
        self.function = Function(
            self,
            "Function",
            description="Reprocesses data pipelines from within a deploy",
            code=Code.from_asset(str(packaged(self, _ID, _PACKAGES))),
            handler="pipeline_reprocessing_handler.index.handler",
            runtime=Runtime.PYTHON_3_14,
            architecture=Architecture.ARM_64,
            memory_size=256,
            timeout=Duration.minutes(15),
            # It waits by calling itself; the deadline that it carries along is what ends that.
            recursive_loop=RecursiveLoop.ALLOW,
            log_group=self.log_group,
            role=self.role,
        )
        # Apart from the role, for it names the function, which in turn needs the role.
        self.policy = Policy(
            self,
            "Policy",
            statements=[
                PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                    # The group itself, for which DescribeLogStreams asks, and (`:*`) the streams in it.
                    resources=[self._group_arn(), self.log_group.log_group_arn],
                ),
                PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self.function.function_arn]),
                PolicyStatement(actions=["cloudformation:DescribeStacks"], resources=[Aws.STACK_ID]),
            ],
        )
        # Not by an argument of the policy, which takes no notice of Role.customize_roles.
        self.role.attach_inline_policy(self.policy)
        self.permissions = Permissions(self, self.role)

    def _group_arn(self) -> str:
        return Stack.of(self).format_arn(
            service="logs",
            resource="log-group",
            resource_name=self.log_group.log_group_name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def queue(self, pipeline: str, construct: Construct) -> list[Construct]:
        """Lines up with those who reprocess the same pipeline.

        Returns:
            Those who were defined before.
        """
        earlier = self._queues.setdefault(pipeline, [])
        self._queues[pipeline] = [*earlier, construct]
        return earlier

    @staticmethod
    def of(scope: Construct) -> ReprocessingHandler:
        """The handler of the stack, made when it is first asked for."""
        stack = Stack.of(scope)
        existing = stack.node.try_find_child(_ID)
        return existing if isinstance(existing, ReprocessingHandler) else ReprocessingHandler(stack, _ID)
