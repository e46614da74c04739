"""Entry point: one function, called by the state machine's steps with the name of the step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from object_replay.archive.publishing import check_unchanged, publish
from object_replay.archive.replaying import ArchiveWorker
from object_replay.events.calling import EventWorker
from object_replay.faults import ReplayStopped, ReplayTooLarge, told
from object_replay.functions import Functions
from object_replay.patience import Clock, Patience
from object_replay.planning import plan
from object_replay.settings import Run, Selection, WorkItem
from object_replay.storage import Storage, connect
from object_replay.summarising import close, summarise
from object_replay.worker import Call, Worker

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


_Step = Callable[[Mapping[str, Any], Run, Call], dict[str, Any]]
"""Takes the event, the run and the call. In a run that must end it raises `ReplayStopped`, of which the state machine
is told under the name that stands beside the step."""

_CHECKED_FOR = timedelta(seconds=30)
"""How long the user's function is taken to be unchanged while batches are published one after the other."""


class Handler:
    """The Lambda function.

    Args:
        clients: Gives the clients of S3 and of Lambda.
        clock: Where the time comes from.
    """

    def __init__(self, clients: Callable[[], tuple[S3Client, LambdaClient]], clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._checked: dict[str, datetime] = {}
        """When the user's function was last seen to be what the run was planned with."""
        self._steps: dict[str, tuple[_Step, str]] = {
            "PLAN": (self._plan, "SelectionFailed"),
            "REPLAY": (self._replay, ""),
            "GIVE_UP": (self._give_up, ""),
            "SUMMARISE": (self._summarise, "ReplayFailed"),
            "PUBLISH": (self._publish, ""),
            "CLOSE": (self._close, "PublishingFailed"),
        }

    def __call__(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Does one step.

        Args:
            event: `Step` and `Run`, and what that step needs.
            context: Lambda's.

        Returns:
            What the next step needs.

        Raises:
            ReplayStopped: The run must end.
            Throttled: The step should be repeated later.
        """
        run = Run.parse(event["Run"])
        step, failure = self._steps[event["Step"]]

        def remaining() -> float:
            return context.get_remaining_time_in_millis() / 1000

        patience = Patience(self._clock, run.started, remaining)
        call = Call(context.aws_request_id, self._clock.now, remaining, patience)
        try:
            return patience.until_allowed(lambda: step(event, run, call))
        except ReplayStopped as stopped:
            if not failure:
                raise  # a child of a map fails, and with it the map
            return _failure(
                type(stopped).__name__ if isinstance(stopped, ReplayTooLarge) else failure, str(stopped)
            )

    def _plan(self, event: Mapping[str, Any], run: Run, _: Call) -> dict[str, Any]:
        try:
            selection = Selection.parse(event["Messages"])
        except ValueError as error:
            raise ReplayStopped(str(error)) from error
        planned = plan(
            run,
            selection,
            self._storage(),
            now=self._clock.now(),
            # Only what is published must all be of one function.
            function_digest=self._functions(run).digest() if run.settings.publishes else "",
        )
        # From here on the steps are given this run: its settings stand once in the definition.
        return {
            "Run": {
                **event["Run"],
                "Plan": planned.properties(),
                "Planned": self._clock.now().isoformat(),
            },
            "ManifestKey": run.manifest_key,
        }

    def _replay(self, event: Mapping[str, Any], run: Run, call: Call) -> dict[str, Any]:
        return self._worker(run, call).replay(WorkItem.parse(event["Batch"])).properties()

    def _give_up(self, event: Mapping[str, Any], run: Run, call: Call) -> dict[str, Any]:
        self._worker(run, call).give_up(WorkItem.parse(event["Batch"]), reason=_described(event["Error"]))
        return {}

    def _summarise(self, event: Mapping[str, Any], run: Run, _: Call) -> dict[str, Any]:
        error = _described(event["State"].get("Error"))
        now = self._clock.now()
        summary, cause = summarise(
            run, self._storage(), lambda: self._check_function(run), now=now, error=error
        )
        if cause:
            return _failure("ReplayFailed", cause)
        return {
            "Run": {**event["Run"], "Summarised": now.isoformat()},
            "ManifestKey": run.manifest_key,
            "Summary": summary,
        }

    def _publish(self, event: Mapping[str, Any], run: Run, call: Call) -> dict[str, Any]:
        publish(
            run,
            WorkItem.parse(event["Batch"]),
            self._storage(),
            lambda: self._check_function_again(run),
            now=self._clock.now,
            call=call.id,
        )
        return {}

    def _close(self, event: Mapping[str, Any], run: Run, _: Call) -> dict[str, Any]:
        state = event["State"]
        error = _described(state.get("Error"))
        summary, cause = close(run, state["Summary"], self._storage(), now=self._clock.now(), error=error)
        return _failure("PublishingFailed", cause) if cause else {"Summary": summary}

    def _check_function(self, run: Run) -> None:
        check_unchanged(run, self._functions(run).digest)

    def _check_function_again(self, run: Run) -> None:
        # Lambda answers 15 such requests a second for a whole account, deploys among them.
        now = self._clock.now()
        if self._checked.get(run.name, datetime.min.replace(tzinfo=UTC)) < now - _CHECKED_FOR:
            self._check_function(run)
            self._checked = {run.name: now}

    def _storage(self) -> Storage:
        return Storage(self._clients()[0])

    def _functions(self, run: Run) -> Functions:
        return Functions(self._clients()[1], run.settings.function.arn)

    def _worker(self, run: Run, call: Call) -> Worker:
        worker = ArchiveWorker if run.settings.publishes else EventWorker
        return worker(run, self._storage(), self._functions(run).invoke, call)


def _failure(error: str, cause: str) -> dict[str, Any]:
    """The state machine ends in a Fail state with this: an exception's cause would be JSON with a stack trace."""
    return {"Failure": {"Error": error, "Cause": cause}}


def _described(error: Mapping[str, str] | None) -> str:
    """What the state machine caught, in one line; an empty text when it caught nothing."""
    if not error:
        return ""
    cause: Any = error.get("Cause")
    # Of an exception in a function it is JSON with a stack trace.
    with suppress(ValueError, TypeError, KeyError):
        cause = json.loads(cause)["errorMessage"]
    return told(f"{error.get('Error')}: {cause}")


# The clients are made at the first call, and kept while the function is warm.
handler = Handler(cache(connect), Clock())
