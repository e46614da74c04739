"""The only module that talks to the network or looks at the clock; tests replace nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004  # botocore's name
from botocore.parsers import ResponseParserError

from .aws_errors import (
    Conflict,
    Denied,
    Fault,
    Missing,
    PerhapsOurs,
    Refused,
    Throttled,
    Unclear,
    Unreachable,
)

IAM_PROPAGATION = timedelta(minutes=1)
"""How long a new role may be refused what its policy allows."""

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 10
"""Seconds. Every call here answers within moments or not at all."""

REPEATS = 4
"""How often a call is sent again that was throttled or got no clear answer: after 1, 2, 4 and 8 s."""

_MEANING: dict[str, type[Fault]] = {
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"), Denied),
    # Credentials that are too new for the service to know them.
    **dict.fromkeys(("InvalidClientTokenId", "UnrecognizedClientException"), Denied),
    # What the SDK takes for throttling, and the quotas of these services.
    **dict.fromkeys(
        (
            "EC2ThrottledException",
            "ExecutionLimitExceeded",
            "KmsThrottlingException",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ),
        Throttled,
    ),
    "ResourceNotFoundException": Missing,
    "ExecutionDoesNotExist": Missing,
    "StateMachineDoesNotExist": Missing,
    "ResourceAlreadyExistsException": Conflict,
    "ExecutionAlreadyExists": Conflict,
}


class Clock:
    """The time of day, and waiting."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Aws:
    """AWS as this function sees it.

    Args:
        clock: Where the time comes from.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._patient_until = datetime.min.replace(tzinfo=UTC)

    def expect_new_permissions(self) -> None:
        """From now, for a minute, takes a refusal of IAM for a role whose policy has not arrived yet."""
        self._patient_until = self.clock.now() + IAM_PROPAGATION

    def call(
        self,
        service: str,
        operation: str,
        *,
        once: bool = False,
        endpoint_url: str | None = None,
        **parameters: Any,
    ) -> Mapping[str, Any]:
        """What the service answers.

        Args:
            service: The service, as boto3 spells it.
            operation: The operation, as boto3 spells it.
            once: Send it a single time, because a repeated call would do its work twice.
            endpoint_url: Where the service is; by default where the SDK finds it.
            parameters: The operation's own.

        Raises:
            Fault: The call failed, also when repeated; the subclass says what that means.
        """
        pause, repeats, in_doubt = 1.0, 0, False
        while True:
            try:
                return self.send(service, operation, endpoint_url, parameters)
            except Denied:
                if self.clock.now() + timedelta(seconds=pause) > self._patient_until:
                    raise
            except Conflict as fault:
                if in_doubt:
                    raise PerhapsOurs(str(fault)) from fault
                raise
            except (Throttled, Unclear) as fault:
                in_doubt = in_doubt or isinstance(fault, Unclear)
                repeats += 1
                if once or repeats > REPEATS:
                    raise
            self.clock.sleep(pause)
            pause = min(2 * pause, 8.0)

    def put(self, url: str, body: bytes) -> int:
        """The HTTP status of a PUT to a pre-signed URL, which is a secret: no error of this method quotes it."""
        try:
            response = _http().request(
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
        try:
            answer: Mapping[str, Any] = getattr(self._client(service, endpoint_url), operation)(**parameters)
        except ClientError as error:
            raise _meaning_of(error, f"{service}:{operation}") from error
        except ConnectionError as error:
            raise Unreachable(f"{service}:{operation} got no answer: {error}") from error
        except HTTPClientError as error:
            raise Unclear(f"{service}:{operation} got no answer: {error}") from error
        except ResponseParserError as error:
            raise Unclear(f"{service}:{operation} got an answer that nobody can read: {error}") from error
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no host
            raise Refused(f"{service}:{operation} cannot be called: {error}") from error
        return answer

    def _client(self, service: str, endpoint_url: str | None) -> Any:
        key = service, endpoint_url
        if key not in self._clients:
            self._clients[key] = _session().client(
                service,
                endpoint_url=endpoint_url,
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=READ_TIMEOUT,
                    # The SDK would send StartPipelineReprocessing again after a dropped connection, and each
                    # one may start a run; what is safe to repeat is said by the caller, with `once`.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                ),
            )
        return self._clients[key]


_SHARED: dict[str, Any] = {}


def _session() -> boto3.Session:
    """One session for the life of the sandbox, which knows the service that botocore has dropped."""
    if "session" not in _SHARED:
        session = boto3.Session()
        loader = session._session.get_component("data_loader")
        loader.search_paths.insert(0, str(Path(__file__).parent / "service_models"))
        _SHARED["session"] = session
    session_: boto3.Session = _SHARED["session"]
    return session_


def _http() -> urllib3.PoolManager:
    if "http" not in _SHARED:
        _SHARED["http"] = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        )
    pool: urllib3.PoolManager = _SHARED["http"]
    return pool


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or "nowhere"
    except ValueError:
        return "nowhere"


def _meaning_of(error: ClientError, call: str) -> Fault:
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message") or "no message"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{call}: {code}: {message}"
    if code in _MEANING:
        return _MEANING[code](text)
    if status == 429:
        return Throttled(text)
    return Unclear(text) if status >= 500 else Refused(text)
