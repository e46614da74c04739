"""What the handler may do with a pipeline stays allowed for as long as it may have to end a run on it."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

Make = Callable[[Stack], Any]


def machine(stack: Stack, name: str = "Machine", comment: str = "one", **changes: Any) -> Any:
    body = DefinitionBody.from_chainable(Pass(stack, f"{name}Do", comment=comment))
    return ReprocessablePipeline.state_machine(StateMachine(stack, name, definition_body=body, **changes))


def known(stack: Stack, name: str) -> Any:
    arn = f"arn:aws:states:eu-west-1:111122223333:stateMachine:{name}"
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Known", arn))


def iot_pipeline(stack: Stack, formula: str = "temp", **changes: Any) -> Any:
    math = CfnPipeline.MathProperty(name="math", attribute="temp", math=formula)
    activities = [CfnPipeline.ActivityProperty(math=math)]
    return ReprocessablePipeline.iot_analytics(
        CfnPipeline(stack, "Machine", pipeline_activities=activities, **changes)
    )


def policies(make: Make) -> dict[str, str]:
    """The names of the policies for the pipeline, by their logical ids."""
    stack = Stack(App(), "Telemetry")
    PipelineReprocessing(stack, "Backfill", pipeline=make(stack), messages=MessageSelection.all())
    found = Template.from_stack(stack).find_resources("AWS::IAM::Policy")
    return {
        name: policy["Properties"]["PolicyName"]
        for name, policy in found.items()
        if name.startswith("Backfill")
    }


EXCHANGES: dict[str, tuple[Make, Make]] = {
    "another machine": (lambda stack: machine(stack, "One"), lambda stack: machine(stack, "Two")),
    "a machine that was given a name": (machine, lambda stack: machine(stack, state_machine_name="replay")),
    "a machine that was given another name": (
        lambda stack: machine(stack, state_machine_name="one"),
        lambda stack: machine(stack, state_machine_name="two"),
    ),
    "another machine of elsewhere": (lambda stack: known(stack, "one"), lambda stack: known(stack, "two")),
    "another kind under the same id": (machine, iot_pipeline),
    "another name of an IoT Analytics pipeline": (
        lambda stack: iot_pipeline(stack, pipeline_name="one"),
        lambda stack: iot_pipeline(stack, pipeline_name="two"),
    ),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_another_pipeline_has_a_policy_beside_the_old_one_in_both_directions(exchange: str) -> None:
    before, after = EXCHANGES[exchange]

    old, new = policies(before), policies(after)

    # Neither id is in the other template, so forward and backward one is made and the other one removed afterwards.
    assert len(old) == len(new) == 1
    assert old.keys().isdisjoint(new)
    # Policies of one name in one role would be one policy, and go with whichever is removed.
    assert set(old.values()).isdisjoint(new.values())
    assert policies(before) == old


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (machine, lambda stack: machine(stack, comment="two")),
        (iot_pipeline, lambda stack: iot_pipeline(stack, formula="temp * 2")),
    ],
    ids=["machine", "pipeline"],
)
def test_another_definition_keeps_the_policy(before: Make, after: Make) -> None:
    assert policies(before) == policies(after)


def test_a_machine_of_another_stack_has_a_policy_of_its_own_too() -> None:
    def elsewhere(name: str) -> dict[str, str]:
        return policies(lambda stack: machine(Stack(cast(App, stack.node.root), name)))

    one, two = elsewhere("One"), elsewhere("Two")

    assert len(one) == len(two) == 1
    assert one.keys().isdisjoint(two)
