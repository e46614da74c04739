"""What an answer or an error of Lambda means for the run."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from object_replay.faults import (
    Denied,
    Fault,
    FunctionFailed,
    OutOfReservation,
    ReplayStopped,
    ResultUnknown,
    Throttled,
)
from object_replay.functions import Functions

ARN = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"


class Body:
    def __init__(self, content: bytes | Exception) -> None:
        self._content = content

    def read(self) -> bytes:
        if isinstance(self._content, Exception):
            raise self._content
        return self._content


class Client:
    """A client of Lambda that always answers the same."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer
        self.given: list[dict[str, Any]] = []

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self.given.append(arguments)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def function(answer: dict[str, Any] | Exception) -> Functions:
    return Functions(Client(answer), ARN)  # type: ignore[arg-type]  # a fake


def refused(code: str, status: int) -> Functions:
    error: Any = {
        "Error": {"Code": code, "Message": "the message"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return function(ClientError(error, "Invoke"))


def test_the_answer_is_the_function_s_own_bytes() -> None:
    functions = function({"Payload": Body(b'{"n": 1.10}')})

    assert functions.invoke(b"[1]") == b'{"n": 1.10}'
    assert functions.client.given == [{"FunctionName": ARN, "Payload": b"[1]"}]  # type: ignore[attr-defined]  # a fake


@pytest.mark.parametrize("kind", ["Handled", "Unhandled"])
def test_an_error_of_the_function_is_no_answer_of_whatever_kind_it_is(kind: str) -> None:
    body = json.dumps({"errorMessage": "no such device", "errorType": "KeyError"}).encode()

    with pytest.raises(FunctionFailed) as raised:
        function({"FunctionError": kind, "Payload": Body(body)}).invoke(b"[]")

    assert str(raised.value) == "KeyError: no such device"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"errorMessage": "Task timed out"}', "Error: Task timed out"),
        (b'{"errorType": "", "errorMessage": "m"}', "Error: m"),
        (b'"a text"', '"a text"'),
        (b"no JSON \xff", "no JSON \ufffd"),
        (b"x" * 5000, "x" * 1000),
    ],
    ids=["no type", "empty type", "no object", "no JSON", "long"],
)
def test_an_error_that_is_not_as_lambda_makes_it_is_told_as_it_is(body: bytes, text: str) -> None:
    with pytest.raises(FunctionFailed) as raised:
        function({"FunctionError": "Unhandled", "Payload": Body(body)}).invoke(b"[]")

    assert str(raised.value) == text


# API `Invoke`, with the status of each.
FINAL = [
    ("ResourceNotFoundException", 404),
    ("InvalidParameterValueException", 400),
    ("UnsupportedMediaTypeException", 415),
    ("EC2AccessDeniedException", 502),
    ("InvalidRuntimeException", 502),
    ("InvalidSecurityGroupIDException", 502),
    ("InvalidSubnetIDException", 502),
    ("InvalidZipFileException", 502),
    ("KMSDisabledException", 502),
    ("KMSInvalidStateException", 502),
    ("KMSNotFoundException", 502),
    ("SnapStartException", 400),
]
DENIED = [("AccessDeniedException", 403), ("KMSAccessDeniedException", 502), ("403", 403)]
PASSING = [
    ("TooManyRequestsException", 429),
    ("ThrottlingException", 400),
    ("ResourceNotReadyException", 502),
    ("ResourceConflictException", 409),
    ("SnapStartNotReadyException", 409),
    ("EC2ThrottledException", 502),
    ("ENILimitReachedException", 502),
    ("EFSMountTimeoutException", 408),
    ("EFSIOException", 410),
]
TOO_LARGE = [
    ("RequestTooLargeException", 413),
    ("RequestEntityTooLargeException", 413),
    ("InvalidRequestContentException", 400),
    ("413", 413),
]


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        *[(*each, ReplayStopped) for each in FINAL],
        *[(*each, Denied) for each in DENIED],
        *[(*each, Throttled) for each in PASSING],
        ("ServiceException", 500, ResultUnknown),
        ("ServiceUnavailable", 503, ResultUnknown),
    ],
)
def test_an_error_of_lambda_reaches_as_far_as_its_cause(
    code: str, status: int, expected: type[Fault]
) -> None:
    with pytest.raises(Fault) as raised:
        refused(code, status).invoke(b"[]")

    assert raised.type is expected  # a function that is gone is gone, and one that is busy is not
    assert str(raised.value) == f"cannot invoke {ARN}: {code}: the message"


@pytest.mark.parametrize(("code", "status"), TOO_LARGE)
def test_a_payload_that_lambda_refuses_is_a_failure_of_that_payload(code: str, status: int) -> None:
    with pytest.raises(FunctionFailed) as raised:
        refused(code, status).invoke(b"[]")

    assert str(raised.value) == f"{code}: the message"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ReadTimeoutError(endpoint_url="https://lambda"), "ReadTimeoutError: Read timeout"),
        (ConnectionResetError("reset by peer"), "ConnectionResetError: reset by peer"),
    ],
)
def test_after_a_connection_that_breaks_it_is_not_known_what_ran(error: Exception, text: str) -> None:
    for functions in (function(error), function({"Payload": Body(error)})):
        with pytest.raises(ResultUnknown) as raised:
            functions.invoke(b"[]")

        assert str(raised.value).startswith(f"cannot invoke {ARN}: {text}")


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://lambda"),
        ConnectTimeoutError(endpoint_url="https://lambda"),
        NoCredentialsError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_connection_nothing_ran_and_the_call_is_worth_another_try(error: Exception) -> None:
    with pytest.raises(Throttled):
        function(error).invoke(b"[]")


def test_a_call_that_the_reserved_concurrency_refuses_is_told_from_others() -> None:
    error = ClientError(
        {
            "Error": {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."},
            "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",  # type: ignore[typeddict-unknown-key]  # Lambda's
        },
        "Invoke",
    )

    with pytest.raises(OutOfReservation):
        function(error).invoke(b"[]")


def test_the_function_is_given_its_client_context() -> None:
    functions = function({"Payload": Body(b"null")})

    functions.invoke(b"{}", context={"custom": {"replay": "run-1"}})

    [given] = functions.client.given  # type: ignore[attr-defined]  # a fake
    assert json.loads(b64decode(given["ClientContext"])) == {"custom": {"replay": "run-1"}}


def test_a_call_that_botocore_refuses_to_make_can_never_be_made() -> None:
    with pytest.raises(ReplayStopped) as raised:
        function(ParamValidationError(report="bad name")).invoke(b"[]")

    assert str(raised.value) == (
        f"cannot invoke {ARN}: ParamValidationError: Parameter validation failed:\nbad name"
    )
