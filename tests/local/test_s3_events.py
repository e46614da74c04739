"""Contract of the embedded AWS: what S3 tells functions and EventBridge about a write."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

import pytest

from local_aws import LocalAws

pytestmark = pytest.mark.embedded

_KEYS = ["photos/a b+c%20d.jpg", "photos/(1)=2.jpg", "photos/日本 é.jpg"]
_IN_S3_FORM = [
    "photos/a+b%2Bc%2520d.jpg",
    "photos/%281%29%3D2.jpg",
    "photos/%E6%97%A5%E6%9C%AC+%C3%A9.jpg",
]

Events = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def s3(local_aws: LocalAws) -> Any:
    """A client with all rights."""
    return local_aws.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_events(
    local_aws: LocalAws, s3: Any, bucket: str, stack: Any, with_function: Any, eventually: Any
) -> Events:
    """The records that a function got by notification, in the order of their sequencers."""
    permission = {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "Function"},
            "Principal": "s3.amazonaws.com",
        },
    }
    stack.deploy(with_function(Permission=permission))
    name = stack.physical_id("Function")
    arn = local_aws.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"]
    notification = {"Id": "all", "LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"LambdaFunctionConfigurations": [notification]},
    )

    def events(number: int) -> list[dict[str, Any]]:
        def logged() -> list[dict[str, Any]]:
            lines = [line.partition(" wishes ")[2] for line in stack.logs() if " wishes " in line]
            return [record for line in lines for record in json.loads(line)["Records"]]

        records = eventually(lambda: logged()[number - 1 :] and logged())
        return sorted(records, key=lambda record: record["s3"]["object"]["sequencer"])

    return events


@pytest.fixture
def event_bridge_events(local_aws: LocalAws, s3: Any, bucket: str, eventually: Any) -> Events:
    """The events of the bucket on the default bus, in the order of their sequencers."""
    sqs, events = local_aws.client("sqs"), local_aws.client("events")
    queue, arn = _queue(sqs, bucket)
    pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}}
    events.put_rule(Name=bucket, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=bucket, Targets=[{"Id": "queue", "Arn": arn}])
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    got: list[dict[str, Any]] = []

    def received(number: int) -> list[dict[str, Any]]:
        def receive() -> bool:
            got.extend(_received(sqs, queue))
            return len(got) >= number

        eventually(receive)
        return sorted(got, key=lambda event: event["detail"]["object"]["sequencer"])

    return received


def _queue(sqs: Any, name: str) -> tuple[str, str]:
    """A queue that takes messages from everywhere: its address and its ARN."""
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    queue: str = sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    return queue, attributes["QueueArn"]


def _received(sqs: Any, queue: str) -> list[dict[str, Any]]:
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in messages]


def _in_parts(s3: Any, bucket: str, key: str) -> None:
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(PartNumber=1, Body=b"parts", **upload)["ETag"]
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}, **upload)


def test_a_function_gets_the_records_that_s3_writes(s3: Any, bucket: str, s3_events: Events) -> None:
    s3.put_object(Bucket=bucket, Key="small", Body=b"small")
    _in_parts(s3, bucket, "parts")

    small, parts = s3_events(2)

    head = s3.head_object(Bucket=bucket, Key="small")
    assert small["eventVersion"] == "2.6"
    assert (small["eventName"], parts["eventName"]) == (
        "ObjectCreated:Put",
        "ObjectCreated:CompleteMultipartUpload",
    )
    assert re.fullmatch(r"[\dT:-]{19}\.\d{3}Z", small["eventTime"])
    assert small["userIdentity"]["principalId"].startswith("AWS:")
    for record in (small, parts):
        assert re.fullmatch("[0-9A-Z]{16}", record["responseElements"]["x-amz-request-id"])
        assert re.fullmatch("[0-9A-Za-z+/]{86}==", record["responseElements"]["x-amz-id-2"])
    assert small["responseElements"] != parts["responseElements"]
    entry = small["s3"]["object"]
    assert (small["s3"]["configurationId"], small["s3"]["bucket"]["name"]) == ("all", bucket)
    assert (entry["key"], entry["size"], f'"{entry["eTag"]}"') == ("small", 5, head["ETag"])
    assert parts["s3"]["object"]["eTag"].endswith("-1")
    assert "versionId" not in entry


def test_queues_and_topics_get_the_records_that_functions_get(
    local_aws: LocalAws, s3: Any, bucket: str, eventually: Any
) -> None:
    sqs, sns = local_aws.client("sqs"), local_aws.client("sns")
    topic = sns.create_topic(Name=bucket)["TopicArn"]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": topic}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    (direct, direct_arn), (behind, behind_arn) = _queue(sqs, bucket), _queue(sqs, f"{bucket}-behind")
    raw = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=behind_arn, Attributes=raw)
    created = {"Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"Id": "queue", "QueueArn": direct_arn, **created}],
            "TopicConfigurations": [{"Id": "topic", "TopicArn": topic, **created}],
        },
    )
    (test_event,) = eventually(lambda: _received(sqs, direct))
    eventually(lambda: _received(sqs, behind))

    s3.put_object(Bucket=bucket, Key="small", Body=b"small")

    (by_queue,), (by_topic,) = (
        eventually(lambda queue=queue: _received(sqs, queue))[0]["Records"] for queue in (direct, behind)
    )
    assert test_event["Event"] == "s3:TestEvent"
    for record, name in ((by_queue, "queue"), (by_topic, "topic")):
        assert record["s3"].pop("configurationId") == name
    assert by_queue == by_topic
    assert re.fullmatch("[0-9A-Z]{16}", by_queue["responseElements"]["x-amz-request-id"])


def test_a_function_gets_keys_in_the_form_of_a_query(s3: Any, bucket: str, s3_events: Events) -> None:
    for key in _KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")

    keys = [record["s3"]["object"]["key"] for record in s3_events(len(_KEYS))]

    assert keys == _IN_S3_FORM
    assert [unquote_plus(key) for key in keys] == _KEYS


def test_a_sequencer_is_the_time_of_the_write_and_grows(s3: Any, bucket: str, s3_events: Events) -> None:
    seconds = []
    for _ in range(5):
        s3.put_object(Bucket=bucket, Key="same", Body=b"")
        seconds.append(int(s3.head_object(Bucket=bucket, Key="same")["LastModified"].timestamp()))

    sequencers = [record["s3"]["object"]["sequencer"] for record in s3_events(5)]

    assert len(set(sequencers)) == 5
    assert all(re.fullmatch("00[0-9A-F]{16}", sequencer) for sequencer in sequencers)
    at = [int(sequencer[2:10], 16) for sequencer in sequencers]
    assert all(0 <= told - second <= 1 for told, second in zip(at, seconds, strict=True))


def test_records_and_heads_have_the_version_in_versioned_buckets(
    s3: Any, bucket: str, s3_events: Events
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="small", Body=b"small")["VersionId"]

    (record,) = s3_events(1)

    assert record["s3"]["object"]["versionId"] == version
    assert s3.head_object(Bucket=bucket, Key="small")["VersionId"] == version


def test_event_bridge_gets_the_event_that_s3_writes(
    s3: Any, bucket: str, event_bridge_events: Events
) -> None:
    s3.put_object(Bucket=bucket, Key=_KEYS[0], Body=b"small")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    _in_parts(s3, bucket, "parts")

    small, parts = event_bridge_events(2)

    assert set(small) == {
        *("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"),
    }
    assert re.fullmatch(r"[\dT:-]{19}Z", small["time"])
    detail = small["detail"]
    assert re.fullmatch("[0-9A-Z]{16}", detail["request-id"])
    assert str(uuid.UUID(small["id"])) == small["id"]
    assert detail["object"].pop("sequencer") < parts["detail"]["object"]["sequencer"]
    assert detail["object"] == {
        "key": _KEYS[0],
        "size": 5,
        "etag": s3.head_object(Bucket=bucket, Key=_KEYS[0])["ETag"].strip('"'),
    }
    assert (detail["event-version"], detail["reason"]) == ("1.2", "PutObject")
    assert parts["detail"]["reason"] == "CompleteMultipartUpload"
    version = s3.head_object(Bucket=bucket, Key="parts")["VersionId"]
    assert parts["detail"]["object"]["version-id"] == version
