"""Requests and answers against the official model, beyond what botocore checks before it sends."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local_aws.iot_analytics.model import ImproperAnswer, ModelMissing, ServiceModel

pytestmark = pytest.mark.loopback

START = "/pipelines/convert/reprocessing"
ACTIVITY = {"datastore": {"name": "out", "datastoreName": "d"}}


def test_every_operation_of_the_model_has_a_route(analytics: Any, official_model: ServiceModel) -> None:
    for operation in official_model.operations.values():
        path = operation.path.replace("{", "").replace("}", "")

        answer = analytics.raw.request(operation.method, path)

        assert answer.headers.get("x-amzn-errortype") != "UnknownOperationException", operation.name
        assert answer.status_code < 500, operation.name


def test_what_is_not_served_says_so(analytics: Any) -> None:
    message = analytics.refused(lambda: analytics.client.delete_dataset(datasetName="d"))

    assert message.startswith("DeleteDataset is not served here; served are: ")


def test_an_unknown_path_is_an_unknown_operation(analytics: Any) -> None:
    answer = analytics.raw.get("/nowhere")

    assert answer.status_code == 404
    assert answer.headers["x-amzn-errortype"] == "UnknownOperationException"


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("POST", "/channels", {}, "'channelName' is required"),
        (
            "POST",
            "/channels",
            {"channelName": "my-channel"},
            "'channelName' must match (^(?!_{2}))(^[a-zA-Z0-9_]+$), got \"my-channel\"",
        ),
        ("POST", "/channels", {"channelName": "__c"}, "'channelName' must match"),
        ("POST", "/channels", {"channelName": "c\n"}, "'channelName' must match"),
        (
            "POST",
            "/channels",
            {"channelName": "c" * 129},
            "'channelName' must be at most 128 characters, got 129",
        ),
        ("POST", "/channels", {"channelName": ""}, "'channelName' must be at least 1 characters, got 0"),
        ("POST", "/channels", {"channelName": 7}, "'channelName' must be a string, got 7"),
        (
            "POST",
            "/channels",
            {"channelNam": "c"},
            "'channelNam' is unknown; known here: channelName, channelStorage,",
        ),
        (
            "POST",
            "/channels",
            {"channelName": "c", "channelStorage": []},
            "'channelStorage' must be an object, got []",
        ),
        ("POST", "/channels", {"channelName": "c", "tags": []}, "'tags' must be at least 1 entries, got 0"),
        ("POST", "/channels", {"channelName": "c", "tags": {}}, "'tags' must be a list, got {}"),
        ("POST", "/channels", {"channelName": "c", "tags": [{"key": "k"}]}, "'tags[0].value' is required"),
        (
            "POST",
            "/channels",
            {"channelName": "c", "retentionPeriod": {"numberOfDays": 0}},
            "'retentionPeriod.numberOfDays' must be at least 1, got 0",
        ),
        (
            "POST",
            "/channels",
            {"channelName": "c", "retentionPeriod": {"numberOfDays": 1.5}},
            "'retentionPeriod.numberOfDays' must be a number (integer), got 1.5",
        ),
        (
            "POST",
            "/channels",
            {"channelName": "c", "retentionPeriod": {"unlimited": "true"}},
            "'retentionPeriod.unlimited' must be true or false, got \"true\"",
        ),
        (
            "POST",
            "/channels",
            {
                "channelName": "c",
                "channelStorage": {"customerManagedS3": {"bucket": "raw", "keyPrefix": "in"}},
            },
            "'channelStorage.customerManagedS3.roleArn' is required; "
            "'channelStorage.customerManagedS3.keyPrefix' must match",
        ),
        ("POST", "/pipelines", {"pipelineName": "p"}, "'pipelineActivities' is required"),
        (
            "POST",
            "/pipelines",
            {"pipelineName": "p", "pipelineActivities": [ACTIVITY] * 26},
            "'pipelineActivities' must be at most 25 entries, got 26",
        ),
        (
            "POST",
            "/pipelines",
            {
                "pipelineName": "p",
                "pipelineActivities": [{"lambda": {"name": "l", "lambdaName": "f", "batchSize": 1001}}],
            },
            "'pipelineActivities[0].lambda.batchSize' must be at most 1000, got 1001",
        ),
        (
            "POST",
            "/pipelines",
            {
                "pipelineName": "p",
                "pipelineActivities": [{"addAttributes": {"name": "a", "attributes": {"x" * 257: "y"}}}],
            },
            "'pipelineActivities[0].addAttributes.attributes (key)' must be at most 256 characters, got 257",
        ),
        ("POST", START, {"startTime": "2025-01-01T00:00:00Z"}, "'startTime' must be a time in epoch seconds"),
        (
            "POST",
            START,
            {"startTime": True},
            "'startTime' must be a time in epoch seconds, as a JSON number, got true",
        ),
        ("POST", START, {"startTime": 1e300}, "'startTime' must be a time in epoch seconds"),
        (
            "POST",
            START,
            {"channelMessages": {"s3Paths": []}},
            "'channelMessages.s3Paths' must be at least 1 entries, got 0",
        ),
        (
            "POST",
            START,
            {"channelMessages": {"s3Paths": ["k"] * 101}},
            "'channelMessages.s3Paths' must be at most 100 entries, got 101",
        ),
        (
            "POST",
            START,
            {"channelMessages": {"s3Paths": ["k" * 1025]}},
            "'channelMessages.s3Paths[0]' must be at most 1024 characters, got 1025",
        ),
        ("POST", START, {"channelMessages": {"s3Paths": ["a,b"]}}, "'channelMessages.s3Paths[0]' must match"),
        ("POST", "/pipelines/a-b/reprocessing", {}, "'pipelineName' must match"),
        ("GET", "/channels?maxResults=251", None, "'maxResults' must be at most 250, got 251"),
        ("GET", "/channels?maxResults=many", None, "'maxResults' must be a number (integer), got \"many\""),
        ("GET", "/channels?nextToken=!!", None, "'nextToken' must come from an earlier answer, got '!!'"),
        (
            "GET",
            "/channels/c?includeStatistics=yes",
            None,
            "'includeStatistics' must be true or false, got \"yes\"",
        ),
        (
            "POST",
            "/messages/batch",
            {"channelName": "c", "messages": [{"messageId": "ü", "payload": ""}]},
            "'messages[0].messageId' must match",
        ),
        (
            "POST",
            "/messages/batch",
            {"channelName": "c", "messages": [{"messageId": "1", "payload": "%"}]},
            "'messages[0].payload' must be base64 text, got \"%\"",
        ),
    ],
)
def test_a_request_beyond_the_model_is_refused(
    analytics: Any, method: str, path: str, body: Any, problem: str
) -> None:
    answer = analytics.raw.request(method, path, json=body)

    assert answer.status_code == 400
    assert answer.headers["x-amzn-errortype"] == "InvalidRequestException"
    assert problem in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "the body must be JSON: "),
        (b"[1]", "the body must be a JSON object, got list"),
        (b"[" * 100_000, "the body must be JSON: "),
        (b"\xff", "the body must be JSON: "),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(analytics: Any, body: bytes, problem: str) -> None:
    answer = analytics.raw.post("/channels", content=body)

    assert answer.status_code == 400
    assert answer.headers["x-amzn-errortype"] == "InvalidRequestException"
    assert answer.json()["message"].startswith(problem)


def test_a_null_is_a_member_left_out(analytics: Any) -> None:
    answer = analytics.raw.post("/channels", json={"channelName": "c", "tags": None})

    assert answer.status_code == 201


def test_all_problems_are_told_at_once(analytics: Any) -> None:
    answer = analytics.raw.post("/pipelines", json={"pipelineName": "a-b", "pipelineActivities": []})

    assert answer.json()["message"].count("; ") == 1


def test_an_answer_that_the_service_could_not_have_given_is_an_internal_failure(
    analytics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    analytics.pipeline()
    monkeypatch.setattr(
        analytics.application.service.runs, "summarised", lambda _: [_Broken(id="r", status="DONE")]
    )

    answer = analytics.raw.get("/pipelines/convert")

    assert answer.status_code == 500
    assert answer.headers["x-amzn-errortype"] == "InternalFailureException"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"reprocessingId": 7}, "'reprocessingId' must be a string, got 7"),
        ({"id": "r"}, "'id' is unknown; known here: reprocessingId"),
    ],
)
def test_an_answer_is_checked_against_the_model(
    official_model: ServiceModel, answer: dict[str, Any], problem: str
) -> None:
    operation = official_model.operations["StartPipelineReprocessing"]

    with pytest.raises(ImproperAnswer) as caught:
        official_model.answer(operation, answer)

    assert str(caught.value) == f"answer of StartPipelineReprocessing: {problem}"


def test_times_go_out_as_numbers_of_epoch_seconds(official_model: ServiceModel) -> None:
    operation = official_model.operations["DescribePipeline"]
    times = {
        "creationTime": datetime(2025, 1, 1, tzinfo=UTC),
        "lastUpdateTime": datetime(2025, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC),
    }

    rendered = official_model.answer(operation, {"pipeline": times})

    assert rendered == {"pipeline": {"creationTime": 1735689600, "lastUpdateTime": 1735689600.123}}


def test_blobs_go_out_as_base64(official_model: ServiceModel) -> None:
    operation = official_model.operations["SampleChannelData"]

    rendered = official_model.answer(operation, {"payloads": [b"\x00\xff"]})

    assert rendered == {"payloads": [base64.b64encode(b"\x00\xff").decode()]}


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        ServiceModel.load(tmp_path)

    assert str(caught.value) == (
        f"no service model at '{tmp_path}/botocore/data/iotanalytics/2017-11-27/service-2.json.gz'; "
        "run 'make setup', or name its place with '--model'"
    )


class _Broken:
    created = datetime(2025, 1, 1, tzinfo=UTC)

    def __init__(self, **members: str) -> None:
        self.__dict__.update(members)
