"""What calls a function, or is made of it, can be made to wait for the reprocessed data."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import App, CfnResource, Duration, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_events import Rule, Schedule
from aws_cdk.aws_events_targets import LambdaFunction
from aws_cdk.aws_iam import ServicePrincipal
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import Alias, Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket
from aws_cdk.aws_sqs import Queue
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke
from constructs import Construct

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    MessageSelection,
    PipelineReprocessing,
    ReprocessablePipeline,
    Transform,
)

Make = Callable[[Stack, Function], Construct]


def function(scope: Construct) -> Function:
    return Function(
        scope,
        "Function",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
    )


def by_state_machine(stack: Stack) -> tuple[Function, PipelineReprocessing]:
    used = function(stack)
    task = LambdaInvoke(stack, "Task", lambda_function=used)
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))
    return used, backfill(stack, ReprocessablePipeline.state_machine(machine))


def by_archive(stack: Stack) -> tuple[Function, PipelineReprocessing]:
    used = function(stack)
    pipeline = ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw")),
        transform=Transform.firehose(used),
        destination=Destination(Bucket(stack, "Clean"), prefix="clean/"),
    )
    return used, backfill(stack, pipeline)


def by_rerun_on(stack: Stack) -> tuple[Function, PipelineReprocessing]:
    used = function(stack)
    return used, backfill(stack, ReprocessablePipeline.iot_analytics_named("telemetry"), rerun_on=[used])


def by_group_in_rerun_on(stack: Stack) -> tuple[Function, PipelineReprocessing]:
    group = Construct(stack, "Group")
    used = function(group)
    return used, backfill(stack, ReprocessablePipeline.iot_analytics_named("telemetry"), rerun_on=[group])


def backfill(stack: Stack, pipeline: Any, **arguments: Any) -> PipelineReprocessing:
    return PipelineReprocessing(
        stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all(), **arguments
    )


def event_source_mapping(stack: Stack, used: Function) -> Construct:
    return used.add_event_source_mapping("Live", event_source_arn=Queue(stack, "Queue").queue_arn)


def delivery_stream_that_it_permits(stack: Stack, used: Function) -> Construct:
    stream = CfnResource(
        stack,
        "Stream",
        type="AWS::KinesisFirehose::DeliveryStream",
        properties={"Processor": used.function_arn},
    )
    arn = stream.get_att("Arn").to_string()
    used.add_permission("Stream", principal=ServicePrincipal("firehose.amazonaws.com"), source_arn=arn)
    return stream


def schedule(stack: Stack, used: Function) -> Construct:
    return Rule(stack, "Rule", schedule=Schedule.rate(Duration.hours(1)), targets=[LambdaFunction(used)])


def url(stack: Stack, used: Function) -> Construct:
    return used.add_function_url()


def version(stack: Stack, used: Function) -> Construct:
    return used.current_version


def alias(stack: Stack, used: Function) -> Construct:
    return used.add_alias("live")


def asynchronous_settings(stack: Stack, used: Function) -> Construct:
    used.configure_async_invoke(retry_attempts=0)
    return used.node.find_child("EventInvokeConfig")  # type: ignore[return-value]  # it is one


@pytest.mark.parametrize(
    "follower",
    [
        event_source_mapping,
        delivery_stream_that_it_permits,
        schedule,
        url,
        version,
        alias,
        asynchronous_settings,
    ],
)
@pytest.mark.parametrize("way", [by_state_machine, by_archive, by_rerun_on, by_group_in_rerun_on])
def test_it_can_wait_for_the_run(
    way: Callable[[Stack], tuple[Function, PipelineReprocessing]], follower: Make
) -> None:
    stack = Stack(App(), "Telemetry")
    used, construct = way(stack)
    later = follower(stack, used)

    later.node.add_dependency(construct)

    # Template refuses circular dependencies.
    resources = Template.from_stack(stack).to_json()["Resources"]
    needed = resources[name_of(resources, "Custom::PipelineReprocessing")]["DependsOn"]
    assert stack.resolve(used.function_arn)["Fn::GetAtt"][0] in needed
    assert any("FunctionServiceRole" in name for name in needed)


def name_of(resources: dict[str, Any], kind: str) -> str:
    [name] = [name for name, resource in resources.items() if resource["Type"] == kind]
    return name


def test_an_alias_that_the_pipeline_calls_comes_first() -> None:
    stack = Stack(App(), "Telemetry")
    used = function(stack)
    live = Alias(stack, "Live", alias_name="live", version=used.current_version)
    task = LambdaInvoke(stack, "Task", lambda_function=live)
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))
    backfill(stack, ReprocessablePipeline.state_machine(machine))

    resources = Template.from_stack(stack).to_json()["Resources"]

    needed = resources[name_of(resources, "Custom::PipelineReprocessing")]["DependsOn"]
    assert {name_of(resources, f"AWS::Lambda::{kind}") for kind in ("Alias", "Version")} <= set(needed)


def test_the_permission_of_iot_analytics_to_call_the_function_comes_first() -> None:
    stack = Stack(App(), "Telemetry")
    used = function(stack)
    used.add_permission("IotAnalytics", principal=ServicePrincipal("iotanalytics.amazonaws.com"))
    activity = CfnPipeline.LambdaProperty(name="enrich", lambda_name=used.function_name, batch_size=10)
    pipeline = CfnPipeline(
        stack, "Pipeline", pipeline_activities=[CfnPipeline.ActivityProperty(lambda_=activity)]
    )
    backfill(stack, ReprocessablePipeline.iot_analytics(pipeline))

    resources = Template.from_stack(stack).to_json()["Resources"]

    needed = resources[name_of(resources, "Custom::PipelineReprocessing")]["DependsOn"]
    assert name_of(resources, "AWS::Lambda::Permission") in needed


def test_the_policy_of_a_distributed_map_comes_first() -> None:
    stack = Stack(App(), "Telemetry")
    by_archive(stack)

    resources = Template.from_stack(stack).to_json()["Resources"]

    needed = resources[name_of(resources, "Custom::PipelineReprocessing")]["DependsOn"]
    assert any(name.startswith("PipelineStateMachineDistributedMapPolicy") for name in needed)
