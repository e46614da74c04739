"""Entry point: one function, called by the state machine's steps with the name of the step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

from archive_replay.faults import Denied, ReplayStopped
from archive_replay.functions import Functions
from archive_replay.planning import Plan, plan
from archive_replay.publishing import publish
from archive_replay.replaying import Worker
from archive_replay.settings import Run, Selection, WorkItem
from archive_replay.storage import Storage, connect
from archive_replay.summarising import close, summarise


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int: ...


_PAUSES = (1, 2, 4, 8, 8)
"""Seconds between tries while access is denied: most policies are known within some seconds, some within twenty."""

clients = cache(connect)
"""Made at the first call, kept while the function is warm."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Does one step.

    Args:
        event: `Step` and `Run`, and what that step needs.
        context: Lambda's.

    Returns:
        What the next step needs.

    Raises:
        ReplayStopped: The run must end.
        Throttled: The step should be repeated later.
    """
    return _STEPS[event["Step"]](event, Run.parse(event["Run"]), context)


def _plan(event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
    try:
        selection = Selection.parse(event["Messages"])
        planned = _once_allowed(lambda: plan(run, selection, _storage(), now=datetime.now(UTC)))
    except (ValueError, ReplayStopped) as error:
        return _failure("SelectionFailed", str(error))
    # From here on the steps are given this run: its settings stand once in the definition.
    return {"Run": {**event["Run"], "Plan": planned.properties()}, "ManifestKey": run.manifest_key}


def _replay(event: Mapping[str, Any], run: Run, context: Context) -> dict[str, Any]:
    left = _worker(run).replay(
        WorkItem.parse(event["Batch"]), remaining=lambda: context.get_remaining_time_in_millis() / 1000
    )
    return left.properties()


def _give_up(event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
    _worker(run).give_up(WorkItem.parse(event["Batch"]), reason=_described(event["Error"]))
    return {}


def _summarise(event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
    error = event["State"].get("Error")
    summary, cause = summarise(
        run, _storage(), now=datetime.now(UTC), error=_described(error) if error else ""
    )
    if cause:
        return _failure("ReplayFailed", cause)
    return {"Run": event["Run"], "ManifestKey": run.manifest_key, "Summary": summary}


def _publish(event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
    publish(run, WorkItem.parse(event["Batch"]), _storage())
    return {}


def _close(event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
    state = event["State"]
    error = state.get("Error")
    summary, cause = close(
        run, state["Summary"], _storage(), now=datetime.now(UTC), error=_described(error) if error else ""
    )
    return _failure("PublishingFailed", cause) if cause else {"Summary": summary}


def _once_allowed(action: Callable[[], Plan]) -> Plan:
    """Waits until IAM has heard of a policy that the same deploy made, before it believes that access is denied."""
    for pause in _PAUSES:
        try:
            return action()
        except Denied:
            time.sleep(pause)
    return action()


def _failure(error: str, cause: str) -> dict[str, Any]:
    """The state machine ends in a Fail state with this: an exception's cause would be JSON with a stack trace."""
    return {"Failure": {"Error": error, "Cause": cause}}


def _described(error: Mapping[str, str]) -> str:
    return f"{error.get('Error')}: {error.get('Cause')}"


def _storage() -> Storage:
    return Storage(clients()[0])


def _worker(run: Run) -> Worker:
    return Worker(run, _storage(), Functions(clients()[1], run.settings.function.arn).invoke)


_STEPS: dict[str, Callable[[Mapping[str, Any], Run, Context], dict[str, Any]]] = {
    "PLAN": _plan,
    "REPLAY": _replay,
    "GIVE_UP": _give_up,
    "SUMMARISE": _summarise,
    "PUBLISH": _publish,
    "CLOSE": _close,
}
