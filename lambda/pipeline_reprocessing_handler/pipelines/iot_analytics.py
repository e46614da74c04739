"""AWS IoT Analytics: StartPipelineReprocessing and its two companions.

AWS ended the service on 2025-12-15. This speaks to whatever answers its API at `EndpointUrl`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Missing, Refused, Unclear
from pipeline_reprocessing_handler.properties import Target
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.validation import Failure

from .protocol import State, Status


class IotAnalyticsPipeline:
    """A pipeline of IoT Analytics, by name.

    The API has no client token, no call that describes one run, and no reason for a failure: all there is, is
    the list `reprocessingSummaries` of DescribePipeline.
    """

    def __init__(self, target: Target, aws: Aws) -> None:
        self._name = target.name
        self._endpoint_url = target.endpoint_url
        self._aws = aws

    def bookmark(self) -> str:
        try:
            runs = self._summaries()
        except Missing as fault:
            raise self._no_such_pipeline(fault) from fault
        newest = max(map(_made, runs), default=0.0)
        return "~".join([str(newest), *(run["id"] for run in runs if _made(run) == newest)])

    def start(self, request: Request) -> str:
        messages = request.messages
        selection: dict[str, Any] = {}
        if messages.s3_paths:
            selection["channelMessages"] = {"s3Paths": list(messages.s3_paths)}
        if messages.start:
            selection["startTime"] = messages.start
        if messages.end:
            selection["endTime"] = messages.end
        try:
            answer = self._call("start_pipeline_reprocessing", once=True, **selection)
        except Missing as fault:
            raise self._no_such_pipeline(fault) from fault
        except Refused as fault:
            raise Failure(
                f"pipeline '{self._name}' cannot be reprocessed with this selection: {fault}"
            ) from fault
        return str(_expected("reprocessingId", answer))

    def find(
        self,
        request: Request,
        bookmark: str,
        *,
        until: datetime | None = None,
        others: Collection[str] = (),
    ) -> str | None:
        made, *known = bookmark.split("~")
        if not made:
            raise Unclear("which runs there were before the start is not known")
        # Not "later than": the service may keep whole seconds, and the runs of one second are told by their ids.
        latest = until.timestamp() if until else math.inf  # what came later is somebody else's
        newer = [
            run
            for run in self._summaries()
            if float(made) <= _made(run) <= latest and run["id"] not in {*known, *others}
        ]
        return str(min(newer, key=_made)["id"]) if newer else None

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

    def _call(self, operation: str, *, once: bool = False, **parameters: Any) -> Mapping[str, Any]:
        return self._aws.call(
            "iotanalytics",
            operation,
            once=once,
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
