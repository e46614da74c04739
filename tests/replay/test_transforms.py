"""The two contracts of the user's function, and what happens when it does not keep its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay.archive.batches import Batch
from object_replay.archive.transforms import (
    HOPELESS,
    MAX_SEARCH,
    FirehoseTransformation,
    Invoke,
    LambdaActivity,
    Outcome,
    Search,
    Transform,
    outcomes,
)
from object_replay.faults import FunctionFailed, ReplayStopped
from object_replay.settings import ResultFraming


def batch_of(values: Sequence[Any], first: int = 1) -> Batch:
    return Batch(
        list(range(first, first + len(values))),
        [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values],
    )


def activity(code: Any) -> LambdaActivity:
    return LambdaActivity(lambda payload: json.dumps(code(json.loads(payload))).encode())


def firehose(
    invoke: Invoke,
    framing: ResultFraming = ResultFraming.LINES,
    source: str = "s3://raw-bucket/raw/2025/01/01/00/x",
) -> FirehoseTransformation:
    return FirehoseTransformation(
        invoke,
        stream_arn="arn:aws:firehose:eu-west-1:111122223333:deliverystream/telemetry",
        region="eu-west-1",
        arrived=datetime(2025, 1, 1, tzinfo=UTC),
        source=source,
        framing=framing,
    )


def records_of(payload: bytes) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(payload)["records"]
    return records


def answer(records: Sequence[Any]) -> bytes:
    return json.dumps({"records": records}).encode()


def returning_all(
    code: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda records: records,
) -> Invoke:
    """A function of Firehose's contract that returns these of the records, with the data that it was given."""
    return lambda payload: answer([{**record, "result": "Ok"} for record in code(records_of(payload))])


def answering(
    *results: dict[str, Any], framing: ResultFraming = ResultFraming.LINES
) -> FirehoseTransformation:
    """Firehose's contract with a function that gives these results, in the order of the records."""

    def invoke(payload: bytes) -> bytes:
        return answer(
            [
                {"recordId": record["recordId"]} | result
                for record, result in zip(records_of(payload), results, strict=True)
            ]
        )

    return firehose(invoke, framing)


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


def test_the_lambda_activity_keeps_digits_escapes_and_repeated_names() -> None:
    text = rb'{"n":12345678901234567890.123,"d":1.10,"e":1E5,"s":"\u00fc\/","k":1,"k":2}'
    payloads: list[bytes] = []

    def invoke(payload: bytes) -> bytes:
        payloads.append(payload)
        return payload

    [found] = outcomes(LambdaActivity(invoke), batch_of([text, text]))

    assert payloads == [b"[" + text + b"," + text + b"]"]
    assert found.data == text + b"\n" + text + b"\n"


def test_a_number_beyond_pythons_range_stays_as_it_is() -> None:
    [found] = outcomes(LambdaActivity(lambda payload: payload), batch_of([b'{"r": 1e999}']))

    assert (found.data, found.count, found.failures) == (b'{"r": 1e999}\n', 1, [])


def test_the_lambda_activity_is_not_given_what_is_no_json_object() -> None:
    seen = []

    def code(messages: Any) -> Any:
        seen.append(messages)
        return messages

    messages = [
        b'{"a": 1}',
        b"nonsense",
        b"[{}]",
        b'{"t": NaN}',
        b'{"t": "\xff"}',
        b'{"t":' * 100_000,
        b'\xef\xbb\xbf{"b": 2}',
        b'{"a": 1}{"a": 2}',
    ]
    [found] = outcomes(activity(code), batch_of(messages))

    assert seen == [[{"a": 1}, {"b": 2}]]
    assert total([found])[0] == [{"a": 1}, {"b": 2}]
    assert found.messages == 8
    assert found.dropped == 0
    reasons = [
        (2, "is not a JSON object: Expecting value"),
        (3, "is not a JSON object: it is a list"),
        (4, "is not a JSON object: NaN is not JSON"),
        (5, "is not UTF-8"),
        (6, "is not a JSON object: maximum recursion depth exceeded"),
        (8, "is not a JSON object: Extra data"),
    ]
    for failure, (number, reason) in zip(found.failures, reasons, strict=True):
        assert failure.number == number
        assert failure.reason.startswith(reason)
        assert failure.message == messages[number - 1]


def test_a_batch_without_json_objects_calls_no_lambda_activity() -> None:
    [found] = outcomes(LambdaActivity(lambda _: pytest.fail("it is called")), batch_of([b"x", b"y"]))

    assert [failure.number for failure in found.failures] == [1, 2]
    assert (found.messages, found.dropped, found.data) == (2, 0, b"")


def test_firehose_records_are_as_firehose_makes_them() -> None:
    events = []

    def invoke(payload: bytes) -> bytes:
        events.append(json.loads(payload))
        return answer([{"recordId": r["recordId"], "result": "Dropped"} for r in events[-1]["records"]])

    for _ in range(2):
        firehose(invoke)(batch_of([b'{"a":NaN}', b"\xff\n\x00"], first=7))

    [event, again] = events
    assert event == again
    assert event.keys() == {"invocationId", "deliveryStreamArn", "region", "records"}
    assert event["deliveryStreamArn"] == "arn:aws:firehose:eu-west-1:111122223333:deliverystream/telemetry"
    assert event["region"] == "eu-west-1"
    assert [base64.b64decode(record["data"]) for record in event["records"]] == [b'{"a":NaN}', b"\xff\n\x00"]
    assert [record["approximateArrivalTimestamp"] for record in event["records"]] == [1735689600000] * 2
    assert [len(record["recordId"]) for record in event["records"]] == [56, 56]


def test_ids_are_unique_across_objects_and_batches() -> None:
    events = []

    def invoke(payload: bytes) -> bytes:
        events.append(json.loads(payload))
        return returning_all()(payload)

    for source in ("s3://raw-bucket/a", "s3://raw-bucket/b"):
        for first in (1, 3):
            firehose(invoke, source=source)(batch_of([{}, {}], first=first))

    ids = [record["recordId"] for event in events for record in event["records"]]
    assert len(set(ids)) == 8
    assert all(each.isdecimal() and each.isascii() for each in ids)
    assert len({event["invocationId"] for event in events}) == 4


def test_a_record_arrived_when_the_archive_says() -> None:
    seen = []

    def invoke(payload: bytes) -> bytes:
        seen.append([record["approximateArrivalTimestamp"] for record in records_of(payload)])
        return returning_all()(payload)

    firehose(invoke)(Batch([1, 2], [b"a", b"b"], [10, 20]))

    assert seen == [[10, 20]]


def test_firehose_results_are_ok_dropped_or_failed() -> None:
    transform = answering(
        {"result": "Ok", "data": encoded(b'{"a": 1}\n')},
        {"result": "Dropped", "data": encoded(b"whatever")},
        {"result": "ProcessingFailed", "data": encoded(b"whatever")},
        {"result": "Ok", "data": encoded(b'{"b": 1}'), "metadata": {"partitionKeys": {}}},
        {"result": "ok", "data": encoded(b"{}")},
        {"result": "Ok", "data": "not base64"},
        {"result": "Ok", "data": encoded(b'{"c": 1}\n{"c": 2}\n')},
        {"result": "Ok"},
        {},
        {"result": "Ok", "data": ""},
        {"result": "Ok", "data": 1},
        {"result": "Ok", "data": "AAAA=AAA"},
    )

    [found] = outcomes(transform, batch_of([{}] * 12))

    assert found.data == b'{"a": 1}\n{"b": 1}\n{"c": 1}\n{"c": 2}\n'
    assert (found.count, found.dropped, found.messages) == (3, 1, 12)
    without_data = "the function returned Ok without data; to leave a record out it must return Dropped"
    assert [(failure.number, failure.reason.partition(":")[0]) for failure in found.failures] == [
        (3, "the function returned ProcessingFailed"),
        (5, "the function must return Ok, Dropped or ProcessingFailed, got 'ok'"),
        (6, "the function returned data that is not base64"),
        (8, without_data),
        (9, "the function must return Ok, Dropped or ProcessingFailed, got None"),
        (10, without_data),
        (11, "the function returned data that is not base64"),
        (12, "the function returned data that is not base64"),
    ]


def test_firehose_results_may_come_in_any_order() -> None:
    invoke = returning_all(lambda records: records[::-1])

    found = list(outcomes(firehose(invoke), batch_of([{"n": 1}, {"n": 2}, {"n": 3}])))

    assert total(found)[0] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_partition_keys_stop_the_run() -> None:
    transform = answering(
        {"result": "Ok", "data": encoded(b"{}"), "metadata": {"partitionKeys": {"year": "2026"}}}
    )

    with pytest.raises(ReplayStopped, match=r"returned metadata\.partitionKeys \(dynamic partitioning\)"):
        list(outcomes(transform, batch_of([{}])))


@pytest.mark.parametrize("metadata", [None, {}, {"partitionKeys": None}, {"otherKeys": {"a": 1}}, "x"])
def test_other_metadata_stop_nothing(metadata: Any) -> None:
    transform = answering({"result": "Ok", "data": encoded(b"{}"), "metadata": metadata})

    assert total(list(outcomes(transform, batch_of([{}])))) == ([{}], 0, [])


@pytest.mark.parametrize(
    ("results", "data"),
    [
        ([b"a", b"b\n", b"c"], b"a\nb\nc\n"),
        ([b"a,1", b"b,2"], b"a,1\nb,2\n"),
        ([b"a\r\n", b"b\nc"], b"a\r\nb\nc\n"),
        (["ü".encode("latin-1"), "ü\t\x1b".encode()], b"\xfc\n\xc3\xbc\t\x1b\n"),
        ([b"\x0a\x03abc\x12\x02", b"\x08\x01"], b"\x0a\x03abc\x12\x02\x08\x01"),
        ([b"text", b"\x00\x01", b"text\n"], b"text\n\x00\x01text\n"),
        ([b"\x1f\x8b\x08\x00\n", b"text"], b"\x1f\x8b\x08\x00\ntext\n"),
    ],
)
def test_a_newline_follows_only_text_that_lacks_one(results: list[bytes], data: bytes) -> None:
    transform = answering(*[{"result": "Ok", "data": encoded(result)} for result in results])

    assert transform(batch_of([{}] * len(results))).data == data


def test_results_as_bytes_follow_each_other_as_they_are() -> None:
    results = [{"result": "Ok", "data": encoded(data)} for data in (b"a", b"b\n", b"\x00")]

    found = answering(*results, framing=ResultFraming.BYTES)(batch_of([{}] * 3))

    assert (found.data, found.count) == (b"ab\n\x00", 3)


def test_dropping_everything_leaves_no_bytes() -> None:
    found = answering({"result": "Dropped"}, {"result": "Dropped"})(batch_of([{}] * 2))

    assert found == Outcome(dropped=2, messages=2, failures=[])


def test_a_record_that_is_returned_twice_fails_alone() -> None:
    calls: list[int] = []

    def twice(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls.append(len(records))
        return [*records, records[0]]

    found = list(outcomes(firehose(returning_all(twice)), batch_of([{"n": 1}, {"n": 2}])))

    assert total(found) == ([{"n": 2}], 0, [(1, "the function returned this record twice")])
    assert calls == [2]


def test_records_that_the_function_was_not_given_are_ignored() -> None:
    def more(payload: bytes) -> bytes:
        given_ = [{**record, "result": "Ok"} for record in records_of(payload)]
        return answer([{"recordId": "other", "result": "Ok", "data": ""}, *given_, "x", None])

    assert total(list(outcomes(firehose(more), batch_of([{"n": 1}])))) == ([{"n": 1}], 0, [])


def test_a_record_that_is_never_returned_fails_alone() -> None:
    calls: list[int] = []

    def without_poison(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls.append(len(records))
        return [record for record in records if record["data"] != encoded(b'{"n": 3}')]

    batch = batch_of([{"n": n} for n in range(8)])
    found = list(outcomes(firehose(returning_all(without_poison)), batch))

    assert total(found) == (
        [{"n": n} for n in range(8) if n != 3],
        0,
        [(4, "the function did not return this record")],
    )
    assert calls == [8, 1]


def test_records_that_are_left_out_for_their_size_are_asked_for_again() -> None:
    calls: list[int] = []

    def at_most_three(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls.append(len(records))
        return records[:3]

    found = list(outcomes(firehose(returning_all(at_most_three)), batch_of([{"n": n} for n in range(8)])))

    assert total(found) == ([{"n": n} for n in range(8)], 0, [])
    assert calls == [8, 5, 2]


@given(count=st.integers(1, 24), lost=st.sets(st.integers(0, 23), max_size=2), most=st.integers(1, 6))
def test_each_record_that_is_returned_at_all_has_its_result(count: int, lost: set[int], most: int) -> None:
    poison = {encoded(json.dumps({"n": n}).encode()) for n in lost}

    def code(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [record for record in records[-most:] if record["data"] not in poison]

    found = list(outcomes(firehose(returning_all(code)), batch_of([{"n": n} for n in range(count)])))

    results, _, failures = total(found)
    assert results == [{"n": n} for n in range(count) if n not in lost]
    assert failures == [(n + 1, "the function did not return this record") for n in range(count) if n in lost]


def test_a_function_that_returns_no_record_is_not_asked_for_each() -> None:
    calls: list[int] = []

    def nothing(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls.append(len(records))
        return []

    search = Search()
    for _ in range(20):
        found = list(outcomes(firehose(returning_all(nothing)), batch_of([{}] * 500), search))
        assert total(found)[2] == [(n + 1, "the function did not return this record") for n in range(500)]

    assert len(calls) < MAX_SEARCH + 20 * 3


def test_a_firehose_answer_that_is_no_json_costs_its_message() -> None:
    def invoke(payload: bytes) -> bytes:
        records = [{**record, "result": "Ok"} for record in records_of(payload)]
        if any(record["data"] == encoded(b"2") for record in records):
            records[0]["price"] = float("nan")
        return answer(records)

    found = list(outcomes(firehose(invoke), batch_of([1, 2, 3])))

    assert total(found) == ([1, 3], 0, [(2, "the function must return JSON: NaN is not JSON")])


@pytest.mark.parametrize("payload", [b"[]", b"null", b'{"records": 1}', b'"records"', b"{}"])
def test_a_firehose_answer_without_records_fails_its_batch(payload: bytes) -> None:
    found = list(outcomes(firehose(lambda _: payload), batch_of([{}])))

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


def test_a_function_that_fails_on_everything_is_asked_once_or_twice_per_batch() -> None:
    calls: list[int] = []

    def broken(batch: Batch) -> Outcome:
        calls.append(len(batch))
        raise FunctionFailed("ImportError: no module named x")

    search = Search()
    list(outcomes(broken, batch_of([{}] * 100), search))
    assert search.in_vain >= HOPELESS
    calls.clear()

    found = list(outcomes(broken, batch_of([{}] * 100), search))

    assert calls == [1, 99]
    assert [number for number, _ in total(found)[2]] == list(range(1, 101))


def test_a_function_that_has_recovered_is_searched_again() -> None:
    search = Search(in_vain=HOPELESS)

    def code(messages: Any) -> Any:
        if {"n": 5} in messages:
            raise FunctionFailed("ValueError: poison")
        return messages

    found = list(outcomes(activity(code), batch_of([{"n": n} for n in range(8)]), search))

    assert total(found) == ([{"n": n} for n in range(8) if n != 5], 0, [(6, "ValueError: poison")])
    assert not search.is_hopeless


def test_a_hopeless_function_is_called_with_one_message_as_it_is() -> None:
    found = list(outcomes(activity(lambda messages: messages), batch_of([{}]), Search(in_vain=HOPELESS)))

    assert total(found) == ([{}], 0, [])


def test_outcomes_come_in_the_order_of_the_messages() -> None:
    def code(messages: Any) -> Any:
        if len(messages) > 1:
            raise FunctionFailed("Function.ResponseSizeTooLarge")
        return messages

    found = list(outcomes(activity(code), batch_of([{"n": n} for n in range(9)])))

    assert total(found)[0] == [{"n": n} for n in range(9)]
    assert [outcome.messages for outcome in found] == [1] * 9


def test_the_search_for_many_poisonous_messages_ends() -> None:
    calls = 0

    def code(messages: Any) -> Any:
        nonlocal calls
        calls += 1
        if any(message["n"] % 3 == 0 for message in messages):
            raise FunctionFailed("ValueError: poison")
        return messages

    found = list(outcomes(activity(code), batch_of([{"n": n} for n in range(1000)])))

    results, _, failures = total(found)
    assert len(results) + len(failures) == 1000
    assert results
    assert MAX_SEARCH < calls <= 2 * MAX_SEARCH


def test_an_answer_that_is_nested_too_deeply_is_a_failure_of_the_function() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000

    with pytest.raises(FunctionFailed, match="must return JSON"):
        LambdaActivity(lambda _: deep)(Batch([1], [b"{}"]))


def test_a_flawed_answer_to_a_second_question_costs_only_what_was_asked_for_again() -> None:
    def invoke(payload: bytes) -> bytes:
        records = json.loads(payload)["records"]
        if len(records) == 1:
            return b"null"
        return json.dumps({"records": [{**each, "result": "Ok"} for each in records[1:]]}).encode()

    outcome = firehose(invoke)(Batch([1, 2, 3], [b"a", b"b", b"c"]))

    assert (outcome.count, outcome.data) == (2, b"b\nc\n")
    [failure] = outcome.failures
    assert (failure.number, failure.message) == (1, b"a")
    assert failure.reason.startswith("the function must return an object with a list of 'records', got null")
