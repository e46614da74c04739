"""A definition may name a function by its literal name or ARN: that function is watched, and no other one."""

from typing import Any

import pytest
from aws_cdk import App, Arn, ArnComponents, ArnFormat, Aws, Environment, Stack, Stage
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket
from aws_cdk.aws_stepfunctions import CfnStateMachine, DefinitionBody, StateMachine
from constructs import Construct

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

ACCOUNT, OTHER_ACCOUNT = "111122223333", "444455556666"
IRELAND = Environment(account=ACCOUNT, region="eu-west-1")
VIRGINIA = Environment(account=ACCOUNT, region="us-east-1")
ELSEWHERE = Environment(account=OTHER_ACCOUNT, region="eu-west-1")
ARN = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:enrich"


def function(scope: Construct, code: str = "one", name: str = "enrich", **settings: Any) -> Function:
    return Function(
        scope,
        "Function",
        function_name=name,
        code=Code.from_inline(code),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        **settings,
    )


def backfill(stack: Stack, name: str = "enrich") -> PipelineReprocessing:
    """Reprocesses by a state machine whose definition has that name in it."""
    call = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name},
        "End": True,
    }
    definition = stack.to_json_string({"StartAt": "Call", "States": {"Call": call}})
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_string(definition))
    return PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.state_machine(machine),
        messages=MessageSelection.all(),
    )


def resource(stack: Stack) -> dict[str, Any]:
    app = stack.node.root
    assert isinstance(app, App)
    template = app.synth(force=True).get_stack_artifact(stack.artifact_id).template
    [found] = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "Custom::PipelineReprocessing"
    ]
    return dict(found)


def trigger(code: str, *, name: str = "enrich", of: Environment | None, there: Environment | None) -> str:
    """The trigger where the function is in a stack of that environment, and who names it in another one."""
    app = App()
    function(Stack(app, "Functions", env=there), code)
    stack = Stack(app, "Telemetry", env=of)
    backfill(stack, name)
    value: str = resource(stack)["Properties"]["Trigger"]
    return value


FOUND = {
    "name": "enrich",
    "name with alias": "enrich:live",
    "part of an ARN": f"{ACCOUNT}:function:enrich",
    "ARN": ARN,
    "ARN with alias": f"{ARN}:live",
    "ARN of where the stack is": f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:enrich",
}


@pytest.mark.parametrize("name", FOUND.values(), ids=FOUND)
def test_a_function_of_the_same_place_is_watched_however_it_is_named(name: str) -> None:
    one, two = (trigger(code, name=name, of=IRELAND, there=IRELAND) for code in ("one", "two"))

    assert one != two


def test_an_arn_that_cdk_formatted_is_read_as_well() -> None:
    def formatted(code: str) -> str:
        app = App()
        function(Stack(app, "Functions"), code)
        stack = Stack(app, "Telemetry")
        parts = ArnComponents(
            service="lambda",
            resource="function",
            resource_name="enrich",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        backfill(stack, Arn.format(parts, stack))
        value: str = resource(stack)["Properties"]["Trigger"]
        return value

    assert formatted("one") != formatted("two")


OTHERS: dict[str, dict[str, Any]] = {
    "another name": {"name": "enriches", "of": IRELAND, "there": IRELAND},
    "another region": {"of": IRELAND, "there": VIRGINIA},
    "another account": {"of": IRELAND, "there": ELSEWHERE},
    "an ARN of another region": {
        "name": ARN.replace("eu-west-1", "us-east-1"),
        "of": IRELAND,
        "there": IRELAND,
    },
    "an ARN of another account": {
        "name": ARN.replace(ACCOUNT, OTHER_ACCOUNT),
        "of": IRELAND,
        "there": IRELAND,
    },
    "part of an ARN of another account": {
        "name": f"{OTHER_ACCOUNT}:function:enrich",
        "of": IRELAND,
        "there": IRELAND,
    },
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_function_of_another_place_is_not_watched(other: str) -> None:
    one, two = (trigger(code, **OTHERS[other]) for code in ("one", "two"))

    assert one == two


def test_what_is_not_known_at_synth_may_be_the_same_place() -> None:
    one, two = (trigger(code, name=ARN, of=None, there=None) for code in ("one", "two"))

    assert one != two


def test_stacks_of_several_regions_may_name_the_same() -> None:
    app = App()
    stacks = [Stack(app, place.region or "", env=place) for place in (IRELAND, VIRGINIA)]
    for stack in stacks:
        function(stack)
        backfill(stack)

    app.synth()

    assert [stack.dependencies for stack in stacks] == [[], []]


def test_stages_may_name_the_same() -> None:
    def staged(code: str) -> list[str]:
        app = App()
        triggers = []
        for name, text in (("Development", code), ("Production", "one")):
            stack = Stack(Stage(app, name), "Telemetry")
            function(stack, text)
            backfill(stack)
        for stage in app.synth().nested_assemblies:
            [stack_of_stage] = stage.nested_assembly.stacks
            triggers += [
                resource["Properties"]["Trigger"]
                for resource in stack_of_stage.template["Resources"].values()
                if resource["Type"] == "Custom::PipelineReprocessing"
            ]
        return triggers

    (development, production), (changed, unchanged) = staged("one"), staged("two")

    assert development != changed
    assert production == unchanged


def test_a_function_that_an_escape_hatch_names_is_watched() -> None:
    def overridden(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        function(stack, code)
        backfill(stack, "another")
        machine = stack.node.find_child("Machine").node.default_child
        assert isinstance(machine, CfnStateMachine)
        machine.add_property_override("DefinitionString", '{"Parameters":{"FunctionName":"enrich"}}')
        value: str = resource(stack)["Properties"]["Trigger"]
        return value

    assert overridden("one") != overridden("two")


def test_a_function_in_the_same_stack_comes_first() -> None:
    stack = Stack(App(), "Telemetry")
    used = function(stack)
    backfill(stack)

    [name] = [
        name for name in resource(stack)["DependsOn"] if name.startswith("Function") and "Role" not in name
    ]
    assert name == stack.resolve(used.function_arn)["Fn::GetAtt"][0]


def test_a_function_in_a_stack_that_needs_this_one_is_watched_but_not_waited_for() -> None:
    def downstream(code: str) -> str:
        app = App()
        stack, functions = Stack(app, "Telemetry"), Stack(app, "Functions")
        raw = Bucket(stack, "Raw")
        backfill(stack)
        inner = function(Construct(functions, "Inner"), code, name="inner")
        function(functions, environment={"RAW": raw.bucket_name, "NEXT": inner.function_name})
        value: str = resource(stack)["Properties"]["Trigger"]
        assert [needed.stack_name for needed in functions.dependencies] == ["Telemetry"]
        return value

    assert downstream("one") != downstream("two")
