"""Which prefixes cover a time, and which keys belong to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay import layouts
from object_replay.faults import ReplayStopped
from object_replay.layouts import ArchiveLayout, FirehoseLayout, IotAnalyticsLayout, ObjectsLayout
from object_replay.storage import StoredObject

BUFFER = timedelta(minutes=15)
SECOND = timedelta(seconds=1)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
AFTER_ALL = datetime(2029, 1, 1, tzinfo=UTC)
UUID = "0a1b2c3d-0000-4000-8000-000000000001"

moments = st.integers(1_550_000_000, 1_780_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@dataclass(frozen=True)
class Kind:
    """A layout, and how Firehose makes its folders of a local time; a channel has none."""

    path: str | None = None
    folder: Callable[[datetime], str] = lambda local: f"{local:%Y/%m/%d/%H/}"
    zone: str = "UTC"
    unit: timedelta = timedelta(hours=1)

    def layout(self) -> ArchiveLayout:
        if self.path is None:
            return IotAnalyticsLayout("raw/channel/telemetry/")
        return FirehoseLayout("raw/", buffer=BUFFER, path=self.path, time_zone=self.zone)

    def key(self, moment: datetime) -> str:
        if self.path is None:
            first = int(moment.timestamp() * 1000)
            return (
                f"raw/channel/telemetry/__dt={moment:%Y-%m-%d} 00:00:00/"
                f"{first}_{first + 30_000}_111122223333_telemetry_0_1.json.gz"
            )
        local = moment.astimezone(ZoneInfo(self.zone))
        return f"raw/{self.folder(local)}s-1-{local:%Y-%m-%d-%H-%M-%S}-{UUID}.gz"


DAY = timedelta(days=1)
EVER = timedelta(days=10_000)
KINDS = {
    "channel": Kind(unit=DAY),
    "default": Kind(path=""),
    "days": Kind("!{timestamp:yyyy/MM/dd}/", lambda t: f"{t:%Y/%m/%d/}", unit=DAY),
    "hive": Kind(
        "!{timestamp:'year='yyyy'/month='MM'/day='dd'/hour='HH}/",
        lambda t: f"year={t:%Y}/month={t:%m}/day={t:%d}/hour={t:%H}/",
    ),
    "one expression each": Kind(
        "!{timestamp:yyyy}/x={1}/!{timestamp:MM}-!{timestamp:dd}/",
        lambda t: f"{t:%Y}/x={{1}}/{t:%m-%d}/",
        unit=DAY,
    ),
    "without separators": Kind("!{timestamp:yyyyMMddHH}", lambda t: f"{t:%Y%m%d%H}"),
    "dates": Kind("dt=!{timestamp:yyyy-MM-dd}/!{timestamp:HH}/", lambda t: f"dt={t:%Y-%m-%d}/{t:%H}/"),
    "without zeros": Kind("!{timestamp:y/M/d/H/}", lambda t: f"{t.year}/{t.month}/{t.day}/{t.hour}/"),
    "without zeros at the end": Kind(
        "!{timestamp:yyyy/M/d}", lambda t: f"{t.year}/{t.month}/{t.day}", unit=timedelta(days=31)
    ),
    "days of the year": Kind("!{timestamp:yy/DDD/HH/}", lambda t: f"{t:%y/%j/%H/}"),
    "partition keys after months": Kind(
        "!{timestamp:yyyy/MM/}!{partitionKeyFromQuery:id}/!{timestamp:dd}/",
        lambda t: f"{t:%Y/%m}/17/{t:%d}/",
        unit=timedelta(days=31),
    ),
    "partition keys first": Kind(
        "id=!{partitionKeyFromLambda:id}/!{timestamp:yyyy/MM/dd/}", lambda t: f"id=7/{t:%Y/%m/%d/}", unit=EVER
    ),
    "random": Kind("!{firehose:random-string}/", lambda t: f"046b6c7f-0b/{t:%Y/%m/%d/%H/}", unit=EVER),
    "days first": Kind("!{timestamp:dd-MM-yyyy}/", lambda t: f"{t:%d-%m-%Y}/", unit=EVER),
    "years of weeks": Kind("!{timestamp:YYYY/MM/dd/}", lambda t: f"{t:%G/%m/%d/}", unit=EVER),
    "Berlin": Kind(path="", zone="Europe/Berlin"),
    "Apia": Kind(path="", zone="Pacific/Apia"),
    "St. John's by day": Kind(
        "!{timestamp:yyyy/MM/dd}/", lambda t: f"{t:%Y/%m/%d/}", zone="America/St_Johns", unit=DAY
    ),
}


def stored(key: str, modified: datetime = NOW) -> StoredObject:
    return StoredObject(key, 1, modified)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Hypothesis wants fixtures of a module's scope."""
    return KINDS[request.param]


@given(moment=moments)
def test_a_key_tells_when_its_messages_arrived(kind: Kind, moment: datetime) -> None:
    interval = kind.layout().interval(kind.key(moment))

    assert interval is not None
    first, last = interval
    if kind.path is None:
        assert (first, last) == (moment, moment + timedelta(seconds=30))
    elif kind.zone == "UTC":
        assert (first, last) == (moment, moment + BUFFER + SECOND)
    else:  # with what the hour may mean that comes twice when clocks are set back
        assert first <= moment
        assert moment + BUFFER + SECOND <= last <= first + BUFFER + SECOND + timedelta(hours=1)


@given(
    start=moments,
    length=st.timedeltas(SECOND, timedelta(days=800)),
    offsets=st.lists(st.integers(-3_000, 3_000), min_size=1, max_size=30),
)
def test_selecting_by_prefixes_is_the_same_as_looking_at_every_object(
    kind: Kind, start: datetime, length: timedelta, offsets: list[int]
) -> None:
    layout = kind.layout()
    end = start + timedelta(seconds=int(length.total_seconds()))
    archive = {
        kind.key(edge + timedelta(seconds=offset * scale))
        for edge in (start, end)
        for offset in offsets
        for scale in (1, 60, 86_400)
    }

    prefixes = list(layout.prefixes(start, end, now=AFTER_ALL))
    listed = [key for prefix in prefixes for key in archive if key.startswith(prefix)]
    selected = [key for key in listed if layout.selects(stored(key), start, end)]

    expected = set()
    for key in archive:
        interval = layout.interval(key)
        assert interval is not None
        if interval[0] < end and interval[1] > start:
            expected.add(key)
    assert sorted(selected) == sorted(expected)


@given(start=moments, length=st.timedeltas(SECOND, timedelta(days=800)))
def test_nothing_outside_of_the_partitions_concerned_is_listed(
    kind: Kind, start: datetime, length: timedelta
) -> None:
    layout = kind.layout()
    end = start + timedelta(seconds=int(length.total_seconds()))
    slack = timedelta(hours=1) if kind.path is None else BUFFER
    if kind.zone != "UTC":
        slack += timedelta(hours=1)  # clocks may be set back

    prefixes = list(layout.prefixes(start, end, now=AFTER_ALL))

    assert len(prefixes) == len(set(prefixes))
    if kind.unit == EVER:
        assert len(prefixes) == 1
        return
    before = kind.key(start - slack - kind.unit)
    after = kind.key(end + (slack if kind.zone != "UTC" else timedelta()) + kind.unit)
    assert not before.startswith(tuple(prefixes))
    assert not after.startswith(tuple(prefixes))


@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
        ("Antarctica/Casey", datetime(2010, 3, 4, 15, tzinfo=UTC)),
        ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_no_object_is_missed_where_clocks_are_changed(zone: str, moment: datetime) -> None:
    layout = FirehoseLayout("raw/", buffer=timedelta(minutes=5), time_zone=zone)
    kind = Kind(path="", zone=zone)
    minutes = [timedelta(minutes=minute) for minute in range(-400, 400, 10)]

    for since in minutes:
        start, end = moment + since, moment + since + timedelta(minutes=30)
        prefixes = tuple(layout.prefixes(start, end, now=NOW))
        missed = [
            key
            for key in (kind.key(moment + each) for each in minutes if start <= moment + each < end)
            if not key.startswith(prefixes) or not layout.selects(stored(key), start, end)
        ]
        assert missed == []


def test_an_hour_that_comes_twice_is_taken_as_both() -> None:
    layout = FirehoseLayout("", buffer=timedelta(), time_zone="Europe/Berlin")
    key = f"2026/10/25/02/s-1-2026-10-25-02-30-00-{UUID}"
    summer, winter = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)

    assert layout.selects(stored(key), summer, summer + SECOND)
    assert layout.selects(stored(key), winter, winter + SECOND)
    assert not layout.selects(stored(key), winter + SECOND, None)
    assert layout.output_name(key).startswith("dt=2026-10-25/")


def test_a_result_lies_in_the_utc_day_whatever_the_stream_s_time_zone_is() -> None:
    layout = FirehoseLayout("", buffer=BUFFER, time_zone="Asia/Tokyo")

    assert layout.output_name(f"2026/11/20/08/s-1-2026-11-20-08-59-59-{UUID}").startswith("dt=2026-11-19/")


def test_a_time_zone_that_is_unknown_here_ends_the_run() -> None:
    with pytest.raises(ReplayStopped) as caught:
        FirehoseLayout("", buffer=BUFFER, time_zone="Mars/Olympus_Mons")

    assert str(caught.value) == (
        "the time zone 'Mars/Olympus_Mons' is not in the time zone database of this Lambda function"
    )


@pytest.mark.parametrize(
    ("root", "path", "cause"),
    [
        (
            "raw/!{timestamp:yyyy}/",
            "",
            "'raw/!{timestamp:yyyy}/' became known in the deploy only, with expressions; give Archive.firehose() a "
            "prefix whose expressions are known at synth",
        ),
        (
            "raw/",
            "!{timestamp:yyyy",
            "the stream's prefix 'raw/!{timestamp:yyyy' must close each '!{' with '}', got "
            "'!{timestamp:yyyy'",
        ),
    ],
)
def test_a_prefix_that_cannot_be_read_in_the_deploy_ends_the_run(root: str, path: str, cause: str) -> None:
    with pytest.raises(ReplayStopped) as caught:
        FirehoseLayout(root, buffer=BUFFER, path=path)

    assert str(caught.value) == cause


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (None, datetime(9999, 12, 31, tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=UTC), None),
    ],
)
def test_times_that_are_far_away_cost_few_listings(
    kind: Kind, start: datetime | None, end: datetime | None
) -> None:
    assert len(list(kind.layout().prefixes(start, end, now=NOW))) <= 19


@pytest.mark.parametrize(
    ("start", "end"),
    [(datetime(9999, 12, 31, tzinfo=UTC), None), (None, datetime(1, 1, 1, tzinfo=UTC))],
)
def test_times_in_which_nothing_can_be_cost_no_listing(start: datetime | None, end: datetime | None) -> None:
    layout = FirehoseLayout("raw/", buffer=BUFFER, time_zone="Pacific/Apia")

    assert list(layout.prefixes(start, end, now=NOW)) == []


@pytest.mark.parametrize("time", ["0001-01-01-00-00-00", "9999-12-31-23-59-59"])
def test_a_name_with_a_time_that_utc_does_not_have_bears_none(time: str) -> None:
    far = {zone: FirehoseLayout("", buffer=BUFFER, time_zone=zone) for zone in ("Asia/Tokyo", "America/Lima")}

    assert None in [layout.interval(f"s-1-{time}-{UUID}") for layout in far.values()]


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


def test_all_is_one_listing_of_the_whole_archive(kind: Kind) -> None:
    layout = kind.layout()

    assert list(layout.prefixes(None, None, now=NOW)) == [layout.root]


def test_start_is_inclusive_and_end_exclusive(kind: Kind) -> None:
    layout = kind.layout()
    moment = datetime(2025, 3, 1, tzinfo=UTC)
    item = stored(kind.key(moment))
    interval = layout.interval(item.key)
    assert interval is not None

    assert layout.selects(item, moment, moment + SECOND)
    assert not layout.selects(item, moment - timedelta(hours=1), moment)
    assert layout.selects(item, interval[1] - SECOND, None)
    assert not layout.selects(item, interval[1], None)


def test_an_object_without_a_buffer_stands_for_its_first_second() -> None:
    layout = FirehoseLayout("", buffer=timedelta())
    item = stored(f"2025/03/01/00/s-1-2025-03-01-00-00-00-{UUID}")
    moment = datetime(2025, 3, 1, tzinfo=UTC)

    assert layout.selects(item, moment, moment + SECOND)
    assert layout.selects(item, moment + timedelta(milliseconds=999), None)
    assert not layout.selects(item, moment + SECOND, None)


def test_objects_are_selected_by_when_they_were_last_modified() -> None:
    layout = ObjectsLayout("exports/")
    moment = datetime(2025, 3, 1, tzinfo=UTC)
    item = stored("exports/2019.csv", moment)

    assert layout.selects(item, moment, moment + SECOND)
    assert layout.selects(item, None, moment + SECOND)
    assert not layout.selects(item, moment - SECOND, moment)
    assert not layout.selects(item, moment + SECOND, None)
    assert list(layout.prefixes(moment, None, now=NOW)) == ["exports/"]


def test_the_result_of_any_object_is_named_after_its_key_alone() -> None:
    layout = ObjectsLayout("exports/")

    # Part of the public contract, as for the other layouts.
    assert layout.output_name("exports/a/2025-01-01.json.gz") == "2025-01-01-d7f43bb1b790e7a8.json.gz"
    assert layout.output_name("exports/b/2025-01-01.json.gz") != layout.output_name(
        "exports/a/2025-01-01.json.gz"
    )


@pytest.mark.parametrize(
    "key",
    [
        "raw/channel/telemetry/__dt=2025-01-01 00:00:00/notes.txt",
        "raw/2025/01/01/00/notes.txt",
        "raw/2025/01/01/00/s-1-2025-13-01-00-00-00-0a1b2c3d-0000-4000-8000-000000000001",
        "",
    ],
)
def test_a_key_of_another_kind_has_no_time(kind: Kind, key: str) -> None:
    layout = kind.layout()

    assert layout.interval(key) is None
    assert not layout.is_dated(stored(key))
    assert not layout.selects(stored(key), None, NOW)
    assert layout.flaw(stored(key)) == f"is not of the form {layout.expected}"
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


@pytest.mark.parametrize("folder", ["raw/2025/01/01/00/", "hour=10", "a=b c/d="])
def test_the_time_of_a_key_is_found_whatever_the_stream_is_called(folder: str) -> None:
    layout = FirehoseLayout("raw/", buffer=timedelta())

    interval = layout.interval(f"{folder}my.stream-1-x-12-2025-01-01-00-05-00-{UUID}.json.gz")

    assert interval is not None
    assert interval[0] == datetime(2025, 1, 1, 0, 5, tzinfo=UTC)


@given(names=st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=10, unique=True))
def test_no_two_objects_share_a_result(names: list[str]) -> None:
    for layout in (FirehoseLayout("", buffer=BUFFER), IotAnalyticsLayout(""), ObjectsLayout("")):
        results = {layout.output_name(name) for name in names}

        assert len(results) == len(names)
        assert all(len(name.encode()) < 1000 for name in results)


@given(moment=moments)
def test_what_the_layout_makes_has_no_flaw(kind: Kind, moment: datetime) -> None:
    assert kind.layout().flaw(stored(kind.key(moment), moment)) is None


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("", "raw/2026/10/20/{}"),
        ("", "raw/year=2026/month=10/day=20/hour=10/{}"),
        ("", "raw/{}"),
        ("", "raw/2026/10/20/09/{}"),
        ("!{timestamp:yyyy/MM/dd/}", "raw/2026/10/21/{}"),
        ("!{timestamp:yyyy/MM/dd/}", "raw2026/10/20/{}"),
        ("!{timestamp:'year='yyyy/}!{partitionKeyFromQuery:id}/", "raw/year=2025/7/{}"),
    ],
)
def test_a_key_in_another_folder_has_a_flaw(path: str, key: str) -> None:
    layout = FirehoseLayout("raw/", buffer=BUFFER, path=path)
    item = stored(key.format(f"telemetry-1-2026-10-20-10-00-00-{UUID}"))

    assert layout.flaw(item) == (
        f"is not of the form 'raw/{path or '!{timestamp:yyyy/MM/dd/HH/}'}<stream>-<version>-YYYY-MM-dd-HH-mm-ss-<uuid>' "
        "in UTC"
    )


def test_a_time_after_the_object_was_written_is_that_of_another_zone() -> None:
    key = f"2026/10/20/19/telemetry-1-2026-10-20-19-00-00-{UUID}"
    written = datetime(2026, 10, 20, 10, 1, tzinfo=UTC)

    assert FirehoseLayout("", buffer=BUFFER).flaw(stored(key, written)) == (
        "is from 2026-10-20T19:00:00Z by its name, which is after 2026-10-20T10:01:00Z, when it was written: the "
        "stream has another time zone"
    )
    assert FirehoseLayout("", buffer=BUFFER, time_zone="Asia/Tokyo").flaw(stored(key, written)) is None
    assert (
        FirehoseLayout("", buffer=BUFFER).flaw(stored(key, written + timedelta(hours=8, minutes=50))) is None
    )


ERROR_OUTPUT = [
    "raw/processing-failed/2026/10/20/10/{}",
    "raw/2026/10/20/10/processing-failed/{}",
    "raw/result=format-conversion-failed/2026/10/20/{}",
    "raw/2026/10/20/10/processing-failed{}",
    *(f"raw/{kind}/{{}}" for kind in layouts.ERROR_OUTPUT_TYPES),
]


@pytest.mark.parametrize("key", ERROR_OUTPUT)
def test_error_output_is_known_by_its_folder(key: str) -> None:
    key = key.format(f"telemetry-1-2026-10-20-10-00-00-{UUID}")
    skipping = FirehoseLayout("raw/", buffer=BUFFER)
    replaying = FirehoseLayout("raw/", buffer=BUFFER, replays_error_output=True)
    start = datetime(2026, 10, 20, 10, tzinfo=UTC)

    assert not skipping.takes(key)
    assert skipping.flaw(stored(key)) is None
    assert replaying.takes(key)
    assert replaying.flaw(stored(key)) is None
    assert replaying.selects(stored(key), start, start + SECOND)
    assert not replaying.selects(stored(key), start + timedelta(hours=1), None)


@pytest.mark.parametrize(
    "key",
    [
        f"raw/2026/10/20/10/processing-failed-events-1-2026-10-20-10-00-00-{UUID}",
        f"raw/2026/10/20/10/login-failed/events-1-2026-10-20-10-00-00-{UUID}",
        f"raw/2026/10/20/10/payment-processing-failed/events-1-2026-10-20-10-00-00-{UUID}",
    ],
)
def test_what_only_looks_like_error_output_is_none(key: str) -> None:
    assert FirehoseLayout("raw/", buffer=BUFFER).takes(key)


def test_error_output_is_listed_beside_the_folders_of_time() -> None:
    layout = FirehoseLayout("raw/", buffer=BUFFER, replays_error_output=True)
    start = datetime(2026, 10, 20, tzinfo=UTC)

    prefixes = list(layout.prefixes(start, start + DAY, now=NOW))

    assert prefixes == [
        "raw/2026/10/19/23/",
        "raw/2026/10/20/",
        *(f"raw/{kind}" for kind in layouts.ERROR_OUTPUT_TYPES),
    ]
    assert list(layout.prefixes(None, None, now=NOW)) == ["raw/"]


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("raw/processing-failed/", ""),
        ("errors/result=processing-failed/", "!{timestamp:yyyy/}"),
        ("errors/", "!{timestamp:yyyy/}!{firehose:error-output-type}/"),
        ("errors/", "!{firehose:error-output-type}/"),
    ],
)
def test_an_archive_of_error_output_is_listed_whatever_its_folders_are(root: str, path: str) -> None:
    layout = FirehoseLayout(root, buffer=BUFFER, path=path, replays_error_output=True)

    assert list(layout.prefixes(datetime(2026, 10, 20, tzinfo=UTC), None, now=NOW)) == [root]
    assert layout.takes(f"{root}processing-failed/s-1-2026-10-20-10-00-00-{UUID}")


def test_an_archive_within_error_output_holds_messages_where_it_is_not_told_otherwise() -> None:
    layout = FirehoseLayout("raw/processing-failed/", buffer=BUFFER)

    assert layout.root not in layout.prefixes(datetime(2026, 10, 20, tzinfo=UTC), None, now=NOW)
    assert layout.takes(f"raw/processing-failed/2026/10/20/10/s-1-2026-10-20-10-00-00-{UUID}")


@pytest.mark.parametrize(
    "make", [lambda: FirehoseLayout("", buffer=BUFFER, suffix=".gz"), lambda: ObjectsLayout("", ".gz")]
)
def test_another_suffix_is_no_object_of_the_archive(make: Callable[[], ArchiveLayout]) -> None:
    layout = make()
    key = f"2026/10/20/10/telemetry-1-2026-10-20-10-00-00-{UUID}"

    assert layout.takes(f"{key}.gz")
    assert layout.flaw(stored(f"{key}.gz")) is None
    assert not layout.takes(f"{key}.parquet")
    assert layout.flaw(stored(f"{key}.parquet")) == f"is not of the form {layout.expected}"
    assert layout.expected.partition("' in ")[0].rstrip("'").endswith(".gz")
