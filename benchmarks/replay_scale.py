"""How long a replay takes and what it costs, from 10 objects to 100,000: by calculation, and on the embedded engine.

The calculation cuts work items with the planner itself. All assumptions are at the top: put in your own numbers.
`python benchmarks/replay_scale.py --embedded [--objects 10 100 1000]` deploys a pipeline on this machine
and measures it too.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from object_replay.planning import work_items
from object_replay.storage import StoredObject


@dataclass(frozen=True)
class Assumptions:
    """An archive, a function, and what AWS takes for them in us-east-1 (arm64, list prices of 2026)."""

    messages_per_object: int = 20_000
    bytes_per_object: int = 400_000
    """As stored; the messages are some 190 bytes each and gzip makes a tenth of them."""
    batch_size: int = 500
    workers: int = 10
    calls_per_worker: int = 4
    """Calls of the function that a worker keeps in flight, and objects that it has open; 40 calls at once in all."""
    publishers: int = 10
    worker_rate: float = 60_000
    """Messages per second of a worker whose function answers at once (`replay_worker.py`, `lambda_activity`)."""
    call_seconds: float = 0.05
    """The function's time for a batch."""
    call_overhead_seconds: float = 0.01
    """A synchronous invocation within a region."""
    object_overhead_seconds: float = 0.1
    """GET of an object, PUT of its staged result; a worker does so for as many objects at once as it has calls."""
    publish_seconds: float = 0.02
    """HEAD, COPY and HEAD of a result, of which a worker has eight under way."""
    child_overhead_seconds: float = 0.5
    """A child execution with its state transitions and a warm worker."""
    run_overhead_seconds: float = 8
    """Four steps, the start and end of two maps, and one cold start."""
    listing_seconds: float = 0.1
    """A page of 1,000 keys."""
    results_per_second: float = 400
    """Notes of workers that the closing step reads: 16 at the same time."""
    worker_gb: float = 1769 / 1024
    function_gb: float = 0.25
    """The memory of the user's function: 256 MB."""
    transition_price: float = 0.000025
    gb_second_price: float = 0.0000133334
    invocation_price: float = 0.20 / 1e6
    put_price: float = 0.005 / 1000
    get_price: float = 0.0004 / 1000

    @property
    def calls(self) -> int:
        """Calls of the function at once: at most the pipeline's `max_concurrency`."""
        return self.workers * self.calls_per_worker

    @property
    def calls_per_object(self) -> int:
        return math.ceil(self.messages_per_object / self.batch_size)

    def work_item_seconds(self, objects: int) -> float:
        """A worker's time for a work item.

        Its own work is done by one processor. While it waits for calls it goes on with others, of this object or of
        the next ones; at the end it waits for the last ones.
        """
        own = objects * self.messages_per_object / self.worker_rate
        call = self.call_seconds + self.call_overhead_seconds
        calls = objects * self.calls_per_object
        at_once = min(self.calls_per_worker, calls)
        return (
            max(own, (own + calls * call) / at_once)
            + call * (at_once - 1) / at_once
            + math.ceil(objects / self.calls_per_worker) * self.object_overhead_seconds
        )


@dataclass(frozen=True)
class Estimate:
    """What the calculation gives for a number of objects."""

    objects: int
    work_items: int
    seconds: float
    dollars: float
    messages: int

    @property
    def dollars_per_million(self) -> float:
        return self.dollars / self.messages * 1e6


def estimate(objects: int, given: Assumptions) -> Estimate:
    """Time and price of one run."""
    sizes = (StoredObject(f"{number}", given.bytes_per_object) for number in range(objects))
    cut = [len(item.keys) for item in work_items(sizes, workers=given.workers)]
    calls = objects * given.calls_per_object
    seconds = (
        given.run_overhead_seconds
        + math.ceil(objects / 1000) * given.listing_seconds
        + sum(
            given.child_overhead_seconds + given.work_item_seconds(most) for most in waves(cut, given.workers)
        )
        + sum(
            given.child_overhead_seconds + most * given.publish_seconds
            for most in waves(cut, given.publishers)
        )
        + 2 * len(cut) / given.results_per_second
    )
    worker_seconds = sum(map(given.work_item_seconds, cut)) + objects * given.publish_seconds
    dollars = (
        (14 + (4 + 2) * len(cut)) * given.transition_price
        + worker_seconds * given.worker_gb * given.gb_second_price
        + calls * given.call_seconds * given.function_gb * given.gb_second_price
        + (calls + 2 * len(cut) + 3) * given.invocation_price
        + (2 * objects + 2 * len(cut) + objects / 1000) * given.put_price
        + (3 * objects + 2 * len(cut)) * given.get_price
    )
    return Estimate(objects, len(cut), seconds, dollars, objects * given.messages_per_object)


def waves(cut: Sequence[int], workers: int) -> list[int]:
    """The largest work item of each wave: work items are balanced, so those that begin together end together."""
    return [max(cut[start : start + workers]) for start in range(0, len(cut), workers)]


SMALL = {"messages_per_object": 200, "bytes_per_object": 4_000}
"""An object of one batch, such as a channel's 30 seconds or a stream's smallest buffer."""


def tables() -> Iterator[str]:
    """The tables of docs/scale.md."""
    sizes = (10, 100, 1_000, 10_000, 100_000)
    forty, four_hundred = Assumptions(), Assumptions(workers=100, publishers=40)
    yield from _table((objects, given) for objects in sizes for given in (forty, four_hundred))
    yield "\nthe same with objects of 200 messages:\n"
    small = [Assumptions(**SMALL), Assumptions(workers=100, publishers=40, **SMALL)]
    yield from _table((objects, given) for objects in sizes[2:] for given in small)
    yield "\nwhat calls in flight change, for 10,000 objects of 20,000 messages and of 200:\n"
    divided = [(40, 1), (10, 4), (40, 4)]
    yield from _table(
        (10_000, Assumptions(workers=workers, calls_per_worker=calls, publishers=workers, **size))
        for size in ({}, SMALL)
        for workers, calls in divided
    )


def _table(rows: Iterable[tuple[int, Assumptions]]) -> Iterator[str]:
    yield "| objects | messages | calls at once | workers | work items | time | price | per million messages |"
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
    for objects, given in rows:
        it = estimate(objects, given)
        yield (
            f"| {objects:,} | {it.messages / 1e6:,.1f} M | {given.calls} | {given.workers} | {it.work_items:,} "
            f"| {_duration(it.seconds)} | ${it.dollars:,.3f} | ${it.dollars_per_million:.4f} |"
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def measure(counts: Sequence[int], *, calls: int = 16, messages: int = 100) -> Iterator[str]:
    """Replays archives of so many objects on the embedded AWS of this machine."""
    # Only here, for the calculation needs neither CDK nor the embedded AWS.
    from local_aws import LocalAws  # noqa: PLC0415

    yield f"on the embedded engine, {messages} messages in each object, {calls} calls at once:"
    yield ""
    yield "| objects | time | objects per second |"
    yield "|--:|--:|--:|"
    with LocalAws.start() as aws, tempfile.TemporaryDirectory() as folder:
        aws.bootstrap()
        aws.cdk("deploy", "scale", app=_synthesized(Path(folder), counts, calls)).check()
        (stack,) = aws.client("cloudformation").describe_stacks(StackName="scale")["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        for count in counts:
            _fill(aws.client("s3"), outputs["Bucket"], count, messages)
            seconds = _run(aws.client("stepfunctions"), outputs[f"Machine{count}"], count, messages)
            yield f"| {count:,} | {_duration(seconds)} | {count / seconds:.1f} |"


def _synthesized(folder: Path, counts: Sequence[int], calls: int) -> str:
    import aws_cdk as cdk  # noqa: PLC0415
    from aws_cdk.aws_lambda import Code, Function, Runtime  # noqa: PLC0415
    from aws_cdk.aws_s3 import Bucket  # noqa: PLC0415

    from pipeline_reprocessing import Archive, ArchivePipeline, Destination, Transform  # noqa: PLC0415

    app = cdk.App(outdir=str(folder))
    stack = cdk.Stack(app, "scale")
    bucket = Bucket(stack, "Messages")
    function = Function(
        stack,
        "Unchanged",
        runtime=Runtime.PYTHON_3_14,
        handler="index.handler",
        code=Code.from_inline("def handler(messages, context):\n    return messages"),
    )
    for count in counts:
        pipeline = ArchivePipeline(
            stack,
            f"Pipeline{count}",
            source=Archive.firehose(bucket, prefix=f"raw-{count}/"),
            transform=Transform.lambda_activity(function),
            destination=Destination(bucket, prefix=f"results-{count}/"),
            max_concurrency=calls,
        )
        cdk.CfnOutput(stack, f"Machine{count}", value=pipeline.state_machine.state_machine_arn)
    cdk.CfnOutput(stack, "Bucket", value=bucket.bucket_name)
    app.synth()
    return str(folder)


def _fill(s3: Any, bucket: str, count: int, messages: int) -> None:
    body = b"".join(json.dumps({"n": n, "temperature": 54.5}).encode() + b"\n" for n in range(messages))
    for number in range(count):
        key = f"raw-{count}/2025/01/01/00/s-1-2025-01-01-00-00-00-0a1b2c3d-0000-4000-8000-{number:012x}"
        s3.put_object(Bucket=bucket, Key=key, Body=body)


def _run(states: Any, machine: str, count: int, messages: int) -> float:
    began = time.perf_counter()
    given = json.dumps({"messages": {"All": True}})
    execution = states.start_execution(stateMachineArn=machine, input=given)["executionArn"]
    while (described := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    assert described["status"] == "SUCCEEDED", described
    assert json.loads(described["output"])["messagesOut"] == count * messages
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedded", action="store_true", help="measure on this machine as well")
    parser.add_argument(
        "--objects",
        type=int,
        nargs="+",
        default=[10, 100, 1_000],
        metavar="COUNT",
        help="how many objects to replay on this machine, one run for each number (default: 10 100 1000)",
    )
    arguments = parser.parse_args()
    print(f"archive pipeline, by calculation from {Assumptions()}\n")
    print("\n".join(tables()))
    if arguments.embedded:
        print()
        for line in measure(arguments.objects):
            print(line, flush=True)


if __name__ == "__main__":
    main()
