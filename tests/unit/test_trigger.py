"""The trigger changes with what decides the resulting data, and with nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsii
import pytest
from aws_cdk import (
    App,
    Aspects,
    CfnParameter,
    CfnResource,
    DefaultStackSynthesizer,
    Duration,
    IAspect,
    IStackSynthesizer,
    LegacyStackSynthesizer,
    NestedStack,
    Stack,
    Tags,
    Token,
)
from aws_cdk.assertions import Template
from aws_cdk.aws_iam import PolicyStatement
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import Alias, CfnFunction, Code, Function, LayerVersion, Runtime, Tracing, Version
from aws_cdk.aws_logs import LogGroup
from aws_cdk.aws_s3 import Bucket
from aws_cdk.aws_s3_assets import Asset
from aws_cdk.aws_stepfunctions import (
    CfnStateMachine,
    Chain,
    DefinitionBody,
    LogLevel,
    LogOptions,
    Pass,
    StateMachine,
)
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke, StepFunctionsStartExecution
from constructs import Construct, IConstruct

from pipeline_reprocessing import (
    MessageSelection,
    OnRemoval,
    PipelineReprocessing,
    ReprocessablePipeline,
    Wait,
)

Change = Callable[[Any], Any]


def function(scope: Construct, id: str = "Function", **changes: Any) -> Function:  # noqa: A002  # CDK's name for it
    settings: dict[str, Any] = {
        "code": Code.from_inline("one"),
        "handler": "index.handler",
        "runtime": Runtime.PYTHON_3_13,
    }
    return Function(scope, id, **(settings | changes))


def lambda_activity(name: str) -> CfnPipeline.ActivityProperty:
    return CfnPipeline.ActivityProperty(
        lambda_=CfnPipeline.LambdaProperty(name="enrich", lambda_name=name, batch_size=10, next="store")
    )


def math_activity(formula: str) -> CfnPipeline.ActivityProperty:
    return CfnPipeline.ActivityProperty(
        math=CfnPipeline.MathProperty(name="enrich", attribute="temp", math=formula, next="store")
    )


def iot_pipeline(scope: Construct, activity: CfnPipeline.ActivityProperty, **changes: Any) -> CfnPipeline:
    source = CfnPipeline.ChannelProperty(name="source", channel_name="telemetry", next="enrich")
    store = CfnPipeline.DatastoreProperty(name="store", datastore_name="telemetry")
    return CfnPipeline(
        scope,
        "Pipeline",
        pipeline_activities=[
            CfnPipeline.ActivityProperty(channel=source),
            activity,
            CfnPipeline.ActivityProperty(datastore=store),
        ],
        **changes,
    )


def reprocessing(scope: Construct, pipeline: Any, **changes: Any) -> PipelineReprocessing:
    kind = ReprocessablePipeline
    bound = (
        kind.iot_analytics(pipeline) if isinstance(pipeline, CfnPipeline) else kind.state_machine(pipeline)
    )
    return PipelineReprocessing(
        scope, "Backfill", pipeline=bound, **({"messages": MessageSelection.all()} | changes)
    )


def trigger(construct: PipelineReprocessing) -> str:
    value: str = Stack.of(construct).resolve(construct.trigger)
    return value


def of_function(change: Change = lambda _: None, /, **changes: Any) -> str:
    """The trigger of a pipeline with a Lambda activity."""
    stack = Stack(App(), "Telemetry")
    used = function(stack, **changes)
    change(used)
    return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity(used.function_name))))


def of_pipeline(change: Change = lambda _: None, /, formula: str = "temp * 2", **changes: Any) -> str:
    """The trigger of a pipeline without functions."""
    stack = Stack(App(), "Telemetry")
    pipeline = iot_pipeline(stack, math_activity(formula))
    change(pipeline)
    return trigger(reprocessing(stack, pipeline, **changes))


def of_machine(change: Change = lambda _: None, /, code: str = "one", **changes: Any) -> str:
    """The trigger of a state machine that calls a function."""
    stack = Stack(App(), "Telemetry")
    task = LambdaInvoke(stack, "Task", lambda_function=function(stack, code=Code.from_inline(code)))
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task), **changes)
    change(machine)
    return trigger(reprocessing(stack, machine))


def of_rerun_on(make: Callable[[Stack], Any]) -> str:
    stack = Stack(App(), "Telemetry")
    pipeline = iot_pipeline(stack, math_activity("temp * 2"))
    return trigger(reprocessing(stack, pipeline, rerun_on=[make(stack)]))


def folder(path: Path, **files: str) -> str:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / f"{name}.py").write_text(text, encoding="utf-8")
    return str(path)


def test_it_is_a_sha_256() -> None:
    assert re.fullmatch("[0-9a-f]{64}", of_function())


def test_the_same_app_has_the_same_trigger() -> None:
    assert of_function() == of_function()
    assert of_machine() == of_machine()


def test_an_activity_changes_it() -> None:
    assert of_pipeline(formula="temp * 2") != of_pipeline(formula="temp * 3")


def test_an_activity_that_was_added_later_changes_it() -> None:
    def add(pipeline: CfnPipeline) -> None:
        pipeline.pipeline_activities = [math_activity("temp * 3")]

    assert of_pipeline() != of_pipeline(add)


def test_an_escape_hatch_on_the_pipeline_changes_it() -> None:
    def override(pipeline: CfnPipeline) -> None:
        pipeline.add_property_override("PipelineActivities.1.Math.Math", "temp * 3")

    assert of_pipeline() != of_pipeline(override)


def test_an_escape_hatch_that_decides_nothing_does_not_change_it() -> None:
    def override(pipeline: CfnPipeline) -> None:
        pipeline.add_override("Metadata.Owner", "telemetry")
        pipeline.add_property_override("Tags", [{"Key": "owner", "Value": "telemetry"}])

    assert of_pipeline() == of_pipeline(override)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": Code.from_inline("two")},
        {"handler": "index.other"},
        {"runtime": Runtime.PYTHON_3_14},
        {"environment": {"UNIT": "celsius"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_function_that_an_activity_names_changes_it(changes: dict[str, Any]) -> None:
    assert of_function() != of_function(**changes)


def test_an_escape_hatch_on_that_function_changes_it() -> None:
    def override(used: Function) -> None:
        resource = used.node.default_child
        assert isinstance(resource, CfnFunction)
        resource.add_property_override("Handler", "index.other")

    assert of_function() != of_function(override)


def test_the_files_of_that_function_change_it(tmp_path: Path) -> None:
    before = of_function(code=Code.from_asset(folder(tmp_path / "before", index="one")))

    after = of_function(code=Code.from_asset(folder(tmp_path / "after", index="two")))

    assert before != after


def test_the_place_of_those_files_does_not_change_it(tmp_path: Path) -> None:
    here = of_function(code=Code.from_asset(folder(tmp_path / "here", index="one")))

    there = of_function(code=Code.from_asset(folder(tmp_path / "far" / "away", index="one")))

    assert here == there


def test_the_layers_of_that_function_change_it(tmp_path: Path) -> None:
    def layered(text: str, name: str) -> str:
        stack = Stack(App(), "Telemetry")
        layer = LayerVersion(stack, "Layer", code=Code.from_asset(folder(tmp_path / name, module=text)))
        used = function(stack, layers=[layer])
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity(used.function_name))))

    assert layered("one", "first") == layered("one", "second")
    assert layered("one", "third") != layered("two", "fourth")


def test_a_function_that_the_function_names_changes_it() -> None:
    def chained(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        inner = function(stack, "Inner", code=Code.from_inline(code))
        outer = function(stack, environment={"INNER": inner.function_arn})
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity(outer.function_name))))

    assert chained("one") != chained("two")


def test_functions_that_name_each_other_have_a_trigger() -> None:
    def round_about(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        one = function(stack, "One", function_name="one")
        two = function(stack, "Two", code=Code.from_inline(code), environment={"NEXT": one.function_name})
        one.add_environment("NEXT", two.function_name)
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity(one.function_name))))

    assert round_about("one") == round_about("one")
    assert round_about("one") != round_about("two")


def test_a_function_that_an_activity_names_by_its_literal_name_changes_it() -> None:
    def named(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        function(stack, function_name="enrich-telemetry", code=Code.from_inline(code))
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity("enrich-telemetry"))))

    assert named("one") != named("two")


def test_another_function_of_the_app_does_not_change_it() -> None:
    def beside(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        function(stack, function_name="other", code=Code.from_inline(code))
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity("enrich-telemetry"))))

    assert beside("one") == beside("two")


def test_a_function_of_another_stack_changes_it() -> None:
    def elsewhere(code: str) -> str:
        app = App()
        used = function(Stack(app, "Functions"), code=Code.from_inline(code))
        stack = Stack(app, "Telemetry")
        reprocessing(stack, iot_pipeline(stack, lambda_activity(used.function_name)))
        return synthesized_trigger(stack)

    assert elsewhere("one") == elsewhere("one")
    assert elsewhere("one") != elsewhere("two")


@pytest.mark.parametrize("reference", [Version, Alias])
def test_a_version_or_an_alias_stands_for_its_function(reference: type) -> None:
    def by_way(code: str, memory: int = 128) -> str:
        stack = Stack(App(), "Telemetry")
        used = function(stack, code=Code.from_inline(code), memory_size=memory)
        version = used.current_version
        named = Alias(stack, "Live", alias_name="live", version=version) if reference is Alias else version
        machine = StateMachine(
            stack,
            "Machine",
            definition_body=DefinitionBody.from_chainable(LambdaInvoke(stack, "Task", lambda_function=named)),
        )
        return trigger(reprocessing(stack, machine))

    assert by_way("one") != by_way("two")
    assert by_way("one") == by_way("one", memory=512)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_size": 1024},
        {"timeout": Duration.minutes(5)},
        {"description": "Enriches telemetry"},
        {"tracing": Tracing.ACTIVE},
        {"reserved_concurrent_executions": 5},
        {"initial_policy": [PolicyStatement(actions=["s3:ListAllMyBuckets"], resources=["*"])]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_settings_that_decide_no_data_do_not_change_it(changes: dict[str, Any]) -> None:
    assert of_function() == of_function(**changes)


def test_tags_do_not_change_it() -> None:
    def tag(construct: Construct) -> None:
        Tags.of(Stack.of(construct)).add("owner", "telemetry")

    assert of_function() == of_function(tag)
    assert of_pipeline() == of_pipeline(tag)
    assert of_machine() == of_machine(tag)


def test_log_settings_do_not_change_it() -> None:
    def machine_that_logs(level: LogLevel) -> str:
        stack = Stack(App(), "Telemetry")
        machine = StateMachine(
            stack,
            "Machine",
            definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")),
            logs=LogOptions(destination=LogGroup(stack, "Logs"), level=level),
        )
        return trigger(reprocessing(stack, machine))

    def logging(used: Function) -> None:
        resource = used.node.default_child
        assert isinstance(resource, CfnFunction)
        resource.logging_config = CfnFunction.LoggingConfigProperty(log_format="JSON")

    assert of_function() == of_function(logging)
    assert machine_that_logs(LogLevel.ALL) == machine_that_logs(LogLevel.ERROR)


@pytest.mark.parametrize(
    "synthesizer",
    [
        lambda: DefaultStackSynthesizer(qualifier="telemetry"),
        lambda: DefaultStackSynthesizer(bucket_prefix="code/"),
        # As if it were a part of the hash.
        lambda: DefaultStackSynthesizer(bucket_prefix="feed"),
        LegacyStackSynthesizer,
    ],
    ids=["qualifier", "prefix", "hexadecimal prefix", "legacy"],
)
def test_the_bootstrap_bucket_does_not_change_it(
    synthesizer: Callable[[], IStackSynthesizer], tmp_path: Path
) -> None:
    def bootstrapped(name: str, text: str, synthesizer: Callable[[], IStackSynthesizer]) -> str:
        stack = Stack(App(), "Telemetry", synthesizer=synthesizer())
        used = function(stack, code=Code.from_asset(folder(tmp_path / name, index=text)))
        reprocessing(stack, iot_pipeline(stack, lambda_activity(used.function_name)))
        return synthesized_trigger(stack)

    plain = bootstrapped("plain", "one", DefaultStackSynthesizer)

    assert bootstrapped("same", "one", synthesizer) == plain
    assert bootstrapped("other", "two", synthesizer) != plain


def test_a_hash_within_inline_code_is_code() -> None:
    known = "0" * 64

    before = of_function(code=Code.from_inline(f"if digest == '{known}': return 1"))
    after = of_function(code=Code.from_inline(f"if digest == '{known}': return 2"))

    assert before != after


def test_code_in_a_bucket_of_ones_own_changes_it() -> None:
    def from_bucket(key: str, version: str) -> str:
        stack = Stack(App(), "Telemetry")
        bucket = Bucket.from_bucket_name(stack, "Releases", "releases")
        used = function(stack, code=Code.from_bucket(bucket, key, version))
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity(used.function_name))))

    assert len({from_bucket("a.zip", "1"), from_bucket("b.zip", "1"), from_bucket("a.zip", "2")}) == 3


def test_the_definition_of_a_state_machine_changes_it() -> None:
    def passing(value: str) -> str:
        stack = Stack(App(), "Telemetry")
        body = DefinitionBody.from_string(
            '{"StartAt":"A","States":{"A":{"Type":"Pass","Result":"' + value + '","End":true}}}'
        )
        return trigger(reprocessing(stack, StateMachine(stack, "Machine", definition_body=body)))

    assert passing("one") == passing("one")
    assert passing("one") != passing("two")


def test_the_function_that_a_state_machine_calls_changes_it() -> None:
    assert of_machine(code="one") != of_machine(code="two")


def test_a_definition_in_a_file_changes_it(tmp_path: Path) -> None:
    def from_file(name: str, result: str) -> str:
        path = tmp_path / f"{name}.asl.json"
        definition = {
            "Comment": name,
            "StartAt": "A",
            "States": {"A": {"Type": "Pass", "Result": result, "End": True}},
        }
        path.write_text(json.dumps(definition), encoding="utf-8")
        stack = Stack(App(), "Telemetry")
        body = DefinitionBody.from_file(str(path))
        return trigger(reprocessing(stack, StateMachine(stack, "Machine", definition_body=body)))

    assert from_file("first", "one") == from_file("second", "one")
    assert from_file("third", "one") != from_file("fourth", "two")


def test_what_is_substituted_in_a_definition_changes_it() -> None:
    def substituted(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        used = function(stack, code=Code.from_inline(code))
        machine = CfnStateMachine(
            stack,
            "Machine",
            role_arn="arn:aws:iam::111122223333:role/machine",
            definition_string='{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"${f}","End":true}}}',
            definition_substitutions={"f": used.function_arn},
        )
        bound = StateMachine.from_state_machine_arn(stack, "Bound", machine.attr_arn)
        return trigger(reprocessing(stack, bound, rerun_on=[machine]))

    assert substituted("one") != substituted("two")


def test_a_state_machine_that_it_starts_changes_it() -> None:
    def nested(code: str) -> str:
        stack = Stack(App(), "Telemetry")
        task = LambdaInvoke(stack, "Task", lambda_function=function(stack, code=Code.from_inline(code)))
        inner = StateMachine(stack, "Inner", definition_body=DefinitionBody.from_chainable(task))
        start = StepFunctionsStartExecution(stack, "Start", state_machine=inner)
        outer = StateMachine(
            stack, "Outer", definition_body=DefinitionBody.from_chainable(Chain.start(start))
        )
        return trigger(reprocessing(stack, outer))

    assert nested("one") != nested("two")


def test_a_function_in_rerun_on_changes_it() -> None:
    def rerun(**changes: Any) -> str:
        return of_rerun_on(lambda stack: function(stack, **changes))

    assert rerun() != rerun(code=Code.from_inline("two"))
    assert rerun() == rerun(memory_size=1024)


def test_an_asset_in_rerun_on_changes_it(tmp_path: Path) -> None:
    def rerun(name: str, text: str) -> str:
        path = folder(tmp_path / name, model=text)
        return of_rerun_on(lambda stack: Asset(stack, "Model", path=path))

    assert rerun("first", "one") == rerun("second", "one")
    assert rerun("third", "one") != rerun("fourth", "two")


def test_any_other_resource_in_rerun_on_changes_it() -> None:
    def job(**properties: Any) -> str:
        return of_rerun_on(
            lambda stack: CfnResource(stack, "Job", type="AWS::Glue::Job", properties=properties)
        )

    assert job(Command={"ScriptLocation": "s3://a"}) != job(Command={"ScriptLocation": "s3://b"})
    assert job(Command={}, Tags={"owner": "a"}) == job(Command={}, Tags={"owner": "b"})


def test_the_order_of_rerun_on_does_not_change_it() -> None:
    def ordered(*names: str) -> str:
        stack = Stack(App(), "Telemetry")
        parts = {name: function(stack, name, code=Code.from_inline(name)) for name in ("one", "two")}
        pipeline = iot_pipeline(stack, math_activity("temp * 2"))
        return trigger(reprocessing(stack, pipeline, rerun_on=[parts[name] for name in names]))

    assert ordered("one", "two") == ordered("two", "one")


def test_naming_in_rerun_on_what_was_found_anyway_does_not_change_it() -> None:
    def named(*, twice: bool) -> str:
        stack = Stack(App(), "Telemetry")
        used = function(stack)
        pipeline = iot_pipeline(stack, lambda_activity(used.function_name))
        return trigger(reprocessing(stack, pipeline, rerun_on=[used] if twice else []))

    assert named(twice=True) == named(twice=False)


def test_the_selection_changes_it() -> None:
    selections = [
        MessageSelection.all(),
        MessageSelection.last(Duration.days(1)),
        MessageSelection.last(Duration.days(2)),
        MessageSelection.s3_paths(["raw/one"]),
        MessageSelection.time_range("2025-01-01T00:00:00Z"),
        MessageSelection.time_range(end="2025-01-01T00:00:00Z"),
    ]

    assert len({of_pipeline(messages=selection) for selection in selections}) == len(selections)


def test_a_selection_with_a_token_has_a_trigger() -> None:
    def selected(name: str) -> str:
        stack = Stack(App(), "Telemetry")
        start = CfnParameter(stack, name).value_as_string
        selection = MessageSelection.time_range(start=start)
        return trigger(reprocessing(stack, iot_pipeline(stack, math_activity("temp")), messages=selection))

    assert selected("Start") == selected("Start")
    assert selected("Start") != selected("Begin")


def test_the_version_changes_it() -> None:
    assert len({of_pipeline(), of_pipeline(version="1"), of_pipeline(version="2")}) == 3


def test_how_to_wait_and_to_clean_up_does_not_change_it() -> None:
    assert of_pipeline() == of_pipeline(wait=Wait.none(), on_removal=OnRemoval.LEAVE)


def test_two_constructs_do_not_share_it() -> None:
    stack = Stack(App(), "Telemetry")
    pipeline = ReprocessablePipeline.iot_analytics_named("telemetry")

    one, two = (
        PipelineReprocessing(stack, name, pipeline=pipeline, messages=MessageSelection.all())
        for name in ("One", "Two")
    )

    assert trigger(one) != trigger(two)


def test_two_stacks_do_not_share_it() -> None:
    def of_stack(name: str) -> str:
        return trigger(_by_name(Stack(App(), name)))

    assert of_stack("Telemetry") == of_stack("Telemetry")
    assert of_stack("Telemetry") != of_stack("Other")


def test_two_nested_stacks_do_not_share_it() -> None:
    stack = Stack(App(), "Telemetry")
    one, two = (_by_name(NestedStack(stack, name)) for name in ("One", "Two"))

    Template.from_stack(stack)

    assert trigger(one) != trigger(two)


def _by_name(scope: Construct) -> PipelineReprocessing:
    pipeline = ReprocessablePipeline.iot_analytics_named("telemetry")
    return PipelineReprocessing(scope, "Backfill", pipeline=pipeline, messages=MessageSelection.all())


def synthesized_trigger(stack: Stack) -> str:
    [resource] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()
    value: str = resource["Properties"]["Trigger"]
    return value


@jsii.implements(IAspect)
class _AddsALayer:
    """What a company's guard rails do to every function, after everything was defined."""

    def visit(self, node: IConstruct) -> None:
        if isinstance(node, Function):
            layer = "arn:aws:lambda:eu-west-1:111122223333:layer:guard:1"
            node.add_layers(LayerVersion.from_layer_version_arn(node, "Guard", layer))


def test_what_an_aspect_changes_at_the_end_counts_and_is_kept() -> None:
    def visited(*, guarded: bool) -> tuple[str, list[Any]]:
        app = App()
        stack = Stack(app, "Telemetry")
        # The function comes last, so that the aspect reaches it after all parts of the construct.
        reprocessing(stack, iot_pipeline(stack, lambda_activity("enrich")))
        used = function(stack, function_name="enrich")
        if guarded:
            Aspects.of(app).add(_AddsALayer())
        template = Template.from_stack(stack)
        properties = template.to_json()["Resources"][_logical_id(used)]["Properties"]
        return synthesized_trigger(stack), properties.get("Layers", [])

    plain, no_layers = visited(guarded=False)
    changed, layers = visited(guarded=True)

    assert no_layers == []
    assert len(layers) == 1
    assert plain != changed


def _logical_id(used: Function) -> str:
    resource = used.node.default_child
    assert isinstance(resource, CfnFunction)
    return str(used.stack.resolve(resource.logical_id))


def _machine(stack: Stack) -> StateMachine:
    task = LambdaInvoke(stack, "Task", lambda_function=function(stack))
    return StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))


def test_synth_and_the_attribute_agree() -> None:
    stack = Stack(App(), "Telemetry")
    construct = reprocessing(stack, _machine(stack))

    before = trigger(construct)

    assert synthesized_trigger(stack) == before


def test_a_change_between_two_synths_counts() -> None:
    app = App()
    stack = Stack(app, "Telemetry")
    pipeline = iot_pipeline(stack, math_activity("temp * 2"))
    construct = reprocessing(stack, pipeline)
    before = synthesized_trigger(stack)

    pipeline.add_property_override("PipelineActivities.1.Math.Math", "temp * 3")
    template = app.synth(force=True).get_stack_by_name("Telemetry").template

    [after] = [
        resource["Properties"]["Trigger"]
        for resource in template["Resources"].values()
        if resource["Type"] == "Custom::PipelineReprocessing"
    ]
    assert after != before
    assert after == trigger(construct)


APP = """
import sys
from aws_cdk import App, Stack
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke
from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

stack = Stack(App(), "Telemetry")
function = Function(
    stack, "Function", code=Code.from_asset("code"), handler="index.handler", runtime=Runtime.PYTHON_3_13,
    environment={name: name for name in {"ALPHA", "BETA", "GAMMA", "DELTA"}},
)
machine = StateMachine(
    stack, "Machine", definition_body=DefinitionBody.from_chainable(LambdaInvoke(stack, "Task", lambda_function=function))
)
backfill = PipelineReprocessing(
    stack, "Backfill", pipeline=ReprocessablePipeline.state_machine(machine), messages=MessageSelection.all(),
    rerun_on=list({function}),
)
print(stack.resolve(backfill.trigger))
"""


def test_another_hash_seed_path_and_version_of_the_library_do_not_change_it(
    tmp_path: Path, checkout: Path
) -> None:
    def elsewhere(name: str, seed: str, addition: str) -> str:
        place = tmp_path / name
        for package in (
            "constructs/pipeline_reprocessing",
            "lambda/pipeline_reprocessing_handler",
            "lambda/object_replay",
        ):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(checkout / package, place / Path(package).name, ignore=ignored)
        handler = place / "pipeline_reprocessing_handler" / "index.py"
        handler.write_text(handler.read_text(encoding="utf-8") + addition, encoding="utf-8")
        folder(place / "code", index="def handler(event, context): pass")
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(place)}
        done = subprocess.run(
            [sys.executable, "-c", APP],
            cwd=place,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip().splitlines()[-1]

    here = elsewhere("here", "1", "")
    there = elsewhere("far/away", "4242", "\n# The next version.\n")

    assert re.fullmatch("[0-9a-f]{64}", here)
    assert here == there


def test_a_reference_to_something_else_counts_by_its_name() -> None:
    def with_bucket(id: str) -> str:  # noqa: A002  # CDK's name for it
        stack = Stack(App(), "Telemetry")
        bucket = Bucket(stack, id)
        used = function(stack, environment={"BUCKET": bucket.bucket_name, "REGION": stack.region})
        return trigger(reprocessing(stack, iot_pipeline(stack, lambda_activity(used.function_name))))

    assert with_bucket("One") == with_bucket("One")
    assert with_bucket("One") != with_bucket("Two")


def test_texts_with_tokens_in_them_count() -> None:
    def prefixed(prefix: str) -> str:
        return of_function(environment={"WHERE": f"{prefix}-{Token.as_string({'Ref': 'AWS::Region'})}"})

    assert prefixed("a") == prefixed("a")
    assert prefixed("a") != prefixed("b")
