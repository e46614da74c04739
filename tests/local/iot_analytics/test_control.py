"""Faults on order, and the rest of what only this server has."""

from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

pytestmark = pytest.mark.loopback


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("ResourceNotFoundException", 404),
        ("ResourceAlreadyExistsException", 409),
        ("InvalidRequestException", 400),
        ("InternalFailureException", 500),
        ("ServiceUnavailableException", 503),
        ("ThrottlingException", 429),
    ],
)
def test_every_modelled_error_can_be_ordered_before_the_effect(
    analytics: Any, error: str, status: int
) -> None:
    analytics.pipeline()
    analytics.control.fail_request("StartPipelineReprocessing", error, message="not today")

    message = analytics.refused(analytics.start, error)

    assert message == "not today"
    assert analytics.control.runs() == []
    assert analytics.control.calls("StartPipelineReprocessing") == [
        {"operation": "StartPipelineReprocessing", "status": status}
    ]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_comes_before_or_after_the_effect(analytics: Any, when: str) -> None:
    analytics.pipeline()
    analytics.control.fail_request("StartPipelineReprocessing", "InternalFailureException", when=when)

    analytics.refused(analytics.start, "InternalFailureException")

    assert len(analytics.control.runs()) == (when == "after")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_can_be_dropped(analytics: Any, when: str) -> None:
    analytics.pipeline()
    analytics.control.fail_request("StartPipelineReprocessing", "ConnectionDropped", when=when)

    with pytest.raises(ConnectionClosedError):
        analytics.start()

    assert len(analytics.control.runs()) == (when == "after")
    assert analytics.control.calls("StartPipelineReprocessing") == [
        {"operation": "StartPipelineReprocessing", "status": 0}
    ]


def test_a_fault_befalls_as_many_requests_as_ordered(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.fail_request("DescribePipeline", "ThrottlingException", times=2)

    for _ in range(2):
        analytics.refused(
            lambda: analytics.client.describe_pipeline(pipelineName="convert"), "ThrottlingException"
        )

    assert analytics.client.describe_pipeline(pipelineName="convert")["pipeline"]["name"] == "convert"
    assert analytics.raw.get("/_local/faults").json() == []


def test_faults_of_one_operation_come_in_their_order(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.fail_request("StartPipelineReprocessing", "ThrottlingException")
    analytics.control.fail_request("StartPipelineReprocessing", "ServiceUnavailableException")

    analytics.refused(analytics.start, "ThrottlingException")
    analytics.refused(analytics.start, "ServiceUnavailableException")

    assert analytics.ended(analytics.start()) == "SUCCEEDED"


def test_errors_of_every_service_can_be_ordered(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.fail_request("DescribePipeline", "AccessDeniedException")

    answer = analytics.raw.get("/pipelines/convert")

    assert answer.status_code == 403
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"


def test_a_delay_alone_is_no_error(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.fail_request("DescribePipeline", delaySeconds=0.01)

    assert analytics.raw.get("/pipelines/convert").status_code == 200


def test_reset_takes_everything_back(analytics: Any) -> None:
    analytics.pipeline()
    analytics.control.hold_runs()
    analytics.control.fail_request("StartPipelineReprocessing", "ThrottlingException")
    analytics.control.fail_run()

    analytics.control.reset()

    assert analytics.control.calls() == []
    assert analytics.ended(analytics.start()) == "SUCCEEDED"


def test_calls_are_told_in_order_with_their_status(analytics: Any) -> None:
    analytics.channel()
    analytics.refused(analytics.channel, "ResourceAlreadyExistsException")
    analytics.refused(lambda: analytics.client.delete_dataset(datasetName="d"))

    assert analytics.control.calls() == [
        {"operation": "CreateChannel", "status": 201},
        {"operation": "CreateChannel", "status": 409},
        {"operation": "DeleteDataset", "status": 400},
    ]


@pytest.mark.parametrize(
    ("method", "name", "body", "problem"),
    [
        (
            "POST",
            "faults",
            {"operation": "Start"},
            "'operation' must be an operation of IoT Analytics, got 'Start'",
        ),
        (
            "POST",
            "faults",
            {"operation": "DescribePipeline", "error": "ResourceAlreadyExistsException"},
            "'error' must be one of InvalidRequestException, ResourceNotFoundException, InternalFailureException, "
            "ServiceUnavailableException, ThrottlingException, AccessDeniedException, ExpiredTokenException, "
            "InternalServerError, ConnectionDropped, got 'ResourceAlreadyExistsException'",
        ),
        (
            "POST",
            "faults",
            {"operation": "DescribePipeline", "when": "during"},
            "'when' must be before or after, got 'during'",
        ),
        ("PATCH", "pace", {"hold": 1}, "'hold' must be bool, got 1"),
        (
            "PATCH",
            "pace",
            {"speed": 1},
            "'speed' is unknown; known here: hold, keepSummaries, secondsPerObject",
        ),
        ("POST", "failures", {"afterObjects": True}, "'afterObjects' must be int, got True"),
        ("GET", "nothing", None, "local control 'GET /_local/nothing' does not exist"),
        ("GET", "rows?datastore=gone", None, "datastore 'gone' does not exist"),
    ],
)
def test_what_cannot_be_ordered_is_refused(
    analytics: Any, method: str, name: str, body: Any, problem: str
) -> None:
    answer = analytics.raw.request(method, f"/_local/{name}", json=body)

    assert answer.status_code in {400, 404}
    assert answer.json() == {"message": problem}


def test_an_order_that_is_no_json_is_refused(analytics: Any) -> None:
    assert "must be JSON" in analytics.raw.post("/_local/faults", content=b"{").json()["message"]
    assert (
        analytics.raw.post("/_local/faults", content=b"[]").json()["message"]
        == "the body must be a JSON object"
    )


def test_the_client_tells_what_was_refused(analytics: Any) -> None:
    with pytest.raises(ValueError, match="'operation' must be an operation of IoT Analytics, got 'Start'"):
        analytics.control.fail_request("Start")
