"""What a function's answer says of a batch, as Lambda reads it for a queue.

Source: Lambda developer guide, "Success and failure conditions" of partial batch responses.
"""

from __future__ import annotations

import pytest

from object_replay.events.batch_failures import BatchFailed, failed_messages

SENT = ("a", "b", "c")


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"{}", b'{"batchItemFailures": []}', b'{"batchItemFailures": null}', b'"done"', b"[]"],
)
def test_an_answer_without_failures_is_a_success(answer: bytes) -> None:
    assert failed_messages(answer, SENT) == set()


def test_the_messages_that_the_function_reports_have_failed() -> None:
    answer = (
        b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "b"}, {"itemIdentifier": "c"}]}'
    )

    assert failed_messages(answer, SENT) == {"b", "c"}


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ('[{"itemIdentifier": ""}]', '{"itemIdentifier": ""}'),
        ('[{"itemIdentifier": null}]', '{"itemIdentifier": null}'),
        ('[{"itemIdentifier": "d"}]', '{"itemIdentifier": "d"}'),
        ('[{"messageId": "a"}]', '{"messageId": "a"}'),
        ('["a"]', '"a"'),
        ('[{"itemIdentifier": "a"}, {"itemIdentifier": ["b"]}]', '{"itemIdentifier": ["b"]}'),
    ],
)
def test_a_report_that_names_what_was_not_sent_fails_the_batch(failures: str, told: str) -> None:
    with pytest.raises(BatchFailed) as raised:
        failed_messages(f'{{"batchItemFailures": {failures}}}'.encode(), SENT)

    assert str(raised.value) == (
        "'batchItemFailures' in your function's answer must have the 'itemIdentifier' of messages of the batch, got "
        + told
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"{", "your function's answer is not valid JSON"),
        (b"[" * 100_000, "your function's answer is not valid JSON"),
        (b'{"batchItemFailures": "a"}', "'batchItemFailures' in your function's answer must be a list"),
    ],
)
def test_an_answer_that_cannot_be_read_fails_the_batch(answer: bytes, told: str) -> None:
    with pytest.raises(BatchFailed) as raised:
        failed_messages(answer, SENT)

    assert str(raised.value) == told
