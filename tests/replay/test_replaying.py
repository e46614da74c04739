"""Objects in, one result each out: what a run writes, whatever goes wrong."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_s3 import fault

from object_replay.faults import ReplayStopped, Throttled

START = datetime(2025, 1, 1, tzinfo=UTC)
RESULT = "result-bucket"


def fill(pipeline: Any, *objects: list[Any]) -> list[str]:
    return [
        pipeline.put(pipeline.channel_key(START + timedelta(days=day)), *messages)
        for day, messages in enumerate(objects)
    ]


def snapshot(pipeline: Any) -> dict[str, bytes]:
    """Results and errors as read, without the notes of the runs."""
    return {
        key: gzip.decompress(stored.body)
        for key, stored in pipeline.s3.buckets[RESULT].items()
        if not key.startswith("runs/")
    }


def tolerating(pipeline: Any, percentage: float) -> Any:
    pipeline.settings["ToleratedFailurePercentage"] = percentage
    return pipeline


def test_each_object_becomes_one_result_in_the_partition_of_its_day(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}, {"t": 2}], [{"t": 3}])
    pipeline.function.code = lambda messages: [{**message, "new": True} for message in messages]

    summary = pipeline.replay(All=True)

    assert pipeline.s3.lines("out/dt=2025-01-01/") == [{"t": 1, "new": True}, {"t": 2, "new": True}]
    assert pipeline.s3.lines("out/dt=2025-01-02/") == [{"t": 3, "new": True}]
    assert len(pipeline.s3.keys(RESULT, "out/")) == 2
    assert pipeline.s3.keys(RESULT, "errors/") == []
    assert (summary["objects"], summary["messagesIn"], summary["messagesOut"]) == (2, 3, 3)


def test_firehose_archives_replay_through_firehose_s_contract(firehose: Any) -> None:
    firehose.put(firehose.firehose_key(START), {"t": 1}, {"t": -300}, {"t": 3})
    firehose.put(firehose.firehose_key(START + timedelta(hours=1), suffix=""), raw=b'{"t": 4}{"t": 5}')

    def code(event: Any) -> Any:
        assert event["deliveryStreamArn"].endswith(":111122223333:deliverystream/no-such-stream")
        assert event["records"][0]["approximateArrivalTimestamp"] in (1735689600000, 1735693200000)
        return {
            "records": [
                {**record, "result": "Dropped" if "LTMwM" in record["data"] else "Ok"}
                for record in event["records"]
            ]
        }

    firehose.function.code = code

    summary = firehose.replay(StartTime="2025-01-01T00:00:00Z", EndTime="2025-01-01T02:00:00Z")

    assert firehose.s3.lines("out/dt=2025-01-01/") == [{"t": 1}, {"t": 3}, {"t": 4}, {"t": 5}]
    assert (summary["messagesIn"], summary["messagesOut"], summary["messagesDropped"]) == (5, 4, 1)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_size_of_batches_does_not_change_the_result(pipeline: Any, size: int) -> None:
    fill(pipeline, [{"n": n} for n in range(25)])
    pipeline.settings["Function"]["BatchSize"] = size

    pipeline.replay(All=True)

    assert pipeline.s3.lines("out/") == [{"n": n} for n in range(25)]
    assert [len(event) for event in pipeline.function.events] == [size] * (25 // size) + [25 % size] * (
        25 % size > 0
    )


def test_replaying_twice_is_the_same_as_once(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    pipeline.put(pipeline.channel_key(START + timedelta(days=2)), raw=b'{"t": 3}\nnonsense\n')

    pipeline.replay(All=True)
    once = snapshot(pipeline)
    pipeline.name, pipeline.started = "run-2", "2026-02-02T00:00:00.000Z"
    pipeline.replay(All=True)

    assert snapshot(pipeline) == once
    assert len(once) == 4


def test_a_changed_function_replaces_the_results(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    pipeline.replay(All=True)

    pipeline.name, pipeline.started = "run-2", "2026-02-02T00:00:00.000Z"
    pipeline.function.code = lambda messages: []
    summary = pipeline.replay(All=True)

    assert pipeline.s3.lines("out/") == []
    assert len(pipeline.s3.keys(RESULT, "out/")) == 2
    assert summary["messagesDropped"] == 2


def test_the_summary_says_how_long_the_run_took(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    pipeline.clock.moment = datetime(2026, 2, 1, 0, 1, 30, 500_000, tzinfo=UTC)

    assert pipeline.replay(All=True)["durationSeconds"] == 90.5


def test_an_empty_selection_succeeds_and_says_so(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])

    summary = pipeline.replay(StartTime="2030-01-01T00:00:00Z")

    assert summary["objects"] == 0
    assert summary["messagesIn"] == 0
    assert pipeline.function.events == []


@pytest.mark.parametrize(
    "body", [b"", b"\n", gzip.compress(b"", mtime=0)], ids=["no bytes", "an empty line", "empty gzip"]
)
def test_an_object_without_messages_has_an_empty_result(pipeline: Any, body: bytes) -> None:
    pipeline.put(pipeline.channel_key(START), raw=body)

    summary = pipeline.replay(All=True)

    assert (summary["status"], summary["objects"], summary["messagesIn"]) == ("SUCCEEDED", 1, 0)
    assert len(pipeline.s3.keys(RESULT, "out/dt=2025-01-01/")) == 1
    assert pipeline.s3.lines("out/") == []
    assert pipeline.function.events == []


def test_a_bad_line_costs_that_line_and_is_written_down(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    key = pipeline.put(pipeline.channel_key(START), raw=b'{"t": 1}\nbro\xffken\n{"t": 2}\n')

    summary = pipeline.replay(All=True)

    assert pipeline.s3.lines("out/dt=2025-01-01/") == [{"t": 1}, {"t": 2}]
    [error] = pipeline.s3.lines("errors/out/dt=2025-01-01/")
    assert error == {"key": key, "number": 2, "reason": "is not UTF-8", "rawData": "YnJv/2tlbg=="}
    assert (summary["messagesIn"], summary["messagesOut"], summary["messagesFailed"]) == (3, 2, 1)
    assert summary["failures"] == [{"Key": key, "Number": 2, "Reason": "is not UTF-8"}]


def test_messages_on_which_the_function_fails_are_written_down(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    [key] = fill(pipeline, [{"t": 1}, {"t": "x"}, {"t": 3}])
    pipeline.function.code = lambda messages: [{"t": float(message["t"])} for message in messages]

    summary = pipeline.replay(All=True)

    assert pipeline.s3.lines("out/") == [{"t": 1.0}, {"t": 3.0}]
    assert pipeline.s3.lines("errors/") == [
        {
            "key": key,
            "number": 2,
            "reason": "ValueError: could not convert string to float: 'x'",
            "message": '{"t": "x"}',
        }
    ]
    assert summary["messagesFailed"] == 1


def test_errors_of_an_earlier_replay_are_gone_when_there_are_none_any_more(pipeline: Any) -> None:
    tolerating(pipeline, 100)
    fill(pipeline, [{"t": "x"}])
    pipeline.function.code = lambda messages: [{"t": float(message["t"])} for message in messages]
    pipeline.replay(All=True)
    assert len(pipeline.s3.keys(RESULT, "errors/")) == 1

    pipeline.name, pipeline.started = "run-2", "2026-02-02T00:00:00.000Z"
    pipeline.function.code = lambda messages: messages
    pipeline.replay(All=True)

    assert pipeline.s3.keys(RESULT, "errors/") == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda body: body[: len(body) // 2], "is not valid gzip: it ends early"),
        (lambda body: body[:20] + b"xx" + body[22:], "is not valid gzip: Error -3 while decompressing data"),
        (None, "cannot be read: NoSuchKey: NoSuchKey in GetObject"),
    ],
    ids=["truncated", "damaged", "missing"],
)
def test_a_bad_object_costs_that_object(
    pipeline: Any, damage: Callable[[bytes], bytes] | None, reason: str
) -> None:
    tolerating(pipeline, 40)
    keys = fill(pipeline, *[[{"t": n, "o": o} for n in range(3000)] for o in range(3)])
    archive = pipeline.s3.buckets["raw-bucket"]
    planned = pipeline.plan(All=True)
    if damage:
        archive[keys[1]].body = damage(archive[keys[1]].body)
    else:
        del archive[keys[1]]

    for item in pipeline.manifest():
        pipeline._child(planned["Run"], item)
    summary = pipeline.finish(planned)

    assert [key.split("/")[1] for key in pipeline.s3.keys(RESULT, "out/")] == [
        "dt=2025-01-01",
        "dt=2025-01-03",
    ]
    [error] = pipeline.s3.lines("errors/out/dt=2025-01-02/")
    assert error == {"key": keys[1], "reason": error["reason"]}
    assert error["reason"].startswith(reason)
    assert (summary["objects"], summary["objectsFailed"], summary["messagesIn"]) == (3, 1, 6000)


def test_an_object_that_may_not_be_read_costs_that_object(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    pipeline.s3.denied.add(("GetObject", "dt=2025-01-01"))

    summary = pipeline.replay(All=True)

    assert summary["objectsFailed"] == 1
    assert summary["failures"][0]["Reason"] == ("cannot be read: AccessDenied: AccessDenied in GetObject")


def test_a_failed_object_keeps_the_result_that_it_had(pipeline: Any) -> None:
    tolerating(pipeline, 100)
    [key] = fill(pipeline, [{"t": 1}])
    pipeline.replay(All=True)

    pipeline.s3.buckets["raw-bucket"][key].body = gzip.compress(b'{"t": 2}')[:-4]
    pipeline.replay(All=True)

    assert pipeline.s3.lines("out/") == [{"t": 1}]


def test_more_failures_than_are_tolerated_fail_the_run_with_the_numbers(pipeline: Any) -> None:
    tolerating(pipeline, 10)
    keys = fill(pipeline, [{"t": n} for n in range(8)])
    pipeline.function.code = lambda messages: [{"t": 10 // message["t"]} for message in messages]

    answer = pipeline.replay(All=True)

    assert answer == {
        "Error": "ReplayFailed",
        "Cause": (
            "0 of 1 objects and 1 of 8 messages failed, tolerated are 10%; first: "
            f"{keys[0]} message 1: ZeroDivisionError: integer division or modulo by zero"
        ),
    }
    assert pipeline.s3.lines("out/") == []


def test_failures_up_to_the_tolerated_share_are_tolerated(pipeline: Any) -> None:
    tolerating(pipeline, 12.5)
    fill(pipeline, [{"t": n} for n in range(8)])
    pipeline.function.code = lambda messages: [{"t": 10 // message["t"]} for message in messages]

    summary = pipeline.replay(All=True)

    assert summary["status"] == "SUCCEEDED"
    assert summary["messagesFailed"] == 1


def test_without_tolerance_the_first_failure_ends_the_run(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 3
    keys = fill(pipeline, *[[{"t": n}] for n in range(3)])
    pipeline.function.code = lambda messages: [{"t": 10 // message["t"]} for message in messages]

    answer = pipeline.replay(All=True)

    assert answer["Cause"] == (
        "0 of 3 objects and 1 of 1 messages failed, 2 objects were not replayed, tolerated are 0%; first: "
        f"{keys[0]} message 1: ZeroDivisionError: integer division or modulo by zero"
    )
    assert json.loads(pipeline.s3.buckets[RESULT]["runs/out/run-1/summary.json"].body)["status"] == "FAILED"


@pytest.mark.parametrize(
    ("code", "status", "cause"),
    [
        (
            "ResourceNotFoundException",
            404,
            "cannot invoke {arn}: ResourceNotFoundException: ResourceNotFoundException in Invoke",
        ),
        (
            "AccessDeniedException",
            403,
            "cannot invoke {arn}: AccessDeniedException: AccessDeniedException in Invoke",
        ),
    ],
)
def test_a_function_that_cannot_be_called_ends_the_run(
    pipeline: Any, code: str, status: int, cause: str
) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    pipeline.function.fail(code, status)

    answer = pipeline.replay(All=True)

    assert answer["Error"] == "ReplayFailed"
    assert cause.format(arn="arn:aws:lambda:eu-west-1:111122223333:function:enrich") in answer["Cause"]


def test_a_destination_that_may_not_be_written_ends_the_run(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    pipeline.s3.denied.add(("PutObject", "/staged/"))

    answer = pipeline.replay(All=True)

    staged = f"runs/out/run-1/staged/{pipeline.context.aws_request_id}/dt=2025-01-01/"
    assert f"cannot write s3://result-bucket/{staged}" in answer["Cause"]
    assert "AccessDenied: AccessDenied in PutObject" in answer["Cause"]


PASSING = [("TooManyRequestsException", 429), ("ServiceException", 500), ("EFSIOException", 410)]


@pytest.mark.parametrize(("code", "status"), [*PASSING, ("EFSMountTimeoutException", 408)])
def test_a_throttled_call_is_made_again_and_its_object_does_not_start_over(
    pipeline: Any, code: str, status: int
) -> None:
    pipeline.settings["Function"]["BatchSize"] = 1
    fill(pipeline, [{"t": 1}, {"t": 2}])
    pipeline.function.code = lambda messages: pipeline.function.fail(code, status) or messages

    summary = pipeline.replay(All=True)

    assert [event[0]["t"] for event in pipeline.function.events] == [1, 2]
    assert pipeline.s3.lines("out/") == [{"t": 1}, {"t": 2}]
    assert (summary["status"], len(pipeline.clock.slept)) == ("SUCCEEDED", 1)


def test_throttling_that_outlasts_the_worker_is_left_to_the_state_machine(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    for _ in range(1000):
        pipeline.function.fail("TooManyRequestsException", 429)

    with pytest.raises(Throttled, match=r"cannot invoke .*: TooManyRequestsException"):
        pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert 60 <= pipeline.context.left < 90
    pipeline.function.faults.clear()
    pipeline.context.left = 900
    assert pipeline._step("REPLAY", planned["Run"], Batch=item)["Keys"] == []
    assert pipeline.finish(planned)["messagesIn"] == 1


def test_an_object_that_throttling_made_too_slow_has_not_failed(pipeline: Any) -> None:
    pipeline.settings["Function"]["BatchSize"] = 1
    pipeline.function.seconds = 100
    fill(pipeline, [{"t": n} for n in range(6)])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    for _ in range(40):
        pipeline.function.fail("TooManyRequestsException", 429)

    with pytest.raises(Throttled, match="takes longer than a function may run"):
        pipeline._step("REPLAY", planned["Run"], Batch=item)


def test_an_object_that_is_too_large_has_failed_although_one_call_was_throttled(pipeline: Any) -> None:
    tolerating(pipeline, 100)
    pipeline.settings["Function"]["BatchSize"] = 1
    pipeline.function.seconds = 200
    fill(pipeline, [{"t": n} for n in range(6)])
    pipeline.function.fail("TooManyRequestsException", 429)

    summary = pipeline.replay(All=True)

    assert summary["failures"][0]["Reason"].startswith("takes longer than a function may run")


def test_a_failed_run_does_not_wait_for_the_throttling_of_other_objects(pipeline: Any) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 2}
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    first_is_throttled, second_fails = threading.Event(), threading.Event()

    def code(messages: Any) -> Any:
        assert first_is_throttled.wait(timeout=20)
        second_fails.set()
        raise ValueError("no")

    invoke = pipeline.function.invoke

    def throttled(*, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803  # boto3's names
        if b'"t": 1' in Payload:
            first_is_throttled.set()
            assert second_fails.wait(timeout=20)
            time.sleep(0.02)
            raise fault("Invoke", "TooManyRequestsException", 429)
        return invoke(FunctionName=FunctionName, Payload=Payload)

    pipeline.function.code, pipeline.function.invoke = code, throttled

    answer = pipeline.replay(All=True)

    assert "ValueError: no" in answer["Cause"]
    assert pipeline.context.left > 500


@pytest.mark.parametrize("operation", ["PutObject", "GetObject"])
def test_a_busy_s3_repeats_no_call_of_the_function(pipeline: Any, operation: str) -> None:
    """While the worker's note is written, and while it is read."""
    pipeline.settings["Workers"] = 1
    fill(pipeline, *[[{"t": n}] for n in range(5)])
    if operation == "PutObject":
        pipeline.s3.fail(operation, "SlowDown", 503, "/results/")
        summary = pipeline.replay(All=True)
    else:
        planned = pipeline.plan(All=True)
        [item] = pipeline.manifest()
        pipeline.s3.fail(operation, "SlowDown", 503, "dt=2025-01-03")
        pipeline._child(planned["Run"], item)
        summary = pipeline.finish(planned)

    assert len(pipeline.function.events) == 5
    assert summary["messagesOut"] == 5


def test_a_failure_that_cannot_be_noted_now_is_noted_later(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    pipeline.settings["Workers"] = 1
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    pipeline.put(pipeline.channel_key(START + timedelta(days=2)), raw=b"\x1f\x8bdamaged")
    pipeline.s3.fail("PutObject", "SlowDown", 503, "errors/")

    summary = pipeline.replay(All=True)

    assert (summary["objectsFailed"], len(pipeline.function.events)) == (1, 2)


def test_errors_that_may_not_be_written_end_the_run_with_that_reason(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    pipeline.put(pipeline.channel_key(START), raw=b"\x1f\x8bdamaged")
    pipeline.s3.denied.add(("PutObject", "^errors/"))

    answer = pipeline.replay(All=True)

    assert "cannot write s3://result-bucket/errors/out/" in answer["Cause"]


def test_a_look_that_fails_leaves_no_upload_of_errors(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    pipeline.put(pipeline.channel_key(START), raw=b'{"t": 1}\n' + os.urandom(9_000_000).hex().encode())
    pipeline.s3.fail("HeadObject", "SlowDown", 503, "^out/")

    pipeline.replay(All=True)

    assert pipeline.s3.uploads == {}


def test_zipped_error_output_is_known_whatever_its_size(firehose: Any) -> None:
    firehose.settings["Source"]["ReplaysErrorOutput"] = True
    firehose.function.code = echoed
    lines = b"".join(json.dumps(entry("eyJhIjoxfQ==")).encode() + b"\n" for _ in range(3))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archived:
        archived.writestr("a", lines * 3000)
    key = firehose.put(firehose.firehose_key(START), raw=packed.getvalue())
    assert len(packed.getvalue()) > 1 << 20

    summary = firehose.replay(S3Paths=[key])

    assert summary["messagesOut"] == 9000
    assert firehose.s3.lines("out/")[0] == {"a": 1}


def test_a_payload_that_lambda_refuses_is_searched_for_the_message_at_fault(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}, {"t": 2}])
    pipeline.function.fail("InvalidRequestContentException", 400)

    pipeline.replay(All=True)

    assert pipeline.s3.lines("out/") == [{"t": 1}, {"t": 2}]
    assert pipeline.function.events == [[{"t": 1}], [{"t": 2}]]


def test_what_there_is_no_time_for_is_left_to_the_next_call(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    fill(pipeline, *[[{"o": o, "n": n} for n in range(20)] for o in range(5)])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline.function.seconds = 120  # two batches for each object

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert left == {"Number": 0, "Keys": item["Keys"][3:], "Part": 1}
    pipeline.context.left = 900
    assert pipeline._step("REPLAY", planned["Run"], Batch=left)["Keys"] == []
    summary = pipeline.finish(planned)
    assert (summary["objects"], summary["messagesIn"]) == (5, 100)
    assert len(pipeline.s3.lines("out/")) == 100


def test_a_call_that_may_take_too_long_is_not_begun(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    fill(pipeline, [{"t": 1}], [{"t": 2}], [{"t": 3}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline.function.seconds = 350

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert left["Keys"] == item["Keys"][2:]
    assert pipeline.context.left == 200


def test_what_needs_no_more_calls_is_read_to_its_end(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    pipeline.settings["Function"]["BatchSize"] = 1
    pipeline.put(pipeline.channel_key(START), raw=b'{"t": 1}\n' + b"\n" * (2 << 20))
    pipeline.function.seconds = 500

    assert pipeline.replay(All=True)["messagesOut"] == 1


def test_an_object_that_takes_longer_than_a_function_may_run_costs_that_object(pipeline: Any) -> None:
    tolerating(pipeline, 60)
    pipeline.settings["Workers"] = 1
    keys = fill(pipeline, [{"n": n} for n in range(200)], [{"n": 1}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline.function.seconds = 100

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)
    pipeline.context.left = 900
    pipeline._step("REPLAY", planned["Run"], Batch=left)

    summary = pipeline.finish(planned)
    assert summary["failures"] == [
        {
            "Key": keys[0],
            "Reason": "takes longer than a function may run: it is too large, or your function too slow",
        }
    ]
    assert pipeline.s3.lines("out/") == [{"n": 1}]


def test_a_function_that_times_out_again_and_again_ends_no_worker(pipeline: Any) -> None:
    tolerating(pipeline, 60)
    pipeline.settings["Workers"] = 1
    keys = fill(pipeline, [{"n": n} for n in range(10)], [{"n": 1}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline.function.seconds = 300

    def code(messages: Any) -> Any:
        raise TimeoutError("Task timed out after 300.00 seconds")

    pipeline.function.code = code

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert left["Keys"] == keys[1:]
    [error] = pipeline.s3.lines("errors/")
    assert error["reason"] == (
        "takes longer than a function may run: it is too large, or your function too slow; "
        "your function failed last with TimeoutError: Task timed out after 300.00 seconds"
    )


def test_an_object_of_which_nothing_can_be_read_is_left_in_time_too(pipeline: Any) -> None:
    tolerating(pipeline, 60)
    pipeline.settings["Workers"] = 1
    fill(pipeline, [{"n": 1}])
    pipeline.put(pipeline.channel_key(START + timedelta(days=1)), raw=b"nonsense\n" * 10)
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline.function.seconds = 850

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert left["Keys"] == item["Keys"][1:]


def test_an_object_that_s3_throttles_starts_over_and_the_others_do_not(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    fill(pipeline, [{"t": 1}], [{"t": 2}], [{"t": 3}])
    pipeline.s3.fail("GetObject", "SlowDown", 503, "dt=2025-01-02")

    summary = pipeline.replay(All=True)

    assert [event[0]["t"] for event in pipeline.function.events] == [1, 2, 3]
    assert (summary["messagesIn"], len(pipeline.clock.slept)) == (3, 1)


def test_what_was_done_before_aws_asked_to_come_back_later_is_not_done_again(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    fill(pipeline, [{"t": 1}], [{"t": 2}], [{"t": 3}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    for _ in range(1000):
        pipeline.s3.fail("GetObject", "SlowDown", 503, "dt=2025-01-02")

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert left == {"Number": 0, "Keys": item["Keys"][1:], "Part": 1}
    pipeline.s3.faults.clear()
    pipeline.context.left = 900
    assert pipeline._step("REPLAY", planned["Run"], Batch=left)["Keys"] == []
    assert [event[0]["t"] for event in pipeline.function.events] == [1, 2, 3]
    assert pipeline.finish(planned)["messagesIn"] == 3


@pytest.mark.parametrize(
    ("operation", "key"),
    [("GetObject", r"__dt=2025-01-02"), ("PutObject", "/staged/"), ("HeadObject", "errors/")],
)
def test_what_iam_does_not_allow_yet_is_waited_for_in_the_first_minute(
    pipeline: Any, operation: str, key: str
) -> None:
    pipeline.started = "2026-06-01T00:00:00.000Z"
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    for _ in range(3):
        pipeline.s3.fail(operation, "AccessDenied", 403, key)

    summary = pipeline.replay(All=True)

    assert (summary["status"], summary["messagesOut"]) == ("SUCCEEDED", 2)
    assert pipeline.clock.slept or operation == "HeadObject"  # where 403 says that there is nothing


@pytest.mark.parametrize("code", ["AccessDeniedException", "KMSAccessDeniedException"])
def test_a_function_that_may_not_be_called_yet_is_called_again(pipeline: Any, code: str) -> None:
    pipeline.started = "2026-06-01T00:00:00.000Z"
    fill(pipeline, [{"t": 1}])
    pipeline.function.fail(code, 403)

    assert pipeline.replay(All=True)["messagesOut"] == 1


def test_a_function_that_may_not_be_called_after_a_minute_ends_the_run(pipeline: Any) -> None:
    pipeline.started = "2026-06-01T00:00:00.000Z"
    fill(pipeline, [{"t": 1}])
    for _ in range(1000):
        pipeline.function.fail("AccessDeniedException", 403)

    answer = pipeline.replay(All=True)

    assert "cannot invoke" in answer["Cause"]
    assert 60 <= sum(pipeline.clock.slept) <= 85


def test_a_worker_that_came_to_an_end_costs_what_was_left_of_its_work_item(pipeline: Any) -> None:
    tolerating(pipeline, 100)
    pipeline.settings["Workers"] = 1
    keys = fill(pipeline, [{"t": 1}], [{"t": 2}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()

    pipeline._step(
        "GIVE_UP", planned["Run"], Batch=item, Error={"Error": "Sandbox.Timedout", "Cause": "Task timed out"}
    )

    summary = pipeline._step("SUMMARISE", planned["Run"], State={})["Summary"]
    assert summary["objectsFailed"] == 2
    assert [failure["Key"] for failure in summary["failures"]] == keys
    assert summary["failures"][0]["Reason"] == "its worker failed: Sandbox.Timedout: Task timed out"
    assert len(pipeline.s3.keys(RESULT, "errors/")) == 2


def test_the_reason_of_a_worker_s_end_is_told_without_its_stack_trace(pipeline: Any) -> None:
    tolerating(pipeline, 100)
    fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    cause = {"errorMessage": "cannot read s3://x", "errorType": "Throttled", "stackTrace": ["line 1"]}

    pipeline._step(
        "GIVE_UP", planned["Run"], Batch=item, Error={"Error": "Throttled", "Cause": json.dumps(cause)}
    )

    [error] = pipeline.s3.lines("errors/")
    assert error["reason"] == "its worker failed: Throttled: cannot read s3://x"


@pytest.mark.parametrize(
    ("operation", "key", "cause"),
    [
        (
            "GetObject",
            "/results/",
            "s3://result-bucket/runs/out/run-1/results/000000-000-00000000-0000-4000-8000-000000000001.json cannot be read: ",
        ),
        (
            "ListObjectsV2",
            "/results/",
            "cannot list s3://result-bucket/runs/out/run-1/results/: AccessDenied",
        ),
        ("PutObject", "summary", "cannot write s3://result-bucket/runs/out/run-1/summary.json: AccessDenied"),
    ],
)
def test_a_folder_of_the_run_that_cannot_be_used_is_the_reason_why_it_fails(
    pipeline: Any, operation: str, key: str, cause: str
) -> None:
    fill(pipeline, [{"t": 1}])
    pipeline.s3.denied.add((operation, key))

    answer = pipeline.replay(All=True)

    assert answer["Error"] == "ReplayFailed"
    assert answer["Cause"].startswith(cause)


def test_giving_up_more_than_is_tolerated_ends_the_run(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()

    with pytest.raises(ReplayStopped, match="more objects failed than are tolerated"):
        pipeline._step("GIVE_UP", planned["Run"], Batch=item, Error={"Error": "E", "Cause": "c"})


def test_workers_without_results_fail_the_run(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}], [{"t": 2}])
    planned = pipeline.plan(All=True)
    pipeline._child(planned["Run"], pipeline.manifest()[0])

    answer = pipeline._step("SUMMARISE", planned["Run"], State={})

    assert answer["Failure"]["Cause"] == (
        "1 of 2 objects and 0 of 1 messages failed, 1 objects were not replayed, tolerated are 0%; "
        "workers left no results"
    )


def test_a_function_that_fails_on_everything_is_not_searched_for_poison_in_every_batch(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    pipeline.settings["Workers"] = 1
    pipeline.settings["Function"]["BatchSize"] = 100
    calls = breaking(pipeline)
    fill(pipeline, [{"t": n} for n in range(10_000)], [{"t": 1}, {"t": 2}], [{"t": 1}])

    answer = pipeline.replay(All=True)

    assert answer["Cause"].startswith(
        "2 of 3 objects and 10,002 of 10,002 messages failed, 1 objects were not replayed, tolerated are 50%; first: "
    )
    # The search in the first batch, two calls for each of the others, none for the object after the run had failed.
    assert len(calls) < 30 + 2 * 100
    assert [len(messages) for messages in calls[-4:]] == [1, 99, 1, 1]


def test_an_object_with_nothing_but_poison_costs_its_neighbours_nothing(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    pipeline.settings["Workers"] = 1
    fill(pipeline, [{"t": 0}], [{"t": n} for n in range(10)], [{"t": 0}], [{"t": n} for n in range(10)])
    pipeline.function.code = lambda messages: [{"t": 10 // message["t"]} for message in messages]

    summary = pipeline.replay(All=True)

    assert (summary["objectsFailed"], summary["messagesFailed"], summary["messagesOut"]) == (2, 4, 18)


def test_a_function_that_recovers_is_trusted_again(pipeline: Any) -> None:
    tolerating(pipeline, 100)
    pipeline.settings["Workers"] = 1
    objects = [
        [{"n": n, "bad": True} for n in range(10)],
        *[[{"n": n, "bad": n == 5} for n in range(10)]] * 2,
    ]
    fill(pipeline, *objects)

    def code(messages: Any) -> Any:
        assert not any(message["bad"] for message in messages), "bad"
        return messages

    pipeline.function.code = code

    summary = pipeline.replay(All=True)

    assert (summary["messagesFailed"], summary["messagesOut"]) == (10 + 1 + 1, 9 + 9)


def test_without_tolerance_a_worker_calls_until_it_knows_which_message_fails_and_no_more(
    pipeline: Any,
) -> None:
    pipeline.settings["Workers"] = 1
    pipeline.settings["Function"]["BatchSize"] = 500
    keys = fill(pipeline, *[[{"t": n} for n in range(1000)]] * 10)
    calls = breaking(pipeline)

    answer = pipeline.replay(All=True)

    assert [len(messages) for messages in calls] == [500, 250, 125, 62, 31, 15, 7, 3, 1]
    assert answer["Cause"] == (
        "0 of 10 objects and 1 of 1 messages failed, 9 objects were not replayed, tolerated are 0%; first: "
        f"{keys[0]} message 1: ImportError: no module named x"
    )
    assert pipeline.s3.lines("errors/") == [
        {"key": keys[0], "number": 1, "reason": "ImportError: no module named x", "message": '{"t": 0}'}
    ]


def test_without_tolerance_an_unreadable_line_ends_the_object_and_the_run(pipeline: Any) -> None:
    pipeline.put(pipeline.channel_key(START), raw=b"nonsense\n" * 1000)

    answer = pipeline.replay(All=True)

    assert answer["Cause"].startswith(
        "0 of 1 objects and 10 of 10 messages failed, tolerated are 0%; first: "
    )


def breaking(pipeline: Any) -> list[Any]:
    """Breaks the function for good; gives the list that its calls go to."""
    calls: list[Any] = []

    def broken(messages: Any) -> Any:
        calls.append(messages)
        raise ImportError("no module named x")

    pipeline.function.code = broken
    return calls


def test_an_object_of_which_every_message_fails_has_failed_and_keeps_its_result(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}, {"t": 2}], [{"t": 3}, {"t": 4}])
    pipeline.replay(All=True)

    pipeline.name, pipeline.started = "run-2", "2026-02-02T00:00:00.000Z"
    pipeline.function.code = lambda messages: [{"t": 1 / max(0, 3 - message["t"])} for message in messages]
    summary = pipeline.replay(All=True)

    assert (summary["objectsFailed"], summary["messagesFailed"]) == (1, 2)
    assert pipeline.s3.lines("out/") == [{"t": 0.5}, {"t": 1.0}, {"t": 3}, {"t": 4}]


def test_a_large_object_becomes_a_multipart_upload(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("object_replay.uploads.PART", 5 << 20)
    monkeypatch.setattr("object_replay.uploads.COMPRESSION_LEVEL", 0)
    pipeline.settings["Function"]["BatchSize"] = 10_000
    fill(pipeline, [{"n": n, "text": "x" * 1000} for n in range(12_000)])

    pipeline.replay(All=True)

    assert len([call for call, _ in pipeline.s3.calls if call == "UploadPart"]) == 3
    assert [message["n"] for message in pipeline.s3.lines("out/")] == list(range(12_000))
    assert pipeline.s3.uploads == {}


def test_a_failing_object_leaves_no_upload_behind(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("object_replay.uploads.PART", 5 << 20)
    monkeypatch.setattr("object_replay.uploads.COMPRESSION_LEVEL", 0)
    tolerating(pipeline, 100)
    pipeline.settings["Function"]["BatchSize"] = 1_000
    body = b"".join(json.dumps({"n": n, "text": "x" * 1000}).encode() + b"\n" for n in range(12_000))
    pipeline.put(pipeline.channel_key(START), raw=gzip.compress(body, 1)[:-5])

    pipeline.replay(All=True)

    assert "AbortMultipartUpload" in [call for call, _ in pipeline.s3.calls]
    assert pipeline.s3.uploads == {}
    assert pipeline.s3.keys(RESULT, "out/") == []


def echoed(event: Any) -> Any:
    return {"records": [{**each, "result": "Ok"} for each in event["records"]]}


def entry(data: str, arrived: int = 1_764_000_000_000) -> dict[str, Any]:
    """What Firehose writes of a record that it could not deliver."""
    return {
        "attemptsMade": 4,
        "arrivalTimestamp": arrived,
        "errorCode": "Lambda.FunctionError",
        "errorMessage": "x",
        "attemptEndingTimestamp": arrived + 1000,
        "rawData": data,
        "lambdaArn": "arn",
    }


@pytest.mark.parametrize("framing", ["JSON", "LINES", "GZIP_MEMBERS"])
def test_error_output_of_firehose_is_skipped_counted_and_noted(firehose: Any, framing: str) -> None:
    firehose.settings["Source"]["Framing"] = framing
    body = gzip.compress(b'{"t": 1}') if framing == "GZIP_MEMBERS" else b'{"t": 1}'
    messages = firehose.put(firehose.firehose_key(START), raw=body)
    errors = firehose.put(firehose.firehose_key(START, 1), entry("eyJhIjoxfQ=="))
    firehose.function.code = echoed

    summary = firehose.replay(S3Paths=[messages, errors])

    counted = ("status", "objects", "objectsSkipped", "objectsFailed", "messagesIn", "messagesFailed")
    assert [summary[name] for name in counted] == ["SUCCEEDED", 2, 1, 0, 1, 0]
    [note] = firehose.s3.lines("errors/out/")
    assert note["key"] == errors
    assert note["reason"].startswith("was skipped: it is Firehose's error output")
    assert len(firehose.s3.keys(RESULT, "out/")) == 1


def test_raw_data_of_error_output_is_replayed_with_the_time_at_which_it_arrived(firehose: Any) -> None:
    firehose.settings["Source"]["ReplaysErrorOutput"] = True
    key = firehose.put(
        firehose.firehose_key(START), entry("eyJhIjoxfQ=="), entry("eyJhIjoyfQ==", 1_764_000_060_000)
    )
    firehose.function.code = echoed

    summary = firehose.replay(S3Paths=[key])

    assert firehose.s3.lines("out/") == [{"a": 1}, {"a": 2}]
    [event] = firehose.function.events
    assert [each["approximateArrivalTimestamp"] for each in event["records"]] == [
        1_764_000_000_000,
        1_764_000_060_000,
    ]
    assert (summary["objectsSkipped"], summary["messagesOut"]) == (0, 2)


def test_a_broken_entry_of_error_output_fails_alone(firehose: Any) -> None:
    tolerating(firehose, 60)
    firehose.settings["Source"]["ReplaysErrorOutput"] = True
    key = firehose.put(firehose.firehose_key(START), entry("eyJhIjoxfQ=="), entry("not base64"))
    firehose.function.code = echoed

    summary = firehose.replay(S3Paths=[key])

    assert (summary["messagesOut"], summary["messagesFailed"]) == (1, 1)


def test_messages_that_quote_error_output_are_messages(firehose: Any) -> None:
    message = {"t": 1, "quoted": json.dumps(entry("eyJhIjoxfQ=="))}
    key = firehose.put(firehose.firehose_key(START), message)
    firehose.function.code = echoed

    assert firehose.replay(S3Paths=[key])["messagesOut"] == 1
    assert firehose.s3.lines("out/") == [message]


def test_a_function_that_quotes_its_event_in_an_error_does_not_fill_the_errors_with_it(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": "x" * 5000}, {"t": 2}])

    def code(messages: Any) -> Any:
        if len(messages) == 1 and messages[0]["t"] == 2:
            return messages
        raise ValueError(f"cannot do {messages}")

    pipeline.function.code = code

    pipeline.replay(All=True)

    [error] = pipeline.s3.lines("errors/")
    assert len(error["reason"]) == 2000
    assert error["message"] == json.dumps({"t": "x" * 5000})


def test_half_a_surrogate_pair_in_an_error_of_the_function_can_be_told(pipeline: Any) -> None:
    tolerating(pipeline, 50)
    fill(pipeline, [{"t": 1}], [{"t": 2}])

    def code(messages: Any) -> Any:
        if messages[0]["t"] == 1:
            raise ValueError("half \ud83d of it")
        return messages

    pipeline.function.code = code

    summary = pipeline.replay(All=True)

    assert summary["failures"][0]["Reason"] == "ValueError: half ? of it"


@pytest.mark.parametrize(
    "name", ["größe-温度-🌡.json.gz", "a+b,c&d@e%f%2Fg.json.gz", "a b;c?d#e=\"'~.json.gz"]
)
def test_an_object_of_any_name_is_replayed_by_its_path(pipeline: Any, name: str) -> None:
    key = pipeline.put(f"raw/channel/telemetry/{name}", {"t": 1}, {"t": 2})
    pipeline.put("raw/channel/telemetry/other.json.gz", {"t": 3})

    summary = pipeline.replay(S3Paths=[key])

    assert (summary["objects"], summary["messagesOut"]) == (1, 2)


def test_a_missing_object_that_s3_denies_is_known_from_a_listing_and_not_waited_for(pipeline: Any) -> None:
    pipeline.started = "2026-06-01T00:00:00.000Z"
    fill(pipeline, [{"t": 1}])
    pipeline.s3.denied.add(("GetObject", "gone"))

    answer = pipeline.replay(S3Paths=["raw/channel/telemetry/gone"])

    assert answer["Cause"].endswith("raw/channel/telemetry/gone: cannot be read: it is not there")
    assert pipeline.clock.slept == []


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed either"])
def test_a_denied_object_that_may_be_there_is_waited_for(pipeline: Any, listed: bool) -> None:
    pipeline.started = "2026-06-01T00:00:00.000Z"
    [key] = fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    pipeline.s3.denied |= {("GetObject", "__dt"), *([] if listed else [("ListObjectsV2", "__dt")])}
    [item] = pipeline.manifest()

    with pytest.raises(ReplayStopped, match="more objects failed than are tolerated"):
        pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert 60 <= sum(pipeline.clock.slept) <= 85
    assert "AccessDenied in GetObject" in pipeline.s3.lines("errors/")[0]["reason"]
    assert pipeline.s3.lines("errors/")[0]["key"] == key


def test_any_objects_arrived_when_they_were_last_modified(firehose: Any) -> None:
    firehose.settings["Source"] = {"Layout": "OBJECTS", "Bucket": "raw-bucket", "Root": "uploads/"}
    firehose.function.code = echoed
    key = firehose.put("uploads/a.json", {"t": 1})
    firehose.s3.buckets["raw-bucket"][key].modified = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    for number in (1, 2):
        firehose.name, firehose.started = f"run-{number}", f"2026-02-0{number}T00:00:00.000Z"
        firehose.replay(All=True)

    arrived = [event["records"][0]["approximateArrivalTimestamp"] for event in firehose.function.events]
    assert arrived == [1767323045000] * 2


def staged(pipeline: Any) -> list[str]:
    keys: list[str] = pipeline.s3.keys(RESULT, "runs/out/run-1/staged/")
    return keys


@pytest.mark.parametrize("how", ["its messages fail", "it is damaged", "it is given up"])
def test_what_an_earlier_attempt_has_staged_is_taken_back_when_the_object_fails(
    pipeline: Any, how: str
) -> None:
    tolerating(pipeline, 100)
    [key] = fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline._step("REPLAY", planned["Run"], Batch=item)
    assert len(staged(pipeline)) == 1

    if how == "its messages fail":
        breaking(pipeline)
    elif how == "it is damaged":
        pipeline.s3.buckets["raw-bucket"][key].body = gzip.compress(b'{"t": 2}')[:-4]
    if how == "it is given up":
        pipeline._step("GIVE_UP", planned["Run"], Batch=item, Error={"Error": "E", "Cause": "c"})
    else:
        pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert staged(pipeline) == []


def test_error_output_takes_back_what_was_staged_under_its_name(firehose: Any) -> None:
    key = firehose.put(firehose.firehose_key(START), {"t": 1})
    firehose.function.code = echoed
    planned = firehose.plan(S3Paths=[key])
    [item] = firehose.manifest()
    firehose._step("REPLAY", planned["Run"], Batch=item)
    assert len(staged(firehose)) == 1

    firehose.put(key, entry("eyJhIjoxfQ=="))
    firehose._step("REPLAY", planned["Run"], Batch=item)

    assert staged(firehose) == []


def test_a_worker_without_tolerance_says_that_a_message_failed(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    breaking(pipeline)

    with pytest.raises(ReplayStopped, match=r"^messages failed and none is tolerated$"):
        pipeline._step("REPLAY", planned["Run"], Batch=pipeline.manifest()[0])


def test_a_fault_that_is_not_foreseen_ends_the_worker(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    pipeline.s3.faults.append(("GetObject", "__dt", lambda: RuntimeError("not foreseen")))

    with pytest.raises(RuntimeError, match="not foreseen"):
        pipeline._step("REPLAY", planned["Run"], Batch=pipeline.manifest()[0])


def test_the_first_call_needs_no_more_time_than_the_margin(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    planned = pipeline.plan(All=True)
    pipeline.context.left = 60

    assert pipeline._step("REPLAY", planned["Run"], Batch=pipeline.manifest()[0])["Keys"] == []
    assert pipeline.finish(planned)["messagesIn"] == 1
