"""Runs of the archive's workflow from start to end, on moto's Step Functions and S3.

What a run asks of Lambda is the real worker; what it asks of S3 goes through botocore. What moto lacks is listed in
`moto_additions`. Waiting before a step is repeated takes no time here.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from moto_engine import PATIENCE, Busy, Ended, Engine
from pipeline_definitions import DESTINATION, SOURCE

START = datetime(2025, 1, 1, tzinfo=UTC)
Message = dict[str, Any]


def channel_key(day: int) -> str:
    moment = START + timedelta(days=day)
    first = int(moment.timestamp() * 1000)
    return (
        f"raw/channel/telemetry/__dt={moment:%Y-%m-%d} 00:00:00/"
        f"{first}_{first + 30_000}_111122223333_telemetry_0_0.json.gz"
    )


def stream_key(hour: int) -> str:
    moment = START + timedelta(hours=hour)
    return f"stream/{moment:%Y/%m/%d/%H}/readings-1-{moment:%Y-%m-%d-%H-%M-%S}-0a1b2c3d-0000-4000-8000-{hour:012x}.gz"


def fill(engine: Engine, *, objects: int, messages: int = 1) -> list[str]:
    """Objects of a channel, one a day, with numbered messages."""
    return [
        engine.put(channel_key(day), *({"n": day * messages + number} for number in range(messages)))
        for day in range(objects)
    ]


def numbers(messages: list[Message]) -> list[int]:
    return [message["n"] for message in messages]


def counts(summary: Message, *names: str) -> list[int]:
    return [summary[name] for name in names]


def test_a_list_of_messages_becomes_a_list_of_results(engine: Engine) -> None:
    fill(engine, objects=3, messages=2)
    engine.code = lambda messages: [message | {"unit": "C"} for message in messages if message["n"] != 3]

    summary = engine.summary("Activity")

    assert engine.lines("activity/") == [{"n": n, "unit": "C"} for n in (0, 1, 2, 4, 5)]
    assert summary["status"] == "SUCCEEDED"
    assert counts(summary, "objects", "messagesIn", "messagesOut", "messagesDropped") == [3, 6, 5, 1]
    assert json.loads(engine.body("runs/activity/run-1/summary.json")) == summary
    assert engine.keys("runs/activity/run-1/staged/") == []
    assert engine.keys("errors/") == []


def test_records_of_a_stream_become_results(engine: Engine) -> None:
    for hour in range(3):
        engine.put(stream_key(hour), {"n": hour, "drop": False}, {"n": hour, "drop": True})

    def transform(event: Any) -> Any:
        records = []
        for record in event["records"]:
            message = json.loads(base64.b64decode(record["data"]))
            data = base64.b64encode(json.dumps({"n": message["n"], "unit": "C"}).encode()).decode()
            records.append(
                {
                    "recordId": record["recordId"],
                    "result": "Dropped" if message["drop"] else "Ok",
                    "data": data,
                }
            )
        return {"records": records}

    engine.code = transform

    summary = engine.summary("Stream")

    assert engine.lines("stream/") == [{"n": n, "unit": "C"} for n in range(3)]
    assert counts(summary, "objects", "messagesIn", "messagesOut", "messagesDropped") == [3, 6, 3, 3]


def test_a_selection_that_matches_nothing_succeeds_without_a_map(engine: Engine) -> None:
    fill(engine, objects=2)

    described = engine.run("Activity", StartTime="2026-01-01T00:00:00Z")

    assert described["status"] == "SUCCEEDED"
    assert json.loads(described["output"])["objects"] == 0
    assert [step for _, step, _ in engine.steps] == ["PLAN", "SUMMARISE"]
    assert "MapRunStarted" not in engine.history(described)
    assert engine.keys("activity/") == []


@pytest.mark.parametrize(
    "messages", [{"S3Paths": ["elsewhere/object"]}, {"StartTime": "elsewhere"}, {"elsewhere": True}]
)
def test_a_selection_that_is_invalid_fails_before_any_work(engine: Engine, messages: Any) -> None:
    fill(engine, objects=1)

    described = engine.run("Activity", **messages)

    assert (described["status"], described["error"]) == ("FAILED", "SelectionFailed")
    assert "elsewhere" in described["cause"]
    assert engine.events == []
    assert engine.keys("activity/") == []


def test_an_archive_that_is_missing_fails_before_any_work(engine: Engine) -> None:
    engine.s3.delete_bucket(Bucket=SOURCE)

    described = engine.run("Activity")

    assert (described["status"], described["error"]) == ("FAILED", "SelectionFailed")
    assert "NoSuchBucket" in described["cause"]


def refuse(poison: int) -> Any:
    def code(messages: list[Message]) -> list[Message]:
        if poison in numbers(messages):
            raise ValueError("cannot convert")
        return messages

    return code


def test_a_message_that_fails_ends_a_strict_run_and_changes_no_result(engine: Engine) -> None:
    keys = fill(engine, objects=4, messages=3)
    engine.summary("Activity", "good")
    before = engine.stored("activity/")
    engine.code = refuse(7)

    described = engine.run("Activity", "bad")

    assert (described["status"], described["error"]) == ("FAILED", "ReplayFailed")
    assert "MapRunFailed" in engine.history(described)
    assert f"{keys[2]} message 2: ValueError: cannot convert" in described["cause"]
    assert engine.stored("activity/") == before
    assert ("bad", "PUBLISH") not in [(run, step) for run, step, _ in engine.steps]
    assert engine.keys("runs/activity/bad/staged/") == []
    [error] = engine.lines("errors/activity/")
    assert (error["key"], error["message"]) == (keys[2], '{"n": 7}')


def test_a_message_that_fails_costs_a_tolerant_run_that_message(engine: Engine) -> None:
    keys = fill(engine, objects=4, messages=3)
    engine.code = refuse(7)

    summary = engine.summary("Tolerant")

    assert numbers(engine.lines("tolerant/")) == [n for n in range(12) if n != 7]
    assert counts(summary, "objectsFailed", "messagesIn", "messagesOut", "messagesFailed") == [0, 12, 11, 1]
    [error] = engine.lines("errors/tolerant/")
    assert (error["key"], error["number"]) == (keys[2], 2)


def test_more_failures_than_a_tolerant_run_tolerates_end_it(engine: Engine) -> None:
    fill(engine, objects=4)

    def code(messages: list[Message]) -> list[Message]:
        if numbers(messages)[0]:
            raise ValueError("cannot convert")
        return messages

    engine.code = code

    described = engine.run("Tolerant")

    assert (described["status"], described["error"]) == ("FAILED", "ReplayFailed")
    assert "cannot convert" in described["cause"]
    assert engine.keys("tolerant/") == []


def test_what_a_worker_has_no_time_for_is_left_to_its_next_call(engine: Engine) -> None:
    keys = fill(engine, objects=5)

    def slow(messages: list[Message]) -> list[Message]:
        engine.clock.sleep(300)
        return messages

    engine.code = slow

    summary = engine.summary("Single")

    replayed = [each for _, step, each in engine.steps if step == "REPLAY"]
    assert len(replayed) > 1
    assert replayed[0] == keys
    assert all(set(later) < set(earlier) for earlier, later in pairwise(replayed))
    assert counts(summary, "objects", "objectsFailed", "objectsNotReplayed") == [5, 0, 0]
    assert numbers(engine.lines("single/")) == [0, 1, 2, 3, 4]
    assert len(engine.events) == 5


def throttled(poison: int, times: int) -> Any:
    left = [times]

    def code(messages: list[Message]) -> list[Message]:
        if poison in numbers(messages) and left[0]:
            left[0] -= 1
            raise Busy
        return messages

    return code


def calls_by_message(engine: Engine) -> Counter[int]:
    return Counter(n for event in engine.events for n in numbers(event))


def test_a_throttled_function_is_called_again_and_finished_objects_stay_finished(engine: Engine) -> None:
    fill(engine, objects=2, messages=3)
    engine.code = throttled(4, times=4)

    summary = engine.summary("Single")

    assert numbers(engine.lines("single/")) == list(range(6))
    assert counts(summary, "objectsFailed", "messagesFailed", "messagesOut") == [0, 0, 6]
    calls = calls_by_message(engine)
    assert [calls[n] for n in (0, 1, 2)] == [1, 1, 1]
    assert calls[4] == 5
    assert engine.clock.skipped > 1


def test_a_throttled_object_goes_on_where_it_was(engine: Engine) -> None:
    fill(engine, objects=1, messages=3)
    engine.code = throttled(1, times=4)

    engine.summary("Single")

    assert calls_by_message(engine) == {0: 1, 1: 5, 2: 1}


def test_a_worker_that_lambda_throttles_is_called_again(engine: Engine) -> None:
    fill(engine, objects=2)
    engine.busy_workers = 5

    summary = engine.summary("Activity")

    assert counts(summary, "objects", "objectsFailed") == [2, 0]
    assert engine.clock.skipped > 0


def kill(engine: Engine, poison: int) -> Any:
    def code(messages: list[Message]) -> list[Message]:
        if poison in numbers(messages):
            raise Ended
        return messages

    return code


def outlast(engine: Engine, poison: int) -> Any:
    def code(messages: list[Message]) -> list[Message]:
        if poison in numbers(messages):
            engine.clock.sleep(1000)
        return messages

    return code


def test_what_a_killed_worker_had_counts_as_failed(engine: Engine) -> None:
    keys = fill(engine, objects=4)
    engine.code = kill(engine, 3)

    summary = engine.summary("Tolerant")

    [lost] = [each for _, step, each in engine.steps if step == "GIVE_UP"]
    assert keys[3] in lost
    assert counts(summary, "objects", "objectsFailed", "objectsNotReplayed") == [4, len(lost), 0]
    assert numbers(engine.lines("tolerant/")) == [day for day in range(4) if keys[day] not in lost]
    errors = engine.lines("errors/tolerant/")
    assert [error["key"] for error in errors] == lost
    assert all("Runtime.ExitError" in error["reason"] for error in errors)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (kill, r"Runtime\.ExitError: .*signal: killed"),
        (outlast, r"Sandbox\.Timedout: .*Task timed out after 900\.00 seconds"),
    ],
)
def test_a_worker_that_lambda_ends_fails_a_strict_run_with_the_reason(
    engine: Engine, end: Any, reason: str
) -> None:
    fill(engine, objects=2)
    engine.code = end(engine, 1)

    described = engine.run("Single")

    assert (described["status"], described["error"]) == ("FAILED", "ReplayFailed")
    assert re.search(reason, described["cause"])
    assert engine.keys("single/") == []


def test_an_error_with_half_a_surrogate_pair_ends_a_strict_run_with_the_reason(engine: Engine) -> None:
    fill(engine, objects=1)
    engine.escapes = True

    def code(messages: list[Message]) -> list[Message]:
        raise ValueError("cannot convert \ud83d")

    engine.code = code

    described = engine.run("Single")

    assert described["error"] == "ReplayFailed"
    assert "cannot convert" in described["cause"]


def test_publishing_that_s3_denies_fails_the_run_and_the_next_one_completes_it(engine: Engine) -> None:
    fill(engine, objects=2)
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{DESTINATION}/activity/dt=2025-01-01/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    engine.s3.put_bucket_policy(Bucket=DESTINATION, Policy=policy)

    described = engine.run("Activity", "denied")

    assert (described["status"], described["error"]) == ("FAILED", "PublishingFailed")
    assert "activity/dt=2025-01-01/" in described["cause"]
    assert engine.keys("activity/dt=2025-01-01/") == []
    assert numbers(engine.lines("activity/")) in ([], [1])

    engine.s3.delete_bucket_policy(Bucket=DESTINATION)
    engine.summary("Activity", "allowed")

    assert numbers(engine.lines("activity/")) == [0, 1]


def generation(number: int) -> Any:
    return lambda messages: [message | {"generation": number} for message in messages]


def generations(engine: Engine) -> list[int]:
    return [message["generation"] for message in engine.lines("activity/")]


def test_an_older_run_that_publishes_last_leaves_the_results_of_the_newer(engine: Engine) -> None:
    fill(engine, objects=2)
    engine.code = generation(1)
    gate = engine.stop_before("older", step="PUBLISH")
    older = engine.start("Activity", "older")
    assert gate.reached.wait(PATIENCE)
    engine.code = generation(2)
    engine.summary("Activity", "newer")

    gate.opened.set()
    described = engine.ended(older)

    assert described["status"] == "SUCCEEDED"
    assert json.loads(described["output"])["objectsSuperseded"] == 2
    assert generations(engine) == [2, 2]


def test_a_run_whose_function_has_changed_since_its_plan_publishes_nothing(engine: Engine) -> None:
    fill(engine, objects=1)
    gate = engine.stop_before("run-1", step="SUMMARISE")
    execution = engine.start("Activity", "run-1")
    assert gate.reached.wait(PATIENCE)
    engine.code_sha256 = "1111"  # as after a deploy that was rolled back

    gate.opened.set()

    assert engine.ended(execution)["status"] == "FAILED"
    assert engine.keys("activity/") == []


def test_a_cancelled_run_cannot_replace_a_result_that_was_published_again(engine: Engine) -> None:
    fill(engine, objects=1)
    engine.code = generation(0)
    engine.summary("Activity", "first")
    engine.code = generation(1)
    gate = engine.stop_before("cancelled", write="activity/")
    cancelled = engine.start("Activity", "cancelled")
    assert gate.reached.wait(PATIENCE)  # it has looked at the first result, and is about to replace it
    engine.states.stop_execution(executionArn=cancelled)
    engine.code = generation(0)
    engine.summary("Activity", "rollback")
    assert generations(engine) == [0]

    gate.opened.set()

    assert engine.ended(cancelled)["status"] == "ABORTED"
    assert generations(engine) == [0]
