"""Entry point: one function, called by the state machine's steps with the name of the step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from archive_replay.faults import Denied, ReplayStopped
from archive_replay.functions import Functions
from archive_replay.planning import Plan, plan
from archive_replay.publishing import check_unchanged, publish
from archive_replay.replaying import Worker
from archive_replay.settings import Run, Selection, WorkItem
from archive_replay.storage import Storage, connect
from archive_replay.summarising import close, summarise

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


class Clock:
    """The time of day, and waiting."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


_PAUSES = (1, 2, 4, 8, 8)
"""Seconds between tries while access is denied: most policies are known within some seconds, some within twenty."""

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
        self._steps: dict[str, Callable[[Mapping[str, Any], Run, Context], dict[str, Any]]] = {
            "PLAN": self._plan,
            "REPLAY": self._replay,
            "GIVE_UP": self._give_up,
            "SUMMARISE": self._summarise,
            "PUBLISH": self._publish,
            "CLOSE": self._close,
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
        return self._steps[event["Step"]](event, Run.parse(event["Run"]), context)

    def _plan(self, event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
        now = self._clock.now()
        try:
            selection = Selection.parse(event["Messages"])
            planned = self._once_allowed(
                lambda: plan(
                    run,
                    selection,
                    self._storage(),
                    now=now,
                    function_digest=self._functions(run).digest(),
                )
            )
        except (ValueError, ReplayStopped) as error:
            return _failure("SelectionFailed", str(error))
        # From here on the steps are given this run: its settings stand once in the definition.
        return {"Run": {**event["Run"], "Plan": planned.properties()}, "ManifestKey": run.manifest_key}

    def _replay(self, event: Mapping[str, Any], run: Run, context: Context) -> dict[str, Any]:
        left = self._worker(run, context).replay(
            WorkItem.parse(event["Batch"]), remaining=lambda: context.get_remaining_time_in_millis() / 1000
        )
        return left.properties()

    def _give_up(self, event: Mapping[str, Any], run: Run, context: Context) -> dict[str, Any]:
        self._worker(run, context).give_up(WorkItem.parse(event["Batch"]), reason=_described(event["Error"]))
        return {}

    def _summarise(self, event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
        error = _described(event["State"].get("Error"))
        try:
            summary, cause = summarise(
                run, self._storage(), lambda: self._check_function(run), now=self._clock.now(), error=error
            )
        except ReplayStopped as stopped:
            return _failure("ReplayFailed", str(stopped))
        if cause:
            return _failure("ReplayFailed", cause)
        return {"Run": event["Run"], "ManifestKey": run.manifest_key, "Summary": summary}

    def _publish(self, event: Mapping[str, Any], run: Run, context: Context) -> dict[str, Any]:
        publish(
            run,
            WorkItem.parse(event["Batch"]),
            self._storage(),
            lambda: self._check_function_again(run),
            now=self._clock.now,
            call=context.aws_request_id,
        )
        return {}

    def _close(self, event: Mapping[str, Any], run: Run, _: Context) -> dict[str, Any]:
        state = event["State"]
        error = _described(state.get("Error"))
        try:
            summary, cause = close(run, state["Summary"], self._storage(), now=self._clock.now(), error=error)
        except ReplayStopped as stopped:
            return _failure("PublishingFailed", str(stopped))
        return _failure("PublishingFailed", cause) if cause else {"Summary": summary}

    def _once_allowed(self, action: Callable[[], Plan]) -> Plan:
        """Waits until IAM has heard of a policy that the same deploy made, before it believes that access is denied."""
        for pause in _PAUSES:
            try:
                return action()
            except Denied:
                self._clock.sleep(pause)
        return action()

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

    def _worker(self, run: Run, context: Context) -> Worker:
        return Worker(
            run,
            self._storage(),
            self._functions(run).invoke,
            now=self._clock.now,
            call=context.aws_request_id,
        )


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
    return f"{error.get('Error')}: {cause}"


# The clients are made at the first call, and kept while the function is warm.
handler = Handler(cache(connect), Clock())
