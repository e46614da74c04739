"""Contract of the embedded AWS: CloudFormation's side of a custom resource, strict where ministack is kinder."""

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from local_aws import LocalAws

pytestmark = pytest.mark.embedded


def _kinds(requests: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(request["RequestType"], request.get("PhysicalResourceId")) for request in requests]


def test_properties_arrive_as_strings_and_data_is_there_for_get_att(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    resource = custom_resource(
        AsIs={"Flag": True, "Count": 3, "List": [1.5]}, Create={"Data": {"Answer": "42"}}
    )

    status = stack.deploy(with_function(Custom=resource), Seen={"Fn::GetAtt": ["Custom", "Answer"]})

    assert status == "CREATE_COMPLETE"
    (request,) = stack.requests()
    assert request["ResourceProperties"]["AsIs"] == {"Flag": "true", "Count": "3", "List": ["1.5"]}
    (described,) = stack.aws.client("cloudformation").describe_stacks(StackName=stack.id)["Stacks"]
    assert described["Outputs"][0]["OutputValue"] == "42"


def test_stack_events_have_the_times_of_their_order(stack: Any, with_function: Any) -> None:
    stack.deploy(with_function())

    events = stack.aws.client("cloudformation").describe_stack_events(StackName=stack.id)["StackEvents"]

    times = [event["Timestamp"] for event in events]
    assert len(set(times)) == len(times)
    assert times == sorted(times, reverse=True)
    assert (events[0]["ResourceStatus"], events[-1]["ResourceStatus"]) == (
        "CREATE_COMPLETE",
        "CREATE_IN_PROGRESS",
    )
    assert events[0]["LogicalResourceId"] == events[-1]["LogicalResourceId"] == stack.name


def test_an_unchanged_resource_is_not_asked_and_a_changed_one_gets_old_and_new(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    stack.deploy(with_function(Custom=custom_resource(Value="1")))
    stack.deploy(with_function(Custom=custom_resource(Value="1"), timeout=91))
    stack.deploy(with_function(Custom=custom_resource(Value="2")))

    assert _kinds(stack.requests()) == [("Create", None), ("Update", "made")]
    update = stack.requests()[1]
    assert (update["OldResourceProperties"]["Value"], update["ResourceProperties"]["Value"]) == ("1", "2")


def test_another_service_token_is_refused(stack: Any, with_function: Any, custom_resource: Any) -> None:
    other = {"Other": with_function()["Function"]}
    before, after = custom_resource(Value="1"), custom_resource(Value="2")
    after["Properties"]["ServiceToken"] = {"Fn::GetAtt": ["Other", "Arn"]}
    stack.deploy(with_function(Custom=before, **other))

    status = stack.deploy(with_function(Custom=after, **other))

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.reasons() == ["Modifying service token is not allowed."]
    assert _kinds(stack.requests()) == [("Create", None)]


def test_a_new_physical_id_replaces_and_the_old_one_is_deleted(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    stack.deploy(with_function(Custom=custom_resource()))

    status = stack.deploy(with_function(Custom=custom_resource(Update={"PhysicalResourceId": "second"})))

    assert status == "UPDATE_COMPLETE"
    assert _kinds(stack.requests()) == [("Create", None), ("Update", "made"), ("Delete", "made")]
    assert stack.physical_id("Custom") == "second"


def test_a_failed_create_is_deleted_with_the_id_of_its_answer(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    failed = {"Status": "FAILED", "Reason": "told to fail", "PhysicalResourceId": "half-made"}

    status = stack.deploy(with_function(Custom=custom_resource(Create=failed)))

    assert status == "ROLLBACK_COMPLETE"
    assert _kinds(stack.requests()) == [("Create", None), ("Delete", "half-made")]
    assert "Message returned: told to fail" in stack.reasons()[0]


def test_a_create_that_times_out_is_deleted_with_an_invented_id_while_it_still_runs(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    resource = custom_resource(seconds=5, CreateDoes={"sleep": 60})

    status = stack.deploy(with_function(Custom=resource))

    assert status == "ROLLBACK_COMPLETE"
    (create, none), (delete, invented) = _kinds(stack.requests())
    assert (create, none, delete) == ("Create", None, "Delete")
    assert str(invented).startswith(f"{stack.name}-Custom-")
    assert "did not receive a response" in stack.reasons()[0]


def test_an_answer_of_more_than_4096_bytes_fails_the_resource(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    status = stack.deploy(with_function(Custom=custom_resource(Create={"Data": {"Long": "x" * 4096}})))

    assert status == "ROLLBACK_COMPLETE"
    assert "Response object is too long" in stack.reasons()[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"PhysicalResourceId": ""}, "Invalid PhysicalResourceId"),
        ({"Status": "FAILED"}, "FAILED must have a Reason"),
        ({"RequestId": "another"}, "doesn't contain the RequestId"),
    ],
)
def test_an_answer_that_aws_would_not_take_fails_the_resource(
    stack: Any, with_function: Any, custom_resource: Any, answer: dict[str, str], reason: str
) -> None:
    status = stack.deploy(with_function(Custom=custom_resource(Create=answer)))

    assert status == "ROLLBACK_COMPLETE"
    assert reason in stack.reasons()[0]


def test_the_response_url_bears_the_time_of_the_request(
    stack: Any, with_function: Any, custom_resource: Any, eventually: Any
) -> None:
    stack.deploy(with_function(Custom=custom_resource()))

    url = _response_url(stack, eventually)

    signed = datetime.fromisoformat(parse_qs(urlsplit(url).query)["X-Amz-Date"][0])
    assert timedelta(0) <= datetime.now(UTC) - signed < timedelta(minutes=1)


@pytest.mark.parametrize(("method", "content_type"), [("POST", ""), ("PUT", "application/json")])
def test_the_response_url_is_signed_for_a_put_without_a_content_type(
    stack: Any, with_function: Any, custom_resource: Any, eventually: Any, method: str, content_type: str
) -> None:
    stack.deploy(with_function(Custom=custom_resource()))
    url = _response_url(stack, eventually)

    refused = _send(stack, method, url, {}, content_type)

    assert refused.status_code == 403
    assert "SignatureDoesNotMatch" in refused.text


def test_a_second_answer_is_taken_and_does_not_count(
    stack: Any, with_function: Any, custom_resource: Any, eventually: Any
) -> None:
    stack.deploy(with_function(Custom=custom_resource()))
    url = _response_url(stack, eventually)
    (request,) = stack.requests()
    same = {name: request[name] for name in ("StackId", "RequestId", "LogicalResourceId")}

    second = _send(
        stack, "PUT", url, {**same, "Status": "FAILED", "Reason": "late", "PhysicalResourceId": "x"}
    )

    assert second.status_code == 200
    answers = [entry for entry in stack.aws.custom_resource_log() if "Answer" in entry]
    of_request = [entry for entry in answers if entry["Answer"].get("RequestId") == request["RequestId"]]
    assert [entry["Counts"] for entry in of_request] == [True, False]
    assert stack.physical_id("Custom") == "made"


def test_a_failed_update_is_followed_by_the_swapped_update(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    stack.deploy(with_function(Custom=custom_resource(Value="1")))
    failed = {"Status": "FAILED", "Reason": "told to fail"}

    status = stack.deploy(with_function(Custom=custom_resource(Value="2", Update=failed)))

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    _create, update, swapped = stack.requests()
    assert swapped["RequestType"] == "Update"
    assert swapped["ResourceProperties"] == update["OldResourceProperties"]
    assert swapped["OldResourceProperties"] == update["ResourceProperties"]


def test_the_failure_of_a_later_resource_sends_a_replaced_one_back_and_deletes_the_new_id(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    failed = {"Status": "FAILED", "Reason": "told to fail"}
    first = custom_resource(Value="1", Update={"PhysicalResourceId": "restored"})
    stack.deploy(with_function(First=first))
    replaced = custom_resource(Value="2", Update={"PhysicalResourceId": "second"})
    later = custom_resource(depends_on=("First",), Create=failed)

    status = stack.deploy(with_function(First=replaced, Later=later))

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    of_first = [request for request in stack.requests() if request["LogicalResourceId"] == "First"]
    assert _kinds(of_first) == [
        ("Create", None),
        ("Update", "made"),
        ("Update", "second"),
        ("Delete", "second"),
    ]
    assert of_first[2]["ResourceProperties"] == of_first[1]["OldResourceProperties"]
    assert stack.physical_id("First") == "restored"


def test_a_replaced_resource_that_is_sent_back_may_keep_its_id(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    stack.deploy(with_function(First=custom_resource(Value="1")))
    replaced = custom_resource(Value="2", Update={"PhysicalResourceId": "second"})
    later = custom_resource(depends_on=("First",), Create={"Status": "FAILED", "Reason": "told to fail"})

    stack.deploy(with_function(First=replaced, Later=later))

    of_first = [request for request in stack.requests() if request["LogicalResourceId"] == "First"]
    assert _kinds(of_first) == [("Create", None), ("Update", "made"), ("Update", "second")]
    assert stack.physical_id("First") == "second"


def test_a_first_invocation_that_fails_is_repeated_twice(
    local_aws: LocalAws, stack: Any, with_function: Any, custom_resource: Any, eventually: Any
) -> None:
    group = f"/contract/{stack.name}"
    logs = {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "RetainExceptOnCreate",
        "Properties": {"LogGroupName": group},
    }
    stack.deploy(with_function(Logs=logs))
    resource = custom_resource(seconds=4, CreateDoes={"raise": "told to fail"})

    status = stack.deploy(with_function(Logs=logs, Custom=resource))

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    failure = "[ERROR] RuntimeError: told to fail"
    eventually(lambda: sum(failure in line for line in local_aws.function_logs(group)) == 3)


def test_resources_that_do_not_depend_on_each_other_are_made_one_after_another_unlike_in_aws(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    first, second = (custom_resource(CreateDoes={"sleep": 1}) for _ in range(2))

    stack.deploy(with_function(First=first, Second=second))

    entries = [entry.get("Request") or entry["Answer"] for entry in stack.aws.custom_resource_log()]
    its = [entry for entry in entries if entry.get("StackId") == stack.id]
    assert ["Status" in entry for entry in its] == [False, True, False, True]


def test_after_a_failed_delete_the_function_is_gone_and_is_not_asked_again_unlike_in_aws(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    failed = {"Status": "FAILED", "Reason": "told to fail"}
    stack.deploy(with_function(Custom=custom_resource(Delete=failed)))

    first, second = stack.delete(), stack.delete()

    assert (first, second) == ("DELETE_FAILED", "DELETE_FAILED")
    of_first, of_stack, of_second, _again_of_stack = stack.reasons()
    assert "Message returned: told to fail" in of_first
    assert of_stack == "The following resource(s) failed to delete: [Custom]."
    assert "there is no function" in of_second


def test_the_response_url_is_noted_nowhere(
    local_aws: LocalAws, stack: Any, with_function: Any, custom_resource: Any
) -> None:
    stack.deploy(with_function(Custom=custom_resource()))

    assert "X-Amz-Signature" not in str(local_aws.custom_resource_log())
    assert "ResponseURL" not in str(local_aws.custom_resource_log())


def test_a_wait_condition_waits_for_its_signal_and_fails_by_it(
    stack: Any, with_function: Any, custom_resource: Any
) -> None:
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    condition = {
        "Type": "AWS::CloudFormation::WaitCondition",
        "DependsOn": "Signals",
        "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "30"},
    }

    def signalling(status: str) -> dict[str, Any]:
        signal = {"Status": status, "UniqueId": "run-1", "Reason": "told by the run", "Data": "done"}
        does = {"Fn::Sub": '{"signal": ["${Handle}", ' + _as_sub(signal) + "]}"}
        resource: dict[str, Any] = custom_resource()
        resource["Properties"]["CreateDoes"] = does
        return resource

    good = stack.deploy(with_function(Handle=handle, Signals=signalling("SUCCESS"), Condition=condition))
    stack.delete()
    stack.id = ""
    bad = stack.deploy(with_function(Handle=handle, Signals=signalling("FAILURE"), Condition=condition))

    assert (good, bad) == ("CREATE_COMPLETE", "ROLLBACK_COMPLETE")
    assert "told by the run" in stack.reasons()[0]


def _response_url(stack: Any, eventually: Callable[[Callable[[], Any]], Any]) -> str:
    """Where the answer to the stack's only request went."""

    def told() -> list[str]:
        return [line for line in stack.logs() if line.startswith("answers go to ")]

    (line,) = eventually(told)
    return str(line.removeprefix("answers go to "))


def _send(
    stack: Any, method: str, url: str, answer: dict[str, str], content_type: str = ""
) -> httpx.Response:
    context = ssl.create_default_context(cafile=stack.aws.environment["SSL_CERT_FILE"])
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.request(method, url, content=json.dumps(answer), headers={"content-type": content_type})


def _as_sub(signal: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": "{value}"' for name, value in signal.items()) + "}"
