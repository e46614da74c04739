"""A channel's archive of raw messages, in the key layout that the service documented.

`[prefix/]channel/<channel>/__dt=YYYY-MM-DD 00:00:00/<startms>_<endms>_<account>_<channel>_<n>_<n>.json.gz`

Each BatchPutMessage makes one object, in the window of 30 seconds into which its ingestion time falls. What a line inside
an object looked like was never documented; here it is the message's JSON object.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from local_aws.iot_analytics.messages import Message, packed, unpacked
from local_aws.iot_analytics.storage import ObjectStore, StorageError

WINDOW_MS = 30_000


@dataclass(frozen=True)
class Location:
    """Where a channel or data store keeps its objects.

    Args:
        store: S3, or what the service keeps for itself.
        bucket: The bucket.
        prefix: What every key begins with: nothing, or text that ends with a slash.
    """

    store: ObjectStore
    bucket: str
    prefix: str


@dataclass(frozen=True)
class Window:
    """Thirty seconds of ingestion."""

    start_ms: int

    @classmethod
    def around(cls, moment: datetime) -> "Window":
        """The window that the moment falls into."""
        milliseconds = int(moment.timestamp() * 1000)
        return cls(milliseconds - milliseconds % WINDOW_MS)

    @property
    def start(self) -> datetime:
        """When it begins."""
        return datetime.fromtimestamp(self.start_ms / 1000, UTC)

    @property
    def day(self) -> str:
        """The partition of its UTC day."""
        return f"__dt={self.start:%Y-%m-%d} 00:00:00"

    @property
    def span(self) -> str:
        """The two numbers that file names begin with."""
        return f"{self.start_ms}_{self.start_ms + WINDOW_MS}"


@dataclass(frozen=True)
class ArchiveObject:
    """One object of an archive.

    Args:
        key: Its full key.
        window: When its messages were ingested.
        sequence: Its number among the channel's objects.
    """

    key: str
    window: Window
    sequence: int


@dataclass(frozen=True)
class TimeRange:
    """Objects by ingestion time.

    The service called these times rough estimates, rounded to the hour. Here an object belongs to the range if its
    window begins in it, to the millisecond, and objects are taken whole.

    Args:
        start: The first moment that belongs, or None for the beginning.
        end: The first moment that does not belong any more, or None for the end.
    """

    start: datetime | None = None
    end: datetime | None = None

    def __contains__(self, window: Window) -> bool:
        return (self.start is None or self.start <= window.start) and (
            self.end is None or window.start < self.end
        )


@dataclass(frozen=True)
class Keys:
    """Objects by name.

    Args:
        keys: Full keys, with the channel's key prefix and without the bucket.
    """

    keys: tuple[str, ...]


Selection = TimeRange | Keys


class ChannelArchive:
    """Writes and reads the raw messages of one channel.

    Args:
        channel: The channel's name.
        account: The account's number.
        location: Where the objects are.

    Raises:
        StorageError: The location cannot be listed.
    """

    def __init__(self, channel: str, account: str, location: Location) -> None:
        self._location = location
        self._folder = f"{location.prefix}channel/{channel}/"
        self._tail = f"{account}_{channel}_0"
        self._name = re.compile(
            rf"__dt=\d{{4}}-\d\d-\d\d 00:00:00/(?P<start>\d+)_\d+_\d+_{channel}_\d+_(?P<sequence>\d+)(\.\d+)?\.json\.gz"
        )
        self._lock = threading.Lock()
        # A channel that was deleted and created again goes on in the same archive, and must not write over it.
        self._next = max((found.sequence for found in self.objects(TimeRange())), default=-1) + 1

    def append(self, messages: Sequence[Message], at: datetime) -> ArchiveObject:
        """Writes messages that arrive at this time into one new object."""
        with self._lock:
            sequence, self._next = self._next, self._next + 1
        window = Window.around(at)
        key = f"{self._folder}{window.day}/{window.span}_{self._tail}_{sequence}.0.json.gz"
        self._location.store.put(self._location.bucket, key, packed(messages))
        return ArchiveObject(key, window, sequence)

    def objects(self, selection: Selection) -> list[ArchiveObject]:
        """The selected objects: by time those that are there, by name all that are named, there or not."""
        if isinstance(selection, Keys):
            return [found for key in selection.keys if (found := self.named(key))]
        listed = self._location.store.entries(self._location.bucket, self._folder)
        named = (self.named(entry.key) for entry in listed)
        return sorted(
            (each for each in named if each and each.window in selection),
            key=lambda each: (each.window.start_ms, each.sequence),
        )

    def named(self, key: str) -> ArchiveObject | None:
        """The object that a key means, or None if it is not the key of an object of this channel."""
        name = self._name.fullmatch(key.removeprefix(self._folder)) if key.startswith(self._folder) else None
        return ArchiveObject(key, Window(int(name["start"])), int(name["sequence"])) if name else None

    def read(self, archived: ArchiveObject) -> list[Message]:
        """The messages of one object.

        Raises:
            StorageError: It is not there, or is not what an archive consists of.
        """
        body = self._location.store.get(self._location.bucket, archived.key)
        try:
            return unpacked(body)
        except ValueError as error:
            raise StorageError(f"'{archived.key}' cannot be read: {error}") from error

    def size(self) -> int:
        """The bytes of all its objects."""
        return sum(entry.size for entry in self._location.store.entries(self._location.bucket, self._folder))
