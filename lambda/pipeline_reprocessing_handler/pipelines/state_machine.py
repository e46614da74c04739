"""AWS Step Functions: a run is an execution of a STANDARD state machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Conflict, Missing, Refused
from pipeline_reprocessing_handler.invocation import START_BY, Invocation
from pipeline_reprocessing_handler.ledger import Record
from pipeline_reprocessing_handler.properties import Target
from pipeline_reprocessing_handler.validation import Failure

from .protocol import Counts, State, Status

MAX_INPUT = 262_144
"""Bytes of an execution's input (Step Functions quotas)."""

LISTED_WITHIN = timedelta(seconds=30)
"""How long DescribeExecution may not know an execution whose start is under way."""

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
    execution, and the run of a request is found by its name alone.
    """

    def __init__(self, target: Target, aws: Aws) -> None:
        self._target = target
        self._aws = aws

    def start(self, request: Invocation, still_wanted: Callable[[], Record]) -> str:
        name = execution_name(request, request.request_id)
        parameters = {"stateMachineArn": self._target.arn, "name": name, "input": execution_input(request)}
        clock = self._aws.clock

        def attempt() -> None:
            if clock.now() >= still_wanted().made_at + START_BY:
                if self.status(name).state is State.UNKNOWN:
                    raise request.failure("the run could not be started in time")
                return  # an invocation that was interrupted has started it
            self._aws.send("stepfunctions", "start_execution", None, parameters)

        try:
            self._aws.repeat(attempt)
        except Conflict:
            pass  # an earlier attempt has started it; AWS says so once it has ended, others while it runs
        except Missing as fault:
            raise Failure(f"state machine '{self._target.name}' does not exist: {fault}") from fault
        except Refused as fault:
            raise Failure(f"state machine '{self._target.name}' cannot be started: {fault}") from fault
        return name

    def started_run(self, request: Invocation, record: Record) -> str | None:
        name, clock = execution_name(request, record.request_id), self._aws.clock
        if record.is_answered and not record.has_failed:
            return name
        # Not less after a failure: a start that was in doubt may take effect later.
        until = min(record.answered_at or clock.now(), clock.now()) + LISTED_WITHIN
        while self.status(name).state is State.UNKNOWN:
            if clock.now() >= until:
                return None
            clock.sleep(2.0)
        return name

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


def execution_name(request: Invocation, request_id: str) -> str:
    """At most 80 characters, the same for a repeated request and for no other (Step Functions keeps names 90 days)."""
    whole = sha256(json.dumps([request.stack_id, request.logical_id, request_id]).encode()).hexdigest()
    return f"{request.logical_id[:47]}-{whole[:32]}"


def execution_input(request: Invocation) -> str:
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
