"""How long synth takes with many constructs in a stack: in proportion to their number, and little for one.

The floor is the same app without this library: a stack of state machines, with a function each where that still fits the
500 resources of a stack. Every time is that of a fresh process that has synthesized a small app of its kind before, so that
what is loaded once is not in it.

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
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

SIZES = (25, 50, 100)
APP = 80
"""State machines with a function each: the app to which one construct is added."""
TARGET_GROWTH = 2.2
"""The most that twice as many constructs may take: twice the time, and what measuring is off by."""
TARGET_ONE = 1.3
"""The most that an app takes with one construct, against the same app without."""


def synthesize(machines: int, constructs: int, folder: str, *, functions: bool) -> float:
    """Defines and synthesizes an app, and gives the seconds."""
    start = time.perf_counter()
    app = App(outdir=folder)
    stack = Stack(app, "Stack")
    for number in range(machines):
        step = invoking(stack, number) if functions else Pass(stack, f"Do{number}")
        body = DefinitionBody.from_chainable(step)
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


def invoking(stack: Stack, number: int) -> LambdaInvoke:
    """A task that calls a function of its own."""
    code, runtime = Code.from_inline("def handler(event, context): pass"), Runtime.PYTHON_3_14
    function = Function(stack, f"Function{number}", code=code, handler="index.handler", runtime=runtime)
    return LambdaInvoke(stack, f"Invoke{number}", lambda_function=function)


def seconds(machines: int, constructs: int, repeats: int, *, functions: bool = False) -> float:
    """The median of several processes."""
    command = [sys.executable, __file__, "--one", str(machines), str(constructs), str(int(functions))]
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        machines, constructs, functions = arguments.one
        with tempfile.TemporaryDirectory() as folder:
            synthesize(2, min(2, constructs), str(Path(folder, "first")), functions=bool(functions))
            print(synthesize(machines, constructs, str(Path(folder, "cdk.out")), functions=bool(functions)))
        return

    added: dict[int, float] = {}
    print("| state machines | without | with a construct each | for each construct |\n|---|---|---|---|")
    for size in SIZES:
        without, every = (seconds(size, count, arguments.repeats) for count in (0, size))
        added[size] = every - without
        print(f"| {size} | {without:.2f} s | {every:.2f} s | {1000 * added[size] / size:.0f} ms |")
    growth = added[SIZES[-1]] / added[SIZES[-2]]
    print(f"\nTwice as many constructs take {growth:.2f} times as long (target: {TARGET_GROWTH}).")

    without, one = (seconds(APP, count, arguments.repeats, functions=True) for count in (0, 1))
    print(
        f"{APP} state machines with a function each take {without:.2f} s, with one construct {one:.2f} s: "
        f"{one / without:.2f} (target: {TARGET_ONE})."
    )
    if growth > TARGET_GROWTH or one / without > TARGET_ONE:
        sys.exit(1)


if __name__ == "__main__":
    main()
