"""IoT Analytics, over a real connection: what is sent, and where each of its errors ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from iot_answers import MADE, STARTED, Answer, Run, error, listing

from pipeline_reprocessing_handler.aws_errors import Conflict, Fault, Throttled, Unclear
from pipeline_reprocessing_handler.invocation import Invocation
from pipeline_reprocessing_handler.ledger import Ledger, Record
from pipeline_reprocessing_handler.pipelines import State, Status, open_pipeline
from pipeline_reprocessing_handler.pipelines.iot_analytics import IotAnalyticsPipeline
from pipeline_reprocessing_handler.properties import Kind, Target
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, Server

    from pipeline_reprocessing_handler.aws import Aws

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.loopback


@pytest.fixture
def weather(real_aws: Aws, server: Server, ledger: Ledger) -> IotAnalyticsPipeline:
    target = Target(Kind.IOT_ANALYTICS, "weather", endpoint_url=server.url)
    return IotAnalyticsPipeline(target, real_aws.patient(NOW + timedelta(minutes=1)), ledger)


@pytest.fixture
def selecting(
    invocation_of: Callable[..., Invocation], properties: dict[str, Any]
) -> Callable[[dict[str, Any]], Invocation]:
    return lambda messages: invocation_of("Create", {**properties, "Messages": messages})


def sent(server: Server) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.received]


def test_a_target_of_this_kind_opens_this_pipeline(aws: Aws, ledger: Ledger) -> None:
    pipeline = open_pipeline(Target(Kind.IOT_ANALYTICS, "weather"), aws, ledger)

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
    selecting: Callable[[dict[str, Any]], Invocation],
    messages: dict[str, Any],
    body: dict[str, Any],
) -> None:
    server.answers = [STARTED]

    run_id = weather.send_start(selecting(messages))

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
    invocation_of: Callable[..., Invocation],
    name: str,
    outcome: type[Exception],
    message: str | None,
) -> None:
    server.answers = [error(name)]

    with pytest.raises(outcome) as raised:
        weather.send_start(invocation_of())

    default = f"iotanalytics:start_pipeline_reprocessing: {name}: the words of AWS"
    assert str(raised.value) == (message or default)
    assert len(server.received) == 1


def test_a_start_that_is_answered_without_a_run_is_unclear(
    weather: IotAnalyticsPipeline, server: Server, invocation_of: Callable[..., Invocation]
) -> None:
    server.answers = [(200, {"Content-Type": "text/html"}, b"<html>Please log in</html>")]

    with pytest.raises(Unclear, match=r"^the answer of IoT Analytics has no 'reprocessingId'$"):
        weather.send_start(invocation_of())


@pytest.mark.parametrize(
    ("before", "after", "newer"),
    [
        ([], [], []),
        ([], [("new", "RUNNING", MADE)], ["new"]),
        ([("old", "FAILED", MADE)], [("old", "FAILED", MADE)], []),
        ([("old", "FAILED", MADE)], [("new", "RUNNING", MADE + 1), ("old", "FAILED", MADE)], ["new"]),
        ([("old", "FAILED", MADE)], [("old", "FAILED", MADE), ("new", "RUNNING", MADE)], ["new"]),
        (
            [("old", "FAILED", MADE), ("older", "SUCCEEDED", MADE - 9)],
            [("old", "FAILED", MADE), ("older", "SUCCEEDED", MADE - 9)],
            [],
        ),
        (
            [("a", "FAILED", MADE), ("b", "FAILED", MADE)],
            [("a", "FAILED", MADE), ("b", "FAILED", MADE)],
            [],
        ),
        ([], [("second", "RUNNING", MADE + 5), ("first", "RUNNING", MADE)], ["first", "second"]),
        ([("old", "FAILED", MADE)], [], []),
    ],
)
def test_the_runs_since_the_bookmark_are_found_the_oldest_first(
    weather: IotAnalyticsPipeline,
    server: Server,
    before: Iterable[Run],
    after: Iterable[Run],
    newer: list[str],
) -> None:
    server.answers = [listing(*before), listing(*after)]

    bookmark = weather.bookmark()

    assert weather.newer_runs(bookmark) == newer


def test_a_run_that_began_later_than_asked_for_is_left_out(
    weather: IotAnalyticsPipeline, server: Server
) -> None:
    server.answers = [listing(), listing(("in time", "RUNNING", MADE), ("later", "RUNNING", MADE + 1))]
    bookmark = weather.bookmark()

    assert weather.newer_runs(bookmark, until=datetime.fromtimestamp(MADE, UTC)) == ["in time"]


def test_a_bookmark_of_another_pipeline_tells_nothing_about_this_one(
    weather: IotAnalyticsPipeline, server: Server, aws: FakeAws, ledger: Ledger
) -> None:
    server.answers = [listing(), listing(("foreign", "RUNNING", MADE))]
    target = Target(Kind.IOT_ANALYTICS, "meters", endpoint_url=server.url)
    bookmark = IotAnalyticsPipeline(target, aws, ledger).bookmark()

    assert weather.newer_runs(bookmark) == []


def test_a_bookmark_names_the_newest_runs_by_short_digests(
    weather: IotAnalyticsPipeline, server: Server
) -> None:
    server.answers = [listing(("a" * 300, "FAILED", MADE), ("b" * 300, "FAILED", MADE), ("c", "FAILED", 7.0))]

    bookmark = weather.bookmark()

    _, made, *known = bookmark.split("~")
    assert float(made) == MADE
    assert [len(digest) for digest in known] == [8, 8]


def test_more_runs_of_one_moment_than_a_bookmark_can_name_leave_it_in_doubt(
    weather: IotAnalyticsPipeline, server: Server
) -> None:
    crowd: list[Run] = [(f"old-{number}", "FAILED", MADE) for number in range(31)]
    server.answers = [listing(*crowd)]
    bookmark = weather.bookmark()
    server.answers = [listing(*crowd[:-1])]
    named = weather.bookmark()

    assert bookmark.endswith(f"~{MADE}~many")
    assert named.count("~") == 31
    server.answers = [listing(*crowd)]
    assert weather.newer_runs(named) == ["old-30"]
    with pytest.raises(Unclear, match=r"^more runs began at one moment than a bookmark can name$"):
        weather.newer_runs(bookmark)
    server.answers = [listing(("new", "RUNNING", MADE + 1))]
    assert weather.newer_runs(bookmark) == ["new"]


def test_a_run_of_another_request_is_known_from_its_notes(
    weather: IotAnalyticsPipeline, invocation_of: Callable[..., Invocation]
) -> None:
    record = Record("request-9", NOW, {"run~9d31": NOW})

    assert weather.started_run(invocation_of(), record) == "9d31"


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


def test_an_unknown_state_of_another_run_does_not_matter(
    weather: IotAnalyticsPipeline, server: Server
) -> None:
    server.answers = [listing(("other", "PAUSED", MADE), ("9d31", "RUNNING", MADE))]

    assert weather.status("9d31").state is State.RUNNING


def test_an_answer_that_is_no_listing_is_unclear(weather: IotAnalyticsPipeline, server: Server) -> None:
    server.answers = [(200, {}, b"{}")]

    with pytest.raises(Unclear, match=r"^the answer of IoT Analytics has no 'pipeline'$"):
        weather.status("9d31")


@pytest.mark.parametrize(
    ("name", "is_repeated"),
    [
        ("InvalidRequestException", False),
        ("InternalFailureException", True),
        ("ServiceUnavailableException", True),
        ("ThrottlingException", True),
    ],
)
def test_a_status_is_asked_for_again_where_that_may_help(
    weather: IotAnalyticsPipeline, server: Server, name: str, is_repeated: bool
) -> None:
    server.answers = [error(name)]

    with pytest.raises(Fault):
        weather.status("9d31")

    assert (len(server.received) > 5) is is_repeated
    assert set(sent(server)) == {"GET /pipelines/weather"}


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
    "name", ["InternalFailureException", "ServiceUnavailableException", "ThrottlingException"]
)
def test_a_cancel_without_a_clear_answer_is_sent_again(
    weather: IotAnalyticsPipeline, server: Server, name: str
) -> None:
    server.answers = [error(name), error(name), (200, {}, b"{}")]

    assert weather.cancel("9d31", "the resource was removed")

    assert len(server.received) == 3
