"""The decisions: when to start a run, when to adopt, wait, supersede or cancel one. No boto3; time is injected.

`begin` may be repeated at any point, by Lambda or by CloudFormation, and still starts one run: see `starting`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from . import stack
from .aws import Aws
from .aws_errors import Denied, Fault, Missing, Refused, Throttled, Unclear, Unreachable
from .ledger import Ledger
from .pipelines import END_WITHIN, Pipeline, State, Status, end_run, open_pipeline
from .request import NOT_STARTED, Request, RequestType, is_of_ours, run_of
from .starting import Starting
from .superseding import EarlierRequests
from .validation import Failure, OnRemoval, OnRollback, OnTimeout, format_time

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = timedelta(minutes=2)
"""A run that is not listed for so long will not be listed again."""
LOOK_AT_STACK_EVERY = timedelta(seconds=15)
LAST_WORD = END_WITHIN + timedelta(seconds=30)
"""Kept free before CloudFormation stops listening, to see a cancelled run end and to answer."""


@dataclass(frozen=True)
class Settled:
    """The request is fulfilled."""

    physical_id: str
    data: Mapping[str, str]
    reason: str = ""
    """A sentence for the answer: what was done, or why nothing was."""
    ends_wait: bool = False
    """Whether a WaitCondition that is new has nothing to wait for."""


@dataclass(frozen=True)
class Waiting:
    """A run is going on: all that a continuation needs to know besides the request. Times are epoch seconds."""

    run_id: str
    started_at: float
    deadline: float
    stack_status: str
    """The stack's status when the run was started; if it turns to rollback from there, the run is superseded."""
    listed_at: float
    """When the pipeline last listed the run."""

    def state(self) -> dict[str, Any]:
        return asdict(self)


class Reprocessing:
    """The life of one custom resource, from its requests.

    Args:
        request: What CloudFormation wants.
        ledger: The marks of this resource.
        aws: The way to AWS, and the clock.
        open_pipeline: Gives the pipeline of a request; tests put theirs here.
    """

    def __init__(
        self,
        request: Request,
        ledger: Ledger,
        aws: Aws,
        open_pipeline: Callable[..., Pipeline] = open_pipeline,
    ) -> None:
        self._request = request
        self._ledger = ledger
        self._aws = aws
        self._clock = aws.clock
        self._open = open_pipeline
        self._pipeline = open_pipeline(request.properties.target, aws)
        self._starting = Starting(request, ledger, self._pipeline, aws.clock)
        self._earlier = EarlierRequests(request, ledger, aws.clock)

    def begin(self) -> Settled | Waiting:
        """Starts the run that the request asks for, or finds that none is needed.

        Raises:
            Failure: The run cannot be started, or is not wanted any more.
        """
        try:
            return self._begin()
        except Fault as fault:
            raise self._failure(str(fault)) from fault

    def _begin(self) -> Settled | Waiting:
        request = self._request
        if self._clock.now() >= request.answer_by:
            raise self._failure("the request came when nobody waited for its answer any more")
        self._aws.expect_new_permissions()
        stack_status = stack.status_of(self._aws, request.stack_id)
        # The request comes late, or again: CloudFormation has given it up. A rollback has Updates of its own.
        at_best = stack.ROLLING_BACK if request.type is RequestType.UPDATE else stack.CREATING
        if stack.turned_away(stack_status, at_best):
            raise self._failure(f"superseded before its run was started, the stack is in {stack_status}")
        if request.type is RequestType.UPDATE:
            is_rollback = stack.is_rolling_back(stack_status)
            if not request.changes_the_data:
                outcome = self._unchanged("nothing that decides the data has changed")
                # what a rollback restores has been waited for long ago
                return replace(outcome, ends_wait=not is_rollback)
            keeps = is_rollback and request.properties.on_rollback is OnRollback.KEEP
            self._end_earlier_runs(is_rollback=is_rollback, keeps=keeps)
            if keeps:
                return self._unchanged("the stack is rolling back and OnRollback is KEEP")
        run_id = self._starting.once()
        log.info("run '%s' of pipeline '%s' is going on", run_id, request.properties.target.name)
        if request.properties.wait is None:
            return self._settled(run_id, Status(State.RUNNING))
        now = self._clock.now()
        waiting = Waiting(
            run_id=run_id,
            started_at=now.timestamp(),
            deadline=min(now + request.properties.wait.timeout, self.answer_by(now) - LAST_WORD).timestamp(),
            stack_status=stack_status,
            listed_at=now.timestamp(),
        )
        # The request may have come again that late that there is nothing left to wait for.
        return self.proceed(waiting, until=now) if waiting.deadline <= now.timestamp() else waiting

    def answer_by(self, started_at: datetime) -> datetime:
        """When nobody listens any more to what is said about a run that was started then."""
        wait = self._request.properties.wait
        if wait and wait.signal_url:
            return wait.condition_ends(started_at)
        return self._request.answer_by

    def _unchanged(self, why: str) -> Settled:
        request = self._request
        reason = f"nothing is reprocessed: {why}"
        log.info("%s", reason)
        run_id = run_of(request.physical_id, request.properties.target)
        run, asked_at = Status(State.UNKNOWN), request.requested_at
        if run_id:
            try:
                run = self._pipeline.status(run_id)
                asked_at = self._earlier.asked_at(run_id)
            except Fault as fault:
                log.warning("where run '%s' stands is not known: %s", run_id, fault)
        outcome = self._settled(run_id or NOT_STARTED, run, asked_at)
        return replace(outcome, physical_id=request.physical_id, reason=reason)

    def _end_earlier_runs(self, *, is_rollback: bool, keeps: bool) -> None:
        """Ends the run that the physical id names, and those of requests that CloudFormation gave up.

        Args:
            is_rollback: Whether the request that is undone may still go on.
            keeps: Whether what was there before is kept: its run, too, and it is kept whatever the service says.
        """
        request = self._request
        before = request.previous.target if request.previous else request.properties.target
        tolerated: tuple[type[Fault], ...] = (Fault,) if keeps else ()
        try:
            self._earlier.supersede(may_be_starting=is_rollback)
            kept = self._earlier.runs_for_the_same() if keeps else frozenset()
        except tolerated as fault:
            log.warning("what the failed deploy has started is left alone: %s", fault)
            return
        for target in dict.fromkeys((before, request.properties.target)):
            # A pipeline that was exchanged for another may be gone, and its service the very reason for that.
            gone = () if target == request.properties.target else (Denied, Unreachable)
            try:
                pipeline = self._open(target, self._aws)
                named = run_of(request.physical_id, target)
                left_behind = self._earlier.left_behind(pipeline if target == before else None)
                for run_id in dict.fromkeys([*([named] if named else []), *left_behind]):
                    if run_id not in kept:
                        self._end(pipeline, run_id, "superseded by a new deploy")
            except (*tolerated, *gone) as fault:
                log.warning("what runs on pipeline '%s' is left alone: %s", target.name, fault)

    def proceed(self, waiting: Waiting, *, until: datetime) -> Settled | Waiting:
        """Waits for the run, and returns the state to go on with if it has not ended by `until`.

        Raises:
            Failure: The run failed, was cancelled, took too long, or was superseded.
        """
        try:
            return self._watch(waiting, until)
        except Fault as fault:
            # Nobody else knows of this run: where the wait ends, the run must end.
            raise self.give_up(waiting, "its status cannot be read", fault) from fault

    def _watch(self, waiting: Waiting, until: datetime) -> Settled | Waiting:
        request, clock = self._request, self._clock
        look_at_stack = clock.now()
        while True:
            now = clock.now()
            if now >= look_at_stack:
                look_at_stack = now + LOOK_AT_STACK_EVERY
                status = stack.status_of(self._aws, request.stack_id)
                if stack.turned_away(status, waiting.stack_status):
                    raise self.give_up(waiting, f"superseded, the stack is in {status}")
            try:
                run = self._pipeline.status(waiting.run_id)
            except (Throttled, Unclear) as fault:
                log.warning("the status of run '%s' is not known: %s", waiting.run_id, fault)
            else:
                if run.state is State.SUCCEEDED:
                    return self._succeeded(waiting.run_id, run)
                if run.state in (State.FAILED, State.CANCELLED):
                    raise self._failure(
                        f"the run ended {run.state}{run.cause and f': {run.cause}'}", waiting.run_id
                    )
                if run.state is State.RUNNING:
                    waiting = replace(waiting, listed_at=now.timestamp())
                elif now.timestamp() - waiting.listed_at > FORGOTTEN_AFTER.total_seconds():
                    raise self._failure(
                        f"the run is not listed any more{run.cause and f': {run.cause}'}", waiting.run_id
                    )
            if now.timestamp() >= waiting.deadline:
                return self._timed_out(waiting)
            if now >= until:
                return waiting
            left = min(waiting.deadline, until.timestamp()) - now.timestamp()
            clock.sleep(min(_pause(now.timestamp() - waiting.started_at), max(left, 0.05)))

    def give_up(self, waiting: Waiting, why: str, fault: Fault | None = None) -> Failure:
        """Ends a run that nobody can wait for, and gives the failure to raise."""
        try:
            self._end(
                self._pipeline, waiting.run_id, why
            )  # without the fault: the run's history is no log of ours
        except Fault as trouble:
            log.warning("run '%s' could not be cancelled: %s", waiting.run_id, trouble)
        return self._failure(f"{why}: {fault}" if fault else why, waiting.run_id)

    def going_on(self, waiting: Waiting) -> Settled:
        """What to answer about a run that somebody else waits for."""
        return self._settled(waiting.run_id, Status(State.RUNNING))

    def _succeeded(self, run_id: str, run: Status) -> Settled:
        if nothing := run.counts.why_nothing:
            reason = f"the run replayed nothing: {nothing} ({run.counts})"
        else:
            reason = f"the run has succeeded: {run.counts}".removesuffix(": ")
        level = logging.WARNING if nothing else logging.INFO
        log.log(level, "pipeline '%s', run '%s': %s", self._request.properties.target.name, run_id, reason)
        return replace(self._settled(run_id, run), reason=reason)

    def _timed_out(self, waiting: Waiting) -> Settled:
        wait = self._request.properties.wait
        minutes = f"{(waiting.deadline - waiting.started_at) / 60:g} minutes"
        if wait and wait.on_timeout is OnTimeout.DETACH:
            reason = f"the run goes on after {minutes}; OnTimeout is DETACH"
            log.info("run '%s': %s", waiting.run_id, reason)
            return replace(self.going_on(waiting), reason=reason)
        raise self.give_up(waiting, f"not finished within {minutes}, and cancelled")

    def remove(self) -> Settled:
        """Leaves no run of this resource behind, as far as the request names it.

        An id that names a run concerns that run only: the clean-up of a replaced id must not touch the new run. An id
        that says that no run was started may be wrong where that was in doubt. An id that CloudFormation invented, as
        while a Create still went on, starts a search.
        """
        request = self._request
        if request.properties.on_removal is OnRemoval.LEAVE:
            log.info("runs that still go on are left alone: OnRemoval is LEAVE")
            return Settled(request.physical_id, {})
        try:
            for run_id in self._runs_to_remove():
                self._end(self._pipeline, run_id, "the resource was removed")
        except (Denied, Missing, Refused, Unreachable) as fault:
            # A Delete that can never succeed (IoT Analytics was shut down) would be worse than a run that ends by
            # itself.
            log.warning("runs that still go on are left alone: %s", fault)
        except Fault as fault:
            raise self._failure(f"whether a run still goes on is not known: {fault}") from fault
        return Settled(request.physical_id, {})

    def _runs_to_remove(self) -> list[str]:
        id_, target = self._request.physical_id, self._request.properties.target
        if run_id := run_of(id_, target):
            return [run_id]
        if id_ == self._request.id_of(NOT_STARTED):
            return self._earlier.left_behind(self._pipeline, unrecorded_only=True)
        if is_of_ours(id_):
            return []  # a run of another pipeline: whoever exchanged the pipelines has ended it
        # A Create may still go on, with a role that is as new to this request as it is to that one.
        self._aws.expect_new_permissions()
        self._earlier.supersede(may_be_starting=True)
        return self._earlier.left_behind(self._pipeline)

    def _end(self, pipeline: Pipeline, run_id: str, cause: str) -> None:
        end_run(pipeline, run_id, self._request.cause(cause), self._clock)

    def _failure(self, why: str, run_id: str | None = None) -> Failure:
        return self._request.failure(why, run_id)

    def _settled(self, run_id: str, run: Status, asked_at: datetime | None = None) -> Settled:
        request = self._request
        messages = request.properties.messages.at(asked_at or request.requested_at)
        return Settled(
            request.id_of(run_id),
            {
                "ReprocessingId": "" if run_id == NOT_STARTED else run_id,
                "Status": run.state,
                "StartTime": format_time(messages.start) if messages.start else "",
                "EndTime": format_time(messages.end) if messages.end else "",
                "PipelineName": request.properties.target.name,
                **run.counts.attributes,
            },
        )


def _pause(waited: float) -> float:
    """Seconds to the next look: a twentieth of the time waited so far, from half a second to five seconds."""
    return min(max(0.5, waited / 20), 5.0)
