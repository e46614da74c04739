"""The first step: which objects a run replays, as a manifest in which each line is a work item.

The Distributed Map reads the manifest as JSON Lines and gives each line to one worker. Work items are cut here and
not by the Map's ItemBatcher, for here the objects' sizes are known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice

from object_replay.compression import unpacked
from object_replay.faults import Denied, ObjectFailure, ReplayStopped, ReplayTooLarge, Unreadable
from object_replay.layouts import ArchiveLayout, layout_of
from object_replay.settings import MAX_KEYS, NOTES, Limits, Run, Selection, Settings, WorkItem
from object_replay.storage import CONNECTIONS, Availability, Storage, StoredObject, lines

MAX_BYTES = 64 << 20
"""Bytes as stored with which a work item is full."""
MANY = 10_000
"""Work items after which there are enough for any concurrency, and the rest becomes as large as can be: the output of a
Distributed Map has three bytes for each work item here and 262,144 at most."""
LOOK_AHEAD = 10_000
"""Objects looked at before the first work item is cut, to spread a small selection over all workers."""
LOOK_AROUND = 20_000
"""Keys looked at to find out why nothing is selected: 20 requests."""


@dataclass
class Plan:
    """What a run is going to replay."""

    objects: int = 0
    work_items: int = 0
    bytes: int = 0
    skipped: int = 0
    """Objects listed that are not the archive's (another suffix, error output of Firehose), or bear no time."""
    function_digest: str = ""
    """What the user's function is while planning."""
    unreadable: Counter[Availability] = field(default_factory=Counter)
    """Selected objects that must be restored first."""
    example: str = ""
    """The key of one of those."""

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
        ReplayTooLarge: More is selected than the limits allow.
        ReplayStopped: The archive cannot be listed, the selection is not of this archive, nothing is selected and
            keys do not follow the layout, or an object is archived and not restored.
    """
    result = Plan(function_digest=function_digest)
    layout = layout_of(run.settings.source)
    objects = _counted(_selected(run.settings, layout, selection, storage, result, now=now), result)
    # What is raised in here leaves no manifest behind.
    with storage.upload(run.settings.destination.bucket, run.manifest_key) as manifest:
        settings = run.settings
        for item in work_items(objects, workers=settings.workers, by_bytes=settings.publishes):
            manifest.write(json.dumps(item.properties(), ensure_ascii=False).encode() + b"\n")
            result.work_items += 1
        _check_limits(run.settings.limits, result)
        if result.unreadable:
            raise ReplayStopped(_unreadable(run.settings.source.bucket, result))
        if not result.objects and run.settings.publishes:
            _check_layout(run.settings, layout, selection, storage)
    return result


def _selected(
    settings: Settings,
    layout: ArchiveLayout,
    selection: Selection,
    storage: Storage,
    result: Plan,
    *,
    now: datetime,
) -> Iterator[StoredObject]:
    source = settings.source
    if selection.s3_paths or selection.keys_from:
        keys = selection.s3_paths or keys_in(storage, *selection.keys_from or ("", ""))
        yield from _named(settings, keys, storage, result)
        return
    ours = _written_within(settings)
    everything = selection.start is None and selection.end is None
    for prefix in layout.prefixes(selection.start, selection.end, now=now):
        for item in storage.list(source.bucket, prefix):
            if not _belongs(item, ours, settings):
                continue
            if not layout.takes(item.key):
                result.skipped += settings.publishes
            elif everything or layout.selects(item, selection.start, selection.end):
                if _is_skipped(item, settings):
                    result.skipped += 1
                else:
                    yield item
            elif not layout.is_dated(item):
                result.skipped += 1


def _named(settings: Settings, keys: Sequence[str], storage: Storage, result: Plan) -> Iterator[StoredObject]:
    source = settings.source
    # A path given twice is one object: its result would be written twice at the same time.
    keys = list(dict.fromkeys(keys))
    for key in keys:
        if key != key.encode(errors="replace").decode():  # half of a surrogate pair is in no key
            raise ReplayStopped(f"'{key}' is no key of an object: S3's keys are UTF-8")
        if not key.startswith(source.root):
            raise ReplayStopped(f"'{key}' is not in the archive: its objects begin with '{source.root}'")
        if not settings.publishes and not key.endswith(source.suffix):
            raise ReplayStopped(f"'{key}' is not in the archive: its objects end with '{source.suffix}'")

    def look(key: str) -> StoredObject | None:
        # Of one of which S3 says nothing the worker tells why.
        with suppress(ObjectFailure):
            return storage.current(source.bucket, key)
        return None

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        # Each that waits for its turn takes memory.
        some = (keys[first : first + LOOK_AHEAD] for first in range(0, len(keys), LOOK_AHEAD))
        found = chain.from_iterable(pool.map(look, each) for each in some)
        for key, item in zip(keys, found, strict=True):
            if item and _is_skipped(item, settings):
                result.skipped += 1
            else:
                yield item or StoredObject(key, size=0)


def keys_in(storage: Storage, bucket: str, key: str) -> list[str]:
    """The keys that a file names: a text or an object with a `key` in each line, as in the errors of an earlier run.

    Raises:
        ReplayStopped: The file is not there, or a line names no key.
    """
    keys = []
    try:
        for number, line in enumerate(lines(unpacked(storage.read(bucket, key), key)), 1):
            if line.strip():
                keys.append(_key_in(line, f"line {number} of s3://{bucket}/{key}"))
    except Unreadable as error:
        raise Denied(f"the file of keys s3://{bucket}/{key} {error}") from error
    except ObjectFailure as error:
        raise ReplayStopped(f"the file of keys s3://{bucket}/{key} {error}") from error
    return keys


def _key_in(line: bytes, where: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    key = value.get("key") if isinstance(value, dict) else value
    if not isinstance(key, str) or not key:
        raise ReplayStopped(
            f'{where} must be {{"key": "..."}} or a key in quotes, got {line[:200].decode(errors="replace")}'
        )
    return key


def _is_skipped(item: StoredObject, settings: Settings) -> bool:
    """Whether a function that S3 calls is not called for it: it is a folder's marker, or cannot be read."""
    return not settings.publishes and (item.is_folder or item.availability is not Availability.READABLE)


def _check_limits(limits: Limits, result: Plan) -> None:
    for name, value, limit, unit in (
        ("max_objects", result.objects, limits.max_objects, "objects"),
        ("max_size", result.bytes, limits.max_bytes, "bytes"),
    ):
        if limit is not None and value > limit:
            raise ReplayTooLarge(
                f"{result.objects:,} objects with {result.bytes:,} bytes are selected, and '{name}' allows "
                f"{limit:,} {unit}; select fewer messages, or raise '{name}' in ReplayLimits"
            )


def _written_within(settings: Settings) -> tuple[str, ...]:
    """What a replay writes into the archive: prefixes of objects that are not the archive's."""
    source, bucket = settings.source, settings.destination.bucket
    ours = tuple(p for p in settings.written if source.bucket == bucket and p.startswith(source.root))
    if source.root in ours and settings.publishes:
        raise ReplayStopped(
            f"the archive s3://{source.bucket}/{source.root} would hold the results of its own replay; "
            "give the destination another prefix"
        )
    return ours


def _belongs(item: StoredObject, ours: tuple[str, ...], settings: Settings) -> bool:
    """Whether it is neither a result of a replay nor, in an archive, a folder as the console makes them."""
    if settings.publishes:
        return not item.key.startswith(ours) and not item.key.endswith("/")
    # Beside the notes of runs there may be the user's objects: the pipeline's suffix tells them apart.
    return not (item.key.startswith(ours) and item.key.endswith(NOTES))


def _counted(objects: Iterator[StoredObject], result: Plan) -> Iterator[StoredObject]:
    for each in objects:
        result.objects += 1
        result.bytes += each.size
        if each.availability is not Availability.READABLE:
            result.unreadable[each.availability] += 1
            result.example = result.example or each.key
        yield each


def _unreadable(bucket: str, result: Plan) -> str:
    archived = result.unreadable[Availability.ARCHIVED]
    restoring = result.unreadable[Availability.BEING_RESTORED]
    return (
        f"{archived:,} of {result.objects:,} selected objects are archived and {restoring:,} are being restored, "
        f"such as s3://{bucket}/{result.example}; restore them for longer than the replay takes (RestoreObject, or S3 "
        "Batch Operations), wait until that is done, and run it again, or select other messages"
    )


def _check_layout(settings: Settings, layout: ArchiveLayout, selection: Selection, storage: Storage) -> None:
    """Raises if nothing was selected since the archive's keys are not what they were said to be."""
    source = settings.source
    # Keys are made by one stream or channel, so a wrong layout shows in the first of them as in any other. What lies
    # beyond these may differ where a stream's prefix was changed, which is not worth listing millions of keys.
    ours = _written_within(settings)
    first = islice(storage.list(source.bucket, source.root), LOOK_AROUND)
    seen = [item for item in first if _belongs(item, ours, settings)]
    # Without content there are no messages: markers such as '_SUCCESS'.
    flawed = [(item.key, flaw) for item in seen if item.size and (flaw := layout.flaw(item))]
    if flawed:
        key, flaw = flawed[0]
        everything = selection.start is None and selection.end is None
        raise ReplayStopped(
            f"nothing is selected, and {len(flawed):,} of the first {len(seen):,} objects in "
            f"s3://{source.bucket}/{source.root} do not follow the archive's layout: '{key}' {flaw}; "
            f"{layout.remedy}{'' if everything else ', or select with MessageSelection.all()'}"
        )


def work_items(objects: Iterator[StoredObject], *, workers: int, by_bytes: bool = True) -> Iterator[WorkItem]:
    """The objects in their order, in work items of about as many bytes: so many that no worker stands idle.

    Without `by_bytes` they have about as many objects: a worker that reads none has no less to do for small ones, and
    makes as many calls at once as its work item has objects.
    """
    first = list(islice(objects, LOOK_AHEAD))
    most_keys = min(MAX_KEYS, -(-len(first) // workers))
    most_bytes = min(MAX_BYTES, -(-sum(each.size for each in first) // workers)) if by_bytes else 0
    number, keys, total = 0, [], 0
    for each in chain(first, objects):
        keys.append(each.key)
        total += each.size
        # Full when it has its share, not before it would have more: else there are more work items than workers.
        if len(keys) >= most_keys or 0 < most_bytes <= total:
            yield WorkItem(number, keys)
            number, keys, total = number + 1, [], 0
            if number == MANY:
                most_keys, most_bytes = MAX_KEYS, MAX_BYTES if by_bytes else 0
    if keys:
        yield WorkItem(number, keys)
