"""IoT Analytics, over a real connection: what is sent, and where each of its errors ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.faults import Conflict, Fault, Refused, Throttled, Unclear
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.pipelines import State, Status, open_pipeline
from pipeline_reprocessing_handler.pipelines.iot_analytics import IotAnalyticsPipeline
from pipeline_reprocessing_handler.request import Failure, Kind, Request, Target

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeContext, Server

    from pipeline_reprocessing_handler.aws import Aws

pytestmark = pytest.mark.loopback

Run = tuple[str, str, float]
Answer = tuple[int, dict[str, str], bytes]
STARTED: Answer = (200, {}, b'{"reprocessingId": "9d31"}')
MADE = 1738324800.0
ERRORS = {
    "ResourceNotFoundException": 404,
    "ResourceAlreadyExistsException": 409,
    "InvalidRequestException": 400,
    "InternalFailureException": 500,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
}


def error(name: str) -> Answer:
    return (ERRORS[name], {"x-amzn-ErrorType": name}, b'{"message": "the words of AWS"}')


def listing(*runs: Run) -> Answer:
    summaries = [{"id": id_, "status": status, "creationTime": made} for id_, status, made in runs]
    return (
        200,
        {},
        json.dumps({"pipeline": {"name": "weather", "reprocessingSummaries": summaries}}).encode(),
    )


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


# -- start --------------------------------------------------------------------------------------------------


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


# -- telling new runs from old ones -------------------------------------------------------------------------


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


# -- status -------------------------------------------------------------------------------------------------


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


# -- cancel -------------------------------------------------------------------------------------------------


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


# -- the whole handler --------------------------------------------------------------------------------------


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
    assert answer["PhysicalResourceId"] == "weather/9d31"
    assert answer["Data"] == {
        "ReprocessingId": "9d31",
        "Status": "RUNNING",
        "StartTime": "2025-01-01T00:00:00Z",
        "EndTime": "2025-01-31T00:00:00Z",
        "PipelineName": "weather",
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

    assert answer["PhysicalResourceId"] == "weather/9d31"
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

    assert answer["PhysicalResourceId"] == "weather/9d31"
    assert starts(server) == 1


def test_a_start_that_left_no_run_behind_is_sent_again(
    deploy: Callable[..., dict[str, Any]], server: Server, aws: FakeAws
) -> None:
    server.answers = [listing(), None, *[listing()] * 16, STARTED]

    answer = deploy()

    assert answer["PhysicalResourceId"] == "weather/9d31"
    assert starts(server) == 2
    assert sum(aws.time.slept) >= 30  # the run had its time to show up


def test_what_nobody_can_find_out_is_not_started_again(
    deploy: Callable[..., dict[str, Any]], server: Server
) -> None:
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
def test_a_delete_cancels_a_run_that_may_not_be_listed_yet_and_none_that_is_not_its_own(
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
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather_2/9d31")


def test_permissions_that_are_missing_are_named(
    deploy: Callable[..., dict[str, Any]], server: Server
) -> None:
    words = b'{"message": "User: arn:aws:sts::123456789012:assumed-role/r is not authorized to perform: x"}'
    server.answers = [(403, {"x-amzn-ErrorType": "AccessDeniedException"}, words)]

    answer = deploy()

    assert answer["Status"] == "FAILED"
    assert "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/r" in answer["Reason"]
    assert answer["Reason"].startswith("pipeline 'weather': ")
