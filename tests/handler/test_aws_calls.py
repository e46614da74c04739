"""Calls to services: each error becomes the fault that says what it means, and what must not be repeated is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from botocore.retries.standard import ThrottledRetryableChecker

from pipeline_reprocessing_handler import aws as aws_module
from pipeline_reprocessing_handler import aws_errors, clients
from pipeline_reprocessing_handler.aws import LONGEST_PAUSE
from pipeline_reprocessing_handler.aws_errors import (
    Conflict,
    Denied,
    Fault,
    Missing,
    PerhapsOurs,
    Refused,
    Throttled,
    Unclear,
    Unreachable,
)

if TYPE_CHECKING:
    from botocore.stub import Stubber
    from tests.handler.conftest import FakeAws, FakeClock, Server

    from pipeline_reprocessing_handler.aws import Aws

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
STREAM: dict[str, Any] = {"logGroupName": "handler-logs", "logStreamName": "note"}
NAME: dict[str, Any] = {"pipelineName": "weather"}
DESCRIBED = {"pipeline": {"name": "weather"}}
JSON = {"Content-Type": "application/json"}
RUN = (200, JSON, b'{"reprocessingId": "9d31"}')
TROUBLE: dict[str, Any] = {
    "500": (500, {"x-amzn-ErrorType": "InternalFailureException"}, b'{"message": "oops"}'),
    "503": (503, {"x-amzn-ErrorType": "ServiceUnavailableException"}, b'{"message": "later"}'),
    "502 of a proxy": (502, {"Content-Type": "text/html"}, b"<html><body>Bad gateway</body></html>"),
    "dropped connection": None,
    "silence": 5.0,
    "half an answer": (200, {"Content-Length": "100"}, b'{"reprocessingId": "9d'),
}


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "READ_TIMEOUT", 0.3)


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("AccessDenied", 403, Denied),
        ("AccessDeniedException", 400, Denied),
        ("UnauthorizedOperation", 403, Denied),
        ("UnrecognizedClientException", 400, Denied),
        ("ThrottlingException", 429, Throttled),
        ("ThrottlingException", 400, Throttled),
        ("Throttling", 400, Throttled),
        ("TooManyRequestsException", 429, Throttled),
        ("LimitExceededException", 400, Throttled),
        ("ExecutionLimitExceeded", 400, Throttled),
        ("SomethingNew", 429, Throttled),
        ("ResourceNotFoundException", 404, Missing),
        ("StateMachineDoesNotExist", 400, Missing),
        ("ExecutionDoesNotExist", 400, Missing),
        ("ResourceAlreadyExistsException", 409, Conflict),
        ("ExecutionAlreadyExists", 400, Conflict),
        ("InvalidRequestException", 400, Refused),
        ("ExpiredTokenException", 403, Refused),
        ("InternalFailureException", 500, Unclear),
        ("ServiceUnavailableException", 503, Unclear),
        ("SomethingNew", 504, Unclear),
        ("SomethingNew", 418, Refused),
    ],
)
def test_an_error_of_a_service_becomes_what_it_means(
    real_aws: Aws, stub: Callable[[str], Stubber], code: str, status: int, fault: type[Fault]
) -> None:
    stub("iotanalytics").add_client_error("describe_pipeline", code, "the words of AWS", status)

    with pytest.raises(Fault) as raised:
        real_aws.send("iotanalytics", "describe_pipeline", None, NAME)

    assert type(raised.value) is fault
    assert str(raised.value) == f"iotanalytics:describe_pipeline: {code}: the words of AWS"


def test_all_that_the_sdk_takes_for_throttling_is_throttling() -> None:
    # with exceptions that no service of ours has
    known: list[str] = vars(ThrottledRetryableChecker)["_THROTTLED_ERROR_CODES"]

    foreign = {
        "BandwidthLimitExceeded",
        "ProvisionedThroughputExceededException",
        "TransactionInProgressException",
    }
    assert {code for code in known if aws_errors._MEANING.get(code) is not Throttled} <= foreign


def test_an_error_without_words_says_so(real_aws: Aws, stub: Callable[[str], Stubber]) -> None:
    stub("iotanalytics").add_client_error("describe_pipeline", "InternalFailureException", "", 500)

    with pytest.raises(
        Unclear, match=r"^iotanalytics:describe_pipeline: InternalFailureException: no message$"
    ):
        real_aws.send("iotanalytics", "describe_pipeline", None, NAME)


def test_a_call_gives_what_the_service_answers(real_aws: Aws, stub: Callable[[str], Stubber]) -> None:
    stub("iotanalytics").add_response("describe_pipeline", DESCRIBED, NAME)

    answer = real_aws.call("iotanalytics", "describe_pipeline", **NAME)

    assert answer["pipeline"] == {"name": "weather"}


@pytest.mark.parametrize(
    ("service", "endpoint_url", "parameters", "message"),
    [
        (
            "iotanalytics",
            None,
            {},
            "iotanalytics:describe_pipeline cannot be called: Parameter validation failed:\n"
            'Missing required parameter in input: "pipelineName"',
        ),
        (
            "iotanalytics",
            "https://not a host",
            NAME,
            "iotanalytics:describe_pipeline cannot be called: Invalid endpoint: https://not a host",
        ),
    ],
)
def test_a_call_that_cannot_be_made_is_refused(
    real_aws: Aws, service: str, endpoint_url: str | None, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused) as refused:
        real_aws.call(service, "describe_pipeline", endpoint_url=endpoint_url, **parameters)

    assert str(refused.value) == message


def test_an_unknown_service_is_refused(real_aws: Aws) -> None:
    with pytest.raises(Refused, match=r"^iotmagic:describe cannot be called: Unknown service: 'iotmagic'"):
        real_aws.call("iotmagic", "describe")


def test_without_a_region_a_call_is_refused(real_aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(
        Refused, match=r"^logs:describe_log_streams cannot be called: You must specify a region\.$"
    ):
        real_aws.call("logs", "describe_log_streams", logGroupName="handler-logs")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def failing(clock: FakeClock, fault: Fault, times: float = math.inf) -> Callable[[], datetime]:
    """An attempt that fails so often, and then gives the time."""
    left = times

    def attempt() -> datetime:
        nonlocal left
        if left > 0:
            left -= 1
            raise fault
        return clock.now()

    return attempt


@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops")])
def test_what_can_pass_is_repeated_until_the_patience_is_over(
    aws: FakeAws, clock: FakeClock, fault: Fault
) -> None:
    patient = aws.patient(later(180))

    assert patient.repeat(failing(clock, fault, 12)) > later(60)
    clock.moment = NOW
    with pytest.raises(type(fault)):
        patient.repeat(failing(clock, fault))

    assert later(170) <= clock.now() <= later(180)


def test_without_patience_nothing_is_repeated(aws: FakeAws, clock: FakeClock) -> None:
    aws.patient(later(180))

    for fault in (Throttled("busy"), Unclear("oops"), Unreachable("none"), Denied("no")):
        with pytest.raises(type(fault)):
            aws.repeat(failing(clock, fault, 1))

    assert clock.slept == []


@pytest.mark.parametrize(
    "fault", [Refused("no"), Missing("gone"), Conflict("it exists"), PerhapsOurs("it exists")]
)
def test_what_will_not_change_is_not_repeated(aws: FakeAws, clock: FakeClock, fault: Fault) -> None:
    patient = aws.patient(later(180), denials_pass_until=later(60))

    with pytest.raises(type(fault)):
        patient.repeat(failing(clock, fault, 1))

    assert clock.slept == []


def test_a_refusal_of_iam_is_repeated_while_the_role_is_new(aws: FakeAws, clock: FakeClock) -> None:
    patient = aws.patient(later(180), denials_pass_until=later(60))

    with pytest.raises(Denied):
        patient.repeat(failing(clock, Denied("no")))

    assert later(50) <= clock.now() <= later(60)


def test_the_time_of_a_new_role_is_not_begun_anew_with_each_call(aws: FakeAws, clock: FakeClock) -> None:
    clock.sleep(59.9)

    with pytest.raises(Denied):
        aws.patient(later(180), denials_pass_until=later(60)).repeat(failing(clock, Denied("no")))

    assert clock.now() == later(59.9)


def test_a_service_without_a_connection_is_tried_for_half_a_minute(aws: FakeAws, clock: FakeClock) -> None:
    clock.sleep(100)

    with pytest.raises(Unreachable):
        aws.patient(later(180)).repeat(failing(clock, Unreachable("none")))
    assert later(120) <= clock.now() <= later(130)

    clock.moment = later(170)
    with pytest.raises(Unreachable):
        aws.patient(later(180)).repeat(failing(clock, Unreachable("none")))
    assert clock.now() <= later(180)


def test_pauses_double_to_the_longest_and_lie_in_the_upper_half(aws: FakeAws, clock: FakeClock) -> None:
    most = [1, 2, 4, 8, *[LONGEST_PAUSE] * 2000]

    pauses = list(islice(aws.pauses(), len(most)))

    assert all(longest / 2 <= pause <= longest for pause, longest in zip(pauses, most, strict=True))
    assert len(set(pauses[4:])) > 1900  # the requests of twenty resources do not meet again
    assert min(pauses[4:]) < 0.55 * LONGEST_PAUSE < 0.95 * LONGEST_PAUSE < max(pauses[4:])


def test_the_pauses_of_a_repeated_call_are_those(aws: FakeAws, clock: FakeClock) -> None:
    aws.patient(later(180)).repeat(failing(clock, Throttled("busy"), 6))

    assert clock.slept == list(islice(aws_module.Aws(clock, Random(0)).pauses(), 6))


@pytest.mark.parametrize(
    ("fault", "may_pass"),
    [
        (Throttled("busy"), True),
        (Unclear("oops"), True),
        (Unreachable("none"), True),
        (Denied("no"), True),
        (Refused("no"), False),
        (Missing("gone"), False),
        (Conflict("it exists"), False),
    ],
)
def test_what_may_pass_within_the_patience_is_known(
    aws: FakeAws, clock: FakeClock, fault: Fault, may_pass: bool
) -> None:
    patient = aws.patient(later(180), denials_pass_until=later(60))

    assert patient.may_pass(fault) is may_pass
    clock.sleep(180)
    assert not patient.may_pass(fault)


def test_a_call_of_a_patient_aws_is_repeated(real_aws: Aws, stub: Callable[[str], Stubber]) -> None:
    stubber = stub("iotanalytics")
    stubber.add_client_error("describe_pipeline", "ThrottlingException", "later", 429)
    stubber.add_client_error("describe_pipeline", "ServiceUnavailableException", "later", 503)
    stubber.add_response("describe_pipeline", DESCRIBED, NAME)

    answer = real_aws.patient(later(60)).call("iotanalytics", "describe_pipeline", **NAME)

    assert answer["pipeline"] == {"name": "weather"}


def test_what_exists_after_a_lost_answer_may_have_been_made_by_the_same_call(
    real_aws: Aws, stub: Callable[[str], Stubber]
) -> None:
    stubber = stub("logs")
    stubber.add_client_error("create_log_stream", "ServiceUnavailableException", "later", 503)
    stubber.add_client_error("create_log_stream", "ThrottlingException", "later", 400)
    stubber.add_client_error("create_log_stream", "ResourceAlreadyExistsException", "it exists", 400)

    with pytest.raises(PerhapsOurs, match="it exists"):
        real_aws.patient(later(60)).call("logs", "create_log_stream", **STREAM)


def test_what_exists_after_a_throttled_call_was_made_by_another(
    real_aws: Aws, stub: Callable[[str], Stubber]
) -> None:
    stubber = stub("logs")
    stubber.add_client_error("create_log_stream", "ThrottlingException", "later", 400)
    stubber.add_client_error("create_log_stream", "ResourceAlreadyExistsException", "it exists", 400)

    with pytest.raises(Conflict) as raised:
        real_aws.patient(later(60)).call("logs", "create_log_stream", **STREAM)

    assert type(raised.value) is Conflict


@pytest.mark.loopback
@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_a_start_goes_over_the_wire_once(real_aws: Aws, server: Server, trouble: Any) -> None:
    server.answers = [trouble, RUN]

    with pytest.raises(Unclear, match=r"^iotanalytics:start_pipeline_reprocessing"):
        real_aws.patient(later(60)).send("iotanalytics", "start_pipeline_reprocessing", server.url, NAME)

    assert [request.method for request in server.received] == ["POST"]


@pytest.mark.loopback
@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_another_call_goes_over_the_wire_again(real_aws: Aws, server: Server, trouble: Any) -> None:
    server.answers = [trouble, (200, JSON, b'{"pipeline": {"name": "weather"}}')]
    patient = real_aws.patient(later(60))

    answer = patient.call("iotanalytics", "describe_pipeline", endpoint_url=server.url, **NAME)

    assert answer["pipeline"] == {"name": "weather"}
    assert [request.method for request in server.received] == ["GET", "GET"]


@pytest.mark.loopback
def test_the_sdk_repeats_nothing_by_itself(real_aws: Aws, server: Server) -> None:
    server.answers = [TROUBLE["503"]]

    with pytest.raises(Unclear):
        real_aws.call("iotanalytics", "describe_pipeline", endpoint_url=server.url, **NAME)

    assert len(server.received) == 1


@pytest.mark.loopback
def test_a_closed_port_gives_no_answer(real_aws: Aws, unused_tcp_port_url: Callable[[], str]) -> None:
    with pytest.raises(
        Unreachable,
        match=r"^iotanalytics:describe_pipeline got no answer: Could not connect to the endpoint URL",
    ):
        real_aws.call("iotanalytics", "describe_pipeline", endpoint_url=unused_tcp_port_url(), **NAME)


@pytest.mark.loopback
def test_an_answer_that_is_no_answer_of_the_service_is_unclear(real_aws: Aws, server: Server) -> None:
    server.answers = [(200, {"Content-Type": "text/html"}, b"<html>Please log in")]

    with pytest.raises(Unclear, match=r"^cloudformation:describe_stacks got an unreadable answer: "):
        real_aws.call("cloudformation", "describe_stacks", endpoint_url=server.url, StackName="weather")


@pytest.mark.loopback
def test_clients_and_their_session_live_as_long_as_the_sandbox(real_aws: Aws, server: Server) -> None:
    server.answers = [RUN]
    for _ in range(2):
        real_aws.call("iotanalytics", "start_pipeline_reprocessing", endpoint_url=server.url, **NAME)

    assert real_aws._client("iotanalytics", server.url) is real_aws._client("iotanalytics", server.url)
    assert real_aws._client("iotanalytics", server.url) is not real_aws._client("iotanalytics", None)


def test_the_clock_tells_the_time_in_utc() -> None:
    clock = aws_module.Clock()
    before = clock.now()

    clock.sleep(0.001)

    assert clock.now() > before
    assert before.utcoffset() is not None


def test_a_clock_is_injected(clock: FakeClock) -> None:
    assert aws_module.Aws(clock).clock is clock
