"""AWS IoT Analytics: StartPipelineReprocessing and its two companions.

AWS ended the service on 2025-12-15. This speaks to whatever answers its API at `EndpointUrl`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Missing, Refused, Unclear
from pipeline_reprocessing_handler.invocation import Invocation
from pipeline_reprocessing_handler.ledger import Ledger, Record
from pipeline_reprocessing_handler.properties import Target
from pipeline_reprocessing_handler.validation import Failure

from .protocol import State, Status
from .start_once import StartOnce

MOST_KNOWN_RUNS = 30
"""Runs of one moment that a bookmark can name: it is part of a log stream's name, at most 512 characters."""


class IotAnalyticsPipeline:
    """A pipeline of IoT Analytics, by name.

    The API has no client token, no call that describes one run, and no reason for a failure: all there is, is
    the list `reprocessingSummaries` of DescribePipeline.
    """

    def __init__(self, target: Target, aws: Aws, ledger: Ledger) -> None:
        self._name = target.name
        self._endpoint_url = target.endpoint_url
        self._aws = aws
        self._once = StartOnce(self, ledger, aws)

    def start(self, request: Invocation, still_wanted: Callable[[], Record]) -> str:
        return self._once.start(request, still_wanted)

    def started_run(self, request: Invocation, record: Record) -> str | None:
        return self._once.settle(record)

    def bookmark(self) -> str:
        """What to remember before a start, so that `newer_runs` can tell a new run from the old ones."""
        try:
            runs = self._summaries()
        except Missing as fault:
            raise self._no_such_pipeline(fault) from fault
        newest = max(map(_made, runs), default=0.0)
        known = [_short(run["id"]) for run in runs if _made(run) == newest]
        return "~".join(
            [_short(self._name), str(newest), *(known if len(known) <= MOST_KNOWN_RUNS else ["many"])]
        )

    def newer_runs(self, bookmark: str, until: datetime | None = None) -> list[str]:
        """The runs that have begun since the bookmark, and until then, the oldest first."""
        pipeline, made, *known = bookmark.split("~")
        if pipeline != _short(self._name):
            return []  # a request that named another pipeline has started nothing here
        latest = until.timestamp() if until else math.inf  # what came later is another request's
        # Not "later than": the service may keep whole seconds, and the runs of one second are told by their ids.
        newer = [
            run
            for run in self._summaries()
            if float(made) <= _made(run) <= latest and _short(run["id"]) not in known
        ]
        if "many" in known and any(_made(run) == float(made) for run in newer):
            raise Unclear("more runs began at one moment than a bookmark can name")
        return [str(run["id"]) for run in sorted(newer, key=_made)]

    def send_start(self, request: Invocation) -> str:
        """Sends StartPipelineReprocessing a single time."""
        messages = request.messages
        selection: dict[str, Any] = {}
        if messages.s3_paths:
            selection["channelMessages"] = {"s3Paths": list(messages.s3_paths)}
        if messages.start:
            selection["startTime"] = messages.start
        if messages.end:
            selection["endTime"] = messages.end
        try:
            answer = self._aws.send(
                "iotanalytics",
                "start_pipeline_reprocessing",
                self._endpoint_url,
                {"pipelineName": self._name, **selection},
            )
        except Missing as fault:
            raise self._no_such_pipeline(fault) from fault
        except Refused as fault:
            raise Failure(
                f"pipeline '{self._name}' cannot be reprocessed with this selection: {fault}"
            ) from fault
        return str(_expected("reprocessingId", answer))

    def status(self, run_id: str) -> Status:
        try:
            said = {run["id"]: str(run.get("status")) for run in self._summaries()}.get(run_id)
        except Missing:
            return Status(State.UNKNOWN, f"pipeline '{self._name}' does not exist")
        if said is None:
            return Status(State.UNKNOWN)
        return (
            Status(State(said)) if said in list(State) else Status(State.UNKNOWN, f"its status is '{said}'")
        )

    def cancel(self, run_id: str, cause: str) -> bool:
        try:
            self._call("cancel_pipeline_reprocessing", reprocessingId=run_id)
        except (Missing, Refused):
            return False
        return True

    def _no_such_pipeline(self, fault: Missing) -> Failure:
        return Failure(f"pipeline '{self._name}' does not exist, or is not in this region: {fault}")

    def _summaries(self) -> Sequence[Mapping[str, Any]]:
        pipeline = _expected("pipeline", self._call("describe_pipeline"))
        runs: Sequence[Mapping[str, Any]] = pipeline.get("reprocessingSummaries", [])
        return runs

    def _call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        return self._aws.call(
            "iotanalytics",
            operation,
            endpoint_url=self._endpoint_url,
            pipelineName=self._name,
            **parameters,
        )


def _expected(member: str, answer: Mapping[str, Any]) -> Any:
    # The SDK takes any answer with status 200, that of a proxy's log-in page too.
    if member not in answer:
        raise Unclear(f"the answer of IoT Analytics has no '{member}'")
    return answer[member]


def _made(run: Mapping[str, Any]) -> float:
    created: datetime | None = run.get("creationTime")
    return created.timestamp() if created else 0.0


def _short(run_id: str) -> str:
    return sha256(run_id.encode()).hexdigest()[:8]
