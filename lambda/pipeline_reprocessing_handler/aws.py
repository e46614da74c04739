"""The only module that talks to the network or reads the clock. Tests replace nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004  # botocore's name
from botocore.parsers import ResponseParserError

from .aws_errors import (
    Conflict,
    Denied,
    Fault,
    PerhapsOurs,
    Refused,
    Throttled,
    Unclear,
    Unreachable,
    fault_of,
)
from .clients import client, http

log = logging.getLogger(__name__)

_T = TypeVar("_T")

IAM_PROPAGATION = timedelta(minutes=1)
"""How long IAM may refuse a new role what its policy allows."""
UNREACHABLE_FOR = timedelta(seconds=30)
"""How long a service without a connection is tried: it may no longer exist."""
LONGEST_PAUSE = 10.0
"""Seconds between two attempts at a call."""
_PAST = datetime.min.replace(tzinfo=UTC)


class Clock:
    """The time of day, and waiting."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Aws:
    """AWS as this function sees it. A call that fails is not repeated unless `patient` says until when.

    Args:
        clock: Where the time comes from.
        random: Spreads the repeats of many requests.
    """

    def __init__(self, clock: Clock | None = None, random: Random | None = None) -> None:
        self.clock = clock or Clock()
        self._random = random or Random()  # noqa: S311  # jitter is no secret
        self._repeats_until = self._denials_pass_until = _PAST

    def patient(self, until: datetime, *, denials_pass_until: datetime = _PAST) -> Aws:
        """The same AWS, whose calls are repeated.

        Args:
            until: Until when a call is repeated that was throttled or got no clear answer.
            denials_pass_until: Until when a refusal of IAM counts as a policy that has not arrived yet.
        """
        patient = copy(self)
        patient._repeats_until = until
        patient._denials_pass_until = denials_pass_until
        return patient

    def call(
        self, service: str, operation: str, *, endpoint_url: str | None = None, **parameters: Any
    ) -> Mapping[str, Any]:
        """Calls an operation that is safe to repeat.

        Args:
            service: The service, as boto3 spells it.
            operation: The operation, as boto3 spells it.
            endpoint_url: Where the service is; by default where the SDK finds it.
            parameters: The operation's own.

        Raises:
            Fault: The call failed; the subclass says what that means.
        """
        is_in_doubt = False

        def attempt() -> Mapping[str, Any]:
            nonlocal is_in_doubt
            try:
                return self.send(service, operation, endpoint_url, parameters)
            except Conflict as fault:
                if is_in_doubt:
                    raise PerhapsOurs(str(fault)) from fault
                raise
            except Unclear:
                is_in_doubt = True
                raise

        return self.repeat(attempt)

    def repeat(self, attempt: Callable[[], _T]) -> _T:
        """Repeats the attempt, in growing pauses, while its fault can pass and until the patience is over."""
        unreachable_since: datetime | None = None
        for pause in self.pauses():
            try:
                return attempt()
            except Fault as fault:
                if isinstance(fault, Unreachable):
                    unreachable_since = unreachable_since or self.clock.now()
                until = self._may_pass_until(fault, unreachable_since)
                if self.clock.now() + timedelta(seconds=pause) > until:
                    raise
                log.warning("repeating in %.1f s: %s", pause, fault)
            self.clock.sleep(pause)
        raise AssertionError("unreachable: the pauses have no end")

    def pauses(self, longest: float = LONGEST_PAUSE) -> Iterator[float]:
        """Seconds between attempts: they double from one, with jitter, so that many requests do not meet again."""
        for doublings in count():
            most = min(2.0 ** min(doublings, 10), longest)
            yield self._random.uniform(most / 2, most)

    def may_pass(self, fault: Fault) -> bool:
        """Whether a repeated call may still succeed within the patience."""
        now = self.clock.now()
        return now < self._may_pass_until(fault, now)

    def _may_pass_until(self, fault: Fault, unreachable_since: datetime | None) -> datetime:
        if isinstance(fault, Denied):
            return self._denials_pass_until
        if unreachable_since and isinstance(fault, Unreachable):
            return min(self._repeats_until, unreachable_since + UNREACHABLE_FOR)
        return self._repeats_until if isinstance(fault, Throttled | Unclear) else _PAST

    def put(self, url: str, body: bytes) -> int:
        """The HTTP status of a PUT to a pre-signed URL, which is a secret: no error of this method quotes it."""
        try:
            response = http().request(
                "PUT", url, body=body, headers={"content-type": ""}, retries=False, redirect=False
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            # `from None`: urllib3 writes the address into its errors
            raise Unclear(f"PUT to {_host_of(url)} failed: {type(error).__name__}") from None
        return response.status

    def send(
        self, service: str, operation: str, endpoint_url: str | None, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """One attempt at a call."""
        name = f"{service}:{operation}"
        try:
            answer: Mapping[str, Any] = getattr(self._client(service, endpoint_url), operation)(**parameters)
        except ClientError as error:
            raise fault_of(error, name) from error
        except ConnectionError as error:
            raise Unreachable(f"{name} got no answer: {error}") from error
        except HTTPClientError as error:
            raise Unclear(f"{name} got no answer: {error}") from error
        except ResponseParserError as error:
            raise Unclear(f"{name} got an unreadable answer: {error}") from error
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no host
            raise Refused(f"{name} cannot be called: {error}") from error
        return answer

    def _client(self, service: str, endpoint_url: str | None) -> Any:
        return client(service, endpoint_url)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or "nowhere"
    except ValueError:
        return "nowhere"
