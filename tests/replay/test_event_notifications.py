"""The events of S3 in each form, field by field.

Source: S3 User Guide, "Event message structure", and the same for Amazon EventBridge; Lambda's published Go types.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import unquote_plus

import pytest
from fake_s3 import SOURCE
from hypothesis import given
from hypothesis import strategies as st

from object_replay.events.notifications import ObjectEvent, client_context
from object_replay.settings import Form, Notification, Run
from object_replay.storage import StoredObject

FUNCTION = "arn:aws-cn:lambda:cn-north-1:111122223333:function:thumbnails:live"
QUEUE = "arn:aws-cn:sqs:cn-north-1:111122223333:uploads"
TOPIC = "arn:aws-cn:sns:cn-north-1:111122223333:uploads"
MODIFIED = datetime(2026, 1, 15, 10, 30, 5, tzinfo=UTC)
SMALL = StoredObject("photos/a b+c%20d.jpg", 5, MODIFIED, etag="827ccb0eea8a706c4c34a16891f84e7b")

S3 = Notification(Form.S3)
EVENT_BRIDGE = Notification(Form.EVENT_BRIDGE)
SNS = Notification(Form.SNS, arn=TOPIC)


def run(name: str = "run-1", started: str = "2026-02-01T00:00:00.500Z") -> Run:
    settings = {
        "Source": {"Layout": "OBJECTS", "Bucket": SOURCE, "Root": ""},
        "Function": {"Arn": FUNCTION, "Contract": "S3_EVENT"},
        "Destination": {"Bucket": "reports", "RunsPrefix": ""},
        "Workers": 1,
        "CallsPerWorker": 1,
        "ToleratedFailurePercentage": 0,
    }
    return Run.parse({"Name": name, "Started": started, "Settings": settings})


def record(item: StoredObject = SMALL, notification: Notification = S3, of: Run | None = None) -> Any:
    [found] = ObjectEvent(of or run(), item).payload(notification)["Records"]
    return found


def test_the_event_of_s3_has_every_field_and_no_other() -> None:
    found = record()

    request, host = (
        found["responseElements"].pop("x-amz-request-id"),
        found["responseElements"].pop("x-amz-id-2"),
    )
    assert found == {
        "eventVersion": "2.6",
        "eventSource": "aws:s3",
        "awsRegion": "cn-north-1",
        "eventTime": "2026-01-15T10:30:05.000Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:111122223333"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "PipelineReprocessing",
            "bucket": {
                "name": SOURCE,
                "ownerIdentity": {"principalId": "111122223333"},
                "arn": f"arn:aws-cn:s3:::{SOURCE}",
            },
            "object": {
                "key": "photos/a+b%2Bc%2520d.jpg",
                "size": 5,
                "eTag": "827ccb0eea8a706c4c34a16891f84e7b",
                "sequencer": found["s3"]["object"]["sequencer"],
            },
        },
    }
    assert re.fullmatch(r"REPLAY[0-9A-F]{10}", request)
    assert b64decode(host, validate=True)


def test_the_event_of_event_bridge_has_every_field_and_no_other() -> None:
    found = ObjectEvent(run(), replace(SMALL, version="v1")).payload(EVENT_BRIDGE)

    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found.pop("id"))
    assert found["detail"].pop("request-id").startswith("REPLAY")
    assert found == {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-01-15T10:30:05Z",
        "region": "cn-north-1",
        "resources": [f"arn:aws-cn:s3:::{SOURCE}"],
        "detail": {
            "version": "0",
            "event-version": "1.2",
            "bucket": {"name": SOURCE},
            "object": {
                "key": "photos/a b+c%20d.jpg",
                "size": 5,
                "etag": "827ccb0eea8a706c4c34a16891f84e7b",
                "version-id": "v1",
                "sequencer": found["detail"]["object"]["sequencer"],
            },
            "requester": "111122223333",
            "source-ip-address": "127.0.0.1",
            "reason": "PutObject",
        },
    }


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("photos/a b+c%20d.jpg", "photos/a+b%2Bc%2520d.jpg"),
        ("photos/(1)=2.jpg", "photos/%281%29%3D2.jpg"),
        ("photos/日本 é.jpg", "photos/%E6%97%A5%E6%9C%AC+%C3%A9.jpg"),
        ("a/b//c/", "a/b//c/"),
        ("e\u0301", "e%CC%81"),  # decomposed, and left so
    ],
)
def test_keys_are_form_encoded_for_s3_and_raw_for_event_bridge(key: str, encoded: str) -> None:
    item = replace(SMALL, key=key)

    assert record(item)["s3"]["object"]["key"] == encoded
    assert ObjectEvent(run(), item).payload(EVENT_BRIDGE)["detail"]["object"]["key"] == key


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_key_comes_back_from_the_event(key: str) -> None:
    assert unquote_plus(record(replace(SMALL, key=key))["s3"]["object"]["key"]) == key


def test_an_object_that_was_uploaded_in_parts_says_so() -> None:
    parts = replace(SMALL, etag="abc-2")

    assert record(parts)["eventName"] == "ObjectCreated:CompleteMultipartUpload"
    assert record(parts)["s3"]["object"]["eTag"] == "abc-2"
    detail = ObjectEvent(run(), parts).payload(EVENT_BRIDGE)["detail"]
    assert detail["reason"] == "CompleteMultipartUpload"


def test_the_name_of_the_event_and_the_configuration_can_be_given() -> None:
    given_names = Notification(Form.S3, event_name="ObjectCreated:Copy", configuration_id="mine")

    found = record(replace(SMALL, etag="abc-2"), given_names)

    assert (found["eventName"], found["s3"]["configurationId"]) == ("ObjectCreated:Copy", "mine")


@pytest.mark.parametrize("version", ["null", "3sL4kqtJlcpXroDTDmJ"])
def test_a_version_is_told_only_where_the_bucket_has_versions(version: str) -> None:
    assert record(replace(SMALL, version=version))["s3"]["object"]["versionId"] == version
    assert "versionId" not in record()["s3"]["object"]
    assert "version-id" not in ObjectEvent(run(), SMALL).payload(EVENT_BRIDGE)["detail"]["object"]


def test_a_message_of_a_queue_is_as_lambda_hands_it_over() -> None:
    queue = Notification(Form.SQS, arn=QUEUE)

    found = record(notification=queue)

    body = found["body"]
    assert json.loads(body)["Records"][0]["s3"]["object"]["key"] == "photos/a+b%2Bc%2520d.jpg"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found.pop("messageId"))
    assert b64decode(found.pop("receiptHandle"), validate=True)
    assert found == {
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1768473005000",
            "SenderId": "111122223333",
            "ApproximateFirstReceiveTimestamp": "1768473005000",
        },
        "messageAttributes": {},
        "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE,
        "awsRegion": "cn-north-1",
    }


def test_the_md5_of_a_body_is_of_its_bytes() -> None:
    queue = Notification(Form.SQS, arn=QUEUE, carrying=EVENT_BRIDGE)

    found = record(replace(SMALL, key="é.jpg"), queue)

    assert "é.jpg" in found["body"]
    assert found["md5OfBody"] == md5(found["body"].encode(), usedforsecurity=False).hexdigest()


def test_a_topic_calls_the_function_with_the_event_as_text() -> None:
    found = record(notification=SNS)

    assert (found["EventSource"], found["EventVersion"]) == ("aws:sns", "1.0")
    assert found["EventSubscriptionArn"].startswith(f"{TOPIC}:")
    message = found["Sns"]
    assert message.keys() == {
        "Type",
        "MessageId",
        "TopicArn",
        "Subject",
        "Message",
        "Timestamp",
        "SignatureVersion",
        "Signature",
        "SigningCertUrl",
        "UnsubscribeUrl",
        "MessageAttributes",
    }
    assert (message["TopicArn"], message["Subject"]) == (TOPIC, "Amazon S3 Notification")
    assert message["Timestamp"] == "2026-01-15T10:30:05.000Z"
    assert json.loads(message["Message"])["Records"][0]["s3"]["bucket"]["name"] == SOURCE


def test_a_queue_on_a_topic_gets_the_message_with_or_without_its_envelope() -> None:
    wrapped = record(notification=Notification(Form.SQS, arn=QUEUE, carrying=SNS))
    raw_topic = Notification(Form.SNS_RAW, arn=TOPIC, carrying=EVENT_BRIDGE)
    raw = record(notification=Notification(Form.SQS, arn=QUEUE, carrying=raw_topic))

    envelope = json.loads(wrapped["body"])
    assert {"SigningCertURL", "UnsubscribeURL"} <= envelope.keys()
    assert "MessageAttributes" not in envelope
    assert json.loads(envelope["Message"])["Records"][0]["eventSource"] == "aws:s3"
    assert json.loads(raw["body"])["detail-type"] == "Object Created"


def test_a_repeated_call_has_the_same_event_and_another_run_another_mark() -> None:
    first, again, other = record(), record(), record(of=run("run-2"))

    assert first == again
    assert first["responseElements"]["x-amz-request-id"] != other["responseElements"]["x-amz-request-id"]


def test_the_client_context_names_the_run() -> None:
    assert client_context(run("run-7")) == {"custom": {"replay": "run-7"}}


def sequencer(of: Run, item: StoredObject = SMALL) -> str:
    found: str = record(item, of=of)["s3"]["object"]["sequencer"]
    return found


@pytest.mark.parametrize("order", [lambda text: text, lambda text: int(text, 16)], ids=["text", "integer"])
def test_a_sequencer_is_between_the_upload_and_later_writes_and_grows_per_run(order: Any) -> None:
    second = int(MODIFIED.timestamp())
    upload, next_write = f"00{second:08X}48000000", f"00{second + 1:08X}00000001"
    first = sequencer(run("run-1", "2026-02-01T00:00:00.000Z"))
    later = sequencer(run("run-2", "2026-02-01T00:00:02.000Z"))

    assert re.fullmatch(r"[0-9A-F]{18}", first)
    assert order(upload) < order(first) < order(later) < order(next_write)
    assert first == sequencer(run("run-1", "2026-02-01T00:00:00.000Z"))


def test_a_sequencer_of_an_upload_in_parts_is_above_the_one_of_its_last_part() -> None:
    """S3 says of such an object when its upload began, and sends the event when it is complete."""
    begun, started = replace(SMALL, etag="abc-2"), datetime(2026, 2, 1, tzinfo=UTC)
    complete, later = (f"{int(started.timestamp()) + seconds:08X}" for seconds in (-2, 1))

    found = sequencer(run(started=started.isoformat()), begun)

    assert f"00{complete}FFFFFFFF" < found < f"00{later}00000001"
    assert found < sequencer(run(started="2026-02-01T00:00:02.000Z"), begun)


def test_a_topic_has_no_subject_for_what_event_bridge_publishes() -> None:
    topic = replace(SNS, carrying=EVENT_BRIDGE)

    queued = record(notification=Notification(Form.SQS, arn=QUEUE, carrying=topic))

    assert record(notification=topic)["Sns"]["Subject"] is None
    assert "Subject" not in json.loads(queued["body"])


@pytest.mark.parametrize("started", ["2025-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_a_sequencer_stays_in_its_second_whatever_the_clock_says(started: str) -> None:
    second = int(MODIFIED.timestamp())

    assert f"00{second:08X}F8000000" <= sequencer(run(started=started)) <= f"00{second:08X}FFFFFFFF"
