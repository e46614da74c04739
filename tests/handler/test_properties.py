"""The properties of the custom resource, as CloudFormation sends them: any scalar may be a text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline_reprocessing_handler.properties import Kind, Messages, Properties, Target, Wait, readable
from pipeline_reprocessing_handler.validation import Failure, OnRemoval, OnRollback, OnTimeout

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay-1"


def test_properties_become_one_frozen_value(properties: dict[str, Any]) -> None:
    assert Properties.parse(properties) == Properties(
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


@pytest.mark.parametrize(
    "because",
    [
        None,
        "",
        "text",
        7,
        [["code"]],
        {},
        {"Telemetry/ToCelsius": None},
        {"": {"code": {"deep": [1]}}},
        {"x" * 1_000_000: {}},
    ],
    ids=lambda because: str(because)[:30],
)
def test_because_of_any_shape_is_ignored(properties: dict[str, Any], because: object) -> None:
    expected = Properties.parse(properties)

    assert Properties.parse({**properties, "Because": because}) == expected


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
    "old",
    [None, "text", {}, {"Pipeline": {"Kind": "IOT_ANALYTICS"}}, {"PipelineName": "weather", "Version": "1"}],
)
def test_old_properties_of_a_forgotten_shape_tell_nothing(old: object) -> None:
    assert readable(old) is None


def test_a_selection_by_age_goes_back_to_1970_at_most() -> None:
    messages = Messages(last_seconds=100 * 365 * 86400).at(NOW)

    assert messages.start == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "is_the_same"),
    [
        ({"Wait": {"TimeoutSeconds": "60"}}, True),
        ({"OnRollback": "REPROCESS", "OnRemoval": "LEAVE"}, True),
        (
            {"Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather", "EndpointUrl": "https://x.example"}},
            True,
        ),
        ({"Messages": {"StartTime": "2025-01-01T01:00:00+01:00", "EndTime": "2025-01-31T00:00:00Z"}}, True),
        ({"Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather_2"}}, False),
        ({"Messages": {"All": "true"}}, False),
        ({"Trigger": "b" * 64}, False),
        ({"Values": {"Unit.Value": "celsius"}}, False),
        ({"Because": {"Telemetry/ToCelsius": {"code": "1f0c9a2e"}}}, True),
    ],
)
def test_requests_that_ask_for_the_same_have_the_same_digest(
    properties: dict[str, Any], change: dict[str, Any], is_the_same: bool
) -> None:
    digest = Properties.parse(properties).digest

    assert (Properties.parse({**properties, **change}).digest == digest) is is_the_same


@pytest.mark.parametrize(("timeout", "seconds"), [(60, 360), (42_900, 43_200), (43_200, 43_200)])
def test_a_condition_listens_for_five_minutes_more_and_twelve_hours_at_most(
    timeout: int, seconds: int
) -> None:
    wait = Wait(timedelta(seconds=timeout), OnTimeout.FAIL, "https://signal.example")

    assert wait.condition_ends(NOW) == NOW + timedelta(seconds=seconds)


def test_a_signal_url_is_not_shown_with_the_properties() -> None:
    wait = Wait.parse({"TimeoutSeconds": "60", "SignalUrl": "https://signal.example/w?Signature=0f1e"})

    assert "Signature" not in repr(wait)
