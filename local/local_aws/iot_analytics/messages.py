"""Messages: what a payload may be, and how many of them lie in one object."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable
from typing import Any, NoReturn

Message = dict[str, Any]
"""One message: the JSON object of a payload."""

MAX_PAYLOAD_BYTES = 128 * 1024
"""The service's quota for one message."""

MAX_BATCH = 100
"""The service's quota for the messages of one BatchPutMessage."""

# From the description of BatchPutMessageRequest in the service model.
_FIELD_NAME = re.compile(r"[A-Za-z_]([A-Za-z0-9]*|[A-Za-z0-9][A-Za-z0-9_]*)")
_MAX_FIELD_NAME = 255


class UnusablePayload(Exception):
    """A payload is no message; the text says why."""


def message_of(payload: bytes) -> Message:
    """The message in a payload.

    The service also took binary payloads and left decoding them to a lambda activity; here a payload is a JSON object.

    Raises:
        UnusablePayload: It is too long, no JSON object, or has field names that the service refused.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise UnusablePayload(f"a payload must be at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
    try:
        message = json.loads(payload, parse_constant=_refuse_constant)
        _check_names(message)
    except (ValueError, RecursionError) as error:
        raise UnusablePayload(f"a payload must be a JSON object: {error}") from None
    if not isinstance(message, dict):
        raise UnusablePayload(
            f"a payload must be a JSON object, got '{payload[:40].decode(errors='replace')}'"
        )
    return message


def packed(messages: Iterable[Message]) -> bytes:
    """The bytes of an object: a JSON object on each line, gzipped, the same for the same messages."""
    lines = "".join(json.dumps(message, separators=(",", ":")) + "\n" for message in messages)
    return gzip.compress(lines.encode(), mtime=0)


def unpacked(body: bytes) -> list[Message]:
    """The messages of an object.

    Raises:
        ValueError: It is not gzip, or a line of it is not a JSON object.
    """
    try:
        lines = gzip.decompress(body).decode().split("\n")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it is not gzip: {error}") from None
    messages = [json.loads(line) for line in lines if line.strip()]
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            raise ValueError(f"message {number} is not a JSON object")
    return messages


def _check_names(value: Any) -> None:
    match value:
        case dict():
            seen: set[str] = set()
            for name, member in value.items():
                if len(name) > _MAX_FIELD_NAME or not _FIELD_NAME.fullmatch(name):
                    raise UnusablePayload(
                        f"the field name '{name[:300]}' must begin with a letter or one underscore, have letters, digits "
                        f"and underscores only, and at most {_MAX_FIELD_NAME} characters"
                    )
                if name.lower() in seen:
                    raise UnusablePayload(f"the field name '{name}' is there twice; case does not count")
                seen.add(name.lower())
                _check_names(member)
        case list():
            for member in value:
                _check_names(member)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
