"""A response fits, arrives, and is sent once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, PerhapsOurs, Unclear
from pipeline_reprocessing_handler.invocation import Invocation, Recipient
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.response import (
    LEASE,
    SEND_FOR,
    Answer,
    _fitted,
    _response,
    _signal,
    respond,
)

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock

    Send = Callable[..., bool]
    Of = Callable[..., Invocation]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
GROUP = "handler-logs"
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"
SIGNAL_URL = "https://signals.example/wait?Signature=77aa"
LONG = {"TimeoutSeconds": "42000", "OnTimeout": "FAIL", "SignalUrl": SIGNAL_URL}
SUCCEEDED = Answer("weather/9d31", {"ReprocessingId": "9d31", "Status": "SUCCEEDED"})
FAILED = Answer(
    "weather/9d31", reason="pipeline 'weather', run '9d31': the run ended FAILED", succeeded=False
)
EVENT = {
    "RequestType": "Create",
    "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10",
    "RequestId": "5f2a-10",
    "LogicalResourceId": "Backfill",
}

texts = st.text(max_size=40) | st.text(min_size=1, max_size=20).map(lambda text: text * 400)
answers = st.builds(
    Answer,
    succeeded=st.booleans(),
    reason=texts,
    physical_id=st.text(min_size=1, max_size=30),
    data=st.dictionaries(st.text(max_size=10), texts, max_size=5),
    no_echo=st.booleans(),
)


def body_sent(answer: Answer, event: Mapping[str, Any] = EVENT) -> bytes:
    return _fitted(_response(answer, event))


def body_of(answer: Answer, event: Mapping[str, Any] = EVENT) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(body_sent(answer, event))
    return body


def test_a_success_says_what_was_done() -> None:
    assert body_of(SUCCEEDED) == {
        "Status": "SUCCESS",
        "Reason": "",
        "PhysicalResourceId": "weather/9d31",
        "StackId": EVENT["StackId"],
        "RequestId": "5f2a-10",
        "LogicalResourceId": "Backfill",
        "NoEcho": False,
        "Data": {"ReprocessingId": "9d31", "Status": "SUCCEEDED"},
    }


def test_a_failure_says_why() -> None:
    body = body_of(FAILED)

    assert body["Status"] == "FAILED"
    assert body["Reason"] == "pipeline 'weather', run '9d31': the run ended FAILED"


def test_a_failure_without_a_reason_has_one_nevertheless() -> None:
    assert body_of(Answer("weather/9d31", succeeded=False))["Reason"] == "no reason is known"


def test_fields_that_the_request_lacks_are_empty() -> None:
    event = {"ResponseURL": "https://answers.example/a"}

    body = body_of(FAILED, event)

    assert (body["StackId"], body["RequestId"], body["LogicalResourceId"]) == ("", "", "")


@given(answers)
def test_whatever_is_to_be_said_fits(answer: Answer) -> None:
    raw = body_sent(answer)

    body = json.loads(raw)
    assert len(raw) <= 4096
    assert body["Status"] in ("SUCCESS", "FAILED")
    assert body["PhysicalResourceId"] == answer.physical_id
    assert body["RequestId"] == "5f2a-10"
    assert answer.succeeded or body["Status"] == "FAILED"
    assert body["Status"] == "SUCCESS" or body["Reason"]


@given(st.text(min_size=1, max_size=20))
def test_of_a_long_reason_the_beginning_stays(words: str) -> None:
    said = "pipeline 'weather', run '9d31': " + words * 4096

    raw = body_sent(Answer("weather/9d31", reason=said, succeeded=False))

    reason = json.loads(raw)["Reason"]
    assert said.startswith(reason)
    assert 4096 - len(raw) < 12  # not a character less than would fit


def test_attributes_that_do_not_fit_fail_the_request() -> None:
    body = body_of(Answer("weather/9d31", {"Status": "x" * 5000}))

    assert body["Status"] == "FAILED"
    assert body["Reason"] == "the attributes do not fit an answer of 4,096 bytes"
    assert body["Data"] == {}
    assert body["PhysicalResourceId"] == "weather/9d31"


@pytest.mark.parametrize("character", ["x", "🌡"])
def test_an_id_that_cannot_be_is_cut_rather_than_never_answered(character: str) -> None:
    raw = body_sent(Answer(character * 5000))

    assert len(raw) <= 4096
    assert json.loads(raw)["PhysicalResourceId"].startswith(character * 50)


@given(texts, texts)
def test_a_signal_fits_too(reason: str, physical_id: str) -> None:
    raw = _fitted(_signal(Answer(physical_id, reason=reason, succeeded=False), EVENT))

    assert len(raw) <= 4096
    assert json.loads(raw)["Status"] == "FAILURE"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (SUCCEEDED, "SUCCESS", "the run has succeeded"),
        (FAILED, "FAILURE", "pipeline 'weather', run '9d31': the run ended FAILED"),
    ],
)
def test_a_signal_says_how_the_wait_has_ended(answer: Answer, status: str, reason: str) -> None:
    assert _signal(answer, EVENT) == {
        "Status": status,
        "Reason": reason,
        "UniqueId": "5f2a-10",
        "Data": "weather/9d31",
    }


def test_the_data_of_a_signal_are_an_id_at_most() -> None:
    assert _signal(Answer("x" * 1025), EVENT)["Data"] == "x" * 1024


@pytest.fixture
def send(aws: FakeAws, ledger: Ledger, invocation_of: Of) -> Send:
    """Responds to `request-1`, which was made at NOW: `send(answer, until=..., **fields of the event)`."""
    create = invocation_of()

    def make(answer: Answer = SUCCEEDED, *, until: datetime | None = None, url: str = RESPONSE_URL) -> bool:
        recipient = Recipient("answer", url, until or NOW + timedelta(minutes=30))
        return respond(answer, replace(create, recipient=recipient), ledger, aws)

    return make


def meanwhile(clock: FakeClock, seconds: float, action: Callable[[], object]) -> None:
    """Does something once so many seconds have been slept."""
    sleep, when = clock.sleep, clock.now() + timedelta(seconds=seconds)

    def and_then(seconds: float) -> None:
        is_due = clock.now() < when <= clock.now() + timedelta(seconds=seconds)
        sleep(seconds)
        if is_due:
            action()

    clock.sleep = and_then  # type: ignore[method-assign]  # what happens meanwhile


def test_an_answer_is_claimed_sent_and_noted(send: Send, aws: FakeAws) -> None:
    assert send()

    assert [url for url, _ in aws.answers] == [RESPONSE_URL]
    assert aws.documents[0]["Data"] == SUCCEEDED.data
    assert aws.notes() == ["answer-1", "answer~Create~SUCCESS"]


@pytest.mark.parametrize(("answer", "note"), [(SUCCEEDED, "SUCCESS"), (FAILED, "FAILED")])
def test_a_note_says_how_the_request_has_ended(send: Send, ledger: Ledger, answer: Answer, note: str) -> None:
    send(answer)

    assert ledger.read().own.said("answer") == f"Create~{note}"


def test_an_answer_is_sent_once(send: Send, aws: FakeAws) -> None:
    assert [send(), send(FAILED)] == [True, True]

    assert [answer["Status"] for answer in aws.documents] == ["SUCCESS"]


@pytest.mark.parametrize("trouble", [301, 400, 403, 500, 503, Unclear("PUT failed: ProtocolError")])
def test_a_response_is_sent_again_until_it_is_accepted(
    send: Send, aws: FakeAws, clock: FakeClock, logged: io.StringIO, trouble: int | Fault
) -> None:
    aws.http_statuses = [trouble, trouble, 204]

    assert send()

    assert len(aws.answers) == 1
    first, second = clock.slept
    assert 0.5 <= first <= 1 <= second <= 2
    assert logged.getvalue().count(f"{trouble}\n") == 2


def test_an_address_that_never_accepts_is_given_up_and_not_noted(
    send: Send, aws: FakeAws, clock: FakeClock
) -> None:
    aws.http_statuses = [403] * 100

    assert not send()

    assert aws.notes() == ["answer-1"]
    assert NOW + SEND_FOR <= clock.now() <= NOW + SEND_FOR + timedelta(seconds=10)


def test_the_second_to_answer_waits_for_the_first(
    send: Send, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.claim("answer-1")
    meanwhile(clock, 10, lambda: ledger.note("answer~Create~SUCCESS"))

    assert send()

    assert aws.answers == []
    assert clock.now() <= NOW + timedelta(seconds=12)


def test_the_second_to_answer_takes_over_when_the_lease_is_over(
    send: Send, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.claim("answer-1")  # and crashed before it sent
    clock.sleep(30)

    assert send()

    assert len(aws.answers) == 1
    assert NOW + LEASE <= clock.now() <= NOW + LEASE + timedelta(seconds=2)
    assert aws.notes() == ["answer-1", "answer-2", "answer~Create~SUCCESS"]


def test_of_several_claims_each_has_its_own_lease(
    send: Send, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.claim("answer-1")
    clock.sleep(60)
    ledger.claim("answer-2")

    assert send()

    assert len(aws.answers) == 1
    assert NOW + timedelta(seconds=60) + LEASE <= clock.now()
    assert "answer-3" in aws.notes()


def test_a_claim_that_may_be_this_attempts_own_sends_at_once(
    send: Send, aws: FakeAws, clock: FakeClock
) -> None:
    aws.scripts["create_log_stream"] = [PerhapsOurs("it exists")]

    assert send()

    assert len(aws.answers) == 1
    assert clock.slept == []


def test_after_cloudformation_has_stopped_listening_nothing_is_sent(
    send: Send, aws: FakeAws, clock: FakeClock
) -> None:
    clock.sleep(1800)

    assert send()

    assert aws.answers == []
    assert aws.notes() == []


def test_nothing_is_sent_to_a_handle_that_has_expired(send: Send, aws: FakeAws) -> None:
    assert send(url="https://answers.example/a?X-Amz-Date=20250130T120000Z&X-Amz-Expires=86400")
    assert send(url="https://answers.example/a?X-Amz-Date=20250130T120000Z&X-Amz-Expires=86401")

    assert [url[-5:] for url, _ in aws.answers] == ["86401"]


def test_a_handle_does_not_outlive_its_recipient(send: Send, aws: FakeAws) -> None:
    assert send(url="https://answers.example/a?X-Amz-Date=20250131T110000Z&X-Amz-Expires=86400", until=NOW)

    assert aws.answers == []


def test_the_last_attempt_ends_when_cloudformation_stops_listening(
    send: Send, aws: FakeAws, clock: FakeClock
) -> None:
    aws.http_statuses = [503] * 100

    assert not send(until=NOW + timedelta(seconds=20))

    assert clock.now() <= NOW + timedelta(seconds=30)


def test_without_the_ledger_an_answer_is_sent_nevertheless(send: Send, aws: FakeAws) -> None:
    aws.scripts = {"describe_log_streams": [Denied("no")], "create_log_stream": [Denied("no")]}

    assert send()

    assert len(aws.answers) == 1


def test_an_answer_is_sent_when_the_ledger_goes_while_it_is_waited_for(
    send: Send, ledger: Ledger, aws: FakeAws
) -> None:
    ledger.claim("answer-1")
    aws.scripts["describe_log_streams"] = [Denied("no")]

    assert send()

    assert len(aws.answers) == 1


@pytest.fixture
def long_wait(invocation_of: Of, properties: dict[str, Any]) -> Invocation:
    """The Create of a resource whose end a WaitCondition waits for."""
    return invocation_of("Create", {**properties, "Wait": LONG})


def test_an_answer_that_ends_the_wait_signals_first(
    long_wait: Invocation, ledger: Ledger, aws: FakeAws
) -> None:
    assert respond(replace(SUCCEEDED, ends_wait=True), long_wait, ledger, aws)

    assert [url for url, _ in aws.answers] == [SIGNAL_URL, RESPONSE_URL]
    assert ["UniqueId" in document for document in aws.documents] == [True, False]
    assert aws.notes() == ["signal-1", "signal~Create~SUCCESS", "answer-1", "answer~Create~SUCCESS"]


def test_an_answer_that_does_not_end_the_wait_leaves_the_condition_alone(
    long_wait: Invocation, ledger: Ledger, aws: FakeAws
) -> None:
    assert respond(SUCCEEDED, long_wait, ledger, aws)

    assert [url for url, _ in aws.answers] == [RESPONSE_URL]


def test_without_the_signal_the_request_is_not_answered(
    long_wait: Invocation, ledger: Ledger, aws: FakeAws
) -> None:
    aws.http_statuses = [403] * 50

    assert not respond(replace(SUCCEEDED, ends_wait=True), long_wait, ledger, aws)

    assert aws.answers == []
    assert aws.notes() == ["signal-1"]


def test_a_signal_that_was_sent_before_is_not_sent_again_with_the_answer(
    long_wait: Invocation, ledger: Ledger, aws: FakeAws
) -> None:
    ledger.claim("signal-1")
    ledger.note("signal~Create~SUCCESS")

    assert respond(replace(SUCCEEDED, ends_wait=True), long_wait, ledger, aws)

    assert [url for url, _ in aws.answers] == [RESPONSE_URL]
