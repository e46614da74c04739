"""The services that run things: AWS IoT Analytics and AWS Step Functions.

Both do what their documents allow and no more: see `RunPlan` for what a run may do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .errors import service_error
from .timeline import EPOCH, FOR_EVER, Timeline

_EXECUTION_NAME = re.compile(r"[0-9A-Za-z_-]{1,80}")


@dataclass(frozen=True)
class RunPlan:
    """What a run will do.

    Args:
        takes: Seconds until it ends by itself.
        ends: SUCCEEDED or FAILED.
        listed_after: Seconds until the service shows it.
        forgotten_after: Seconds after its end until the service shows it no more.
        cancel_takes: Seconds from CancelPipelineReprocessing until it ends.
        cancelled_after: Seconds until somebody else cancels it.
    """

    takes: float = 30.0
    ends: str = "SUCCEEDED"
    listed_after: float = 0.0
    forgotten_after: float = FOR_EVER
    cancel_takes: float = 0.2
    cancelled_after: float = FOR_EVER


@dataclass
class Run:
    """One run, as only the service itself knows it."""

    id: str
    pipeline: str
    owner: str | None
    """The RequestId whose handling started it; None for somebody else's."""
    resource: str
    """The logical id of the resource that started it."""
    created: float
    plan: RunPlan
    selection: Mapping[str, Any]
    cancels: list[tuple[float, str]] = field(default_factory=list)
    """When it was asked to end, and by whom."""

    @property
    def ended(self) -> float:
        asked = min((when + self.plan.cancel_takes for when, _ in self.cancels), default=FOR_EVER)
        return min(self.created + self.plan.takes, asked, self.created + self.plan.cancelled_after)

    def state(self, now: float) -> str:
        if now < self.ended:
            return "RUNNING"
        return self.plan.ends if self.ended == self.created + self.plan.takes else "CANCELLED"

    def is_listed(self, now: float) -> bool:
        return self.created + self.plan.listed_after <= now <= self.ended + self.plan.forgotten_after


class Runs:
    """Every run of every pipeline."""

    def __init__(
        self, timeline: Timeline, plans: tuple[RunPlan, ...], *, one_at_a_time: bool = False
    ) -> None:
        self._timeline = timeline
        self._plans = plans or (RunPlan(),)
        self._one_at_a_time = one_at_a_time
        self.all: list[Run] = []

    def running(self) -> list[Run]:
        return [run for run in self.all if run.state(self._timeline.now) == "RUNNING"]

    def of(self, owner: str) -> list[Run]:
        return [run for run in self.all if run.owner == owner]

    def add(
        self, pipeline: str, owner: str | None, resource: str, selection: Mapping[str, Any], name: str = ""
    ) -> Run:
        number = len(self.all)
        plan = self._plans[min(number, len(self._plans) - 1)]
        # Ids in no order, as of a service that draws them
        run_id = name or f"{(number * 2654435761) % 2**32:08x}-{number:04d}"
        run = Run(run_id, pipeline, owner, resource, self._timeline.now, plan, selection)
        self.all.append(run)
        return run

    def _listed(self, pipeline: str) -> list[Run]:
        now = self._timeline.now
        return [run for run in self.all if run.pipeline == pipeline and run.is_listed(now)]


class SimulatedIotAnalytics(Runs):
    """StartPipelineReprocessing, CancelPipelineReprocessing, DescribePipeline."""

    missing: frozenset[str] = frozenset()
    """Pipelines that do not exist."""

    def start_pipeline_reprocessing(
        self, parameters: Mapping[str, Any], owner: str, resource: str
    ) -> dict[str, Any]:
        pipeline = self._pipeline(parameters)
        if "channelMessages" in parameters and ("startTime" in parameters or "endTime" in parameters):
            raise service_error(
                "InvalidRequestException", 400, "channelMessages excludes startTime and endTime"
            )
        if self._one_at_a_time and any(run.pipeline == pipeline for run in self.running()):
            raise service_error("ResourceAlreadyExistsException", 409, "A reprocessing is in progress")
        return {"reprocessingId": self.add(pipeline, owner, resource, dict(parameters)).id}

    def cancel_pipeline_reprocessing(
        self, parameters: Mapping[str, Any], owner: str, resource: str
    ) -> dict[str, Any]:
        pipeline, now = self._pipeline(parameters), self._timeline.now
        for run in self.all:
            if run.id == parameters["reprocessingId"] and run.pipeline == pipeline:
                if run.state(now) != "RUNNING":
                    raise service_error("InvalidRequestException", 400, "The reprocessing has ended")
                run.cancels.append((now, owner))
                return {}
        raise service_error("ResourceNotFoundException", 404, "No such reprocessing")

    def describe_pipeline(self, parameters: Mapping[str, Any], owner: str, resource: str) -> dict[str, Any]:
        pipeline, now = self._pipeline(parameters), self._timeline.now
        listed = self._listed(pipeline)
        listed.sort(key=lambda run: run.id)  # in no order of time
        return {
            "pipeline": {
                "name": pipeline,
                "reprocessingSummaries": [
                    {
                        "id": run.id,
                        "status": run.state(now),
                        "creationTime": (EPOCH + timedelta(seconds=run.created)).replace(microsecond=0),
                    }
                    for run in listed
                ],
            }
        }

    def _pipeline(self, parameters: Mapping[str, Any]) -> str:
        name = str(parameters["pipelineName"])
        if name in self.missing:
            raise service_error("ResourceNotFoundException", 404, f"Pipeline {name} not found")
        return name


class SimulatedStepFunctions(Runs):
    """StartExecution, DescribeExecution, StopExecution of STANDARD state machines."""

    _STATES = {"CANCELLED": "ABORTED"}  # noqa: RUF012  # a table

    def start_execution(self, parameters: Mapping[str, Any], owner: str, resource: str) -> dict[str, Any]:
        name, now = parameters["name"], self._timeline.now
        if not _EXECUTION_NAME.fullmatch(name):
            raise service_error("InvalidName", 400, f"Invalid Name: {name!r}")
        if len(parameters["input"].encode()) > 262_144:
            raise service_error("InvalidExecutionInput", 400, "the input is too long")
        machine = parameters["stateMachineArn"]
        for run in self.all:
            if run.id == name and run.pipeline == machine:
                same = run.selection["input"] == parameters["input"] and run.state(now) == "RUNNING"
                if not same:
                    raise service_error("ExecutionAlreadyExists", 400, f"Execution Already Exists: '{name}'")
                return {"executionArn": self._arn(run), "startDate": _date(run.created)}
        selection = {"input": parameters["input"], **json.loads(parameters["input"])["messages"]}
        run = self.add(machine, owner, resource, selection, name)
        return {"executionArn": self._arn(run), "startDate": _date(run.created)}

    def describe_execution(self, parameters: Mapping[str, Any], owner: str, resource: str) -> dict[str, Any]:
        run, now = self._execution(parameters), self._timeline.now
        if not run.is_listed(now):
            raise service_error("ExecutionDoesNotExist", 400, "Execution Does Not Exist")
        state = run.state(now)
        answer = {
            "executionArn": self._arn(run),
            "name": run.id,
            "status": self._STATES.get(state, state),
            "startDate": _date(run.created),
        }
        if state != "RUNNING":
            answer["stopDate"] = _date(run.ended)
        if state == "SUCCEEDED":
            # No two runs have the same number.
            answer["output"] = json.dumps({"objects": self.all.index(run)})
        if state == "FAILED":
            answer |= {"error": "States.TaskFailed", "cause": "the transforming function raised KeyError"}
        return answer

    def stop_execution(self, parameters: Mapping[str, Any], owner: str, resource: str) -> dict[str, Any]:
        run = self._execution(parameters)
        if run.state(self._timeline.now) != "RUNNING":
            raise service_error("ValidationException", 400, "The execution has ended")
        run.cancels.append((self._timeline.now, owner))
        return {"stopDate": _date(self._timeline.now)}

    def _execution(self, parameters: Mapping[str, Any]) -> Run:
        for run in self.all:
            if self._arn(run) == parameters["executionArn"]:
                return run
        raise service_error("ExecutionDoesNotExist", 400, "Execution Does Not Exist")

    @staticmethod
    def _arn(run: Run) -> str:
        return f"{run.pipeline.replace(':stateMachine:', ':execution:')}:{run.id}"


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(EPOCH.timestamp() + seconds, UTC)
