"""What this function has promised and done, remembered as the names of empty log streams in its own log group.

Exactly-once needs one thing that Lambda does not give: an atomic "I was first" that outlives a crash. Creating
a log stream is one (the second to try is told ResourceAlreadyExists), the function may do it anyway, it costs
nothing, holds no secret, and goes with the stack. A stream is named

    reprocessing/<logical id>/<request id>/<mark>

Making a mark is atomic, reading is not: a mark that is `LISTED_WITHIN` old or younger may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from .aws import Aws
from .aws_errors import Conflict, PerhapsOurs
from .marks import Marks

_ROOT = "reprocessing/"

LISTED_WITHIN = timedelta(seconds=5)
"""DescribeLogStreams may list a new stream late (terraform-provider-aws issue 11611): assumed, AWS gives no number."""

SUPERSEDING = "superseding"
"""Stands for a request id: under it are the requests that end what earlier ones have begun, `<when made>=<id>`."""


class Ledger:
    """The marks of one resource's requests.

    Args:
        aws: Where the log group is.
        log_group: Its name (in Lambda: `AWS_LAMBDA_LOG_GROUP_NAME`).
        logical_id: The resource.
    """

    def __init__(self, aws: Aws, log_group: str, logical_id: str) -> None:
        self._aws = aws
        self._log_group = log_group
        self._folder = f"{_ROOT}{_safe(logical_id)}/"

    def mark(self, request_id: str, mark: str, *, in_doubt: bool = False) -> bool:
        """Makes the mark; False if it stood already, and then it is somebody else's or of an earlier invocation.

        Args:
            request_id: Whose mark.
            mark: Which one.
            in_doubt: What to say of a mark that stands and may have been made by this very call.
        """
        name = f"{self._folder}{_safe(request_id)}/{_safe(mark)}"
        try:
            self._aws.call("logs", "create_log_stream", logGroupName=self._log_group, logStreamName=name)
        except PerhapsOurs:
            return in_doubt
        except Conflict:
            return False
        return True

    def marks(self, request_id: str) -> Marks:
        """The marks of one request."""
        return _by_request(self._read(f"{self._folder}{_safe(request_id)}/")).get(request_id, Marks())

    def requests(self) -> Mapping[str, Marks]:
        """The marks of every request that this resource ever had, by request id."""
        requests = _by_request(self._read(self._folder))
        return {request_id: marks for request_id, marks in requests.items() if request_id != SUPERSEDING}

    def recorded_runs(self, *, besides: str) -> frozenset[str]:
        """The runs of all other requests to all resources of the stack."""
        return frozenset(
            mark.removeprefix("run=")
            for _, request_id, mark in self._read(_ROOT)
            if mark.startswith("run=") and request_id != besides
        )

    def _read(self, prefix: str) -> list[tuple[datetime, str, str]]:
        found: list[tuple[datetime, str, str]] = []
        page: dict[str, Any] = {}
        while True:
            answer = self._aws.call(
                "logs",
                "describe_log_streams",
                logGroupName=self._log_group,
                logStreamNamePrefix=prefix,
                **page,
            )
            for stream in answer.get("logStreams", []):
                folders = stream["logStreamName"].split("/")
                if len(folders) != len(("root", "logical id", "request id", "mark")):
                    continue  # somebody else's
                *_, request_id, mark = folders
                made = datetime.fromtimestamp(stream["creationTime"] / 1000, UTC)
                found.append((made, unquote(request_id), unquote(mark)))
            if not answer.get("nextToken"):
                return sorted(found)
            page = {"nextToken": answer["nextToken"]}


def _by_request(found: list[tuple[datetime, str, str]]) -> dict[str, Marks]:
    requests: dict[str, Marks] = {}
    for made, request_id, mark in found:
        requests.setdefault(request_id, Marks())[mark] = made
    return requests


def _safe(text: str) -> str:
    # A stream's name must not have ':' or '*'; '/' is ours.
    return quote(text, safe="=~")
