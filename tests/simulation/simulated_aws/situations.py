"""How often the played worlds have reached each of the situations that the handler is made for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from .fair_weather import FAIR_REPEATS
from .functions import Invocation
from .invariants import LOOKS, STARTS, changes_the_data, wait_of
from .network import Call
from .requests import Request
from .troubles import CRASHES, UNCLEAR, WITHOUT_EFFECT, Trouble
from .world import World

CANCELS = ("cancel_pipeline_reprocessing", "stop_execution")
SCENARIOS = "scenarios"


def _is_rollback_under(on_rollback: str) -> Callable[[World, Request], bool]:
    return lambda _, request: (
        request.is_swapped
        and changes_the_data(request)
        and request.event["ResourceProperties"]["OnRollback"] == on_rollback
    )


def _differing(request: Request) -> set[str]:
    now, old = request.event["ResourceProperties"], request.event["OldResourceProperties"]
    return {name for name in now.keys() | old.keys() if now.get(name) != old.get(name)}


def _is_out_of_season(_: World, request: Request) -> bool:
    is_removal = any(word in request.stack_status for word in ("CLEANUP", "DELETE", "ROLLBACK"))
    return request.type == "Delete" and not is_removal


def _was_interrupted(request: Request) -> bool:
    return request.type != "Delete" and request.abandoned is not None and request.abandoned < request.deadline


def _ends(world: World, request: Request, succeeded: bool, state: str) -> bool:
    """Whether a request that waits here was answered when its run stood like that."""
    wait, answer = wait_of(request), request.accepted
    if answer is None or wait is None or "SignalUrl" in wait or request.type == "Delete":
        return False
    return request.succeeded is succeeded and any(
        run.state(answer.time) == state for run in world.service.of(request.request_id)
    )


def _is_cancelled_by(world: World, request: Request, *, own: bool) -> bool:
    return _ends(world, request, False, "CANCELLED") and own == any(
        by == request.request_id for run in world.service.of(request.request_id) for _, by in run.cancels
    )


OF_REQUESTS: Mapping[str, Callable[[World, Request], bool]] = {
    "Create": lambda _, request: request.type == "Create",
    "Update": lambda _, request: (
        request.type == "Update" and not request.is_swapped and changes_the_data(request)
    ),
    "Update, nothing changed": lambda _, request: request.type == "Update" and not changes_the_data(request),
    "Update, only what tells why": lambda _, request: (
        request.type == "Update" and _differing(request) == {"Because"}
    ),
    "Update, another pipeline": lambda _, request: (
        request.type == "Update"
        and request.event["ResourceProperties"]["Pipeline"]
        != request.event["OldResourceProperties"]["Pipeline"]
    ),
    "Update that ends an earlier run": lambda world, request: (
        request.type == "Update"
        and any(by == request.request_id != run.owner for run in world.runs for _, by in run.cancels)
    ),
    "rollback under KEEP": _is_rollback_under("KEEP"),
    "rollback under REPROCESS": _is_rollback_under("REPROCESS"),
    "rollback under REPROCESS, SUCCESS": lambda world, request: (
        _is_rollback_under("REPROCESS")(world, request) and request.succeeded
    ),
    "Delete, a run's id": lambda world, request: (
        request.type == "Delete" and any(f"/{run.id}/" in request.physical_id for run in world.runs)
    ),
    "Delete, an invented id": lambda _, request: request.type == "Delete" and "/" not in request.physical_id,
    "Delete, an id without a run": lambda _, request: (
        request.type == "Delete" and request.physical_id.endswith("/not-started")
    ),
    "Delete out of season": _is_out_of_season,
    "Delete that ends a run": lambda world, request: (
        request.type == "Delete"
        and any(by == request.request_id for run in world.runs for _, by in run.cancels)
    ),
    "interrupted before a run was started": lambda world, request: (
        _was_interrupted(request) and not world.service.of(request.request_id)
    ),
    "interrupted, its run cancelled": lambda world, request: (
        _was_interrupted(request) and any(run.cancels for run in world.service.of(request.request_id))
    ),
    "SUCCESS of a run that was waited for": lambda world, request: _ends(world, request, True, "SUCCEEDED"),
    "FAILED, as the run has": lambda world, request: _ends(world, request, False, "FAILED"),
    "FAILED, the run cancelled by another": lambda world, request: _is_cancelled_by(
        world, request, own=False
    ),
    "FAILED, timed out": lambda world, request: _is_cancelled_by(world, request, own=True),
    "FAILED, no run was started": lambda world, request: (
        request.type != "Delete"
        and request.accepted is not None
        and not request.succeeded
        and not world.service.of(request.request_id)
    ),
    "DETACH": lambda world, request: _ends(world, request, True, "RUNNING"),
    "two resources": lambda _, request: request.logical_id == "Second",
    "sent again by CloudFormation": lambda world, request: (
        len(
            {
                invocation.event.number
                for invocation in world.functions.invocations
                if invocation.request_id == request.request_id and not invocation.is_continuation
            }
        )
        > 1
    ),
}


def _is(trouble: Trouble, *operations: str) -> Callable[[World, Call, Request], bool]:
    return lambda _, call, __: call.trouble is trouble and call.operation in operations


def _throttled(world: World, call: Call) -> list[float]:
    """When this operation was throttled for this request."""
    return [
        other.time
        for other in world.network.calls
        if other.trouble is Trouble.THROTTLED
        and (other.operation, other.request_id) == (call.operation, call.request_id)
    ]


def _is_unclear(*operations: str, had_effect: bool | None = None) -> Callable[[World, Call, Request], bool]:
    return lambda _, call, __: (
        call.operation in operations
        and call.trouble in UNCLEAR
        and had_effect in (None, call.trouble not in WITHOUT_EFFECT)
    )


OF_CALLS_IN_TROUBLE: Mapping[str, Callable[[World, Call, Request], bool]] = {
    "Start throttled": _is(Trouble.THROTTLED, *STARTS),
    "Start throttled as often as is fair": lambda world, call, request: (
        call.operation in STARTS and len(_throttled(world, call)) >= FAIR_REPEATS
    ),
    "throttled for more than a minute": lambda world, call, request: (
        bool(times := _throttled(world, call)) and times[-1] - times[0] > 60
    ),
    "Start of an Update throttled": lambda _, call, request: (
        call.operation in STARTS and call.trouble is Trouble.THROTTLED and request.type == "Update"
    ),
    "Start unclear, and taken": _is_unclear(*STARTS, had_effect=True),
    "Start unclear, and not taken": _is_unclear(*STARTS, had_effect=False),
    "Start unclear while rolling back": lambda _, call, request: (
        call.operation in STARTS and call.trouble in UNCLEAR and request.is_swapped
    ),
    "a look at the run in trouble": lambda _, call, __: call.operation in LOOKS,
    "cancel throttled": _is(Trouble.THROTTLED, *CANCELS),
    "cancel unclear": _is_unclear(*CANCELS),
    "writing the ledger throttled": _is(Trouble.THROTTLED, "create_log_stream"),
    "writing the ledger unclear": _is_unclear("create_log_stream"),
    "reading the ledger throttled": _is(Trouble.THROTTLED, "describe_log_streams"),
    "hand-over throttled": _is(Trouble.THROTTLED, "invoke"),
    "hand-over unclear": _is_unclear("invoke"),
    "the stack's status in trouble": lambda _, call, __: call.operation == "describe_stacks",
    "the same while rolling back": lambda _, call, request: (
        call.operation == "describe_stacks" and request.is_swapped
    ),
    "the answer in trouble": lambda _, call, __: call.operation == "put",
    "refused by IAM at first": lambda _, call, request: (
        call.trouble is Trouble.DENIED and request.accepted is not None and call.time < request.accepted.time
    ),
}


def _is_duplicate(world: World, invocation: Invocation) -> bool:
    first = next(each for each in world.functions.invocations if each.event.number == invocation.event.number)
    return first.event is not invocation.event


def _is_answered(world: World, invocation: Invocation) -> bool:
    return any(
        request.request_id == invocation.request_id
        and request.accepted is not None
        and request.accepted.time < invocation.started
        for request in world.requests
    )


OF_INVOCATIONS: Mapping[str, Callable[[World, Invocation], bool]] = {
    "crash as a request begins": lambda _, invocation: (
        invocation.outcome == "Crash" and not invocation.is_continuation
    ),
    "crash of a continuation": lambda _, invocation: (
        invocation.outcome == "Crash" and invocation.is_continuation
    ),
    "duplicate of a request": lambda world, invocation: (
        not invocation.is_continuation and _is_duplicate(world, invocation)
    ),
    "duplicate of a continuation": lambda world, invocation: (
        invocation.is_continuation and _is_duplicate(world, invocation)
    ),
    "duplicate after the answer": lambda world, invocation: (
        _is_duplicate(world, invocation) and _is_answered(world, invocation)
    ),
    "handed over twice": lambda _, invocation: invocation.event.hops > 1,
}


def _is_signalled(status: str) -> Callable[[World], bool]:
    return lambda world: any(
        wait.accepted is not None and wait.accepted.document["Status"] == status
        for wait in world.cloudformation.waits
    )


OF_WORLDS: Mapping[str, Callable[[World], bool]] = {
    SCENARIOS: lambda _: True,
    "the ledger lists a mark late": lambda world: world.logs.came_late > 0,
    "WaitCondition, SUCCESS": _is_signalled("SUCCESS"),
    "WaitCondition, FAILURE": _is_signalled("FAILURE"),
    "a foreign run beside ours": lambda world: any(
        foreign.owner is None and run.owner is not None and run.created < foreign.created < run.ended
        for foreign in world.runs
        for run in world.runs
    ),
    "the stack made again": lambda world: len({request.event["StackId"] for request in world.requests}) > 1,
    "a rollback that fails": lambda world: any(
        request.is_swapped and request.accepted and not request.succeeded for request in world.requests
    ),
}
IN_ANY_WEATHER_ONLY = (
    "Delete, an id without a run",
    "FAILED, no run was started",
    "throttled for more than a minute",
)
"""What the bounds of fair weather exclude."""
SITUATIONS = (*OF_WORLDS, *OF_REQUESTS, *OF_CALLS_IN_TROUBLE, *OF_INVOCATIONS)
REACHED: Counter[str] = Counter()
"""In how many of the worlds that this process has played."""


def note(world: World) -> World:
    """Counts what a world has reached."""
    REACHED.update(set(_situations(world)))
    return world


def table(reached: Mapping[str, int]) -> list[str]:
    """The situations, and how many scenarios in a hundred have reached each."""
    return [
        f"{name:<40}{reached.get(name, 0):>8}{100 * reached.get(name, 0) / reached[SCENARIOS]:>8.1f} %"
        for name in SITUATIONS
    ]


def _situations(world: World) -> Iterator[str]:
    yield from (name for name, is_reached in OF_WORLDS.items() if is_reached(world))
    requests = {request.request_id: request for request in world.requests}
    for request in requests.values():
        if request.made >= world.began:
            yield from (name for name, is_reached in OF_REQUESTS.items() if is_reached(world, request))
    for call in world.network.calls:
        if call.trouble not in (None, Trouble.SLOW, *CRASHES):
            request = requests[call.request_id]
            yield from (
                name for name, is_reached in OF_CALLS_IN_TROUBLE.items() if is_reached(world, call, request)
            )
    for invocation in world.functions.invocations:
        yield from (name for name, is_reached in OF_INVOCATIONS.items() if is_reached(world, invocation))
