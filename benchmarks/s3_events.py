"""A function that S3 calls, over 2,000 objects: the worker beside a plain script with a thread pool.

Both list the objects and call the function for each, ten calls at once; S3 and Lambda are waits of the length that they
take within a region. The worker also looks at each object before the call, repeats what fails, and notes what happened.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from object_replay.events.calling import EventWorker
from object_replay.functions import Functions
from object_replay.patience import Clock, Patience
from object_replay.planning import plan
from object_replay.settings import Run, Selection, WorkItem
from object_replay.storage import Storage
from object_replay.worker import Call

OBJECTS = 2_000
AT_ONCE = 10
CALL_SECONDS = 0.05
LOOK_SECONDS = 0.01
TARGET = 0.7
"""Objects per second, of those of the plain script: a look and the ramp are what they cost."""
BUCKET, FUNCTION = "uploads", "arn:aws:lambda:eu-west-1:111122223333:function:thumbnails"


class Aws:
    """S3 with the objects, and Lambda with a function that takes its time. Counts the requests."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.written: dict[str, bytes] = {}

    def invoke(self, **_: Any) -> dict[str, Any]:
        self.requests["Invoke"] += 1
        time.sleep(CALL_SECONDS)
        return {"Payload": io.BytesIO(b"null")}

    def head_object(self, **_: Any) -> dict[str, Any]:
        self.requests["HeadObject"] += 1
        time.sleep(LOOK_SECONDS)
        return {"ETag": '"1"', "ContentLength": 5, "LastModified": datetime(2025, 1, 1, tzinfo=UTC)}

    def put_object(self, *, Key: str, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's names
        self.requests["PutObject"] += 1
        time.sleep(LOOK_SECONDS)
        self.written[Key] = bytes(Body)
        return {}

    def get_paginator(self, _: str) -> Aws:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        modified = datetime(2025, 1, 1, tzinfo=UTC)
        for first in range(0, OBJECTS, 1000):
            self.requests["ListObjectsV2"] += 1
            time.sleep(10 * LOOK_SECONDS)
            numbers = range(first, min(first + 1000, OBJECTS))
            yield {
                "Contents": [
                    {"Key": f"in/{number:06}", "Size": 5, "LastModified": modified} for number in numbers
                ]
            }


def script(aws: Aws) -> None:
    """What people write for themselves."""
    keys = [item["Key"] for page in aws.paginate() for item in page["Contents"]]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda key: aws.invoke(Payload=json.dumps({"Records": [key]})), keys))


def pipeline(aws: Aws) -> None:
    """The steps of a run, but for their executions."""
    settings = {
        "Source": {"Layout": "OBJECTS", "Bucket": BUCKET, "Root": "in/"},
        "Function": {"Arn": FUNCTION, "Contract": "S3_EVENT", "Retries": 2, "Timeout": 60},
        "Destination": {"Bucket": "reports", "RunsPrefix": ""},
        "Workers": 1,
        "CallsPerWorker": AT_ONCE,
        "ToleratedFailurePercentage": 0,
    }
    run = Run.parse({"Name": "run", "Started": "2026-01-01T00:00:00.000Z", "Settings": settings})
    storage: Any = Storage(aws)  # type: ignore[arg-type]  # it does what is needed
    planned = plan(run, Selection(), storage, now=datetime.now(UTC))
    assert planned.objects == OBJECTS
    for line in aws.written[run.manifest_key].splitlines():
        patience = Patience(Clock(), run.started, lambda: 900.0)
        call = Call("1", lambda: datetime.now(UTC), lambda: 900.0, patience)
        functions = Functions(aws, FUNCTION)  # type: ignore[arg-type]  # it does what is needed
        assert (
            not EventWorker(run, storage, functions.invoke, call)
            .replay(WorkItem.parse(json.loads(line)))
            .keys
        )


def main() -> None:
    rates, requests = {}, {}
    for work in (script, pipeline):
        aws = Aws()
        began = time.perf_counter()
        work(aws)
        rates[work.__name__] = OBJECTS / (time.perf_counter() - began)
        requests[work.__name__] = sum(aws.requests.values()) / OBJECTS
        assert aws.requests["Invoke"] == OBJECTS
    ratio = rates["pipeline"] / rates["script"]
    print(
        f"A function that S3 calls, {OBJECTS:,} objects, {AT_ONCE} calls of {CALL_SECONDS * 1000:.0f} ms at once\n"
    )
    print("| | objects per second | requests per object |")
    print("|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {requests[name]:.2f} |")
    print(f"\nThe pipeline makes {ratio:.2f} of the script's objects per second (target: {TARGET} or more).")
    sys.exit(ratio < TARGET)


if __name__ == "__main__":
    main()
