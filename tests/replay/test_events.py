"""A run that calls a function for objects as S3 does: which outcome each object has, and how often it is called."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from urllib.parse import unquote_plus

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from fake_s3 import DESTINATION, SOURCE, FakeS3, Stored
from played_pipeline import FUNCTION, FakeLambda, Pipeline

from object_replay.faults import ResultUnknown, Throttled

BEFORE = datetime(2026, 1, 15, tzinfo=UTC)
"""When objects were written: before the run began."""
DURING = datetime(2026, 2, 1, 0, 0, 5, tzinfo=UTC)
COUNTS = (
    "objects",
    "objectsDone",
    "objectsFailed",
    "objectsGone",
    "objectsChanged",
    "objectsSkipped",
    "objectsNotReplayed",
)


def put(pipeline: Pipeline, *keys: str, body: bytes = b"12345", **more: Any) -> None:
    for key in keys:
        pipeline.s3.buckets[SOURCE][key] = Stored(body, {}, **{"modified": BEFORE, **more})


def keys_in(event: Any) -> list[str]:
    found = []
    for record in event["Records"]:
        inner = json.loads(record["body"])["Records"][0] if "body" in record else record
        found.append(unquote_plus(inner["s3"]["object"]["key"]))
    return found


def called(function: FakeLambda) -> list[str]:
    return [key for event in function.events for key in keys_in(event)]


def counts(summary: dict[str, Any]) -> dict[str, int]:
    return {name: summary[name] for name in COUNTS if summary[name]}


def listed(pipeline: Pipeline, name: str) -> list[dict[str, str]]:
    body = pipeline.s3.buckets[DESTINATION][f"runs/out/{pipeline.name}/{name}.jsonl"].body
    return [json.loads(line) for line in body.splitlines()]


def fails_on(*bad: str) -> Callable[[Any], None]:
    def code(event: Any) -> None:
        if set(keys_in(event)) & set(bad):
            raise ValueError("bad row")

    return code


def by_queue(pipeline: Pipeline, size: int) -> None:
    pipeline.settings["Function"]["Notification"] = {
        "Form": "SQS",
        "Arn": "arn:aws:sqs:::q",
        "BatchSize": size,
    }


def test_the_function_is_called_once_for_each_object(uploads: Pipeline) -> None:
    put(uploads, "a.csv", "b.csv")

    summary = uploads.replay()

    assert (summary["status"], counts(summary)) == ("SUCCEEDED", {"objects": 2, "objectsDone": 2})
    assert called(uploads.function) == ["a.csv", "b.csv"]
    assert uploads.function.contexts == [{"custom": {"replay": "run-1"}}] * 2
    assert "messagesIn" not in summary
    assert summary["errors"] == f"s3://{DESTINATION}/runs/out/run-1/errors.jsonl"
    assert listed(uploads, "errors") == []


def test_markers_of_folders_are_skipped_and_empty_files_are_not(uploads: Pipeline) -> None:
    put(uploads, "dir/", "dir/empty.csv", body=b"")
    put(uploads, "dir/odd/", body=b"123")

    summary = uploads.replay()

    assert called(uploads.function) == ["dir/empty.csv", "dir/odd/"]
    assert counts(summary) == {"objects": 2, "objectsDone": 2, "objectsSkipped": 1}


@pytest.mark.parametrize("named", [False, True])
def test_archived_objects_are_skipped_and_restored_ones_are_not(uploads: Pipeline, named: bool) -> None:
    put(uploads, "cold", storage_class="GLACIER")
    put(
        uploads,
        "restored",
        storage_class="DEEP_ARCHIVE",
        restore='ongoing-request="false", expiry-date="..."',
    )
    put(uploads, "instant", storage_class="GLACIER_IR")

    summary = uploads.replay(**({"S3Paths": ["cold", "instant", "restored"]} if named else {"All": True}))

    assert called(uploads.function) == ["instant", "restored"]
    assert counts(summary) == {"objects": 2, "objectsDone": 2, "objectsSkipped": 1}


def test_an_object_in_an_archive_tier_is_skipped_when_that_shows(uploads: Pipeline) -> None:
    put(uploads, "tiered", storage_class="INTELLIGENT_TIERING", archive_status="ARCHIVE_ACCESS")

    assert counts(uploads.replay()) == {"objects": 1, "objectsSkipped": 1}
    assert uploads.function.events == []


def test_only_objects_with_prefix_and_suffix_are_selected_and_no_others_counted(uploads: Pipeline) -> None:
    uploads.settings["Source"] |= {"Root": "in/", "Suffix": ".csv"}
    put(uploads, "in/a.csv", "in/a.txt", "out/a.csv")

    assert counts(uploads.replay()) == {"objects": 1, "objectsDone": 1}


def test_nothing_that_a_run_writes_is_selected(uploads: Pipeline) -> None:
    uploads.settings["Destination"]["Bucket"] = SOURCE
    put(uploads, "a.csv", "runs/out/run-0/summary.json")

    uploads.replay()

    assert called(uploads.function) == ["a.csv"]


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_objects_with_another_suffix_are_selected_beside_what_runs_write(
    uploads: Pipeline, folder: str
) -> None:
    uploads.settings["Source"] |= {"Root": folder, "Suffix": ".jpg"}
    uploads.settings["Destination"] = {"Bucket": SOURCE, "RunsPrefix": "photos/"}
    put(uploads, "photos/a.jpg", "photos/run-0/summary.json")

    assert uploads.plan()["Run"]["Plan"]["Objects"] == 1


def test_only_objects_of_the_selected_time_are_skipped(uploads: Pipeline) -> None:
    put(uploads, "dir/", body=b"")
    put(uploads, "cold", storage_class="GLACIER")
    put(uploads, "a", modified=BEFORE + timedelta(days=1))

    summary = uploads.replay(StartTime=(BEFORE + timedelta(hours=1)).isoformat())

    assert counts(summary) == {"objects": 1, "objectsDone": 1}


def test_the_first_failure_ends_the_run_with_its_key_and_reason(uploads: Pipeline) -> None:
    put(uploads, *(f"n/{number:04}.csv" for number in range(1, 1201)))
    uploads.function.code = fails_on("n/0777.csv")

    failure = uploads.replay()

    assert failure["Error"] == "ReplayFailed"
    assert re.fullmatch(
        rf"1 of 1,200 objects failed, 423 objects were not replayed, tolerated are 0%, see s3://{DESTINATION}/runs/out/"
        r"run-1/remaining\.jsonl; first: n/0777\.csv: ValueError: bad row",
        failure["Cause"],
    )
    assert listed(uploads, "errors") == [{"key": "n/0777.csv", "reason": "ValueError: bad row"}]
    remaining = listed(uploads, "remaining")
    assert [line["key"] for line in remaining] == [f"n/{number:04}.csv" for number in range(777, 1201)]
    assert remaining[0]["reason"] == "ValueError: bad row"
    assert remaining[-1]["reason"] == "was not replayed: the run ended before"


def test_a_run_that_ends_for_another_reason_than_failures_tells_that_and_what_remains(
    uploads: Pipeline,
) -> None:
    uploads.settings |= {"Workers": 2, "ToleratedFailurePercentage": 50}
    put(uploads, "a", "b")
    uploads.function.code = fails_on("a")
    planned = uploads.plan()
    uploads._step("REPLAY", planned["Run"], Batch=uploads.manifest()[0])

    error = {"Error": "States.ItemReaderFailed", "Cause": "no manifest"}
    failure = uploads.finish(planned, {**planned, "Error": error})

    assert failure["Cause"] == (
        "1 of 2 objects failed, 1 objects were not replayed, tolerated are 50%, see "
        f"s3://{DESTINATION}/runs/out/run-1/remaining.jsonl; States.ItemReaderFailed: no manifest"
    )
    assert [each["key"] for each in listed(uploads, "remaining")] == ["a", "b"]


def test_a_run_that_ends_before_the_first_call_tells_what_remains(uploads: Pipeline) -> None:
    put(uploads, "a")
    planned = uploads.plan()

    failure = uploads.finish(planned, {**planned, "Error": {"Error": "States.ItemReaderFailed", "Cause": ""}})

    assert f"see s3://{DESTINATION}/runs/out/run-1/remaining.jsonl; States.Item" in failure["Cause"]


def test_what_failed_within_the_tolerance_is_listed_and_can_be_selected(uploads: Pipeline) -> None:
    uploads.settings["ToleratedFailurePercentage"] = 1
    put(uploads, *(f"n/{number:04}.csv" for number in range(1, 1201)))
    uploads.function.code = fails_on("n/0777.csv")

    summary = uploads.replay()

    assert counts(summary) == {"objects": 1200, "objectsDone": 1199, "objectsFailed": 1}
    assert summary["remaining"] == summary["errors"]
    uploads.function.events.clear()
    uploads.function.code = fails_on()
    again = replace(uploads, name="run-2")
    assert counts(again.replay(KeysFrom=summary["errors"])) == {"objects": 1, "objectsDone": 1}
    assert called(uploads.function) == ["n/0777.csv"]


@pytest.mark.parametrize(("retries", "failures", "calls"), [(0, 1, 1), (2, 2, 3), (2, 3, 3), (10, 11, 11)])
def test_an_object_on_which_the_function_fails_is_tried_again(
    uploads: Pipeline, retries: int, failures: int, calls: int
) -> None:
    uploads.settings["Function"]["Retries"] = retries
    put(uploads, "a")

    def code(_: Any) -> None:
        if len(uploads.function.events) <= failures:
            raise ValueError("bad row")

    uploads.function.code = code

    succeeded = uploads.replay().get("status") == "SUCCEEDED"

    assert succeeded is (failures <= retries)
    assert len(uploads.function.events) == calls


def test_an_object_that_the_function_has_removed_is_gone_although_the_call_failed(uploads: Pipeline) -> None:
    uploads.settings["Function"]["Retries"] = 2
    put(uploads, *(f"in/{name}" for name in "abcdx"))

    def moves(event: Any) -> None:
        for key in keys_in(event):
            uploads.s3.buckets[SOURCE][key.replace("in/", "done/")] = uploads.s3.buckets[SOURCE].pop(key)
            if key.endswith("x"):
                raise TimeoutError("Task timed out after 2.00 seconds")

    uploads.settings["Source"]["Root"] = "in/"
    uploads.function.code = moves

    assert counts(uploads.replay()) == {"objects": 5, "objectsDone": 4, "objectsGone": 1}
    assert called(uploads.function) == [f"in/{name}" for name in "abcdx"]


@pytest.mark.parametrize("denies", [False, True])
def test_an_object_that_is_deleted_before_its_call_is_gone(uploads: Pipeline, denies: bool) -> None:
    put(uploads, "a", "b")
    if denies:  # as S3 does for what is missing, to those who may list only a part of the bucket
        uploads.s3.denied.add(("HeadObject", "^b$"))
    uploads.function.code = lambda _: uploads.s3.buckets[SOURCE].pop("b", None) and None

    assert counts(uploads.replay()) == {"objects": 2, "objectsDone": 1, "objectsGone": 1}


def test_an_object_that_may_not_be_looked_at_has_failed(uploads: Pipeline) -> None:
    put(uploads, "a")
    uploads.s3.denied.add(("HeadObject", "^a$"))

    assert "a: cannot be looked at: 403" in uploads.replay()["Cause"]


@pytest.mark.parametrize("named", [False, True])
def test_an_object_of_which_s3_says_nothing_is_no_reason_to_keep_the_others(
    uploads: Pipeline, named: bool
) -> None:
    uploads.settings["ToleratedFailurePercentage"] = 50
    put(uploads, "a", "b")
    for _ in range(2 if named else 1):  # it is encrypted with a key that only its owner has
        uploads.s3.fail("HeadObject", "400", 400, "^a$")

    summary = uploads.replay(**({"S3Paths": ["a", "b"]} if named else {"All": True}))

    assert counts(summary) == {"objects": 2, "objectsDone": 1, "objectsFailed": 1}
    assert listed(uploads, "errors") == [
        {"key": "a", "reason": "cannot be looked at: 400: 400 in HeadObject"}
    ]


def test_an_object_that_was_written_since_the_run_began_is_left_to_s3(uploads: Pipeline) -> None:
    put(uploads, "a", "b")
    uploads.function.code = lambda _: put(uploads, "b", modified=DURING)  # the same bytes, and the same ETag

    assert counts(uploads.replay()) == {"objects": 2, "objectsDone": 1, "objectsChanged": 1}
    assert called(uploads.function) == ["a"]


@pytest.mark.parametrize(
    "change", [{"version": "v2"}, {"modified": BEFORE + timedelta(seconds=1)}, {"body": b"54321"}]
)
def test_an_object_that_was_written_between_two_tries_has_changed(
    uploads: Pipeline, change: dict[str, Any]
) -> None:
    uploads.settings["Function"]["Retries"] = 2
    put(uploads, "a", version="v1")

    def code(_: Any) -> None:
        put(uploads, "a", **{"version": "v1", **change})
        raise ValueError("the old one")

    uploads.function.code = code

    assert counts(uploads.replay()) == {"objects": 1, "objectsChanged": 1}
    assert len(uploads.function.events) == 1


def test_a_call_of_which_the_result_is_not_known_is_not_repeated(uploads: Pipeline) -> None:
    uploads.settings["Function"]["Retries"] = 2
    put(uploads, "a")
    uploads.function.faults.append(ConnectionClosedError(endpoint_url="https://lambda"))

    failure = uploads.replay()

    assert "a: it is not known whether your function ran: cannot invoke" in failure["Cause"]
    assert uploads.function.events == []
    assert len(uploads.function.faults) == 0


def throttled(reason: str = "CallerRateLimitExceeded") -> ClientError:
    response: Any = {
        "Error": {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."},
        "ResponseMetadata": {"HTTPStatusCode": 429},
        "Reason": reason,
    }
    return ClientError(response, "Invoke")


@pytest.mark.parametrize("error", [throttled(), EndpointConnectionError(endpoint_url="https://lambda")])
def test_a_call_that_cannot_have_run_is_sent_again_and_counts_as_no_try(
    uploads: Pipeline, error: Exception
) -> None:
    put(uploads, "a")
    uploads.function.faults += [error] * 4

    assert counts(uploads.replay()) == {"objects": 1, "objectsDone": 1}
    assert len(uploads.function.events) == 1


def test_a_function_whose_reserved_concurrency_takes_no_call_ends_the_run_soon(uploads: Pipeline) -> None:
    put(uploads, "a", "b")
    uploads.clock.moment = datetime.fromisoformat(uploads.started)
    uploads.function.faults += [throttled("ReservedFunctionConcurrentInvocationLimitExceeded")] * 1000

    failure = uploads.replay()

    assert f"cannot invoke {FUNCTION}: TooManyRequestsException" in failure["Cause"]
    assert (
        "your function has taken no call since the run was planned: its reserved concurrency is 0, or all of it is in use"
        in failure["Cause"]
    )
    assert 30 <= sum(uploads.clock.slept) < 60


def test_a_long_planning_does_not_hide_that_the_function_takes_no_call(uploads: Pipeline) -> None:
    put(uploads, "a")
    uploads.clock.moment = datetime.fromisoformat(uploads.started) + timedelta(minutes=10)
    uploads.function.faults += [throttled("ReservedFunctionConcurrentInvocationLimitExceeded")] * 1000

    assert "your function has taken no call since the run was planned" in uploads.replay()["Cause"]


def test_beside_other_workers_a_call_of_theirs_may_hold_the_reservation(uploads: Pipeline) -> None:
    uploads.settings["Workers"] = 2
    uploads.settings["Function"]["Timeout"] = 300
    put(uploads, "a", "b")
    uploads.clock.moment = datetime.fromisoformat(uploads.started)
    uploads.function.faults += [throttled("ReservedFunctionConcurrentInvocationLimitExceeded")] * 7

    assert counts(uploads.replay()) == {"objects": 2, "objectsDone": 2}
    assert 30 < sum(uploads.clock.slept) < 300


def test_a_function_that_has_run_before_is_waited_for(uploads: Pipeline) -> None:
    put(uploads, "a", "b")
    uploads.clock.moment = datetime.fromisoformat(uploads.started)

    def code(event: Any) -> None:
        if keys_in(event) == ["a"]:
            uploads.function.faults += [throttled("ReservedFunctionConcurrentInvocationLimitExceeded")] * 12

    uploads.function.code = code

    assert counts(uploads.replay()) == {"objects": 2, "objectsDone": 2}
    assert sum(uploads.clock.slept) > 60


def test_a_worker_begins_no_call_that_may_outlast_it(uploads: Pipeline) -> None:
    uploads.settings["Function"]["Timeout"] = 300
    uploads.function.seconds = 300
    put(uploads, *"abcde")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()

    left = []
    while item["Keys"]:
        uploads.context.left = 900.0  # a new worker
        item = uploads._step("REPLAY", run, Batch=item)
        left.append(item["Keys"])

    assert left == [["c", "d", "e"], ["e"], []]


def test_a_worker_that_was_throttled_for_a_moment_has_time_for_the_longest_call(uploads: Pipeline) -> None:
    uploads.settings["Function"]["Timeout"] = 900
    put(uploads, "a")
    uploads.function.faults.append(throttled())

    assert counts(uploads.replay()) == {"objects": 1, "objectsDone": 1}


def test_a_worker_that_is_throttled_to_its_end_is_repeated_later(uploads: Pipeline) -> None:
    put(uploads, "a", "b")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()
    uploads.function.faults += [throttled()] * 1000

    with pytest.raises(Throttled):
        uploads._step("REPLAY", run, Batch=item)

    assert uploads.context.left >= 60


def test_tries_are_counted_across_workers(uploads: Pipeline) -> None:
    uploads.settings["Function"] |= {"Timeout": 700, "Retries": 2}
    uploads.function.seconds = 700
    put(uploads, "a")
    uploads.function.code = fails_on("a")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()

    items = []
    for _ in range(2):
        uploads.context.left = 900.0
        item = uploads._step("REPLAY", run, Batch=item)
        items.append(item)
    uploads.context.left = 900.0
    with pytest.raises(Exception, match="more objects failed than are tolerated"):
        uploads._step("REPLAY", run, Batch=item)

    assert [each["Tried"] for each in items] == [{"a": 1}, {"a": 2}]
    assert len(uploads.function.events) == 3


def test_an_object_that_cannot_be_looked_at_after_its_last_try_has_failed(uploads: Pipeline) -> None:
    put(uploads, "a")

    def code(_: Any) -> None:
        for _ in range(1000):
            uploads.s3.fail("HeadObject", "SlowDown", 503, "^a$")
        raise ValueError("bad row")

    uploads.function.code = code

    assert uploads.replay()["Cause"].endswith("first: a: ValueError: bad row")
    assert called(uploads.function) == ["a"]


def test_a_worker_that_was_ended_says_that_nothing_is_known_of_what_it_has_not_noted(
    uploads: Pipeline,
) -> None:
    uploads.settings["ToleratedFailurePercentage"] = 100
    put(uploads, "a", "b")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()
    uploads._step("REPLAY", run, Batch={**item, "Keys": ["a"]})

    uploads._step("GIVE_UP", run, Batch=item, Error={"Error": "Lambda.Unknown", "Cause": "timed out"})
    summary = uploads.finish({"Run": run})

    assert counts(summary) == {"objects": 2, "objectsDone": 1, "objectsFailed": 1}
    assert listed(uploads, "errors") == [
        {
            "key": "b",
            "reason": "its worker failed: Lambda.Unknown: timed out; it is not known whether your function ran",
        }
    ]


def test_a_worker_that_cannot_note_its_calls_is_not_repeated(uploads: Pipeline) -> None:
    put(uploads, "a")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()
    for _ in range(1000):
        uploads.s3.fail("PutObject", "SlowDown", 503, "/results/")

    with pytest.raises(ResultUnknown, match=r"cannot write s3://result-bucket/.*: SlowDown"):
        uploads._step("REPLAY", run, Batch=item)

    assert called(uploads.function) == ["a"]


def test_a_message_that_the_function_reports_is_the_failure_of_its_object(uploads: Pipeline) -> None:
    uploads.settings["ToleratedFailurePercentage"] = 50
    by_queue(uploads, 5)
    put(uploads, *"1234567")

    def reports(event: Any) -> Any:
        ids = [record["messageId"] for record in event["Records"] if keys_in({"Records": [record]}) == ["2"]]
        return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}  # noqa: A001  # Lambda's name for it

    uploads.function.code = reports

    assert counts(uploads.replay()) == {"objects": 7, "objectsDone": 6, "objectsFailed": 1}
    assert [len(event["Records"]) for event in uploads.function.events] == [5, 2]
    assert listed(uploads, "errors")[0]["key"] == "2"


def test_a_batch_that_reports_what_was_not_in_it_is_called_one_by_one(uploads: Pipeline) -> None:
    by_queue(uploads, 5)
    put(uploads, *"1234567")

    def reports(event: Any) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "x"}] if len(event["Records"]) == 5 else []}

    uploads.function.code = reports

    assert counts(uploads.replay()) == {"objects": 7, "objectsDone": 7}
    assert [len(event["Records"]) for event in uploads.function.events] == [5, 1, 1, 1, 1, 1, 2]


def test_a_batch_that_fails_as_a_whole_is_called_one_by_one(uploads: Pipeline) -> None:
    by_queue(uploads, 5)
    put(uploads, *"1234567")

    def refuses(event: Any) -> None:
        if len(event["Records"]) > 1:
            raise ValueError("one at a time")

    uploads.function.code = refuses

    assert counts(uploads.replay()) == {"objects": 7, "objectsDone": 7}
    assert [len(event["Records"]) for event in uploads.function.events] == [5, 1, 1, 1, 1, 1, 2, 1, 1]


def test_a_batch_that_failed_is_not_called_again_by_another_worker(uploads: Pipeline) -> None:
    by_queue(uploads, 2)
    put(uploads, "a", "b")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()

    def refuses(event: Any) -> None:
        if len(event["Records"]) > 1:
            uploads.function.faults += [throttled()] * 1000
            raise ValueError("one at a time")

    uploads.function.code = refuses
    item = uploads._step("REPLAY", run, Batch=item)
    uploads.function.faults.clear()
    uploads.context.left = 900.0
    uploads._step("REPLAY", run, Batch=item)

    assert [keys_in(event) for event in uploads.function.events] == [["a", "b"], ["a"], ["b"]]


def test_a_message_that_was_reported_is_a_try_for_another_worker(uploads: Pipeline) -> None:
    by_queue(uploads, 3)
    uploads.settings["Function"] |= {"Timeout": 700, "Retries": 1}
    uploads.function.seconds = 700
    put(uploads, "a", "b", "c")
    run = uploads.plan()["Run"]
    [item] = uploads.manifest()

    def reports(event: Any) -> Any:
        ids = [each["messageId"] for each in event["Records"] if keys_in({"Records": [each]}) != ["c"]]
        return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}  # noqa: A001  # Lambda's name for it

    uploads.function.code = reports

    assert uploads._step("REPLAY", run, Batch=item)["Tried"] == {"a": 1, "b": 1}


def test_calls_at_once_begin_with_one_and_never_exceed_what_is_allowed(uploads: Pipeline) -> None:
    uploads.settings |= {"CallsPerWorker": 8}
    put(uploads, *(f"{number:03}" for number in range(100)))
    lock, now, at_once = Lock(), [0], list[int]()

    def code(_: Any) -> None:
        with lock:
            now[0] += 1
            at_once.append(now[0])
        for _ in range(2000):
            pass
        with lock:
            now[0] -= 1

    uploads.function.code = code

    assert counts(uploads.replay()) == {"objects": 100, "objectsDone": 100}
    assert at_once[0] == 1
    assert max(at_once) <= 8


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"MaxObjects": 2}, "3 objects with 15 bytes are selected, and 'max_objects' allows 2 objects"),
        ({"MaxBytes": 14}, "3 objects with 15 bytes are selected, and 'max_size' allows 14 bytes"),
    ],
)
def test_more_than_the_limits_allow_is_refused_before_the_first_call(
    uploads: Pipeline, limits: dict[str, int], told: str
) -> None:
    uploads.settings["Limits"] = limits
    put(uploads, "a", "b", "c")

    failure = uploads.replay()

    assert failure["Error"] == "ReplayTooLarge"
    assert failure["Cause"].startswith(told)
    assert failure["Cause"].endswith("in ReplayLimits")
    assert uploads.function.events == []
    assert uploads.s3.keys(DESTINATION) == []


def test_what_is_within_the_limits_is_replayed(uploads: Pipeline) -> None:
    uploads.settings["Limits"] = {"MaxObjects": 3, "MaxBytes": 15}
    put(uploads, "a", "b", "c")

    assert counts(uploads.replay()) == {"objects": 3, "objectsDone": 3}


def test_an_archive_pipeline_has_limits_too(pipeline: Pipeline) -> None:
    pipeline.settings["Limits"] = {"MaxObjects": 1}
    for number in range(2):
        pipeline.put(pipeline.channel_key(datetime(2025, 1, 1, tzinfo=UTC), number), {"n": number})

    assert pipeline.replay()["Error"] == "ReplayTooLarge"


@pytest.mark.parametrize(
    "content",
    [
        b'{"key": "a", "reason": "x"}\n{"key": "b"}\n',
        b'"a"\r\n"b"\r\n',
        b'{"key": "a"}\n\n  \n{"key": "b"}\n{"key": "a"}',
    ],
    ids=["objects", "texts with CRLF", "empty lines and duplicates"],
)
def test_a_file_names_the_objects(uploads: Pipeline, content: bytes) -> None:
    put(uploads, "a", "b", "c")
    uploads.s3.buckets[DESTINATION]["keys"] = Stored(content, {})

    assert counts(uploads.replay(KeysFrom=f"s3://{DESTINATION}/keys")) == {"objects": 2, "objectsDone": 2}
    assert called(uploads.function) == ["a", "b"]


@pytest.mark.parametrize(
    ("place", "content", "told"),
    [
        (
            "s3://BUCKET/keys",
            b"a,b",
            'line 1 of s3://BUCKET/keys must be {"key": "..."} or a key in quotes, got a,b',
        ),
        ("s3://BUCKET/keys", b'"a"\n{"Key": "b"}', 'line 2 of s3://BUCKET/keys must be {"key": "..."}'),
        ("s3://BUCKET/keys", b"[" * 100_000, 'line 1 of s3://BUCKET/keys must be {"key": "..."}'),
        ("s3://BUCKET/other", b"", "the file of keys s3://BUCKET/other cannot be read: NoSuchKey"),
        ("BUCKET/keys", b"", "'KeysFrom' must be s3://<bucket>/<key>, got \"BUCKET/keys\""),
        ("s3://BUCKET", b"", "'KeysFrom' must be s3://<bucket>/<key>, got \"s3://BUCKET\""),
    ],
)
def test_a_file_that_names_no_objects_ends_the_run_with_its_reason(
    uploads: Pipeline, place: str, content: bytes, told: str
) -> None:
    uploads.s3.buckets[DESTINATION]["keys"] = Stored(content, {})

    failure = uploads.replay(KeysFrom=place.replace("BUCKET", DESTINATION))

    assert failure["Error"] == "SelectionFailed"
    assert told.replace("BUCKET", DESTINATION) in failure["Cause"]


def test_an_object_that_is_named_must_have_the_suffix(uploads: Pipeline) -> None:
    uploads.settings["Source"] |= {"Suffix": ".csv"}
    put(uploads, "a.csv", "a.txt")

    failure = uploads.replay(S3Paths=["a.csv", "a.txt"])

    assert failure["Cause"] == "'a.txt' is not in the archive: its objects end with '.csv'"
    assert uploads.function.events == []


@pytest.mark.parametrize("file", [False, True])
def test_a_key_that_is_no_text_is_refused(uploads: Pipeline, file: bool) -> None:
    uploads.s3.buckets[DESTINATION]["keys"] = Stored(b'{"key": "a\\ud83d"}', {})

    failure = uploads.replay(
        **({"KeysFrom": f"s3://{DESTINATION}/keys"} if file else {"S3Paths": ["a\ud83d"]})
    )

    assert failure == {
        "Error": "SelectionFailed",
        "Cause": "'a?' is no key of an object: S3's keys are UTF-8",
    }


def test_an_object_that_is_named_and_not_there_is_gone(uploads: Pipeline) -> None:
    put(uploads, "a")

    assert counts(uploads.replay(S3Paths=["a", "b"])) == {"objects": 2, "objectsDone": 1, "objectsGone": 1}


def test_a_strict_reader_takes_every_form(uploads: Pipeline, s3: FakeS3, function: FakeLambda) -> None:
    """Only the keys of Lambda's published Go types for S3 events pass."""
    record = {
        "eventVersion", "eventSource", "awsRegion", "eventTime", "eventName", "userIdentity", "requestParameters",
        "responseElements", "s3",
    }  # fmt: skip
    put(uploads, "a", "b", "c", version="v1")

    def strict(event: Any) -> None:
        if "detail" in event:
            assert event.keys() == {
                "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"
            }  # fmt: skip
            assert "replay-name" not in event["detail"]
            return
        for each in event["Records"]:
            inner = json.loads(each["body"])["Records"][0] if "body" in each else each
            assert inner.keys() == record
            assert inner["s3"].keys() == {"s3SchemaVersion", "configurationId", "bucket", "object"}
            assert inner["s3"]["bucket"].keys() == {"name", "ownerIdentity", "arn"}
            assert inner["s3"]["object"].keys() == {"key", "size", "eTag", "versionId", "sequencer"}

    function.code = strict
    done = 0
    for form in ("S3", "EVENT_BRIDGE", "SQS"):
        uploads.settings["Function"]["Notification"] = {"Form": form, "Arn": "arn:aws:sqs:::q"}
        done += Pipeline(s3, function, uploads.settings, name=form).replay()["objectsDone"]

    assert done == 9
