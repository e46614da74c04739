"""What a data store holds: JSON lines in gzipped objects, a folder for each day.

`[prefix/]datastore/<data store>/__dt=YYYY-MM-DD 00:00:00/<startms>_<endms>_<account>_<data store>_<run>_<n>.json.gz`

Day and window are those in which the raw messages were ingested, so what a run writes lies beside what was there before.
`<run>` is the id of the reprocessing run, or `live-<number>` for messages on their way in. Nothing is ever replaced: a
repeated run appends its rows once more, as it did in the service, and a reader tells the runs apart by the name.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from local_aws.iot_analytics.archive import ArchiveObject, Location
from local_aws.iot_analytics.messages import Message, packed, unpacked

LIVE = "live"


@dataclass(frozen=True)
class StoredObject:
    """One object of a data store.

    Args:
        key: Its full key.
        run: The run that wrote it: an id, or `live`.
    """

    key: str
    run: str


def live_run(pipeline: str) -> str:
    """What stands in place of a run's id for messages that pass a pipeline on their way in.

    The number keeps two pipelines apart that read one channel and write one data store.
    """
    return f"{LIVE}-{zlib.crc32(pipeline.encode())}"


def stored_object(key: str) -> StoredObject | None:
    """What the key of an object tells, or None if it is not one of a data store."""
    name = re.search(r"_(?P<run>[0-9A-Za-z-]+)_\d+\.json\.gz$", key)
    if not name:
        return None
    return StoredObject(key, LIVE if name["run"].startswith(f"{LIVE}-") else name["run"])


class DataStoreFiles:
    """Writes and reads the rows of one data store.

    Args:
        datastore: The data store's name.
        account: The account's number.
        location: Where the objects are.

    Raises:
        StorageError: The location cannot be listed.
    """

    def __init__(self, datastore: str, account: str, location: Location) -> None:
        self._location = location
        self._folder = f"{location.prefix}datastore/{datastore}/"
        self._tail = f"{account}_{datastore}"
        # Whether there is such a bucket shows when it is listed: at once, not with the first message.
        self.size()

    def write(self, messages: Sequence[Message], *, source: ArchiveObject, run: str) -> None:
        """Writes what became of one archive object into one new object."""
        name = f"{source.window.span}_{self._tail}_{run}_{source.sequence}.json.gz"
        self._location.store.put(
            self._location.bucket, f"{self._folder}{source.window.day}/{name}", packed(messages)
        )

    def rows(self, run: str | None = None) -> Iterator[tuple[str, Message]]:
        """Every row with the run that wrote it; all of them, or those of one run."""
        for entry in self._location.store.entries(self._location.bucket, self._folder):
            found = stored_object(entry.key)
            if found and run in {None, found.run}:
                for message in unpacked(self._location.store.get(self._location.bucket, entry.key)):
                    yield found.run, message

    def size(self) -> int:
        """The bytes of all its objects."""
        return sum(entry.size for entry in self._location.store.entries(self._location.bucket, self._folder))
