"""The two contracts of the user's function, and what happens when it does not keep its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from archive_replay.reading import Batch
from hypothesis import given
from hypothesis import strategies as st

from archive_replay.faults import FunctionFailed
from archive_replay.transforms import (
    MAX_SEARCH,
    FirehoseTransformation,
    Invoke,
    LambdaActivity,
    Outcome,
    Transform,
    outcomes,
)


def batch_of(values: Sequence[Any], first: int = 1) -> Batch:
    return Batch(
        list(range(first, first + len(values))),
        [json.dumps(value).encode() for value in values],
        list(values),
    )


def activity(code: Any) -> LambdaActivity:
    return LambdaActivity(lambda payload: json.dumps(code(json.loads(payload))).encode())


def firehose(invoke: Invoke) -> FirehoseTransformation:
    return FirehoseTransformation(
        invoke,
        stream_arn="arn:aws:firehose:eu-west-1:111122223333:deliverystream/telemetry",
        region="eu-west-1",
        arrived=datetime(2025, 1, 1, tzinfo=UTC),
        key="raw/2025/01/01/00/x",
    )


def answering(*results: dict[str, Any]) -> FirehoseTransformation:
    """Firehose's contract with a function that gives these results, in the order of the records."""

    def invoke(payload: bytes) -> bytes:
        ids = [record["recordId"] for record in json.loads(payload)["records"]]
        return json.dumps(
            {"records": [{"recordId": i} | r for i, r in zip(ids, results, strict=False)]}
        ).encode()

    return firehose(invoke)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def total(found: Sequence[Outcome]) -> tuple[list[Any], int, list[tuple[int, str]]]:
    """Results, how many were dropped, and which failed."""
    lines = b"".join(outcome.data for outcome in found).splitlines()
    assert len(lines) == sum(outcome.count for outcome in found)
    return (
        [json.loads(line) for line in lines],
        sum(outcome.dropped for outcome in found),
        [(failure.number, failure.reason) for outcome in found for failure in outcome.failures],
    )


def test_the_lambda_activity_gets_a_list_and_gives_one() -> None:
    seen = []

    def code(messages: Any) -> Any:
        seen.append(messages)
        return [{**message, "celsius": 1.5} for message in messages]

    found = list(outcomes(activity(code), batch_of([{"a": 1}, {"a": 2}])))

    assert seen == [[{"a": 1}, {"a": 2}]]
    assert total(found) == ([{"a": 1, "celsius": 1.5}, {"a": 2, "celsius": 1.5}], 0, [])


@pytest.mark.parametrize(("given_", "gives", "dropped"), [(3, 1, 2), (3, 0, 3), (2, 5, 0)])
def test_the_lambda_activity_may_give_fewer_or_more(given_: int, gives: int, dropped: int) -> None:
    found = list(outcomes(activity(lambda _: [{"n": 1}] * gives), batch_of([{}] * given_)))

    assert total(found) == ([{"n": 1}] * gives, dropped, [])


@pytest.mark.parametrize(
    ("answer", "got"),
    [(None, "null"), ({"b": 1, "a": 2}, "an object with ['a', 'b']"), ("x", "str"), (3, "int")],
)
def test_a_lambda_activity_that_gives_no_list_fails_its_batch_at_once(answer: Any, got: str) -> None:
    calls = []

    def code(messages: Any) -> Any:
        calls.append(messages)
        return answer

    found = list(outcomes(activity(code), batch_of([{}, {}])))

    reason = f"the function must return a list of messages, got {got}"
    assert total(found) == ([], 0, [(1, reason), (2, reason)])
    assert len(calls) == 1


def test_text_of_every_kind_survives() -> None:
    values = [{"text": "grüße \U0001f600 \u2028"}, {"half": "\ud83d"}, {"a\nb": "c\td"}]

    found = list(outcomes(activity(lambda messages: messages), batch_of(values)))

    assert total(found)[0] == values


def test_firehose_records_are_as_firehose_makes_them() -> None:
    events = []

    def invoke(payload: bytes) -> bytes:
        events.append(json.loads(payload))
        return json.dumps(
            {"records": [{"recordId": r["recordId"], "result": "Dropped"} for r in events[-1]["records"]]}
        ).encode()

    for _ in range(2):
        firehose(invoke)(batch_of([{"a": 1}, {"a": 2}], first=7))

    [event, again] = events
    assert event == again
    assert event.keys() == {"invocationId", "deliveryStreamArn", "region", "records"}
    assert event["deliveryStreamArn"] == "arn:aws:firehose:eu-west-1:111122223333:deliverystream/telemetry"
    assert event["region"] == "eu-west-1"
    assert [json.loads(base64.b64decode(record["data"])) for record in event["records"]] == [
        {"a": 1},
        {"a": 2},
    ]
    assert [record["approximateArrivalTimestamp"] for record in event["records"]] == [1735689600000] * 2
    assert len({record["recordId"] for record in event["records"]}) == 2


def test_firehose_results_are_ok_dropped_or_failed() -> None:
    transform = answering(
        {"result": "Ok", "data": encoded(b'{"a": 1}\n')},
        {"result": "Dropped", "data": encoded(b"whatever")},
        {"result": "ProcessingFailed"},
        {"result": "Ok", "data": encoded(b'{"b": 1}')},
        {"result": "ok", "data": encoded(b"{}")},
        {"result": "Ok", "data": "not base64"},
        {"result": "Ok", "data": encoded(b'{"c": 1}\n{"c": 2}\n')},
        {"result": "Ok"},
        {},
    )

    results, dropped, failures = total(list(outcomes(transform, batch_of([{}] * 9))))

    assert results == [{"a": 1}, {"b": 1}, {"c": 1}, {"c": 2}]
    assert dropped == 1
    assert [(number, reason.partition(":")[0]) for number, reason in failures] == [
        (3, "the function returned ProcessingFailed"),
        (5, "the function must return Ok, Dropped or ProcessingFailed, got 'ok'"),
        (6, "the function returned data that is not base64"),
        (9, "the function must return Ok, Dropped or ProcessingFailed, got None"),
    ]


def test_firehose_results_may_come_in_any_order() -> None:
    def invoke(payload: bytes) -> bytes:
        records = json.loads(payload)["records"]
        return json.dumps({"records": [{**record, "result": "Ok"} for record in reversed(records)]}).encode()

    found = list(outcomes(firehose(invoke), batch_of([{"n": 1}, {"n": 2}, {"n": 3}])))

    assert total(found)[0] == [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ids: ids[:1], "the function did not return the recordId '{1}' (1 are missing)"),
        (lambda ids: [ids[0], ids[0]], "the function returned the recordId '{0}' twice"),
        (lambda ids: [*ids, "other"], "the function returned the recordId 'other', which it was not given"),
    ],
)
def test_every_record_must_come_back_exactly_once(change: Any, reason: str) -> None:
    ids: list[str] = []

    def invoke(payload: bytes) -> bytes:
        ids[:] = [record["recordId"] for record in json.loads(payload)["records"]]
        return json.dumps({"records": [{"recordId": i, "result": "Dropped"} for i in change(ids)]}).encode()

    found = list(outcomes(firehose(invoke), batch_of([{}, {}])))

    expected = reason.format(*ids)
    assert total(found) == ([], 0, [(1, expected), (2, expected)])


@pytest.mark.parametrize("answer", [b"[]", b"null", b'{"records": 1}', b'{"records": [1]}', b"{}"])
def test_a_firehose_answer_without_records_fails_its_batch(answer: bytes) -> None:
    found = list(outcomes(firehose(lambda _: answer), batch_of([{}])))

    [(number, reason)] = total(found)[2]
    assert number == 1
    assert reason.startswith("the function must return an object with a list of 'records', got ")


@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39), max_size=3),
)
def test_poisonous_messages_cost_themselves_and_not_their_neighbours(count: int, poison: set[int]) -> None:
    def code(messages: Any) -> Any:
        if any(message["n"] in poison for message in messages):
            raise FunctionFailed("ValueError: poison")
        return messages

    found = list(outcomes(activity(code), batch_of([{"n": n} for n in range(count)])))

    results, _, failures = total(found)
    assert results == [{"n": n} for n in range(count) if n not in poison]
    assert failures == [(n + 1, "ValueError: poison") for n in range(count) if n in poison]


def test_an_answer_that_is_too_large_comes_in_parts() -> None:
    def code(messages: Any) -> Any:
        if len(messages) > 3:
            raise FunctionFailed("Function.ResponseSizeTooLarge: Response payload size exceeded")
        return messages

    found = list(outcomes(activity(code), batch_of([{"n": n} for n in range(20)])))

    assert total(found) == ([{"n": n} for n in range(20)], 0, [])


def test_a_result_that_is_no_json_costs_its_message() -> None:
    found = list(
        outcomes(
            activity(lambda messages: [{"r": float(m["r"])} for m in messages]),
            batch_of([{"r": "1"}, {"r": "nan"}]),
        )
    )

    assert total(found) == ([{"r": 1.0}], 0, [(2, "the function must return JSON: NaN is not JSON")])


def test_a_number_that_json_cannot_tell_costs_its_message() -> None:
    def invoke(payload: bytes) -> bytes:
        return payload  # as it is: in other languages 1e999 stays what it is

    batch = Batch([1, 2], [b'{"r": 1}', b'{"r": 1e999}'], [])

    found = list(outcomes(LambdaActivity(invoke), batch))

    results, _, [(number, reason)] = total(found)
    assert (results, number) == ([{"r": 1}], 2)
    assert reason.startswith("the function must return JSON: Out of range float values")


def test_a_function_that_always_fails_is_not_called_for_every_message() -> None:
    calls = 0

    def broken(batch: Batch) -> Outcome:
        nonlocal calls
        calls += 1
        raise FunctionFailed("ImportError: no module named x")

    transform: Transform = broken
    found = list(outcomes(transform, batch_of([{}] * 1000)))

    assert len(total(found)[2]) == 1000
    assert calls < MAX_SEARCH + 20
