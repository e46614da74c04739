"""What a template refers to by logical ids that were written by hand is part of the trigger as well."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import (
    App,
    Aws,
    CfnCondition,
    CfnMapping,
    CfnOutput,
    CfnParameter,
    CfnResource,
    Environment,
    Fn,
    NestedStack,
    Stack,
)
from aws_cdk.assertions import Template
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import CfnFunction, Code, Function, Runtime
from aws_cdk.aws_s3 import CfnBucket
from aws_cdk.aws_stepfunctions import CfnStateMachine, DefinitionBody, Pass, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke
from aws_cdk.cloudformation_include import CfnInclude

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

ROLE = "arn:aws:iam::111122223333:role/telemetry"
START = '{"StartAt":"Enrich","States":{"Enrich":{"Type":"Task","Resource":"'
END = '","End":true}}}'


def enrich(stack: Stack, code: str) -> CfnFunction:
    """A function whose logical id is Enrich."""
    return CfnFunction(
        stack, "Enrich", code={"zipFile": code}, handler="index.handler", runtime="python3.14", role=ROLE
    )


def machine(stack: Stack, definition: Any) -> str:
    """The ARN of a state machine with that definition string."""
    properties = {"RoleArn": ROLE, "DefinitionString": definition}
    return CfnResource(stack, "Machine", type="AWS::StepFunctions::StateMachine", properties=properties).ref


def backfill(stack: Stack, arn: str) -> dict[str, Any]:
    """The properties of the custom resource where the state machine of that ARN reprocesses."""
    imported = StateMachine.from_state_machine_arn(stack, "Imported", arn)
    return of(stack, ReprocessablePipeline.state_machine(imported))


def of(stack: Stack, pipeline: Any) -> dict[str, Any]:
    PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all())
    [resource] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()
    return dict(resource["Properties"])


def by_sub(stack: Stack) -> dict[str, Any]:
    return backfill(stack, machine(stack, Fn.sub(f"{START}${{Enrich.Arn}}{END}")))


def by_sub_with_variables(stack: Stack) -> dict[str, Any]:
    text = Fn.sub(f"{START}${{function}}{END}", {"function": Fn.get_att("Enrich", "Arn").to_string()})
    return backfill(stack, machine(stack, text))


def by_raw_template(stack: Stack) -> dict[str, Any]:
    return backfill(
        stack, machine(stack, {"Fn::Join": ["", [START, {"Fn::GetAtt": ["Enrich", "Arn"]}, END]]})
    )


def by_dotted_attribute(stack: Stack) -> dict[str, Any]:
    return backfill(stack, machine(stack, {"Fn::Join": ["", [START, {"Fn::GetAtt": "Enrich.Arn"}, END]]}))


def by_ref(stack: Stack) -> dict[str, Any]:
    activity = {"lambda": {"name": "enrich", "lambdaName": Fn.ref("Enrich"), "batchSize": 1}}
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_activities=[activity])
    return of(stack, ReprocessablePipeline.iot_analytics(pipeline))


def by_escape_hatch(stack: Stack) -> dict[str, Any]:
    defined = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
    resource = defined.node.default_child
    assert isinstance(resource, CfnStateMachine)
    resource.add_property_override("DefinitionString", {"Fn::Sub": f"{START}${{Enrich.Arn}}{END}"})
    return of(stack, ReprocessablePipeline.state_machine(defined))


@pytest.mark.parametrize(
    "way",
    [by_sub, by_sub_with_variables, by_raw_template, by_dotted_attribute, by_ref, by_escape_hatch],
)
def test_the_function_that_is_written_there_changes_it(way: Callable[[Stack], dict[str, Any]]) -> None:
    def properties(code: str) -> dict[str, Any]:
        stack = Stack(App(), "Telemetry")
        enrich(stack, code)
        return way(stack)

    assert properties("one") == properties("one")
    assert properties("one")["Trigger"] != properties("two")["Trigger"]
    assert "Values" not in properties("one")


@pytest.mark.parametrize("definition", [{"Fn::GetAtt": ["Enrich", "Arn"]}, {"Fn::Sub": "${Enrich.Arn}"}])
def test_the_function_of_an_included_template_changes_it(definition: Any, tmp_path: Path) -> None:
    def trigger(code: str) -> Any:
        function = {
            "Code": {"ZipFile": code},
            "Handler": "index.handler",
            "Runtime": "python3.14",
            "Role": ROLE,
        }
        machine = {"RoleArn": ROLE, "DefinitionString": {"Fn::Join": ["", [START, definition, END]]}}
        resources = {
            "Enrich": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine},
        }
        path = tmp_path / "template.json"
        path.write_text(json.dumps({"Resources": resources}))
        stack = Stack(App(), "Telemetry")
        included = CfnInclude(stack, "Included", template_file=str(path)).get_resource("Machine")
        assert isinstance(included, CfnStateMachine)
        return backfill(stack, included.attr_arn)["Trigger"]

    assert trigger("one") == trigger("one")
    assert trigger("one") != trigger("two")


def test_a_text_that_only_looks_like_a_name_stays_a_text() -> None:
    def trigger(code: str) -> Any:
        stack = Stack(App(), "Telemetry")
        enrich(stack, code)
        text = Fn.sub("${!Enrich.Arn} ${Enrich} ${AWS::Region} ${Nobody}", {"Enrich": "a variable"})
        return backfill(stack, machine(stack, text))["Trigger"]

    assert trigger("one") == trigger("two")


def environment(stack: Stack, **variables: Any) -> dict[str, Any]:
    """The properties where a function with that environment is called."""
    function = Function(
        stack,
        "Function",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        environment=variables,
    )
    task = LambdaInvoke(stack, "Task", lambda_function=function)
    defined = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))
    return of(stack, ReprocessablePipeline.state_machine(defined))


def test_a_written_value_is_handed_on() -> None:
    stack = Stack(App(), "Telemetry")
    CfnParameter(stack, "Unit")
    CfnParameter(stack, "Password", no_echo=True)
    CfnBucket(stack, "Bucket")

    properties = environment(
        stack,
        UNIT=Fn.ref("Unit"),
        PASSWORD=Fn.ref("Password"),
        WHERE=Fn.sub("${Bucket.Arn}/${Unit}/${AWS::Region}"),
    )

    assert properties["Values"] == {
        "Bucket.Arn": {"Fn::GetAtt": ["Bucket", "Arn"]},
        "Unit.Ref": {"Ref": "Unit"},
    }


def test_what_an_escape_hatch_leaves_is_handed_on() -> None:
    stack = Stack(App(), "Telemetry")
    values = {name: CfnParameter(stack, name).value_as_string for name in ("Left", "Gone")}
    function = Function(
        stack,
        "Function",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        environment=values,
    )
    resource = function.node.default_child
    assert isinstance(resource, CfnFunction)
    resource.add_property_override("Environment.Variables.Gone", "now known")
    pipeline = ReprocessablePipeline.iot_analytics_named("telemetry")
    PipelineReprocessing(
        stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all(), rerun_on=[function]
    )

    [found] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()

    assert found["Properties"]["Values"] == {"Left.Ref": {"Ref": "Left"}}


def test_the_content_of_a_mapping_changes_it() -> None:
    def trigger(unit: str) -> Any:
        stack = Stack(App(), "Telemetry")
        units = CfnMapping(stack, "Units", mapping={"eu-west-1": {"unit": unit}})
        return environment(stack, UNIT=units.find_in_map(Aws.REGION, "unit"))["Trigger"]

    assert trigger("celsius") == trigger("celsius")
    assert trigger("celsius") != trigger("fahrenheit")


def test_what_a_condition_asks_changes_it() -> None:
    def properties(region: str) -> dict[str, Any]:
        stack = Stack(App(), "Telemetry")
        stage = CfnParameter(stack, "Stage").value_as_string
        there = CfnCondition(stack, "There", expression=Fn.condition_equals(Aws.REGION, region))
        in_production = Fn.condition_equals(stage, "production")
        asked = Fn.condition_and(there, in_production)  # type: ignore[arg-type]  # jsii's protocol lacks a member
        CfnCondition(stack, "Asked", expression=asked)
        return environment(stack, UNIT=Fn.condition_if("Asked", "celsius", "fahrenheit").to_string())

    assert properties("eu-west-1") == properties("eu-west-1")
    assert properties("eu-west-1")["Trigger"] != properties("us-east-1")["Trigger"]
    assert properties("eu-west-1")["Values"] == {"Stage.Ref": {"Ref": "Stage"}}


def test_an_escape_hatch_may_refer_to_a_function_of_another_stack() -> None:
    def trigger(code: str) -> Any:
        app = App()
        used = enrich(Stack(app, "Functions"), code)
        stack = Stack(app, "Telemetry")
        defined = StateMachine(
            stack, "Machine", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do"))
        )
        resource = defined.node.default_child
        assert isinstance(resource, CfnStateMachine)
        resource.add_property_override("DefinitionString", f"{START}{used.attr_arn}{END}")
        return of(stack, ReprocessablePipeline.state_machine(defined))["Trigger"]

    assert trigger("one") == trigger("one")
    assert trigger("one") != trigger("two")


def test_an_output_read_by_the_name_of_its_stack_leads_to_its_function() -> None:
    def trigger(code: str) -> Any:
        app = App()
        there, stack = Stack(app, "Functions"), Stack(app, "Telemetry")
        CfnOutput(there, "Arn", value=enrich(there, code).attr_arn)
        arn = Fn.get_stack_output(there.stack_name, "Arn")
        return backfill(stack, machine(stack, f"{START}{arn}{END}"))["Trigger"]

    assert trigger("one") == trigger("one")
    assert trigger("one") != trigger("two")


def test_two_stacks_may_have_the_same_logical_ids() -> None:
    def trigger(own: str, other: str) -> Any:
        app = App()
        there, stack = Stack(app, "Functions"), Stack(app, "Telemetry")
        enrich(stack, own)
        return of_two(stack, enrich(there, other))

    def of_two(stack: Stack, used: CfnFunction) -> Any:
        return backfill(stack, machine(stack, f"{START}{used.attr_arn}{END}"))["Trigger"]

    assert trigger("one", "one") == trigger("two", "one")
    assert trigger("one", "one") != trigger("one", "two")


def of_another_stack(app: App) -> tuple[Stack, str]:
    used = enrich(Stack(app, "Functions"), "one")
    return Stack(app, "Telemetry"), used.attr_arn


def of_a_nested_stack(app: App) -> tuple[Stack, str]:
    stack = Stack(app, "Telemetry")
    return stack, enrich(NestedStack(stack, "Nested"), "one").attr_arn


def of_the_stack_around(app: App) -> tuple[Stack, str]:
    stack = Stack(app, "Telemetry")
    return NestedStack(stack, "Nested"), enrich(stack, "one").attr_arn


def of_another_region(app: App) -> tuple[Stack, str]:
    there, here = (
        Environment(account="111122223333", region=region) for region in ("us-east-1", "eu-west-1")
    )
    used = enrich(Stack(app, "Functions", env=there, cross_region_references=True), "one")
    return Stack(app, "Telemetry", env=here, cross_region_references=True), used.attr_arn


@pytest.mark.parametrize(
    "place", [of_another_stack, of_a_nested_stack, of_the_stack_around, of_another_region]
)
def test_a_second_synth_of_the_same_app_gives_the_same_trigger(
    place: Callable[[App], tuple[Stack, str]],
) -> None:
    app = App()
    stack, used = place(app)
    imported = StateMachine.from_state_machine_arn(stack, "Imported", machine(stack, f"{START}{used}{END}"))
    construct = PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.state_machine(imported),
        messages=MessageSelection.all(),
    )

    def told() -> tuple[str, list[str]]:
        app.synth(force=True)
        because = stack.resolve(construct.resource.node.default_child._cfn_properties["Because"])  # type: ignore[union-attr]  # it has one
        return stack.resolve(construct.trigger), sorted(because)

    # CDK has turned the references between stacks into others meanwhile.
    first, second = told(), told()

    assert first == second
    assert any(path.endswith("/Enrich") for path in first[1])


def test_a_value_may_refer_to_the_same_id_in_several_stacks() -> None:
    def trigger(*codes: str) -> Any:
        app = App()
        arns = [enrich(Stack(app, f"Functions{number}"), code).attr_arn for number, code in enumerate(codes)]
        stack = Stack(app, "Telemetry")
        return backfill(stack, machine(stack, "".join(f"{START}{arn}{END}" for arn in arns)))["Trigger"]

    assert len({trigger("one", "one"), trigger("one", "two"), trigger("two", "one")}) == 3
