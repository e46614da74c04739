"""The whole way on the embedded AWS, for a pipeline that is a state machine."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine

from local_aws import CdkResult, LocalAws
from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Wait

pytestmark = pytest.mark.embedded

State = dict[str, Any]
DONE: State = {"Type": "Succeed"}
SLOW: State = {"Type": "Wait", "Seconds": 600, "End": True}
BROKEN: State = {"Type": "Fail", "Error": "BadUnits", "Cause": "the transformation met kelvin"}


@dataclass
class Replay:
    """A stack with a state machine of one state, and the construct."""

    aws: LocalAws
    folder: Path
    name: str
    deploys: int = 0

    def deploy(self, state: State, *, wait: Wait | None = None, value: str = "celsius") -> CdkResult:
        """Deploys the stack with that state, whether it succeeds or not; the definition names a parameter's value."""
        self.deploys += 1
        app = cdk.App(outdir=str(self.folder / f"{self.name}-{self.deploys}"))
        stack = cdk.Stack(app, self.name)
        parameter = cdk.CfnParameter(stack, "Unit").value_as_string
        unit = {"Type": "Pass", "Result": parameter, "ResultPath": "$.unit", "Next": "Only"}
        definition = json.dumps({"StartAt": "Unit", "States": {"Unit": unit, "Only": state}})
        machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_string(definition))
        backfill = PipelineReprocessing(
            stack,
            "Backfill",
            pipeline=ReprocessablePipeline.state_machine(machine),
            messages=MessageSelection.time_range(datetime(2025, 1, 1, tzinfo=UTC), None),
            wait=wait,
        )
        cdk.CfnOutput(stack, "MachineArn", value=machine.state_machine_arn)
        cdk.CfnOutput(stack, "RunId", value=backfill.reprocessing_id)
        cdk.CfnOutput(stack, "RunStart", value=backfill.start_time)
        app.synth()
        return self.aws.cdk("deploy", self.name, "--parameters", f"Unit={value}", app=app.outdir)

    def executions(self) -> list[dict[str, Any]]:
        """Every execution, the oldest first."""
        machine = self.outputs["MachineArn"]
        states = self.aws.client("stepfunctions")
        listed = states.list_executions(stateMachineArn=machine)["executions"]
        described = [states.describe_execution(executionArn=each["executionArn"]) for each in listed]
        return sorted(described, key=lambda each: each["startDate"])

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


@pytest.fixture
def replay(local_aws: LocalAws, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Replay]:
    """The stack, with a name of its own for each test; it is deleted after the test."""
    made = Replay(local_aws, tmp_path, f"replay-{len(request.node.name)}")
    yield made
    local_aws.client("cloudformation").delete_stack(StackName=made.name)


def test_an_execution_gets_the_selection_and_a_failing_one_gives_its_cause_to_the_deploy(
    replay: Replay,
) -> None:
    replay.deploy(DONE).check()

    (execution,) = replay.executions()
    assert execution["status"] == "SUCCEEDED"
    assert (execution["name"], "2025-01-01T00:00:00Z") == (
        replay.outputs["RunId"],
        replay.outputs["RunStart"],
    )
    received = json.loads(execution["input"])
    assert received["messages"] == {"StartTime": "2025-01-01T00:00:00Z"}
    assert len(received["trigger"]) == 64
    assert received["resource"]["stackId"].split("/")[1] == replay.name

    # and a definition that fails
    result = replay.deploy(BROKEN)

    assert not result.succeeded
    assert "the run ended FAILED: BadUnits: the transformation met kelvin" in " ".join(result.output.split())
    assert len(replay.executions()) == 2, "the rollback must start no execution"


def test_a_new_deploy_stops_the_execution_that_still_goes_on(replay: Replay) -> None:
    replay.deploy(SLOW, wait=Wait.none()).check()
    assert [each["status"] for each in replay.executions()] == ["RUNNING"]

    replay.deploy(DONE).check()

    superseded, newest = replay.executions()
    assert (superseded["status"], newest["status"]) == ("ABORTED", "SUCCEEDED")
    assert superseded["cause"].startswith("superseded by a new deploy (Backfill")


def test_a_value_that_only_the_deploy_knows_reprocesses_when_it_changes(replay: Replay) -> None:
    replay.deploy(DONE).check()
    replay.deploy(DONE).check()
    assert len(replay.executions()) == 1

    replay.deploy(DONE, value="fahrenheit").check()

    assert [execution["status"] for execution in replay.executions()] == ["SUCCEEDED", "SUCCEEDED"]
