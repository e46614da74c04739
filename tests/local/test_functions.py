"""Contract of the embedded AWS: how functions run."""

import base64
import io
import json
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws

pytestmark = pytest.mark.embedded


def _allow(*actions: str) -> list[dict[str, Any]]:
    return [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]


def test_a_function_runs_by_awslambdaric_in_a_process_of_its_own(
    local_aws: LocalAws, stack: Any, with_function: Any
) -> None:
    stack.deploy(with_function())

    seen = stack.invoke({})

    assert seen["runtime"] == "awslambdaric.lambda_context"
    assert 0 < seen["remaining"] <= 90_000
    assert psutil.Process(seen["pid"]).cmdline()[1:] == ["-m", "awslambdaric", "index.handler"]
    environment = seen["environment"]
    assert environment["AWS_LAMBDA_LOG_GROUP_NAME"] == stack.physical_id("Logs")
    assert environment["AWS_LAMBDA_LOG_STREAM_NAME"] == seen["log_stream"]
    assert environment["AWS_ENDPOINT_URL"] == local_aws.endpoint_url
    assert environment["AWS_ENDPOINT_URL"].startswith("https://127.0.0.1:")
    assert environment["AWS_ENDPOINT_URL_IOTANALYTICS"] == local_aws.endpoint_url
    assert environment["SSL_CERT_FILE"] == environment["AWS_CA_BUNDLE"]
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"


def test_a_function_sees_nothing_of_the_emulator(local_aws: LocalAws, stack: Any, with_function: Any) -> None:
    stack.deploy(with_function())

    environment = stack.invoke({})["environment"]

    assert not {"AUTH", "GATEWAY_PORT", "MINISTACK_SSL_KEY", "LOCAL_AWS_JOURNAL"} & set(environment)
    assert not set(local_aws.secrets) & set(environment.values())


def test_a_second_invocation_finds_the_process_warm(stack: Any, with_function: Any) -> None:
    stack.deploy(with_function())

    assert stack.invoke({})["pid"] == stack.invoke({})["pid"]


def test_a_missing_statement_is_an_access_denied_inside_the_function(stack: Any, with_function: Any) -> None:
    stack.deploy(with_function())
    denied = stack.invoke({"call": ["s3", "list_buckets", {}]})
    stack.deploy(with_function(statements=_allow("s3:ListAllMyBuckets")))
    allowed = stack.invoke({"call": ["s3", "list_buckets", {}]})

    assert denied["errorType"] == "AccessDenied"
    assert "AccessDenied" in denied["errorMessage"]
    assert "s3:ListAllMyBuckets" in denied["errorMessage"]
    assert "Buckets" in allowed


def test_a_statement_for_another_resource_does_not_help(stack: Any, with_function: Any) -> None:
    other = {"Fn::Sub": "arn:aws:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/other/*"}
    describe = {"Effect": "Allow", "Action": "cloudformation:DescribeStacks", "Resource": other}
    stack.deploy(with_function(statements=[describe]))
    call = {"call": ["cloudformation", "describe_stacks", {"StackName": stack.id}]}
    denied = stack.invoke(call)
    stack.deploy(with_function(statements=[{**describe, "Resource": {"Ref": "AWS::StackId"}}]))
    allowed = stack.invoke(call)

    assert "AccessDenied" in denied["errorMessage"]
    assert allowed["Stacks"][0]["StackStatus"] == "UPDATE_COMPLETE"


def test_a_function_is_killed_at_its_time_out(
    local_aws: LocalAws, stack: Any, with_function: Any, eventually: Any
) -> None:
    stack.deploy(with_function(timeout=1))
    pid = stack.invoke({})["pid"]

    failed = local_aws.client("lambda").invoke(
        FunctionName=stack.physical_id("Function"), Payload='{"sleep": 60}'
    )

    assert (failed["StatusCode"], failed["FunctionError"]) == (200, "Unhandled")
    error = json.load(failed["Payload"])
    assert error["errorType"] == "Sandbox.Timedout"
    assert re.fullmatch(
        r"RequestId: [0-9a-f-]{36} Error: Task timed out after 1\.00 seconds", error["errorMessage"]
    )
    eventually(lambda: not psutil.pid_exists(pid))
    assert any("Task timed out" in line for line in stack.logs())


def test_a_function_that_exits_is_a_function_error(stack: Any, with_function: Any) -> None:
    stack.deploy(with_function())

    failed = stack.invoke({"exit": 1})

    assert failed["errorType"] == "Runtime.ExitError"
    assert re.match(r"RequestId: [0-9a-f-]{36} Error: ", failed["errorMessage"])
    assert stack.invoke({"double": 21}) == {"doubled": 42}


def test_a_client_context_reaches_the_function_in_a_synchronous_call_only(
    stack: Any, with_function: Any, eventually: Any
) -> None:
    stack.deploy(with_function())
    content = json.dumps({"custom": {"replay": "日本\n1"}}, ensure_ascii=False).encode()
    context = base64.b64encode(content).decode()

    seen = stack.invoke({}, ClientContext=context)["client_context"]
    afterwards = stack.invoke({})["client_context"]
    stack.invoke({"context": 1}, InvocationType="Event", ClientContext=context)

    assert (seen, afterwards) == ({"replay": "日本\n1"}, None)
    eventually(lambda: [line for line in stack.logs() if "client context None" in line][1:])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_client_context_that_is_no_json_object_is_refused(
    stack: Any, with_function: Any, content: bytes
) -> None:
    stack.deploy(with_function())

    with pytest.raises(ClientError, match="InvalidRequestContentException") as refused:
        stack.invoke({}, ClientContext=base64.b64encode(content).decode())

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert not stack.logs()


def test_output_is_in_the_log_group_of_the_function_while_it_still_runs(
    stack: Any, with_function: Any, eventually: Any
) -> None:
    stack.deploy(with_function())

    stack.invoke({"sleep": 3}, InvocationType="Event")

    first = eventually(stack.logs)
    eventually(lambda: any("function in process" in line for line in stack.logs()))
    assert not any(line.startswith("END") for line in stack.logs())
    assert first[0].startswith("START")


def test_a_failed_asynchronous_invocation_is_repeated_twice(
    stack: Any, with_function: Any, eventually: Any
) -> None:
    stack.deploy(with_function())

    stack.invoke({"raise": "told to fail"}, InvocationType="Event")

    def count(text: str) -> int:
        return sum(text in line for line in stack.logs())

    # The lines of the function may come after the END that Lambda writes.
    eventually(lambda: count("END RequestId") == count("[ERROR] RuntimeError: told to fail") == 3)


def test_a_function_invokes_itself_only_when_its_role_may(
    stack: Any, with_function: Any, eventually: Any
) -> None:
    stack.deploy(with_function())
    itself = {
        "FunctionName": stack.physical_id("Function"),
        "InvocationType": "Event",
        "Payload": '{"double": 21}',
    }
    denied = stack.invoke({"call": ["lambda", "invoke", itself]})
    stack.deploy(with_function(statements=_allow("lambda:InvokeFunction")))
    allowed = stack.invoke({"call": ["lambda", "invoke", itself]})

    assert "AccessDenied" in denied["errorMessage"]
    assert allowed["StatusCode"] == 202
    eventually(lambda: any('{"double": 21}' in line and "wishes" in line for line in stack.logs()))


def test_log_streams_can_be_a_ledger(stack: Any, with_function: Any) -> None:
    stack.deploy(with_function(statements=_allow("logs:CreateLogStream", "logs:DescribeLogStreams")))
    group = stack.physical_id("Logs")
    create = {"call": ["logs", "create_log_stream", {"logGroupName": group, "logStreamName": "run/one"}]}
    stack.invoke(create)

    again = stack.invoke(create)
    found = stack.invoke(
        {"call": ["logs", "describe_log_streams", {"logGroupName": group, "logStreamNamePrefix": "run/"}]}
    )

    assert again["errorType"] == "ResourceAlreadyExistsException"
    (stream,) = found["logStreams"]
    assert stream["logStreamName"] == "run/one"
    assert stream["creationTime"] > 1_700_000_000_000


def test_a_reservation_in_a_template_throttles_like_one_by_the_api(
    local_aws: LocalAws, stack: Any, with_function: Any, eventually: Any
) -> None:
    throttled = local_aws.client("lambda").exceptions.TooManyRequestsException
    reserved = with_function()
    reserved["Function"]["Properties"]["ReservedConcurrentExecutions"] = 1
    stack.deploy(reserved)
    stack.invoke({"sleep": 3}, InvocationType="Event")
    eventually(stack.logs)

    with pytest.raises(throttled) as refused:
        stack.invoke({})
    stack.deploy(with_function())
    unreserved = stack.invoke({"double": 21})
    reserved["Function"]["Properties"]["ReservedConcurrentExecutions"] = 0
    stack.deploy(reserved)
    with pytest.raises(throttled):
        stack.invoke({})

    assert refused.value.response["Error"]["Message"] == "Rate Exceeded."
    assert refused.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert unreserved == {"doubled": 42}


def test_a_reservation_counts_for_all_versions_of_a_function_together(
    local_aws: LocalAws, stack: Any, with_function: Any, eventually: Any
) -> None:
    functions = local_aws.client("lambda")
    reserved = with_function()
    reserved["Function"]["Properties"]["ReservedConcurrentExecutions"] = 2
    stack.deploy(reserved)
    name = stack.physical_id("Function")
    functions.publish_version(FunctionName=name)
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion="1")

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(stack.invoke, {"sleep": 3}, **more) for more in ({}, {"Qualifier": "live"})]
        eventually(lambda: sum(line.startswith("START") for line in stack.logs()) == 2)
        for more in ({}, {"Qualifier": "live"}, {"Qualifier": "1"}):
            with pytest.raises(functions.exceptions.TooManyRequestsException):
                stack.invoke({}, **more)

    assert {call.result()["runtime"] for call in running} == {"awslambdaric.lambda_context"}
    assert stack.invoke({"double": 21}, Qualifier="live") == {"doubled": 42}


def test_an_update_lets_running_invocations_end_with_their_old_code(
    local_aws: LocalAws, stack: Any, with_function: Any, eventually: Any
) -> None:
    functions = local_aws.client("lambda")
    stack.deploy(with_function())
    name = stack.physical_id("Function")

    with ThreadPoolExecutor() as pool:
        running = pool.submit(stack.invoke, {"sleep": 2})
        eventually(stack.logs)
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": {"NEW": "1"}})
        functions.update_function_code(FunctionName=name, ZipFile=_zip("def handler(*_): return 'new'"))
        updated = stack.invoke({})
        still_running = not running.done()
    old = running.result()

    assert (updated, still_running) == ("new", True)
    assert old["runtime"] == "awslambdaric.lambda_context"
    assert "NEW" not in old["environment"]
    eventually(lambda: not psutil.pid_exists(old["pid"]))


def _zip(source: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("index.py", source)
    return content.getvalue()


def test_a_configuration_is_read_only_by_a_role_that_may_read_that_version(
    local_aws: LocalAws, stack: Any, with_function: Any, as_role: Any
) -> None:
    stack.deploy(with_function())
    name, functions = stack.physical_id("Function"), local_aws.client("lambda")
    arn = functions.publish_version(FunctionName=name)["FunctionArn"].removesuffix(":1")
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    read = {"Effect": "Allow", "Action": "lambda:GetFunctionConfiguration"}
    everything = as_role("lambda", {**read, "Resource": [arn, f"{arn}:*"]})
    unqualified = as_role("lambda", {**read, "Resource": arn})
    nothing = as_role("lambda", {**read, "Action": "lambda:GetFunction", "Resource": "*"})

    configurations = [
        everything.get_function_configuration(**wish)
        for wish in (
            {"FunctionName": name},
            {"FunctionName": name, "Qualifier": "live"},
            {"FunctionName": name, "Qualifier": "1"},
            {"FunctionName": f"{arn}:live"},
        )
    ]

    assert [found["Version"] for found in configurations] == ["$LATEST", "1", "1", "1"]
    assert len({found["CodeSha256"] for found in configurations}) == 1
    assert unqualified.get_function_configuration(FunctionName=name)["Handler"] == "index.handler"
    for client, wish in (
        (unqualified, {"FunctionName": name, "Qualifier": "live"}),
        (unqualified, {"FunctionName": f"{arn}:live"}),
        (nothing, {"FunctionName": name}),
    ):
        with pytest.raises(ClientError, match=r"AccessDenied.*lambda:GetFunctionConfiguration"):
            client.get_function_configuration(**wish)
