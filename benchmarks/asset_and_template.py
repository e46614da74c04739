"""What the construct adds to an app, beside CDK's own `Provider` with a function that polls: asset, resources, synth.

Both stand for one state machine and do the same for a user: start it in a deploy, wait for it, cancel it. The time is
what defining and synthesizing a stack takes longer than that of the same stack without either, imports included, in
fresh processes that have synthesized once before: what every CDK app pays to get going is not in it.

Run it alone with `python benchmarks/asset_and_template.py [--repeats 9]`.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_cdk import App, CustomResource, Stack
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine

# The imports that one kind alone needs are in its function: they are a part of what it costs.
# ruff: noqa: PLC0415

TARGET_ASSET = 40
"""Kilobytes zipped; comments and docstrings are left out at synth."""
TARGET_RESOURCES = 6
TARGET_FUNCTIONS = 1


def nothing(stack: Stack, machine: StateMachine) -> None:
    """The app itself."""


def provider(stack: Stack, machine: StateMachine) -> None:
    """CDK's framework: two functions of the user's, three of its own and a state machine that polls.

    The two have no permissions yet; those would be two resources more.
    """
    from aws_cdk.aws_lambda import Code, Function, Runtime
    from aws_cdk.custom_resources import Provider

    code = Code.from_inline("def handler(event, context):\n    return {'IsComplete': True}\n")
    on_event, is_complete = (
        Function(stack, name, code=code, handler="index.handler", runtime=Runtime.PYTHON_3_14)
        for name in ("OnEvent", "IsComplete")
    )
    framework = Provider(stack, "Provider", on_event_handler=on_event, is_complete_handler=is_complete)
    CustomResource(
        stack,
        "Backfill",
        service_token=framework.service_token,
        properties={"StateMachine": machine.state_machine_arn},
    )


def construct(stack: Stack, machine: StateMachine) -> None:
    """This library."""
    from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.state_machine(machine),
        messages=MessageSelection.all(),
    )


MODULES = {
    "provider": ("aws_cdk.aws_lambda", "aws_cdk.custom_resources"),
    "construct": ("pipeline_reprocessing",),
}
KINDS: dict[str, Callable[[Stack, StateMachine], None]] = {
    kind.__name__: kind for kind in (nothing, provider, construct)
}


def synthesize(kind: str, folder: Path) -> float:
    """Writes the app's assembly and gives the seconds that defining and synthesizing took."""
    start = time.perf_counter()
    app = App(outdir=str(folder / kind))
    stack = Stack(app, "Stack")
    machine = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
    KINDS[kind](stack, machine)
    app.synth()
    return time.perf_counter() - start


def added_by(kind: str, folder: Path) -> tuple[float, float]:
    """Seconds that a kind adds in this process: all in all, and by its imports."""
    synthesize("nothing", folder)
    start = time.perf_counter()
    for module in MODULES[kind]:
        importlib.import_module(module)
    imports = time.perf_counter() - start
    return imports + synthesize(kind, folder) - synthesize("nothing", folder), imports


def measured(kind: str, folder: Path) -> tuple[float, float]:
    """The same in a fresh process."""
    # jsii finds Node beside this Python, also when this is not started by make.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    answer = subprocess.run(
        [sys.executable, __file__, "--added-by", kind, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path},
    )
    whole, imports = json.loads(answer.stdout)
    return whole, imports


def resources(folder: Path) -> list[str]:
    """The types of the resources in the template."""
    template: dict[str, Any] = json.loads((folder / "Stack.template.json").read_text())
    return [resource["Type"] for resource in template["Resources"].values()]


def zipped(folder: Path) -> tuple[float, int]:
    """Kilobytes of the handler's asset as the CLI uploads it, and how many files are in it."""
    assets = json.loads((folder / "Stack.assets.json").read_text())["files"].values()
    (asset,) = (asset for asset in assets if asset["source"]["packaging"] == "zip")
    source = folder / asset["source"]["path"]
    files = sorted(path for path in source.rglob("*") if path.is_file())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(source))
    return len(packed.getvalue()) / 1024, len(files)


def report(repeats: int) -> bool:
    """Measures, prints the table, says whether the targets are met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = ("provider", "construct")
        # In turns, so that whatever else the machine does meets both.
        turns = [{kind: measured(kind, folder) for kind in kinds} for _ in range(repeats)]
        types = {kind: resources(folder / kind) for kind in KINDS}
        size, files = zipped(folder / "construct")
    added = {
        kind: {
            "resources": len(types[kind]) - len(types["nothing"]),
            "functions": types[kind].count("AWS::Lambda::Function"),
            "seconds": statistics.median(turn[kind][0] for turn in turns),
            "imports": statistics.median(turn[kind][1] for turn in turns),
        }
        for kind in kinds
    }
    print(f"added to an app with one state machine: medians of {repeats} fresh processes each, in turns")
    print(
        f"  {'':32} {'resources':>10} {'functions':>10} {'synth':>9} {'of the provider':>16} {'of it imports':>14}"
    )
    for kind, label in (("provider", "CDK's Provider, is_complete"), ("construct", "this construct")):
        row = added[kind]
        ratio = row["seconds"] / added["provider"]["seconds"]
        print(
            f"  {label:32} {row['resources']:10} {row['functions']:10} {row['seconds']:7.2f} s {ratio:16.2f} {row['imports']:12.2f} s"
        )
    print(f"  {'asset, zipped':32} {size:7.1f} KB in {files} files")
    met = (
        size <= TARGET_ASSET
        and added["construct"]["resources"] <= TARGET_RESOURCES
        and added["construct"]["functions"] <= TARGET_FUNCTIONS
    )
    print(
        f"  targets: at most {TARGET_RESOURCES} resources, {TARGET_FUNCTIONS} function, {TARGET_ASSET} KB: "
        f"{'met' if met else 'NOT MET'}"
    )
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="fresh processes of each kind")
    parser.add_argument("--added-by", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.added_by:
        sys.exit(0 if report(arguments.repeats) else 1)
    kind, folder = arguments.added_by
    print(json.dumps(added_by(kind, Path(folder))))


if __name__ == "__main__":
    main()
