"""Edits that people make to small apps, and whether a deploy replays because of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aws_cdk import (
    App,
    CfnCondition,
    CfnParameter,
    CfnResource,
    CustomResource,
    Duration,
    Environment,
    Fn,
    NestedStack,
    Stack,
    Tags,
)
from aws_cdk.assertions import Template
from aws_cdk.aws_iam import PolicyStatement
from aws_cdk.aws_lambda import (
    CfnFunction,
    Code,
    Function,
    LambdaInsightsVersion,
    LayerVersion,
    Runtime,
    Tracing,
)
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine
from aws_cdk.cloudformation_include import CfnInclude

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Watch
from pipeline_reprocessing.testing import assert_replays, assert_replays_nothing
from pipeline_reprocessing.trigger.trigger import Trigger

LAYER = "arn:aws:lambda:eu-west-1:111122223333:layer:{}:{}"

Make = Callable[[Stack], Any]


def enrich(stack: Stack, **settings: Any) -> Function:
    given: dict[str, Any] = {
        "code": Code.from_inline("one"),
        "handler": "index.handler",
        "runtime": Runtime.PYTHON_3_13,
    }
    return Function(stack, "Enrich", **(given | settings))


def layer(stack: Stack, name: str, version: int = 1) -> Any:
    return LayerVersion.from_layer_version_arn(stack, name, LAYER.format(name, version))


def app(
    make: Make = enrich,
    definition: Callable[[dict[str, Any]], Any] = json.dumps,
    env: Environment | None = None,
    **arguments: Any,
) -> Template:
    """An app whose state machine calls a function.

    Args:
        make: Makes the function, or whatever the machine names as `Used`.
        definition: Writes the state machine's definition.
        env: Where the stack is deployed.
        arguments: Those of the construct.
    """
    stack = Stack(App(), "Telemetry", env=env)
    used = make(stack)
    name = used.function_arn if isinstance(used, Function) else used
    machine = StateMachine(
        stack, "Replay", definition_body=DefinitionBody.from_string(definition(calling(name)))
    )
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.state_machine(machine),
        **({"messages": MessageSelection.all()} | arguments),
    )
    return Template.from_stack(stack)


def calling(name: str) -> dict[str, Any]:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name, "Payload": {"unit": "celsius"}},
        "Next": "Done",
    }
    states = {"Call": task, "Done": {"Type": "Pass", "Result": {"is": "done"}, "End": True}}
    return {"StartAt": "Call", "States": states}


def edited(**changes: Any) -> Callable[[dict[str, Any]], str]:
    """The definition with other fields in the task."""

    def write(definition: dict[str, Any]) -> str:
        definition["States"]["Call"].update(changes)
        return json.dumps(definition)

    return write


def with_payload(payload: Any) -> Callable[[dict[str, Any]], str]:
    def write(definition: dict[str, Any]) -> str:
        definition["States"]["Call"]["Parameters"]["Payload"] = payload
        return json.dumps(definition)

    return write


def backwards(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: backwards(value[key]) for key in reversed(value)}


def tagged(stack: Stack) -> Function:
    Tags.of(stack).add("commit", "0a1b2c3")
    return enrich(stack)


def permitted(stack: Stack) -> Function:
    used = enrich(stack)
    used.add_to_role_policy(PolicyStatement(actions=["s3:GetObject"], resources=["*"]))
    return used


def with_environment(**variables: str) -> dict[str, Any]:
    return {"make": lambda stack: enrich(stack, environment=variables)}


def with_layers(*layers: tuple[str, int]) -> dict[str, Any]:
    return {
        "make": lambda stack: enrich(stack, layers=[layer(stack, name, version) for name, version in layers])
    }


def in_region(env: Environment | None) -> dict[str, Any]:
    return {"make": lambda stack: enrich(stack, environment={"PLACE": f"in {stack.region}"}), "env": env}


RETRY = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 3}]
CATCH = [{"ErrorEquals": ["States.ALL"], "Next": "Done"}]
IRELAND = Environment(region="eu-west-1", account="111122223333")

NOTHING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "indentation": ({}, {"definition": lambda definition: json.dumps(definition, indent=4)}),
    "a line at the end": ({}, {"definition": lambda definition: json.dumps(definition) + "\n"}),
    "the order of keys": ({}, {"definition": lambda definition: json.dumps(backwards(definition))}),
    "a comment": ({}, {"definition": lambda definition: json.dumps({"Comment": "two", **definition})}),
    "a comment of a state": ({}, {"definition": edited(Comment="two")}),
    "a task's time-out": ({}, {"definition": edited(TimeoutSeconds=60)}),
    "a task's heartbeat": ({}, {"definition": edited(HeartbeatSeconds=60)}),
    "a machine's time-out": ({}, {"definition": lambda d: json.dumps({"TimeoutSeconds": 60, **d})}),
    "retries": ({}, {"definition": edited(Retry=RETRY)}),
    "the log level": (with_environment(LOG_LEVEL="INFO"), with_environment(LOG_LEVEL="DEBUG")),
    "a log level": ({}, with_environment(POWERTOOLS_LOG_LEVEL="DEBUG")),
    "a deploy tag": (
        with_environment(DD_TAGS="git.commit.sha:1"),
        with_environment(DD_TAGS="git.commit.sha:2"),
    ),
    "what the user leaves out": (
        {**with_environment(BUILD_ID="1"), "watch": Watch(ignored_environment=["BUILD_*"])},
        {**with_environment(BUILD_ID="2"), "watch": Watch(ignored_environment=["BUILD_*"])},
    ),
    "Lambda Insights": (
        {},
        {"make": lambda stack: enrich(stack, insights_version=LambdaInsightsVersion.VERSION_1_0_229_0)},
    ),
    "a tracing layer": (with_layers(("Datadog-Extension", 1)), with_layers(("Datadog-Extension", 2))),
    "a layer that the user leaves out": (
        {**with_layers(("company", 1)), "watch": Watch(ignored_layers=["company"])},
        {**with_layers(("company", 2)), "watch": Watch(ignored_layers=["company"])},
    ),
    "an explicit region": (in_region(None), in_region(IRELAND)),
    "tags": ({}, {"make": tagged}),
    "memory": ({}, {"make": lambda stack: enrich(stack, memory_size=1024)}),
    "a function's time-out": ({}, {"make": lambda stack: enrich(stack, timeout=Duration.minutes(1))}),
    "a role": ({}, {"make": permitted}),
    "tracing": ({}, {"make": lambda stack: enrich(stack, tracing=Tracing.ACTIVE)}),
    "a description": ({}, {"make": lambda stack: enrich(stack, description="two")}),
}
SOMETHING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "code": ({}, {"make": lambda stack: enrich(stack, code=Code.from_inline("two"))}, "Telemetry/Enrich"),
    "handler": ({}, {"make": lambda stack: enrich(stack, handler="index.other")}, "Telemetry/Enrich"),
    "runtime": ({}, {"make": lambda stack: enrich(stack, runtime=Runtime.PYTHON_3_14)}, "Telemetry/Enrich"),
    "environment": (with_environment(UNIT="celsius"), with_environment(UNIT="kelvin"), "Telemetry/Enrich"),
    "another region's name": (
        with_environment(WHERE="eu-west-1"),
        with_environment(WHERE="us-east-1"),
        "Telemetry/Enrich",
    ),
    "a layer": (with_layers(("units", 1)), with_layers(("units", 2)), "Telemetry/Enrich"),
    "a parameter": ({}, {"definition": with_payload({"unit": "kelvin"})}, "Telemetry/Replay"),
    "a parameter called Retry": ({}, {"definition": with_payload({"Retry": RETRY})}, "Telemetry/Replay"),
    "a parameter called TimeoutSeconds": (
        {"definition": with_payload({"TimeoutSeconds": 1})},
        {"definition": with_payload({"TimeoutSeconds": 2})},
        "Telemetry/Replay",
    ),
    "what a catch leads to": ({}, {"definition": edited(Catch=CATCH)}, "Telemetry/Replay"),
    "the next state": ({}, {"definition": edited(Next="Call")}, "Telemetry/Replay"),
    "the selection": ({}, {"messages": MessageSelection.last(Duration.days(1))}, "Telemetry/Backfill"),
    "the version": ({}, {"version": "2"}, "Telemetry/Backfill"),
}


@pytest.mark.parametrize("edit", NOTHING)
def test_what_decides_no_data_replays_nothing(edit: str) -> None:
    before, after = NOTHING[edit]

    assert_replays_nothing(app(**before), app(**after))


@pytest.mark.parametrize("edit", SOMETHING)
def test_what_decides_data_replays_and_is_told(edit: str) -> None:
    before, after, because = SOMETHING[edit]

    assert_replays(app(**before), app(**after), because=because)


def test_a_definition_in_a_file_counts_by_what_it_says(tmp_path: Path) -> None:
    def in_file(name: str, text: str) -> Template:
        path = tmp_path / f"{name}.asl.json"
        path.write_text(text, encoding="utf-8")
        stack = Stack(App(outdir=str(tmp_path / f"{name}.out")), "Telemetry")
        machine = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_file(str(path)))
        pipeline = ReprocessablePipeline.state_machine(machine)
        PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all())
        return Template.from_stack(stack)

    one, two = calling("enrich:1"), calling("enrich:2")

    assert_replays_nothing(in_file("one", json.dumps(one)), in_file("same", json.dumps(one, indent=1)))
    assert_replays(in_file("first", json.dumps(one)), in_file("second", json.dumps(two)), because="Replay")


def resource(stack: Stack, kind: str, properties: Mapping[str, Any]) -> str:
    return CfnResource(stack, "Used", type=kind, properties=properties).ref


FOLLOWED: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "CodeBuild project": (
        "AWS::CodeBuild::Project",
        lambda what: {"Source": {"Type": "NO_SOURCE", "BuildSpec": what}},
    ),
    "Athena named query": ("AWS::Athena::NamedQuery", lambda what: {"Database": "raw", "QueryString": what}),
    "function of SAM": (
        "AWS::Serverless::Function",
        lambda what: {"InlineCode": what, "Handler": "index.handler", "Runtime": "python3.14"},
    ),
    "state machine of SAM": ("AWS::Serverless::StateMachine", lambda what: {"Definition": {"StartAt": what}}),
    "file system": (
        "AWS::Lambda::Function",
        lambda what: {
            "Code": {"ZipFile": "one"},
            "FileSystemConfigs": [{"Arn": f"arn:aws:elasticfilesystem:access-point/{what}"}],
        },
    ),
}


@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_a_run_calls_is_followed(kind: str) -> None:
    resource_type, properties = FOLLOWED[kind]

    def called(what: str) -> Template:
        return app(lambda stack: resource(stack, resource_type, properties(what)))

    assert_replays_nothing(called("one"), called("one"))
    assert_replays(called("one"), called("two"), because="Telemetry/Used")


def test_a_late_value_that_decides_no_data_is_not_handed_on() -> None:
    def timed(definition: dict[str, Any]) -> str:
        return json.dumps(definition).replace(
            '"Type": "Task"', '"Type": "Task", "TimeoutSeconds": ${Seconds}'
        )

    stack = Stack(App(), "Telemetry")
    CfnParameter(stack, "Seconds", type="Number")
    machine = StateMachine(
        stack,
        "Replay",
        definition_body=DefinitionBody.from_string(timed(calling("enrich:1"))),
        definition_substitutions={"Seconds": Fn.ref("Seconds")},
    )
    pipeline = ReprocessablePipeline.state_machine(machine)
    PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all())

    [found] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()

    assert "Values" not in found["Properties"]


def containers(**environment: Any) -> Make:
    """A task definition whose container has that environment."""

    def make(stack: Stack) -> str:
        variables = [{"Name": name, "Value": value(stack)} for name, value in environment.items()]
        properties = {"ContainerDefinitions": [{"Image": "clean:1", "Environment": variables}]}
        return CfnResource(stack, "Used", type="AWS::ECS::TaskDefinition", properties=properties).ref

    return make


def test_a_function_that_a_container_names_is_followed() -> None:
    def naming(code: str) -> Template:
        return app(containers(NEXT=lambda stack: enrich(stack, code=Code.from_inline(code)).function_arn))

    assert_replays_nothing(naming("one"), naming("one"))
    assert_replays(naming("one"), naming("two"), because="Telemetry/Enrich")


def test_a_parameter_in_a_container_is_handed_on() -> None:
    template = app(containers(UNIT=lambda stack: CfnParameter(stack, "Unit").value_as_string))

    [found] = template.find_resources("Custom::PipelineReprocessing").values()

    assert found["Properties"]["Values"]["Unit.Ref"] == {"Ref": "Unit"}


def raw_function(**properties: Any) -> Make:
    def make(stack: Stack) -> str:
        CfnCondition(stack, "There", expression=Fn.condition_equals(stack.region, "eu-west-1"))
        CfnParameter(stack, "Layers", type="CommaDelimitedList", default="a")
        given = {"Code": {"ZipFile": "one"}, "Handler": "index.handler", "Runtime": "python3.14"}
        return CfnResource(
            stack, "Used", type="AWS::Lambda::Function", properties={**given, **properties}
        ).ref

    return make


def test_layers_that_are_no_list_count() -> None:
    def either(version: int) -> Template:
        layers = {"Fn::If": ["There", [LAYER.format("units", version)], []]}
        return app(raw_function(Layers=layers))

    assert_replays(either(1), either(2), because="Telemetry/Used")
    [found] = (
        app(raw_function(Layers={"Ref": "Layers"})).find_resources("Custom::PipelineReprocessing").values()
    )
    assert "Layers.Ref" in found["Properties"]["Values"]


@pytest.mark.parametrize("place", ["DefinitionS3Location", "DefinitionUri"])
def test_what_is_substituted_in_a_definition_that_is_elsewhere_counts(place: str) -> None:
    kind = (
        "AWS::StepFunctions::StateMachine"
        if place == "DefinitionS3Location"
        else "AWS::Serverless::StateMachine"
    )

    def substituted(unit: str) -> Template:
        properties = {
            place: {"Bucket": "definitions", "Key": "replay.json"},
            "DefinitionSubstitutions": {"Unit": unit},
        }
        return app(lambda stack: resource(stack, kind, properties))

    assert_replays_nothing(substituted("celsius"), substituted("celsius"))
    assert_replays(substituted("celsius"), substituted("kelvin"), because="Telemetry/Used")


def test_what_is_substituted_in_a_parsed_definition_counts() -> None:
    def substituted(unit: str, comment: str = "") -> Template:
        definition = {"Comment": comment, **calling("enrich:1")}
        definition["States"]["Done"]["Result"] = "${Unit}"
        properties = {"Definition": definition, "DefinitionSubstitutions": {"Unit": unit, "Unused": 1}}
        return app(lambda stack: resource(stack, "AWS::Serverless::StateMachine", properties))

    assert_replays_nothing(substituted('"celsius"'), substituted('"celsius"', comment="text"))
    assert_replays(substituted('"celsius"'), substituted('"kelvin"'), because="Telemetry/Used")


def test_what_sam_gives_to_all_functions_counts(tmp_path: Path) -> None:
    def included(unit: str) -> Template:
        path = tmp_path / f"{unit}.json"
        own = {"InlineCode": "one", "Environment": {"Variables": {"OWN": "one"}}}
        function = {"Type": "AWS::Serverless::Function", "Properties": own}
        shared = {"Function": {"Environment": {"Variables": {"UNIT": unit}}, "Handler": "index.handler"}}
        path.write_text(
            json.dumps(
                {
                    "Transform": "AWS::Serverless-2016-10-31",
                    "Globals": shared,
                    "Resources": {"Enrich": function},
                }
            ),
            encoding="utf-8",
        )

        def make(stack: Stack) -> str:
            CfnInclude(stack, "Included", template_file=str(path))
            return Fn.get_att("Enrich", "Arn").to_string()

        return app(make)

    assert_replays_nothing(included("celsius"), included("celsius"))
    assert_replays(included("celsius"), included("kelvin"), because="Telemetry/Included/Enrich")


def test_a_parameter_that_is_given_to_a_nested_stack_counts() -> None:
    def given(factor: str) -> Template:
        def make(stack: Stack) -> Function:
            nested = NestedStack(stack, "Nested", parameters={"Factor": factor})
            value = CfnParameter(nested, "Factor").value_as_string
            return Function(
                nested,
                "Enrich",
                code=Code.from_inline("one"),
                handler="index.handler",
                runtime=Runtime.PYTHON_3_14,
                environment={"FACTOR": value},
            )

        return app(make)

    assert_replays_nothing(given("2"), given("2"))
    assert_replays(given("2"), given("3"), because="Telemetry/Nested/Enrich")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"Environment": "test"}, {"Environment": "production"}),
        ({"Memory": 1}, {"Memory": 2}),
        ({"Layers": {"a": 1}}, {"Layers": {"a": 2}}),
        ({"Command": {"Cpu": 1}}, {"Command": {"Cpu": 2}}),
        ({"Code": {"Key": "a" * 64, "Unit": 1}}, {"Code": {"Key": "a" * 64, "Unit": 2}}),
    ],
)
def test_all_that_a_custom_resource_is_told_counts(before: dict[str, Any], after: dict[str, Any]) -> None:
    def told(properties: dict[str, Any]) -> Template:
        stack = Stack(App(), "Telemetry")
        token = "arn:aws:sns:eu-west-1:111122223333:topic"  # no password
        custom = CustomResource(stack, "Units", service_token=token, properties=properties)
        pipeline = ReprocessablePipeline.iot_analytics_named("telemetry")
        PipelineReprocessing(
            stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all(), rerun_on=[custom]
        )
        return Template.from_stack(stack)

    assert_replays_nothing(told(before), told(before))
    assert_replays(told(before), told(after), because="Units")


def test_a_folder_that_looks_like_a_hash_is_a_folder() -> None:
    def stored(name: str) -> Template:
        return app(raw_function(Code={"S3Bucket": "code", "S3Key": f"{'a' * 64}/{name}.zip"}))

    assert_replays(stored("one"), stored("two"), because="Telemetry/Used")


def test_another_target_of_a_reference_is_told() -> None:
    def naming(first: str, second: str) -> Template:
        def make(stack: Stack) -> Function:
            names = {
                name: Function(
                    stack,
                    name,
                    code=Code.from_inline(name),
                    handler="index.handler",
                    runtime=Runtime.PYTHON_3_14,
                ).function_name
                for name in ("One", "Two")
            }
            return enrich(stack, environment={"FIRST": names[first], "SECOND": names[second]})

        return app(make)

    assert_replays(naming("One", "Two"), naming("Two", "One"), because="Telemetry/Enrich")


def test_triggers_in_environments_are_made_once_each() -> None:
    stack = Stack(App(), "Telemetry")
    pipeline, given = ReprocessablePipeline.iot_analytics_named("telemetry"), "none"
    for number in range(12):
        functions = [
            CfnFunction(
                stack,
                f"Function{number}{name}",
                code={"zipFile": "one"},
                role="arn:aws:iam::111122223333:role/telemetry",
                environment={"variables": {"BEFORE": given}},
            )
            for name in ("A", "B")
        ]
        given = PipelineReprocessing(
            stack,
            f"Backfill{number}",
            pipeline=pipeline,
            messages=MessageSelection.all(),
            rerun_on=functions,
        ).trigger
    with patch.object(Trigger, "_look", autospec=True, side_effect=Trigger._look) as look:
        Template.from_stack(stack)

    assert look.call_count <= 24


def test_only_what_changed_is_told() -> None:
    changed = app(lambda stack: enrich(stack, code=Code.from_inline("two")))

    with pytest.raises(AssertionError) as failure:
        assert_replays(app(), changed, because="Replay")

    assert str(failure.value) == (
        "a deploy replays, but not because of 'Replay':\n  Telemetry/Backfill\n    Telemetry/Enrich: code"
    )


def test_a_secret_is_not_told() -> None:
    def because(stack: Stack) -> Function:
        password = CfnParameter(stack, "Password", no_echo=True, default="hunter2").value_as_string
        return enrich(stack, environment={"PASSWORD": password, "TOKEN": "hunter3"})

    [found] = app(because).find_resources("Custom::PipelineReprocessing").values()

    assert "hunter" not in json.dumps(found)
    assert "Values" not in found["Properties"]


def test_a_hundred_things_are_told_within_the_limits() -> None:
    stack = Stack(App(), "Telemetry" * 6)
    functions = [
        CfnFunction(
            stack,
            f"AFunctionWithAVeryLongNameOfItsOwn{number}",
            code={"zipFile": "one"},
            role="arn:aws:iam::111122223333:role/telemetry",
            environment={"variables": {"UNIT": "celsius"}},
            handler="index.handler",
            runtime="python3.14",
        )
        for number in range(100)
    ]
    pipeline = ReprocessablePipeline.iot_analytics_named("telemetry")
    PipelineReprocessing(
        stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all(), rerun_on=functions
    )

    [found] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()

    assert len(found["Properties"]["Because"]) == 101
    # An Update has it twice, and an event for a Lambda function 262,144 bytes.
    assert len(json.dumps(found["Properties"]["Because"])) < 40_000
