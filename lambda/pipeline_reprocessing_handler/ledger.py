"""What the requests of one resource have done, kept as the names of empty log streams in the function's log group.

Exactly-once needs one thing that Lambda does not offer: an atomic "I was first" that outlives a crash. Creating a log
stream is atomic (the second attempt gets ResourceAlreadyExists), costs nothing, needs no further resource, holds no
secret, and is deleted with the stack. There are two kinds of stream, and a folder for each resource of each stack:

    reprocessing/<resource>/<newest first>/<request id>/<note>    what a request is, and what it has done
    reprocessing/<resource>/claims/<request id>/<claim>           a right that one invocation at a time holds

`<newest first>` falls as time goes on, so the first page of a listing has all that a request needs, however old the stack is.

Creating a stream is atomic, listing is not: a stream that is `LISTED_WITHIN` old or younger may be missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

from .aws import Aws
from .aws_errors import Conflict, Missing, PerhapsOurs
from .invocation import Invocation

log = logging.getLogger(__name__)

LISTED_WITHIN = timedelta(seconds=5)
"""DescribeLogStreams may list a new stream late (terraform-provider-aws issue 11611): assumed, AWS gives no number."""
SETTLED_DEPLOYS = 2
"""Answered deploys that a listing goes back to. Each deploy ends what the one before has left behind."""
_ROOT = "reprocessing"
_CLAIMS = "claims"
_LAST_MILLISECOND = 10**13


@dataclass(frozen=True)
class Record:
    """The notes of one request.

    `asks~<type>~<digest>`       its type, and a digest of what decides the data
    `before~<bookmark>`          IoT Analytics only: the newest runs before its start was sent
    `run~<id>`                   IoT Analytics only: the run that it started
    `answer~<type>~<status>`     CloudFormation has its answer; `WAITING` where a signal has to follow
    `signal~<type>~<status>`     so has the WaitCondition
    """

    request_id: str
    made_at: datetime
    """When the request was made. CloudFormation may send it again later: this is the first time."""
    notes: Mapping[str, datetime] = field(default_factory=dict)
    """Each note, and when it was made; the oldest first."""

    @property
    def came_at(self) -> tuple[datetime, datetime]:
        """Orders requests also where several were made in one second, which is all that a ResponseURL tells."""
        return self.made_at, min(self.notes.values(), default=self.made_at)

    def said(self, subject: str) -> str | None:
        """What the oldest note on a subject says."""
        return next((note.partition("~")[2] for note in self.notes if note.startswith(f"{subject}~")), None)

    @property
    def is_deploy(self) -> bool:
        said = self.said("asks") or self.said("answer") or ""
        return said.startswith(("Create", "Update"))

    @property
    def asks_for(self) -> str:
        """The digest of what decides the data; empty where the request was unreadable."""
        return (self.said("asks") or "").partition("~")[2]

    @property
    def ends_earlier_requests(self) -> bool:
        # CloudFormation sends an Update when it has settled or given up the request before. A Delete asks for something
        # only if it removes a resource whose Create was given up.
        return (self.said("asks") or "").startswith(("Update", "Delete"))

    @property
    def is_answered(self) -> bool:
        return self.answered_at is not None

    @property
    def answered_at(self) -> datetime | None:
        return next((at for note, at in self.notes.items() if note.startswith("answer~")), None)

    @property
    def has_failed(self) -> bool:
        return (self.said("answer") or "").endswith("~FAILED")

    @property
    def has_succeeded(self) -> bool:
        """Whether all that CloudFormation waited for was told to be well."""
        said = self.said("signal") or self.said("answer") or ""
        return said.endswith("~SUCCESS")


@dataclass(frozen=True)
class History:
    """The request itself and those that came before, back to the last settled deploys."""

    own: Record
    others: tuple[Record, ...]
    """The newest first."""

    @property
    def is_superseded(self) -> bool:
        return any(each.ends_earlier_requests and each.made_at > self.own.made_at for each in self.others)

    @property
    def earlier_deploys(self) -> list[Record]:
        """The newest first."""
        return [each for each in self.others if each.is_deploy and each.made_at <= self.own.made_at]

    def looks_like_a_rollback(self, update: Invocation) -> bool:
        """Whether an Update returns from the newest deploy, which failed, to one that has succeeded before."""
        was, wanted = update.previous.digest if update.previous else "", update.properties.digest
        newest, older = self.earlier_deploys[:1], self.earlier_deploys[1:]
        is_one = any(not each.has_succeeded and each.asks_for == was for each in newest) and any(
            each.has_succeeded and each.asks_for == wanted for each in older
        )
        verdict = "rolling back" if is_one else "being updated"
        log.warning("the stack's status is not known; by its earlier requests it is %s", verdict)
        return is_one


class Ledger:
    """The notes and claims of one request, beside those of the resource's other requests.

    Args:
        aws: Where the log group is.
        log_group: Its name (in Lambda: `AWS_LAMBDA_LOG_GROUP_NAME`).
        invocation: Whose request it is.
    """

    def __init__(self, aws: Aws, log_group: str, invocation: Invocation) -> None:
        self._aws = aws
        self._log_group = log_group
        self._request_id, self._made_at = invocation.request_id, invocation.made_at
        self._not_made_before = invocation.not_made_before
        whole = f"{invocation.stack_id}|{invocation.logical_id}"
        resource = sha256(whole.encode()).hexdigest()[:12]
        self._folder = f"{_ROOT}/{_safe(invocation.logical_id[:64])}-{resource}"

    def patient(self, until: datetime) -> Ledger:
        """The same ledger, whose calls are repeated until then."""
        patient = copy(self)
        patient._aws = self._aws.patient(until)
        return patient

    def note(self, note: str) -> bool:
        """Notes something about the request, once; False if that was noted before."""
        newest_first = _LAST_MILLISECOND - round(self._made_at.timestamp() * 1000)
        return self._create(f"{self._folder}/{newest_first:013d}/{_safe(self._request_id)}/{_safe(note)}")

    def claim(self, claim: str, *, in_doubt: bool = False) -> bool:
        """Takes a right of the request; False if another invocation has taken it before.

        Args:
            claim: Which one.
            in_doubt: The answer where this very call may have taken it.
        """
        return self._create(
            f"{self._folder}/{_CLAIMS}/{_safe(self._request_id)}/{_safe(claim)}", in_doubt=in_doubt
        )

    def claims(self, request_id: str) -> Mapping[str, datetime]:
        """The claims of a request, and when they were taken."""
        prefix = f"{self._folder}/{_CLAIMS}/{_safe(request_id)}/"
        return {unquote(name.removeprefix(prefix)): made for name, made in self._list(prefix)}

    def own_run(self, run_id: str) -> None:
        """Says that a run is this request's. Pipelines may have runs of several resources."""
        self._create(f"{_ROOT}/runs/{_safe(run_id)}/{_safe(self._request_id)}")

    def owners(self, run_id: str) -> set[str]:
        """The requests that have said so."""
        prefix = f"{_ROOT}/runs/{_safe(run_id)}/"
        return {unquote(name.removeprefix(prefix)) for name, _ in self._list(prefix)}

    def read(self) -> History:
        """What the requests have noted, back to the last settled deploys before this one."""
        records = {self._request_id: Record(self._request_id, self._made_at)}
        settled: set[str] = set()
        for name, created in self._list(f"{self._folder}/"):
            falling, request_id, note = map(unquote, name.removeprefix(f"{self._folder}/").split("/"))
            if falling == _CLAIMS:  # they sort after the notes
                break
            if request_id not in records and len(settled) >= SETTLED_DEPLOYS:
                break
            made_at = datetime.fromtimestamp((_LAST_MILLISECOND - int(falling)) / 1000, UTC)
            known = records.get(request_id, Record(request_id, made_at))
            record = Record(request_id, min(made_at, known.made_at), {**known.notes, note: created})
            records[request_id] = record
            if record.is_deploy and record.is_answered and record.made_at < self._not_made_before:
                settled.add(request_id)
        own = records.pop(self._request_id)
        return History(own, tuple(sorted(records.values(), key=lambda each: each.came_at, reverse=True)))

    def _create(self, name: str, *, in_doubt: bool = False) -> bool:
        try:
            self._aws.call("logs", "create_log_stream", logGroupName=self._log_group, logStreamName=name)
        except PerhapsOurs:
            return in_doubt
        except Conflict:
            return False
        except Missing as fault:
            raise self._no_log_group() from fault
        return True

    def _list(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        page: dict[str, Any] = {}
        while True:
            try:
                answer = self._aws.call(
                    "logs",
                    "describe_log_streams",
                    logGroupName=self._log_group,
                    logStreamNamePrefix=prefix,
                    **page,
                )
            except Missing as fault:
                raise self._no_log_group() from fault
            for stream in answer.get("logStreams", []):
                yield stream["logStreamName"], datetime.fromtimestamp(stream["creationTime"] / 1000, UTC)
            if not answer.get("nextToken"):
                return
            page = {"nextToken": answer["nextToken"]}

    def _no_log_group(self) -> Missing:
        return Missing(
            f"the handler's log group '{self._log_group}' does not exist; create it under that name and deploy again"
        )


def _safe(text: str) -> str:
    # A stream's name must not have ':' or '*', and '/' separates its parts.
    return quote(text, safe="=~")
