"""Many constructs in one stack, all of whose pipelines are exchanged at once, under IAM's quotas."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.aws_iam import ManagedPolicy, PolicyStatement, Role, ServicePrincipal
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine

from local_aws import CdkResult, LocalAws
from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Wait

pytestmark = [pytest.mark.embedded, pytest.mark.more_deploys]

COUNT = 12
SLOW: dict[str, Any] = {"Type": "Wait", "Seconds": 3600, "End": True}


def synthesize(outdir: Path, machines: str, count: int, *, name: str = "many", fails: bool = False) -> Path:
    """A stack with state machines of those ids whose runs go on, each with a construct that does not wait."""
    app = cdk.App(outdir=str(outdir))
    stack = cdk.Stack(app, name)
    role = Role(stack, "Role", assumed_by=ServicePrincipal("states.amazonaws.com"))
    body = DefinitionBody.from_string(json.dumps({"StartAt": "Only", "States": {"Only": SLOW}}))
    backfills = [
        PipelineReprocessing(
            stack,
            f"Backfill{number}",
            pipeline=ReprocessablePipeline.state_machine(
                StateMachine(stack, f"{machines}{number}", definition_body=body, role=role)
            ),
            messages=MessageSelection.all(),
            wait=Wait.none(),
        )
        for number in range(count)
    ]
    cdk.CfnOutput(stack, "HandlerRole", value=backfills[0].role.role_name)
    cdk.CfnOutput(stack, "HandlerFunction", value=backfills[0].handler.function_name)
    if fails:
        statement = PolicyStatement(actions=["s3:GetObject"], resources=["arn:aws:s3:::" + "x" * 6_144])
        too_long = ManagedPolicy(stack, "TooLong", statements=[statement])
        too_long.node.add_dependency(*backfills)
    app.synth()
    return outdir


@dataclass
class Many:
    """The stack, deployed by the CLI."""

    aws: LocalAws
    folder: Path
    name: str = "many"
    count: int = COUNT
    deploys: int = 0

    def deploy(self, machines: str, *, fails: bool = False) -> CdkResult:
        """Deploys it, whether that succeeds or not; `fails` makes a resource fail that comes after all others."""
        self.deploys += 1
        outdir = synthesize(
            self.folder / f"{self.deploys}", machines, self.count, name=self.name, fails=fails
        )
        return self.aws.cdk("deploy", self.name, app=str(outdir))

    def executions(self, machines: str) -> Counter[str]:
        """How many executions there are of the machines of those ids, by status."""
        states = self.aws.client("stepfunctions")
        found = states.get_paginator("list_state_machines").paginate().search("stateMachines[]")
        arns = [one["stateMachineArn"] for one in found if f"{self.name}-{machines}" in one["name"]]
        return Counter(
            execution["status"]
            for arn in arns
            for execution in states.list_executions(stateMachineArn=arn)["executions"]
        )

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack, and its status."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        return {"Status": stack["StackStatus"], **outputs}

    @property
    def policies(self) -> int:
        """How many managed policies are attached to the handler's role."""
        role = self.outputs["HandlerRole"]
        return len(self.aws.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"])


@pytest.fixture
def many(local_aws: LocalAws, tmp_path: Path) -> Iterator[Many]:
    """The stack; it is deleted after the test."""
    made = Many(local_aws, tmp_path)
    yield made
    local_aws.client("cloudformation").delete_stack(StackName=made.name)


def test_all_pipelines_are_exchanged_at_once_forward_and_in_a_rollback(many: Many) -> None:
    many.deploy("First").check()

    assert many.executions("First") == {"RUNNING": COUNT}
    assert many.policies == 5

    # and with other machines: a run that goes on is ended on the old one before the old policies are removed
    many.deploy("Second").check()

    assert many.executions("Second") == {"RUNNING": COUNT}
    assert many.policies == 5

    # and back, in a deploy that fails at its end: the rollback ends the runs that the deploy has started
    failed = many.deploy("First", fails=True)

    assert not failed.succeeded
    assert "Cannot exceed quota for PolicySize: 6144" in failed.output
    assert many.outputs["Status"] == "UPDATE_ROLLBACK_COMPLETE"
    assert many.executions("Second") == {"ABORTED": COUNT}
    assert many.policies == 5
    assert [
        line for line in many.aws.function_logs(many.outputs["HandlerFunction"]) if "AccessDenied" in line
    ] == []


@pytest.fixture
def hundred(local_aws: LocalAws, tmp_path: Path) -> Iterator[Many]:
    """A stack of a hundred, under a name of its own: another test's stack may still be on its way out."""
    made = Many(local_aws, tmp_path, name="hundred-runs", count=100)
    yield made
    local_aws.client("cloudformation").delete_stack(StackName=made.name)


def test_the_cli_deploys_a_hundred_constructs_in_one_stack(hundred: Many) -> None:
    hundred.deploy("Only").check()

    assert hundred.executions("Only") == {"RUNNING": 100}
    assert hundred.policies <= 5


def policies_and_machines(outdir: Path) -> str:
    """The template without what would start runs: the exchange here is of policies alone."""
    template = json.loads((outdir / "many.template.json").read_text(encoding="utf-8"))
    left_out = ("Backfill", "PipelineReprocessingHandlerFunction", "PipelineReprocessingHandlerPolicy", "CDK")
    resources = {
        name: resource for name, resource in template["Resources"].items() if not name.startswith(left_out)
    }
    return json.dumps({"Resources": resources}, separators=(",", ":"))


def test_iam_takes_the_policies_of_a_hundred_constructs_and_of_their_exchange(
    local_aws: LocalAws, tmp_path: Path
) -> None:
    cloudformation, s3, iam = (local_aws.client(name) for name in ("cloudformation", "s3", "iam"))
    s3.create_bucket(Bucket="many-templates")

    def deploy(call: Any, machines: str, done: str) -> set[str]:
        body = policies_and_machines(synthesize(tmp_path / machines, machines, 100))
        s3.put_object(Bucket="many-templates", Key=machines, Body=body.encode())
        url = f"{local_aws.endpoint_url}/many-templates/{machines}"
        call(StackName="hundred", TemplateURL=url, Capabilities=["CAPABILITY_IAM"])
        cloudformation.get_waiter(done).wait(StackName="hundred", WaiterConfig={"Delay": 1})
        role = cloudformation.describe_stack_resource(
            StackName="hundred",
            LogicalResourceId=next(name for name in json.loads(body)["Resources"] if "HandlerRole" in name),
        )["StackResourceDetail"]["PhysicalResourceId"]
        attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return {policy["PolicyArn"] for policy in attached}

    first = deploy(cloudformation.create_stack, "First", "stack_create_complete")
    second = deploy(cloudformation.update_stack, "Second", "stack_update_complete")

    assert len(first) == len(second) == 5
    assert first.isdisjoint(second)
    cloudformation.delete_stack(StackName="hundred")
