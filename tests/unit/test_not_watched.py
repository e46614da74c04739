"""A warning says so where a change of the pipeline would reprocess nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Annotations as CdkAnnotations
from aws_cdk import App, CfnParameter, Stack
from aws_cdk.assertions import Annotations, Match
from aws_cdk.aws_lambda import CfnFunction, Code, Function, IFunction, Runtime
from aws_cdk.aws_s3 import Bucket
from aws_cdk.aws_stepfunctions import CfnStateMachine, DefinitionBody, Pass, StateMachine
from constructs import Construct

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    IReprocessablePipeline,
    MessageSelection,
    PipelineBinding,
    PipelineReprocessing,
    ReprocessablePipeline,
    Transform,
)

Make = Callable[[Stack], Any]

ARN = "arn:aws:states:eu-west-1:111122223333:stateMachine:replay"
WARNING = "pipeline-reprocessing:notWatched"
ROLE = "arn:aws:iam::111122223333:role/telemetry"


def known(stack: Stack, arn: str = ARN) -> IReprocessablePipeline:
    machine = StateMachine.from_state_machine_arn(stack, "Replay", arn)
    return ReprocessablePipeline.state_machine(machine)


def archive(stack: Stack, transform: IFunction) -> IReprocessablePipeline:
    return ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw")),
        transform=Transform.firehose(transform),
        destination=Destination(Bucket(stack, "Clean"), prefix="clean/"),
    )


def imported_transform(stack: Stack) -> IReprocessablePipeline:
    return archive(stack, Function.from_function_name(stack, "Enrich", "enrich"))


def warnings(make: Make, **arguments: Any) -> list[str]:
    stack = Stack(App(), "Telemetry")
    pipeline = make(stack)
    given = {name: value(stack) if callable(value) else value for name, value in arguments.items()}
    PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all(), **given)
    return found(stack)


def found(stack: Stack) -> list[str]:
    messages = Annotations.from_stack(stack).find_warning("/Telemetry/Backfill", Match.any_value())
    return [str(message.entry.data) for message in messages]


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (known, "Telemetry/Replay"),
        (imported_transform, "Telemetry/Enrich"),
        # another ARN is seen, but not another definition behind the same one
        (lambda stack: known(stack, CfnParameter(stack, "Arn").value_as_string), "Telemetry/Replay"),
    ],
)
def test_what_this_app_does_not_define_is_warned_of(make: Make, path: str) -> None:
    assert warnings(make) == [
        f"nothing in this app tells when '{path}' changes, so that reprocesses nothing; put what changes with it into "
        f"'version' [ack: {WARNING}]"
    ]


def machine(stack: Stack) -> StateMachine:
    body = DefinitionBody.from_chainable(Pass(stack, "Do"))
    return StateMachine(stack, "Machine", definition_body=body)


def function(stack: Stack, **settings: Any) -> Function:
    return Function(
        stack,
        "Function",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        **settings,
    )


def defined_elsewhere(stack: Stack) -> IReprocessablePipeline:
    return known(stack, CfnStateMachine(stack, "Machine", role_arn=ROLE, definition_string="{}").attr_arn)


def transform_defined_elsewhere(stack: Stack) -> IReprocessablePipeline:
    resource = CfnFunction(stack, "Raw function", code={"zipFile": "one"}, role=ROLE)
    return archive(stack, Function.from_function_arn(stack, "Enrich", resource.attr_arn))


def transform_defined_under_that_name_later(stack: Stack) -> IReprocessablePipeline:
    pipeline = imported_transform(stack)
    function(stack, function_name="enrich")
    return pipeline


@pytest.mark.parametrize(
    "make",
    [
        lambda stack: ReprocessablePipeline.state_machine(machine(stack)),
        lambda stack: archive(stack, function(stack)),
        defined_elsewhere,
        transform_defined_elsewhere,
        transform_defined_under_that_name_later,
        # Who names a pipeline of IoT Analytics has said that this app does not define it.
        lambda stack: ReprocessablePipeline.iot_analytics_named("telemetry"),
    ],
    ids=["machine", "function", "machine resource", "function resource", "name", "by name"],
)
def test_what_is_seen_in_some_way_is_not_warned_of(make: Make) -> None:
    assert warnings(make) == []


@pytest.mark.parametrize(
    "way_out", [{"version": "1"}, {"rerun_on": lambda stack: [function(stack)]}], ids=["version", "rerun_on"]
)
def test_who_has_said_what_changes_is_not_warned(way_out: dict[str, Any]) -> None:
    assert warnings(known, **way_out) == []


def test_the_warning_can_be_acknowledged() -> None:
    stack = Stack(App(), "Telemetry")
    construct = PipelineReprocessing(
        stack, "Backfill", pipeline=known(stack), messages=MessageSelection.all()
    )

    CdkAnnotations.of(construct).acknowledge_warning(WARNING, "it never changes")

    assert found(stack) == []


def test_what_a_kind_of_ones_own_watches_is_warned_of_where_nothing_is_to_be_seen() -> None:
    class Own(IReprocessablePipeline):
        def bind(self, scope: Construct) -> PipelineBinding:
            binding = ReprocessablePipeline.iot_analytics_named("telemetry").bind(scope)
            return PipelineBinding(
                name=binding.name,
                properties=binding.properties,
                statements=binding.statements,
                watched=[Construct(scope, "Watched")],
            )

    [warning] = warnings(lambda stack: Own())
    assert warning.startswith("nothing in this app tells when 'Telemetry/Backfill/Watched' changes")
