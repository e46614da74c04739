"""The wait for a run, over as many invocations of the function as it takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from . import stack
from .aws import IAM_PROPAGATION, Aws, Clock
from .aws_errors import Fault, Throttled, Unclear
from .invocation import LAST_WORD, MADE_AT, Invocation, Waiting
from .ledger import Ledger
from .pipelines import Pipeline, State, Status, end_run, open_pipeline
from .properties import Target
from .response import Answer
from .validation import Failure, OnTimeout, format_time

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = timedelta(minutes=2)
"""A run that is not listed for so long will not be listed again."""
LOOK_AT_STACK_EVERY = timedelta(seconds=15)
ANSWER_WITHIN = timedelta(seconds=30)
"""Kept free for the answer after a run was cancelled."""
LONGEST_BETWEEN_LOOKS = 3.5
"""Seconds. Twenty waiting resources look 6 times a second; DescribeExecution allows 10 to 15, by region."""


@dataclass(frozen=True)
class Work:
    """What it takes to handle one invocation; tests put their own `open_pipeline`."""

    invocation: Invocation
    ledger: Ledger
    aws: Aws
    open_pipeline: Callable[[Target, Aws, Ledger], Pipeline] = open_pipeline

    @property
    def clock(self) -> Clock:
        return self.aws.clock

    def open(self, target: Target, aws: Aws | None = None) -> Pipeline:
        return self.open_pipeline(target, aws or self.aws, self.ledger)


class Wait(Work):
    """The wait for one run."""

    def go_on(self, waiting: Waiting, *, hand_over_at: datetime) -> Answer | Waiting:
        """Watches the run until it ends, or until the next invocation has taken over.

        Args:
            waiting: How the wait stands.
            hand_over_at: From when on the next invocation is to take over.

        Returns:
            The answer, or the state with which the next invocation goes on.

        Raises:
            Failure: The run failed, was cancelled, took too long, or was superseded.
        """
        try:
            return self._watch(waiting, hand_over_at)
        except Fault as fault:
            # Nothing else knows of this run: where the wait ends, the run must end.
            raise self.give_up(waiting, "its status cannot be read", fault) from fault

    def _watch(self, waiting: Waiting, hand_over_at: datetime) -> Answer | Waiting:
        request, clock = self.invocation, self.clock
        target = request.properties.target
        pipeline = self.open(target, self._impatient(waiting))
        hand_over_pauses = self.aws.pauses()
        look_at_stack = clock.now()
        while True:
            now = clock.now()
            if now >= hand_over_at and now.timestamp() < waiting.deadline:
                if not (fault := self._hand_over(waiting)):
                    return waiting
                if not isinstance(fault, Throttled | Unclear) or now >= request.until(keep=LAST_WORD):
                    raise self.give_up(waiting, "the next invocation cannot be called", fault)
                hand_over_at = now + timedelta(seconds=next(hand_over_pauses))
            is_last = now.timestamp() >= waiting.deadline
            if is_last:  # the answer hangs on this look, and no longer on the stack
                pipeline = self.open(target, self.aws.patient(now + ANSWER_WITHIN))
            elif now >= look_at_stack:
                look_at_stack = now + LOOK_AT_STACK_EVERY
                status = stack.status_of(self.aws.patient(now), request.stack_id)
                if stack.has_turned_away(status, waiting.stack_status):
                    raise self.give_up(waiting, f"superseded, the stack is in {status}")
            try:
                run = pipeline.status(waiting.run_id)
            except (Throttled, Unclear) as fault:
                log.warning("the status of run '%s' is not known: %s", waiting.run_id, fault)
            else:
                if run.state is State.RUNNING:
                    waiting = replace(waiting, listed_at=now.timestamp())
                elif answer := self._ended(waiting, run):
                    return answer
            if is_last:
                return self._timed_out(waiting)
            due = min(waiting.deadline, hand_over_at.timestamp()) - now.timestamp()
            clock.sleep(min(_pause(now.timestamp() - waiting.started_at), max(due, 0.05)))

    def _hand_over(self, waiting: Waiting) -> Fault | None:
        """Calls this function again, asynchronously: from here on Lambda itself repeats what a crash interrupts.

        Returns:
            Why that was not possible now.
        """
        continuation = {
            **self.invocation.event,
            # crhelper's own keys, so that it dispatches the event to the poll functions
            "CrHelperPoll": True,
            "CrHelperData": asdict(waiting),
            MADE_AT: self.invocation.made_at.timestamp(),
        }
        try:
            self._impatient(waiting).call(
                "lambda",
                "invoke",
                FunctionName=self.invocation.function_name,
                InvocationType="Event",
                Payload=json.dumps(_without_because(continuation)).encode(),
            )
        except Fault as fault:
            log.warning("run '%s' is not handed over: %s", waiting.run_id, fault)
            return fault
        return None

    def _impatient(self, waiting: Waiting) -> Aws:
        """AWS for the watching loop, which repeats by itself. The handler's role may be new to IAM."""
        began = datetime.fromtimestamp(waiting.started_at, UTC)
        return self.aws.patient(self.clock.now(), denials_pass_until=began + IAM_PROPAGATION)

    def give_up(self, waiting: Waiting, why: str, fault: Fault | None = None) -> Failure:
        """Ends the run, and gives the failure to raise.

        A late duplicate of a continuation has nothing to give up: what its request was told may be that the run goes on.
        """
        request, now = self.invocation, self.clock.now()
        until = request.until(keep=ANSWER_WITHIN)
        try:
            if (
                self.ledger.patient(max(until, now + ANSWER_WITHIN))
                .read()
                .own.said(request.recipient.subject)
            ):
                log.info("run '%s' is left alone: its request was answered before", waiting.run_id)
                return request.failure("the request was answered before", waiting.run_id)
        except Fault as trouble:
            log.warning("whether the request was answered is not known: %s", trouble)
            if now >= request.recipient.until:
                # CloudFormation has settled the request or given it up: what comes next ends the run, if it should end
                return request.failure(why, waiting.run_id)
        try:
            pipeline = self.open(request.properties.target, self.aws.patient(until))
            # without the fault: people read the run's history who do not read our log
            end_run(pipeline, waiting.run_id, request.cause(why), self.clock, until)
        except Fault as trouble:
            log.warning("run '%s' could not be cancelled: %s", waiting.run_id, trouble)
        return request.failure(f"{why}: {fault}" if fault else why, waiting.run_id)

    def _ended(self, waiting: Waiting, run: Status) -> Answer | None:
        """The answer about a run that has ended well; None if it may only be listed late."""
        run_id, why = waiting.run_id, run.cause and f": {run.cause}"
        if run.state is State.UNKNOWN:
            if self.clock.now().timestamp() - waiting.listed_at <= FORGOTTEN_AFTER.total_seconds():
                return None
            raise self.invocation.failure(f"the run is not listed any more{why}", run_id)
        if run.state is not State.SUCCEEDED:
            raise self.invocation.failure(f"the run ended {run.state}{why}", run_id)
        if nothing := run.counts.why_nothing:
            reason = f"the run replayed nothing: {nothing} ({run.counts})"
        else:
            reason = f"the run has succeeded: {run.counts}".removesuffix(": ")
        level = logging.WARNING if nothing else logging.INFO
        log.log(level, "pipeline '%s', run '%s': %s", self.invocation.properties.target.name, run_id, reason)
        # A WaitCondition is told, too, where the first invocation has not come to hand over.
        return replace(answer_about(self.invocation, run_id, run), reason=reason, ends_wait=True)

    def _timed_out(self, waiting: Waiting) -> Answer:
        wait = self.invocation.properties.wait
        minutes = f"{(waiting.deadline - waiting.started_at) / 60:g} minutes"
        if wait and wait.on_timeout is OnTimeout.DETACH:
            reason = f"the run goes on after {minutes}; OnTimeout is DETACH"
            log.info("run '%s': %s", waiting.run_id, reason)
            running = answer_about(self.invocation, waiting.run_id, Status(State.RUNNING))
            return replace(running, reason=reason, ends_wait=True)
        raise self.give_up(waiting, f"not finished within {minutes}, and cancelled")


def answer_about(
    request: Invocation, run_id: str | None, run: Status, requested_at: datetime | None = None
) -> Answer:
    """The physical id and the attributes of a run, which this request has requested unless another time is given."""
    messages = request.properties.messages.at(requested_at or request.made_at)
    return Answer(
        request.id_of(run_id),
        {
            "ReprocessingId": run_id or "",
            "Status": run.state,
            "StartTime": format_time(messages.start) if messages.start else "",
            "EndTime": format_time(messages.end) if messages.end else "",
            "PipelineName": request.properties.target.name,
            **run.counts.attributes,
        },
    )


def _without_because(value: object) -> object:
    """The event, or what is in it, without what tells why: a payload has a largest size, and this grows."""
    if not isinstance(value, Mapping):
        return value
    return {key: _without_because(inner) for key, inner in value.items() if key != "Because"}


def _pause(waited: float) -> float:
    """Seconds to the next look: a twentieth of the time waited so far, within bounds."""
    return min(max(0.5, waited / 20), LONGEST_BETWEEN_LOOKS)
