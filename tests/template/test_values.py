"""What only the deploy knows is handed to the custom resource, so that another value reprocesses."""

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import (
    App,
    Aws,
    CfnCondition,
    CfnParameter,
    DefaultStackSynthesizer,
    Duration,
    Fn,
    IStackSynthesizer,
    LegacyStackSynthesizer,
    NestedStack,
    Stack,
)
from aws_cdk.assertions import Template
from aws_cdk.aws_iam import CfnAccessKey
from aws_cdk.aws_lambda import CfnFunction, Code, Function, IFunction, Runtime
from aws_cdk.aws_s3 import Bucket, CfnBucket
from aws_cdk.aws_ssm import StringParameter
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
    Wait,
)


@pytest.fixture
def stack() -> Stack:
    return Stack(App(), "Telemetry")


def function(scope: Construct, name: str = "Function", **settings: Any) -> Function:
    given: dict[str, Any] = {
        "code": Code.from_inline("one"),
        "handler": "index.handler",
        "runtime": Runtime.PYTHON_3_14,
    }
    return Function(scope, name, **(given | settings))


def backfill(
    scope: Construct, used: IFunction, name: str = "Backfill", **arguments: Any
) -> PipelineReprocessing:
    """Reprocesses by a state machine that calls the function."""
    task = LambdaInvoke(scope, f"{name}Task", lambda_function=used)
    machine = StateMachine(scope, f"{name}Machine", definition_body=DefinitionBody.from_chainable(task))
    required: dict[str, Any] = {
        "pipeline": ReprocessablePipeline.state_machine(machine),
        "messages": MessageSelection.all(),
    }
    return PipelineReprocessing(scope, name, **(required | arguments))


def values(stack: Stack) -> Any:
    """The property `Values`; None where there is none."""
    [resource] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()
    return resource["Properties"].get("Values")


def values_of(stack: Stack, **environment: str) -> Any:
    """The property `Values` where the function has that environment."""
    backfill(stack, function(stack, environment=environment))
    return values(stack)


def test_a_function_that_names_nothing_has_no_values(stack: Stack) -> None:
    assert values_of(stack, UNIT="celsius", REGION=stack.region, ACCOUNT=Aws.ACCOUNT_ID) is None


def test_the_value_of_a_parameter_is_handed_on(stack: Stack) -> None:
    assert values_of(stack, UNIT=CfnParameter(stack, "Unit").value_as_string) == {"Unit.Ref": {"Ref": "Unit"}}


def test_attributes_and_names_of_other_resources_are_handed_on_in_order(stack: Stack) -> None:
    unit = StringParameter(stack, "Unit", string_value="celsius")
    bucket = Bucket(stack, "Bucket")

    found = values_of(stack, UNIT=unit.string_value, WHERE=f"s3://{bucket.bucket_name}/units")

    unit_id, bucket_id = (stack.resolve(part.node.default_child.logical_id) for part in (unit, bucket))  # type: ignore[union-attr]  # they have one
    assert found == {
        f"{bucket_id}.Ref": {"Ref": bucket_id},
        f"{unit_id}.Value": {"Fn::GetAtt": [unit_id, "Value"]},
    }
    assert list(found) == sorted(found)


def test_the_value_of_a_parameter_in_the_systems_manager_is_handed_on(stack: Stack) -> None:
    found = values_of(stack, UNIT=StringParameter.value_for_string_parameter(stack, "/unit"))

    [(name, value)] = found.items()
    assert name == f"{value['Ref']}.Ref"


def test_what_an_archive_pipeline_was_told_is_handed_on(stack: Stack) -> None:
    raw, clean = Bucket(stack, "Raw"), Bucket(stack, "Clean")
    pipeline = ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(raw),
        transform=Transform.firehose(function(stack)),
        destination=Destination(clean, prefix="clean/"),
    )
    PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all())

    assert sorted(values(stack).values(), key=str) == sorted(
        (stack.resolve(bucket.bucket_name) for bucket in (raw, clean)), key=str
    )


def test_what_is_followed_is_not_handed_on(stack: Stack) -> None:
    assert values_of(stack, NEXT=function(stack, "Next").function_arn) is None


def test_the_selection_is_not_handed_on_again(stack: Stack) -> None:
    start = CfnParameter(stack, "Start").value_as_string

    backfill(stack, function(stack), messages=MessageSelection.time_range(start))

    assert values(stack) is None


def test_secrets_are_not_handed_on(stack: Stack) -> None:
    key = CfnAccessKey(stack, "Key", user_name="telemetry")
    password = CfnParameter(stack, "Password", no_echo=True)

    found = values_of(
        stack, PASSWORD=password.value_as_string, KEY=key.ref, SECRET=key.attr_secret_access_key
    )

    assert found == {"Key.Ref": {"Ref": "Key"}}


def test_what_is_not_always_there_is_handed_on_where_it_is(stack: Stack) -> None:
    bucket = CfnBucket(stack, "Bucket")
    bucket.cfn_options.condition = CfnCondition(
        stack, "InIreland", expression=Fn.condition_equals(Aws.REGION, "eu-west-1")
    )
    where = Fn.condition_if("InIreland", bucket.ref, "nowhere").to_string()

    assert values_of(stack, WHERE=where) == {
        "Bucket.Ref": {"Fn::If": ["InIreland", {"Ref": "Bucket"}, {"Ref": "AWS::NoValue"}]}
    }


def test_what_an_escape_hatch_has_removed_is_not_handed_on(stack: Stack) -> None:
    used = function(stack, environment={"UNIT": CfnParameter(stack, "Unit").value_as_string})
    resource = used.node.default_child
    assert isinstance(resource, CfnFunction)
    resource.add_property_deletion_override("Environment")

    backfill(stack, used)

    assert values(stack) is None


def test_values_of_other_stacks_are_only_named() -> None:
    app = App()
    other, stack = Stack(app, "Other"), Stack(app, "Telemetry")
    nested = NestedStack(stack, "Nested")
    environment = {part.node.id: Bucket(part, "Bucket").bucket_name for part in (other, nested)}

    backfill(stack, function(stack, environment=environment))

    assert values(stack) is None


def test_the_values_of_a_function_in_another_stack_are_only_named() -> None:
    app = App()
    functions, stack = Stack(app, "Functions"), Stack(app, "Telemetry")
    unit = CfnParameter(functions, "Unit").value_as_string

    backfill(stack, function(functions, environment={"UNIT": unit}))

    assert values(stack) is None


def test_the_values_of_a_function_that_need_not_be_there_first_are_not_handed_on() -> None:
    app = App()
    stack, functions = Stack(app, "Telemetry"), Stack(app, "Functions")
    raw = Bucket(stack, "Raw")
    # The bucket may wait for the run: its name must not be needed for that.
    raw.node.add_dependency(backfill(stack, Function.from_function_name(stack, "Enrich", "enrich")))
    function(functions, function_name="enrich", environment={"RAW": raw.bucket_name})

    assert values(stack) is None


def test_the_library_s_own_handler_decides_nothing(stack: Stack) -> None:
    first = backfill(stack, function(stack, "One"), "First")
    environment = {"HANDLER": first.handler.function_arn, "LOGS": first.log_group.log_group_name}
    second = backfill(stack, function(stack, "Two", environment=environment), "Second")

    def trigger() -> Any:
        return stack.resolve(second.trigger)

    before = trigger()
    handler = first.handler.node.default_child
    assert isinstance(handler, CfnFunction)
    handler.runtime = "python3.99"

    resources = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()
    assert [resource["Properties"].get("Values") for resource in resources] == [None, None]
    assert trigger() == before


@pytest.mark.parametrize("synthesizer", [LegacyStackSynthesizer, DefaultStackSynthesizer])
def test_the_place_of_an_asset_is_not_handed_on(synthesizer: type[IStackSynthesizer], tmp_path: Path) -> None:
    (tmp_path / "index.py").write_text("def handler(event, context): ...")
    stack = Stack(App(), "Telemetry", synthesizer=synthesizer())

    backfill(stack, function(stack, code=Code.from_asset(str(tmp_path))))

    assert values(stack) is None


def test_a_wait_condition_could_not_wait_for_other_values(stack: Stack) -> None:
    unit = CfnParameter(stack, "Unit").value_as_string
    wait = Wait.for_completion(timeout=Duration.hours(2))

    backfill(stack, function(stack, environment={"UNIT": unit}), wait=wait)

    assert values(stack) is None
