"""Events of S3 as AWS writes them, where ministack writes something else.

- Request ids are 16 characters of 0-9A-Z, the same in both forms; the host id is Base64; and a principal is `AWS:...`.
- A sequencer is the time of the write: `00`, the second in 8 hexadecimal digits, and its fraction in 8 more. It grows
  with each write.
- EventBridge events have whole seconds in `time`, `event-version` 1.2, and the `version-id` of a versioned object.

What stays unlike AWS: `eventTime` and the sequencer are taken just after LastModified, so they can be in the next
second; and the request id is not that of the answer to the upload.
"""

import base64
import contextvars
import hashlib
import json
import string
import threading
import time
from typing import Any

from local_aws.emulator import hooks

_S3 = "ministack.services.s3"
_EVENT_BRIDGE = "ministack.services.eventbridge"

_DIGITS = string.digits + string.ascii_uppercase

_VERSION: contextvars.ContextVar[str | None] = contextvars.ContextVar("version", default=None)
"""The version of the object whose event is being sent."""


def install() -> None:
    """Puts the changes around what ministack does."""
    hooks.replace(_S3, "_next_event_sequencer", "event_name", _tell_the_time)
    hooks.replace(
        _S3,
        "_fire_s3_event",
        "bucket_name key event_name size etag deletion_type restore_event_data version_id sequencer"
        " object_extra record_extra",
        _keep_the_version,
    )
    hooks.replace(_S3, "_deliver_event_to_lambda", "arn event_payload bucket_region", _write_like_s3)
    for service in ("sqs", "sns"):
        delivery = f"_deliver_event_to_{service}"
        hooks.replace(_S3, delivery, "arn event_payload bucket_region bucket_name", _write_like_s3)
    hooks.replace(_EVENT_BRIDGE, "_dispatch_event", "event view", _write_like_event_bridge)


def _tell_the_time(original: Any) -> Any:
    lock = threading.Lock()
    last = 0

    def next_event_sequencer(event_name: str) -> str | None:
        nonlocal last
        if original(event_name) is None:
            return None
        with lock:
            last = max(last + 1, (time.time_ns() << 32) // 10**9)
            return f"00{last:016X}"

    return next_event_sequencer


def _keep_the_version(original: Any) -> Any:
    def fire_s3_event(*arguments: Any, version_id: str | None = None, **more: Any) -> None:
        token = _VERSION.set(version_id)
        try:
            original(*arguments, version_id=version_id, **more)
        finally:
            _VERSION.reset(token)

    return fire_s3_event


def _write_like_s3(original: Any) -> Any:
    def deliver_event(arn: str, event_payload: dict[str, Any], *more: Any, **named: Any) -> None:
        records = [_as_s3(record) for record in event_payload.get("Records", [])]
        original(arn, {"Records": records} if records else event_payload, *more, **named)

    return deliver_event


def _as_s3(record: dict[str, Any]) -> dict[str, Any]:
    made_up = record["responseElements"]["x-amz-request-id"]
    host = base64.b64encode(hashlib.sha512(made_up.encode()).digest()).decode()
    return {
        **record,
        "userIdentity": {"principalId": "AWS:EXAMPLE"},
        "responseElements": {"x-amz-request-id": _request_id(made_up), "x-amz-id-2": host},
    }


def _write_like_event_bridge(original: Any) -> Any:
    def dispatch_event(event: dict[str, Any], view: Any = None) -> None:
        detail = json.loads(event["Detail"]) if event.get("Source") == "aws.s3" else {}
        if detail.get("event-version") == "1.0":  # not one that a rule passes on to another bus
            detail |= {"event-version": "1.2", "request-id": _request_id(detail["request-id"])}
            if version := _VERSION.get():
                detail["object"]["version-id"] = version
            event = {**event, "Time": f"{event['Time'][:19]}Z", "Detail": json.dumps(detail)}
        original(event, view)

    return dispatch_event


def _request_id(made_up: str) -> str:
    number = hashlib.sha256(made_up.encode()).digest()
    return "".join(_DIGITS[byte % len(_DIGITS)] for byte in number[:16])
