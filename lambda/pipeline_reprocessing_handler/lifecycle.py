"""The decisions: when to start a run, and when to adopt, keep or end one.

Every step may be repeated at any point, by Lambda or by CloudFormation, and a request still starts one run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from . import stack
from .aws_errors import Denied, Fault, Missing, Refused, Unreachable
from .invocation import LAST_WORD, RequestType, Waiting, is_of_ours, named_run
from .ledger import LISTED_WITHIN, History, Record
from .pipelines import Pipeline, State, Status, end_run
from .properties import Target
from .response import Answer
from .validation import OnRemoval, OnRollback
from .waiting import Wait, Work, answer_about

log = logging.getLogger(__name__)

ASK_FOR_STACK = timedelta(minutes=2, seconds=30)
"""After the request: until then DescribeStacks is repeated where an Update depends on its answer."""


class Lifecycle(Work):
    """The life of one custom resource, from one of its requests."""

    def create_or_update(self) -> Answer | Waiting:
        """Starts the run that the request asks for and hands the wait over, or finds that no run is needed.

        Raises:
            Failure: The run cannot be started, or is no longer wanted.
        """
        try:
            return self._create_or_update()
        except Fault as fault:
            raise self.invocation.failure(str(fault)) from fault

    def _create_or_update(self) -> Answer | Waiting:
        request = self.invocation
        if self.clock.now() >= request.recipient.until:
            raise request.failure("the request arrived after its timeout")
        is_update = request.type is RequestType.UPDATE
        keeps = request.properties.on_rollback is OnRollback.KEEP
        is_first = self._note()
        status = self._stack_status()
        # The request arrives late, or again: CloudFormation has given it up. A rollback has Updates of its own.
        if stack.has_turned_away(status, stack.ROLLING_BACK if is_update else stack.CREATING):
            raise request.failure(f"superseded before its run was started, the stack is in {status}")
        if is_update:
            is_rollback = stack.is_rolling_back(status)
            if not request.changes_the_data:
                outcome = self._unchanged("nothing that decides the data has changed")
                # A rollback restores a run whose wait is long over.
                return replace(outcome, ends_wait=not is_rollback)
            if is_rollback and keeps:
                return self._keep(None)
        if isinstance(is_first, Fault):
            raise is_first
        if is_update:
            # What comes again may have been answered a moment ago.
            may_be_starting = is_rollback or status == stack.UNKNOWN or not is_first
            history = self._history(may_be_starting=may_be_starting)
            if status == stack.UNKNOWN and history.looks_like_a_rollback(request):
                status = stack.ROLLING_BACK
                if keeps:
                    return self._keep(history)
            self._check_wanted(history)
            self._end_earlier_runs(history)
        return self._started(self._start(), status)

    def _note(self) -> bool | Fault:
        """Notes the request before anything else, for an undated request is as old as its first note.

        Returns:
            Whether it comes for the first time, or why that is not known.
        """
        try:
            return self.ledger.note(f"asks~{self.invocation.type}~{self.invocation.properties.digest}")
        except Fault as fault:
            return fault  # a rollback that starts nothing does without

    def _stack_status(self) -> str:
        # For a Create it is a hint, for which nothing waits: neither for the service nor for a new role.
        until = self.clock.now()
        if self.invocation.type is RequestType.UPDATE:
            until = min(self.invocation.made_at + ASK_FOR_STACK, self.invocation.until(keep=LAST_WORD))
            until = self.invocation.at_least(until)
        return stack.status_of(self.aws.patient(until), self.invocation.stack_id)

    def _history(self, *, may_be_starting: bool) -> History:
        """What the requests have noted.

        Args:
            may_be_starting: Whether an earlier request may be just about to start its run. Then this takes until that
                has seen this request's note before it starts, or has left a note or a claim that is seen here.
        """
        if may_be_starting:
            self.clock.sleep(2 * LISTED_WITHIN.total_seconds())
        return self.ledger.read()

    def _keep(self, history: History | None) -> Answer:
        """Ends what the failed deploy has started, and leaves the run of what is restored alone."""
        request = self.invocation
        try:
            pipeline = self.open(request.previous.target if request.previous else request.properties.target)
            history = history or self._history(may_be_starting=True)
            self._check_wanted(history)
            for record in _may_go_on(history):
                if record.asks_for != request.properties.digest:
                    self._end(pipeline, pipeline.started_run(request, record), "superseded by a rollback")
        except Fault as fault:
            log.warning("what the failed deploy has started is left alone: %s", fault)
        return self._unchanged("the stack is rolling back and OnRollback is KEEP")

    def _unchanged(self, why: str) -> Answer:
        request, reason = self.invocation, f"nothing is reprocessed: {why}"
        log.info("%s", reason)
        target, status = request.properties.target, Status(State.UNKNOWN)
        run_id, requested_at = named_run(request.physical_id, target) or (None, None)
        try:
            if run_id:
                status = self.open(target, self.aws.patient(self.clock.now())).status(run_id)
        except Fault as fault:
            log.warning("the status of run '%s' is not known: %s", run_id, fault)
        answer = answer_about(request, run_id, status, requested_at)
        return replace(answer, physical_id=request.physical_id, reason=reason)

    def _end_earlier_runs(self, history: History) -> None:
        """Ends the run that the physical id names, and those of requests that CloudFormation gave up."""
        request, cause = self.invocation, "superseded by a new deploy"
        now = request.properties.target
        before = request.previous.target if request.previous else now
        for target in dict.fromkeys((before, now)):
            # A pipeline that was exchanged for another may be gone, and its service the very reason for that.
            gone = () if target == now else (Denied, Unreachable)
            try:
                pipeline = self.open(target)
                if run := named_run(request.physical_id, target):
                    self._end(pipeline, run[0], cause)
                for record in _may_go_on(history) if target == before else ():
                    self._end(pipeline, pipeline.started_run(request, record), cause)
            except gone as fault:
                log.warning("what runs on pipeline '%s' is left alone: %s", target.name, fault)

    def _start(self) -> str:
        request, pipeline = self.invocation, self.open(self.invocation.properties.target)
        try:
            run_id = pipeline.start(request, self._still_wanted)
        except Fault as fault:
            raise request.failure(f"the run could not be started: {fault}") from fault
        try:
            history = self.ledger.read()
        except Fault as fault:
            log.warning("whether run '%s' is superseded is not known: %s", run_id, fault)
            return run_id
        if history.is_superseded:
            self._end(pipeline, run_id, "superseded by a later request")
            raise request.failure("superseded while its run was started, by a later request", run_id)
        first = history.own.said("run") or run_id
        if first != run_id:
            self._end(pipeline, run_id, "another run was started before")
        return first

    def _still_wanted(self) -> Record:
        """The request's notes.

        Raises:
            Failure: No run may be started for it any more.
        """
        history = self.ledger.read()
        self._check_wanted(history)
        return history.own

    def _check_wanted(self, history: History) -> None:
        """Raises where the request is settled: it came late or again, and neither starts nor ends a run any more."""
        if history.own.is_answered:
            raise self.invocation.failure("the request came again after it was answered; nothing is done")
        if history.is_superseded:
            raise self.invocation.failure("superseded before its run was started, by a later request")

    def _started(self, run_id: str, stack_status: str) -> Answer | Waiting:
        """Hands the wait for a run over to the next invocation, or answers at once if the deploy does not wait."""
        request, now = self.invocation, self.clock.now()
        log.info("run '%s' of pipeline '%s' is going on", run_id, request.properties.target.name)
        going_on, wait = answer_about(request, run_id, Status(State.RUNNING)), request.properties.wait
        if wait is None:
            return going_on
        listens_until = wait.condition_ends(now) if wait.signal_url else request.recipient.until
        waiting = Waiting(
            run_id=run_id,
            started_at=now.timestamp(),
            deadline=min(now + wait.timeout, listens_until - LAST_WORD).timestamp(),
            stack_status=stack_status,
            listed_at=now.timestamp(),
        )
        outcome = Wait(request, self.ledger, self.aws, self.open_pipeline).go_on(waiting, hand_over_at=now)
        if isinstance(outcome, Waiting) and wait.signal_url:
            return replace(going_on, signal_follows=True)
        return outcome

    def remove(self) -> Answer:
        """Leaves no run of this resource behind, as far as the request names it.

        An id that names a run concerns that run only: the clean-up of a replaced id must not touch the new run. An id
        that says that no run was started may be wrong where that was in doubt. An id that CloudFormation invented, as
        while a Create still went on, starts a search.
        """
        request = self.invocation
        if request.properties.on_removal is OnRemoval.LEAVE:
            log.info("runs that still go on are left alone: OnRemoval is LEAVE")
            if not is_of_ours(request.physical_id):
                self._note()  # a Create that was given up must not start its run later
            return Answer(request.physical_id)
        pipeline = self.open(request.properties.target)
        try:
            for run_id in self._runs_to_remove(pipeline, request.properties.target):
                self._end(pipeline, run_id, "the resource was removed")
        except (Denied, Missing, Refused, Unreachable) as fault:
            # A Delete that can never succeed (IoT Analytics was shut down) would be worse than a run that ends by
            # itself.
            log.warning("runs that still go on are left alone: %s", fault)
        except Fault as fault:
            raise request.failure(f"whether a run still goes on is not known: {fault}") from fault
        return Answer(request.physical_id)

    def _runs_to_remove(self, pipeline: Pipeline, target: Target) -> Iterator[str | None]:
        request = self.invocation
        if run := named_run(request.physical_id, target):
            yield run[0]
        elif request.physical_id == request.id_of(None):
            for record in self.ledger.read().earlier_deploys:
                if not record.has_succeeded:
                    yield pipeline.started_run(request, record)
        elif not is_of_ours(request.physical_id):
            if isinstance(noted := self._note(), Fault):
                raise noted
            for record in _may_go_on(self._history(may_be_starting=True)):
                yield pipeline.started_run(request, record)
        # The rest names a run of another pipeline: the Update that exchanged the pipelines has ended it.

    def _end(self, pipeline: Pipeline, run_id: str | None, cause: str) -> None:
        if run_id:
            end_run(pipeline, run_id, self.invocation.cause(cause), self.clock)


def _may_go_on(history: History) -> Iterator[Record]:
    """The earlier deploys whose runs may still go on: of those that have succeeded only the newest."""
    for place, record in enumerate(history.earlier_deploys):
        if place == 0 or not record.has_succeeded:
            yield record
