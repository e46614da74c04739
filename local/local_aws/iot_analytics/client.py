"""Clients of the server: boto3's own for the service, and one for what only this server has.

boto3 has dropped the service, so its client is made from the official model that `make setup` fetches.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import httpx
from botocore.config import Config

from local_aws.iot_analytics.messages import MAX_BATCH, Message
from local_aws.iot_analytics.model import DEFAULT_MODEL
from local_aws.iot_analytics.server import INGESTION_TIME

_ingestion_time: ContextVar[datetime | None] = ContextVar("ingestion_time", default=None)


class MessagesRefused(Exception):
    """The server did not take some messages; the text says which, and why."""


def iot_analytics_client(
    endpoint_url: str,
    *,
    region: str = "us-east-1",
    access_key: str = "test",
    secret_key: str = "test",  # noqa: S107  # the local server asks for no secret; it only must not go unsigned
    config: Config | None = None,
    model: Path = DEFAULT_MODEL,
) -> Any:
    """A boto3 client of the service with the official model, to be used like any other one.

    Args:
        endpoint_url: Where the server is.
        region: The region, which enters the signature only.
        access_key: An access key.
        secret_key: Its secret.
        config: More settings, such as retries.
        model: The folder that pip put botocore 1.42.50 into.
    """
    core = botocore.session.Session()
    core.get_component("data_loader").search_paths.append(str(model / "botocore" / "data"))
    session = boto3.Session(botocore_session=core)
    client = session.client(
        "iotanalytics",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=config,
    )
    _let_arrive_at_other_times(client)
    return client


@contextmanager
def ingested_at(moment: datetime) -> Iterator[None]:
    """Lets the messages that clients of this module send meanwhile arrive at this time instead of now.

    Args:
        moment: The time, with its zone. It holds for this thread only.
    """
    token = _ingestion_time.set(moment)
    try:
        yield
    finally:
        _ingestion_time.reset(token)


def put_messages(
    client: Any, channel: str, messages: Iterable[Message], *, at: datetime | None = None
) -> int:
    """Sends messages, as many in each request as the service takes, and gives their number.

    Args:
        client: A boto3 client of the service, made here or elsewhere.
        channel: The channel's name.
        messages: The messages.
        at: When they arrive; by default now. Each request makes one archive object.

    Raises:
        MessagesRefused: The service does not take one of them.
    """
    _let_arrive_at_other_times(client)
    rest = iter(messages)
    sent = 0
    while batch := list(islice(rest, MAX_BATCH)):
        entries = [
            {"messageId": str(sent + number), "payload": json.dumps(message).encode()}
            for number, message in enumerate(batch)
        ]
        with ingested_at(at) if at else _unchanged():
            answer = client.batch_put_message(channelName=channel, messages=entries)
        if refused := answer["batchPutMessageErrorEntries"]:
            first = refused[0]
            raise MessagesRefused(
                f"{len(refused)} of {len(batch)} messages were refused, message {first['messageId']} because "
                f"{first['errorMessage']}"
            )
        sent += len(batch)
    return sent


class LocalControl:
    """What only this server has: see `local_aws.iot_analytics.control` for the requests behind it.

    Args:
        url: Where the server is.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/_local/",
            # The environment may name a proxy, which knows nothing of this machine's loopback.
            trust_env=False,
            verify=False,  # noqa: S501  # plain HTTP has nothing to verify, and loading all certificates takes 25 ms
            timeout=60,
        )

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def runs(self) -> list[dict[str, Any]]:
        """Every run, the oldest first, with its counts of objects and messages."""
        runs: list[dict[str, Any]] = self._ask("GET", "runs")
        return runs

    def pace(self, **settings: Any) -> None:
        """Sets how runs go on: `secondsPerObject`, `hold`, `keepSummaries`."""
        self._ask("PATCH", "pace", settings)

    def hold_runs(self) -> None:
        """Lets runs stand still before their next object, those that are still to come too."""
        self.pace(hold=True)

    def release_runs(self) -> None:
        """Lets them go on."""
        self.pace(hold=False)

    def fail_request(self, operation: str, error: str | None = None, **settings: Any) -> None:
        """Orders a fault: `times`, `when` ("before" or "after"), `delaySeconds`, `message`.

        Args:
            operation: The operation.
            error: A modelled exception, `AccessDeniedException`, `ConnectionDropped`, or None for only a delay.
            settings: See above.
        """
        named = {"error": error} if error else {}
        self._ask("POST", "faults", {"operation": operation, **named, **settings})

    def fail_run(self, **settings: Any) -> None:
        """Makes a run fail: `pipeline`, `run`, `afterObjects`, `reason`, `times`, all optional."""
        self._ask("POST", "failures", settings)

    def reset(self) -> None:
        """Takes back what was ordered and has not happened, lets runs go on, forgets the calls."""
        for name in ("faults", "failures", "calls"):
            self._ask("DELETE", name)
        self.pace(hold=False, secondsPerObject=0)

    def calls(self, operation: str | None = None) -> list[dict[str, Any]]:
        """The requests to operations so far, of one operation or all: `operation` and `status`, 0 if unanswered."""
        calls: list[dict[str, Any]] = self._ask("GET", "calls")
        return [call for call in calls if operation in {None, call["operation"]}]

    def rows(self, datastore: str, run: str | None = None) -> list[Message]:
        """The rows of a data store: all of them, those of one run, or those of `live`."""
        query = {"datastore": datastore} | ({"run": run} if run else {})
        return [entry["row"] for entry in self._ask("GET", "rows", query=query)]

    def _ask(
        self,
        method: str,
        name: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        response = self._http.request(method, name, json=body, params=query)
        if response.is_error:
            raise ValueError(response.json()["message"])
        return response.json()


@contextmanager
def _unchanged() -> Iterator[None]:
    yield


def _let_arrive_at_other_times(client: Any) -> None:
    client.meta.events.register(
        "before-sign.iotanalytics.BatchPutMessage", _add_ingestion_time, unique_id="local-ingestion-time"
    )


def _add_ingestion_time(request: Any, **_: Any) -> None:
    moment = _ingestion_time.get()
    if moment is not None:
        request.headers[INGESTION_TIME] = moment.isoformat()
