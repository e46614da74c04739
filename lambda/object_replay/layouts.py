"""The ways in which archives are keyed: which prefixes to list for a time, and which times a key stands for.

Keys that begin with their time are listed by few prefixes: whole years and months in the middle, days or hours at the
edges. Where something else comes first, everything is listed. What is listed is selected by the time in its name.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from object_replay import settings
from object_replay.faults import ReplayStopped
from object_replay.firehose_prefix import DEFAULT, ERROR_OUTPUT_TYPE, START, Unit, formats

if TYPE_CHECKING:
    from object_replay.storage import StoredObject

EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
"""An open start begins here: before either service existed (Firehose 2015, IoT Analytics 2017)."""

UNDATED = "__HIVE_DEFAULT_PARTITION__"
"""Hive's and Athena's name of the partition without a value, for input keys that bear no time."""

ERROR_OUTPUT_TYPES = (
    "processing-failed",
    "format-conversion-failed",
    "metadata-extraction-failed",
    "http-endpoint-failed",
    "splunk-failed",
    "AmazonOpenSearchService-failed",
    "elasticsearch-failed",
    "snowflake-failed",
    "iceberg-failed",
)
"""What Firehose calls its error output. Its documentation lists the types by destination, and not all of them:
`metadata-extraction-failed` (dynamic partitioning) and `iceberg-failed` are known from public reports."""

# The type is a folder, or what is left of one before a name (`result=processing-failed`, `processing-failed` and then
# the stream's name at once). A stream may be called `processing-failed-events`.
_ERROR_OUTPUT = re.compile(rf"(?:^|[/=])(?:{'|'.join(ERROR_OUTPUT_TYPES)})(?!-)")
_COMPRESSION = re.compile(r"(\.(json|jsonl|ndjson|gz|gzip))+$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_STEM = 200
"""Bytes: with the longest prefix and the name of a run before it, a key stays under S3's 1,024."""
_DAY = timedelta(days=1)
_CLOCKS = timedelta(minutes=15)
"""How far two clocks at AWS may be apart; time zones differ by more."""


class ArchiveLayout(ABC):
    """One way of keying an archive.

    Args:
        root: Prefix of everything that belongs to the archive.
        suffix: What every key of the archive ends with.
    """

    expected: str
    """How keys look, for people."""
    remedy: str
    """What to do when they do not."""
    _formats: Mapping[Unit, str]
    """What follows the root in the keys of a year, a month, a day or an hour (`firehose_prefix.formats`)."""
    _spread = timedelta()
    """How much earlier than a message's time the time in its object's key may be."""
    _zone: tzinfo = UTC

    def __init__(self, root: str, suffix: str = "") -> None:
        self.root = root
        self.suffix = suffix

    @abstractmethod
    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        """When the messages of that object arrived: start inclusive, end exclusive; None if the key does not say."""

    def prefixes(self, start: datetime | None, end: datetime | None, *, now: datetime) -> Iterator[str]:
        """The prefixes under which every object with messages of that time lies, and as little else as possible."""
        if (start is None and end is None) or not self._formats:
            yield self.root
            return
        first, last = EARLIEST.replace(tzinfo=None), datetime(now.year + 2, 1, 1)  # noqa: DTZ001  # the keys' clock
        # Beyond these bounds there is nothing, and there may be no such time in another zone.
        if start is not None and start > EARLIEST + _DAY:
            first = self._clock(min(start, _from_clock(last) + 2 * _DAY) - self._spread, min, _DAY)
        if end is not None and end < _from_clock(last) - _DAY:
            last = self._clock(max(end, EARLIEST), max, -_DAY)
        for moment, unit in _covering(first, last, self._formats):
            yield self.root + self._formats[unit].format(t=moment)

    def _clock(
        self, moment: datetime, choose: Callable[[Iterable[timedelta]], timedelta], aside: timedelta
    ) -> datetime:
        """What clocks in the keys' zone show; where they are set back within a day, the safe one of both."""
        offsets = [each.astimezone(self._zone).utcoffset() for each in (moment, moment + aside)]
        return moment.replace(tzinfo=None) + choose(offset for offset in offsets if offset is not None)

    def takes(self, key: str) -> bool:
        """Whether the object is one of the archive's at all."""
        return key.endswith(self.suffix)

    def is_dated(self, item: StoredObject) -> bool:
        """Whether it is known when the object's messages arrived."""
        return self.interval(item.key) is not None

    def selects(self, item: StoredObject, start: datetime | None, end: datetime | None) -> bool:
        """Whether the object may hold messages of that time: the two intervals overlap."""
        interval = self.interval(item.key)
        return (
            interval is not None
            and (end is None or interval[0] < end)
            and (start is None or interval[1] > start or interval[0] >= start)
        )

    def flaw(self, item: StoredObject) -> str | None:
        """Why no selection by time finds the object; None if one does."""
        interval = self.interval(item.key)
        folder = self._formats[max(self._formats)] if self._formats else ""
        if (
            interval is None
            or not item.key.endswith(self.suffix)
            or not item.key.startswith(
                self.root + folder.format(t=interval[0].astimezone(self._zone).replace(tzinfo=None))
            )
        ):
            return f"is not of the form {self.expected}"
        return None

    def output_name(self, key: str) -> str:
        """What an object's results are called: one name for each key, in the partition of the UTC day it began.

        The digest keeps keys apart that differ only in their folders.
        """
        interval = self.interval(key)
        return f"dt={interval[0]:%Y-%m-%d}/{_name(key)}" if interval else f"dt={UNDATED}/{_name(key)}"


class IotAnalyticsLayout(ArchiveLayout):
    """`<root>__dt=YYYY-MM-DD 00:00:00/<startms>_<endms>_<account>_<channel>_<n>_<n>.json.gz` (FACTS section 1)."""

    remedy = "give Archive.iot_analytics_channel() the prefix of the channel's own storage"
    # The documented keys span 30 s; an object that began before midnight may end after it.
    _spread = timedelta(hours=1)
    _name = re.compile(r"(?:^|/)__dt=[^/]*/(\d{1,14})_(\d{1,14})_[^/]*$")

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._formats = {
            Unit.YEAR: "__dt={t.year:04}-",
            Unit.MONTH: "__dt={t.year:04}-{t.month:02}-",
            Unit.DAY: "__dt={t.year:04}-{t.month:02}-{t.day:02}",
        }
        self.expected = f"'{root}__dt=YYYY-MM-DD 00:00:00/<start>_<end>_...', in milliseconds since 1970"

    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        match = self._name.search(key)
        if not match:
            return None
        return _from_milliseconds(match[1]), _from_milliseconds(match[2])


class FirehoseLayout(ArchiveLayout):
    """`<root><path><stream>-<version>-YYYY-MM-dd-HH-mm-ss-<uuid><extension>` (FACTS section 1).

    Whatever the stream's prefix is, the name ends in the time of the object's oldest message; messages follow for as
    long as the stream buffers.

    Args:
        root: The literal text before the first expression of the stream's prefix.
        buffer: The stream's buffer interval, 900 s at most.
        path: The rest of the stream's prefix. Default: Firehose's, `YYYY/MM/dd/HH/`.
        time_zone: Whose time the stream writes into prefixes and names (IANA name).
        suffix: What every key ends with.
        replays_error_output: Whether objects of Firehose's error output belong to the archive.

    Raises:
        ReplayStopped: The path or the time zone is unknown here.
    """

    # Not anchored at the beginning of the name: a prefix need not end with a slash.
    _name = re.compile(
        r"-\d+-(\d{4})-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[^/]*$"
    )
    remedy = (
        "give Archive.firehose() the stream's own prefix with its expressions, and its time zone and file extension "
        "where it has them"
    )

    def __init__(
        self,
        root: str,
        *,
        buffer: timedelta,
        path: str = "",
        time_zone: str = "UTC",
        suffix: str = "",
        replays_error_output: bool = False,
    ) -> None:
        super().__init__(root, suffix)
        self._spread = buffer
        self._zone = _zone(time_zone)
        self._replays_error_output = replays_error_output
        self.expected = (
            f"'{root}{path or DEFAULT}<stream>-<version>-YYYY-MM-dd-HH-mm-ss-<uuid>{suffix}' in {time_zone}"
        )
        if START in root:
            raise ReplayStopped(
                f"'{root}' became known in the deploy only, with expressions; give Archive.firehose() a prefix whose "
                "expressions are known at synth"
            )
        try:
            self._formats = formats(path)
        except ValueError as error:
            raise ReplayStopped(f"the stream's prefix '{root}{path}' {error}") from error
        # Firehose appends its date to prefixes only: of error output one does not know in which folders it lies.
        if replays_error_output and (ERROR_OUTPUT_TYPE in path or _ERROR_OUTPUT.search(root)):
            self._formats = {}

    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        match = self._name.search(key)
        if not match:
            return None
        try:
            numbers = tuple(map(int, match.groups()))
            if self._zone is UTC:
                first = last = datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type,misc] # six numbers
            else:
                # The hour in which clocks are set back comes twice, and the name does not say which one it is.
                first, last = sorted(
                    datetime(*numbers, tzinfo=self._zone, fold=fold).astimezone(UTC)  # type: ignore[arg-type,misc] # six numbers
                    for fold in (0, 1)
                )
            # Names have whole seconds: the oldest message may be nearly a second younger.
            return first, last + self._spread + timedelta(seconds=1)
        except (ValueError, OverflowError):
            return None

    def prefixes(self, start: datetime | None, end: datetime | None, *, now: datetime) -> Iterator[str]:
        by_time = list(super().prefixes(start, end, now=now))
        yield from by_time
        if self._replays_error_output and self.root not in by_time:
            # Not by time: it is little, and the folders below depend on the stream's error output prefix.
            for kind in ERROR_OUTPUT_TYPES:
                yield self.root + kind

    def takes(self, key: str) -> bool:
        return super().takes(key) and (self._replays_error_output or not self._is_error_output(key))

    def flaw(self, item: StoredObject) -> str | None:
        if self._is_error_output(item.key):
            return None
        interval = self.interval(item.key)
        if interval and interval[0] > item.last_modified + _CLOCKS:
            return (
                f"is from {interval[0]:%Y-%m-%dT%H:%M:%SZ} by its name, which is after {item.last_modified:%Y-%m-%dT%H:%M:%SZ}, "
                "when it was written: the stream has another time zone"
            )
        return super().flaw(item)

    def _is_error_output(self, key: str) -> bool:
        # The first look is what nearly every key needs.
        return "-failed" in key and _ERROR_OUTPUT.search(key[len(self.root) :]) is not None


class ObjectsLayout(ArchiveLayout):
    """Any keys; an object's time is when it was last modified, which only a listing of everything tells."""

    remedy = "give Archive.objects() another suffix"

    def __init__(self, root: str, suffix: str = "") -> None:
        super().__init__(root, suffix)
        self._formats = {}
        self.expected = f"'{root}*{suffix}'"

    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        return None

    def is_dated(self, item: StoredObject) -> bool:
        return True

    def selects(self, item: StoredObject, start: datetime | None, end: datetime | None) -> bool:
        return (start is None or start <= item.last_modified) and (end is None or item.last_modified < end)

    def flaw(self, item: StoredObject) -> str | None:
        return None if self.takes(item.key) else f"is not of the form {self.expected}"

    def output_name(self, key: str) -> str:
        # Without the day: an object that is overwritten has another one, and its result must replace the earlier.
        return _name(key)


def layout_of(source: settings.Source) -> ArchiveLayout:
    """The layout that the construct named.

    Raises:
        ReplayStopped: It has a prefix or a time zone that is unknown here.
    """
    match source.layout:
        case settings.Layout.IOT_ANALYTICS:
            return IotAnalyticsLayout(source.root)
        case settings.Layout.OBJECTS:
            return ObjectsLayout(source.root, source.suffix)
        case settings.Layout.FIREHOSE:
            return FirehoseLayout(
                source.root,
                buffer=timedelta(seconds=source.buffer_seconds),
                path=source.path,
                time_zone=source.time_zone,
                suffix=source.suffix,
                replays_error_output=source.replays_error_output,
            )


def _name(key: str) -> str:
    # To Athena what begins with '_' or '.' is hidden, and S3's XML has no place for control characters.
    stem = _CONTROL.sub("_", _COMPRESSION.sub("", key.rpartition("/")[2])).lstrip("_.")
    stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{stem}-{digest}.json.gz"


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    # Not at the top: most archives are in UTC, and each start of the function would pay for it.
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ReplayStopped(
            f"the time zone '{name}' is not in the time zone database of this Lambda function"
        ) from error


def _from_clock(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _from_milliseconds(text: str) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))


def _covering(start: datetime, end: datetime, units: Collection[Unit]) -> Iterator[tuple[datetime, Unit]]:
    """The fewest of these units that cover a range, cut at the smallest one."""
    smallest = max(units)
    moment = _floor(start, smallest)
    while moment < end:
        # The largest unit that begins here and does not reach past the range; the smallest one may.
        unit = next(
            unit
            for unit in sorted(units)
            if unit == smallest or (_floor(moment, unit) == moment and _next(moment, unit) <= end)
        )
        yield moment, unit
        moment = _next(moment, unit)


def _floor(moment: datetime, unit: Unit) -> datetime:
    moment = moment.replace(minute=0, second=0, microsecond=0)
    match unit:
        case Unit.YEAR:
            return moment.replace(month=1, day=1, hour=0)
        case Unit.MONTH:
            return moment.replace(day=1, hour=0)
        case Unit.DAY:
            return moment.replace(hour=0)
        case _:
            return moment


def _next(moment: datetime, unit: Unit) -> datetime:
    match unit:
        case Unit.YEAR:
            return moment.replace(year=moment.year + 1)
        case Unit.MONTH:
            return (moment + timedelta(days=31)).replace(day=1)
        case Unit.DAY:
            return moment + timedelta(days=1)
        case _:
            return moment + timedelta(hours=1)
