"""Which objects a run replays, and how they are spread."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from archive_replay import planning
from archive_replay.faults import Throttled
from archive_replay.storage import StoredObject

START = datetime(2025, 1, 1, tzinfo=UTC)


def keys(pipeline: Any) -> list[str]:
    return [key for item in pipeline.manifest() for key in item["Keys"]]


def fill(pipeline: Any, days: int) -> list[str]:
    return [
        pipeline.put(pipeline.channel_key(START + timedelta(days=day)), {"n": day}) for day in range(days)
    ]


def test_all_is_everything_under_the_prefix_of_the_archive(pipeline: Any) -> None:
    stored = fill(pipeline, days=10)
    odd = pipeline.put("raw/channel/telemetry/odd", {"n": 1})
    pipeline.put("raw/channel/telemetry/folder/")
    pipeline.put("raw/channel/telemetry2/other", {"n": 1})

    planned = pipeline.plan(All=True)

    assert sorted(keys(pipeline)) == sorted([*stored, odd])
    assert planned["Run"]["Plan"]["Objects"] == 11


def test_a_time_range_lists_and_takes_nothing_outside_of_it(pipeline: Any) -> None:
    stored = fill(pipeline, days=60)
    pipeline.s3.calls.clear()

    planned = pipeline.plan(StartTime="2025-01-10T00:00:00Z", EndTime="2025-02-03T00:00:00Z")

    assert keys(pipeline) == stored[9:33]
    assert planned["Run"]["Plan"] == {
        "Objects": 24,
        "WorkItems": 4,
        "Bytes": sum(len(pipeline.s3.buckets["raw-bucket"][key].body) for key in stored[9:33]),
        "Skipped": 0,
        "FunctionDigest": planned["Run"]["Plan"]["FunctionDigest"],
    }
    days = [*range(9, 32), "2025-02-01", "2025-02-02"]
    assert [prefix for call, prefix in pipeline.s3.calls if call == "ListObjectsV2"] == [
        f"raw/channel/telemetry/__dt={day if isinstance(day, str) else f'2025-01-{day:02d}'}" for day in days
    ]


@pytest.mark.parametrize("bound", ["StartTime", "EndTime"])
def test_either_bound_may_stand_alone(pipeline: Any, bound: str) -> None:
    stored = fill(pipeline, days=4)

    pipeline.plan(**{bound: "2025-01-03T00:00:00Z"})

    assert keys(pipeline) == (stored[2:] if bound == "StartTime" else stored[:2])


def test_a_time_in_another_zone_is_that_time(pipeline: Any) -> None:
    stored = fill(pipeline, days=4)

    pipeline.plan(StartTime="2025-01-02T01:00:00+01:00", EndTime="2025-01-02T23:00:00-02:00")

    assert keys(pipeline) == stored[1:3]


def test_keys_that_do_not_follow_the_layout_are_counted_where_time_selects(pipeline: Any) -> None:
    fill(pipeline, days=1)
    pipeline.put("raw/channel/telemetry/__dt=2025-01-01 00:00:00/notes.txt")

    planned = pipeline.plan(StartTime="2025-01-01T00:00:00Z")

    assert planned["Run"]["Plan"]["Objects"] == 1
    assert planned["Run"]["Plan"]["Skipped"] == 1


def test_paths_are_taken_as_given(pipeline: Any) -> None:
    paths = ["raw/channel/telemetry/anything", "raw/channel/telemetry/not there"]
    pipeline.s3.calls.clear()

    planned = pipeline.plan(S3Paths=[*paths, paths[0]])

    assert keys(pipeline) == paths
    assert planned["Run"]["Plan"]["Objects"] == 2
    assert [call for call, _ in pipeline.s3.calls] == ["PutObject"]


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        (
            {"S3Paths": ["elsewhere/x"]},
            "'elsewhere/x' is not in the archive: its objects begin with 'raw/channel/telemetry/'",
        ),
        ({"S3Paths": []}, "'messages' must have StartTime and/or EndTime, S3Paths, or All, got S3Paths"),
        (
            {"LastSeconds": 3},
            "'messages' must have StartTime and/or EndTime, S3Paths, or All, got LastSeconds",
        ),
        ({"All": False}, "'messages' must have StartTime and/or EndTime, S3Paths, or All, got All"),
        (
            {"StartTime": "yesterday"},
            "'StartTime' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got 'yesterday'",
        ),
        (
            {"EndTime": "2025-01-01T00:00:00"},
            "'EndTime' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got '2025-01-01T00:00:00'",
        ),
        ({"StartTime": 5}, "'StartTime' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got '5'"),
        (
            {"StartTime": "2025-01-02T00:00:00Z", "EndTime": "2025-01-01T00:00:00Z"},
            "'StartTime' must be before 'EndTime', got 2025-01-02T00:00:00Z and 2025-01-01T00:00:00Z",
        ),
    ],
)
def test_a_selection_that_cannot_be_ends_the_run_with_its_reason(
    pipeline: Any, messages: Any, cause: str
) -> None:
    assert pipeline.replay(**messages) == {"Error": "SelectionFailed", "Cause": cause}


def test_a_missing_bucket_ends_the_run_with_its_reason(pipeline: Any) -> None:
    del pipeline.s3.buckets["raw-bucket"]

    assert pipeline.replay(All=True) == {
        "Error": "SelectionFailed",
        "Cause": "cannot list s3://raw-bucket/raw/channel/telemetry/: NoSuchBucket: NoSuchBucket in ListObjectsV2",
    }


def test_denied_access_ends_the_run_with_its_reason(pipeline: Any) -> None:
    pipeline.s3.denied.add(("ListObjectsV2", "^raw/"))

    assert pipeline.replay(All=True) == {
        "Error": "SelectionFailed",
        "Cause": "cannot list s3://raw-bucket/raw/channel/telemetry/: AccessDenied: AccessDenied in ListObjectsV2",
    }
    assert sum(pipeline.clock.slept) < 30


def test_a_policy_of_which_iam_has_not_heard_yet_is_waited_for(pipeline: Any) -> None:
    fill(pipeline, days=2)
    pipeline.started = "2026-06-01T00:00:00.000Z"
    for _ in range(3):
        pipeline.s3.fail("ListObjectsV2", "AccessDenied", 403)

    assert pipeline.plan(All=True)["Run"]["Plan"]["Objects"] == 2
    assert len(pipeline.clock.slept) == 3


def test_results_within_the_archive_are_not_replayed_themselves(pipeline: Any) -> None:
    pipeline.settings["Source"] |= {"Layout": "FIREHOSE", "Root": "", "Bucket": "result-bucket"}
    pipeline.s3.buckets["raw-bucket"] = pipeline.s3.buckets["result-bucket"]
    key = pipeline.put(pipeline.firehose_key(START), {"n": 1})
    pipeline.settings["Function"]["Contract"] = "LAMBDA_ACTIVITY"

    first = pipeline.replay(All=True)
    second = pipeline.replay(All=True)

    assert keys(pipeline) == [key]
    assert first["objects"] == second["objects"] == 1


def test_an_archive_that_is_the_destination_is_refused(pipeline: Any) -> None:
    pipeline.settings["Source"]["Bucket"] = "result-bucket"
    pipeline.settings["Destination"]["Prefix"] = "raw/channel/telemetry/"

    answer = pipeline.replay(All=True)

    assert answer["Error"] == "SelectionFailed"
    assert answer["Cause"] == (
        "the archive s3://result-bucket/raw/channel/telemetry/ would hold the results of its own replay; "
        "give the destination another prefix"
    )


def test_a_few_objects_are_spread_over_all_workers(pipeline: Any) -> None:
    fill(pipeline, days=10)

    pipeline.plan(All=True)

    assert [len(item["Keys"]) for item in pipeline.manifest()] == [3, 3, 3, 1]
    assert [item["Number"] for item in pipeline.manifest()] == list(range(len(pipeline.manifest())))


def test_work_items_are_balanced_by_bytes(pipeline: Any) -> None:
    sizes = [9000, 100, 100, 100, 100, 9000, 100, 9000]
    for day, size in enumerate(sizes):
        pipeline.put(pipeline.channel_key(START + timedelta(days=day)), raw=b"x" * size)

    pipeline.plan(All=True)

    loads = [
        sum(len(pipeline.s3.buckets["raw-bucket"][key].body) for key in item["Keys"])
        for item in pipeline.manifest()
    ]
    assert sum(loads) == sum(sizes)
    assert max(loads) < 9000 + sum(sizes) / 4
    assert len(loads) <= 5


def test_a_large_selection_is_cut_as_it_is_listed(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LOOK_AHEAD", 50)
    monkeypatch.setattr(planning, "MAX_KEYS", 7)
    stored = fill(pipeline, days=120)

    planned = pipeline.plan(All=True)

    assert keys(pipeline) == stored
    assert [len(item["Keys"]) for item in pipeline.manifest()] == [7] * 17 + [1]
    assert planned["Run"]["Plan"]["WorkItems"] == 18


def test_a_large_selection_gives_every_worker_a_work_item(pipeline: Any) -> None:
    objects = (StoredObject(f"{number}", 1) for number in range(30_000))

    cut = [len(item.keys) for item in planning.work_items(objects, workers=400)]

    assert cut == [25] * 1_200


def test_a_huge_selection_has_no_more_work_items_than_a_map_can_give_back() -> None:
    objects = (StoredObject(f"{number}", 1) for number in range(1_000_000))

    cut = [len(item.keys) for item in planning.work_items(objects, workers=10_000)]

    assert cut == [1] * 10_000 + [100] * 9_900


def test_the_longest_keys_fit_the_input_of_a_worker(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    for number in range(150):
        pipeline.put(f"raw/channel/telemetry/{number:04d}{'ü' * 490}", {"n": 1})

    pipeline.plan(All=True)

    manifest = pipeline.s3.buckets["result-bucket"]["runs/out/run-1/manifest.jsonl"].body
    assert [len(item["Keys"]) for item in pipeline.manifest()] == [100, 50]
    assert max(map(len, manifest.splitlines())) < 262_144 / 2


def test_a_listing_that_is_throttled_is_repeated_by_the_state_machine(pipeline: Any, s3: Any) -> None:
    fill(pipeline, days=1)
    s3.fail("ListObjectsV2", "SlowDown", 503)

    with pytest.raises(Throttled, match="cannot list s3://raw-bucket/raw/channel/telemetry/: SlowDown"):
        pipeline.plan(All=True)
    assert pipeline.plan(All=True)["Run"]["Plan"]["Objects"] == 1
