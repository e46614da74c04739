"""The server in this process, driven by boto3 with the official model."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from botocore.config import Config

from local_aws.iot_analytics.client import LocalControl, iot_analytics_client, put_messages
from local_aws.iot_analytics.functions import FunctionFailed
from local_aws.iot_analytics.messages import Message
from local_aws.iot_analytics.model import ServiceModel
from local_aws.iot_analytics.server import Application, serve
from local_aws.iot_analytics.storage import MemoryStore

ROLE = "arn:aws:iam::123456789012:role/analytics"


@dataclass
class Functions:
    """Lambda functions that are Python functions."""

    bodies: dict[str, Callable[[list[Message]], list[Message]]] = field(default_factory=dict)
    batches: list[list[Message]] = field(default_factory=list)

    def __call__(self, name: str, messages: Sequence[Message]) -> list[Message]:
        self.batches.append(list(messages))
        try:
            return self.bodies[name](list(messages))
        except ZeroDivisionError as error:
            raise FunctionFailed(f"function '{name}' failed: {error}") from error


@dataclass
class Analytics:
    """The server and all that one needs to look into it."""

    url: str
    client: Any
    control: LocalControl
    application: Application
    store: MemoryStore
    functions: Functions
    raw: httpx.Client

    def channel(self, name: str = "temperatures", *, prefix: str | None = "in/") -> None:
        """Makes a channel with customer-managed storage, or with the service's own for prefix None."""
        s3 = {"bucket": "raw", "roleArn": ROLE} | ({"keyPrefix": prefix} if prefix else {})
        storage = {"serviceManagedS3": {}} if prefix is None else {"customerManagedS3": s3}
        self.client.create_channel(channelName=name, channelStorage=storage)

    def datastore(self, name: str = "celsius", *, managed: bool = True) -> None:
        """Makes a data store with customer-managed storage, or with the service's own."""
        s3 = {"customerManagedS3": {"bucket": "out", "keyPrefix": "clean/", "roleArn": ROLE}}
        self.client.create_datastore(
            datastoreName=name, datastoreStorage=s3 if managed else {"serviceManagedS3": {}}
        )

    def activities(self, *between: dict[str, Any]) -> list[dict[str, Any]]:
        """Channel, these, data store, chained."""
        chain = [
            {"channel": {"name": "in", "channelName": "temperatures"}},
            *between,
            {"datastore": {"name": "out", "datastoreName": "celsius"}},
        ]
        linked: list[dict[str, Any]] = []
        for number, entry in enumerate(chain):
            [(kind, settings)] = entry.items()
            settings = {"name": f"{kind}{number}", **settings}
            if linked:
                [(_, before)] = linked[-1].items()
                before["next"] = settings["name"]
            linked.append({kind: settings})
        return linked

    def pipeline(self, *between: dict[str, Any], name: str = "convert") -> None:
        """Makes channel and data store, where they are missing, and a pipeline with these activities."""
        if not self.client.list_channels()["channelSummaries"]:
            self.channel()
        if not self.client.list_datastores()["datastoreSummaries"]:
            self.datastore()
        self.client.create_pipeline(pipelineName=name, pipelineActivities=self.activities(*between))

    def change(self, *between: dict[str, Any], name: str = "convert") -> None:
        """Gives the pipeline other activities."""
        self.client.update_pipeline(pipelineName=name, pipelineActivities=self.activities(*between))

    def feed(self, *messages: Message, at: str = "2025-03-01T10:00:05+00:00") -> None:
        """Sends messages in one request."""
        put_messages(self.client, "temperatures", messages, at=datetime.fromisoformat(at))

    def start(self, **selection: Any) -> str:
        """Starts a run."""
        run: str = self.client.start_pipeline_reprocessing(pipelineName="convert", **selection)[
            "reprocessingId"
        ]
        return run

    def reprocess(self, **selection: Any) -> list[Message]:
        """Starts a run, waits for its end and gives its rows."""
        run = self.start(**selection)
        assert self.ended(run) == "SUCCEEDED"
        return self.control.rows("celsius", run)

    def status(self, run: str) -> str:
        """The status of a run."""
        summaries = self.client.describe_pipeline(pipelineName="convert")["pipeline"]["reprocessingSummaries"]
        [status] = [each["status"] for each in summaries if each["id"] == run]
        return str(status)

    def ended(self, run: str) -> str:
        """The status of a run after its end."""
        for _ in range(3000):
            if (status := self.status(run)) != "RUNNING":
                return status
            time.sleep(0.01)
        raise AssertionError("the run did not end within 30 seconds")

    def keys(self, bucket: str) -> list[str]:
        """The keys of a bucket."""
        return [entry.key for entry in self.store.entries(bucket, "")]

    def refused(self, call: Callable[[], Any], code: str = "InvalidRequestException") -> str:
        """The message of the error that the call ends with."""
        with pytest.raises(getattr(self.client.exceptions, code)) as caught:
            call()
        return str(caught.value.response["Error"]["Message"])


class _Swappable:
    """One address and one boto3 client for all tests, an application of its own for each."""

    application: Any

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self.application(environ, start_response)
        return answer


@pytest.fixture(scope="session")
def official_model() -> ServiceModel:
    """The official service model."""
    return ServiceModel.load()


@pytest.fixture(scope="session")
def _served() -> Iterator[tuple[_Swappable, str, Any]]:
    swappable = _Swappable()
    server = serve(swappable, "127.0.0.1", 0)  # type: ignore[arg-type]  # as good as an Application
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"}, parameter_validation=True)
    yield swappable, url, iot_analytics_client(url, config=config)
    server.shutdown()
    server.server_close()


@pytest.fixture
def analytics(_served: tuple[_Swappable, str, Any], official_model: ServiceModel) -> Iterator[Analytics]:
    """A fresh service with the empty buckets `raw` and `out`."""
    swappable, url, client = _served
    store, functions = MemoryStore("raw", "out"), Functions()
    swappable.application = Application(model=official_model, customer_store=store, functions=functions)
    control = LocalControl(url)
    raw = httpx.Client(base_url=url, trust_env=False, verify=False)
    yield Analytics(url, client, control, swappable.application, store, functions, raw)
    control.close()
    raw.close()
    swappable.application.close()


@pytest.fixture
def now() -> datetime:
    """The present, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
