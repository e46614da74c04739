"""Contract of the embedded AWS: state machines, and Distributed Maps over a manifest in S3."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from local_aws import LocalAws

pytestmark = pytest.mark.embedded

Deploy = Callable[..., str]


def _task(wish: object) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "${Function.Arn}", "Payload": wish},
        "OutputPath": "$.Payload",
        "End": True,
    }


def _map(**more: Any) -> dict[str, Any]:
    return {
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSONL"},
            "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.key"},
        },
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "Double",
            "States": {"Double": _task({"double.$": "$.value"})},
        },
        "End": True,
        **more,
    }


def _allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*"}


@pytest.fixture
def deploy(stack: Any, with_function: Any) -> Deploy:
    """Deploys a state machine of one state, whose role allows these actions; gives its ARN."""

    def deploy(state: dict[str, Any], *actions: str) -> str:
        definition = {"StartAt": "Only", "States": {"Only": state}}
        principal = {"Service": "states.amazonaws.com"}
        trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        policy = {
            "PolicyName": "inline",
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [_allow(*actions)]},
        }
        more = {
            "MachineRole": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
                    **({"Policies": [policy]} if actions else {}),
                },
            },
            "Machine": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "RoleArn": {"Fn::GetAtt": ["MachineRole", "Arn"]},
                    "DefinitionString": {"Fn::Sub": json.dumps(definition)},
                },
            },
        }
        stack.deploy(with_function(**more))
        arn: str = stack.physical_id("Machine")
        return arn

    return deploy


@pytest.fixture
def run(local_aws: LocalAws, eventually: Any) -> Callable[..., dict[str, Any]]:
    """Runs a state machine to its end and gives the description of the execution."""

    def run(machine: str, **content: Any) -> dict[str, Any]:
        states = local_aws.client("stepfunctions")
        arn = states.start_execution(stateMachineArn=machine, input=json.dumps(content))["executionArn"]
        ended: dict[str, Any] = eventually(lambda: _ended(states.describe_execution(executionArn=arn)))
        return ended

    return run


def _ended(execution: dict[str, Any]) -> dict[str, Any] | None:
    return None if execution["status"] == "RUNNING" else execution


@pytest.fixture
def manifest(local_aws: LocalAws) -> dict[str, str]:
    """Where a manifest of twelve lines is."""
    bucket = f"contract-{uuid.uuid4().hex[:8]}"
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket=bucket)
    lines = "\n".join(json.dumps({"value": number}) for number in range(12))
    s3.put_object(Bucket=bucket, Key="manifest.jsonl", Body=lines)
    return {"bucket": bucket, "key": "manifest.jsonl"}


def test_a_task_runs_a_function_only_when_the_role_of_the_machine_may(deploy: Deploy, run: Any) -> None:
    denied = run(deploy(_task({"double": 21})))
    allowed = run(deploy(_task({"double": 21}), "lambda:InvokeFunction"))

    assert (denied["status"], denied["error"]) == ("FAILED", "Lambda.AWSLambdaException")
    assert "is not authorized to perform: lambda:InvokeFunction" in denied["cause"]
    assert json.loads(allowed["output"]) == {"doubled": 42}


def test_a_failing_function_fails_the_execution_with_its_error(deploy: Deploy, run: Any) -> None:
    failed = run(deploy(_task({"raise": "told to fail"}), "lambda:InvokeFunction"))

    assert (failed["status"], failed["error"]) == ("FAILED", "RuntimeError")
    assert json.loads(failed["cause"])["errorMessage"] == "told to fail"


def test_a_distributed_map_runs_a_function_for_each_line_of_its_manifest(
    deploy: Deploy, run: Any, manifest: dict[str, str]
) -> None:
    machine = deploy(_map(MaxConcurrency=2), "lambda:InvokeFunction", "s3:GetObject", "states:StartExecution")

    ended = run(machine, **manifest)

    assert ended["status"] == "SUCCEEDED"
    assert [item["doubled"] for item in json.loads(ended["output"])] == [2 * number for number in range(12)]


def test_an_item_batcher_is_ignored_unlike_in_aws(deploy: Deploy, run: Any, manifest: dict[str, str]) -> None:
    state = _map(ItemBatcher={"MaxItemsPerBatch": 6})
    machine = deploy(state, "lambda:InvokeFunction", "s3:GetObject", "states:StartExecution")

    ended = run(machine, **manifest)

    assert ended["status"] == "SUCCEEDED"
    assert len(json.loads(ended["output"])) == 12


@pytest.mark.parametrize(
    ("allowed", "missing", "error"),
    [
        (("lambda:InvokeFunction", "states:StartExecution"), "s3:GetObject", "States.ItemReaderFailed"),
        (("lambda:InvokeFunction", "s3:GetObject"), "states:StartExecution", "States.Permissions"),
    ],
)
def test_a_distributed_map_needs_rights_of_its_own(
    deploy: Deploy, run: Any, manifest: dict[str, str], allowed: tuple[str, ...], missing: str, error: str
) -> None:
    ended = run(deploy(_map(), *allowed), **manifest)

    assert (ended["status"], ended["error"]) == ("FAILED", error)
    assert f"is not authorized to perform: {missing}" in ended["cause"]


def test_stopping_an_execution_stops_its_map(
    local_aws: LocalAws, deploy: Deploy, stack: Any, manifest: dict[str, str], eventually: Any
) -> None:
    states = local_aws.client("stepfunctions")
    state = _map(MaxConcurrency=1)
    state["ItemProcessor"]["States"]["Double"] = _task({"sleep": 1})
    machine = deploy(state, "lambda:InvokeFunction", "s3:GetObject", "states:StartExecution")
    started = states.start_execution(stateMachineArn=machine, input=json.dumps(manifest))
    eventually(stack.logs)

    states.stop_execution(executionArn=started["executionArn"], cause="superseded")

    (run,) = states.list_map_runs(executionArn=started["executionArn"])["mapRuns"]
    eventually(lambda: states.describe_map_run(mapRunArn=run["mapRunArn"])["status"] == "ABORTED")
    described = states.describe_execution(executionArn=started["executionArn"])
    assert (described["status"], described["cause"]) == ("ABORTED", "superseded")
    assert sum(line.startswith("START") for line in stack.logs()) < 4


def test_the_same_name_and_input_is_the_same_execution_while_it_runs(
    local_aws: LocalAws, deploy: Deploy, eventually: Any
) -> None:
    states = local_aws.client("stepfunctions")
    machine = deploy({"Type": "Wait", "Seconds": 1, "End": True})
    wish = {"stateMachineArn": machine, "name": "once", "input": "{}"}

    first = states.start_execution(**wish)
    again = states.start_execution(**wish)
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(**{**wish, "input": '{"other": 1}'})
    eventually(lambda: _ended(states.describe_execution(executionArn=first["executionArn"])))

    assert again["executionArn"] == first["executionArn"]
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(**wish)
