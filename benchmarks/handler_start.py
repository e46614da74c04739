"""What a cold start of the handler takes beside that of a plain crhelper handler.

A cold start is what Lambda does before the first event: import the handler's module, which makes the handler. The
environment is Lambda's: awslambdaric loaded, the newest boto3 compiled, the asset without compiled files on a file
system that takes none. In turns, so that whatever else the machine does meets both.

Neither handler has then done anything: the plain one has made three clients of which it needs none, ours makes each
client when it is needed. The second row adds those that a Create needs, so that the first hides nothing.

Run it alone with `python benchmarks/handler_start.py [--repeats 25]`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline_reprocessing.assets import copied

TARGET_RATIO = 0.65
TARGET_RATIO_READY = 0.9
TARGET_MEMORY = 60
PACKAGES = ("pipeline_reprocessing_handler", "crhelper")
RUNTIME = Path(__file__).parents[1] / ".local/runtime/bin/python"

PLAIN = """
from crhelper import CfnResource

helper = CfnResource()


@helper.create
@helper.update
def start(event, context):
    return "id"


@helper.poll_create
@helper.poll_update
def look(event, context):
    return True


@helper.delete
def stop(event, context):
    pass


def handler(event, context):
    helper(event, context)
"""
MEASURE = """
import sys, time, importlib, json
import awslambdaric.bootstrap

start = time.perf_counter()
module = importlib.import_module(sys.argv[1])
started = time.perf_counter() - start
if sys.argv[2:]:
    from pipeline_reprocessing_handler.clients import client
for service in sys.argv[2:]:
    client(service)
ready = time.perf_counter() - start
with open("/proc/self/status") as status:  # rusage would count what the parent had before the exec
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
print(json.dumps([started * 1000, ready * 1000, peak]))
"""
CLIENTS = ("cloudformation", "logs", "stepfunctions", "lambda")


def write_asset(folder: Path) -> None:
    """What the function's code is in Lambda, and the plain handler beside it."""
    copied(folder, PACKAGES)
    (folder / "plain.py").write_text(PLAIN)


def measured(folder: Path, module: str, *clients: str, compiled: bool = False) -> tuple[float, float, float]:
    """Milliseconds of the start, those until the clients are there too, and peak megabytes."""
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(folder),
        # as in Lambda; without them each client would look for a metadata service
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a secret of nothing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "handler",
        "AWS_LAMBDA_LOG_GROUP_NAME": "logs",
        **({} if compiled else {"PYTHONDONTWRITEBYTECODE": "1"}),
    }
    answer = subprocess.run(
        [RUNTIME, "-c", MEASURE, module, *clients], check=True, stdout=subprocess.PIPE, env=environment
    )
    started, ready, peak = json.loads(answer.stdout)
    return started, ready, peak


def medians(runs: list[tuple[float, float, float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*runs, strict=True)]


def report(repeats: int) -> bool:
    """Measures, prints the table, says whether the targets are met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_asset(folder)
        # Compiles the runtime's own packages, which Lambda brings along compiled.
        measured(folder, "pipeline_reprocessing_handler.index", *CLIENTS, compiled=True)
        measured(folder, "plain", compiled=True)
        for cache in folder.rglob("__pycache__"):
            shutil.rmtree(cache)
        turns = [
            {
                "plain": measured(folder, "plain"),
                "ours": measured(folder, "pipeline_reprocessing_handler.index"),
                "ready": measured(folder, "pipeline_reprocessing_handler.index", *CLIENTS),
            }
            for _ in range(repeats)
        ]
    plain, ours, ready = (medians([turn[kind] for turn in turns]) for kind in ("plain", "ours", "ready"))
    ratio = ours[0] / plain[0]
    print(f"cold start of the handler: medians of {repeats} fresh processes each, in turns")
    print(f"  {'':44} {'ms':>6} {'of plain':>9} {'peak memory':>12}")
    print(f"  {'plain crhelper handler':44} {plain[0]:6.0f} {1:9.2f} {plain[2]:9.1f} MB")
    print(f"  {'this handler':44} {ours[0]:6.0f} {ratio:9.2f} {ours[2]:9.1f} MB")
    print(
        f"  {'this handler and the clients of a Create':44} {ready[1]:6.0f} {ready[1] / plain[0]:9.2f} {ready[2]:9.1f} MB"
    )
    met = (
        ratio <= TARGET_RATIO
        and ready[1] / plain[0] <= TARGET_RATIO_READY
        and max(ours[2], ready[2]) < TARGET_MEMORY
    )
    print(
        f"  targets: at most {TARGET_RATIO} of the plain handler's start, {TARGET_RATIO_READY} with the clients, memory under {TARGET_MEMORY} MB: "
        f"{'met' if met else 'NOT MET'}"
    )
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=25, help="fresh processes of each kind")
    sys.exit(0 if report(parser.parse_args().repeats) else 1)


if __name__ == "__main__":
    main()
