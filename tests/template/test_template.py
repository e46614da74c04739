"""The template, field by field."""

import re
from typing import Any

import pytest
from aws_cdk import App, Duration, NestedStack, Stack
from aws_cdk.assertions import Match, Template
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke

from pipeline_reprocessing import (
    MessageSelection,
    OnRemoval,
    OnRollback,
    OnTimeout,
    PipelineReprocessing,
    ReprocessablePipeline,
    Wait,
)

CUSTOM_RESOURCE = "Custom::PipelineReprocessing"


@pytest.fixture(scope="module")
def construct() -> PipelineReprocessing:
    return PipelineReprocessing(
        Stack(App(), "Telemetry"),
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
        messages=MessageSelection.all(),
    )


@pytest.fixture(scope="module")
def template(construct: PipelineReprocessing) -> Template:
    return Template.from_stack(Stack.of(construct))


def only(template: Template, kind: str) -> dict[str, Any]:
    [resource] = template.find_resources(kind).values()
    return dict(resource)


def logical_id(template: Template, kind: str) -> str:
    [name] = template.find_resources(kind)
    return str(name)


def pipelines_policy(template: Template) -> dict[str, Any]:
    properties: dict[str, Any] = only(template, "AWS::IAM::ManagedPolicy")["Properties"]
    return properties


def test_there_are_six_resources_and_one_function(template: Template) -> None:
    resources = template.to_json()["Resources"]

    assert sorted(resource["Type"] for resource in resources.values()) == [
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        CUSTOM_RESOURCE,
    ]


def test_the_custom_resource_says_what_to_do(template: Template) -> None:
    resource = only(template, CUSTOM_RESOURCE)
    function = logical_id(template, "AWS::Lambda::Function")

    trigger, because = (resource["Properties"].pop(name) for name in ("Trigger", "Because"))

    assert resource["Properties"] == {
        "ServiceToken": {"Fn::GetAtt": [function, "Arn"]},
        "ServiceTimeout": "3300",
        "Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "telemetry"},
        "Messages": {"All": True},
        "Wait": {"TimeoutSeconds": 3000, "OnTimeout": "FAIL"},
        "OnRollback": "KEEP",
        "OnRemoval": "CANCEL",
    }
    assert len(trigger) == 64
    assert {path: list(parts) for path, parts in because.items()} == {
        "Telemetry/Backfill": ["messages", "pipeline"]
    }


def test_the_custom_resource_waits_for_both_policies(template: Template) -> None:
    resource = only(template, CUSTOM_RESOURCE)

    assert sorted(resource["DependsOn"]) == sorted(
        logical_id(template, f"AWS::IAM::{kind}") for kind in ("ManagedPolicy", "Policy")
    )


def test_the_function_runs_the_handler(template: Template) -> None:
    function = only(template, "AWS::Lambda::Function")
    properties = function["Properties"]

    code = properties.pop("Code")

    assert properties == {
        "Architectures": ["arm64"],
        "Description": "Reprocesses data pipelines from within a deploy",
        "Handler": "pipeline_reprocessing_handler.index.handler",
        "LoggingConfig": {"LogGroup": {"Ref": logical_id(template, "AWS::Logs::LogGroup")}},
        "MemorySize": 256,
        "RecursiveLoop": "Allow",
        "Role": {"Fn::GetAtt": [logical_id(template, "AWS::IAM::Role"), "Arn"]},
        "Runtime": "python3.14",
        "Timeout": 900,
    }
    assert set(code) == {"S3Bucket", "S3Key"}


def test_logs_are_kept_for_a_month_and_go_with_the_stack(template: Template) -> None:
    group = only(template, "AWS::Logs::LogGroup")

    assert group["Properties"] == {"RetentionInDays": 30}
    assert group["DeletionPolicy"] == "Delete"


def test_the_role_is_for_lambda_alone_and_has_no_other_policies(template: Template) -> None:
    properties = only(template, "AWS::IAM::Role")["Properties"]

    assert properties["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    ]
    assert set(properties) == {"AssumeRolePolicyDocument", "Description"}


def test_the_handler_may_log_call_itself_and_see_its_stack(template: Template) -> None:
    group = logical_id(template, "AWS::Logs::LogGroup")

    statements = only(template, "AWS::IAM::Policy")["Properties"]["PolicyDocument"]["Statement"]

    [logs, itself, stack] = statements
    assert logs["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    assert logs["Resource"][1] == {"Fn::GetAtt": [group, "Arn"]}
    assert logs["Resource"][0]["Fn::Join"][1][-2:] == [":log-group:", {"Ref": group}]
    assert itself == {
        "Effect": "Allow",
        "Action": "lambda:InvokeFunction",
        "Resource": {"Fn::GetAtt": [logical_id(template, "AWS::Lambda::Function"), "Arn"]},
    }
    assert stack == {
        "Effect": "Allow",
        "Action": "cloudformation:DescribeStacks",
        "Resource": {"Ref": "AWS::StackId"},
    }


def test_the_handler_may_reprocess_this_pipeline(template: Template) -> None:
    [statement] = pipelines_policy(template)["PolicyDocument"]["Statement"]

    assert statement["Action"] == [
        "iotanalytics:StartPipelineReprocessing",
        "iotanalytics:CancelPipelineReprocessing",
        "iotanalytics:DescribePipeline",
    ]
    assert statement["Resource"]["Fn::Join"][1][-1] == ":pipeline/telemetry"


def test_both_policies_belong_to_the_role(template: Template) -> None:
    role = {"Ref": logical_id(template, "AWS::IAM::Role")}

    assert pipelines_policy(template)["Roles"] == [role]
    assert only(template, "AWS::IAM::Policy")["Properties"]["Roles"] == [role]


def test_no_permission_is_for_everything(template: Template) -> None:
    for kind in ("ManagedPolicy", "Policy"):
        for statement in only(template, f"AWS::IAM::{kind}")["Properties"]["PolicyDocument"]["Statement"]:
            assert statement["Resource"] != "*"


def test_the_attributes_come_from_the_custom_resource(
    construct: PipelineReprocessing, template: Template
) -> None:
    name = logical_id(template, CUSTOM_RESOURCE)
    stack = Stack.of(construct)

    attributes = {
        "PipelineName": construct.pipeline_name,
        "ReprocessingId": construct.reprocessing_id,
        "Status": construct.status,
        "StartTime": construct.start_time,
        "EndTime": construct.end_time,
        "Objects": construct.objects,
        "ObjectsFailed": construct.objects_failed,
        "ObjectsNotReplayed": construct.objects_not_replayed,
        "ObjectsSkipped": construct.objects_skipped,
        "MessagesIn": construct.messages_in,
        "MessagesOut": construct.messages_out,
        "MessagesDropped": construct.messages_dropped,
        "MessagesFailed": construct.messages_failed,
    }

    assert {key: stack.resolve(value) for key, value in attributes.items()} == {
        key: {"Fn::GetAtt": [name, key]} for key in attributes
    }


def test_all_constructs_of_a_stack_share_one_handler() -> None:
    stack = Stack(App(), "Telemetry")
    for name in ("One", "Two", "Three"):
        PipelineReprocessing(
            stack,
            name,
            pipeline=ReprocessablePipeline.iot_analytics_named(name),
            messages=MessageSelection.all(),
        )

    template = Template.from_stack(stack)

    template.resource_count_is("AWS::Lambda::Function", 1)
    template.resource_count_is("AWS::IAM::Role", 1)
    template.resource_count_is("AWS::IAM::Policy", 1)
    template.resource_count_is(CUSTOM_RESOURCE, 3)


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        ({"wait": Wait.none()}, {"Wait": Match.absent(), "ServiceTimeout": "300"}),
        (
            {"wait": Wait.for_completion(timeout=Duration.minutes(55), on_timeout=OnTimeout.DETACH)},
            {"Wait": {"TimeoutSeconds": 3300, "OnTimeout": "DETACH"}, "ServiceTimeout": "3600"},
        ),
        (
            {"on_rollback": OnRollback.REPROCESS, "on_removal": OnRemoval.LEAVE},
            {"OnRollback": "REPROCESS", "OnRemoval": "LEAVE"},
        ),
        ({"messages": MessageSelection.last(Duration.days(30))}, {"Messages": {"LastSeconds": 2_592_000}}),
        ({"messages": MessageSelection.s3_paths(["raw/one"])}, {"Messages": {"S3Paths": ["raw/one"]}}),
        (
            {"messages": MessageSelection.time_range("2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z")},
            {"Messages": {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-02-01T00:00:00Z"}},
        ),
        (
            {
                "pipeline": ReprocessablePipeline.iot_analytics_named(
                    "telemetry", endpoint_url="https://iot.example.com"
                )
            },
            {
                "Pipeline": {
                    "Kind": "IOT_ANALYTICS",
                    "Name": "telemetry",
                    "EndpointUrl": "https://iot.example.com",
                }
            },
        ),
    ],
    ids=["no wait", "longest wait", "choices", "last", "paths", "range", "endpoint"],
)
def test_arguments_become_properties(arguments: dict[str, Any], properties: dict[str, Any]) -> None:
    stack = Stack(App(), "Telemetry")
    required: dict[str, Any] = {
        "pipeline": ReprocessablePipeline.iot_analytics_named("telemetry"),
        "messages": MessageSelection.all(),
    }

    PipelineReprocessing(stack, "Backfill", **(required | arguments))

    Template.from_stack(stack).has_resource_properties(CUSTOM_RESOURCE, properties)


def function(stack: Stack, name: str = "Function") -> Function:
    return Function(
        stack, name, code=Code.from_inline("one"), handler="index.handler", runtime=Runtime.PYTHON_3_14
    )


def dependencies(template: Template) -> set[str]:
    return {without_hash(name) for name in only(template, CUSTOM_RESOURCE)["DependsOn"]}


def without_hash(logical_id: str) -> str:
    return re.sub("[0-9A-F]{8}([0-9a-f]{16})?$", "", logical_id)


def test_a_run_starts_after_the_pipeline_and_its_function_with_its_role() -> None:
    stack = Stack(App(), "Telemetry")
    used = function(stack)
    activities = [
        CfnPipeline.ActivityProperty(
            lambda_=CfnPipeline.LambdaProperty(name="enrich", lambda_name=used.function_name, batch_size=10)
        )
    ]
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_activities=activities)
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics(pipeline),
        messages=MessageSelection.all(),
    )

    names = dependencies(Template.from_stack(stack))

    assert names == {
        "Function",
        "FunctionServiceRole",
        "Pipeline",
        "PipelineReprocessingHandlerPipelines2",
        "PipelineReprocessingHandlerPolicy",
    }


def test_a_run_starts_after_all_that_the_state_machine_needs() -> None:
    stack = Stack(App(), "Telemetry")
    task = LambdaInvoke(stack, "Task", lambda_function=function(stack))
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.state_machine(machine),
        messages=MessageSelection.all(),
    )

    names = dependencies(Template.from_stack(stack))

    assert names == {
        "Function",
        "FunctionServiceRole",
        "Machine",
        "MachineRole",
        "MachineRoleDefaultPolicy",
        "PipelineReprocessingHandlerPipelines2",
        "PipelineReprocessingHandlerPolicy",
    }


def test_a_run_starts_after_what_stands_in_rerun_on() -> None:
    stack = Stack(App(), "Telemetry")
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
        messages=MessageSelection.all(),
        rerun_on=[function(stack)],
    )

    names = dependencies(Template.from_stack(stack))

    assert names >= {"Function", "FunctionServiceRole"}


def test_a_function_of_another_stack_makes_that_stack_come_first() -> None:
    app = App()
    functions, stack = Stack(app, "Functions"), Stack(app, "Telemetry")
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
        messages=MessageSelection.all(),
        rerun_on=[function(functions)],
    )

    app.synth()

    assert [dependency.stack_name for dependency in stack.dependencies] == ["Functions"]


def test_a_construct_within_its_own_pipeline_waits_for_the_rest_of_it() -> None:
    stack = Stack(App(), "Telemetry")
    task = LambdaInvoke(stack, "Task", lambda_function=function(stack))
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))
    for name in ("First", "Second"):
        PipelineReprocessing(
            machine,
            name,
            pipeline=ReprocessablePipeline.state_machine(machine),
            messages=MessageSelection.all(),
            wait=Wait.for_completion(timeout=Duration.hours(6)),
        )

    # Template refuses circular dependencies.
    resources = Template.from_stack(stack).find_resources(CUSTOM_RESOURCE)

    first, second = (resources[name]["DependsOn"] for name in sorted(resources))
    assert set(map(without_hash, first)) >= {"Machine", "MachineRole", "MachineRoleDefaultPolicy", "Function"}
    assert not any(name.startswith("MachineSecond") for name in first)
    assert any(name.startswith("MachineFirstWaitCondition") for name in second)


def test_a_nested_stack_has_a_handler_and_conditions_of_its_own() -> None:
    stack = Stack(App(), "Telemetry")
    nested = NestedStack(stack, "Nested")
    used = function(stack)
    for scope in (stack, nested):
        PipelineReprocessing(
            scope,
            "Backfill",
            pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
            messages=MessageSelection.all(),
            wait=Wait.for_completion(timeout=Duration.hours(6)),
            rerun_on=[used],
        )

    templates = [Template.from_stack(stack), Template.from_stack(nested)]

    for template in templates:
        template.resource_count_is("AWS::CloudFormation::WaitCondition", 1)
        assert logical_id(template, "Custom::PipelineReprocessing")
        template.resource_properties_count_is(
            "AWS::Lambda::Function", {"Handler": "pipeline_reprocessing_handler.index.handler"}, 1
        )
    one, two = (only(template, CUSTOM_RESOURCE)["Properties"]["Trigger"] for template in templates)
    assert one != two
