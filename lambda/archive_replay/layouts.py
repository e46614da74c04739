"""The two ways in which archives are keyed: which prefixes to list for a time, and which times a key stands for.

Both layouts sort by time down to a partition (a day in IoT Analytics channels, an hour in Firehose's), so a range
of time is covered by few prefixes: whole years and months in the middle, partitions at the edges.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from archive_replay import settings

EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
"""An open start begins here: before either service existed (Firehose 2015, IoT Analytics 2017)."""

UNDATED = "__HIVE_DEFAULT_PARTITION__"
"""Hive's and Athena's name of the partition without a value, for input keys that bear no time."""

_COMPRESSION = re.compile(r"(\.(json|jsonl|ndjson|gz|gzip))+$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_STEM = 200
"""Bytes: with the longest prefix and the name of a run before it, a key stays under S3's 1,024."""


class ArchiveLayout(ABC):
    """One way of keying an archive.

    Args:
        root: Prefix of everything that belongs to the archive.
    """

    _formats: ClassVar[Sequence[str]]
    """`strftime` formats below the root of the year, the month, the day (and the hour): each one is a prefix."""
    _spread: timedelta
    """How much earlier than a message's time the time in its object's key may be."""

    def __init__(self, root: str) -> None:
        self.root = root

    @abstractmethod
    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        """When the messages of that object arrived: start inclusive, end exclusive; None if the key does not say."""

    def stream(self, key: str) -> str | None:
        """The delivery stream that wrote the object, where the key names it."""
        return None

    def prefixes(self, start: datetime | None, end: datetime | None, *, now: datetime) -> Iterator[str]:
        """The prefixes under which every object with messages of that time lies, and no other partition."""
        if start is None and end is None:
            yield self.root
            return
        earliest = EARLIEST if start is None else start - self._spread
        latest = datetime(now.year + 2, 1, 1, tzinfo=UTC) if end is None else end
        for moment, unit in _covering(earliest, latest, smallest=len(self._formats) - 1):
            yield self.root + moment.strftime(self._formats[unit])

    def selects(self, key: str, start: datetime | None, end: datetime | None) -> bool:
        """Whether the object may hold messages of that time: the two intervals overlap."""
        interval = self.interval(key)
        return (
            interval is not None
            and (end is None or interval[0] < end)
            and (start is None or interval[1] > start or interval[0] >= start)
        )

    def output_name(self, key: str) -> str:
        """What an object's results are called: one name for each key, in the partition of the UTC day it began.

        The digest keeps keys apart that differ only in their folders.
        """
        interval = self.interval(key)
        day = interval[0].strftime("%Y-%m-%d") if interval else UNDATED
        # To Athena what begins with '_' or '.' is hidden, and S3's XML has no place for control characters.
        stem = _CONTROL.sub("_", _COMPRESSION.sub("", key.rpartition("/")[2])).lstrip("_.")
        stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return f"dt={day}/{stem}-{digest}.json.gz"


class IotAnalyticsLayout(ArchiveLayout):
    """`<root>__dt=YYYY-MM-DD 00:00:00/<startms>_<endms>_<account>_<channel>_<n>_<n>.json.gz` (FACTS section 1)."""

    _formats = ("__dt=%Y-", "__dt=%Y-%m-", "__dt=%Y-%m-%d")
    # The documented keys span 30 s; an object that began before midnight may end after it.
    _spread = timedelta(hours=1)
    _name = re.compile(r"(?:^|/)__dt=[^/]*/(\d{1,14})_(\d{1,14})_[^/]*$")

    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        match = self._name.search(key)
        if not match:
            return None
        return _from_milliseconds(match[1]), _from_milliseconds(match[2])


class FirehoseLayout(ArchiveLayout):
    """`<root>YYYY/MM/dd/HH/<stream>-<version>-YYYY-MM-dd-HH-mm-ss-<uuid>[.gz]`, UTC (FACTS section 1).

    The time in a key is that of the object's oldest message; messages follow for as long as the stream buffers.

    Args:
        root: The stream's S3 prefix.
        buffer: The stream's buffer interval, 900 s at most.
    """

    _formats = ("%Y/", "%Y/%m/", "%Y/%m/%d/", "%Y/%m/%d/%H/")
    _name = re.compile(
        r"(?:^|/)([A-Za-z0-9_.-]{1,64})-\d+-(\d{4})-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-"
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[^/]*$"
    )

    def __init__(self, root: str, *, buffer: timedelta) -> None:
        super().__init__(root)
        self._spread = buffer

    def interval(self, key: str) -> tuple[datetime, datetime] | None:
        match = self._name.search(key)
        if not match:
            return None
        try:
            start = datetime(*map(int, match.groups()[1:]), tzinfo=UTC)  # type: ignore[arg-type,misc] # six numbers
        except ValueError:
            return None
        return start, start + self._spread

    def stream(self, key: str) -> str | None:
        match = self._name.search(key)
        return match[1] if match else None


def layout_of(source: settings.Source) -> ArchiveLayout:
    """The layout that the construct named."""
    if source.layout is settings.Layout.IOT_ANALYTICS:
        return IotAnalyticsLayout(source.root)
    return FirehoseLayout(source.root, buffer=timedelta(seconds=source.buffer_seconds))


def _from_milliseconds(text: str) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))


def _covering(start: datetime, end: datetime, *, smallest: int) -> Iterator[tuple[datetime, int]]:
    """The fewest years (0), months (1), days (2) and hours (3) that cover a range, cut at the smallest unit."""
    moment = _floor(start, smallest)
    while moment < end:
        # The largest unit that begins here and does not reach past the range; the smallest one may.
        unit = next(
            unit
            for unit in range(smallest + 1)
            if unit == smallest or (_floor(moment, unit) == moment and _next(moment, unit) <= end)
        )
        yield moment, unit
        moment = _next(moment, unit)


def _floor(moment: datetime, unit: int) -> datetime:
    moment = moment.replace(minute=0, second=0, microsecond=0)
    match unit:
        case 0:
            return moment.replace(month=1, day=1, hour=0)
        case 1:
            return moment.replace(day=1, hour=0)
        case 2:
            return moment.replace(hour=0)
        case _:
            return moment


def _next(moment: datetime, unit: int) -> datetime:
    match unit:
        case 0:
            return moment.replace(year=moment.year + 1)
        case 1:
            return (moment + timedelta(days=31)).replace(day=1)
        case 2:
            return moment + timedelta(days=1)
        case _:
            return moment + timedelta(hours=1)
