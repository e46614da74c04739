"""What the stories have in common."""

from __future__ import annotations

from dataclasses import dataclass

from .requests import Request
from .runs import RunPlan
from .world import World

HOUR = 3600
LONG = RunPlan(takes=2000.0)
"""Still runs when a deploy without a wait is long over."""


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
