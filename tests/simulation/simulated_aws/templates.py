"""Templates as the construct makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_reprocessing_handler.validation import ANSWER_ALLOWANCE, LONGEST_CUSTOM_RESOURCE_WAIT

from .resources import CustomResource, Other, Ref, Resource, Template, WaitCondition, WaitHandle
from .world import MACHINE

_ALLOWANCE = int(ANSWER_ALLOWANCE.total_seconds())
ALL: Mapping[str, Any] = {"All": True}


def reprocessing(
    kind: str = "IOT_ANALYTICS",
    *,
    logical_id: str = "Backfill",
    pipeline: str = "sensors",
    trigger: str = "t1",
    because: str = "",
    messages: Mapping[str, Any] = ALL,
    timeout: int | None = 3000,
    on_timeout: str = "FAIL",
    on_rollback: str = "KEEP",
    on_removal: str = "CANCEL",
    signal: bool = False,
) -> Template:
    """The resources of one `PipelineReprocessing`.

    Args:
        kind: Of the pipeline.
        logical_id: Of the custom resource.
        pipeline: Its name.
        trigger: What has to change for a new run.
        because: The path of the stack in `Because`; empty for the templates of a version that has none.
        messages: The selection.
        timeout: Seconds of the wait; None for `Wait.none()`.
        on_timeout: FAIL or DETACH.
        on_rollback: KEEP or REPROCESS.
        on_removal: CANCEL or LEAVE.
        signal: Whether a WaitCondition waits even for less than 55 minutes, which the construct would not do.
    """
    by_signal = timeout is not None and (signal or timeout > LONGEST_CUSTOM_RESOURCE_WAIT.total_seconds())
    waiting_for = f"{trigger}{timeout}"
    handle = f"{logical_id}Handle{waiting_for}"
    properties: dict[str, Any] = {
        "Pipeline": {"Kind": kind, "Name": pipeline}
        if kind == "IOT_ANALYTICS"
        else {"Kind": kind, "Arn": MACHINE.replace("sensors", pipeline)},
        "Messages": messages,
        "Trigger": trigger,
        "OnRollback": on_rollback,
        "OnRemoval": on_removal,
    }
    if because:
        properties["Because"] = {
            f"{because}/Replay": {"definitionString": trigger},
            f"{because}/{logical_id}": {"messages": "5d41402a", "pipeline": pipeline},
        }
    if timeout is not None:
        properties["Wait"] = {"TimeoutSeconds": timeout, "OnTimeout": on_timeout}
        if by_signal:
            properties["Wait"]["SignalUrl"] = Ref(handle)
    here = 0 if timeout is None or by_signal else timeout
    resource = CustomResource(logical_id, properties, here + _ALLOWANCE)
    if not by_signal:
        return (resource,)
    assert timeout is not None
    return (
        WaitHandle(handle),
        resource,
        WaitCondition(f"{logical_id}Condition{waiting_for}", handle, min(timeout + _ALLOWANCE, 43_200)),
    )


def then(template: Template, *more: Resource) -> Template:
    """The template with more resources, made after the others."""
    return (*template, *more)


def failing(version: int = 1) -> Other:
    """A resource that cannot be made."""
    return Other("Broken", version, fails=True)
