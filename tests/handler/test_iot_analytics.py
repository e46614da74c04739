"""IoT Analytics, over a real connection: what is sent, and where each of its errors ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest
from iot_answers import MADE, STARTED, Answer, Run, error, listing

from pipeline_reprocessing_handler.aws_errors import Conflict, Fault, Refused, Throttled, Unclear
from pipeline_reprocessing_handler.pipelines import State, Status, open_pipeline
from pipeline_reprocessing_handler.pipelines.iot_analytics import IotAnalyticsPipeline
from pipeline_reprocessing_handler.properties import Kind, Target
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import Server

    from pipeline_reprocessing_handler.aws import Aws

pytestmark = pytest.mark.loopback


@pytest.fixture
def weather(real_aws: Aws, server: Server) -> IotAnalyticsPipeline:
    return IotAnalyticsPipeline(Target(Kind.IOT_ANALYTICS, "weather", endpoint_url=server.url), real_aws)


@pytest.fixture
def selecting(
    request_of: Callable[..., Request], properties: dict[str, Any]
) -> Callable[[dict[str, Any]], Request]:
    return lambda messages: request_of("Create", {**properties, "Messages": messages})


def sent(server: Server) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.received]


def test_a_target_of_this_kind_opens_this_pipeline(real_aws: Aws) -> None:
    pipeline = open_pipeline(Target(Kind.IOT_ANALYTICS, "weather"), real_aws)

    assert isinstance(pipeline, IotAnalyticsPipeline)


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ({"All": "true"}, {}),
        (
            {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-01-31T00:00:00Z"},
            {"startTime": 1735689600, "endTime": 1738281600},
        ),
        ({"StartTime": "2025-01-01T00:00:00Z"}, {"startTime": 1735689600}),
        ({"EndTime": "2025-01-31T01:00:00+01:00"}, {"endTime": 1738281600}),
        ({"LastSeconds": "86400"}, {"startTime": 1738238400, "endTime": 1738324800}),
        ({"S3Paths": ["a b/c.json.gz", "d"]}, {"channelMessages": {"s3Paths": ["a b/c.json.gz", "d"]}}),
    ],
)
def test_a_start_sends_the_selection(
    weather: IotAnalyticsPipeline,
    server: Server,
    selecting: Callable[[dict[str, Any]], Request],
    messages: dict[str, Any],
    body: dict[str, Any],
) -> None:
    server.answers = [STARTED]

    run_id = weather.start(selecting(messages))

    (request,) = server.received
    assert run_id == "9d31"
    assert (request.method, request.path) == ("POST", "/pipelines/weather/reprocessing")
    assert json.loads(request.body) == body


@pytest.mark.parametrize(
    ("name", "outcome", "message"),
    [
        (
            "ResourceNotFoundException",
            Failure,
            "pipeline 'weather' does not exist, or is not in this region: "
            "iotanalytics:start_pipeline_reprocessing: ResourceNotFoundException: the words of AWS",
        ),
        (
            "InvalidRequestException",
            Failure,
            "pipeline 'weather' cannot be reprocessed with this selection: "
            "iotanalytics:start_pipeline_reprocessing: InvalidRequestException: the words of AWS",
        ),
        ("ResourceAlreadyExistsException", Conflict, None),
        ("InternalFailureException", Unclear, None),
        ("ServiceUnavailableException", Unclear, None),
        ("ThrottlingException", Throttled, None),
    ],
)
def test_each_error_of_a_start_has_its_meaning_and_is_sent_once(
    weather: IotAnalyticsPipeline,
    server: Server,
    request_of: Callable[..., Request],
    name: str,
    outcome: type[Exception],
    message: str | None,
) -> None:
    server.answers = [error(name)]

    with pytest.raises(outcome) as raised:
        weather.start(request_of())

    default = f"iotanalytics:start_pipeline_reprocessing: {name}: the words of AWS"
    assert str(raised.value) == (message or default)
    assert len(server.received) == 1


def test_a_start_that_is_answered_without_a_run_is_unclear(
    weather: IotAnalyticsPipeline, server: Server, request_of: Callable[..., Request]
) -> None:
    server.answers = [(200, {"Content-Type": "text/html"}, b"<html>Please log in</html>")]

    with pytest.raises(Unclear, match=r"^the answer of IoT Analytics has no 'reprocessingId'$"):
        weather.start(request_of())


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([], [], None),
        ([], [("new", "RUNNING", MADE)], "new"),
        ([("old", "FAILED", MADE)], [("old", "FAILED", MADE)], None),
        ([("old", "FAILED", MADE)], [("new", "RUNNING", MADE + 1), ("old", "FAILED", MADE)], "new"),
        ([("old", "FAILED", MADE)], [("old", "FAILED", MADE), ("new", "RUNNING", MADE)], "new"),
        (
            [("old", "FAILED", MADE), ("older", "SUCCEEDED", MADE - 9)],
            [("old", "FAILED", MADE), ("older", "SUCCEEDED", MADE - 9)],
            None,
        ),
        (
            [("a", "FAILED", MADE), ("b", "FAILED", MADE)],
            [("a", "FAILED", MADE), ("b", "FAILED", MADE)],
            None,
        ),
        ([], [("second", "RUNNING", MADE + 5), ("first", "RUNNING", MADE)], "first"),
        ([("old", "FAILED", MADE)], [], None),
    ],
)
def test_a_run_since_the_bookmark_is_found(
    weather: IotAnalyticsPipeline,
    server: Server,
    request_of: Callable[..., Request],
    before: Iterable[Run],
    after: Iterable[Run],
    found: str | None,
) -> None:
    server.answers = [listing(*before), listing(*after)]

    bookmark = weather.bookmark()

    assert weather.find(request_of(), bookmark) == found


def test_without_a_bookmark_nobody_can_say_which_run_is_ours(
    weather: IotAnalyticsPipeline, request_of: Callable[..., Request]
) -> None:
    with pytest.raises(Unclear, match="which runs there were before the start is not known"):
        weather.find(request_of(), "")


def test_a_pipeline_that_does_not_exist_is_told_before_a_start(
    weather: IotAnalyticsPipeline, server: Server
) -> None:
    server.answers = [error("ResourceNotFoundException")]

    with pytest.raises(Failure) as failure:
        weather.bookmark()

    assert str(failure.value) == (
        "pipeline 'weather' does not exist, or is not in this region: "
        "iotanalytics:describe_pipeline: ResourceNotFoundException: the words of AWS"
    )


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"])
def test_a_run_stands_where_its_pipeline_says(
    weather: IotAnalyticsPipeline, server: Server, state: str
) -> None:
    server.answers = [listing(("other", "RUNNING", MADE), ("9d31", state, MADE))]

    assert weather.status("9d31") == Status(State(state))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (listing(), ""),
        (listing(("other", "RUNNING", MADE)), ""),
        (listing(("9d31", "PAUSED", MADE)), "its status is 'PAUSED'"),
        (error("ResourceNotFoundException"), "pipeline 'weather' does not exist"),
        ((200, {}, b'{"pipeline": {}}'), ""),
    ],
)
def test_a_run_that_is_not_listed_is_unknown(
    weather: IotAnalyticsPipeline, server: Server, answer: Answer, cause: str
) -> None:
    server.answers = [answer]

    assert weather.status("9d31") == Status(State.UNKNOWN, cause)


def test_a_state_of_another_run_that_nobody_knows_does_not_matter(
    weather: IotAnalyticsPipeline, server: Server
) -> None:
    server.answers = [listing(("other", "PAUSED", MADE), ("9d31", "RUNNING", MADE))]

    assert weather.status("9d31").state is State.RUNNING


def test_an_answer_that_is_no_listing_is_unclear(weather: IotAnalyticsPipeline, server: Server) -> None:
    server.answers = [(200, {}, b"{}")]

    with pytest.raises(Unclear, match=r"^the answer of IoT Analytics has no 'pipeline'$"):
        weather.status("9d31")


@pytest.mark.parametrize(
    ("name", "fault", "times"),
    [
        ("InvalidRequestException", Refused, 1),
        ("InternalFailureException", Unclear, 5),
        ("ServiceUnavailableException", Unclear, 5),
        ("ThrottlingException", Throttled, 5),
    ],
)
def test_a_status_is_asked_for_again_where_that_may_help(
    weather: IotAnalyticsPipeline, server: Server, name: str, fault: type[Fault], times: int
) -> None:
    server.answers = [error(name)]

    with pytest.raises(fault):
        weather.status("9d31")

    assert sent(server) == ["GET /pipelines/weather"] * times


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        ((200, {}, b"{}"), True),
        (error("ResourceNotFoundException"), False),
        (error("InvalidRequestException"), False),
    ],
    ids=["running", "unknown", "ended"],
)
def test_a_run_is_cancelled_or_left_as_it_is(
    weather: IotAnalyticsPipeline, server: Server, answer: Answer, is_taken: bool
) -> None:
    server.answers = [answer]

    assert weather.cancel("9d31", "the resource was removed") is is_taken

    assert sent(server) == ["DELETE /pipelines/weather/reprocessing/9d31"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("InternalFailureException", Unclear),
        ("ServiceUnavailableException", Unclear),
        ("ThrottlingException", Throttled),
    ],
)
def test_a_cancel_without_a_clear_answer_is_sent_again(
    weather: IotAnalyticsPipeline, server: Server, name: str, fault: type[Fault]
) -> None:
    server.answers = [error(name), error(name), (200, {}, b"{}")]
    weather.cancel("9d31", "the resource was removed")

    server.answers = [error(name)]
    with pytest.raises(fault):
        weather.cancel("9d31", "the resource was removed")

    assert len(server.received) == 3 + 5
