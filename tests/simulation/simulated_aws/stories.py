"""What the stories have in common."""

from __future__ import annotations

from dataclasses import dataclass

from .requests import Request
from .runs import RunPlan
from .world import World

HOUR = 3600
LONG = RunPlan(takes=2000.0)
"""Still runs when a deploy without a wait is long over."""


OLD_STREAMS = 5_000


@dataclass(frozen=True)
class Service:
    """A kind of pipeline, and what its calls are called."""

    kind: str
    start: str
    status: str
    cancel: str


IOT_ANALYTICS = Service(
    "IOT_ANALYTICS", "start_pipeline_reprocessing", "describe_pipeline", "cancel_pipeline_reprocessing"
)
STATE_MACHINE = Service("STATE_MACHINE", "start_execution", "describe_execution", "stop_execution")


def last(world: World, type_: str) -> Request:
    """The newest request of that type."""
    return [request for request in world.requests if request.type == type_][-1]


def run_ids(world: World) -> list[str]:
    return [run.id for run in world.runs]


def states(world: World) -> list[str]:
    """Where the runs stand, the oldest first."""
    return [run.state(world.now) for run in world.runs]


def leave_old_streams(world: World) -> None:
    """Leaves the streams behind that hundreds of deploys before the first one would have left."""
    first = next(name for name in world.logs.streams if "asks~" in name)
    folder, falling, _, note = first.rsplit("/", 3)
    for number in range(1, OLD_STREAMS // 5):
        older = f"{folder}/{int(falling) + 60_000 * number:013d}/old-{number}"
        claims = f"{folder}/claims/old-{number}"
        for name in (
            *(f"{older}/{note}", f"{older}/run~old-{number}", f"{older}/answer~Update~SUCCESS"),
            *(f"{claims}/start-1", f"{claims}/answer-1"),
        ):
            world.logs.streams[name] = 0
