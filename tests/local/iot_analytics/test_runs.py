"""Reprocessing: what a run reads and writes, and how it ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.loopback

TO_CELSIUS = {"math": {"attribute": "celsius", "math": "(t - 32) * 5 / 9"}}
DAY = datetime(2025, 3, 1, tzinfo=UTC)


def _feed_days(analytics: Any, count: int) -> None:
    for number in range(count):
        analytics.feed({"day": number, "t": 32 + number}, at=(DAY + timedelta(days=number)).isoformat())


def test_a_run_brings_what_was_stored_up_to_date_and_keeps_the_old_rows(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 3)
    analytics.change(TO_CELSIUS)

    rows = analytics.reprocess()

    assert rows == [{"day": number, "t": 32 + number, "celsius": number * 5 / 9} for number in range(3)]
    assert [row["day"] for row in analytics.control.rows("celsius", "live")] == [0, 1, 2]
    assert len(analytics.control.rows("celsius")) == 6


def test_objects_of_a_run_lie_beside_the_old_ones_and_bear_its_id(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 1)
    run = analytics.start()
    analytics.ended(run)

    [key] = [key for key in analytics.keys("out") if "live" not in key]

    assert key == (
        "clean/datastore/celsius/__dt=2025-03-01 00:00:00/"
        f"1740787200000_1740787230000_123456789012_celsius_{run}_0.json.gz"
    )


def test_a_repeated_run_appends_once_more(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 2)

    analytics.reprocess()
    analytics.reprocess()

    assert sorted(row["day"] for row in analytics.control.rows("celsius")) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [(None, None, [0, 1, 2, 3]), (1, None, [1, 2, 3]), (None, 2, [0, 1]), (1, 3, [1, 2]), (7, None, [])],
)
def test_start_is_inclusive_and_end_exclusive(
    analytics: Any, first: int | None, last: int | None, days: list[int]
) -> None:
    analytics.pipeline()
    _feed_days(analytics, 4)
    times = {"startTime": first, "endTime": last}

    rows = analytics.reprocess(
        **{name: DAY + timedelta(days=number) for name, number in times.items() if number is not None}
    )

    assert [row["day"] for row in rows] == days


def test_a_run_can_name_its_objects(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 3)
    keys = analytics.keys("raw")

    rows = analytics.reprocess(channelMessages={"s3Paths": [keys[2], keys[0]]})

    assert sorted(row["day"] for row in rows) == [0, 2]


@pytest.mark.parametrize(
    ("selection", "problem"),
    [
        (
            {"startTime": DAY, "channelMessages": {"s3Paths": ["k"]}},
            "'channelMessages' excludes 'startTime' and 'endTime'; use one or the other",
        ),
        (
            {"endTime": DAY, "channelMessages": {"s3Paths": ["k"]}},
            "'channelMessages' excludes 'startTime' and 'endTime'; use one or the other",
        ),
        (
            {"channelMessages": {}},
            "'channelMessages' must hold 's3Paths'; to reprocess the whole channel leave it out",
        ),
        (
            {"startTime": DAY, "endTime": DAY},
            "'startTime' must be before 'endTime', got 2025-03-01T00:00:00+00:00 and 2025-03-01T00:00:00+00:00",
        ),
        (
            {"channelMessages": {"s3Paths": ["s3://raw/in/channel/temperatures/x.json.gz"]}},
            "'channelMessages.s3Paths' must be full keys of objects of channel 'temperatures', with its key prefix "
            "and without the bucket, got 's3://raw/in/channel/temperatures/x.json.gz'",
        ),
    ],
)
def test_a_selection_that_is_none_is_refused(analytics: Any, selection: Any, problem: str) -> None:
    analytics.pipeline()

    assert analytics.refused(lambda: analytics.start(**selection)) == problem
    assert analytics.control.runs() == []


def test_a_key_without_the_channels_prefix_is_refused(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 1)
    [key] = analytics.keys("raw")

    message = analytics.refused(
        lambda: analytics.start(channelMessages={"s3Paths": [key.removeprefix("in/")]})
    )

    assert "with its key prefix" in message


def test_objects_of_the_services_own_channel_cannot_be_named(analytics: Any) -> None:
    analytics.channel(prefix=None)
    analytics.pipeline()

    message = analytics.refused(lambda: analytics.start(channelMessages={"s3Paths": ["k"]}))

    assert message == (
        "'channelMessages.s3Paths' needs a channel with customer-managed storage, and 'temperatures' has none; "
        "use 'startTime' and 'endTime'"
    )


def test_the_services_own_storage_works_as_well(analytics: Any) -> None:
    analytics.channel(prefix=None)
    analytics.datastore(managed=False)
    analytics.pipeline(TO_CELSIUS)
    _feed_days(analytics, 2)

    rows = analytics.reprocess(startTime=DAY + timedelta(days=1))

    assert rows == [{"day": 1, "t": 33, "celsius": 5 / 9}]
    assert analytics.keys("raw") == analytics.keys("out") == []


def test_a_run_without_messages_succeeds(analytics: Any) -> None:
    analytics.pipeline()

    assert analytics.reprocess() == []


def test_an_object_of_which_nothing_is_left_writes_nothing(analytics: Any) -> None:
    analytics.pipeline({"filter": {"filter": "t > 1000"}})
    _feed_days(analytics, 2)

    analytics.reprocess()

    [run] = analytics.control.runs()
    assert analytics.keys("out") == []
    assert (run["messagesRead"], run["messagesDropped"], run["messagesWritten"]) == (2, 2, 0)


def test_a_run_keeps_the_activities_that_it_was_started_with(analytics: Any) -> None:
    analytics.pipeline(TO_CELSIUS)
    _feed_days(analytics, 1)
    analytics.control.hold_runs()
    run = analytics.start()

    analytics.change()
    analytics.control.release_runs()

    assert analytics.ended(run) == "SUCCEEDED"
    assert analytics.control.rows("celsius", run) == [{"day": 0, "t": 32, "celsius": 0.0}]


def test_a_held_run_is_running_until_it_is_released(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 1)
    analytics.control.hold_runs()

    run = analytics.start()
    held = analytics.status(run), analytics.control.rows("celsius", run)
    analytics.control.release_runs()

    assert held == ("RUNNING", [])
    assert analytics.ended(run) == "SUCCEEDED"


def test_a_cancelled_run_leaves_what_it_has_written(analytics: Any, eventually: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 30)
    analytics.control.pace(secondsPerObject=0.02)
    run = analytics.start()
    eventually(lambda: analytics.control.runs()[0]["objectsDone"] >= 2)

    analytics.client.cancel_pipeline_reprocessing(pipelineName="convert", reprocessingId=run)

    written = len(analytics.control.rows("celsius", run))
    [told] = analytics.control.runs()
    assert analytics.status(run) == told["status"] == "CANCELLED"
    assert 2 <= written == told["messagesWritten"] < 30


def test_a_held_run_can_be_cancelled(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.hold_runs()
    run = analytics.start()

    analytics.client.cancel_pipeline_reprocessing(pipelineName="convert", reprocessingId=run)

    assert analytics.status(run) == "CANCELLED"


def test_cancelling_what_has_ended_changes_nothing(analytics: Any) -> None:
    analytics.pipeline()
    run = analytics.start()
    analytics.ended(run)

    analytics.client.cancel_pipeline_reprocessing(pipelineName="convert", reprocessingId=run)

    assert analytics.status(run) == "SUCCEEDED"


def test_cancelling_what_never_was_is_not_found(analytics: Any) -> None:
    analytics.pipeline()
    analytics.pipeline(name="other")
    run = analytics.start()
    cancel = analytics.client.cancel_pipeline_reprocessing

    no_run = analytics.refused(
        lambda: cancel(pipelineName="convert", reprocessingId="gone"), "ResourceNotFoundException"
    )
    no_pipeline = analytics.refused(
        lambda: cancel(pipelineName="gone", reprocessingId=run), "ResourceNotFoundException"
    )
    of_another = analytics.refused(
        lambda: cancel(pipelineName="other", reprocessingId=run), "ResourceNotFoundException"
    )

    assert no_run == "reprocessing 'gone' does not exist"
    assert no_pipeline == "pipeline 'gone' does not exist"
    assert of_another == f"reprocessing '{run}' does not exist"


def test_a_run_fails_when_told_to(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 4)
    analytics.control.fail_run(pipeline="convert", afterObjects=2, reason="the disk is full")

    failed = analytics.ended(analytics.start())
    next_one = analytics.ended(analytics.start())

    told = analytics.control.runs()[0]
    assert (failed, next_one) == ("FAILED", "SUCCEEDED")
    assert told["reason"] == "the disk is full"
    assert told["objectsDone"] == told["messagesWritten"] == 2


def test_a_failure_befalls_only_its_run(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.hold_runs()
    first, second = analytics.start(), analytics.start()

    analytics.control.fail_run(run=second)

    assert analytics.ended(second) == "FAILED"
    assert analytics.status(first) == "RUNNING"


def test_a_run_fails_at_an_object_that_is_not_there(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 1)
    [key] = analytics.keys("raw")
    gone = key.replace("_0_0.0.", "_0_7.0.")

    status = analytics.ended(analytics.start(channelMessages={"s3Paths": [gone]}))

    assert status == "FAILED"
    assert analytics.control.runs()[0]["reason"] == (
        f"'{gone}' cannot be read from bucket 'raw': it is not there"
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"plain", "it is not gzip"),
        (bytes.fromhex("1f8b08000000000000ff"), "it is not gzip"),
        (bytes.fromhex("1f8b08000000000000ffffffffff"), "it is not gzip"),
    ],
)
def test_a_run_fails_at_an_object_that_is_broken(analytics: Any, body: bytes, problem: str) -> None:
    analytics.pipeline()
    _feed_days(analytics, 1)
    [key] = analytics.keys("raw")
    analytics.store.put("raw", key, body)

    status = analytics.ended(analytics.start())

    assert status == "FAILED"
    assert analytics.control.runs()[0]["reason"].startswith(f"'{key}' cannot be read: {problem}")


def test_several_runs_go_on_at_once(analytics: Any) -> None:
    analytics.pipeline()
    _feed_days(analytics, 3)
    analytics.control.hold_runs()
    runs = [analytics.start() for _ in range(3)]
    analytics.control.release_runs()

    assert [analytics.ended(run) for run in runs] == ["SUCCEEDED"] * 3
    assert [len(analytics.control.rows("celsius", run)) for run in runs] == [3, 3, 3]


def test_summaries_tell_id_status_and_time_the_newest_first(analytics: Any, now: datetime) -> None:
    analytics.pipeline()
    runs = [analytics.start() for _ in range(2)]
    for run in runs:
        analytics.ended(run)

    summaries = analytics.client.describe_pipeline(pipelineName="convert")["pipeline"][
        "reprocessingSummaries"
    ]

    assert [summary["id"] for summary in summaries] == runs[::-1]
    assert all(summary.keys() == {"id", "status", "creationTime"} for summary in summaries)
    assert all(now <= summary["creationTime"] <= datetime.now(UTC) for summary in summaries)


def test_old_summaries_are_dropped_and_their_runs_can_still_be_cancelled(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.pace(hold=True, keepSummaries=1)
    first, second = analytics.start(), analytics.start()

    analytics.client.cancel_pipeline_reprocessing(pipelineName="convert", reprocessingId=first)

    summaries = analytics.client.describe_pipeline(pipelineName="convert")["pipeline"][
        "reprocessingSummaries"
    ]
    assert [summary["id"] for summary in summaries] == [second]
    assert [run["status"] for run in analytics.control.runs()] == ["CANCELLED", "RUNNING"]


def test_deleting_a_pipeline_stops_and_forgets_its_runs(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.hold_runs()
    analytics.start()

    analytics.client.delete_pipeline(pipelineName="convert")
    analytics.pipeline()

    pipeline = analytics.client.describe_pipeline(pipelineName="convert")["pipeline"]
    assert pipeline["reprocessingSummaries"] == []
    assert analytics.control.runs() == []


@pytest.mark.parametrize(("kind", "name"), [("channel", "temperatures"), ("datastore", "celsius")])
def test_a_pipeline_without_its_channel_or_data_store_starts_nothing(
    analytics: Any, kind: str, name: str
) -> None:
    analytics.pipeline()
    getattr(analytics.client, f"delete_{kind}")(**{f"{kind}Name": name})

    assert (
        analytics.refused(analytics.start, "ResourceNotFoundException") == f"{kind} '{name}' does not exist"
    )


def test_a_year_of_hours_is_reprocessed_object_by_object(analytics: Any) -> None:
    analytics.pipeline()
    for day in range(365):
        hours = [{"hour": day * 24 + hour, "t": 40.0 + hour} for hour in range(24)]
        analytics.feed(*hours, at=(DAY + timedelta(days=day)).isoformat())
    analytics.change(TO_CELSIUS, {"filter": {"filter": "celsius > 10"}})

    rows = analytics.reprocess()

    expected = {
        day * 24 + hour: (8.0 + hour) * 5 / 9
        for day in range(365)
        for hour in range(24)
        if (8 + hour) * 5 / 9 > 10
    }
    assert {row["hour"]: row["celsius"] for row in rows} == expected
    assert len(rows) == len(expected)
