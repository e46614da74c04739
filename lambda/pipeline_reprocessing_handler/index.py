"""Entry point: event in, answer out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from .aws import Aws
from .aws_errors import Fault
from .crhelper_adapter import Lifecycle
from .ledger import Ledger
from .lifecycle import Reprocessing, Settled, Waiting
from .request import Request
from .response import Answer, deliver, signal_of
from .validation import Failure

log = logging.getLogger(__name__)

HAND_OVER_BEFORE_END = timedelta(seconds=30)
"""What is left of the function's time when a continuation takes over; a quarter of it where it is shorter."""


class Handler:
    """The Lambda function.

    Args:
        aws: The way to AWS, and the clock.
        log_group: The function's own log group, where the ledger is.
    """

    def __init__(self, aws: Aws, log_group: str) -> None:
        self._aws = aws
        self._log_group = log_group
        lifecycle: Any = Lifecycle(aws, log_group)  # crhelper's types know only functions that return an id
        lifecycle.create(self.begin)
        lifecycle.update(self.begin)
        lifecycle.delete(self.remove)
        lifecycle.poll_create(self.proceed)
        lifecycle.poll_update(self.proceed)
        self._lifecycle = lifecycle

    def __call__(self, event: dict[str, Any], context: Any) -> None:
        self._lifecycle(event, context)

    def begin(self, event: Mapping[str, Any], context: Any) -> Settled | Waiting:
        """A Create or an Update: starts the run, and hands the waiting to the next invocation."""
        request = self._read(event)
        reprocessing = self._reprocessing(request)
        outcome = reprocessing.begin()
        if isinstance(outcome, Waiting):
            self._hand_over(reprocessing, outcome, event, context)
            if request.properties.wait and request.properties.wait.signal_url:
                return reprocessing.going_on(outcome)
        elif outcome.ends_wait and request.new_signal_url:
            self._end_the_wait(outcome, request, event)
        return outcome

    def proceed(self, event: Mapping[str, Any], context: Any) -> Settled | Waiting:
        """A continuation: waits on, and hands over again before its time is up."""
        reprocessing = self._reprocessing(self._read(event))
        outcome = reprocessing.proceed(Waiting(**event["CrHelperData"]), until=self._hand_over_at(context))
        if isinstance(outcome, Waiting):
            self._hand_over(reprocessing, outcome, event, context)
        return outcome

    def remove(self, event: Mapping[str, Any], context: Any) -> Settled:
        """A Delete: succeeds for whatever is unknown, unreadable or finished."""
        try:
            request = self._read(event)
        except Exception as error:  # noqa: BLE001  # whatever it is: a Delete that fails blocks the stack
            log.warning("nothing to remove: %s", error)  # what cannot be read has never started anything
            return Settled(str(event.get("PhysicalResourceId") or ""), {})
        return self._reprocessing(request).remove()

    def _end_the_wait(self, outcome: Settled, request: Request, event: Mapping[str, Any]) -> None:
        """Signals a WaitCondition that is new although nothing is run, as when only the time-out grew beyond an hour."""
        answer = Answer(True, "nothing had to be reprocessed", outcome.physical_id, {})
        delivery = signal_of(answer, event, request.new_signal_url or "", until=request.answer_by)
        if not deliver(delivery, self._ledger(request), self._aws):
            raise Failure("the WaitCondition of this deploy cannot be reached")

    def _ledger(self, request: Request) -> Ledger:
        return Ledger(self._aws, self._log_group, request.logical_id)

    def _read(self, event: Mapping[str, Any]) -> Request:
        return Request.parse(event, now=self._aws.clock.now())

    def _reprocessing(self, request: Request) -> Reprocessing:
        return Reprocessing(request, self._ledger(request), self._aws)

    def _hand_over(
        self, reprocessing: Reprocessing, waiting: Waiting, event: Mapping[str, Any], context: Any
    ) -> None:
        """Calls this function again, asynchronously: from here on Lambda itself repeats what a crash interrupts."""
        # crhelper's own keys, so that it dispatches the event to the poll functions
        continuation = {**event, "CrHelperPoll": True, "CrHelperData": waiting.state()}
        try:
            self._aws.call(
                "lambda",
                "invoke",
                FunctionName=context.function_name,
                InvocationType="Event",
                Payload=json.dumps(continuation).encode(),
            )
        except Fault as fault:
            raise reprocessing.give_up(waiting, "nobody can wait for it", fault) from fault

    def _hand_over_at(self, context: Any) -> datetime:
        left = timedelta(milliseconds=context.get_remaining_time_in_millis())
        return self._aws.clock.now() + left - min(HAND_OVER_BEFORE_END, left / 4)


handler = Handler(Aws(), os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", ""))
