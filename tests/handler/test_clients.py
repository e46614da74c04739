"""Clients are those that boto3 would make, without the work that would make a cold start slow."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from contextlib import suppress

import boto3
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.session import Session

from pipeline_reprocessing_handler import clients

OF_A_CREATE = ("cloudformation", "lambda", "logs", "stepfunctions")
START = """
import gc, importlib, json, sys

before = sum(generation["collections"] for generation in gc.get_stats())
importlib.import_module(sys.argv[1])
from pipeline_reprocessing_handler.clients import client

for service in sys.argv[2:]:
    client(service)
print(json.dumps(sum(generation["collections"] for generation in gc.get_stats()) - before))
"""


@pytest.mark.parametrize("service", OF_A_CREATE)
@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1"])
def test_a_client_is_the_one_that_boto3_makes(
    service: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)

    ours, theirs = clients.client(service).meta, boto3.Session().client(service).meta

    assert (ours.endpoint_url, ours.region_name, ours.partition) == (
        theirs.endpoint_url,
        theirs.region_name,
        theirs.partition,
    )
    assert ours.method_to_api_mapping == theirs.method_to_api_mapping
    assert ours.service_model.api_version == theirs.service_model.api_version


@pytest.mark.parametrize("service", [*OF_A_CREATE, "iotanalytics"])
def test_a_client_sends_each_request_once_and_does_not_wait_long(service: str) -> None:
    config = clients.client(service).meta.config

    assert config.retries == {"total_max_attempts": 1, "mode": "standard"}
    assert (config.connect_timeout, config.read_timeout) == (5, 10)


@pytest.mark.parametrize("type_", ["service-2", "endpoint-rule-set-1", "paginators-1"])
@pytest.mark.parametrize("service", OF_A_CREATE)
def test_a_model_reads_as_it_does_in_botocore(service: str, type_: str) -> None:
    ours, theirs = (
        clients.session()._session.get_component("data_loader"),
        Session().get_component("data_loader"),
    )

    assert ours.load_service_model(service, type_) == theirs.load_service_model(service, type_)


def test_what_a_service_does_not_have_is_unknown_as_in_botocore() -> None:
    loader = clients.session()._session.get_component("data_loader")

    with pytest.raises(UnknownServiceError, match="'iotanalytics'"):
        loader.load_service_model("iotanalytics", "endpoint-rule-set-1")
    with pytest.raises(UnknownServiceError, match="'weather'"):
        loader.load_service_model("weather", "service-2")


def test_a_bundle_of_certificates_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "authorities.pem")

    assert clients.client("logs")._endpoint.http_session._verify == "authorities.pem"


def test_a_cold_start_is_not_spent_on_looking_for_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, "pipeline_reprocessing_handler.index", *OF_A_CREATE],
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout) < 20, "there are some 140 with Python's own settings"


@pytest.mark.parametrize("service", ["logs", "weather"], ids=["made", "not made"])
def test_garbage_is_collected_again_when_a_client_is_made(service: str) -> None:
    with suppress(UnknownServiceError):
        clients.client(service)

    assert gc.isenabled()
