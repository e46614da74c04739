"""What the archive's worker costs beside the work that cannot be avoided, and what planning costs.

The floor gunzips, parses, writes and gzips the same messages with nothing around it. The worker does that and what
makes it a worker: batches, checks, counts, uploads. Each measurement is a process of its own; S3 is a local file.

Run it alone with `python benchmarks/replay_worker.py [--megabytes 200]`.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

from archive_replay.planning import plan
from archive_replay.reading import Batch
from archive_replay.replaying import InTime, Worker
from archive_replay.settings import Run, Selection
from archive_replay.storage import CHUNK, Storage, connect
from archive_replay.transforms import Outcome, lines_of
from archive_replay.uploads import COMPRESSION_LEVEL

REPEATS = 3
TARGET_SHARE = 0.7
TARGET_MEMORY = 256
FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"


class LocalS3:
    """One archive object in a file, results into another file, a listing of any length: what boto3 would do, less."""

    def __init__(self, folder: Path, *, keys: int = 0) -> None:
        self._folder = folder
        self._keys = keys
        self.written = 0

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"ETag": "1", "Body": (self._folder / "archive.gz").open("rb")}

    def head_object(self, **_: Any) -> dict[str, Any]:
        return {"ETag": "1", "Metadata": {}}

    def create_multipart_upload(self, **_: Any) -> dict[str, Any]:
        return {"UploadId": "1"}

    def upload_part(self, *, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's name
        self.written += len(Body)
        with (self._folder / "result").open("ab") as result:
            result.write(Body)
        return {"ETag": "1"}

    def put_object(self, *, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's name
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


def floor(folder: Path) -> int:
    """Gunzip, parse, write, gzip: nothing else."""
    unzip = zlib.decompressobj(31)
    rezip = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 31)
    decode = json.JSONDecoder().decode
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    messages, rest = 0, b""
    with (folder / "archive.gz").open("rb") as archive, (folder / "result").open("wb") as result:
        while chunk := archive.read(CHUNK):
            *lines, rest = (rest + unzip.decompress(chunk)).split(b"\n")
            written = [encode(decode(line.decode())) for line in lines]
            result.write(rezip.compress(("\n".join(written) + "\n").encode()))
            messages += len(lines)
        result.write(rezip.flush())
    return messages


def identity(folder: Path) -> int:
    """The worker without the user's function: every message comes back as it is."""
    worker = _worker(folder, "LAMBDA_ACTIVITY", lambda payload: payload)

    def unchanged(batch: Batch) -> Outcome:
        return Outcome(lines_of(batch.values), len(batch), messages=len(batch))

    worker._transform = lambda *_: unchanged  # type: ignore[method-assign]  # the seam under test
    return _replay(worker, folder)


def lambda_activity(folder: Path) -> int:
    """The worker with a Lambda activity that answers at once with what it got."""
    return _replay(_worker(folder, "LAMBDA_ACTIVITY", lambda payload: payload), folder)


def firehose(folder: Path) -> int:
    """The worker with a Firehose transformation that answers at once, Ok for every record."""

    def invoke(payload: bytes) -> bytes:
        return payload.replace(
            b'"approximateArrivalTimestamp"', b'"result":"Ok","approximateArrivalTimestamp"'
        )

    return _replay(_worker(folder, "FIREHOSE", invoke), folder)


def planning(folder: Path) -> int:
    """The plan of 100,000 objects."""
    s3 = LocalS3(folder, keys=100_000)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    planned = plan(_run("FIREHOSE"), Selection(start=datetime(2025, 1, 1, tzinfo=UTC)), Storage(s3), now=now)  # type: ignore[arg-type]  # it does what is needed
    return planned.objects


WORK: dict[str, Callable[[Path], int]] = {
    work.__name__: work for work in (floor, identity, lambda_activity, firehose, planning)
}


def _worker(folder: Path, contract: str, invoke: Callable[[bytes], bytes]) -> Worker:
    return Worker(_run(contract), Storage(LocalS3(folder)), invoke)  # type: ignore[arg-type]  # it does what is needed


def _replay(worker: Worker, folder: Path) -> int:
    key = _firehose_key(datetime(2025, 1, 1, tzinfo=UTC), 1)
    tally = worker._replay(key, InTime(lambda: 900.0, worker._invoke))
    assert tally.messages_in == tally.messages_out
    assert tally.failed_objects == tally.messages_failed == 0
    assert tally.bytes_in == (folder / "archive.gz").stat().st_size
    return tally.messages_out


def _run(contract: str) -> Run:
    settings = {
        "Source": {"Layout": "FIREHOSE", "Bucket": "raw", "Root": "raw/", "BufferSeconds": 900},
        "Function": {"Arn": FUNCTION, "Contract": contract, "BatchSize": 500},
        "Destination": {"Bucket": "out", "Prefix": "out/", "ErrorsPrefix": "errors/", "RunsPrefix": "runs/"},
        "MaxConcurrency": 40,
        "ToleratedFailurePercentage": 0,
    }
    return Run.parse({"Name": "run", "Started": "2026-01-01T00:00:00.000Z", "Settings": settings})


def _firehose_key(moment: datetime, number: int) -> str:
    return f"raw/{moment:%Y/%m/%d/%H}/telemetry-1-{moment:%Y-%m-%d-%H-%M-%S}-0a1b2c3d-0000-4000-8000-{number:012x}.gz"


def write_archive(path: Path, megabytes: int) -> None:
    """Messages as sensors send them, gzipped."""
    chance = random.Random(7)  # noqa: S311  # the same messages each time
    rezip = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 31)
    size, number = 0, 0
    with path.open("wb") as archive:
        while size < megabytes * 1_000_000:
            lines = []
            for _ in range(5_000):
                number += 1
                lines.append(
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
                    )
                )
            text = ("\n".join(lines) + "\n").encode()
            size += len(text)
            archive.write(rezip.compress(text))
        archive.write(rezip.flush())


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
        write_archive(folder / "archive.gz", megabytes)
        size = (folder / "archive.gz").stat().st_size / 1e6
        print(f"archive worker: one object of {megabytes} MB, {size:.0f} MB gzipped, batches of 500")
        # In turns, so that whatever else the machine does meets all of them.
        turns = [{work: measured(work, folder) for work in WORK} for _ in range(REPEATS)]
    rate = {
        work: statistics.median(turn[work]["count"] / turn[work]["seconds"] for turn in turns)
        for work in WORK
    }
    share = {
        work: statistics.median(turn["floor"]["seconds"] / turn[work]["seconds"] for turn in turns)
        for work in WORK
        if work != "planning"
    }
    memory = {work: max(turn[work]["megabytes"] for turn in turns) for work in WORK}
    print(f"  {'by processor time':32} {'messages/s':>12} {'of the floor':>14} {'peak memory':>12}")
    for work, ratio in share.items():
        print(f"  {work:32} {rate[work]:12,.0f} {ratio:14.2f} {memory[work]:9.0f} MB")
    print(
        f"  {'planning 100,000 objects':32} {100_000 / rate['planning']:10.1f} s {'':14} {memory['planning']:9.0f} MB"
    )
    met = share["identity"] >= TARGET_SHARE and max(memory.values()) < TARGET_MEMORY
    print(
        f"  targets: identity at least {TARGET_SHARE} of the floor, memory under {TARGET_MEMORY} MB: "
        f"{'met' if met else 'NOT MET'}"
    )
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the archive's object, unzipped")
    parser.add_argument("--work", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.work:
        sys.exit(0 if report(arguments.megabytes) else 1)
    name, folder = arguments.work
    if name != "floor":
        connect()  # it takes memory in Lambda too, and time once
    # The processor's time: nothing here waits, and whatever else the machine does stays out of it.
    start = time.process_time()
    count = WORK[name](Path(folder))
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform == "linux" else 1024 * 1024
    )
    print(json.dumps({"count": count, "seconds": seconds, "megabytes": peak}))


if __name__ == "__main__":
    main()
