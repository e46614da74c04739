"""Which objects a run replays, and how they are spread."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_s3 import Stored

from object_replay import planning
from object_replay.faults import Throttled
from object_replay.settings import Selection
from object_replay.storage import StoredObject

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
    there = pipeline.put("raw/channel/telemetry/anything", {"n": 1})
    missing = "raw/channel/telemetry/not there"
    pipeline.s3.calls.clear()

    planned = pipeline.plan(S3Paths=[there, missing, there])

    assert keys(pipeline) == [there, missing]
    assert planned["Run"]["Plan"]["Objects"] == 2
    assert planned["Run"]["Plan"]["Bytes"] == len(pipeline.s3.buckets["raw-bucket"][there].body)
    assert sorted(pipeline.s3.calls[:2]) == [("HeadObject", there), ("HeadObject", missing)]
    assert [call for call, _ in pipeline.s3.calls[2:]] == ["PutObject"]


def test_a_path_that_cannot_be_looked_at_is_looked_at_later_or_by_the_worker(pipeline: Any) -> None:
    [key] = fill(pipeline, days=1)
    pipeline.s3.fail("HeadObject", "SlowDown", 503)

    with pytest.raises(Throttled, match=f"cannot look at s3://raw-bucket/{key}: SlowDown"):
        pipeline.plan(S3Paths=[key])
    pipeline.s3.denied.add(("HeadObject", key))

    assert pipeline.plan(S3Paths=[key])["Run"]["Plan"]["Objects"] == 1


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        (
            {"S3Paths": ["elsewhere/x"]},
            "'elsewhere/x' is not in the archive: its objects begin with 'raw/channel/telemetry/'",
        ),
        (
            {"S3Paths": "raw/channel/telemetry/x"},
            "'S3Paths' must be a list of object keys, got \"raw/channel/telemetry/x\"",
        ),
        ({"S3Paths": 5}, "'S3Paths' must be a list of object keys, got 5"),
        ({"S3Paths": ["raw/x", 5]}, "'S3Paths' must be a list of object keys, got [\"raw/x\", 5]"),
        (
            {"S3Paths": []},
            "'messages' must have StartTime and/or EndTime, S3Paths, KeysFrom, or All, got S3Paths",
        ),
        (
            {"LastSeconds": 3},
            "'messages' must have StartTime and/or EndTime, S3Paths, KeysFrom, or All, got LastSeconds",
        ),
        ({"All": False}, "'messages' must have StartTime and/or EndTime, S3Paths, KeysFrom, or All, got All"),
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
            {"StartTime": "9999-12-31T23:00:00-05:00", "EndTime": "9999-12-31T22:00:00-06:00"},
            "'StartTime' must be before 'EndTime', got 9999-12-31T23:00:00-05:00 and 9999-12-31T22:00:00-06:00",
        ),
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


@pytest.mark.parametrize(("messages", "shown"), [("All", '"All"'), (5, "5"), (["a/b"], '["a/b"]')])
def test_a_selection_is_an_object(messages: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=rf"^'messages' must be an object, got {re.escape(shown)}$"):
        Selection.parse(messages)


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


def test_any_objects_are_planned_but_for_results_in_the_same_bucket(pipeline: Any) -> None:
    pipeline.settings["Source"] = {
        "Layout": "OBJECTS",
        "Root": "",
        "Bucket": "result-bucket",
        "Suffix": ".json",
    }
    pipeline.s3.buckets["raw-bucket"] = pipeline.s3.buckets["result-bucket"]
    key = pipeline.put("data.json", {"n": 1})
    pipeline.put("out/data.json", {"n": 1})
    pipeline.put("errors/out/data.json", {"n": 1})

    first = pipeline.replay(All=True)
    second = pipeline.replay(StartTime="2025-01-01T00:00:00Z")

    assert keys(pipeline) == [key]
    assert first["objects"] == second["objects"] == 1
    assert len(pipeline.s3.keys("result-bucket", "out/data-")) == 1


@pytest.mark.parametrize("offset", ["Z", "+14:00", "-12:00"])
def test_a_far_end_and_start_cost_few_listings(pipeline: Any, offset: str) -> None:
    stored = fill(pipeline, days=4)
    pipeline.s3.calls.clear()

    pipeline.plan(StartTime=f"0001-01-01T00:00:00{offset}", EndTime=f"9999-12-31T23:59:59{offset}")

    assert keys(pipeline) == stored
    assert len([call for call, _ in pipeline.s3.calls if call == "ListObjectsV2"]) <= 19


ALL = ", or select with MessageSelection.all()"
PREFIX = (
    "; give Archive.firehose() the stream's own prefix with its expressions, and its time zone and file extension "
    "where it has them"
)
NAME = "telemetry-1-2026-11-20-10-00-00-0a1b2c3d-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({}, f"raw/2026/11/20/{NAME}"),
        ({}, f"raw/year=2026/month=11/day=20/{NAME}"),
        ({}, "raw/notes.txt"),
        ({"Root": "raw"}, f"raw/2026/11/20/10/{NAME}"),
        ({"Path": "!{timestamp:yyyy/MM/dd/}"}, f"raw/2026-11-20/{NAME}"),
        ({"Suffix": ".gz"}, f"raw/2026/11/20/10/{NAME}.parquet"),
    ],
    ids=["days", "hive", "no stream's", "no slash", "other expressions", "suffix"],
)
@pytest.mark.parametrize("end", ["2026-11-20T11:00:00Z", "2027-01-01T00:00:00Z"])
def test_a_run_fails_that_selects_nothing_where_keys_are_others(
    firehose: Any, source: dict[str, str], key: str, end: str
) -> None:
    firehose.settings["Source"] |= source
    firehose.put(key, {"n": 1})

    answer = firehose.replay(StartTime="2026-11-20T10:00:00Z", EndTime=end)

    root, path = firehose.settings["Source"]["Root"], source.get("Path", "!{timestamp:yyyy/MM/dd/HH/}")
    assert answer == {
        "Error": "SelectionFailed",
        "Cause": f"nothing is selected, and 1 of the first 1 objects in s3://raw-bucket/{root} do not "
        f"follow the archive's layout: '{key}' is not of the form '{root}{path}<stream>-<version>-YYYY-MM-dd-HH-mm-ss-"
        f"<uuid>{source.get('Suffix', '')}' in UTC{PREFIX}{ALL}",
    }
    assert firehose.s3.keys("result-bucket") == []


def test_a_stream_in_another_time_zone_is_noticed_where_its_times_are_to_come(firehose: Any) -> None:
    key = firehose.put(f"raw/2026/11/20/10/{NAME}", {"n": 1})
    firehose.s3.buckets["raw-bucket"][key].modified = datetime(2026, 11, 20, 1, 2, tzinfo=UTC)

    answer = firehose.replay(StartTime="2026-11-20T01:00:00Z", EndTime="2026-11-20T02:00:00Z")
    firehose.settings["Source"]["TimeZone"] = "Asia/Tokyo"
    declared = firehose.plan(StartTime="2026-11-20T01:00:00Z", EndTime="2026-11-20T02:00:00Z")

    assert answer["Cause"].startswith(
        "nothing is selected, and 1 of the first 1 objects in s3://raw-bucket/raw/ do not follow the archive's "
        f"layout: '{key}' is from 2026-11-20T10:00:00Z by its name, which is after 2026-11-20T01:02:00Z, when it was "
        "written: the stream has another time zone; "
    )
    assert declared["Run"]["Plan"]["Objects"] == 1


def test_a_channel_whose_keys_are_others_fails_too(pipeline: Any) -> None:
    pipeline.put("raw/channel/telemetry/2025/01/01/x.json", {"n": 1})

    answer = pipeline.replay(StartTime="2025-01-01T00:00:00Z")

    assert answer["Cause"] == (
        "nothing is selected, and 1 of the first 1 objects in s3://raw-bucket/raw/channel/telemetry/ do not follow "
        "the archive's layout: 'raw/channel/telemetry/2025/01/01/x.json' is not of the form "
        "'raw/channel/telemetry/__dt=YYYY-MM-DD 00:00:00/<start>_<end>_...', in milliseconds since 1970; give "
        f"Archive.iot_analytics_channel() the prefix of the channel's own storage{ALL}"
    )


def test_a_suffix_that_no_object_has_fails_a_selection_of_everything(pipeline: Any) -> None:
    pipeline.settings["Source"] = {
        "Layout": "OBJECTS",
        "Bucket": "raw-bucket",
        "Root": "raw/",
        "Suffix": ".csv",
    }
    for name in ("a.json", "b.json", "folder/"):
        pipeline.put(f"raw/{name}", {"n": 1})

    assert pipeline.replay(All=True) == {
        "Error": "SelectionFailed",
        "Cause": "nothing is selected, and 2 of the first 2 objects in s3://raw-bucket/raw/ do not follow the "
        "archive's layout: 'raw/a.json' is not of the form 'raw/*.csv'; give Archive.objects() another suffix",
    }


@pytest.mark.parametrize(
    ("key", "messages"),
    [
        (None, {"All": True}),
        (None, {"StartTime": "2026-11-20T10:00:00Z"}),
        (f"raw/2026/11/19/09/{NAME.replace('20-10', '19-09')}", {"StartTime": "2026-11-20T10:00:00Z"}),
        (f"raw/processing-failed/2026/11/20/10/{NAME}", {"StartTime": "2026-11-20T10:00:00Z"}),
        (f"raw/processing-failed/2026/11/20/10/{NAME}", {"All": True}),
    ],
    ids=["nothing", "nothing by time", "another time", "error output by time", "error output"],
)
def test_an_empty_selection_succeeds_where_nothing_is_wrong(
    firehose: Any, key: str | None, messages: Any
) -> None:
    if key:
        firehose.put(key, {"n": 1})

    answer = firehose.replay(**messages)

    assert (answer["status"], answer["objects"]) == ("SUCCEEDED", 0)


def test_a_marker_without_content_is_no_reason_to_fail(firehose: Any) -> None:
    firehose.s3.buckets["raw-bucket"]["raw/_SUCCESS"] = Stored(b"", {})

    assert firehose.replay(StartTime="2026-11-20T10:00:00Z")["objects"] == 0


def test_looking_for_the_reason_of_an_empty_selection_ends(
    firehose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "LOOK_AROUND", 4)
    for day in range(1, 10):
        firehose.put(firehose.firehose_key(START + timedelta(days=day)), {"n": 1})
    firehose.put("raw/z", {"n": 1})

    answer = firehose.replay(StartTime="2026-11-20T10:00:00Z")

    assert answer["objects"] == 0


def test_results_in_the_archive_are_no_reason_to_fail(pipeline: Any) -> None:
    pipeline.settings["Source"] |= {"Layout": "FIREHOSE", "Root": "", "Bucket": "result-bucket"}
    pipeline.s3.buckets["raw-bucket"] = pipeline.s3.buckets["result-bucket"]
    pipeline.put("out/dt=2026-11-20/x.json.gz", {"n": 1})

    assert pipeline.replay(StartTime="2026-11-20T10:00:00Z")["objects"] == 0


@pytest.mark.parametrize("messages", [{"All": True}, {"StartTime": "2026-11-20T10:00:00Z"}])
def test_error_output_is_skipped_and_counted_or_replayed(firehose: Any, messages: Any) -> None:
    message = firehose.put(f"raw/2026/11/20/10/{NAME}", {"n": 1})
    failed = firehose.put(f"raw/2026/11/20/10/processing-failed/{NAME}", {"n": 1})
    beside = firehose.put(f"raw/processing-failed/2026/11/20/10/{NAME}", {"n": 1})
    firehose.put(f"raw/processing-failed/2026/11/20/09/{NAME.replace('20-10', '20-09')}", {"n": 1})

    skipping = firehose.plan(**messages)["Run"]["Plan"]
    skipped = keys(firehose)
    firehose.settings["Source"]["ReplaysErrorOutput"] = True
    replaying = firehose.plan(**messages)["Run"]["Plan"]

    by_time = "StartTime" in messages
    assert (skipped, skipping["Skipped"]) == ([message], 1 if by_time else 3)
    assert replaying["Skipped"] == 0
    assert {message, failed, beside} <= set(keys(firehose))
    assert replaying["Objects"] == (3 if by_time else 4)


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_archived_objects_fail_the_run_before_it_begins(pipeline: Any, storage_class: str) -> None:
    stored = fill(pipeline, days=5)
    bucket = pipeline.s3.buckets["raw-bucket"]
    for key in stored[1:]:
        bucket[key].storage_class = storage_class
    bucket[stored[3]].restore = 'ongoing-request="true"'
    bucket[stored[4]].restore = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"'

    for messages in ({"All": True}, {"StartTime": "2025-01-01T00:00:00Z"}, {"S3Paths": stored}):
        assert pipeline.replay(**messages) == {
            "Error": "SelectionFailed",
            "Cause": "2 of 5 selected objects are archived and 1 are being restored, such as "
            f"s3://raw-bucket/{stored[1]}; restore them for longer than the replay takes (RestoreObject, or S3 Batch "
            "Operations), wait until that is done, and run it again, or select other messages",
        }
    assert pipeline.s3.keys("result-bucket") == []
    assert pipeline.function.events == []


def test_archived_objects_that_are_not_selected_do_no_harm(pipeline: Any) -> None:
    stored = fill(pipeline, days=2)
    pipeline.s3.buckets["raw-bucket"][stored[0]].storage_class = "GLACIER"

    pipeline.plan(StartTime="2025-01-02T00:00:00Z")

    assert keys(pipeline) == stored[1:]


def test_what_can_be_read_is_planned_whatever_its_storage_class(pipeline: Any) -> None:
    stored = fill(pipeline, days=4)
    bucket = pipeline.s3.buckets["raw-bucket"]
    classes = ("GLACIER_IR", "STANDARD_IA", "INTELLIGENT_TIERING", "DEEP_ARCHIVE")
    for key, storage_class in zip(stored, classes, strict=True):
        bucket[key].storage_class = storage_class
    bucket[stored[3]].restore = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"'

    for messages in ({"All": True}, {"S3Paths": stored}):
        pipeline.plan(**messages)
        assert keys(pipeline) == stored


@pytest.mark.parametrize("restore", ["", 'ongoing-request="true"'])
def test_the_archive_tiers_of_intelligent_tiering_are_seen_by_name_only(pipeline: Any, restore: str) -> None:
    [key] = fill(pipeline, days=1)
    found = pipeline.s3.buckets["raw-bucket"][key]
    found.storage_class, found.archive_status, found.restore = (
        "INTELLIGENT_TIERING",
        "ARCHIVE_ACCESS",
        restore,
    )

    answer = pipeline.replay(S3Paths=[key])

    counts = (
        "0 of 1 selected objects are archived and 1"
        if restore
        else "1 of 1 selected objects are archived and 0"
    )
    assert answer["Cause"].startswith(f"{counts} are being restored")


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


def test_objects_that_no_worker_reads_are_cut_by_their_number(uploads: Any) -> None:
    uploads.settings["Workers"] = 2
    for number, size in enumerate([9000, 1, 1, 1, 1, 1]):
        uploads.put(f"{number}", raw=b"x" * size)

    uploads.plan(All=True)

    assert [item["Keys"] for item in uploads.manifest()] == [["0", "1", "2"], ["3", "4", "5"]]


def test_a_huge_selection_of_large_objects_that_no_worker_reads_fills_its_work_items() -> None:
    objects = (StoredObject(f"{number}", planning.MAX_BYTES) for number in range(1_000_000))

    cut = [len(item.keys) for item in planning.work_items(objects, workers=10_000, by_bytes=False)]

    assert cut == [1] * 10_000 + [100] * 9_900


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
