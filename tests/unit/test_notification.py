"""The forms in which a function gets S3's events: what they become, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aws_cdk import CfnParameter, Stack
from aws_cdk.aws_sns import ITopic, Topic
from aws_cdk.aws_sqs import IQueue, Queue

from object_replay import settings
from object_replay.settings import Form
from pipeline_reprocessing import Notification

QUEUE = "arn:aws:sqs:eu-west-1:111122223333:uploads"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:uploads"


class Site:
    """A stack with a queue and a topic."""

    def __init__(self) -> None:
        self.stack = Stack(None, "Photos")
        self.queue: IQueue = Queue.from_queue_arn(self.stack, "Queue", QUEUE)
        self.topic: ITopic = Topic.from_topic_arn(self.stack, "Topic", TOPIC)

    def text(self) -> str:
        return CfnParameter(self.stack, "Text").value_as_string

    def number(self) -> Any:
        return CfnParameter(self.stack, "Number", type="Number").value_as_number


def wrong(value: object) -> Any:
    return value


@pytest.fixture
def site() -> Site:
    return Site()


S3 = settings.Notification(Form.S3)
MADE: Mapping[str, tuple[Callable[[Site], Notification], settings.Notification]] = {
    "S3": (lambda _: Notification.s3(), S3),
    "S3 with names": (
        lambda _: Notification.s3(event_name="ObjectRestore:Completed", configuration_id="uploads"),
        settings.Notification(Form.S3, event_name="ObjectRestore:Completed", configuration_id="uploads"),
    ),
    "EventBridge": (lambda _: Notification.event_bridge(), settings.Notification(Form.EVENT_BRIDGE)),
    "queue": (lambda it: Notification.sqs(it.queue), settings.Notification(Form.SQS, QUEUE, 10)),
    "queue with EventBridge": (
        lambda it: Notification.sqs(it.queue, carrying=Notification.event_bridge(), batch_size=100),
        settings.Notification(Form.SQS, QUEUE, 100, carrying=settings.Notification(Form.EVENT_BRIDGE)),
    ),
    "topic": (lambda it: Notification.sns(it.topic), settings.Notification(Form.SNS, TOPIC)),
    "topic with S3": (
        lambda it: Notification.sns(it.topic, carrying=Notification.s3()),
        settings.Notification(Form.SNS, TOPIC, carrying=S3),
    ),
    "raw topic in a queue": (
        lambda it: Notification.sqs(
            it.queue, carrying=Notification.sns(it.topic, raw_message_delivery=True), batch_size=1
        ),
        settings.Notification(Form.SQS, QUEUE, 1, carrying=settings.Notification(Form.SNS_RAW, TOPIC)),
    ),
}


@pytest.mark.parametrize("case", MADE)
def test_a_notification_is_what_the_worker_reads(site: Site, case: str) -> None:
    make, expected = MADE[case]

    assert settings.Notification.parse(make(site).settings) == expected


def test_what_is_left_out_is_in_no_setting(site: Site) -> None:
    """The trigger covers the settings: a name more, and each pipeline would run with another version."""
    assert Notification.s3().settings == {"Form": "S3"}
    assert Notification.event_bridge().settings == {"Form": "EVENT_BRIDGE"}
    assert Notification.sqs(site.queue).settings == {"Form": "SQS", "Arn": QUEUE, "BatchSize": 10}
    assert Notification.sns(site.topic).settings == {"Form": "SNS", "Arn": TOPIC}


def test_queue_and_topic_are_known_from_the_outside_in(site: Site) -> None:
    through = Notification.sqs(site.queue, carrying=Notification.sns(site.topic))

    assert through.arns == (QUEUE, TOPIC)
    assert Notification.s3().arns == ()


TOKENS: Mapping[str, Callable[[Site], Notification]] = {
    "event name": lambda it: Notification.s3(event_name=it.text()),
    "configuration id": lambda it: Notification.s3(configuration_id=it.text()),
    "batch size": lambda it: Notification.sqs(it.queue, batch_size=it.number()),
    "queue": lambda it: Notification.sqs(Queue.from_queue_arn(it.stack, "Q", it.text())),
    "topic": lambda it: Notification.sns(Topic.from_topic_arn(it.stack, "T", it.text())),
}


@pytest.mark.parametrize("case", TOKENS)
def test_tokens_pass(site: Site, case: str) -> None:
    made = site.stack.resolve(TOKENS[case](site).settings)

    assert "Ref" in str(made)
    assert "Token[" not in str(made)


FORMS = "'carrying' must be a notification of the kind "
REFUSED: Mapping[str, tuple[Callable[[Site], Notification], str]] = {
    "event name with s3": (
        lambda _: Notification.s3(event_name="s3:ObjectCreated:Put"),
        "'event_name' must be as in events, such as ObjectCreated:Put, got 's3:ObjectCreated:Put'; events have no "
        "'s3:' before it",
    ),
    "event name of all kinds": (
        lambda _: Notification.s3(event_name="ObjectCreated:*"),
        "'event_name' must be as in events, such as ObjectCreated:Put, got 'ObjectCreated:*'; events have no 's3:' "
        "before it",
    ),
    "empty event name": (
        lambda _: Notification.s3(event_name=""),
        "'event_name' must be a text that is not empty, got ''",
    ),
    "event name that is no text": (
        lambda _: Notification.s3(event_name=wrong(7)),
        "'event_name' must be a text that is not empty, got int 7",
    ),
    "empty configuration id": (
        lambda _: Notification.s3(configuration_id=""),
        "'configuration_id' must be a text that is not empty, got ''",
    ),
    "queue by its ARN": (
        lambda _: Notification.sqs(wrong(QUEUE)),
        f"'queue' must be a queue, got '{QUEUE}'; use Queue.from_queue_arn()",
    ),
    "no message": (
        lambda it: Notification.sqs(it.queue, batch_size=0),
        "'batch_size' must be 1 to 100, got 0",
    ),
    "too many messages": (
        lambda it: Notification.sqs(it.queue, batch_size=101),
        "'batch_size' must be 1 to 100, got 101",
    ),
    "part of a message": (
        lambda it: Notification.sqs(it.queue, batch_size=wrong(1.5)),
        "'batch_size' must be a whole number, got float 1.5",
    ),
    "queue in a queue": (
        lambda it: Notification.sqs(it.queue, carrying=Notification.sqs(it.queue)),
        FORMS + "S3, EVENT_BRIDGE, SNS, got SQS",
    ),
    "text in a queue": (
        lambda it: Notification.sqs(it.queue, carrying=wrong("S3")),
        FORMS + "S3, EVENT_BRIDGE, SNS, got 'S3'",
    ),
    "topic by its ARN": (
        lambda _: Notification.sns(wrong(TOPIC)),
        f"'topic' must be a topic, got '{TOPIC}'; use Topic.from_topic_arn()",
    ),
    "topic in a topic": (
        lambda it: Notification.sns(it.topic, carrying=Notification.sns(it.topic)),
        FORMS + "S3, EVENT_BRIDGE, got SNS",
    ),
    "queue in a topic": (
        lambda it: Notification.sns(it.topic, carrying=Notification.sqs(it.queue)),
        FORMS + "S3, EVENT_BRIDGE, got SQS",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_arguments_are_refused_with_the_way_out(site: Site, case: str) -> None:
    make, message = REFUSED[case]

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(site)
