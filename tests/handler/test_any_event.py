"""Whatever an event says, an answer goes out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_reprocessing_handler.aws_errors import Denied, Missing
from pipeline_reprocessing_handler.crhelper_adapter import CrhelperAdapter
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.properties import Properties
from pipeline_reprocessing_handler.response import Answer

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeContext

    Event = Callable[..., dict[str, Any]]
    AdapterOf = Callable[..., CrhelperAdapter]

GROUP = "handler-logs"
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: object) -> Answer:
        raise error

    return function


@pytest.mark.parametrize("url", [None, ""])
def test_an_event_without_an_address_is_logged_and_nothing_else(
    adapter_of: AdapterOf,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    logged: io.StringIO,
    url: object,
) -> None:
    adapter_of()(event_of(ResponseURL=url), context)

    assert aws.answers == []
    assert "an event without ResponseURL cannot be answered" in logged.getvalue()


@pytest.mark.parametrize(
    ("type_", "shown"), [("Read", "'Read'"), ("create", "'create'"), (None, "NoneType"), (["Create"], "list")]
)
def test_an_unknown_type_of_request_fails_with_a_reason(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext, type_: Any, shown: str
) -> None:
    adapter_of()(event_of(type_), context)

    (answer,) = aws.documents
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == f"'RequestType' must be one of Create, Update, Delete, got {shown}"


def test_an_exception_is_told_with_its_kind(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter_of(begin=raising(KeyError("pipeline")))(event_of(), context)

    assert aws.documents[0]["Reason"] == "KeyError: 'pipeline'"


def test_a_reason_does_not_quote_the_address_of_the_answer(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter_of(begin=raising(OSError(f"cannot reach {RESPONSE_URL} (?X-Amz-Signature=0f1e2d3c4b5a)")))(
        event_of(), context
    )

    assert aws.documents[0]["Reason"] == "OSError: cannot reach [secret] (?[secret])"


def test_no_credentials_are_in_a_reason_or_the_log(
    adapter_of: AdapterOf,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUC"
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    adapter_of(begin=raising(Denied(f"SignatureDoesNotMatch: canonical: x-amz-security-token:{token}")))(
        event_of(), context
    )

    assert aws.documents[0]["Reason"].endswith("x-amz-security-token:[secret]")
    assert token not in logged.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["Create", "Update", "Delete"]) | values,
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "StackId",
                "RequestId",
                "LogicalResourceId",
                "PhysicalResourceId",
                "ResourceProperties",
                "OldResourceProperties",
            ),
            values,
        ),
    ),
)
def test_whatever_an_event_says_it_is_answered(
    aws: FakeAws, context: FakeContext, type_: Any, fields: dict[str, Any]
) -> None:
    aws.answers.clear()
    aws.streams.clear()
    event = {"RequestType": type_, "ResponseURL": RESPONSE_URL, **fields}

    Handler(aws, GROUP)(json.loads(json.dumps(event)), context)

    ((url, body),) = aws.answers
    answer = json.loads(body)
    assert url == RESPONSE_URL
    assert len(body) <= 4096
    assert answer["PhysicalResourceId"]
    assert answer["PhysicalResourceId"] != "None"
    assert answer["Status"] == "SUCCESS" or answer["Reason"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    type_=st.sampled_from(["Create", "Update", "Delete"]),
    where=st.sampled_from(
        [
            ("Pipeline",),
            ("Pipeline", "Kind"),
            ("Pipeline", "Name"),
            ("Pipeline", "EndpointUrl"),
            ("Messages",),
            ("Messages", "StartTime"),
            ("Messages", "LastSeconds"),
            ("Messages", "S3Paths"),
            ("Trigger",),
            ("Because",),
            ("Because", "Telemetry/ToCelsius"),
            ("Because", "Telemetry/ToCelsius", "code"),
            ("Wait",),
            ("Wait", "TimeoutSeconds"),
            ("Wait", "OnTimeout"),
            ("Wait", "SignalUrl"),
            ("OnRollback",),
            ("OnRemoval",),
        ]
    ),
    value=values,
    old=st.booleans(),
)
def test_whatever_a_property_says_the_request_is_answered(
    aws: FakeAws,
    context: FakeContext,
    event_of: Event,
    type_: str,
    where: tuple[str, ...],
    value: object,
    old: bool,
) -> None:
    aws.answers.clear()
    aws.streams.clear()
    aws.scripts = {"describe_pipeline": [{"pipeline": {}}], "start_pipeline_reprocessing": [Missing("gone")]}
    event = event_of(type_)
    event["OldResourceProperties"] = event_of(type_)["ResourceProperties"]
    place = event["OldResourceProperties" if old else "ResourceProperties"]
    place["Because"] = {"Telemetry/ToCelsius": {"code": "1f0c9a2e"}}
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value

    Handler(aws, GROUP)(event, context)

    assert len(aws.answers) == 1


@pytest.mark.parametrize(
    "field",
    ["StackId", "RequestId", "LogicalResourceId", "PhysicalResourceId", "ResourceProperties", "RequestType"],
)
@pytest.mark.parametrize("type_", ["Create", "Update", "Delete"])
def test_an_event_that_lacks_a_field_is_answered(
    aws: FakeAws, context: FakeContext, event_of: Event, type_: str, field: str
) -> None:
    aws.scripts = {"describe_pipeline": [{"pipeline": {}}], "start_pipeline_reprocessing": [Denied("no")]}

    Handler(aws, GROUP)(event_of(type_, missing=(field,)), context)

    assert len(aws.answers) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"Messages": {"StartTime": "9999-12-31T23:59:59-01:00"}},
        {"Messages": {"LastSeconds": "9" * 5000}},
        {"Wait": {"TimeoutSeconds": "1e309"}},
        {"Wait": {"TimeoutSeconds": "9" * 310}},
        {"Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather", "EndpointUrl": "http://[::1"}},
    ],
)
def test_a_token_that_was_resolved_to_something_odd_fails_the_deploy_with_a_reason(
    aws: FakeAws, context: FakeContext, event_of: Event, properties: dict[str, Any], odd: dict[str, Any]
) -> None:
    Handler(aws, GROUP)(event_of("Create", {**properties, **odd}), context)

    (answer,) = aws.documents
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith(f"'{next(iter(odd))}.")
    assert answer["PhysicalResourceId"].endswith("/not-started")


def test_a_delete_of_properties_that_break_the_reading_itself_succeeds(
    aws: FakeAws, context: FakeContext, event_of: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Properties, "parse", lambda properties: 1 / 0)

    Handler(aws, GROUP)(event_of("Delete"), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather/run-1")


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_a_deploy_of_properties_that_break_the_reading_itself_fails(
    aws: FakeAws, context: FakeContext, event_of: Event, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    monkeypatch.setattr(Properties, "parse", lambda properties: 1 / 0)

    Handler(aws, GROUP)(event_of(type_, OldResourceProperties={}), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["Reason"]) == ("FAILED", "ZeroDivisionError: division by zero")
