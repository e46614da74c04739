"""The whole handler on IoT Analytics, over a real connection: how each answer of the service ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from iot_answers import MADE, STARTED, Answer, Run, error, listing

from pipeline_reprocessing_handler.index import Handler

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeContext, Server


pytestmark = pytest.mark.loopback


def sent(server: Server) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.received]


@pytest.fixture
def deploy(
    aws: FakeAws,
    server: Server,
    context: FakeContext,
    event_of: Callable[..., dict[str, Any]],
    properties: dict[str, Any],
) -> Callable[..., dict[str, Any]]:
    """Sends a request to the handler and gives its answer."""
    properties["Pipeline"]["EndpointUrl"] = server.url
    del properties["Wait"]

    def send(type_: str = "Create", **fields: Any) -> dict[str, Any]:
        Handler(aws, "handler-logs")(event_of(type_, properties, **fields), context)
        answer: dict[str, Any] = json.loads(aws.answers[-1][1])
        return answer

    return send


def starts(server: Server) -> int:
    return sent(server).count("POST /pipelines/weather/reprocessing")


def test_a_run_that_is_not_waited_for_is_answered_at_once(
    deploy: Callable[..., dict[str, Any]], server: Server
) -> None:
    server.answers = [listing(), STARTED]

    answer = deploy()

    assert answer["Status"] == "SUCCESS"
    assert answer["PhysicalResourceId"] == "weather/9d31/1738324800"
    assert answer["Data"] == {
        "ReprocessingId": "9d31",
        "Status": "RUNNING",
        "StartTime": "2025-01-01T00:00:00Z",
        "EndTime": "2025-01-31T00:00:00Z",
        "PipelineName": "weather",
        "Objects": "",
        "ObjectsDone": "",
        "ObjectsGone": "",
        "ObjectsChanged": "",
        "ObjectsFailed": "",
        "ObjectsNotReplayed": "",
        "ObjectsSkipped": "",
        "MessagesIn": "",
        "MessagesOut": "",
        "MessagesDropped": "",
        "MessagesFailed": "",
    }


@pytest.mark.parametrize("name", ["ResourceNotFoundException", "InvalidRequestException"])
def test_a_start_that_the_service_refuses_fails_the_deploy_at_once(
    deploy: Callable[..., dict[str, Any]], server: Server, name: str
) -> None:
    server.answers = [listing(), error(name)]

    answer = deploy()

    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("pipeline 'weather' ")
    assert answer["Reason"].endswith(f"{name}: the words of AWS")
    assert answer["PhysicalResourceId"] == "weather/not-started"
    assert starts(server) == 1


@pytest.mark.parametrize("name", ["ThrottlingException", "ResourceAlreadyExistsException"])
def test_a_start_that_has_not_begun_is_sent_again(
    deploy: Callable[..., dict[str, Any]], server: Server, name: str
) -> None:
    server.answers = [listing(), error(name), STARTED]

    answer = deploy()

    assert answer["PhysicalResourceId"] == "weather/9d31/1738324800"
    assert starts(server) == 2


@pytest.mark.parametrize(
    "trouble",
    [error("InternalFailureException"), error("ServiceUnavailableException"), None],
    ids=["500", "503", "dropped connection"],
)
def test_a_run_that_was_started_in_spite_of_an_error_is_adopted(
    deploy: Callable[..., dict[str, Any]], server: Server, trouble: Answer | None
) -> None:
    server.answers = [listing(), trouble, listing(), listing(("9d31", "RUNNING", MADE))]

    answer = deploy()

    assert answer["PhysicalResourceId"] == "weather/9d31/1738324800"
    assert starts(server) == 1


def test_a_start_that_left_no_run_behind_is_sent_again(
    deploy: Callable[..., dict[str, Any]], server: Server, aws: FakeAws
) -> None:
    server.answers = [listing(), None, *[listing()] * 16, STARTED]

    answer = deploy()

    assert answer["PhysicalResourceId"] == "weather/9d31/1738324800"
    assert starts(server) == 2
    assert sum(aws.time.slept) >= 30  # the run had its time to show up


def test_a_start_in_doubt_is_not_sent_again(deploy: Callable[..., dict[str, Any]], server: Server) -> None:
    server.answers = [listing(), None, error("InternalFailureException")]

    answer = deploy()

    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == (
        "pipeline 'weather': whether the run was started is not known, so it is not started again: "
        "iotanalytics:describe_pipeline: InternalFailureException: the words of AWS"
    )
    assert starts(server) == 1


def test_a_delete_cancels_what_still_runs(deploy: Callable[..., dict[str, Any]], server: Server) -> None:
    server.answers = [listing(("run-1", "RUNNING", MADE)), (200, {}, b"{}"), listing()]

    answer = deploy("Delete")

    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather/run-1")
    assert sent(server) == [
        "GET /pipelines/weather",
        "DELETE /pipelines/weather/reprocessing/run-1",
        "GET /pipelines/weather",
    ]


def test_a_delete_leaves_what_has_ended(deploy: Callable[..., dict[str, Any]], server: Server) -> None:
    server.answers = [listing(("run-1", "SUCCEEDED", MADE))]

    answer = deploy("Delete")

    assert answer["Status"] == "SUCCESS"
    assert sent(server) == ["GET /pipelines/weather"]


@pytest.mark.parametrize("runs", [[], [("another", "RUNNING", MADE)]])
def test_a_delete_cancels_its_own_run_even_if_it_is_not_listed_yet(
    deploy: Callable[..., dict[str, Any]], server: Server, runs: list[Run]
) -> None:
    server.answers = [listing(*runs), error("ResourceNotFoundException"), listing(*runs)]

    answer = deploy("Delete")

    assert answer["Status"] == "SUCCESS"
    assert sent(server) == [
        "GET /pipelines/weather",
        "DELETE /pipelines/weather/reprocessing/run-1",
        "GET /pipelines/weather",
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        error("ResourceNotFoundException"),
        error("InvalidRequestException"),
        (403, {"x-amzn-ErrorType": "AccessDeniedException"}, b"{}"),
    ],
    ids=["no such pipeline", "no such request", "no permission"],
)
def test_a_delete_that_can_do_nothing_succeeds(
    deploy: Callable[..., dict[str, Any]], server: Server, trouble: Answer
) -> None:
    server.answers = [trouble]

    assert deploy("Delete")["Status"] == "SUCCESS"


@pytest.mark.parametrize("name", ["ThrottlingException", "InternalFailureException"])
def test_a_delete_that_may_succeed_later_fails_with_a_reason(
    deploy: Callable[..., dict[str, Any]], server: Server, name: str
) -> None:
    server.answers = [error(name)]

    answer = deploy("Delete")

    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "weather/run-1")
    assert answer["Reason"] == (
        "pipeline 'weather': whether a run still goes on is not known: "
        f"iotanalytics:describe_pipeline: {name}: the words of AWS"
    )


def test_a_delete_succeeds_where_the_service_has_gone(
    aws: FakeAws,
    context: FakeContext,
    event_of: Callable[..., dict[str, Any]],
    properties: dict[str, Any],
    fresh_sandbox: None,
    unused_tcp_port_url: Callable[[], str],
) -> None:
    properties["Pipeline"]["EndpointUrl"] = unused_tcp_port_url()

    Handler(aws, "handler-logs")(event_of("Delete", properties), context)

    (answer,) = [json.loads(body) for _, body in aws.answers]
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather/run-1")


def test_a_pipeline_can_be_exchanged_where_its_service_has_gone(
    aws: FakeAws,
    server: Server,
    context: FakeContext,
    event_of: Callable[..., dict[str, Any]],
    properties: dict[str, Any],
    unused_tcp_port_url: Callable[[], str],
) -> None:
    properties["Wait"] = None
    old = {**properties, "Pipeline": {**properties["Pipeline"], "EndpointUrl": unused_tcp_port_url()}}
    properties["Pipeline"] = {"Kind": "IOT_ANALYTICS", "Name": "weather_2", "EndpointUrl": server.url}
    server.answers = [listing(), STARTED]

    Handler(aws, "handler-logs")(event_of("Update", properties, OldResourceProperties=old), context)

    (answer,) = [json.loads(body) for _, body in aws.answers]
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather_2/9d31/1738324800")


def test_permissions_that_are_missing_are_named(
    deploy: Callable[..., dict[str, Any]], server: Server
) -> None:
    words = b'{"message": "User: arn:aws:sts::123456789012:assumed-role/r is not authorized to perform: x"}'
    server.answers = [(403, {"x-amzn-ErrorType": "AccessDeniedException"}, words)]

    answer = deploy()

    assert answer["Status"] == "FAILED"
    assert "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/r" in answer["Reason"]
    assert answer["Reason"].startswith("pipeline 'weather': ")
