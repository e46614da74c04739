"""The only module that makes boto3 clients. They are most of a cold start, so each loads only what the handler calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 10
"""Seconds. Every call here is answered within moments or not at all."""
CALLED = ("cloudformation", "lambda", "logs", "stepfunctions")
SERVICE_MODELS = Path(__file__).parent / "service_models"
"""IoT Analytics as the last botocore with it modelled it."""
_SHARED: dict[str, Any] = {}


class _Models(Loader):
    """Knows the services that the handler calls; the SDK would look for all of AWS's."""

    def list_available_services(self, type_name: str) -> list[str]:
        return [*CALLED, *(["iotanalytics"] if type_name == "service-2" else [])]


def new_client(service: str, endpoint_url: str | None) -> Any:
    """A client of one of the services that are known here.

    Args:
        service: The service, as boto3 spells it.
        endpoint_url: Where it is; by default where the SDK finds it.
    """
    return session().client(
        service,
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            # The SDK would send StartPipelineReprocessing again after a dropped connection, and each one may start a
            # run; `Aws` repeats what is safe to repeat.
            retries={"total_max_attempts": 1, "mode": "standard"},
        ),
    )


def session() -> boto3.Session:
    """One session for the life of the sandbox."""
    if "session" not in _SHARED:
        core = Session()
        models = _Models()
        models.search_paths.insert(0, str(SERVICE_MODELS))
        core.register_component("data_loader", models)
        _SHARED["session"] = boto3.Session(botocore_session=core)
    session_: boto3.Session = _SHARED["session"]
    return session_


def http() -> urllib3.PoolManager:
    """Connections for pre-signed URLs."""
    if "http" not in _SHARED:
        _SHARED["http"] = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        )
    pool: urllib3.PoolManager = _SHARED["http"]
    return pool
