"""Contract of the embedded AWS: CloudFormation's side of a custom resource, strict where ministack is kinder."""

from typing import Any

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


def _as_sub(signal: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": "{value}"' for name, value in signal.items()) + "}"
