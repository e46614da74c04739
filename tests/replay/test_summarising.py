"""What a run says of itself at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from object_replay.faults import ReplayStopped
from object_replay.notes import Note, Published, PublishingNote, published, summed
from object_replay.settings import WorkItem
from object_replay.summarising import close, summarise
from object_replay.tally import Tally

RESULT = "result-bucket"


def note(
    pipeline: Any,
    objects: dict[str, Tally],
    *,
    item: int = 0,
    part: int = 0,
    call: str = "call",
    finished: str = "2026-02-01T00:00:00+00:00",
    stopped: str = "",
) -> None:
    Note(call, finished, stopped, objects).write(
        pipeline.storage, pipeline.parsed(), WorkItem(item, [*objects], part)
    )


def note_published(
    pipeline: Any,
    objects: dict[str, bool],
    *,
    item: int = 0,
    call: str = "call",
    finished: str = "2026-02-01T00:00:00+00:00",
    stopped: str = "",
) -> None:
    PublishingNote(finished, stopped, objects).write(
        pipeline.storage, pipeline.parsed(), WorkItem(item, [*objects]), call=call
    )


def summarised(pipeline: Any, *, check: Any = lambda: None, error: str = "", **plan: Any) -> Any:
    run = pipeline.parsed(**plan)
    return summarise(run, pipeline.storage, check, now=pipeline.clock.now(), error=error)


def refuse() -> None:
    raise ReplayStopped("must not be published")


def ok(messages: int = 1) -> Tally:
    return Tally(objects=1, messages_in=messages, messages_out=messages)


def test_notes_of_several_calls_and_work_items_add_up(pipeline: Any) -> None:
    pipeline.s3.page = 1
    note(pipeline, {"a": ok(1)})
    note(pipeline, {"b": ok(20)}, part=1)
    note(pipeline, {"c": ok(300)}, item=1)
    note(pipeline, {"d": ok(4000)}, item=12)

    tally, stopped = summed(pipeline.storage, pipeline.parsed())

    assert (tally.objects, tally.messages_in, stopped) == (4, 4321, "")


def test_of_two_notes_of_one_object_the_later_counts(pipeline: Any) -> None:
    note(pipeline, {"a": ok(1), "b": ok(10)}, call="x", finished="2026-02-01T00:00:02+00:00")
    note(pipeline, {"a": Tally.of_failed("a", "bad")}, call="y", finished="2026-02-01T00:00:01+00:00")

    tally, _ = summed(pipeline.storage, pipeline.parsed())

    assert (tally.objects, tally.failed_objects, tally.messages_in) == (2, 0, 11)


def test_the_first_reason_to_stop_is_told(pipeline: Any) -> None:
    note(pipeline, {"a": ok()})
    note(pipeline, {"b": ok()}, item=1, stopped="no such bucket")
    note(pipeline, {"c": ok()}, item=2, stopped="cancelled")

    assert summed(pipeline.storage, pipeline.parsed())[1] == "no such bucket"


def test_a_note_reads_as_it_was_written_and_its_reason_is_bounded(pipeline: Any) -> None:
    failed = Tally.of_failed("key", "half of \ud83d a pair", bytes_in=7)
    note(pipeline, {"key": failed}, item=3, part=2, call="id", stopped="x" * 5000)

    [name] = pipeline.s3.keys(RESULT, "runs/")
    read = Note.parse(pipeline.storage.read_json(RESULT, name))

    assert name == "runs/out/run-1/results/000003-002-id.json"
    assert read.stopped == "x" * 2000
    assert read.objects["key"] == replace(failed, failures=[{"Key": "key", "Reason": "half of ? a pair"}])


def test_skipped_objects_are_those_of_planning_and_of_the_workers(pipeline: Any) -> None:
    note(pipeline, {"a": Tally(objects=1, skipped_objects=1), "b": ok()})

    summary, cause = summarised(pipeline, Objects=2, Skipped=30)

    assert (summary["objectsSkipped"], summary["objects"], cause) == (31, 2, "")


def test_a_summary_has_the_numbers_of_the_notes(pipeline: Any) -> None:
    tally = Tally(
        objects=1,
        messages_in=10,
        messages_out=5,
        messages_dropped=3,
        messages_failed=2,
        bytes_in=100,
        bytes_out=200,
        failures=[{"Key": "a", "Number": 1, "Reason": "bad"}],
    )
    note(pipeline, {"a": tally})
    pipeline.settings["ToleratedFailurePercentage"] = 50

    summary, cause = summarised(pipeline, Objects=1)

    assert cause == ""
    assert summary == {
        "status": "REPLAYED",
        "objects": 1,
        "objectsFailed": 0,
        "objectsSuperseded": 0,
        "objectsNotReplayed": 0,
        "objectsSkipped": 0,
        "messagesIn": 10,
        "messagesOut": 5,
        "messagesDropped": 3,
        "messagesFailed": 2,
        "bytesIn": 100,
        "bytesOut": 200,
        "durationSeconds": 120 * 86_400.0,
        "failures": tally.failures,
        "errors": "s3://result-bucket/errors/out/",
        "summary": "s3://result-bucket/runs/out/run-1/summary.json",
    }
    assert json.loads(pipeline.s3.buckets[RESULT]["runs/out/run-1/summary.json"].body) == summary


def test_a_run_without_objects_succeeds_at_once(pipeline: Any) -> None:
    summary, cause = summarised(pipeline, check=refuse)

    assert (summary["status"], cause) == ("SUCCEEDED", "")


def test_a_run_that_must_not_publish_fails_with_the_reason(pipeline: Any) -> None:
    note(pipeline, {"a": ok()})
    pipeline.s3.buckets[RESULT]["runs/out/run-1/staged/a"] = pipeline.s3.buckets[RESULT][
        pipeline.s3.keys(RESULT, "runs/")[0]
    ]

    summary, cause = summarised(pipeline, check=refuse, Objects=1)

    assert (summary["status"], cause) == ("FAILED", "must not be published")
    assert pipeline.s3.keys(RESULT, "runs/out/run-1/staged/") == []


def test_a_run_that_may_publish_keeps_what_it_staged(pipeline: Any) -> None:
    note(pipeline, {"a": ok()})
    pipeline.s3.buckets[RESULT]["runs/out/run-1/staged/a"] = pipeline.s3.buckets[RESULT][
        pipeline.s3.keys(RESULT, "runs/")[0]
    ]

    summarised(pipeline, Objects=1)

    assert pipeline.s3.keys(RESULT, "runs/out/run-1/staged/") == ["runs/out/run-1/staged/a"]


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("SlowDown", 503)])
def test_why_a_run_failed_is_told_though_its_folder_cannot_be_cleaned(
    pipeline: Any, code: str, status: int
) -> None:
    pipeline.s3.fail("ListObjectsV2", code, status, "/staged/")

    summary, cause = summarised(pipeline, Objects=1)

    assert summary["status"] == "FAILED"
    assert cause == (
        "1 of 1 objects and 0 of 0 messages failed, 1 objects were not replayed, tolerated are 0%; "
        "workers left no results"
    )


@pytest.mark.parametrize("failures", [0, 1, 3, 4])
def test_a_cause_names_the_first_failures(pipeline: Any, failures: int) -> None:
    for number in range(failures):
        note(pipeline, {f"key{number}": Tally.of_failed(f"key{number}", f"bad {number}")}, item=number)

    _, cause = summarised(pipeline, Objects=5, error="it ended")

    told = "; ".join(f"key{number}: bad {number}" for number in range(min(failures, 3)))
    assert cause.endswith(f"tolerated are 0%; {f'first: {told}' if failures else 'it ended'}")
    # Where the map ended early, what was not begun has not failed.
    assert cause.startswith(
        f"{failures} of 5 objects and 0 of 0 messages failed, {5 - failures} objects were"
    )


@pytest.mark.parametrize("where", ["summary", "refusal", "close"])
def test_a_cause_is_bounded_and_survives_the_runtime_s_encoder(pipeline: Any, where: str) -> None:
    reason = "half of \ud83d a pair " + "x" * 5000

    def check() -> None:
        raise ReplayStopped(reason)

    match where:
        case "summary":
            answer, cause = summarised(pipeline, Objects=1, error=reason)
        case "refusal":
            note(pipeline, {"a": ok()})
            answer, cause = summarised(pipeline, check=check, Objects=1)
        case _:
            run = pipeline.parsed(Objects=1)
            answer, cause = close(run, {}, pipeline.storage, now=pipeline.clock.now(), error=reason)

    assert len(cause) == (2000 if where == "refusal" else 4000)
    assert "half of ? a pair xxx" in cause
    json.dumps([answer, cause], ensure_ascii=False).encode()


def test_publishing_is_summed_up_by_object(pipeline: Any) -> None:
    note_published(pipeline, {"a": True, "b": False}, call="x", finished="2026-02-01T00:00:02+00:00")
    note_published(pipeline, {"a": False}, call="y", finished="2026-02-01T00:00:01+00:00", stopped="denied")
    note_published(pipeline, {"c": True}, item=1, stopped="gone")

    assert published(pipeline.storage, pipeline.parsed()) == Published(3, 2, "denied")


@pytest.mark.parametrize(("objects", "status"), [(2, "SUCCEEDED"), (3, "FAILED")])
def test_a_run_succeeds_when_publishing_is_finished_for_all_objects(
    pipeline: Any, objects: int, status: str
) -> None:
    note_published(pipeline, {"a": True, "b": False})

    run = pipeline.parsed(Objects=objects)
    summary, cause = close(run, {"objects": objects}, pipeline.storage, now=pipeline.clock.now())

    assert summary == {
        "objects": objects,
        "status": status,
        "objectsSuperseded": 1,
        "durationSeconds": 120 * 86_400.0,
    }
    assert json.loads(pipeline.s3.buckets[RESULT]["runs/out/run-1/summary.json"].body) == summary
    assert cause == ("" if objects == 2 else "publishing finished for 2 of 3 objects; workers left no notes")


def test_why_publishing_stopped_matters_more_than_how_the_map_ended(pipeline: Any) -> None:
    note_published(pipeline, {}, stopped="denied")

    _, cause = close(
        pipeline.parsed(Objects=1), {}, pipeline.storage, now=pipeline.clock.now(), error="ended"
    )

    assert cause == "publishing finished for 0 of 1 objects; denied"
