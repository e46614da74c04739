"""In which form a function gets the events of S3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Token
from aws_cdk.aws_sns import ITopic
from aws_cdk.aws_sqs import IQueue

from object_replay.settings import MAX_KEYS, Form
from pipeline_reprocessing.arguments import check_number, shown
from pipeline_reprocessing_handler.validation import Failure

DEFAULT_BATCH = 10
"""What Lambda takes from a queue at once by default (API `CreateEventSourceMapping`, `BatchSize`)."""
_EVENT_NAME = re.compile(r"Object[A-Z][A-Za-z]*:[A-Z][A-Za-z]*")


@dataclass(frozen=True)
class Notification:
    """Says how S3 reaches the function today. Make one with `s3`, `event_bridge`, `sqs` or `sns`.

    A replay calls the function with the same kind of event. Queues and topics are named in it, and never touched.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_sqs import Queue
        from pipeline_reprocessing import Notification

        queue = Queue(Stack(), "Uploads")
        direct = Notification.s3()
        by_queue = Notification.sqs(queue, carrying=Notification.event_bridge(), batch_size=5)
    """

    form: Form
    settings: Mapping[str, Any]

    @classmethod
    def s3(cls, *, event_name: str | None = None, configuration_id: str | None = None) -> Notification:
        """S3 calls the function: `bucket.add_event_notification(..., LambdaDestination(function))`.

        Args:
            event_name: What all events are called, such as `ObjectCreated:Put`; without `s3:`. Default:
                `ObjectCreated:CompleteMultipartUpload` for objects that were uploaded in parts, else
                `ObjectCreated:Put`.
            configuration_id: The notification's id, for a function that looks at it. Default: `PipelineReprocessing`.

        Raises:
            ValueError: An argument is invalid.

        Source: S3 User Guide, "Event message structure".
        """
        _check_text("event_name", event_name)
        _check_text("configuration_id", configuration_id)
        if event_name and not Token.is_unresolved(event_name) and not _EVENT_NAME.fullmatch(event_name):
            raise Failure(
                f"'event_name' must be as in events, such as ObjectCreated:Put, got '{event_name}'; events have no "
                "'s3:' before it"
            )
        return cls._of(Form.S3, EventName=event_name, ConfigurationId=configuration_id)

    @classmethod
    def event_bridge(cls) -> Notification:
        """A rule of EventBridge calls the function with the event "Object Created", as it is.

        Source: S3 User Guide, "Event message structure for Amazon EventBridge".
        """
        return cls._of(Form.EVENT_BRIDGE)

    @classmethod
    def sqs(
        cls, queue: IQueue, *, carrying: Notification | None = None, batch_size: int = DEFAULT_BATCH
    ) -> Notification:
        """An event source mapping calls the function with messages of a queue.

        What the function answers in `batchItemFailures` is read as Lambda reads it. After a batch that failed as a
        whole, the function is called with each of its messages alone.

        Args:
            queue: The events name it; it is neither read nor written.
            carrying: What a message's body is: `s3()`, `event_bridge()` or `sns(...)`. Default: `s3()`.
            batch_size: Messages in a call, 1 to 100; there may be fewer. Default: 10, as in Lambda.

        Raises:
            ValueError: An argument is invalid.
        """
        if not hasattr(queue, "queue_arn"):
            raise Failure(f"'queue' must be a queue, got {shown(queue)}; use Queue.from_queue_arn()")
        check_number("batch_size", batch_size, 1, MAX_KEYS)
        carried = _carried(carrying, (Form.S3, Form.EVENT_BRIDGE, Form.SNS, Form.SNS_RAW))
        return cls._of(Form.SQS, Arn=queue.queue_arn, BatchSize=batch_size, Carrying=carried)

    @classmethod
    def sns(
        cls, topic: ITopic, *, carrying: Notification | None = None, raw_message_delivery: bool = False
    ) -> Notification:
        """A topic calls the function, or a queue that is subscribed to the topic does.

        Args:
            topic: The events name it; nothing is published to it.
            carrying: What a message is: `s3()` or `event_bridge()`. Default: `s3()`.
            raw_message_delivery: Whether the queue gets the message without what SNS writes around it. Functions are
                not subscribed in this way. Default: no.

        Raises:
            ValueError: An argument is invalid.
        """
        if not hasattr(topic, "topic_arn"):
            raise Failure(f"'topic' must be a topic, got {shown(topic)}; use Topic.from_topic_arn()")
        carried = _carried(carrying, (Form.S3, Form.EVENT_BRIDGE))
        form = Form.SNS_RAW if raw_message_delivery else Form.SNS
        return cls._of(form, Arn=topic.topic_arn, Carrying=carried)

    @property
    def arns(self) -> tuple[str, ...]:
        """The queue and the topic through which events come."""
        found, settings = [], self.settings
        while settings:
            found += [settings["Arn"]] if "Arn" in settings else []
            settings = settings.get("Carrying", {})
        return tuple(found)

    @classmethod
    def _of(cls, form: Form, **values: Any) -> Notification:
        given = {name: value for name, value in values.items() if value is not None}
        return cls(form, {"Form": form.value, **given})


def _check_text(argument: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise Failure(f"'{argument}' must be a text that is not empty, got {shown(value)}")


def _carried(carrying: object, forms: tuple[Form, ...]) -> Mapping[str, Any] | None:
    if carrying is None:
        return None
    if not isinstance(carrying, Notification) or carrying.form not in forms:
        given = carrying.form if isinstance(carrying, Notification) else shown(carrying)
        raise Failure(f"'carrying' must be a notification of the kind {', '.join(forms[:3])}, got {given}")
    return carrying.settings
