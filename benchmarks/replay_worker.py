"""What the archive's worker costs beside the work that cannot be avoided, and what planning costs.

There is a floor for each contract: the same work on the same messages with nothing around it, written as one would
write it. For Firehose's that is gunzip, split into lines, base64, event, answer, gzip; for the Lambda activity's gunzip,
parse, encode, gzip. The worker does its contract's and what makes it a worker: batches, checks, counts, uploads. Each
measurement is a process of its own; S3 is a local file. Processor time is compared, except where calls in flight are:
those wait for a function that takes 50 ms.

Run it alone with `python benchmarks/replay_worker.py [--megabytes 200]`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from gzip import GzipFile
from pathlib import Path
from typing import Any

from object_replay.archive.replaying import ArchiveWorker
from object_replay.patience import Clock, Patience
from object_replay.planning import plan
from object_replay.settings import Run, Selection, WorkItem
from object_replay.storage import CHUNK, Storage, connect
from object_replay.uploads import COMPRESSION_LEVEL
from object_replay.worker import Call

REPEATS = 3
MOST_FIREHOSE = 1.15
MOST_ACTIVITY = 0.8
MOST_CONCATENATED = 1.3
LEAST_SPEED_UP = 2.5
MOST_MEGABYTES = 256
FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"


class LocalS3:
    """One archive object in a file, results into another file, a listing of any length: what boto3 would do, less."""

    def __init__(self, folder: Path, archive: str = "", *, keys: int = 0) -> None:
        self._folder = folder
        self._archive = archive
        self.note: Any = None
        """What the worker noted."""
        self._keys = keys
        self.written = 0

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"ETag": "1", "Body": (self._folder / self._archive).open("rb")}

    def head_object(self, **_: Any) -> dict[str, Any]:
        return {"ETag": "1", "Metadata": {}}

    def create_multipart_upload(self, **_: Any) -> dict[str, Any]:
        return {"UploadId": "1"}

    def upload_part(self, *, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's name
        self.written += len(Body)
        with (self._folder / "result").open("ab") as result:
            result.write(Body)
        return {"ETag": "1"}

    def put_object(self, *, Key: str, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's names
        if Key.endswith(".json"):
            self.note = json.loads(Body)
            return {}
        return self.upload_part(Body=Body)

    def complete_multipart_upload(self, **_: Any) -> dict[str, Any]:
        return {}

    def delete_object(self, **_: Any) -> dict[str, Any]:
        return {}

    def get_paginator(self, _: str) -> LocalS3:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        start = datetime(2025, 1, 1, tzinfo=UTC)
        for first in range(0, self._keys, 1000):
            yield {
                "Contents": [
                    {
                        "Key": _firehose_key(start + timedelta(minutes=5 * number), number),
                        "Size": 1_000_000,
                        "LastModified": start + timedelta(minutes=5 * number),
                    }
                    for number in range(first, min(first + 1000, self._keys))
                ]
            }


def floor_activity(folder: Path) -> int:
    """Gunzip, parse, encode, gzip: nothing else."""
    decode = json.JSONDecoder().decode
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

    def work(lines: list[bytes]) -> bytes:
        return ("\n".join([encode(decode(line.decode())) for line in lines]) + "\n").encode()

    return _floor(folder, work)


def floor_firehose(folder: Path) -> int:
    """Gunzip, split, base64, event, answer, gzip: nothing else."""

    def work(lines: list[bytes]) -> bytes:
        results = []
        for first in range(0, len(lines), 500):
            records = [
                {
                    "recordId": f"{number:056d}",
                    "approximateArrivalTimestamp": 1_735_689_600_000,
                    "data": base64.b64encode(line).decode(),
                }
                for number, line in enumerate(lines[first : first + 500])
            ]
            answer = json.loads(_echoed(json.dumps({"records": records}).encode()))
            by_id = {record["recordId"]: record for record in answer["records"]}
            results += [base64.b64decode(by_id[record["recordId"]]["data"]) for record in records]
        return b"\n".join(results) + b"\n"

    return _floor(folder, work)


def _floor(folder: Path, work: Callable[[list[bytes]], bytes]) -> int:
    unzip = zlib.decompressobj(31)
    rezip = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 31)
    messages, rest = 0, b""
    with (folder / "lines.gz").open("rb") as archive, (folder / "result").open("wb") as result:
        while chunk := archive.read(CHUNK):
            *lines, rest = (rest + unzip.decompress(chunk)).split(b"\n")
            result.write(rezip.compress(work(lines)))
            messages += len(lines)
        result.write(rezip.flush())
    return messages


def activity(folder: Path) -> int:
    """The worker with a Lambda activity that answers at once with what it got."""
    return _replay("LAMBDA_ACTIVITY", lambda payload: payload, folder, "lines.gz")


def firehose(folder: Path) -> int:
    """The worker with a Firehose transformation that answers at once, Ok for every record."""
    return _replay("FIREHOSE", _echoed, folder, "lines.gz")


def firehose_concatenated(folder: Path) -> int:
    """The same on messages without separators, as Firehose writes them by default."""
    return _replay("FIREHOSE", _echoed, folder, "concatenated.gz")


def one_call_at_a_time(folder: Path) -> int:
    """The worker with a function that takes 50 ms."""
    return _replay("FIREHOSE", _slowly_echoed, folder, "some.gz")


def four_calls_in_flight(folder: Path) -> int:
    """The same with four calls at once."""
    return _replay("FIREHOSE", _slowly_echoed, folder, "some.gz", calls=4)


def _echoed(payload: bytes) -> bytes:
    return payload.replace(b'"approximateArrivalTimestamp"', b'"result":"Ok","approximateArrivalTimestamp"')


def _slowly_echoed(payload: bytes) -> bytes:
    time.sleep(0.05)
    return _echoed(payload)


def planning(folder: Path) -> int:
    """The plan of 100,000 objects."""
    s3 = LocalS3(folder, keys=100_000)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    planned = plan(_run("FIREHOSE"), Selection(start=datetime(2025, 1, 1, tzinfo=UTC)), Storage(s3), now=now)  # type: ignore[arg-type]  # it does what is needed
    return planned.objects


WORK: dict[str, Callable[[Path], int]] = {
    work.__name__: work
    for work in (
        floor_activity,
        activity,
        floor_firehose,
        firehose,
        firehose_concatenated,
        one_call_at_a_time,
        four_calls_in_flight,
        planning,
    )
}


def _replay(
    contract: str, invoke: Callable[[bytes], bytes], folder: Path, archive: str, *, calls: int = 1
) -> int:
    run = _run(contract, calls)
    s3 = LocalS3(folder, archive)
    call = Call("1", lambda: datetime.now(UTC), lambda: 900.0, Patience(Clock(), run.started, lambda: 900.0))
    worker = ArchiveWorker(run, Storage(s3), invoke, call)  # type: ignore[arg-type]  # it does what is needed
    left = worker.replay(WorkItem(0, [_firehose_key(datetime(2025, 1, 1, tzinfo=UTC), 1)]))
    assert not left.keys
    [tally] = s3.note["Objects"].values()
    assert tally["messages_in"] == tally["messages_out"]
    assert tally["failed_objects"] == tally["messages_failed"] == 0
    assert tally["bytes_in"] == (folder / archive).stat().st_size
    return int(tally["messages_out"])


def _run(contract: str, calls: int = 1) -> Run:
    settings = {
        "Source": {"Layout": "FIREHOSE", "Bucket": "raw", "Root": "raw/", "BufferSeconds": 900},
        "Function": {
            "Arn": FUNCTION,
            "Contract": contract,
            "BatchSize": 500,
            "MaxBytes": 1 << 20 if contract == "FIREHOSE" else 4 << 20,
            "StreamArn": "arn:aws:firehose:eu-west-1:111122223333:deliverystream/no-such-stream",
        },
        "Destination": {"Bucket": "out", "Prefix": "out/", "ErrorsPrefix": "errors/", "RunsPrefix": "runs/"},
        "Workers": 40,
        "CallsPerWorker": calls,
        "ToleratedFailurePercentage": 0,
    }
    return Run.parse(
        {
            "Name": "run",
            "Started": "2026-01-01T00:00:00.000Z",
            "Settings": settings,
            "Plan": {"Objects": 1, "WorkItems": 1},
        }
    )


def _firehose_key(moment: datetime, number: int) -> str:
    return f"raw/{moment:%Y/%m/%d/%H}/telemetry-1-{moment:%Y-%m-%d-%H-%M-%S}-0a1b2c3d-0000-4000-8000-{number:012x}.gz"


def write_archives(folder: Path, megabytes: int) -> None:
    """Messages as sensors send them, gzipped: a line each, without separators, and a few of them."""
    chance = random.Random(7)  # noqa: S311  # the same messages each time
    archives = {name: GzipFile(folder / name, "wb", mtime=0) for name in ("lines.gz", "concatenated.gz")}
    size, number = 0, 0
    while size < megabytes * 1_000_000:
        messages = []
        for _ in range(5_000):
            number += 1
            messages.append(
                json.dumps(
                    {
                        "deviceId": f"sensor-{chance.randrange(500):04d}",
                        "timestamp": 1_735_689_600_000 + number * 250,
                        "temperature": round(chance.gauss(54, 12), 2),
                        "humidity": round(chance.random() * 100, 1),
                        "battery": chance.randrange(101),
                        "location": {"lat": 47.6062, "lon": -122.3321},
                        "status": chance.choice(["ok", "ok", "ok", "low battery"]),
                    }
                ).encode()
            )
        size += archives["lines.gz"].write(b"\n".join(messages) + b"\n")
        archives["concatenated.gz"].write(b"".join(messages))
    for archive in archives.values():
        archive.close()
    with GzipFile(folder / "some.gz", "wb", mtime=0) as some:
        some.write(b"\n".join(messages * 4) + b"\n")


def measured(name: str, folder: Path) -> dict[str, float]:
    """What a piece of work costs in a process of its own."""
    (folder / "result").unlink(missing_ok=True)
    answer = subprocess.run(
        [sys.executable, __file__, "--work", name, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "AWS_DEFAULT_REGION": "eu-west-1"},
    )
    values: dict[str, float] = json.loads(answer.stdout)
    return values


def report(megabytes: int) -> bool:
    """Measures, prints the table, says whether the targets are met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archives(folder, megabytes)
        size = (folder / "lines.gz").stat().st_size / 1e6
        print(f"archive worker: one object of {megabytes} MB, {size:.0f} MB gzipped, batches of 500")
        # In turns, so that whatever else the machine does meets all of them.
        turns = [{work: measured(work, folder) for work in WORK} for _ in range(REPEATS)]

    def median(work: str, figure: str) -> float:
        return statistics.median(turn[work][figure] for turn in turns)

    def ratio(work: str, floor: str, figure: str = "seconds") -> float:
        return statistics.median(turn[work][figure] / turn[floor][figure] for turn in turns)

    memory = {work: max(turn[work]["megabytes"] for turn in turns) for work in WORK}
    print(f"  {'by processor time':24} {'messages/s':>12} {'peak memory':>12}")
    for work in WORK:
        print(f"  {work:24} {median(work, 'count') / median(work, 'seconds'):12,.0f} {memory[work]:9.0f} MB")
    targets = [
        ("firehose / its floor", ratio("firehose", "floor_firehose"), "<=", MOST_FIREHOSE),
        ("activity / its floor", ratio("activity", "floor_activity"), "<=", MOST_ACTIVITY),
        ("without separators / lines", ratio("firehose_concatenated", "firehose"), "<=", MOST_CONCATENATED),
        (
            "one call / four in flight, by the clock",
            ratio("one_call_at_a_time", "four_calls_in_flight", "clock"),
            ">=",
            LEAST_SPEED_UP,
        ),
        ("peak memory in MB", max(memory.values()), "<=", MOST_MEGABYTES),
    ]
    met = True
    for name, value, sign, target in targets:
        is_met = value <= target if sign == "<=" else value >= target
        met = met and is_met
        print(f"  {name:42} {value:8.2f} {sign} {target:<6} {'met' if is_met else 'NOT MET'}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the archive's object, unzipped")
    parser.add_argument("--work", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.work:
        sys.exit(0 if report(arguments.megabytes) else 1)
    name, folder = arguments.work
    if not name.startswith("floor"):
        connect()  # it takes memory in Lambda too, and time once
    # The processor's time: nothing here waits, and whatever else the machine does stays out of it.
    start, clock = time.process_time(), time.perf_counter()
    count = WORK[name](Path(folder))
    seconds, elapsed = time.process_time() - start, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform == "linux" else 1024 * 1024
    )
    print(json.dumps({"count": count, "seconds": seconds, "clock": elapsed, "megabytes": peak}))


if __name__ == "__main__":
    main()
