"""What a run leaves in the destination: all that it made, or nothing."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_s3 import Stored

from object_replay.faults import ReplayStopped, Superseded, Throttled

START = datetime(2025, 1, 1, tzinfo=UTC)
RESULT = "result-bucket"


def fill(pipeline: Any, *objects: list[Any]) -> list[str]:
    return [
        pipeline.put(pipeline.channel_key(START + timedelta(days=day)), *messages)
        for day, messages in enumerate(objects)
    ]


def later(pipeline: Any) -> None:
    """From now on it is another run."""
    pipeline.name, pipeline.started = "run-2", "2026-02-02T00:00:00.000Z"


def destination(pipeline: Any) -> dict[str, tuple[bytes, str]]:
    """Every byte of the results, and which run they are of."""
    return {
        key: (stored.body, stored.metadata["replay-started"])
        for key, stored in pipeline.s3.buckets[RESULT].items()
        if key.startswith("out/")
    }


def replayed(pipeline: Any) -> Any:
    """A run whose work items are all replayed."""
    planned = pipeline.plan(All=True)
    for item in pipeline.manifest():
        pipeline._child(planned["Run"], item)
    return planned


def fail_on(value: int) -> Any:
    return lambda messages: [{"new": 1 // (message["t"] - value)} for message in messages]


@pytest.fixture
def filled(pipeline: Any) -> Any:
    """Three objects with a published result each, and a run that comes after that."""
    pipeline.settings["Workers"] = 3
    fill(pipeline, [{"t": 1}], [{"t": 2}], [{"t": 3}])
    pipeline.replay(All=True)
    later(pipeline)
    return pipeline


def test_nothing_is_published_while_the_run_may_still_fail(filled: Any) -> None:
    before = destination(filled)
    filled.function.code = lambda messages: [{"new": True}]

    replayed(filled)

    assert destination(filled) == before
    assert len(filled.s3.keys(RESULT, "runs/out/run-2/staged/")) == 3


def test_a_run_that_fails_leaves_the_destination_byte_for_byte(filled: Any) -> None:
    before = destination(filled)
    filled.function.code = fail_on(3)

    answer = filled.replay(All=True)

    assert answer["Error"] == "ReplayFailed"
    assert destination(filled) == before
    assert filled.s3.keys(RESULT, "runs/out/run-2/staged/") == []
    [error] = filled.s3.lines("errors/out/dt=2025-01-03/")
    assert error["reason"].startswith("ZeroDivisionError")


def test_tolerated_failures_publish_the_others_and_keep_the_failed_object_s_result(filled: Any) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.function.code = lambda messages: [{"new": True}]
    filled.s3.denied.add(("GetObject", "^raw/.*dt=2025-01-02"))

    summary = filled.replay(All=True)

    assert (summary["status"], summary["objectsFailed"]) == ("SUCCEEDED", 1)
    assert filled.s3.lines("out/") == [{"new": True}, {"t": 2}, {"new": True}]


def test_what_is_staged_is_gone_when_it_is_published(filled: Any) -> None:
    filled.replay(All=True)

    assert filled.s3.keys(RESULT, "runs/out/run-2/staged/") == []
    summary = json.loads(filled.s3.buckets[RESULT]["runs/out/run-2/summary.json"].body)
    assert (summary["status"], summary["messagesOut"]) == ("SUCCEEDED", 3)


def test_publishing_twice_is_the_same_as_once(filled: Any) -> None:
    filled.function.code = lambda messages: [{"new": message["t"]} for message in messages]
    planned = replayed(filled)

    summary = filled.finish(planned, times=2)

    assert summary["status"] == "SUCCEEDED"
    assert filled.s3.lines("out/") == [{"new": 1}, {"new": 2}, {"new": 3}]


def test_publishing_goes_on_where_it_broke(filled: Any) -> None:
    filled.settings["Workers"] = 1
    planned = replayed(filled)
    [item] = filled.manifest()
    filled.s3.fail("CopyObject", "SlowDown", 503, "dt=2025-01-02")

    with pytest.raises(Throttled, match="cannot write s3://result-bucket/out/dt=2025-01-02"):
        filled._step("PUBLISH", planned["Run"], Batch=item)
    summary = filled.finish(planned)

    assert summary["status"] == "SUCCEEDED"
    assert {started for _, started in destination(filled).values()} == {filled.started}


def test_publishing_passes_over_an_object_that_failed(filled: Any) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.s3.denied.add(("GetObject", "^raw/.*dt=2025-01-02"))

    summary = filled.finish(replayed(filled), times=2)

    assert summary["status"] == "SUCCEEDED"


def test_a_staged_result_that_is_gone_fails_the_run(filled: Any) -> None:
    planned = replayed(filled)
    [lost] = [key for key in filled.s3.keys(RESULT, "runs/out/run-2/staged/") if "dt=2025-01-02" in key]
    del filled.s3.buckets[RESULT][lost]

    answer = filled.finish(planned)

    assert answer == {
        "Error": "PublishingFailed",
        "Cause": (f"publishing finished for 1 of 3 objects; the staged result s3://{RESULT}/{lost} is gone"),
    }


def test_an_object_that_cannot_be_published_keeps_none_of_the_others(filled: Any) -> None:
    filled.settings["Workers"] = 1
    filled.function.code = lambda messages: [{"new": True}]
    filled.s3.denied.add(("CopyObject", "^out/dt=2025-01-01"))
    filled.s3.fail("CopyObject", "SlowDown", 503, "^out/dt=2025-01-02")

    answer = filled.replay(All=True)

    assert answer["Cause"].startswith(
        "publishing finished for 1 of 3 objects; cannot write s3://result-bucket/out/dt=2025-01-01/"
    )
    assert filled.s3.lines("out/") == [{"t": 1}, {"t": 2}, {"new": True}]
    assert len(filled.s3.keys(RESULT, "runs/out/run-2/staged/")) == 2


@pytest.mark.parametrize("kind", ["per key", "per key, for good", "denied", "the request", "too slow"])
def test_what_cannot_be_removed_of_the_run_s_folder_does_not_fail_it(filled: Any, kind: str) -> None:
    filled.function.code = lambda messages: [{"new": True}]
    match kind:
        case "per key":
            filled.s3.key_errors += [("/staged/.*dt=2025-01-02", "InternalError")] * 2
        case "per key, for good":
            filled.s3.key_errors += [("/staged/", "InternalError")] * 100
        case "denied":
            filled.s3.denied.add(("DeleteObjects", "/staged/"))
        case "the request":
            filled.s3.fail("DeleteObjects", "AccessDenied", 403)
        case _:
            filled.s3.fail("DeleteObjects", "SlowDown", 503)

    summary = filled.replay(All=True)

    assert summary["status"] == "SUCCEEDED"
    assert filled.s3.lines("out/") == [{"new": True}] * 3
    left = {"per key": 0, "per key, for good": 3, "denied": 3, "the request": 1, "too slow": 1}
    assert len(filled.s3.keys(RESULT, "runs/out/run-2/staged/")) == left[kind]


def test_what_was_published_is_noted_before_anything_is_removed(filled: Any) -> None:
    filled.replay(All=True)

    calls = [(call, key) for call, key in filled.s3.calls if "run-2" in key or key.startswith("out/")]
    noted = next(n for n, (call, key) in enumerate(calls) if "/published/" in key)
    removed = next(n for n, (call, _) in enumerate(calls) if call == "DeleteObjects")
    copied = next(n for n, (call, _) in enumerate(calls) if call == "CopyObject")
    assert copied < noted < removed


def test_the_notes_on_publishing_say_which_objects_they_cover(filled: Any) -> None:
    filled.replay(All=True)

    keys = [item["Keys"][0] for item in filled.manifest()]
    notes = filled.s3.keys(RESULT, "runs/out/run-2/published/")
    call = filled.context.aws_request_id
    assert notes == [f"runs/out/run-2/published/{number:06d}-{call}.json" for number in range(3)]
    assert [json.loads(filled.s3.buckets[RESULT][note].body) for note in notes] == [
        {"Finished": "2026-06-01T00:00:00+00:00", "Stopped": "", "Objects": {key: False}} for key in keys
    ]


@pytest.mark.parametrize("first", ["the one that fails", "the one that publishes"])
def test_of_two_calls_of_one_work_item_neither_replaces_the_other_s_note(filled: Any, first: str) -> None:
    planned = replayed(filled)
    item = filled.manifest()[1]

    def publishes(call: str) -> None:
        filled.context.aws_request_id = call
        filled._step("PUBLISH", planned["Run"], Batch=item)

    def fails(call: str) -> None:
        filled.s3.fail("HeadObject", "InvalidRequest", 400)
        with pytest.raises(ReplayStopped):
            publishes(call)

    for number, act in enumerate((fails, publishes) if first == "the one that fails" else (publishes, fails)):
        act(f"call-{number}")
        filled.clock.sleep(1)
    summary = filled.finish(planned)

    assert (summary["status"], summary["objectsSuperseded"]) == ("SUCCEEDED", 0)


def test_a_worker_that_ends_after_it_has_published_all_does_not_fail_the_run(filled: Any) -> None:
    planned = replayed(filled)
    state = filled._step("SUMMARISE", planned["Run"], State=planned)
    for item in filled.manifest():
        filled._step("PUBLISH", planned["Run"], Batch=item)

    state["Error"] = {"Error": "Sandbox.Timedout", "Cause": "Task timed out"}
    answer = filled._step("CLOSE", planned["Run"], State=state)

    assert answer["Summary"]["status"] == "SUCCEEDED"


def test_a_destination_that_may_not_be_written_fails_the_run_with_the_reason(filled: Any) -> None:
    filled.s3.denied.add(("CopyObject", "^out/"))
    before = destination(filled)

    answer = filled.replay(All=True)

    assert answer["Error"] == "PublishingFailed"
    assert answer["Cause"].startswith(
        "publishing finished for 0 of 3 objects; cannot write s3://result-bucket/out/dt=2025-01-01/"
    )
    assert answer["Cause"].endswith("AccessDenied: AccessDenied in CopyObject")
    assert destination(filled) == before
    summary = json.loads(filled.s3.buckets[RESULT]["runs/out/run-2/summary.json"].body)
    assert summary["status"] == "FAILED"


def test_a_worker_that_ends_without_a_word_fails_the_run_with_what_was_seen_of_it(filled: Any) -> None:
    planned = replayed(filled)
    state = filled._step("SUMMARISE", planned["Run"], State=planned)

    state["Error"] = {"Error": "Sandbox.Timedout", "Cause": "Task timed out"}
    answer = filled._step("CLOSE", planned["Run"], State=state)

    assert answer["Failure"]["Cause"] == (
        "publishing finished for 0 of 3 objects; Sandbox.Timedout: Task timed out"
    )


def test_a_folder_of_the_run_that_cannot_be_listed_is_the_reason_why_publishing_fails(filled: Any) -> None:
    filled.s3.denied.add(("ListObjectsV2", "/published/"))

    answer = filled.replay(All=True)

    assert answer["Error"] == "PublishingFailed"
    assert answer["Cause"].startswith(
        "cannot list s3://result-bucket/runs/out/run-2/published/: AccessDenied"
    )


def test_errors_of_earlier_runs_go_when_results_are_published_and_not_before(filled: Any) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.function.code = fail_on(2)
    filled.replay(All=True)
    [stale] = filled.s3.keys(RESULT, "errors/")

    filled.name, filled.started = "run-3", "2026-02-03T00:00:00.000Z"
    filled.function.code = lambda messages: messages
    planned = replayed(filled)

    assert filled.s3.keys(RESULT, "errors/") == [stale]
    filled.finish(planned)
    assert filled.s3.keys(RESULT, "errors/") == []


def test_errors_that_a_later_run_notes_in_the_meantime_stay(filled: Any) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.function.code = fail_on(2)
    filled.replay(All=True)
    [stale] = filled.s3.keys(RESULT, "errors/")
    filled.name, filled.started = "run-3", "2026-02-03T00:00:00.000Z"
    filled.function.code = lambda messages: messages
    planned = replayed(filled)

    def note() -> None:
        run = replace(filled.parsed(), started="2026-02-04T00:00:00.000Z")
        with filled.storage.upload(RESULT, stale, run=run) as errors:
            errors.write(b"later")

    # Between the look at the old errors and their removal; the copies of the first and second result come before.
    filled.s3.before_write += [lambda: None, lambda: None, note]

    assert filled.finish(planned)["status"] == "SUCCEEDED"
    assert gzip.decompress(filled.s3.buckets[RESULT][stale].body) == b"later"


def test_errors_that_no_run_wrote_stay(filled: Any) -> None:
    [key] = filled.s3.keys(RESULT, "out/dt=2025-01-02/")
    filled.s3.buckets[RESULT][f"errors/{key}"] = Stored(b"notes of a person", {})

    filled.replay(All=True)

    assert filled.s3.keys(RESULT, "errors/") == [f"errors/{key}"]


def test_old_errors_that_may_not_be_removed_fail_the_run_after_all_results(filled: Any) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.function.code = fail_on(2)
    filled.replay(All=True)
    filled.name, filled.started = "run-3", "2026-02-03T00:00:00.000Z"
    filled.settings["Workers"] = 1
    filled.function.code = lambda messages: [{"new": True}]
    filled.s3.denied.add(("DeleteObject", "^errors/"))

    answer = filled.replay(All=True)

    assert answer["Cause"].startswith(
        "publishing finished for 2 of 3 objects; cannot remove s3://result-bucket/errors/out/dt=2025-01-02/"
    )
    assert filled.s3.lines("out/") == [{"new": True}] * 3


def test_the_errors_of_a_run_stay_beside_the_results_that_it_publishes(pipeline: Any) -> None:
    pipeline.settings["ToleratedFailurePercentage"] = 50
    fill(pipeline, [{"t": 1}, {"t": 2}])
    pipeline.function.code = fail_on(1)

    pipeline.replay(All=True)

    assert [error["number"] for error in pipeline.s3.lines("errors/")] == [1]
    assert pipeline.s3.lines("out/") == [{"new": 1}]


def test_what_an_attempt_staged_that_was_cut_off_is_not_published_of_a_work_item_given_up(
    filled: Any,
) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    before = destination(filled)
    filled.function.code = lambda messages: [{"new": True}]
    planned = replayed(filled)

    filled._step(
        "GIVE_UP", planned["Run"], Batch=filled.manifest()[0], Error={"Error": "E", "Cause": "cut off"}
    )
    summary = filled.finish(planned)

    assert summary["objectsFailed"] == 1
    assert filled.s3.lines("out/dt=2025-01-01/") == [{"t": 1}]
    assert len(set(destination(filled).values()) & set(before.values())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda pipeline, key: pipeline.s3.buckets["raw-bucket"].pop(key),
        lambda pipeline, key: pipeline.put(key, raw=b"nonsense\n"),
    ],
    ids=["the object is gone", "its messages fail"],
)
def test_what_an_earlier_attempt_staged_is_not_published_when_a_later_one_fails(
    filled: Any, damage: Any
) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.function.code = lambda messages: [{"new": True}]
    planned = replayed(filled)

    damage(filled, filled.manifest()[0]["Keys"][0])
    filled.context.aws_request_id = "00000000-0000-4000-8000-000000000002"
    filled._child(planned["Run"], filled.manifest()[0])
    summary = filled.finish(planned)

    assert (summary["status"], summary["objectsFailed"]) == ("SUCCEEDED", 1)
    assert filled.s3.lines("out/") == [{"t": 1}, {"new": True}, {"new": True}]


@pytest.mark.parametrize("times", [1, 2])
def test_publishing_passes_over_an_object_that_was_skipped(firehose: Any, times: int) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    firehose.function.code = lambda event: {
        "records": [{**each, "result": "Ok"} for each in event["records"]]
    }
    key = firehose.put(firehose.firehose_key(start), {"t": 1})
    firehose.replay(All=True)
    entry = dict.fromkeys(("attemptsMade", "arrivalTimestamp", "errorCode", "rawData"), 1)
    firehose.put(key, entry)
    firehose.name, firehose.started = "run-2", "2026-02-02T00:00:00.000Z"

    summary = firehose.finish(replayed(firehose), times=times)

    assert (summary["status"], summary["objectsSkipped"], summary["objectsSuperseded"]) == ("SUCCEEDED", 1, 0)
    assert firehose.s3.lines("out/dt=2025-01-01/") == [{"t": 1}]
    assert [error["key"] for error in firehose.s3.lines("errors/")] == [key]


def test_a_call_that_failed_takes_nothing_from_the_call_that_counts(filled: Any) -> None:
    """Two calls of one work item: the other one fails with an object that the one that ends last has staged."""
    filled.settings |= {"Workers": 1, "ToleratedFailurePercentage": 100}
    planned = filled.plan(All=True)
    [item] = filled.manifest()
    filled.function.code = lambda messages: [{"new": True}]
    filled._step("REPLAY", planned["Run"], Batch=item)
    first = filled.context.aws_request_id
    filled.context.aws_request_id = "00000000-0000-4000-8000-000000000002"
    filled.function.code = lambda messages: [{"new": 1 / 0}]
    filled._step("REPLAY", planned["Run"], Batch=item)
    filled.context.aws_request_id = first
    filled.clock.moment += timedelta(seconds=1)
    filled.function.code = lambda messages: [{"new": True}]
    filled._step("REPLAY", planned["Run"], Batch=item)

    summary = filled.finish(planned)

    assert (summary["status"], summary["objectsFailed"], summary["messagesOut"]) == ("SUCCEEDED", 0, 3)
    assert filled.s3.lines("out/") == [{"new": True}] * 3
    assert filled.s3.keys(RESULT, "errors/") == []


def test_what_a_late_call_does_after_the_verdict_changes_nothing(filled: Any) -> None:
    filled.settings |= {"Workers": 1, "ToleratedFailurePercentage": 100}
    filled.function.code = lambda messages: [{"new": True}]
    planned = replayed(filled)
    [item] = filled.manifest()
    summarised = filled._step("SUMMARISE", planned["Run"], State=planned)
    filled.context.aws_request_id = "00000000-0000-4000-8000-000000000002"
    filled.clock.moment += timedelta(seconds=1)
    filled.function.code = lambda messages: [{"new": 1 / 0}]
    filled._step("REPLAY", planned["Run"], Batch=item)

    filled._step("PUBLISH", summarised["Run"], Batch=item)

    assert filled.s3.lines("out/") == [{"new": True}] * 3


def test_a_denied_copy_is_not_taken_for_a_lost_result(filled: Any) -> None:
    filled.started = "2026-06-01T00:00:00.000Z"
    planned = replayed(filled)
    filled.s3.fail("CopyObject", "AccessDenied", 403)
    filled.s3.fail("HeadObject", "403", 403, "staged/")

    summary = filled.finish(planned)

    assert summary["status"] == "SUCCEEDED"
    assert filled.clock.slept


def test_a_busy_copy_copies_nothing_else_again(filled: Any) -> None:
    filled.settings["Workers"] = 1
    planned = replayed(filled)
    [item] = filled.manifest()
    filled.s3.fail("CopyObject", "SlowDown", 503, "^out/dt=2025-01-02")
    filled.s3.calls.clear()

    with pytest.raises(Throttled):
        filled._step("PUBLISH", planned["Run"], Batch=item)
    summary = filled.finish(planned)

    assert summary["status"] == "SUCCEEDED"
    done = [
        key for call, key in filled.s3.calls if call == "CopyObject" and key.startswith("out/dt=2025-01-01")
    ]
    assert len(done) == 2, "the second one finds nothing to copy"


def test_an_object_that_failed_leaves_a_later_run_s_errors_alone(filled: Any) -> None:
    filled.settings["ToleratedFailurePercentage"] = 40
    filled.s3.denied.add(("GetObject", "^raw/.*dt=2025-01-02"))
    planned = replayed(filled)
    [errors] = filled.s3.keys(RESULT, "errors/")
    filled.s3.buckets[RESULT][errors].metadata["replay-started"] = "2026-03-01T00:00:00.000Z"

    assert filled.finish(planned)["status"] == "SUCCEEDED"
    assert filled.s3.keys(RESULT, "errors/") == [errors]


def test_an_older_run_does_not_replace_what_a_newer_one_published(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    pipeline.function.code = lambda messages: [{"old": True}]
    old, [item] = replayed(pipeline), pipeline.manifest()
    later(pipeline)
    pipeline.function.code = lambda messages: [{"new": True}]
    pipeline.replay(All=True)

    pipeline.name, pipeline.started = "run-1", "2026-02-01T00:00:00.000Z"
    summary = pipeline.finish(old)

    assert pipeline.s3.lines("out/") == [{"new": True}]
    assert (summary["objects"], summary["objectsSuperseded"], summary["objectsFailed"]) == (1, 1, 0)
    pipeline._step("PUBLISH", old["Run"], Batch=item)
    assert pipeline.s3.lines("out/") == [{"new": True}]


def test_of_two_runs_that_publish_at_the_same_time_the_later_one_wins(pipeline: Any) -> None:
    fill(pipeline, [{"t": 1}])
    pipeline.function.code = lambda messages: [{"old": True}]
    old, [item] = replayed(pipeline), pipeline.manifest()
    later(pipeline)
    pipeline.function.code = lambda messages: [{"new": True}]
    new = replayed(pipeline)
    # The new run publishes just after the old one has looked at what is there.
    pipeline.s3.before_write.append(lambda: pipeline._step("PUBLISH", new["Run"], Batch=item))

    pipeline._step("PUBLISH", old["Run"], Batch=item)

    assert pipeline.s3.lines("out/") == [{"new": True}]


def test_the_late_workers_of_an_older_run_note_no_errors_of_what_a_newer_one_published(pipeline: Any) -> None:
    pipeline.settings["ToleratedFailurePercentage"] = 100
    fill(pipeline, [{"t": 1}])
    old, [item] = pipeline.plan(All=True), pipeline.manifest()
    later(pipeline)
    pipeline.replay(All=True)

    pipeline.function.code = fail_on(1)
    pipeline._step("REPLAY", old["Run"], Batch=item)

    assert pipeline.s3.keys(RESULT, "errors/") == []


@pytest.mark.parametrize("by", ["a copy", "parts"])
def test_a_rollback_is_not_undone_by_the_run_that_it_cancelled(pipeline: Any, by: str) -> None:
    """The rollback's results are equal to those that the cancelled run saw, to the byte but for the run's name."""
    fill(pipeline, [{"t": 1}])
    pipeline.replay(All=True)
    pipeline.name, pipeline.started = "cancelled", "2026-02-02T00:00:00.000Z"
    pipeline.function.code = lambda messages: [{"new": True}]
    cancelled, [item] = replayed(pipeline), pipeline.manifest()
    pipeline.name, pipeline.started = "rollback", "2026-02-03T00:00:00.000Z"
    pipeline.function.code = lambda messages: messages
    rollback = replayed(pipeline)
    pipeline.s3.is_old = by == "parts"
    # The cancelled run has looked at what is there, and is about to write.
    pipeline.s3.before_write.append(lambda: pipeline._step("PUBLISH", rollback["Run"], Batch=item))

    pipeline._step("PUBLISH", cancelled["Run"], Batch=item)

    assert pipeline.s3.lines("out/") == [{"t": 1}]
    assert {started for _, started in destination(pipeline).values()} == {"2026-02-03T00:00:00.000Z"}


COPIED = "2026-01-02T00:00:00.000Z"


def staged(pipeline: Any, body: bytes) -> Any:
    """A staged result, and its run."""
    run = replace(pipeline.parsed(), started=COPIED)
    pipeline.s3.buckets[RESULT]["staged"] = Stored(body, {"replay-started": COPIED})
    return run


@pytest.mark.parametrize("why", ["a boto3 without conditions on copies", "no conditions", "too large"])
def test_a_copy_that_cannot_be_made_at_once_is_made_in_parts(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr("object_replay.uploads.COPY_PART", 5 << 20)
    body = bytes(range(256)) * (12 << 12)
    run = staged(pipeline, body)
    match why:
        case "no conditions":
            pipeline.s3.fail("CopyObject", "NotImplemented", 501)
        case "too large":
            pipeline.s3.copy_limit = 10 << 20
        case _:
            pipeline.s3.is_old = True

    assert pipeline.storage.copy(RESULT, "staged", "target", run=run)

    assert [call for call, _ in pipeline.s3.calls].count("UploadPartCopy") == 3
    stored = pipeline.s3.buckets[RESULT]["target"]
    assert (stored.body, stored.metadata) == (body, {"replay-started": COPIED})
    assert pipeline.s3.uploads == {}
    older = replace(run, started="2026-01-01T00:00:00.000Z")
    with pytest.raises(Superseded, match="s3://result-bucket/target was written by a run that began later"):
        pipeline.storage.copy(RESULT, "staged", "target", run=older)


@pytest.mark.parametrize("size", [0, 1, 5 << 20, 6 << 20])
def test_a_small_object_is_copied_in_one_part(pipeline: Any, size: int) -> None:
    run = staged(pipeline, b"x" * size)
    pipeline.s3.is_old = True

    assert pipeline.storage.copy(RESULT, "staged", "target", run=run)

    assert pipeline.s3.buckets[RESULT]["target"].body == b"x" * size
    assert [call for call, _ in pipeline.s3.calls].count("UploadPartCopy") == 1


def test_a_result_that_is_staged_anew_while_it_is_copied_in_parts_is_not_mixed(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("object_replay.uploads.COPY_PART", 5 << 20)
    run = staged(pipeline, b"x" * (6 << 20))
    pipeline.s3.is_old = True
    copy = pipeline.s3.upload_part_copy

    def copied_before_another_call_stages(**request: Any) -> Any:
        answer = copy(**request)
        staged(pipeline, b"y" * (6 << 20))
        return answer

    monkeypatch.setattr(pipeline.s3, "upload_part_copy", copied_before_another_call_stages)

    assert pipeline.storage.copy(RESULT, "staged", "target", run=run)
    assert pipeline.s3.buckets[RESULT]["target"].body == b"y" * (6 << 20)
    assert pipeline.s3.uploads == {}


def test_a_copy_in_parts_that_fails_leaves_no_upload_behind(pipeline: Any) -> None:
    run = staged(pipeline, b"x")
    pipeline.s3.is_old = True
    pipeline.s3.fail("UploadPartCopy", "InternalError", 500)

    with pytest.raises(Throttled, match="cannot write s3://result-bucket/target: InternalError"):
        pipeline.storage.copy(RESULT, "staged", "target", run=run)
    assert pipeline.s3.uploads == {}
