"""How long synth takes with many constructs in a stack: in proportion to their number, and little for one.

The floor is the same app without this library: a stack of state machines with a task each. Every time is that of a fresh
process that has synthesized a small app of its kind before, so that what is loaded once is not in it.

Run it alone with `python benchmarks/synth.py [--repeats 3]`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aws_cdk import App, Stack
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

SIZES = (25, 50, 100)
TARGET_GROWTH = 2.2
"""The most that twice as many constructs may take: twice the time, and what measuring is off by."""
TARGET_ONE = 1.3
"""The most that an app takes with one construct, against the same app without."""


def synthesize(machines: int, constructs: int, folder: str) -> float:
    """Defines and synthesizes an app, and gives the seconds."""
    start = time.perf_counter()
    app = App(outdir=folder)
    stack = Stack(app, "Stack")
    for number in range(machines):
        body = DefinitionBody.from_chainable(Pass(stack, f"Do{number}"))
        machine = StateMachine(stack, f"Machine{number}", definition_body=body)
        if number < constructs:
            PipelineReprocessing(
                stack,
                f"Backfill{number}",
                pipeline=ReprocessablePipeline.state_machine(machine),
                messages=MessageSelection.all(),
            )
    app.synth()
    return time.perf_counter() - start


def seconds(machines: int, constructs: int, repeats: int) -> float:
    """The median of several processes."""
    command = [sys.executable, __file__, "--one", str(machines), str(constructs)]
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--one", type=int, nargs=2, metavar=("MACHINES", "CONSTRUCTS"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            synthesize(2, min(2, arguments.one[1]), str(Path(folder, "first")))
            print(synthesize(*arguments.one, str(Path(folder, "cdk.out"))))
        return

    print(
        "| state machines | without | one construct | one for each | for each construct |\n|---|---|---|---|---|"
    )
    added: dict[int, float] = {}
    one = 0.0
    for size in SIZES:
        without, single, every = (seconds(size, count, arguments.repeats) for count in (0, 1, size))
        added[size], one = every - without, single / without
        print(
            f"| {size} | {without:.2f} s | {single:.2f} s, {one:.2f} of that | {every:.2f} s "
            f"| {1000 * added[size] / size:.0f} ms |"
        )
    growth = added[SIZES[-1]] / added[SIZES[-2]]
    print(f"\nTwice as many constructs take {growth:.2f} times as long (target: {TARGET_GROWTH}),")
    print(f"one among {SIZES[-1]} state machines {one:.2f} of the app without (target: {TARGET_ONE}).")
    if growth > TARGET_GROWTH or one > TARGET_ONE:
        sys.exit(1)


if __name__ == "__main__":
    main()
