"""An answer fits, arrives, and goes out once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Unclear
from pipeline_reprocessing_handler.response import (
    LEASE,
    SEND_FOR,
    Answer,
    Delivery,
    deliver,
    delivery_of,
    signal_of,
)

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock

    from pipeline_reprocessing_handler.ledger import Ledger

    Event = Callable[..., dict[str, Any]]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
SIGNAL_URL = "https://signals.example/wait?Signature=77aa"
SUCCEEDED = Answer(True, "", "weather/9d31", {"ReprocessingId": "9d31", "Status": "SUCCEEDED"})
FAILED = Answer(False, "pipeline 'weather', run '9d31': the run ended FAILED", "weather/9d31", {})
EVENT = {
    "RequestType": "Create",
    "ResponseURL": "https://answers.example/a?Signature=0f1e",
    "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10",
    "RequestId": "5f2a-10",
    "LogicalResourceId": "Backfill",
    "ResourceProperties": {},
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


def body_of(answer: Answer, event: Any = EVENT) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(delivery_of(answer, event, now=NOW).body)
    return body


def test_a_success_says_what_has_come_of_it() -> None:
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
    assert body_of(Answer(False, "", "weather/9d31", {}))["Reason"] == "no reason is known"


def test_fields_that_the_request_lacks_are_empty() -> None:
    event = {"ResponseURL": "https://answers.example/a"}

    body = body_of(FAILED, event)

    assert (body["StackId"], body["RequestId"], body["LogicalResourceId"]) == ("", "", "")


@given(answers)
def test_whatever_is_to_be_said_fits(answer: Answer) -> None:
    raw = delivery_of(answer, EVENT, now=NOW).body

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

    raw = delivery_of(Answer(False, said, "weather/9d31", {}), EVENT, now=NOW).body

    reason = json.loads(raw)["Reason"]
    assert said.startswith(reason)
    assert 4096 - len(raw) < 12  # not a character less than would fit


def test_attributes_that_do_not_fit_fail_the_request() -> None:
    body = body_of(Answer(True, "", "weather/9d31", {"Status": "x" * 5000}))

    assert body["Status"] == "FAILED"
    assert body["Reason"] == "the attributes do not fit an answer of 4,096 bytes"
    assert body["Data"] == {}
    assert body["PhysicalResourceId"] == "weather/9d31"


@pytest.mark.parametrize("character", ["x", "🌡"])
def test_an_id_that_cannot_be_is_cut_rather_than_never_answered(character: str) -> None:
    raw = delivery_of(Answer(True, "", character * 5000, {}), EVENT, now=NOW).body

    assert len(raw) <= 4096
    assert json.loads(raw)["PhysicalResourceId"].startswith(character * 50)


def test_an_answer_goes_to_the_address_in_the_request(event_of: Event) -> None:
    sent = delivery_of(SUCCEEDED, event_of(ResponseURL="https://answers.example/b"), now=NOW)

    assert (sent.kind, sent.url, sent.request_id) == ("answer", "https://answers.example/b", "request-1")
    assert sent.until == NOW + timedelta(minutes=55)  # 3,000 s of waiting, 5 minutes on top
    assert sent.sent == "answer-sent"


@pytest.mark.parametrize("unreadable", [None, "text", {}, {"Wait": "text"}, {"Pipeline": 3}])
def test_a_request_that_cannot_be_read_is_answered_soon(event_of: Event, unreadable: object) -> None:
    sent = delivery_of(FAILED, event_of(ResourceProperties=unreadable), now=NOW)

    assert sent.until == NOW + timedelta(minutes=5)


def test_an_address_is_not_shown_with_its_answer(event_of: Event) -> None:
    assert "Signature" not in repr(delivery_of(SUCCEEDED, event_of(), now=NOW))


@pytest.fixture
def signalled(event_of: Event, properties: dict[str, Any]) -> dict[str, Any]:
    """The continuation of a request whose end a WaitCondition waits for."""
    properties["Wait"] = {"TimeoutSeconds": "42000", "OnTimeout": "FAIL", "SignalUrl": SIGNAL_URL}
    waiting = {
        "started_at": NOW.timestamp(),
        "deadline": (NOW + timedelta(seconds=42_000)).timestamp(),
    }
    return event_of("Create", properties, CrHelperPoll=True, CrHelperData=waiting)


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (SUCCEEDED, "SUCCESS", "the run has succeeded"),
        (FAILED, "FAILURE", "pipeline 'weather', run '9d31': the run ended FAILED"),
    ],
)
def test_the_end_of_a_long_wait_is_a_signal(
    signalled: dict[str, Any], answer: Answer, status: str, reason: str
) -> None:
    sent = delivery_of(answer, signalled, now=NOW)

    assert (sent.kind, sent.url) == ("signal", SIGNAL_URL)
    assert sent.until == NOW + timedelta(seconds=42_000, minutes=5)
    assert json.loads(sent.body) == {
        "Status": status,
        "Reason": reason,
        "UniqueId": "request-1",
        "Data": "weather/9d31",
    }


def test_the_start_of_a_long_wait_is_an_answer(signalled: dict[str, Any]) -> None:
    del signalled["CrHelperData"]

    assert delivery_of(SUCCEEDED, signalled, now=NOW).kind == "answer"


@given(texts, texts)
def test_a_signal_fits_too(reason: str, physical_id: str) -> None:
    event = {
        **EVENT,
        "ResourceProperties": {"Wait": {"SignalUrl": SIGNAL_URL}},
        "CrHelperData": {"started_at": 0, "deadline": 0},
    }

    raw = delivery_of(Answer(False, reason, physical_id, {}), event, now=NOW).body

    assert len(raw) <= 4096
    assert json.loads(raw)["Status"] == "FAILURE"


@pytest.fixture
def a_delivery() -> Delivery:
    return Delivery("answer", "5f2a-10", "https://answers.example/a", b"{}", NOW + timedelta(minutes=30))


def test_a_delivery_is_claimed_and_recorded(a_delivery: Delivery, ledger: Ledger, aws: FakeAws) -> None:
    delivered = deliver(a_delivery, ledger, aws)

    assert delivered
    assert aws.answers == [("https://answers.example/a", b"{}")]
    assert list(ledger.marks("5f2a-10")) == ["answer-1", "answer-sent"]


def test_an_answer_goes_out_once(a_delivery: Delivery, ledger: Ledger, aws: FakeAws) -> None:
    assert deliver(a_delivery, ledger, aws)
    assert deliver(a_delivery, ledger, aws)

    assert len(aws.answers) == 1


def test_a_signal_is_not_taken_for_the_answer_of_its_request(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws
) -> None:
    signal = Delivery("signal", "5f2a-10", SIGNAL_URL, b"{}", a_delivery.until)

    assert deliver(a_delivery, ledger, aws)
    assert deliver(signal, ledger, aws)

    assert [url for url, _ in aws.answers] == ["https://answers.example/a", SIGNAL_URL]


@pytest.mark.parametrize("trouble", [301, 400, 403, 500, 503, Unclear("PUT failed: ProtocolError")])
def test_a_delivery_is_tried_again_until_it_is_accepted(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock, trouble: int | Fault
) -> None:
    aws.http_statuses = [trouble, trouble, 204]

    assert deliver(a_delivery, ledger, aws)

    assert len(aws.answers) == 1
    assert clock.slept == [1, 2]


def test_an_address_that_never_accepts_is_given_up_and_not_recorded_as_sent(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    aws.http_statuses = [403] * 100

    delivered = deliver(a_delivery, ledger, aws)

    assert not delivered
    assert list(ledger.marks("5f2a-10")) == ["answer-1"]
    assert clock.now() <= NOW + SEND_FOR + timedelta(seconds=16)


def test_whoever_comes_second_waits_for_the_first(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.mark("5f2a-10", "answer-1")  # somebody else's
    sleep = clock.sleep

    def somebody_sends(seconds: float) -> None:
        sleep(seconds)
        if clock.now() >= NOW + timedelta(seconds=10):
            ledger.mark("5f2a-10", "answer-sent")

    clock.sleep = somebody_sends  # type: ignore[method-assign]  # what happens meanwhile
    assert deliver(a_delivery, ledger, aws)

    assert aws.answers == []


def test_whoever_comes_second_takes_over_from_the_dead(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.mark("5f2a-10", "answer-1")  # somebody who crashed before sending

    assert deliver(a_delivery, ledger, aws)

    assert len(aws.answers) == 1
    assert clock.now() >= NOW + LEASE
    assert list(ledger.marks("5f2a-10")) == ["answer-1", "answer-2", "answer-sent"]


def test_when_nobody_listens_any_more_nothing_is_sent(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    clock.sleep(1800)

    assert deliver(a_delivery, ledger, aws)

    assert aws.answers == []


def test_without_the_ledger_an_answer_goes_out_nevertheless(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws
) -> None:
    aws.scripts = {"describe_log_streams": [Denied("no")], "create_log_stream": [Denied("no")]}

    assert deliver(a_delivery, ledger, aws)

    assert len(aws.answers) == 1


def test_the_last_attempt_ends_when_nobody_listens_any_more(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    clock.sleep(1790)
    aws.http_statuses = [503] * 100

    assert not deliver(a_delivery, ledger, aws)

    assert clock.now() <= a_delivery.until + timedelta(seconds=8)


def test_a_claim_that_stands_is_not_tried_again(
    a_delivery: Delivery, ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.mark("5f2a-10", "answer-1")
    ledger.mark("5f2a-10", "answer-2")
    before = aws.operations().count("create_log_stream")

    assert deliver(a_delivery, ledger, aws)

    assert aws.operations().count("create_log_stream") - before == 2  # the third claim, and that it was sent


def test_a_signal_is_not_sent_when_its_condition_is_over(event_of: Event) -> None:
    wait = {"TimeoutSeconds": "43200", "OnTimeout": "FAIL", "SignalUrl": SIGNAL_URL}
    started_at, deadline = NOW.timestamp(), NOW.timestamp() + 43_200 - 90
    event = event_of(CrHelperPoll=True, CrHelperData={"started_at": started_at, "deadline": deadline})
    event["ResourceProperties"] = {**event["ResourceProperties"], "Wait": wait}

    assert delivery_of(FAILED, event, now=NOW).until == NOW + timedelta(hours=12)


def test_who_listens_to_an_unreadable_request_listens_from_its_own_time(event_of: Event) -> None:
    signed = event_of(ResourceProperties=None, ResponseURL="https://s3.example/?X-Amz-Date=20250131T115900Z")

    assert delivery_of(FAILED, signed, now=NOW).until == NOW + timedelta(minutes=4)


def test_a_signal_is_not_sent_to_a_handle_that_has_expired(event_of: Event) -> None:
    expired = "https://signals.example/wait?X-Amz-Date=20250130T120000Z&X-Amz-Expires=86399"

    delivery = signal_of(SUCCEEDED, event_of(), expired, until=NOW + timedelta(minutes=5))

    assert delivery.until == NOW - timedelta(seconds=1)
