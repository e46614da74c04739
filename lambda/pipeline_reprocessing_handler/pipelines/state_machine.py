"""AWS Step Functions: a run is an execution of a STANDARD state machine."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from typing import Any

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Conflict, Missing, Refused
from pipeline_reprocessing_handler.properties import Target
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.validation import Failure

from .counts import Counts
from .protocol import State, Status

MAX_INPUT = 262_144
"""Bytes of an execution's input (Step Functions quotas)."""

_STATES = {
    "RUNNING": State.RUNNING,
    "PENDING_REDRIVE": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "TIMED_OUT": State.FAILED,
    "ABORTED": State.CANCELLED,
}


class StateMachinePipeline:
    """A state machine, by ARN.

    The name of an execution is made from stack, resource and request. Starting twice is therefore one
    execution, and what a request has started is found again by its name.
    """

    def __init__(self, target: Target, aws: Aws) -> None:
        self._target = target
        self._aws = aws

    def bookmark(self) -> str:
        return ""  # the name alone tells which execution is whose

    def start(self, request: Request) -> str:
        name = execution_name(request)
        try:
            self._aws.call(
                "stepfunctions",
                "start_execution",
                stateMachineArn=self._target.arn,
                name=name,
                input=execution_input(request),
            )
        except Conflict:
            pass  # an earlier attempt has started it; AWS says so once it has ended, others while it runs
        except Missing as fault:
            raise Failure(f"state machine '{self._target.name}' does not exist: {fault}") from fault
        except Refused as fault:
            raise Failure(f"state machine '{self._target.name}' cannot be started: {fault}") from fault
        return name

    def find(
        self,
        request: Request,
        bookmark: str,
        *,
        until: datetime | None = None,
        others: Collection[str] = (),
    ) -> str | None:
        name = execution_name(request)
        return None if self.status(name).state is State.UNKNOWN else name

    def status(self, run_id: str) -> Status:
        try:
            execution = self._aws.call(
                "stepfunctions", "describe_execution", executionArn=self._arn_of(run_id)
            )
        except Missing:
            return Status(State.UNKNOWN)
        said = [str(execution[key]) for key in ("error", "cause") if execution.get(key)]
        if execution["status"] == "TIMED_OUT":
            said.insert(0, "TIMED_OUT")
        state = _STATES.get(execution["status"], State.UNKNOWN)
        return Status(state, ": ".join(said), Counts.parse(execution.get("output")))

    def cancel(self, run_id: str, cause: str) -> bool:
        try:
            self._aws.call(
                "stepfunctions",
                "stop_execution",
                executionArn=self._arn_of(run_id),
                error="Superseded",
                cause=cause,
            )
        except (Missing, Refused):
            return False
        return True

    def _arn_of(self, run_id: str) -> str:
        return f"{self._target.arn.replace(':stateMachine:', ':execution:', 1)}:{run_id}"


def execution_name(request: Request) -> str:
    """At most 80 characters, the same for a repeated request and for no other (Step Functions keeps names 90 days)."""
    whole = sha256(
        json.dumps([request.stack_id, request.logical_id, request.request_id]).encode()
    ).hexdigest()
    return f"{request.logical_id[:47]}-{whole[:32]}"


def execution_input(request: Request) -> str:
    """What the state machine receives: the selection, the trigger, and whose run it is."""
    document: dict[str, Any] = {
        "messages": request.messages.properties(),
        "trigger": request.properties.trigger,
        "resource": {
            "stackId": request.stack_id,
            "logicalResourceId": request.logical_id,
            "requestId": request.request_id,
        },
    }
    text = json.dumps(document)
    if len(text) > MAX_INPUT:
        raise Failure(
            f"the execution's input must be at most {MAX_INPUT} bytes, got {len(text)}; select fewer S3 paths"
        )
    return text
