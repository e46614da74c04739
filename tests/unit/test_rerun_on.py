"""What stands in `rerun_on` counts by what decides data in it, not by how it is built."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import App, Duration, RemovalPolicy, Stack, Tags
from aws_cdk.assertions import Template
from aws_cdk.aws_lambda import CfnFunction, CfnLayerVersion, Code, Function, FunctionUrlAuthType, Runtime
from aws_cdk.aws_s3 import Bucket, EventType
from aws_cdk.aws_s3_deployment import BucketDeployment, Source
from aws_cdk.aws_s3_notifications import LambdaDestination
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, Result, StateMachine
from aws_cdk.aws_stepfunctions_tasks import StepFunctionsStartExecution
from constructs import Construct, IConstruct

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

NAMED = ReprocessablePipeline.iot_analytics_named("telemetry")
CODE = "def handler(event, context): ..."


def function(scope: Construct, code: str = CODE) -> Function:
    return Function(
        scope,
        "Function",
        code=Code.from_inline(code),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
    )


def archive(stack: Stack, *, code: str = CODE, prefix: str = "clean/", memory: int = 1769) -> ArchivePipeline:
    return ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw")),
        transform=Transform.firehose(function(stack, code)),
        destination=Destination(Bucket(stack, "Clean"), prefix=prefix),
        memory_size=memory,
    )


def machine(stack: Stack, result: str = "one") -> StateMachine:
    body = DefinitionBody.from_chainable(Pass(stack, "Do", result=Result.from_string(result)))
    return StateMachine(stack, "Machine", definition_body=body)


def first(stack: Stack, *, result: str = "one", **arguments: Any) -> PipelineReprocessing:
    given = {"messages": MessageSelection.all()} | arguments
    pipeline = ReprocessablePipeline.state_machine(machine(stack, result))
    return PipelineReprocessing(stack, "First", pipeline=pipeline, **given)


def second(stack: Stack, *parts: IConstruct, pipeline: Any = NAMED) -> dict[str, Any]:
    """The custom resource of a construct that watches these parts."""
    PipelineReprocessing(stack, "Second", pipeline=pipeline, messages=MessageSelection.all(), rerun_on=parts)
    found = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing")
    [resource] = [resource for name, resource in found.items() if name.startswith("Second")]
    return dict(resource)


def trigger(make: Callable[[Stack], IConstruct]) -> str:
    stack = Stack(App(), "Telemetry")
    value: str = second(stack, make(stack))["Properties"]["Trigger"]
    return value


def grouped(make: Callable[[Stack], IConstruct]) -> str:
    """The trigger where the parts are in a group that stands in `rerun_on`."""
    stack = Stack(App(), "Telemetry")
    group: Any = Construct(stack, "Group")
    make(group)
    value: str = second(stack, group)["Properties"]["Trigger"]
    return value


def upgraded(part: ArchivePipeline) -> ArchivePipeline:
    """As another version of this library would build it."""
    resource = part.function.node.default_child
    assert isinstance(resource, CfnFunction)
    resource.handler = "object_replay.other.handler"
    return part


@pytest.mark.parametrize("watched", [trigger, grouped])
def test_an_archive_pipeline_counts_by_its_settings_and_its_function(
    watched: Callable[[Callable[[Stack], IConstruct]], str],
) -> None:
    plain = watched(archive)

    assert watched(lambda stack: archive(stack, code="def handler(e, c): ...")) != plain
    assert watched(lambda stack: archive(stack, prefix="other/")) != plain
    assert watched(lambda stack: archive(stack, memory=3008)) == plain
    assert watched(lambda stack: upgraded(archive(stack))) == plain


@pytest.mark.parametrize("watched", [trigger, grouped])
def test_another_reprocessing_counts_by_what_it_is_made_from(
    watched: Callable[[Callable[[Stack], IConstruct]], str],
) -> None:
    plain = watched(first)

    assert watched(lambda stack: first(stack, result="two")) != plain
    assert watched(lambda stack: first(stack, version="2")) != plain
    assert watched(lambda stack: first(stack, messages=MessageSelection.last(Duration.days(1)))) != plain
    assert watched(lambda stack: first(stack, rerun_on=[function(stack)])) != plain
    wait = Wait.for_completion(timeout=Duration.minutes(10))
    assert watched(lambda stack: first(stack, wait=wait)) == plain


def test_another_reprocessing_comes_first() -> None:
    stack = Stack(App(), "Telemetry")
    earlier = first(stack, wait=Wait.for_completion(timeout=Duration.hours(2)))

    needed = second(stack, earlier)["DependsOn"]

    assert any(name.startswith("FirstWaitCondition") for name in needed)


def test_a_machine_that_starts_an_archive_pipeline_counts_by_what_that_was_told() -> None:
    def starting(change: Callable[[ArchivePipeline], object] = lambda _: None, **settings: Any) -> str:
        stack = Stack(App(), "Telemetry")
        pipeline = archive(stack, **settings)
        change(pipeline)
        start = StepFunctionsStartExecution(stack, "Start", state_machine=pipeline.state_machine)
        outer = StateMachine(stack, "Outer", definition_body=DefinitionBody.from_chainable(start))
        resource = second(stack, pipeline=ReprocessablePipeline.state_machine(outer))
        value: str = resource["Properties"]["Trigger"]
        return value

    assert starting(prefix="other/") != starting()
    assert starting(code="def handler(e, c): ...") != starting()
    assert starting(upgraded) == starting()


def test_the_result_of_another_reprocessing_stands_for_what_that_is_made_from() -> None:
    def naming(version: str) -> dict[str, Any]:
        stack = Stack(App(), "Telemetry")
        used = function(stack)
        used.add_environment("RUN", first(stack, version=version).reprocessing_id)
        return dict(second(stack, used)["Properties"])

    assert naming("1")["Trigger"] == naming("1")["Trigger"]
    assert naming("1")["Trigger"] != naming("2")["Trigger"]
    assert "Values" not in naming("1")


BUCKETS: dict[str, dict[str, Any]] = {
    "policy": {"enforce_ssl": True},
    "emptying": {"auto_delete_objects": True},
}


@pytest.mark.parametrize("addition", BUCKETS)
def test_what_cdk_adds_to_a_bucket_does_not_change_it(addition: str) -> None:
    def bucket(**settings: Any) -> str:
        return trigger(
            lambda stack: Bucket(stack, "Bucket", removal_policy=RemovalPolicy.DESTROY, **settings)
        )

    assert bucket(**BUCKETS[addition]) == bucket()
    assert bucket(bucket_name="another-bucket") != bucket()


def test_the_notifications_of_a_bucket_do_not_change_it() -> None:
    def bucket(*, notifies: bool) -> str:
        stack = Stack(App(), "Telemetry")
        watched, used = Bucket(stack, "Bucket"), function(stack)
        if notifies:
            watched.add_event_notification(EventType.OBJECT_CREATED, LambdaDestination(used))
        value: str = second(stack, watched)["Properties"]["Trigger"]
        return value

    assert bucket(notifies=True) == bucket(notifies=False)


def test_a_deployment_to_a_bucket_counts_by_its_files_and_not_by_what_copies_them() -> None:
    def deployed(text: str, layer: str | None = None) -> str:
        stack = Stack(App(), "Telemetry")
        sources = [Source.data("units.txt", text)]
        deployment = BucketDeployment(
            stack, "Units", sources=sources, destination_bucket=Bucket(stack, "Bucket")
        )
        if layer:
            copying = deployment.node.find_child("AwsCliLayer").node.default_child
            assert isinstance(copying, CfnLayerVersion)
            copying.content = CfnLayerVersion.ContentProperty(s3_bucket="layers", s3_key=layer)
        value: str = second(stack, deployment)["Properties"]["Trigger"]
        return value

    assert deployed("celsius") == deployed("celsius", layer="another-layer.zip")
    assert deployed("celsius") != deployed("fahrenheit")


def test_what_copies_files_for_another_stack_does_not_change_it() -> None:
    def of_stack(*, copies: bool) -> str:
        app = App()
        stack, other = Stack(app, "Telemetry"), Stack(app, "Other")
        function(other)
        if copies:
            Bucket(other, "Bucket", auto_delete_objects=True, removal_policy=RemovalPolicy.DESTROY)
        else:
            Bucket(other, "Bucket", removal_policy=RemovalPolicy.DESTROY)
        value: str = second(stack, other)["Properties"]["Trigger"]
        return value

    assert of_stack(copies=True) == of_stack(copies=False)


def test_who_calls_a_function_of_a_group_does_not_change_it() -> None:
    def group(*, called: bool) -> str:
        stack = Stack(App(), "Telemetry")
        scope = Construct(stack, "Group")
        used = function(scope)
        if called:
            used.add_function_url(auth_type=FunctionUrlAuthType.NONE)
            used.add_alias("live")
        Tags.of(scope).add("owner", "telemetry")
        value: str = second(stack, scope)["Properties"]["Trigger"]
        return value

    assert group(called=True) == group(called=False)
