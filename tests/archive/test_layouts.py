"""Which prefixes cover a time, and which keys belong to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_replay.layouts import ArchiveLayout, FirehoseLayout, IotAnalyticsLayout

BUFFER = timedelta(minutes=15)
NOW = datetime(2026, 11, 1, tzinfo=UTC)

moments = st.integers(1_550_000_000, 1_780_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def layout_of(kind: str) -> ArchiveLayout:
    if kind == "firehose":
        return FirehoseLayout("raw/", buffer=BUFFER)
    return IotAnalyticsLayout("raw/channel/telemetry/")


@pytest.fixture(scope="module", params=["iot_analytics", "firehose"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def keys(kind: str) -> Any:
    """Makes keys; Hypothesis wants fixtures of a module's scope."""

    class Keys:
        @staticmethod
        def of(moment: datetime) -> str:
            if kind == "firehose":
                return f"raw/{moment:%Y/%m/%d/%H}/s-1-{moment:%Y-%m-%d-%H-%M-%S}-0a1b2c3d-0000-4000-8000-000000000001.gz"
            first = int(moment.timestamp() * 1000)
            return (
                f"raw/channel/telemetry/__dt={moment:%Y-%m-%d} 00:00:00/"
                f"{first}_{first + 30_000}_111122223333_telemetry_0_1.json.gz"
            )

    return Keys


@given(moment=moments)
def test_a_key_tells_when_its_messages_arrived(kind: str, keys: Any, moment: datetime) -> None:
    interval = layout_of(kind).interval(keys.of(moment))

    assert interval == (moment, moment + (BUFFER if kind == "firehose" else timedelta(seconds=30)))


@given(
    start=moments,
    length=st.timedeltas(timedelta(seconds=1), timedelta(days=800)),
    offsets=st.lists(st.integers(-3_000, 3_000), min_size=1, max_size=30),
)
def test_selecting_by_prefixes_is_the_same_as_looking_at_every_object(
    kind: str, keys: Any, start: datetime, length: timedelta, offsets: list[int]
) -> None:
    layout = layout_of(kind)
    end = start + timedelta(seconds=int(length.total_seconds()))
    archive = {
        keys.of(edge + timedelta(seconds=offset * scale))
        for edge in (start, end)
        for offset in offsets
        for scale in (1, 60, 86_400)
    }

    prefixes = list(layout.prefixes(start, end, now=NOW))
    listed = [key for prefix in prefixes for key in archive if key.startswith(prefix)]
    selected = [key for key in listed if layout.selects(key, start, end)]

    expected = set()
    for key in archive:
        interval = layout.interval(key)
        assert interval is not None
        if interval[0] < end and interval[1] > start:
            expected.add(key)
    assert sorted(selected) == sorted(expected)


@given(start=moments, length=st.timedeltas(timedelta(seconds=1), timedelta(days=800)))
def test_nothing_outside_of_the_partitions_concerned_is_listed(
    kind: str, keys: Any, start: datetime, length: timedelta
) -> None:
    layout = layout_of(kind)
    end = start + timedelta(seconds=int(length.total_seconds()))
    partition = timedelta(hours=1) if kind == "firehose" else timedelta(days=1)
    slack = BUFFER if kind == "firehose" else timedelta(hours=1)

    prefixes = list(layout.prefixes(start, end, now=NOW))

    before = keys.of(start - slack - partition)
    after = keys.of(end + partition)
    assert not before.startswith(tuple(prefixes))
    assert not after.startswith(tuple(prefixes))
    assert len(prefixes) == len(set(prefixes))


def test_a_year_in_hours_is_few_listings() -> None:
    layout = FirehoseLayout("raw/", buffer=BUFFER)

    prefixes = list(
        layout.prefixes(
            datetime(2024, 11, 29, 22, tzinfo=UTC), datetime(2026, 2, 2, 1, 30, tzinfo=UTC), now=NOW
        )
    )

    assert prefixes == [
        "raw/2024/11/29/21/",
        "raw/2024/11/29/22/",
        "raw/2024/11/29/23/",
        "raw/2024/11/30/",
        "raw/2024/12/",
        "raw/2025/",
        "raw/2026/01/",
        "raw/2026/02/01/",
        "raw/2026/02/02/00/",
        "raw/2026/02/02/01/",
    ]


def test_a_channel_is_listed_by_days_months_and_years() -> None:
    layout = IotAnalyticsLayout("raw/channel/telemetry/")

    prefixes = list(
        layout.prefixes(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 2, 2, 12, tzinfo=UTC), now=NOW)
    )

    root = "raw/channel/telemetry/__dt="
    assert prefixes == [
        f"{root}2024-12-31",
        f"{root}2025-",
        f"{root}2026-01-",
        f"{root}2026-02-01",
        f"{root}2026-02-02",
    ]


def test_an_open_end_reaches_to_the_newest_object_and_an_open_start_to_the_oldest() -> None:
    layout = IotAnalyticsLayout("")

    late = list(layout.prefixes(datetime(2026, 12, 31, tzinfo=UTC), None, now=NOW))
    early = list(layout.prefixes(None, datetime(2011, 1, 2, tzinfo=UTC), now=NOW))

    assert late == ["__dt=2026-12-30", "__dt=2026-12-31", "__dt=2027-"]
    assert early == ["__dt=2010-", "__dt=2011-01-01"]


def test_all_is_one_listing_of_the_whole_archive(kind: str) -> None:
    layout = layout_of(kind)

    assert list(layout.prefixes(None, None, now=NOW)) == [layout.root]


def test_start_is_inclusive_and_end_exclusive(kind: str, keys: Any) -> None:
    layout = layout_of(kind)
    moment = datetime(2025, 3, 1, tzinfo=UTC)
    key = keys.of(moment)
    interval = layout.interval(key)
    assert interval is not None

    assert layout.selects(key, moment, moment + timedelta(seconds=1))
    assert not layout.selects(key, moment - timedelta(hours=1), moment)
    assert layout.selects(key, interval[1] - timedelta(seconds=1), None)
    assert not layout.selects(key, interval[1], None)


def test_an_object_without_a_buffer_stands_for_its_first_moment() -> None:
    layout = FirehoseLayout("", buffer=timedelta())
    key = "2025/03/01/00/s-1-2025-03-01-00-00-00-0a1b2c3d-0000-4000-8000-000000000001"

    assert layout.selects(key, datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 1, 0, 0, 1, tzinfo=UTC))
    assert not layout.selects(key, datetime(2025, 3, 1, 0, 0, 1, tzinfo=UTC), None)


@pytest.mark.parametrize(
    "key",
    [
        "raw/channel/telemetry/__dt=2025-01-01 00:00:00/notes.txt",
        "raw/2025/01/01/00/notes.txt",
        "raw/2025/01/01/00/s-1-2025-13-01-00-00-00-0a1b2c3d-0000-4000-8000-000000000001",
        "",
    ],
)
def test_a_key_of_another_kind_has_no_time(kind: str, key: str) -> None:
    layout = layout_of(kind)

    assert layout.interval(key) is None
    assert not layout.selects(key, None, NOW)
    assert layout.output_name(key).startswith("dt=__HIVE_DEFAULT_PARTITION__/")


def test_the_result_lies_in_the_partition_of_its_day_under_a_name_made_from_the_key() -> None:
    layout = IotAnalyticsLayout("raw/channel/telemetry/")

    name = layout.output_name(
        "raw/channel/telemetry/__dt=2025-01-01 00:00:00/"
        "1735689600000_1735689630000_111122223333_telemetry_0_1.json.gz"
    )

    # Part of the public contract: another name would leave the old results beside the new ones.
    assert (
        name
        == "dt=2025-01-01/1735689600000_1735689630000_111122223333_telemetry_0_1-43b2bc3b6d149f4a.json.gz"
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("_hidden.json", "hidden"),
        (".gz", ""),
        ("..", ""),
        ("a b+c%20:d&e?#.json", "a b+c%20:d&e?#"),
        ("line\nbreak\x01", "line_break_"),
        ("ü" * 300, "ü" * 100),
        ("€" * 300, "€" * 66),
    ],
    ids=["hidden", "no name", "dots", "special characters", "control characters", "two bytes", "three bytes"],
)
def test_a_result_s_name_is_one_that_athena_shows_and_s3_takes(name: str, stem: str) -> None:
    result = FirehoseLayout("", buffer=BUFFER).output_name(f"2025/01/01/00/{name}")

    assert re.fullmatch(f"dt=__HIVE_DEFAULT_PARTITION__/{re.escape(stem)}-[0-9a-f]{{16}}.json.gz", result)
    longest = f"{'r' * 650}{'e' * 80}/staged/{result}"
    assert len(longest.encode()) <= 1024


def test_firehose_keys_name_their_stream_whatever_its_name() -> None:
    layout = FirehoseLayout("raw/", buffer=BUFFER)

    key = (
        "raw/2025/01/01/00/my.stream-1-x-12-2025-01-01-00-05-00-0a1b2c3d-0000-4000-8000-000000000001.json.gz"
    )

    assert layout.stream(key) == "my.stream-1-x"
    assert IotAnalyticsLayout("").stream(key) is None


@given(names=st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=10, unique=True))
def test_no_two_objects_share_a_result(kind: str, names: list[str]) -> None:
    layout = layout_of(kind)

    results = {layout.output_name(name) for name in names}

    assert len(results) == len(names)
    assert all(len(name.encode()) < 1000 for name in results)
