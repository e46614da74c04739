"""Events as CloudFormation sends them, and what is read out of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pipeline_reprocessing_handler.request import (
    ARRIVED_AT,
    Request,
    RequestType,
    requested_at,
    run_of,
    valid_until,
)

from pipeline_reprocessing_handler.properties import Kind, Messages, Properties, Target, Wait
from pipeline_reprocessing_handler.validation import Failure, OnRemoval, OnRollback, OnTimeout

if TYPE_CHECKING:
    Event = Callable[..., dict[str, Any]]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay-1"


def test_an_event_becomes_one_frozen_request(event_of: Event) -> None:
    event = event_of("Update", OldResourceProperties={"Trigger": "written by nobody"})

    request = Request.parse(event, now=NOW)

    assert request == Request(
        type=RequestType.UPDATE,
        stack_id="arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f",
        request_id="request-1",
        logical_id="Backfill",
        physical_id="weather/run-1",
        properties=Properties(
            target=Target(Kind.IOT_ANALYTICS, "weather"),
            messages=Messages(
                start=datetime(2025, 1, 1, tzinfo=UTC),
                end=datetime(2025, 1, 31, tzinfo=UTC),
            ),
            trigger="a" * 64,
            values={},
            wait=Wait(timedelta(seconds=3000), OnTimeout.FAIL),
            on_rollback=OnRollback.KEEP,
            on_removal=OnRemoval.CANCEL,
        ),
        previous=None,
        requested_at=NOW,
    )


def test_every_scalar_may_be_a_text(properties: dict[str, Any]) -> None:
    properties |= {"Messages": {"LastSeconds": "2592000"}, "OnRollback": "REPROCESS", "OnRemoval": "LEAVE"}
    properties["Wait"] = {
        "TimeoutSeconds": "42000",
        "OnTimeout": "DETACH",
        "SignalUrl": "https://signal.example",
    }

    parsed = Properties.parse(properties)

    assert parsed.messages == Messages(last_seconds=2_592_000)
    assert parsed.wait == Wait(timedelta(seconds=42_000), OnTimeout.DETACH, "https://signal.example")
    assert (parsed.on_rollback, parsed.on_removal) == (OnRollback.REPROCESS, OnRemoval.LEAVE)


def test_a_state_machine_is_named_by_its_arn(properties: dict[str, Any]) -> None:
    properties["Pipeline"] = {"Kind": "STATE_MACHINE", "Arn": MACHINE}

    target = Properties.parse(properties).target

    assert target == Target(Kind.STATE_MACHINE, "Replay-1", arn=MACHINE)


def test_an_endpoint_belongs_to_the_target(properties: dict[str, Any]) -> None:
    properties["Pipeline"]["EndpointUrl"] = "https://iotanalytics.example:8443/api"

    assert Properties.parse(properties).target.endpoint_url == "https://iotanalytics.example:8443/api"


@pytest.mark.parametrize("wait", [None, {}, ""])
def test_without_a_wait_nothing_is_waited_for(properties: dict[str, Any], wait: object) -> None:
    properties["Wait"] = wait

    assert Properties.parse(properties).wait is None


def test_a_key_of_a_newer_version_is_ignored(properties: dict[str, Any]) -> None:
    expected = Properties.parse(properties)
    for place in (properties, properties["Pipeline"], properties["Wait"]):
        place["Sharding"] = "AUTO"

    assert Properties.parse(properties) == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("Pipeline", None, "'Pipeline' must be an object, got NoneType"),
        ("Pipeline", "weather", "'Pipeline' must be an object, got str"),
        ("Pipeline", {}, "'Pipeline.Kind' must be one of IOT_ANALYTICS, STATE_MACHINE, got NoneType"),
        (
            "Pipeline",
            {"Kind": "KINESIS"},
            "'Pipeline.Kind' must be one of IOT_ANALYTICS, STATE_MACHINE, got 'KINESIS'",
        ),
        (
            "Pipeline",
            {"Kind": "IOT_ANALYTICS"},
            "'Pipeline.Name' must be a text that is not empty, got NoneType",
        ),
        (
            "Pipeline",
            {"Kind": "IOT_ANALYTICS", "Name": ""},
            "'Pipeline.Name' must be a text that is not empty, got ''",
        ),
        (
            "Pipeline",
            {"Kind": "IOT_ANALYTICS", "Name": ["weather"]},
            "'Pipeline.Name' must be a text that is not empty, got list",
        ),
        (
            "Pipeline",
            {"Kind": "IOT_ANALYTICS", "Name": "weather-2024"},
            "'Pipeline.Name' must consist of letters, digits and underscores and not begin with two underscores, "
            "got 'weather-2024'; IoT Analytics allows no hyphens",
        ),
        (
            "Pipeline",
            {"Kind": "IOT_ANALYTICS", "Name": "weather", "EndpointUrl": 8443},
            "'Pipeline.EndpointUrl' must be a text that is not empty, got int",
        ),
        (
            "Pipeline",
            {"Kind": "IOT_ANALYTICS", "Name": "weather", "EndpointUrl": "weather.example"},
            "'Pipeline.EndpointUrl' must be an http or https URL without credentials, got 'weather.example'",
        ),
        (
            "Pipeline",
            {"Kind": "STATE_MACHINE"},
            "'Pipeline.Arn' must be a text that is not empty, got NoneType",
        ),
        (
            "Pipeline",
            {"Kind": "STATE_MACHINE", "Arn": "Replay"},
            "'Pipeline.Arn' must be the ARN of a state machine, got 'Replay'",
        ),
        (
            "Messages",
            None,
            "'Messages' must be an object, got NoneType",
        ),
        ("Trigger", None, "'Trigger' must be a text that is not empty, got NoneType"),
        ("Trigger", "", "'Trigger' must be a text that is not empty, got ''"),
        ("Wait", "3000", "'Wait' must be an object, got str"),
        ("Wait", {"OnTimeout": "FAIL"}, "'Wait.TimeoutSeconds' must be a whole number, got NoneType"),
        (
            "Wait",
            {"TimeoutSeconds": "fifty minutes"},
            "'Wait.TimeoutSeconds' must be a whole number, got 'fifty minutes'",
        ),
        ("Wait", {"TimeoutSeconds": True}, "'Wait.TimeoutSeconds' must be a whole number, got bool"),
        ("Wait", {"TimeoutSeconds": 1.5}, "'Wait.TimeoutSeconds' must be a whole number, got float"),
        ("Wait", {"TimeoutSeconds": "3e3"}, "'Wait.TimeoutSeconds' must be a whole number, got '3e3'"),
        (
            "Wait",
            {"TimeoutSeconds": "9" * 5000},
            f"'Wait.TimeoutSeconds' must be a whole number, got '{'9' * 200}'",
        ),
        (
            "Wait",
            {"TimeoutSeconds": "3301"},
            "'Wait.TimeoutSeconds' above 3300 needs 'Wait.SignalUrl', got 3301",
        ),
        (
            "Wait",
            {"TimeoutSeconds": "60", "OnTimeout": "GO_ON"},
            "'Wait.OnTimeout' must be one of FAIL, DETACH, got 'GO_ON'",
        ),
        (
            "Wait",
            {"TimeoutSeconds": "60", "SignalUrl": ""},
            "'Wait.SignalUrl' must be a text that is not empty, got ''",
        ),
        ("OnRollback", "keep", "'OnRollback' must be one of KEEP, REPROCESS, got 'keep'"),
        ("OnRollback", "x" * 500, f"'OnRollback' must be one of KEEP, REPROCESS, got '{'x' * 200}'"),
        ("OnRemoval", ["CANCEL"], "'OnRemoval' must be one of CANCEL, LEAVE, got list"),
    ],
)
def test_a_property_that_cannot_be_read_is_named(
    properties: dict[str, Any], key: str, value: object, message: str
) -> None:
    properties[key] = value

    with pytest.raises(Failure) as failure:
        Properties.parse(properties)

    assert str(failure.value) == message


@pytest.mark.parametrize("shape", [None, "text", [], 7])
def test_properties_of_another_shape_are_refused(shape: object) -> None:
    with pytest.raises(Failure) as failure:
        Properties.parse(shape)

    assert str(failure.value) == f"'ResourceProperties' must be an object, got {type(shape).__name__}"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("RequestType", None, "'RequestType' must be one of Create, Update, Delete, got NoneType"),
        ("RequestType", "Read", "'RequestType' must be one of Create, Update, Delete, got 'Read'"),
        ("StackId", "", "'StackId' must be a text that is not empty, got ''"),
        ("RequestId", None, "'RequestId' must be a text that is not empty, got NoneType"),
        ("LogicalResourceId", 3, "'LogicalResourceId' must be a text that is not empty, got int"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(
    event_of: Event, field: str, value: object, message: str
) -> None:
    event = event_of(**{field: value})

    with pytest.raises(Failure) as failure:
        Request.parse(event, now=NOW)

    assert str(failure.value) == message


@pytest.mark.parametrize(
    "old",
    [None, "text", {}, {"Pipeline": {"Kind": "IOT_ANALYTICS"}}, {"PipelineName": "weather", "Version": "1"}],
)
def test_old_properties_of_a_forgotten_shape_tell_nothing(event_of: Event, old: object) -> None:
    request = Request.parse(event_of("Update", OldResourceProperties=old), now=NOW)

    assert request.previous is None
    assert request.changes_the_data


@pytest.mark.parametrize(
    ("change", "changes_the_data"),
    [
        ({}, False),
        ({"Wait": {"TimeoutSeconds": "60"}}, False),
        ({"Wait": None}, False),
        ({"OnRollback": "REPROCESS", "OnRemoval": "LEAVE"}, False),
        ({"ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:other"}, False),
        (
            {"Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather", "EndpointUrl": "https://x.example"}},
            False,
        ),
        ({"Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather_2"}}, True),
        ({"Pipeline": {"Kind": "STATE_MACHINE", "Arn": MACHINE}}, True),
        ({"Messages": {"All": "true"}}, True),
        (
            {"Messages": {"StartTime": "2025-01-01T01:00:00+01:00", "EndTime": "2025-01-31T00:00:00Z"}},
            False,
        ),
        ({"Trigger": "b" * 64}, True),
        ({"Values": {"Unit.Value": "celsius"}}, True),
        ({"Values": {}}, False),
    ],
)
def test_only_what_decides_the_data_changes_the_data(
    event_of: Event, properties: dict[str, Any], change: dict[str, Any], changes_the_data: bool
) -> None:
    properties["Values"] = {"Unit.Value": "fahrenheit"}
    event = event_of("Update", {**properties, **change}, OldResourceProperties=properties)

    assert Request.parse(event, now=NOW).changes_the_data is changes_the_data


def test_a_selection_by_age_is_counted_from_the_request(event_of: Event, properties: dict[str, Any]) -> None:
    properties["Messages"] = {"LastSeconds": "3600"}
    event = event_of("Create", properties, ResponseURL="https://s3.example/?X-Amz-Date=20250131T100000Z")

    first = Request.parse(event, now=NOW)
    repeated = Request.parse(event, now=NOW + timedelta(minutes=10))

    assert first.messages == Messages(
        start=datetime(2025, 1, 31, 9, tzinfo=UTC), end=datetime(2025, 1, 31, 10, tzinfo=UTC)
    )
    assert repeated.messages == first.messages


def test_a_selection_by_age_goes_back_to_1970_at_most(event_of: Event, properties: dict[str, Any]) -> None:
    properties["Messages"] = {"LastSeconds": str(100 * 365 * 86400)}

    messages = Request.parse(event_of("Create", properties), now=NOW).messages

    assert messages.start == datetime(1970, 1, 1, tzinfo=UTC)


def test_requests_that_ask_for_the_same_have_the_same_digest(
    event_of: Event, properties: dict[str, Any]
) -> None:
    asks = Request.parse(event_of("Create", properties), now=NOW).asks_for
    waits = Request.parse(
        event_of("Update", {**properties, "Wait": {"TimeoutSeconds": "60"}}), now=NOW
    ).asks_for
    other = Request.parse(event_of("Create", {**properties, "Trigger": "b" * 64}), now=NOW).asks_for

    assert asks == waits
    assert asks != other


@pytest.mark.parametrize(
    ("url", "expires"),
    [
        (
            "https://s3.example/?X-Amz-Date=20250131T100000Z&X-Amz-Expires=86399",
            NOW + timedelta(hours=22, seconds=-1),
        ),
        ("https://s3.example/?X-Amz-Date=20250131T100000Z", None),
        ("https://s3.example/?X-Amz-Date=20250131T100000Z&X-Amz-Expires=soon", None),
        ("https://s3.example/?X-Amz-Expires=86399", None),
        ("https://[", None),
    ],
)
def test_a_signed_url_says_until_when_it_is_taken(url: str, expires: datetime | None) -> None:
    assert valid_until(url) == expires


@pytest.mark.parametrize(
    ("wait", "minutes"),
    [
        (None, 5),
        ({"TimeoutSeconds": "60"}, 6),
        ({"TimeoutSeconds": "42000", "SignalUrl": "https://signal.example"}, 5),
    ],
)
def test_an_answer_is_due_when_the_wait_is_over(
    event_of: Event, properties: dict[str, Any], wait: object, minutes: int
) -> None:
    properties["Wait"] = wait

    request = Request.parse(event_of("Create", properties), now=NOW)

    assert request.answer_by == NOW + timedelta(minutes=minutes)


def test_the_longest_wait_in_a_custom_resource_ends_within_its_hour(
    event_of: Event, properties: dict[str, Any]
) -> None:
    properties["Wait"] = {"TimeoutSeconds": "3300"}

    request = Request.parse(event_of("Create", properties), now=NOW)

    assert request.answer_by == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("physical_id", "run_id"),
    [
        ("weather/9d31", "9d31"),
        ("weather/a/b", "a/b"),
        ("weather/not-started", None),
        ("weather/", None),
        ("weather", None),
        ("", None),
        ("weather_2/9d31", None),
        ("stack-Backfill-1TBV0FNGWF0Q5", None),
    ],
)
def test_a_run_is_named_by_an_id_of_ours_only(physical_id: str, run_id: str | None) -> None:
    assert run_of(physical_id, Target(Kind.IOT_ANALYTICS, "weather")) == run_id


def test_the_id_of_a_run_names_pipeline_and_run(event_of: Event) -> None:
    request = Request.parse(event_of(), now=NOW)

    assert request.id_of("9d31") == "weather/9d31"
    assert run_of(request.id_of("9d31"), request.properties.target) == "9d31"


@pytest.mark.parametrize(
    ("fields", "moment"),
    [
        (
            {"ResponseURL": "https://s3.example/a?X-Amz-Date=20250131T100005Z&X-Amz-Expires=7200"},
            datetime(2025, 1, 31, 10, 0, 5, tzinfo=UTC),
        ),
        (
            {"ResponseURL": "https://s3.example/a", ARRIVED_AT: 1738317600.0},
            datetime(2025, 1, 31, 10, tzinfo=UTC),
        ),
        (
            {"ResponseURL": "https://s3.example/a?X-Amz-Date=yesterday", ARRIVED_AT: 1738317600},
            datetime(2025, 1, 31, 10, tzinfo=UTC),
        ),
        ({"ResponseURL": "https://[s3.example/a"}, None),
        ({"ResponseURL": "https://s3.example/a", ARRIVED_AT: "noon"}, None),
        ({}, None),
    ],
)
def test_the_time_of_a_request_is_in_its_response_url(
    fields: dict[str, Any], moment: datetime | None
) -> None:
    assert requested_at(fields) == moment


def test_a_signal_url_is_not_shown_with_the_request(event_of: Event, properties: dict[str, Any]) -> None:
    properties["Wait"] = {"TimeoutSeconds": "60", "SignalUrl": "https://signal.example/w?Signature=0f1e"}

    request = Request.parse(event_of("Create", properties), now=NOW)

    assert "Signature" not in repr(request)
