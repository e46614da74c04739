"""The events that S3 sends when an object is created, field by field, in each form in which a function gets them.

A replay is told from an upload by its request id, which begins with `REPLAY`, and by the client context, not by a field
of its own: strict readers refuse what they do not know. Sources: S3 User Guide, "Event message structure" and "Event
message structure for Amazon EventBridge"; Lambda developer guide, "Using Lambda with Amazon SQS" and "... Amazon SNS".
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import md5, sha256
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

from object_replay.settings import Form, Notification, Run
from object_replay.storage import StoredObject

REQUEST_ID = "REPLAY"
"""What the request id of a replay begins with."""
_SOURCE_IP = "127.0.0.1"
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_FIRST, _LAST = 0xF8000000, 0xFFFFFFFF
_UNIT = 2
"""Seconds between two runs whose events can be told apart by their sequencers, until 2034."""


@dataclass(frozen=True)
class ObjectEvent:
    """The event for one object in one run: the same whenever it is sent again.

    Args:
        run: The execution.
        object: The object as it is now.
    """

    run: Run
    object: StoredObject

    def payload(self, notification: Notification) -> dict[str, Any]:
        """What the function is called with for this object alone."""
        match notification.form:
            case Form.S3:
                return {"Records": [self._record(notification)]}
            case Form.EVENT_BRIDGE:
                return self._event_bridge
            case Form.SNS:
                return {"Records": [self._sns(notification)]}
        return {"Records": [self.message(notification)]}

    def message(self, queue: Notification) -> dict[str, Any]:
        """The event as a message of the queue."""
        carrying = queue.carrying or Notification(Form.S3)
        match carrying.form:
            case Form.SNS:
                body = _text(self._topic_message(carrying, url="URL"))
            case Form.SNS_RAW:
                body = self._carried(carrying)
            case _:
                body = _text(self.payload(carrying))
        sent = f"{self.object.last_modified.timestamp() * 1000:.0f}"
        return {
            "messageId": self.message_id,
            "receiptHandle": b64encode(self._digest).decode(),
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": sent,
                "SenderId": self._account,
                "ApproximateFirstReceiveTimestamp": sent,
            },
            "messageAttributes": {},
            "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": queue.arn,
            "awsRegion": self._region,
        }

    @property
    def message_id(self) -> str:
        """The id that messages with this event have."""
        return str(UUID(bytes=self._digest[:16], version=4))

    @property
    def sequencer(self) -> str:
        """Above that of the upload, below those of later writes, and above those of earlier runs.

        S3's own are 18 hexadecimal digits: `00`, the second, and what tells events of one second apart. Ours are among
        the last 1/32 of the second in which the object was written.
        """
        started = datetime.fromisoformat(self.run.started)
        age = started - _EPOCH
        order = min(max(_FIRST + int(age.total_seconds()) // _UNIT, _FIRST), _LAST)
        second = int(self.object.last_modified.timestamp())
        if self._is_multipart:
            # It was last modified when the upload began: when it was complete, and the event sent, S3 does not say.
            second = max(second, int(started.timestamp()) - 1)
        return f"00{second:08X}{order:08X}"

    @property
    def _event_bridge(self) -> dict[str, Any]:
        version = {"version-id": self.object.version} if self.object.version else {}
        return {
            "version": "0",
            "id": self.message_id,
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": self._account,
            "time": f"{self.object.last_modified:%Y-%m-%dT%H:%M:%SZ}",
            "region": self._region,
            "resources": [self._bucket_arn],
            "detail": {
                "version": "0",
                "event-version": "1.2",
                "bucket": {"name": self._bucket},
                "object": {
                    "key": self.object.key,
                    "size": self.object.size,
                    "etag": self.object.etag,
                    **version,
                    "sequencer": self.sequencer,
                },
                "request-id": self._request_id,
                "requester": self._account,
                "source-ip-address": _SOURCE_IP,
                "reason": "CompleteMultipartUpload" if self._is_multipart else "PutObject",
            },
        }

    def _record(self, notification: Notification) -> dict[str, Any]:
        written = "CompleteMultipartUpload" if self._is_multipart else "Put"
        version = {"versionId": self.object.version} if self.object.version else {}
        return {
            "eventVersion": "2.6",
            "eventSource": "aws:s3",
            "awsRegion": self._region,
            "eventTime": self._milliseconds,
            "eventName": notification.event_name or f"ObjectCreated:{written}",
            "userIdentity": {"principalId": f"AWS:{self._account}"},
            "requestParameters": {"sourceIPAddress": _SOURCE_IP},
            "responseElements": {
                "x-amz-request-id": self._request_id,
                "x-amz-id-2": b64encode(self._digest + self._digest[:16]).decode(),
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": notification.configuration_id or "PipelineReprocessing",
                "bucket": {
                    "name": self._bucket,
                    "ownerIdentity": {"principalId": self._account},
                    "arn": self._bucket_arn,
                },
                "object": {
                    "key": quote_plus(self.object.key, safe="/"),
                    "size": self.object.size,
                    "eTag": self.object.etag,
                    **version,
                    "sequencer": self.sequencer,
                },
            },
        }

    def _sns(self, topic: Notification) -> dict[str, Any]:
        return {
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": f"{topic.arn}:{self.message_id}",
            "Sns": {"Subject": None, **self._topic_message(topic, url="Url"), "MessageAttributes": {}},
        }

    def _topic_message(self, topic: Notification, *, url: str) -> dict[str, Any]:
        """What a topic makes of the event. Functions and queues are given two of the names in different letters."""
        service = f"https://sns.{self._region}.amazonaws.com"
        # EventBridge publishes without a subject.
        by_s3 = not topic.carrying or topic.carrying.form is Form.S3
        return {
            "Type": "Notification",
            "MessageId": self.message_id,
            "TopicArn": topic.arn,
            **({"Subject": "Amazon S3 Notification"} if by_s3 else {}),
            "Message": self._carried(topic),
            "Timestamp": self._milliseconds,
            "SignatureVersion": "1",
            "Signature": b64encode(self._digest).decode(),
            f"SigningCert{url}": f"{service}/SimpleNotificationService-0.pem",
            f"Unsubscribe{url}": f"{service}/?Action=Unsubscribe&SubscriptionArn={topic.arn}:{self.message_id}",
        }

    def _carried(self, topic: Notification) -> str:
        return _text(self.payload(topic.carrying or Notification(Form.S3)))

    @property
    def _milliseconds(self) -> str:
        moment = self.object.last_modified
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"

    @property
    def _is_multipart(self) -> bool:
        return "-" in self.object.etag

    @property
    def _request_id(self) -> str:
        return REQUEST_ID + self._digest.hex()[:10].upper()

    @property
    def _bucket(self) -> str:
        return self.run.settings.source.bucket

    @property
    def _bucket_arn(self) -> str:
        return f"arn:{self._function_arn[1]}:s3:::{self._bucket}"

    @property
    def _region(self) -> str:
        return self._function_arn[3]

    @property
    def _account(self) -> str:
        return self._function_arn[4]

    @cached_property
    def _function_arn(self) -> Sequence[str]:
        return self.run.settings.function.arn.split(":")

    @cached_property
    def _digest(self) -> bytes:
        written = f"{self.object.version} {self.object.etag} {self.object.last_modified.isoformat()}"
        return sha256(f"{self.run.name} {self.object.key} {written}".encode(errors="replace")).digest()


def client_context(run: Run) -> Mapping[str, object]:
    """What tells the function, in `context.client_context.custom`, that it is called by a replay."""
    return {"custom": {"replay": run.name}}


def encoded(payload: Mapping[str, Any]) -> bytes:
    """The payload as Lambda hands it over."""
    return _text(payload).encode()


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
