"""What a function's answer says of a batch of messages, read as Lambda reads it for a queue.

Source: Lambda developer guide, "Handling errors for an SQS event source": an answer without failures is a success, and
one that Lambda cannot make sense of fails the whole batch.
"""

from __future__ import annotations

import json
from collections.abc import Collection


class BatchFailed(Exception):
    """The whole batch failed; the text says why."""


def failed_messages(answer: bytes, sent: Collection[str]) -> set[str]:
    """The ids of the messages that the function says have failed.

    Args:
        answer: The function's answer, as Lambda gives it.
        sent: The ids of all messages of the batch.

    Raises:
        BatchFailed: The answer is no JSON, or names what was not sent.
    """
    try:
        value = json.loads(answer or b"null")
    except (ValueError, RecursionError):
        raise BatchFailed("your function's answer is not valid JSON") from None
    failures = value.get("batchItemFailures") if isinstance(value, dict) else None
    if failures is None:
        return set()
    if not isinstance(failures, list):
        raise BatchFailed("'batchItemFailures' in your function's answer must be a list")
    found = set()
    for each in failures:
        id = each.get("itemIdentifier") if isinstance(each, dict) else None  # noqa: A001  # Lambda's name for it
        if not isinstance(id, str) or id not in sent:
            raise BatchFailed(
                "'batchItemFailures' in your function's answer must have the 'itemIdentifier' of messages of the "
                f"batch, got {json.dumps(each)[:200]}"
            )
        found.add(id)
    return found
