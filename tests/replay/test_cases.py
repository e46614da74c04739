"""Objects and functions that a replay once got wrong, each in a whole run."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parent / "cases"
START = datetime(2026, 11, 20, tzinfo=UTC)


def case(name: str) -> bytes:
    return (CASES / name).read_bytes()


def put(firehose: Any, raw: bytes, number: int = 0) -> None:
    firehose.put(firehose.firehose_key(START + timedelta(hours=number), number, suffix=""), raw=raw)


def result(pipeline: Any) -> bytes:
    """What was published, unpacked."""
    bodies = [
        gzip.decompress(pipeline.s3.buckets["result-bucket"][key].body)
        for key in pipeline.s3.keys("result-bucket", "out/")
    ]
    return b"".join(bodies)


def handed_over(firehose: Any) -> list[bytes]:
    return [b64decode(record["data"]) for event in firehose.function.events for record in event["records"]]


def unchanged(event: Any) -> Any:
    return {"records": [{**record, "result": "Ok"} for record in event["records"]]}


@pytest.mark.parametrize(
    ("name", "framing", "messages"),
    [
        ("pretty-printed.json", "JSON", [{"device": f"d{n}", "t": n} for n in range(3)]),
        ("nan.json", "JSON", [b'{"t":NaN}']),
        ("records.csv", "LINES", [b"2026-11-20,dev1,21.5", b"2026-11-20,dev2,22.5"]),
        ("firehose.zip", "JSON", [{"a": 1}]),
    ],
)
def test_messages_are_handed_over_as_firehose_would(
    firehose: Any, name: str, framing: str, messages: list[Any]
) -> None:
    put(firehose, case(name))
    firehose.settings["Source"]["Framing"] = framing
    firehose.function.code = unchanged

    summary = firehose.replay(All=True)

    seen = handed_over(firehose)
    assert [each if isinstance(messages[0], bytes) else json.loads(each) for each in seen] == messages
    assert summary["messagesIn"] == summary["messagesOut"] == len(messages)
    assert result(firehose) == b"".join(each + b"\n" for each in seen)


@pytest.mark.parametrize("name", ["cwl-gzip-members", "gzip-members-newline"])
@pytest.mark.parametrize("zipped", [False, True])
def test_gzip_members_are_handed_over_unopened(firehose: Any, name: str, zipped: bool) -> None:
    put(firehose, gzip.compress(case(name)) if zipped else case(name))
    firehose.settings["Source"]["Framing"] = "GZIP_MEMBERS"
    firehose.function.code = unchanged

    summary = firehose.replay(All=True)

    seen = handed_over(firehose)
    assert summary["messagesIn"] == summary["messagesOut"] == len(seen) == 3
    assert b"".join(seen) == result(firehose) == case(name).replace(b"\0\n", b"\0")
    assert gzip.decompress(b"".join(seen)) == gzip.decompress(case(name).replace(b"\0\n", b"\0"))


def test_a_record_that_is_cut_costs_itself_in_an_object_without_separators(firehose: Any) -> None:
    put(firehose, case("concatenated-cut.json"))
    firehose.settings["ToleratedFailurePercentage"] = 1
    firehose.function.code = unchanged

    summary = firehose.replay(All=True)

    assert [json.loads(line)["i"] for line in result(firehose).splitlines()] == [
        n for n in range(1000) if n != 10
    ]
    assert summary["status"] == "SUCCEEDED"
    assert (summary["messagesIn"], summary["messagesOut"], summary["messagesFailed"]) == (1000, 999, 1)
    [error] = firehose.s3.lines("errors/")
    assert (error["number"], error["message"]) == (11, '{"i":10,"t":')
    assert error["reason"] == "is damaged: it does not end before the next message begins"


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_error_output_is_skipped_and_told_of(firehose: Any, packed: Any) -> None:
    put(firehose, packed(case("processing-failed.json")))
    put(firehose, b'{"a":2}', 1)
    firehose.function.code = unchanged

    summary = firehose.replay(All=True)

    assert result(firehose) == b'{"a":2}\n'
    assert (summary["status"], summary["messagesIn"], summary["messagesOut"]) == ("SUCCEEDED", 1, 1)
    assert summary["objectsFailed"] == 0
    [skipped] = firehose.s3.lines("errors/")
    assert skipped["reason"].startswith("was skipped: it is Firehose's error output")


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_error_output_is_replayed_from_its_raw_data(firehose: Any, packed: Any) -> None:
    put(firehose, packed(case("processing-failed.json")))
    firehose.settings["Source"]["ReplaysErrorOutput"] = True
    firehose.function.code = unchanged

    summary = firehose.replay(All=True)

    [event] = firehose.function.events
    assert handed_over(firehose) == [b'{"a":1}']
    assert [record["approximateArrivalTimestamp"] for record in event["records"]] == [1764000000000]
    assert result(firehose) == b'{"a":1}\n'
    assert (summary["messagesIn"], summary["messagesOut"]) == (1, 1)


def test_the_digits_of_a_lambda_activity_s_answer_stay(pipeline: Any) -> None:
    pipeline.put(pipeline.channel_key(START), {"a": 1})
    pipeline.function.code = lambda _: case("answer-decimals.json")

    pipeline.replay(All=True)

    assert result(pipeline) == b'{"price":0.12345678901234567890,"e":1.10,"exp":1E5}\n'


def test_ok_without_data_is_a_failure_of_each_record(firehose: Any) -> None:
    put(firehose, b'{"a":1}{"a":2}')
    firehose.settings["ToleratedFailurePercentage"] = 100
    firehose.function.code = lambda event: {
        "records": [{"recordId": r["recordId"], "result": "Ok"} for r in event["records"]]
    }

    summary = firehose.replay(All=True)

    assert (summary["messagesIn"], summary["messagesOut"], summary["messagesFailed"]) == (2, 0, 2)
    assert [error["number"] for error in firehose.s3.lines("errors/")] == [1, 2]


def test_a_record_that_is_left_out_fails_and_the_others_are_results(firehose: Any) -> None:
    put(firehose, b'{"a":1}{"a":2}{"a":3}')
    firehose.settings["ToleratedFailurePercentage"] = 100
    firehose.function.code = lambda event: unchanged({"records": event["records"][1:]})

    summary = firehose.replay(All=True)

    assert result(firehose) == b'{"a":2}\n{"a":3}\n'
    assert (summary["messagesOut"], summary["messagesFailed"]) == (2, 1)
    [error] = firehose.s3.lines("errors/")
    assert (error["number"], error["reason"]) == (1, "the function did not return this record")


def test_a_function_that_remembers_record_ids_keeps_objects_apart(firehose: Any) -> None:
    put(firehose, b'{"object":1}')
    put(firehose, b'{"object":2}', 1)
    seen: dict[str, str] = {}
    firehose.function.code = lambda event: {
        "records": [
            {"recordId": r["recordId"], "result": "Ok", "data": seen.setdefault(r["recordId"], r["data"])}
            for r in event["records"]
        ]
    }

    firehose.replay(All=True)

    assert result(firehose) == b'{"object":1}\n{"object":2}\n'


def test_binary_results_stay_as_the_function_returned_them(firehose: Any) -> None:
    put(firehose, b'{"a":1}{"a":2}')
    data = b"\x0a\x03abc\x12\x02\x0a\x0a"
    firehose.function.code = lambda event: {
        "records": [
            {"recordId": r["recordId"], "result": "Ok", "data": b64encode(data).decode()}
            for r in event["records"]
        ]
    }

    firehose.replay(All=True)

    assert result(firehose) == data * 2
