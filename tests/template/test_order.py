"""Constructs that reprocess the same pipeline run one after the other."""

from typing import Any

from aws_cdk import App, Duration, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine

from pipeline_reprocessing import (
    IReprocessablePipeline,
    MessageSelection,
    PipelineReprocessing,
    ReprocessablePipeline,
    Wait,
)

LONG = Wait.for_completion(timeout=Duration.hours(2))
SHORT = Wait.for_completion(timeout=Duration.minutes(2))


def named(name: str) -> IReprocessablePipeline:
    return ReprocessablePipeline.iot_analytics_named(name)


def awaited(
    *pipelines: IReprocessablePipeline, stack: Stack | None = None, wait: Wait = SHORT
) -> list[set[str]]:
    """Of each construct in turn: the numbers of the constructs whose end its run waits for."""
    stack = stack or Stack(App(), "Telemetry")
    for number, pipeline in enumerate(pipelines):
        PipelineReprocessing(
            stack, f"Number{number}", pipeline=pipeline, messages=MessageSelection.all(), wait=wait
        )
    resources = Template.from_stack(stack).to_json()["Resources"]
    end = "AWS::CloudFormation::WaitCondition" if wait is LONG else "Custom::PipelineReprocessing"
    ends = {name for name, resource in resources.items() if resource["Type"] == end}

    def numbers(resource: dict[str, Any]) -> set[str]:
        return {name[len("Number")] for name in ends & set(resource["DependsOn"])}

    return [
        numbers(resource)
        for name, resource in sorted(resources.items())
        if resource["Type"] == "Custom::PipelineReprocessing"
    ]


def test_the_second_waits_for_the_first() -> None:
    assert awaited(named("telemetry"), named("telemetry")) == [set(), {"0"}]


def test_the_third_waits_for_both() -> None:
    assert awaited(*[named("telemetry")] * 3) == [set(), {"0"}, {"0", "1"}]


def test_other_pipelines_do_not_wait() -> None:
    assert awaited(named("one"), named("two"), named("one")) == [set(), set(), {"0"}]


def test_a_long_run_is_waited_for_to_its_end() -> None:
    assert awaited(named("telemetry"), named("telemetry"), wait=LONG) == [set(), {"0"}]


def test_a_pipeline_is_the_same_however_it_was_named() -> None:
    stack = Stack(App(), "Telemetry")
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_name="telemetry", pipeline_activities=[])

    order = awaited(ReprocessablePipeline.iot_analytics(pipeline), named("telemetry"), stack=stack)

    assert order == [set(), {"0"}]


def test_a_state_machine_runs_one_after_the_other_too() -> None:
    stack = Stack(App(), "Telemetry")
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))

    order = awaited(*[ReprocessablePipeline.state_machine(machine) for _ in range(2)], stack=stack)

    assert order == [set(), {"0"}]
