"""Contract of the embedded AWS: what Lambda makes of the results of the calls that it makes by itself."""

import json
import time
from typing import Any

import pytest

from local_aws import LocalAws

pytestmark = pytest.mark.embedded


def _allow(*actions: str) -> list[dict[str, Any]]:
    return [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]


_REPORTING = """
import json

def handler(event, context):
    print("batch of", len(event["Records"]))
    ids = [record["messageId"] for record in event["Records"]]
    wish = json.loads(event["Records"][0]["body"])
    return json.loads(json.dumps(wish).replace("FIRST", ids[0]))
"""


@pytest.fixture
def queue_after(local_aws: LocalAws, stack: Any, with_function: Any, eventually: Any) -> Any:
    """Sends a response for the function to give to a mapping, and tells how many messages stay, and after what."""

    def queue_after(response: object, *, reports: bool = True) -> tuple[int, str]:
        mapping = {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
                "FunctionName": {"Ref": "Function"},
                "Enabled": False,
                **({"FunctionResponseTypes": ["ReportBatchItemFailures"]} if reports else {}),
            },
        }
        template = with_function(
            statements=_allow("sqs:*"),
            Queue={"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 600}},
            Mapping=mapping,
        )
        template["Function"]["Properties"]["Code"] = {"ZipFile": _REPORTING}
        stack.deploy(template)
        sqs, queue = local_aws.client("sqs"), stack.physical_id("Queue")
        bodies = [{"Id": str(number), "MessageBody": json.dumps(response)} for number in range(2)]
        sqs.send_message_batch(QueueUrl=queue, Entries=bodies)
        functions, mapping_id = local_aws.client("lambda"), stack.physical_id("Mapping")
        functions.update_event_source_mapping(UUID=mapping_id, Enabled=True)

        def ended() -> str:
            result: str = functions.get_event_source_mapping(UUID=mapping_id).get("LastProcessingResult", "")
            return "" if result == "No records processed" else result

        result = eventually(ended)
        counts = sqs.get_queue_attributes(
            QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
        )["Attributes"]
        return int(counts["ApproximateNumberOfMessagesNotVisible"]), result

    return queue_after


@pytest.mark.parametrize(
    "failures",
    [
        [{"itemIdentifier": "not-of-this-batch"}],
        [{"itemIdentifier": "FIRST"}, {"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"itemIdentifer": "FIRST"}],
        ["FIRST"],
        "FIRST",
    ],
)
def test_a_failure_that_names_no_message_keeps_the_whole_batch(queue_after: Any, failures: object) -> None:
    assert queue_after({"batchItemFailures": failures}) == (2, "FAILED")


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        ({"batchItemFailures": [{"itemIdentifier": "FIRST"}]}, 1),
        ({"batchItemFailures": []}, 0),
        ({"batchItemFailures": None}, 0),
        ({}, 0),
        (None, 0),
    ],
)
def test_a_batch_loses_the_messages_that_succeeded(queue_after: Any, response: object, kept: int) -> None:
    assert queue_after(response)[0] == kept


def test_a_mapping_without_report_batch_item_failures_ignores_them(queue_after: Any) -> None:
    assert queue_after({"batchItemFailures": [{"itemIdentifier": ""}]}, reports=False)[0] == 0


def test_only_asynchronous_calls_reach_the_destinations_of_a_function(
    local_aws: LocalAws, stack: Any, with_function: Any, eventually: Any
) -> None:
    sqs = local_aws.client("sqs")
    destinations = {
        "Type": "AWS::Lambda::EventInvokeConfig",
        "Properties": {
            "FunctionName": {"Ref": "Function"},
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 0,
            "DestinationConfig": {
                "OnSuccess": {"Destination": {"Fn::GetAtt": ["Next", "Arn"]}},
                "OnFailure": {"Destination": {"Fn::GetAtt": ["Failed", "Arn"]}},
            },
        },
    }
    permission = {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "Function"},
            "Principal": "s3.amazonaws.com",
        },
    }
    queue = {"Type": "AWS::SQS::Queue", "Properties": {}}
    more = {"Next": queue, "Failed": queue, "Destinations": destinations, "Permission": permission}
    stack.deploy(with_function(statements=_allow("sqs:SendMessage"), **more))

    def received(name: str) -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=stack.physical_id(name), VisibilityTimeout=0)
        return [json.loads(message["Body"]) for message in messages.get("Messages", [])]

    stack.invoke({"double": 1})
    stack.invoke({"raise": "told to fail"})
    time.sleep(0.5)
    synchronous = received("Next") + received("Failed")
    stack.invoke({"double": 21}, InvocationType="Event")
    stack.invoke({"raise": "told to fail"}, InvocationType="Event")
    (success,) = eventually(lambda: received("Next"))
    (failure,) = eventually(lambda: received("Failed"))

    assert synchronous == []
    assert success["requestPayload"] == {"double": 21}
    assert success["requestContext"]["condition"] == "Success"
    assert success["requestContext"]["approximateInvokeCount"] == 1
    assert success["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert success["responsePayload"] == {"doubled": 42}
    assert failure["requestPayload"] == {"raise": "told to fail"}
