"""Makes the clients of AWS services and of HTTP: each when it is first needed, for the life of the sandbox.

That takes less than half of botocore's usual time, for the reasons that `client`, `_Models` and `_Files` give.
"""

from __future__ import annotations

import gc
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import JSONFileLoader, Loader
from botocore.session import Session

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 10
"""Seconds. Every call here answers within moments or not at all."""


@cache
def client(service: str, endpoint_url: str | None = None) -> Any:
    """The client of a service.

    Args:
        service: The service, as boto3 spells it.
        endpoint_url: Where the service is; by default where the SDK finds it.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        # The SDK would send StartPipelineReprocessing again after a dropped connection, and each one may
        # start a run. Only the caller knows what is safe to repeat.
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    gc.disable()  # as in `index`: a service's model is made of thousands of objects, and all of them stay
    try:
        return session().client(service, endpoint_url=endpoint_url, config=config)
    finally:
        gc.freeze()
        gc.enable()


@cache
def http() -> urllib3.PoolManager:
    """Connections for what is not a call to a service."""
    return urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT))


@cache
def session() -> boto3.Session:
    """The session that all clients share, with what they have read from botocore's files."""
    core = Session()
    # Ours comes first: it describes IoT Analytics, which botocore has dropped.
    own = str(Path(__file__).parent / "service_models")
    core.register_component("data_loader", _Models(extra_search_paths=[own], file_loader=_Files()))
    return boto3.Session(botocore_session=core)


class _Models(Loader):
    """Finds a service's model by its folder; botocore first looks for models in the folders of all 400 services."""

    def list_available_services(self, type_name: str) -> list[str]:
        paths = [path for path in map(Path, self.search_paths) if path.is_dir()]
        return sorted({folder.name for path in paths for folder in path.iterdir()})

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        try:
            return super().load_service_model(service_name, type_name, api_version)
        except DataNotFoundError as error:  # there is a folder, but no model of this type in it
            known = ", ".join(self.list_available_services(type_name))
            raise UnknownServiceError(service_name=service_name, known_service_names=known) from error


class _Files(JSONFileLoader):
    """Reads JSON into plain dicts, which keep their order; botocore asks for `OrderedDict`, at twice the time."""

    def load_file(self, file_path: str) -> Any:
        for suffix, opened in ((".json", open), (".json.gz", gzip.open)):
            if Path(file_path + suffix).is_file():
                with opened(file_path + suffix, "rb") as file:
                    return json.load(file)
        return None
