"""How long a replay takes and what it costs, from 10 objects to 100,000: by calculation, and on the embedded engine.

The calculation cuts work items with the planner itself; all it assumes stands at the top, so that you can put in your
own numbers. `python benchmarks/replay_scale.py --embedded [--objects 10 100 1000]` deploys a pipeline on this machine
and measures it too.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive_replay.planning import work_items
from archive_replay.storage import StoredObject


@dataclass(frozen=True)
class Assumptions:
    """An archive, a function, and what AWS takes for them in us-east-1 (arm64, list prices of 2026)."""

    messages_per_object: int = 20_000
    bytes_per_object: int = 400_000
    """As stored; the messages are some 190 bytes each and gzip makes a tenth of them."""
    batch_size: int = 500
    concurrency: int = 40
    worker_rate: float = 60_000
    """Messages per second of a worker whose function answers at once (`replay_worker.py`, `lambda_activity`)."""
    call_seconds: float = 0.05
    """The function's time for a batch."""
    call_overhead_seconds: float = 0.01
    """A synchronous invocation within a region."""
    object_overhead_seconds: float = 0.1
    """GET of an object, PUT of its staged result."""
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
    transition_price: float = 0.000025
    gb_second_price: float = 0.0000133334
    invocation_price: float = 0.20 / 1e6
    put_price: float = 0.005 / 1000
    get_price: float = 0.0004 / 1000


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
    cut = [len(item.keys) for item in work_items(sizes, workers=given.concurrency)]
    calls_per_object = math.ceil(given.messages_per_object / given.batch_size)
    object_seconds = (
        given.messages_per_object / given.worker_rate
        + calls_per_object * (given.call_seconds + given.call_overhead_seconds)
        + given.object_overhead_seconds
    )
    # The Map keeps all its slots busy: as they are balanced, work items end in waves.
    waves = [max(cut[start : start + given.concurrency]) for start in range(0, len(cut), given.concurrency)]
    seconds = (
        given.run_overhead_seconds
        + math.ceil(objects / 1000) * given.listing_seconds
        + sum(given.child_overhead_seconds + wave * object_seconds for wave in waves)
        + sum(given.child_overhead_seconds + wave * given.publish_seconds for wave in waves)
        + 2 * len(cut) / given.results_per_second
    )
    dollars = (
        (14 + (4 + 2) * len(cut)) * given.transition_price
        + objects * (object_seconds + given.publish_seconds) * given.worker_gb * given.gb_second_price
        + objects * calls_per_object * given.call_seconds * given.function_gb * given.gb_second_price
        + (objects * calls_per_object + 2 * len(cut) + 3) * given.invocation_price
        + (2 * objects + 2 * len(cut) + objects / 1000) * given.put_price
        + (3 * objects + 2 * len(cut)) * given.get_price
    )
    return Estimate(objects, len(cut), seconds, dollars, objects * given.messages_per_object)


def table(concurrencies: Sequence[int]) -> Iterator[str]:
    """The table of docs/scale.md."""
    yield "| objects | messages | concurrency | work items | time | price | per million messages |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for objects in (10, 100, 1_000, 10_000, 100_000):
        for concurrency in concurrencies:
            it = estimate(objects, Assumptions(concurrency=concurrency))
            yield (
                f"| {objects:,} | {it.messages / 1e6:,.1f} M | {concurrency} | {it.work_items:,} | {_duration(it.seconds)} "
                f"| ${it.dollars:,.3f} | ${it.dollars_per_million:.4f} |"
            )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def measure(counts: Sequence[int], *, concurrency: int = 4, messages: int = 100) -> Iterator[str]:
    """Replays archives of so many objects on the embedded AWS of this machine."""
    # Only here, for the calculation needs neither CDK nor the embedded AWS.
    from local_aws import LocalAws  # noqa: PLC0415

    yield f"on the embedded engine, {messages} messages in each object, concurrency {concurrency}:"
    yield ""
    yield "| objects | time | objects per second |"
    yield "|--:|--:|--:|"
    with LocalAws.start() as aws, tempfile.TemporaryDirectory() as folder:
        aws.bootstrap()
        aws.cdk("deploy", "scale", app=_synthesized(Path(folder), counts, concurrency)).check()
        (stack,) = aws.client("cloudformation").describe_stacks(StackName="scale")["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        for count in counts:
            _fill(aws.client("s3"), outputs["Bucket"], count, messages)
            seconds = _run(aws.client("stepfunctions"), outputs[f"Machine{count}"], count, messages)
            yield f"| {count:,} | {_duration(seconds)} | {count / seconds:.1f} |"


def _synthesized(folder: Path, counts: Sequence[int], concurrency: int) -> str:
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
            max_concurrency=concurrency,
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
    print("\n".join(table([40, 400])))
    if arguments.embedded:
        print()
        for line in measure(arguments.objects):
            print(line, flush=True)


if __name__ == "__main__":
    main()
