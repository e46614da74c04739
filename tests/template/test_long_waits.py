"""A wait beyond what a custom resource can take has a WaitCondition, a new one for each trigger and time-out."""

from typing import Any

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk.assertions import Template
from constructs import Construct

from pipeline_reprocessing import (
    MessageSelection,
    OnTimeout,
    PipelineReprocessing,
    ReprocessablePipeline,
    Wait,
)


def resources(hours: int = 6, version: str | None = None) -> dict[str, Any]:
    stack = Stack(App(), "Telemetry")
    construct = PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
        messages=MessageSelection.all(),
        wait=Wait.for_completion(timeout=Duration.hours(hours), on_timeout=OnTimeout.DETACH),
        version=version,
    )
    assert construct.wait_condition is not None
    return dict(Template.from_stack(stack).to_json()["Resources"])


def of_type(template: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    [found] = [(name, resource) for name, resource in template.items() if resource["Type"] == kind]
    return found


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return resources()


def test_the_custom_resource_only_starts_the_run_and_knows_where_to_signal(template: dict[str, Any]) -> None:
    handle, _ = of_type(template, "AWS::CloudFormation::WaitConditionHandle")

    _, custom = of_type(template, "Custom::PipelineReprocessing")

    assert custom["Properties"]["ServiceTimeout"] == "300"
    assert custom["Properties"]["Wait"] == {
        "TimeoutSeconds": 21_600,
        "OnTimeout": "DETACH",
        "SignalUrl": {"Ref": handle},
    }


def test_the_condition_waits_after_the_custom_resource_for_one_signal(template: dict[str, Any]) -> None:
    handle, _ = of_type(template, "AWS::CloudFormation::WaitConditionHandle")
    custom, _ = of_type(template, "Custom::PipelineReprocessing")

    _, condition = of_type(template, "AWS::CloudFormation::WaitCondition")

    assert condition["Properties"] == {"Count": 1, "Handle": {"Ref": handle}, "Timeout": "21900"}
    assert condition["DependsOn"] == [custom]


def test_the_longest_condition_is_the_longest_that_cloudformation_takes() -> None:
    _, condition = of_type(resources(hours=12), "AWS::CloudFormation::WaitCondition")

    assert condition["Properties"]["Timeout"] == "43200"


def test_the_ids_are_those_of_the_construct_with_an_end_of_their_own(template: dict[str, Any]) -> None:
    ends = set()
    for kind in ("AWS::CloudFormation::WaitCondition", "AWS::CloudFormation::WaitConditionHandle"):
        name, _ = of_type(template, kind)
        assert name.startswith("BackfillWait")
        assert name.isalnum()
        ends.add(name[-16:])

    assert len(ends) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"version": "1"}, {"version": "2"}),
        # CloudFormation updates no WaitCondition, not even its time-out.
        ({"hours": 2}, {"hours": 3}),
    ],
    ids=["trigger", "time-out"],
)
def test_another_wait_has_another_condition_and_the_same_custom_resource(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = resources(**before), resources(**after)

    gone, added = old.keys() - new.keys(), new.keys() - old.keys()

    assert len(gone) == len(added) == 2
    assert all(name.startswith("BackfillWait") for name in gone | added)


def test_the_same_wait_has_the_same_condition(template: dict[str, Any]) -> None:
    assert resources().keys() == template.keys()


def test_an_id_of_a_deeply_nested_construct_fits() -> None:
    stack = Stack(App(), "Telemetry")
    scope: Construct = stack
    for level in range(12):
        scope = Construct(scope, f"AnotherLevelOfNesting{level}")
    PipelineReprocessing(
        scope,
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
        messages=MessageSelection.all(),
        wait=Wait.for_completion(timeout=Duration.hours(6)),
    )

    names = Template.from_stack(stack).to_json()["Resources"]

    assert max(map(len, names)) <= 255
