"""Our model of IoT Analytics is the official one, restricted to what we call; any botocore can use it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from pipeline_reprocessing_handler import clients

if TYPE_CHECKING:
    from tests.handler.conftest import Server

    from pipeline_reprocessing_handler.aws import Aws

OURS = "service_models/iotanalytics/2017-11-27/service-2.json"
OFFICIAL = ".local/botocore-1.42.50"
LEFT_OUT = {("Pipeline", "activities")}
"""Members of official shapes that nothing here reads: the activities would bring forty shapes more."""

JSON = {"Content-Type": "application/json"}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "everything": ("start_pipeline_reprocessing", {"pipelineName": "weather"}),
    "a range": (
        "start_pipeline_reprocessing",
        {
            "pipelineName": "weather",
            "startTime": "2025-01-01T00:00:00+00:00",
            "endTime": "2025-01-31T02:00:00+02:00",
        },
    ),
    "paths": (
        "start_pipeline_reprocessing",
        {
            "pipelineName": "weather",
            "channelMessages": {"s3Paths": ["channel/c/__dt=2020-02-29 00:00:00/1_2.json.gz", "b"]},
        },
    ),
    "all at once": (
        "start_pipeline_reprocessing",
        {
            "pipelineName": "weather",
            "startTime": "2025-01-01T00:00:00+00:00",
            "endTime": "2025-01-31T00:00:00+00:00",
            "channelMessages": {"s3Paths": ["a"]},
        },
    ),
    "cancel": (
        "cancel_pipeline_reprocessing",
        {"pipelineName": "weather", "reprocessingId": "9d31/../a b:ä"},
    ),
    "describe": ("describe_pipeline", {"pipelineName": "weather"}),
}
OFFICIAL_CLIENT = """
import json, sys
from datetime import datetime
import botocore.session
from botocore.config import Config

assert botocore.__version__ == "1.42.50", botocore.__version__
client = botocore.session.Session().create_client(
    "iotanalytics", endpoint_url=sys.argv[1], config=Config(retries={"total_max_attempts": 1})
)
for operation, parameters in json.loads(sys.argv[2]):
    for name in {"startTime", "endTime"} & set(parameters):
        parameters[name] = datetime.fromisoformat(parameters[name])
    getattr(client, operation)(**parameters)
"""


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    model: dict[str, Any] = json.loads((Path(clients.__file__).parent / OURS).read_text())
    return model


@pytest.fixture(scope="module")
def official(checkout: Path) -> dict[str, Any]:
    packed = checkout / OFFICIAL / "botocore/data/iotanalytics/2017-11-27/service-2.json.gz"
    if not packed.exists():
        pytest.fail(f"'{packed}' is missing; run make model")
    with gzip.open(packed) as file:
        model: dict[str, Any] = json.load(file)
    return model


def undocumented(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: undocumented(inner) for key, inner in value.items() if key != "documentation"}
    return [undocumented(inner) for inner in value] if isinstance(value, list) else value


def unordered(operation: dict[str, Any]) -> dict[str, Any]:
    return {**operation, "errors": sorted(error["shape"] for error in operation["errors"])}


def referenced(value: Any) -> set[str]:
    if isinstance(value, dict):
        named = {value["shape"]} if isinstance(value.get("shape"), str) else set()
        return named.union(*map(referenced, value.values()))
    return set().union(*map(referenced, value)) if isinstance(value, list) else set()


def test_the_service_is_described_as_officially(ours: dict[str, Any], official: dict[str, Any]) -> None:
    assert ours["version"] == official["version"]
    assert ours["metadata"] == official["metadata"]


def test_three_operations_are_described(ours: dict[str, Any]) -> None:
    assert set(ours["operations"]) == {
        "StartPipelineReprocessing",
        "CancelPipelineReprocessing",
        "DescribePipeline",
    }


def test_every_operation_is_the_official_one_with_all_its_errors(
    ours: dict[str, Any], official: dict[str, Any]
) -> None:
    for name, operation in ours["operations"].items():
        assert unordered(operation) == unordered(undocumented(official["operations"][name])), name


def test_every_shape_is_the_official_one_but_for_members_that_are_not_read(
    ours: dict[str, Any], official: dict[str, Any]
) -> None:
    for name, shape in ours["shapes"].items():
        expected = undocumented(official["shapes"][name])
        for owner, member in LEFT_OUT:
            if owner == name:
                del expected["members"][member]
        assert shape == expected, name


def test_every_shape_is_there_and_none_is_there_for_nothing(ours: dict[str, Any]) -> None:
    assert referenced([ours["operations"], ours["shapes"]]) == set(ours["shapes"])


def test_the_newest_botocore_has_dropped_the_service() -> None:
    assert "iotanalytics" not in boto3.Session().get_available_services()


def test_a_botocore_that_has_dropped_the_service_makes_a_client_of_ours(real_aws: Aws) -> None:
    client = real_aws._client("iotanalytics", None)

    assert client.meta.service_model.api_version == "2017-11-27"
    assert sorted(client.meta.method_to_api_mapping.values()) == [
        "CancelPipelineReprocessing",
        "DescribePipeline",
        "StartPipelineReprocessing",
    ]


def test_our_model_comes_before_one_of_botocore(fresh_sandbox: None) -> None:
    loader = clients.session()._session.get_component("data_loader")

    assert loader.search_paths[0] == str(Path(clients.__file__).parent / "service_models")


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://iotanalytics.eu-west-1.amazonaws.com"),
        ("us-east-1", "https://iotanalytics.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://iotanalytics.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://iotanalytics.us-gov-west-1.amazonaws.com"),
    ],
)
def test_each_partition_has_its_endpoint(
    real_aws: Aws, monkeypatch: pytest.MonkeyPatch, region: str, url: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)

    client = real_aws._client("iotanalytics", None)

    assert client.meta.endpoint_url == url
    assert client.meta.region_name == region


def test_an_endpoint_may_stand_in_the_environment(real_aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_IOTANALYTICS", "http://127.0.0.1:4567")

    assert real_aws._client("iotanalytics", None).meta.endpoint_url == "http://127.0.0.1:4567"


@pytest.mark.loopback
def test_a_start_with_every_parameter_goes_over_the_wire_as_documented(real_aws: Aws, server: Server) -> None:
    server.answers = [(200, JSON, b'{"reprocessingId": "9d31"}')]

    answer = real_aws.call(
        "iotanalytics",
        "start_pipeline_reprocessing",
        endpoint_url=server.url,
        pipelineName="weather",
        startTime=datetime(2025, 1, 1, tzinfo=UTC),
        endTime=datetime(2025, 1, 31, tzinfo=UTC),
        channelMessages={"s3Paths": ["channel/a b/__dt=2020-02-29 00:00:00/1_2.json.gz"]},
    )

    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/pipelines/weather/reprocessing")
    assert request.body == (
        b'{"startTime": 1735689600, "endTime": 1738281600, '
        b'"channelMessages": {"s3Paths": ["channel/a b/__dt=2020-02-29 00:00:00/1_2.json.gz"]}}'
    )
    headers = {name.lower(): value for name, value in request.headers}
    assert headers["content-type"] == "application/json"
    assert "/eu-west-1/iotanalytics/aws4_request" in headers["authorization"]
    assert answer["reprocessingId"] == "9d31"


@pytest.mark.loopback
def test_the_requests_are_those_of_the_last_official_client(
    real_aws: Aws, server: Server, checkout: Path
) -> None:
    server.answers = [(200, JSON, b"{}")]

    for operation, parameters in CALLS.values():
        times = {
            name: datetime.fromisoformat(value)
            for name, value in parameters.items()
            if name in ("startTime", "endTime")
        }
        real_aws.call("iotanalytics", operation, endpoint_url=server.url, **{**parameters, **times})
    official_first = len(server.received)
    subprocess.run(
        [sys.executable, "-c", OFFICIAL_CLIENT, server.url, json.dumps(list(CALLS.values()))],
        env={**os.environ, "PYTHONPATH": str(checkout / OFFICIAL)},
        check=True,
    )

    ours = [
        (request.method, request.path, request.body, content_type(request.headers))
        for request in server.received
    ]
    assert ours[:official_first] == ours[official_first:]
    assert len(ours) == 2 * len(CALLS)


@pytest.mark.loopback
def test_an_answer_is_read_as_documented(real_aws: Aws, server: Server) -> None:
    pipeline = {
        "name": "weather",
        "arn": "arn:aws:iotanalytics:eu-west-1:123456789012:pipeline/weather",
        "activities": [{"channel": {"name": "c", "channelName": "weather"}}],
        "reprocessingSummaries": [{"id": "9d31", "status": "RUNNING", "creationTime": 1738317600.5}],
        "creationTime": 1.7383176e9,
        "lastUpdateTime": 1738317600,
    }
    server.answers = [(200, JSON, json.dumps({"pipeline": pipeline}).encode())]

    answer = real_aws.call(
        "iotanalytics", "describe_pipeline", endpoint_url=server.url, pipelineName="weather"
    )

    assert server.received[0].path == "/pipelines/weather"
    (run,) = answer["pipeline"]["reprocessingSummaries"]
    assert (run["id"], run["status"]) == ("9d31", "RUNNING")
    assert run["creationTime"].timestamp() == 1738317600.5
    assert "activities" not in answer["pipeline"]


def content_type(headers: list[tuple[str, str]]) -> str | None:
    return next((value for name, value in headers if name.lower() == "content-type"), None)
