"""Contract of the embedded AWS: state machines, and Distributed Maps over a manifest in S3."""

import json
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

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


def test_stopping_an_execution_ends_children_that_wait_or_try_again(
    local_aws: LocalAws, deploy: Deploy, stack: Any, manifest: dict[str, str], eventually: Any
) -> None:
    states = local_aws.client("stepfunctions")
    state = _map(MaxConcurrency=12, Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 300}])
    failing = _task({"raise": "told to fail"})
    failing["Retry"] = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 30, "MaxAttempts": 300}]
    first = {"Variable": "$.value", "NumericEquals": 0, "Next": "Fail"}
    second = {"Variable": "$.value", "NumericEquals": 1, "Next": "Double"}
    state["ItemProcessor"]["StartAt"] = "Which"
    state["ItemProcessor"]["States"] |= {
        "Which": {"Type": "Choice", "Choices": [first, second], "Default": "Wait"},
        "Fail": {"Type": "Fail", "Error": "Early"},
        "Double": failing,
        "Wait": {"Type": "Wait", "Seconds": 600, "End": True},
    }
    machine = deploy(state, "lambda:InvokeFunction", "s3:GetObject", "states:StartExecution")
    execution = states.start_execution(stateMachineArn=machine, input=json.dumps(manifest))["executionArn"]
    eventually(lambda: any(line.startswith("END") for line in stack.logs()))

    states.stop_execution(executionArn=execution)

    (run,) = states.list_map_runs(executionArn=execution)["mapRuns"]
    map_run = {"mapRunArn": run["mapRunArn"]}
    eventually(lambda: states.describe_map_run(**map_run)["status"] == "ABORTED")
    counts = states.describe_map_run(**map_run)["itemCounts"]
    assert {name: count for name, count in counts.items() if count} == {
        "failed": 1,
        "aborted": 11,
        "total": 12,
    }
    children = states.list_executions(**map_run)["executions"]
    assert sorted(child["status"] for child in children) == ["ABORTED"] * 11 + ["FAILED"]
    assert len(states.list_map_runs(executionArn=execution)["mapRuns"]) == 1
    assert sum(line.startswith("START") for line in stack.logs()) == 1


def test_a_retrier_waits_at_most_its_longest_delay_with_jitter(
    local_aws: LocalAws, deploy: Deploy, eventually: Any
) -> None:
    states = local_aws.client("stepfunctions")
    task = _task({"raise": "told to fail"})
    retrier = {"ErrorEquals": ["RuntimeError"], "MaxAttempts": 300, "BackoffRate": 1000}
    task["Retry"] = [{**retrier, "IntervalSeconds": 1, "MaxDelaySeconds": 1, "JitterStrategy": "FULL"}]
    machine = deploy(task, "lambda:InvokeFunction")
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]

    def attempts() -> list[Any]:
        events = states.get_execution_history(executionArn=execution)["events"]
        return [event["timestamp"] for event in events if event["type"] == "TaskScheduled"]

    at = eventually(lambda: attempts()[5:] and attempts())
    states.stop_execution(executionArn=execution)

    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(at)]
    assert max(gaps) < 2
    assert min(gaps) < 0.9  # all five at the longest delay: one run in 100,000


def test_a_map_tries_again_until_its_manifest_may_be_read(
    local_aws: LocalAws, deploy: Deploy, stack: Any, manifest: dict[str, str], eventually: Any
) -> None:
    states = local_aws.client("stepfunctions")
    retrier = {"ErrorEquals": ["States.ItemReaderFailed"], "IntervalSeconds": 1, "MaxAttempts": 300}
    state = _map(Retry=[{**retrier, "MaxDelaySeconds": 2, "JitterStrategy": "FULL"}])
    machine = deploy(state, "lambda:InvokeFunction", "states:StartExecution")
    execution = states.start_execution(stateMachineArn=machine, input=json.dumps(manifest))["executionArn"]
    eventually(lambda: states.get_execution_history(executionArn=execution)["events"][1:])
    time.sleep(0.5)
    denied = states.describe_execution(executionArn=execution)

    local_aws.client("iam").put_role_policy(
        RoleName=stack.physical_id("MachineRole"),
        PolicyName="propagated",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [_allow("s3:GetObject")]}),
    )

    ended = eventually(lambda: _ended(states.describe_execution(executionArn=execution)))
    assert (denied["status"], ended["status"]) == ("RUNNING", "SUCCEEDED")


def test_a_throttled_function_fails_its_task_with_lambdas_name_for_that(
    local_aws: LocalAws, deploy: Deploy, stack: Any, run: Any
) -> None:
    machine = deploy(_task({"double": 21}), "lambda:InvokeFunction")
    local_aws.client("lambda").put_function_concurrency(
        FunctionName=stack.physical_id("Function"), ReservedConcurrentExecutions=0
    )

    ended = run(machine)

    assert (ended["status"], ended["error"]) == ("FAILED", "Lambda.TooManyRequestsException")
    assert "Status Code: 429" in ended["cause"]


def test_a_map_run_is_described_to_a_role_that_may_see_only_its_map_runs(
    local_aws: LocalAws, deploy: Deploy, manifest: dict[str, str], run: Any, as_role: Any
) -> None:
    machine = deploy(_map(), "lambda:InvokeFunction", "s3:GetObject", "states:StartExecution")
    ended = run(machine, **manifest)
    (made,) = local_aws.client("stepfunctions").list_map_runs(executionArn=ended["executionArn"])["mapRuns"]
    map_runs = machine.replace(":stateMachine:", ":mapRun:") + "/*"
    describe = {"Effect": "Allow", "Action": "states:DescribeMapRun"}
    own = as_role("stepfunctions", {**describe, "Resource": map_runs})
    other = as_role("stepfunctions", {**describe, "Resource": map_runs.replace(":mapRun:", ":mapRun:x")})

    described = own.describe_map_run(mapRunArn=made["mapRunArn"])
    with pytest.raises(ClientError, match="AccessDenied"):
        other.describe_map_run(mapRunArn=made["mapRunArn"])

    assert described["itemCounts"]["succeeded"] == 12


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
