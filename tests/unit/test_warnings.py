"""What a run reaches and the app does not see is said at synth, and so is what replays in vain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Aws, CfnCondition, CfnParameter, CfnResource, CfnStack, CustomResource, Fn, Stack
from aws_cdk.assertions import Annotations, Match
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket
from aws_cdk.aws_ssm import StringParameter
from aws_cdk.aws_stepfunctions import DefinitionBody, IStateMachine, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    MessageSelection,
    PipelineReprocessing,
    ReprocessablePipeline,
    Transform,
)

FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"
MACHINE = "arn:aws:states:eu-west-1:111122223333:stateMachine:replay"
ROLE = "arn:aws:iam::111122223333:role/telemetry"


def function(stack: Stack, **settings: Any) -> Function:
    given: dict[str, Any] = {
        "code": Code.from_inline("one"),
        "handler": "index.handler",
        "runtime": Runtime.PYTHON_3_14,
    }
    return Function(stack, "Function", **(given | settings))


def warnings(stack: Stack, pipeline: Any, **arguments: Any) -> dict[str, list[str]]:
    """The texts of the construct's warnings, by their names."""
    PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all(), **arguments)
    found: dict[str, list[str]] = {}
    for message in Annotations.from_stack(stack).find_warning("/Telemetry/Backfill", Match.any_value()):
        text, _, name = str(message.entry.data).removesuffix("]").rpartition(" [ack: pipeline-reprocessing:")
        found.setdefault(name, []).append(text)
    return found


def running(stack: Stack, resource: str, **parameters: Any) -> StateMachine:
    """A state machine with one task."""
    task = {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True}
    definition = json.dumps({"StartAt": "Run", "States": {"Run": task}})
    return StateMachine(stack, "Machine", definition_body=DefinitionBody.from_string(definition))


def invoking(stack: Stack, name: str) -> StateMachine:
    return running(stack, "arn:aws:states:::lambda:invoke", FunctionName=name)


def handed_over(stack: Stack, arn: str) -> IStateMachine:
    return StateMachine.from_state_machine_arn(stack, "Replay", arn)


def of_a_named_function(stack: Stack) -> IStateMachine:
    function(stack, function_name="enrich")
    return invoking(stack, "enrich")


def of_a_machine_of_sam(stack: Stack) -> IStateMachine:
    properties = {"DefinitionUri": "s3://definitions/replay.json"}
    resource = CfnResource(stack, "Sam", type="AWS::Serverless::StateMachine", properties=properties)
    return handed_over(stack, resource.get_att("Arn").to_string())


UNSEEN: dict[str, tuple[Callable[[Stack], IStateMachine], str]] = {
    "an imported function": (
        lambda stack: StateMachine(
            stack,
            "Machine",
            definition_body=DefinitionBody.from_chainable(
                LambdaInvoke(
                    stack,
                    "Task",
                    lambda_function=Function.from_function_arn(stack, "Enrich", FUNCTION),
                )
            ),
        ),
        f"the function '{FUNCTION}', which 'Telemetry/Machine' uses",
    ),
    "a function by a name": (lambda stack: invoking(stack, "enrich"), "the function 'enrich'"),
    "an alias by its ARN": (
        lambda stack: invoking(stack, f"{FUNCTION}:live"),
        f"the function '{FUNCTION}:live'",
    ),
    "a function as a resource": (lambda stack: running(stack, FUNCTION), f"the function '{FUNCTION}'"),
    "a function that the input names": (
        lambda stack: running(
            stack, "arn:aws:states:::lambda:invoke", **{"FunctionName.$": "$.function", "Payload": {}}
        ),
        "the function '$.function'",
    ),
    "another machine": (
        lambda stack: running(
            stack, "arn:aws:states:::states:startExecution.sync:2", StateMachineArn=MACHINE
        ),
        f"the state machine '{MACHINE}'",
    ),
    "a Glue job": (
        lambda stack: running(stack, "arn:aws:states:::glue:startJobRun.sync", JobName="clean"),
        "the Glue job 'clean'",
    ),
    "a function's environment": (
        lambda stack: invoking(stack, function(stack, environment={"NEXT": FUNCTION}).function_arn),
        f"'{FUNCTION}', which 'Telemetry/Function' uses",
    ),
    "a parameter": (
        lambda stack: handed_over(stack, CfnParameter(stack, "Arn").value_as_string),
        "'Telemetry/Replay'",
    ),
    "a parameter of the Systems Manager": (
        lambda stack: handed_over(stack, StringParameter.value_for_string_parameter(stack, "/arn")),
        "'Telemetry/Replay'",
    ),
    "an output of a stack": (
        lambda stack: handed_over(
            stack, CfnStack(stack, "Other", template_url="https://a/b").get_att("Outputs.Arn").to_string()
        ),
        "'Telemetry/Replay'",
    ),
    "a custom resource": (
        lambda stack: handed_over(
            stack,
            CustomResource(stack, "Custom", service_token="arn:aws:sns:eu-west-1:1:a").get_att_string("Arn"),
        ),
        "'Telemetry/Replay'",
    ),
    "another app's export": (
        lambda stack: invoking(stack, Fn.import_value("enrich")),
        "the function 'Fn::ImportValue:enrich'",
    ),
    "a parameter as the function's name": (
        lambda stack: invoking(stack, CfnParameter(stack, "Name").value_as_string),
        "the function 'Name.Ref'",
    ),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_runs_and_is_not_seen_is_warned_of(what: str) -> None:
    make, named = UNSEEN[what]
    stack = Stack(App(), "Telemetry")

    [warning] = warnings(stack, ReprocessablePipeline.state_machine(make(stack)))["notWatched"]

    assert warning.startswith(f"nothing in this app tells when {named}")


@pytest.mark.parametrize("what", UNSEEN)
def test_a_version_of_ones_own_is_the_way_out(what: str) -> None:
    make, _ = UNSEEN[what]
    stack = Stack(App(), "Telemetry")

    assert warnings(stack, ReprocessablePipeline.state_machine(make(stack)), version="1") == {}


def test_the_code_on_a_file_system_is_warned_of() -> None:
    stack = Stack(App(), "Telemetry")
    configs = [{"Arn": "arn:aws:elasticfilesystem:eu-west-1:111122223333:access-point/one"}]
    properties = {"Code": {"ZipFile": "one"}, "Role": ROLE, "FileSystemConfigs": configs}
    used = CfnResource(stack, "Used", type="AWS::Lambda::Function", properties=properties)

    machine = invoking(stack, used.get_att("Arn").to_string())

    [warning] = warnings(stack, ReprocessablePipeline.state_machine(machine))["notWatched"]
    assert "the file system, which 'Telemetry/Used' uses" in warning


def test_an_activity_that_names_an_unknown_function_is_warned_of() -> None:
    stack = Stack(App(), "Telemetry")
    activity = CfnPipeline.LambdaProperty(name="enrich", lambda_name="enrich", batch_size=10)
    pipeline = CfnPipeline(
        stack, "Pipeline", pipeline_activities=[CfnPipeline.ActivityProperty(lambda_=activity)]
    )

    [warning] = warnings(stack, ReprocessablePipeline.iot_analytics(pipeline))["notWatched"]

    assert "the function 'enrich', which 'Telemetry/Pipeline' uses" in warning


def either(stack: Stack) -> IStateMachine:
    """A machine that invokes one of two functions of the app, as a condition says."""
    there = CfnCondition(stack, "There", expression=Fn.condition_equals(Aws.REGION, "eu-west-1"))
    names = [
        Function(
            stack,
            name,
            code=Code.from_inline("one"),
            handler="index.handler",
            runtime=Runtime.PYTHON_3_14,
        ).function_arn
        for name in ("One", "Two")
    ]
    return invoking(stack, Fn.condition_if(there.logical_id, *names).to_string())


SEEN: dict[str, Callable[[Stack], IStateMachine]] = {
    "either of two functions of the app": either,
    "a function of the app": lambda stack: invoking(stack, function(stack).function_arn),
    "a function of the app by its name": of_a_named_function,
    "a version by its ARN": lambda stack: invoking(stack, f"{FUNCTION}:7"),
    "a version and a qualifier": lambda stack: running(
        stack, "arn:aws:states:::lambda:invoke", FunctionName=FUNCTION, Qualifier="7"
    ),
    "a function as a resource": lambda stack: running(stack, function(stack).function_arn),
    "a machine of SAM": of_a_machine_of_sam,
}


@pytest.mark.parametrize("what", SEEN)
def test_what_is_seen_or_never_changes_is_not_warned_of(what: str) -> None:
    stack = Stack(App(), "Telemetry")

    assert warnings(stack, ReprocessablePipeline.state_machine(SEEN[what](stack))) == {}


def test_an_archive_function_that_is_a_version_is_not_warned_of() -> None:
    stack = Stack(App(), "Telemetry")
    version = Function.from_function_arn(stack, "Enrich", f"{FUNCTION}:7")
    pipeline = ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw")),
        transform=Transform.firehose(version),
        destination=Destination(Bucket(stack, "Clean"), prefix="clean/"),
    )

    assert warnings(stack, pipeline) == {}


def published(stack: Stack, value: str, *, also_itself: bool = False) -> StateMachine:
    used = function(stack, environment={"UNIT": value})
    task: Any = LambdaInvoke(stack, "Task", lambda_function=used.add_alias("live"))
    if also_itself:
        task = task.next(LambdaInvoke(stack, "Again", lambda_function=used))
    return StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))


def a_parameter(stack: Stack) -> str:
    return CfnParameter(stack, "Unit").value_as_string


def an_attribute(stack: Stack) -> str:
    return CfnResource(stack, "Unit", type="Custom::Unit").get_att("Name").to_string()


def what_is_not_always_there(stack: Stack) -> str:
    unit = CfnResource(stack, "Unit", type="Custom::Unit")
    unit.cfn_options.condition = CfnCondition(stack, "Always")
    return unit.get_att("Name").to_string()


@pytest.mark.parametrize(
    ("late", "name"),
    [
        (a_parameter, "Unit.Ref"),
        (an_attribute, "Unit.Name"),
        (what_is_not_always_there, "Unit.Name"),
    ],
)
def test_a_late_value_behind_a_published_version_is_warned_of(
    late: Callable[[Stack], str], name: str
) -> None:
    stack = Stack(App(), "Telemetry")
    machine = published(stack, late(stack))

    [warning] = warnings(stack, ReprocessablePipeline.state_machine(machine))["publishedVersion"]

    assert warning.startswith("a run calls 'Telemetry/Function' by a published version only")
    assert f"another value of {name} publishes none" in warning


def test_a_late_value_of_the_function_itself_is_not_warned_of() -> None:
    stack = Stack(App(), "Telemetry")
    machine = published(stack, CfnParameter(stack, "Unit").value_as_string, also_itself=True)

    assert warnings(stack, ReprocessablePipeline.state_machine(machine)) == {}


def test_the_name_of_a_resource_behind_a_published_version_is_not_warned_of() -> None:
    stack = Stack(App(), "Telemetry")
    machine = published(stack, Bucket(stack, "Bucket").bucket_name)

    assert warnings(stack, ReprocessablePipeline.state_machine(machine)) == {}


@pytest.mark.parametrize("name", ["__pycache__/index.cpython-314.pyc", "lib/.DS_Store", "index.pyc"])
@pytest.mark.parametrize("excluded", [False, True])
def test_files_that_differ_between_machines_are_warned_of(
    tmp_path: Path, name: str, *, excluded: bool
) -> None:
    folder = tmp_path / "code"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("", encoding="utf-8")
    (folder / "index.py").write_text("", encoding="utf-8")
    exclude = ["**/__pycache__", "*.pyc", "**/.DS_Store"] if excluded else []
    stack = Stack(App(outdir=str(tmp_path / "cdk.out")), "Telemetry")
    used = function(stack, code=Code.from_asset(str(folder), exclude=exclude))

    found = warnings(stack, ReprocessablePipeline.state_machine(invoking(stack, used.function_arn)))

    assert list(found) == ([] if excluded else ["unwantedFiles"])
