"""What waiting for a run costs: how late CloudFormation hears of its end, which calls are made, and at what price.

The real handler code runs in the simulation of `tests/simulation`, in virtual time, where every call takes 20 to
400 ms, drawn for each (median 75 ms, mean 143 ms). Each length of a run is measured at many phases: runs whose ends
are spread evenly over one interval between two looks, so that no lucky moment decides, and that for several series
of drawn times. CDK's Provider and crhelper's own polling are calculated from their sources (aws-cdk-lib 2.275.0,
crhelper 2.0.12): the end of a run falls evenly between two looks at the interval that is their default.

Run it alone with `python benchmarks/waiting.py [--phases 20]`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/simulation"))

from simulated_aws.invariants import LOOKS
from simulated_aws.runs import RunPlan
from simulated_aws.stories import OLD_STREAMS, leave_old_streams
from simulated_aws.templates import reprocessing
from simulated_aws.world import World

KINDS = {"STATE_MACHINE": "state machine", "IOT_ANALYTICS": "IoT Analytics"}
SERIES = range(1, 6)
"""Seeds of how long calls take."""
HOUR = 3600.0
LENGTHS = {"1 s": 1.0, "30 s": 30.0, "10 min": 600.0, "3 h, WaitCondition": 3 * HOUR}
TARGET_UP_TO_A_MINUTE = 1.5
TARGET_BEYOND = 2.4
TARGET_LOGS_CALLS = {"STATE_MACHINE": 5, "IOT_ANALYTICS": 9}
TARGET_MORE_CALLS = 5

PROVIDER_INTERVAL = 5.0
"""Seconds: `queryInterval` by default; its waiter is one task that Step Functions retries at that interval."""
CRHELPER_INTERVAL = 120.0
"""Seconds: `polling_interval=2` by default, an EventBridge rule of `rate(2 minutes)`."""

MEMORY = 256 / 1024
"""GB of the handler (constructs/pipeline_reprocessing/provider.py)."""
GB_SECOND = 0.0000133334
"""Dollars, Lambda on arm64, us-east-1."""
LAMBDA_REQUEST = 0.20 / 1e6
"""Dollars, Lambda, us-east-1."""
TRANSITION = 0.025 / 1000
"""Dollars, Step Functions STANDARD, us-east-1; every retry of a state is one."""


@dataclass(frozen=True)
class Lateness:
    """Seconds from the end of a run to CloudFormation's answer."""

    median: float
    worst: float

    @classmethod
    def of(cls, values: list[float]) -> Lateness:
        return cls(statistics.median(values), max(values))

    @classmethod
    def of_polling(cls, interval: float, phases: int) -> Lateness:
        """Looks at a fixed interval, and an answer that takes no time."""
        return cls.of([interval * (phase + 0.5) / phases for phase in range(phases)])

    def __str__(self) -> str:
        return f"{self.median:7.2f} {self.worst:7.2f}"


def waited(kind: str, seconds: float, seed: int) -> World:
    """The world after a Create whose run takes so long."""
    timeout = 3000 if seconds < HOUR else int(seconds + HOUR)
    with World(kind, runs=[RunPlan(takes=seconds)], seed=seed) as world:
        world.deploy(reprocessing(kind, timeout=timeout))
    assert world.cloudformation.status == "CREATE_COMPLETE", world.cloudformation.status
    assert len(world.runs) == 1
    assert bool(world.cloudformation.waits) == (seconds > HOUR)
    return world


def lateness(world: World) -> float:
    """Seconds from the end of the run to what CloudFormation waited for."""
    heard = (world.cloudformation.waits or world.requests)[0].accepted
    assert heard
    (run,) = world.runs
    # Nothing cancelled it: it has run as long as it was to.
    assert run.state(world.now) == "SUCCEEDED"
    assert heard.time > run.ended
    seconds: float = heard.time - run.ended
    return seconds


def interval_at(kind: str, seconds: float, seed: int) -> float:
    """Seconds between the looks before and after that age of a run; the start counts as a look."""
    world = waited(kind, seconds + 60.0, seed)
    (run,) = world.runs
    ages: list[float] = [call.time - run.created for call in world.network.calls if call.operation in LOOKS]
    before = max((age for age in ages if 0 <= age < seconds), default=0.0)
    return min(age for age in ages if age >= seconds) - before


def measured(kind: str, seconds: float, phases: int) -> Lateness:
    values = []
    for seed in SERIES:
        # With one seed the looks at a longer run are those at a shorter one and some more: phases are exact.
        interval = interval_at(kind, seconds, seed)
        shifts = [interval * ((phase + 0.5) / phases - 0.5) for phase in range(phases)]
        values += [lateness(waited(kind, seconds + shift, seed)) for shift in shifts]
    return Lateness.of(values)


def report_lateness(phases: int) -> bool:
    print(
        f"from the end of a run to CloudFormation's answer, in seconds; {len(SERIES)} x {phases} phases each"
    )
    print(f"  {'a run of':20} {'kind':14} {'median':>7} {'worst':>7} {'target':>8}")
    met = True
    for label, seconds in LENGTHS.items():
        target = TARGET_UP_TO_A_MINUTE if seconds <= 60 else TARGET_BEYOND
        for kind, name in KINDS.items():
            row = measured(kind, seconds, phases)
            is_met = row.median <= target
            met = met and is_met
            print(f"  {label:20} {name:14} {row} {f'<= {target:g}':>8}{'' if is_met else '  NOT MET'}")
    for label, interval in (
        (f"CDK's Provider, a look every {PROVIDER_INTERVAL:g} s", PROVIDER_INTERVAL),
        ("crhelper, rate(2 minutes)", CRHELPER_INTERVAL),
    ):
        print(f"  {label:35} {Lateness.of_polling(interval, len(SERIES) * phases)}   calculated")
    print("  The last two are calculated kindly: their calls and their starts take no time.")
    return met


def deploys(kind: str, *, is_old: bool) -> Iterator[tuple[str, Counter[str]]]:
    """A stack's life: for each step the calls that the handler made.

    Args:
        kind: Of the pipeline.
        is_old: Whether hundreds of deploys have left their streams in the ledger.
    """
    runs = [RunPlan(takes=30.0), RunPlan(takes=30.0), RunPlan(takes=30.0, ends="FAILED")]
    with World(kind, runs=runs) as world:
        world.deploy(reprocessing(kind))
        if is_old:
            leave_old_streams(world)
        world.deploy(reprocessing(kind, trigger="t2"))
        world.deploy(reprocessing(kind, trigger="t2", on_timeout="DETACH"))
        world.deploy(reprocessing(kind, trigger="t3", on_timeout="DETACH"))
        world.destroy()
    create, update, clean_up, unchanged, _, rollback, delete = world.requests
    assert rollback.is_swapped
    assert world.cloudformation.status == "DELETE_COMPLETE"
    for label, requests in (
        ("Create", [create]),
        ("Update, runs", [update, clean_up]),
        ("Update, none", [unchanged]),
        ("Rollback", [rollback]),
        ("Delete", [delete]),
    ):
        ids = {request.request_id for request in requests}
        calls = [call for call in world.network.calls if call.request_id in ids]
        yield label, Counter(f"{call.service}:{_action(call.operation)}" for call in calls)


def _action(operation: str) -> str:
    return "PutAnswer" if operation == "put" else operation.title().replace("_", "")


def report_calls() -> bool:
    print("calls of the handler for each request; runs take 30 s, so that most calls are looks")
    met = True
    for kind, name in KINDS.items():
        steps = list(deploys(kind, is_old=False))
        print(f"  {name:38}" + "".join(f"{label:>14}" for label, _ in steps))
        for action in sorted(set().union(*(calls for _, calls in steps))):
            print(f"    {action:36}" + "".join(f"{calls[action]:14}" for _, calls in steps))
        print(f"    {'all':36}" + "".join(f"{calls.total():14}" for _, calls in steps))
        new = [_logs(calls) for _, calls in steps]
        old = [_logs(calls) for _, calls in deploys(kind, is_old=True)]
        print(f"    {'logs':36}" + "".join(f"{count:14}" for count in new))
        print(f"    {f'logs, with {OLD_STREAMS:,} old streams':36}" + "".join(f"{count:14}" for count in old))
        most = TARGET_LOGS_CALLS[kind]
        is_met = new[0] <= most and all(b - a <= TARGET_MORE_CALLS for a, b in zip(new, old, strict=True))
        print(
            f"    targets: at most {most} calls of Logs for a Create, {TARGET_MORE_CALLS} more with the old streams: "
            f"{'met' if is_met else 'NOT MET'}"
        )
        met = met and is_met
    print(
        "  'Update, runs' includes the clean-up Delete of the replaced id; 'Update, none' changes OnTimeout only;"
    )
    print("  'Rollback' follows an Update whose run failed. A deploy that changes nothing of the resource")
    print("  sends it nothing: no call.")
    return met


def _logs(calls: Counter[str]) -> int:
    return sum(count for action, count in calls.items() if action.startswith("logs:"))


def report_price() -> None:
    hours = 3
    world = waited("STATE_MACHINE", hours * HOUR, seed=1)
    invocations = world.functions.invocations
    gb_seconds = sum(each.ended - each.started for each in invocations) * MEMORY / hours
    requests = len(invocations) / hours
    looks = sum(call.operation in LOOKS for call in world.network.calls) / hours
    polls, events = HOUR / PROVIDER_INTERVAL, HOUR / CRHELPER_INTERVAL
    print("each hour waited, us-east-1")
    print(f"  {'':28} {'looks':>6} {'GB-s':>6} {'requests':>9} {'transitions':>12} {'price':>10}")
    for label, seen, compute, asked, transitions in (
        ("this handler, measured", looks, gb_seconds, requests, 0.0),
        ("CDK's Provider, calculated", polls, 0.0, 2 * polls, polls),
        ("crhelper, calculated", events, 0.0, events, 0.0),
    ):
        price = compute * GB_SECOND + asked * LAMBDA_REQUEST + transitions * TRANSITION
        print(f"  {label:28} {seen:6.0f} {compute:6.0f} {asked:9.1f} {transitions:12.0f} ${price:9.6f}")
    print(
        f"  Handler: {MEMORY * 1024:.0f} MB, arm64, ${GB_SECOND:.10f} a GB-s, ${LAMBDA_REQUEST * 1e6:.2f} a million requests;"
    )
    print(
        "  a run of 3 h, all invocations of it. What it calls meanwhile (DescribeExecution, DescribeStacks) is free."
    )
    print(
        f"  Provider: ${TRANSITION * 1000:g} for 1,000 transitions; each look is one transition (a retry of the task) and"
    )
    print(
        "  two requests (its isComplete calls the user's). crhelper: one request for each event of a free rule."
    )
    print("  The seconds that those two compute are left out, which flatters them.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phases", type=int, default=20, help="runs of each length in each series")
    arguments = parser.parse_args()
    met = report_lateness(arguments.phases)
    print()
    met = report_calls() and met
    print()
    report_price()
    print(
        f"\n  targets, on medians: at most {TARGET_UP_TO_A_MINUTE:g} s up to a minute, {TARGET_BEYOND:g} s beyond: "
        f"{'met' if met else 'NOT MET'}"
    )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
