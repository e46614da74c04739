"""The decisions: when to start a run, when to adopt, wait, supersede or cancel one. No boto3; time is injected.

`begin` may be repeated at any point, by Lambda or by CloudFormation, and still starts one run: it leaves marks
in the ledger before and after the start, and whoever comes second reads them. How a second comer decides:

    made=<time>       when the request was made, which may be long before it arrives
    run=<id>          somebody started a run and said so: adopt it
    start-<n>         somebody holds the right to start until LEASE is over; then, if no run has turned up,
                      the next one takes start-<n+1>
    free-<n>          the holder of that claim has given it up, and no run will come of it
    before=<mark>     what the pipeline's newest run was before anybody started one: tells new from old
    answer-sent       CloudFormation has its answer
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from . import stack
from .aws import READ_TIMEOUT, Aws
from .faults import Conflict, Denied, Fault, Missing, Refused, Throttled, Unclear, Unreachable
from .ledger import SUPERSEDING, Ledger
from .pipelines import Pipeline, State, open_pipeline
from .request import (
    NOT_STARTED,
    Failure,
    Messages,
    OnRemoval,
    OnRollback,
    OnTimeout,
    Request,
    RequestType,
    format_time,
    run_of,
)

log = logging.getLogger(__name__)

START_BY = timedelta(minutes=4)
"""After the request: later than this no run is started, so that the answer still arrives in time."""
SEND_FOR = timedelta(seconds=60)
"""How long the holder of a claim goes on trying to start."""
WATCH = timedelta(seconds=30)
"""How long a run may take to show up after a start without a clear answer."""
LEASE = SEND_FOR + WATCH + timedelta(seconds=2 * READ_TIMEOUT)
"""After this nothing that the holder of a claim has sent is still under way."""
END_WITHIN = timedelta(minutes=1)
"""How long a cancelled run may take to end."""
FORGOTTEN_AFTER = timedelta(minutes=2)
"""A run that is not listed for so long will not be listed again."""
LOOK_AT_STACK_EVERY = timedelta(seconds=15)
LAST_WORD = timedelta(seconds=45)
"""Kept free before CloudFormation stops listening, to cancel and to answer."""


@dataclass(frozen=True)
class Settled:
    """The request is fulfilled."""

    physical_id: str
    data: Mapping[str, str]


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


class _InDoubt(Failure):
    """Whether a run was started is not known."""


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
        self._pipeline = open_pipeline(request.settings.target, aws)

    # -- Create and Update ------------------------------------------------------------------------------------

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
        stack_status = stack.status_of(self._aws, request.stack_id)
        if request.type is RequestType.UPDATE:
            if not request.changes_the_data:
                return self._unchanged("nothing that decides the data has changed")
            self._supersede_previous_runs()
            if stack_status == stack.ROLLING_BACK and request.settings.on_rollback is OnRollback.KEEP:
                return self._unchanged("the stack is rolling back and OnRollback is KEEP")
        self._aws.expect_new_permissions()
        run_id = self._start_once()
        log.info("run '%s' of pipeline '%s' is going on", run_id, request.settings.target.name)
        if request.settings.wait is None:
            return self._settled(run_id, State.RUNNING)
        now = self._clock.now()
        return Waiting(
            run_id=run_id,
            started_at=now.timestamp(),
            deadline=min(now + request.settings.wait.timeout, self.answer_by(now) - LAST_WORD).timestamp(),
            stack_status=stack_status,
            listed_at=now.timestamp(),
        )

    def answer_by(self, started_at: datetime) -> datetime:
        """When nobody listens any more to what is said about a run that was started then."""
        wait = self._request.settings.wait
        if wait and wait.signal_url:
            return wait.condition_ends(started_at)
        return self._request.answer_by

    def _unchanged(self, why: str) -> Settled:
        request = self._request
        log.info("nothing is reprocessed: %s", why)
        run_id = run_of(request.physical_id, request.settings.target)
        state = State.UNKNOWN
        if run_id:
            try:
                state = self._pipeline.status(run_id).state
            except Fault as fault:
                log.warning("the status of run '%s' is not known: %s", run_id, fault)
        return replace(self._settled(run_id or NOT_STARTED, state), physical_id=request.physical_id)

    def _supersede_previous_runs(self) -> None:
        """Ends the run that the physical id names, and those of requests that CloudFormation gave up."""
        request = self._request
        before = request.previous.target if request.previous else request.settings.target
        self._supersede_earlier_requests()
        for target in dict.fromkeys((before, request.settings.target)):
            is_kept = target == request.settings.target
            if is_kept:  # only the policy for this one can be new
                self._aws.expect_new_permissions()
            try:
                pipeline = self._open(target, self._aws)
                named = run_of(request.physical_id, target)
                left_behind = self._left_behind(pipeline if target == before else None)
                for run_id in dict.fromkeys([*([named] if named else []), *left_behind]):
                    self._end(pipeline, run_id, "superseded by a new deploy")
            except (Denied, Unreachable) as fault:
                # The new policy has nothing on a pipeline that was exchanged for another, and the service may
                # be the very reason for the exchange.
                if is_kept:
                    raise
                log.warning("what runs on pipeline '%s' is left alone: %s", target.name, fault)

    def _supersede_earlier_requests(self) -> None:
        """From now on no request made before this one starts a run."""
        made = self._made(self._ledger.marks(self._request.request_id))
        self._ledger.mark(SUPERSEDING, f"{made:.3f}={self._request.request_id}")

    def _is_superseded(self, marks: Mapping[str, datetime]) -> bool:
        """Whether a request made after this one has said so."""
        later = (mark.partition("=") for mark in self._ledger.marks(SUPERSEDING))
        made = self._made(marks)
        return any(float(when) > made for when, _, by in later if by != self._request.request_id)

    def _made(self, marks: Mapping[str, datetime]) -> float:
        """When this request was made; its marks know better where the event does not tell."""
        return min([self._request.requested_at.timestamp(), *(made.timestamp() for made in marks.values())])

    def _left_behind(self, pipeline: Pipeline | None) -> list[str]:
        """The runs of earlier requests that may still go on.

        Args:
            pipeline: Where to look for runs that were started and not recorded; None does not look.
        """
        request, requests = self._request, self._ledger.requests()
        made = self._made(requests.get(request.request_id, {}))
        started = {
            request_id: marks
            for request_id, marks in requests.items()
            if request_id != request.request_id
            and any(map(_is_claim, marks))
            and float(_after("made=", marks) or 0) <= made
        }
        run_ids = []
        for request_id, marks in started.items():
            is_open = "answer-sent" not in marks or (_open_claim(marks) and not _after("run=", marks))
            if (
                is_open or request_id == list(started)[-1]
            ):  # of the answered ones only the newest can still go on
                if pipeline:
                    run_ids.append(self._settle(replace(request, request_id=request_id), marks, pipeline))
                else:
                    run_ids.append(_after("run=", marks))
        return [run_id for run_id in run_ids if run_id]

    def _settle(self, request: Request, marks: Mapping[str, datetime], pipeline: Pipeline) -> str | None:
        """The run that an earlier request has started, once nothing of it is under way any more."""
        while True:
            if run_id := _after("run=", marks):
                return run_id
            claimed = _open_claim(marks)
            if claimed is None:
                return None
            if self._clock.now() >= claimed + LEASE:
                return self._find(pipeline, request, _after("before=", marks) or "", until=claimed + LEASE)
            self._clock.sleep(2.0)
            marks = self._ledger.marks(request.request_id)

    def _find(
        self, pipeline: Pipeline, request: Request, bookmark: str, until: datetime | None = None
    ) -> str | None:
        """The run that the request has started unseen; none that another request has recorded as its own."""
        others = self._ledger.recorded_runs(besides=request.request_id)
        return pipeline.find(request, bookmark, until=until, others=others)

    # -- exactly one start ------------------------------------------------------------------------------------

    def _start_once(self) -> str:
        request, ledger = self._request, self._ledger
        start_by = request.requested_at + START_BY
        marks = ledger.marks(request.request_id)
        if not marks:
            ledger.mark(request.request_id, f"made={self._made(marks):.3f}")
        if _after("before=", marks) is None:
            ledger.mark(request.request_id, f"before={self._pipeline.bookmark()}")
        for attempt in _from(1):
            marks = ledger.marks(request.request_id)
            if run_id := _after("run=", marks):
                return run_id
            if "answer-sent" in marks:
                raise self._failure("the request came again after it was answered; nothing is started")
            if self._is_superseded(marks):
                raise self._failure("superseded before its run was started, by a later request")
            now = self._clock.now()
            if now >= start_by:
                raise self._failure(
                    f"the run could not be started within {START_BY.seconds // 60} minutes of the request"
                )
            claim = f"start-{attempt}"
            if claim not in marks and ledger.mark(request.request_id, claim):
                try:
                    run_id = self._start(
                        _after("before=", marks) or "", first=attempt == 1, start_by=start_by
                    )
                except _InDoubt:
                    raise
                except (Failure, Fault):
                    self._release(attempt)
                    raise
                if run_id:
                    return self._record(run_id)
                self._release(attempt)
            else:
                claimed = marks.get(claim, now)
                self._wait_for_run_mark(until=min(claimed + LEASE, start_by))
        raise AssertionError("unreachable: the claims have no end")

    def _start(self, bookmark: str, *, first: bool, start_by: datetime) -> str | None:
        """The run, started or adopted; None if the claim ended without one."""
        request, clock = self._request, self._clock
        if not first and (run_id := self._find(self._pipeline, request, bookmark)):
            return run_id
        until, pause = min(clock.now() + SEND_FOR, start_by), 1.0
        while True:
            if self._is_superseded(self._ledger.marks(request.request_id)):
                raise self._failure("superseded before its run was started, by a later request")
            try:
                return self._pipeline.start(request)
            except (Throttled, Conflict, Unclear) as fault:
                log.warning("the run is not started yet: %s", fault)
                if isinstance(fault, Unclear) and (run_id := self._look_for_run(bookmark)):
                    return run_id
                if clock.now() + timedelta(seconds=pause) >= until:
                    if clock.now() + timedelta(seconds=pause) >= start_by:
                        raise self._failure(f"the run could not be started: {fault}") from fault
                    return None
                clock.sleep(pause)
                pause = min(2 * pause, 15.0)

    def _release(self, attempt: int) -> None:
        """Says that nothing comes of a claim any more; unsaid, it is waited for in vain."""
        try:
            self._ledger.mark(self._request.request_id, f"free-{attempt}")
        except Fault as fault:
            log.warning("the claim is not released: %s", fault)

    def _look_for_run(self, bookmark: str) -> str | None:
        until = self._clock.now() + WATCH
        while True:
            try:
                run_id, fault = self._find(self._pipeline, self._request, bookmark), None
            except Fault as unseen:
                run_id, fault = None, unseen
            if run_id:
                return run_id
            if self._clock.now() >= until:
                break
            self._clock.sleep(2.0)
        if fault:
            raise _InDoubt(
                str(
                    self._failure(
                        f"whether the run was started is not known, so it is not started again: {fault}"
                    )
                )
            ) from fault
        return None

    def _wait_for_run_mark(self, *, until: datetime) -> None:
        while self._clock.now() < until and not _after("run=", self._ledger.marks(self._request.request_id)):
            self._clock.sleep(2.0)

    def _record(self, run_id: str) -> str:
        request = self._request
        try:
            self._ledger.mark(request.request_id, f"run={run_id}")
            superseded = self._is_superseded(self._ledger.marks(request.request_id))
        except Fault as fault:
            log.warning(
                "run '%s' is not recorded: %s", run_id, fault
            )  # the continuation carries it all the same
            return run_id
        if superseded:
            self._end(self._pipeline, run_id, "superseded by a later request")
            raise self._failure("superseded while its run was started, by a later request", run_id)
        return run_id

    # -- waiting ----------------------------------------------------------------------------------------------

    def proceed(self, waiting: Waiting, *, until: datetime) -> Settled | Waiting:
        """Waits for the run, and returns the state to go on with if it has not ended by `until`.

        Raises:
            Failure: The run failed, was cancelled, took too long, or was superseded.
        """
        try:
            return self._watch(waiting, until)
        except Fault as fault:
            # Nobody else knows of this run: where the wait ends, the run must end.
            raise self.give_up(waiting, f"its status cannot be read: {fault}") from fault

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
                    return self._settled(waiting.run_id, run.state)
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

    def give_up(self, waiting: Waiting, why: str) -> Failure:
        """Ends a run that nobody can wait for, and gives the failure to raise."""
        try:
            self._end(self._pipeline, waiting.run_id, why)
        except Fault as fault:
            log.warning("run '%s' could not be cancelled: %s", waiting.run_id, fault)
        return self._failure(why, waiting.run_id)

    def going_on(self, waiting: Waiting) -> Settled:
        """What to answer about a run that somebody else waits for."""
        return self._settled(waiting.run_id, State.RUNNING)

    def _timed_out(self, waiting: Waiting) -> Settled:
        wait = self._request.settings.wait
        minutes = f"{(waiting.deadline - waiting.started_at) / 60:g} minutes"
        if wait and wait.on_timeout is OnTimeout.DETACH:
            log.info("run '%s' goes on after %s; OnTimeout is DETACH", waiting.run_id, minutes)
            return self.going_on(waiting)
        raise self.give_up(waiting, f"not finished within {minutes}, and cancelled")

    # -- Delete -----------------------------------------------------------------------------------------------

    def remove(self) -> Settled:
        """Leaves no run of this resource behind, as far as the request names it.

        An id that names a run concerns that run only: the clean-up of a replaced id must not touch the new run.
        Any other id (invented by CloudFormation while a Create still went on) starts a search.
        """
        request = self._request
        if request.settings.on_removal is OnRemoval.LEAVE:
            log.info("runs that still go on are left alone: OnRemoval is LEAVE")
            return Settled(request.physical_id, {})
        try:
            if run_id := run_of(request.physical_id, request.settings.target):
                self._end(self._pipeline, run_id, "the resource was removed")
            else:
                self._supersede_earlier_requests()
                for left_behind in self._left_behind(self._pipeline):
                    self._end(self._pipeline, left_behind, "the resource was removed")
        except (Denied, Missing, Refused, Unreachable) as fault:
            # A Delete that can never succeed (IoT Analytics was shut down) would be worse than a run that ends by
            # itself.
            log.warning("runs that still go on are left alone: %s", fault)
        except Fault as fault:
            raise self._failure(f"whether a run still goes on is not known: {fault}") from fault
        return Settled(request.physical_id, {})

    # -- shared -----------------------------------------------------------------------------------------------

    def _end(self, pipeline: Pipeline, run_id: str, cause: str) -> None:
        """Cancels a run that still goes on, and sees it end."""
        # A new run may not be listed yet, and a cancelled one may take its time.
        if pipeline.status(run_id).state not in (State.RUNNING, State.UNKNOWN):
            return
        log.info("cancelling run '%s': %s", run_id, cause)
        pipeline.cancel(run_id, f"{cause} ({self._request.logical_id} of {self._request.stack_id})")
        until, pause = self._clock.now() + END_WITHIN, 0.5
        while pipeline.status(run_id).state is State.RUNNING:
            if self._clock.now() >= until:
                log.warning("run '%s' was cancelled and still goes on", run_id)
                return
            self._clock.sleep(pause)
            pause = min(2 * pause, 8.0)

    def _settled(self, run_id: str, state: State) -> Settled:
        request = self._request
        messages: Messages = request.messages
        return Settled(
            request.id_of(run_id),
            {
                "ReprocessingId": "" if run_id == NOT_STARTED else run_id,
                "Status": state,
                "StartTime": format_time(messages.start) if messages.start else "",
                "EndTime": format_time(messages.end) if messages.end else "",
                "PipelineName": request.settings.target.name,
            },
        )

    def _failure(self, why: str, run_id: str | None = None) -> Failure:
        pipeline = f"pipeline '{self._request.settings.target.name}'"
        if run_id is None:
            return Failure(f"{pipeline}: {why}")
        return Failure(f"{pipeline}, run '{run_id}': {why}", physical_id=self._request.id_of(run_id))


def _pause(waited: float) -> float:
    """Seconds to the next look: a twentieth of the time waited so far, from half a second to five seconds."""
    return min(max(0.5, waited / 20), 5.0)


def _after(prefix: str, marks: Mapping[str, datetime]) -> str | None:
    """What the oldest mark of that kind says."""
    return next((mark.removeprefix(prefix) for mark in marks if mark.startswith(prefix)), None)


def _open_claim(marks: Mapping[str, datetime]) -> datetime | None:
    """When the newest claim was made of which a run may still come."""
    claims = {mark: made for mark, made in marks.items() if _is_claim(mark)}
    return max((made for mark, made in claims.items() if f"free-{mark[6:]}" not in marks), default=None)


def _is_claim(mark: str) -> bool:
    return mark.startswith("start-")


def _from(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1
