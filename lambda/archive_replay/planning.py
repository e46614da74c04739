"""The first step: which objects a run replays, as a manifest in which each line is a work item.

The Distributed Map reads the manifest as JSON Lines and gives each line to one worker. Work items are cut here and
not by the Map's ItemBatcher, for here the objects' sizes are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice

from archive_replay.faults import ReplayStopped
from archive_replay.layouts import layout_of
from archive_replay.settings import Run, Selection, Settings, WorkItem
from archive_replay.storage import Storage, StoredObject

MAX_KEYS = 100
"""Objects in a work item: 100 keys of at most 1,024 bytes keep a worker's input under Step Functions' 262,144 bytes."""
MAX_BYTES = 64 << 20
"""Bytes as stored with which a work item is full."""
MANY = 10_000
"""Work items after which there are enough for any concurrency, and the rest becomes as large as can be: the output of a
Distributed Map has three bytes for each work item here and 262,144 at most."""
LOOK_AHEAD = 10_000
"""Objects looked at before the first work item is cut, to spread a small selection over all workers."""


@dataclass
class Plan:
    """What a run is going to replay."""

    objects: int = 0
    work_items: int = 0
    bytes: int = 0
    skipped: int = 0
    """Objects in the partitions concerned whose keys do not follow the layout."""
    function_digest: str = ""
    """What the user's function is while planning."""

    def properties(self) -> dict[str, int | str]:
        return {
            "Objects": self.objects,
            "WorkItems": self.work_items,
            "Bytes": self.bytes,
            "Skipped": self.skipped,
            "FunctionDigest": self.function_digest,
        }


def plan(
    run: Run, selection: Selection, storage: Storage, *, now: datetime, function_digest: str = ""
) -> Plan:
    """Writes the run's manifest.

    Args:
        run: The execution.
        selection: Which messages it replays.
        storage: Where the archive and the manifest are.
        now: The current time: an open end ends there.
        function_digest: What the user's function is: only its results are published.

    Returns:
        What the manifest holds.

    Raises:
        ReplayStopped: The archive cannot be listed, or the selection is not of this archive.
    """
    result = Plan(function_digest=function_digest)
    objects = _counted(_selected(run.settings, selection, storage, result, now=now), result)
    with storage.upload(run.settings.destination.bucket, run.manifest_key) as manifest:
        for item in work_items(objects, workers=run.settings.workers):
            manifest.write(json.dumps(item.properties(), ensure_ascii=False).encode() + b"\n")
            result.work_items += 1
    return result


def _selected(
    settings: Settings, selection: Selection, storage: Storage, result: Plan, *, now: datetime
) -> Iterator[StoredObject]:
    source, destination = settings.source, settings.destination
    layout = layout_of(source)
    if selection.s3_paths:
        # A path given twice is one object: its result would be written twice at the same time.
        for key in dict.fromkeys(selection.s3_paths):
            if not key.startswith(source.root):
                raise ReplayStopped(f"'{key}' is not in the archive: its objects begin with '{source.root}'")
            # Taken as given: the worker finds out whether it is there, and how large it is.
            yield StoredObject(key, size=0)
        return
    everything = selection.start is None and selection.end is None
    written = (destination.prefix, destination.errors_prefix, destination.runs_prefix)
    ours = tuple(p for p in written if source.bucket == destination.bucket and p.startswith(source.root))
    if source.root in ours:
        raise ReplayStopped(
            f"the archive s3://{source.bucket}/{source.root} would hold the results of its own replay; "
            "give the destination another prefix"
        )
    for prefix in layout.prefixes(selection.start, selection.end, now=now):
        for item in storage.list(source.bucket, prefix):
            if item.key.startswith(ours) or item.key.endswith("/"):
                continue  # results of a replay, or a folder as the console makes them
            if everything or layout.selects(item.key, selection.start, selection.end):
                yield item
            elif layout.interval(item.key) is None:
                result.skipped += 1


def _counted(objects: Iterator[StoredObject], result: Plan) -> Iterator[StoredObject]:
    for each in objects:
        result.objects += 1
        result.bytes += each.size
        yield each


def work_items(objects: Iterator[StoredObject], *, workers: int) -> Iterator[WorkItem]:
    """The objects in their order, in work items of about as many bytes: so many that no worker stands idle."""
    first = list(islice(objects, LOOK_AHEAD))
    most_keys = min(MAX_KEYS, -(-len(first) // workers))
    most_bytes = min(MAX_BYTES, -(-sum(each.size for each in first) // workers))
    number, keys, total = 0, [], 0
    for each in chain(first, objects):
        keys.append(each.key)
        total += each.size
        # Full when it has its share, not before it would have more: else there are more work items than workers.
        if len(keys) >= most_keys or 0 < most_bytes <= total:
            yield WorkItem(number, keys)
            number, keys, total = number + 1, [], 0
            if number == MANY:
                most_keys, most_bytes = MAX_KEYS, MAX_BYTES
    if keys:
        yield WorkItem(number, keys)
