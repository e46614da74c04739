"""An event and its context become one checked value: what is wanted, who is to be told, and until when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.invocation import (
    MADE_AT,
    Invocation,
    Recipient,
    RequestType,
    Waiting,
    is_of_ours,
    named_run,
    valid_until,
)
from pipeline_reprocessing_handler.properties import Kind, Messages, Properties, Target
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeClock, FakeContext

    Event = Callable[..., dict[str, Any]]
    Of = Callable[..., Invocation]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay-1"
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"
SIGNAL_URL = "https://signals.example/wait?Signature=77aa"
AT_TEN = "https://s3.example/a?X-Amz-Date=20250131T100000Z&X-Amz-Expires=7200"
SHORT = {"TimeoutSeconds": "60"}
LONG = {"TimeoutSeconds": "42000", "SignalUrl": SIGNAL_URL}
ANSWER = Recipient("answer", RESPONSE_URL, NOW + timedelta(minutes=5))
SIGNAL = Recipient("signal", SIGNAL_URL, NOW + timedelta(seconds=42_000, minutes=5))


def continued(started_at: datetime) -> dict[str, Any]:
    """The fields by which a continuation is known."""
    waiting = Waiting("run-1", started_at.timestamp(), 0, "CREATE_IN_PROGRESS", 0)
    return {"CrHelperPoll": True, "CrHelperData": asdict(waiting), MADE_AT: NOW.timestamp()}


def test_an_event_becomes_one_frozen_value(
    event_of: Event, context: FakeContext, properties: dict[str, Any]
) -> None:
    event = event_of("Update", OldResourceProperties={**properties, "Trigger": "b" * 64})

    invocation = Invocation.parse(event, context, NOW)

    assert invocation == Invocation(
        event=event,
        stack_id="arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f",
        request_id="request-1",
        logical_id="Backfill",
        physical_id="weather/run-1",
        parsed=(RequestType.UPDATE, Properties.parse(properties)),
        previous=Properties.parse({**properties, "Trigger": "b" * 64}),
        made_at=NOW,
        not_made_before=NOW - timedelta(hours=6),
        recipient=Recipient("answer", RESPONSE_URL, NOW + timedelta(seconds=3000, minutes=5)),
        new_condition=None,
        began_at=NOW,
        ends_at=NOW + timedelta(minutes=15),
        function_name="handler",
    )
    assert (invocation.type, invocation.properties) == invocation.parsed


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("RequestType", None, "'RequestType' must be one of Create, Update, Delete, got NoneType"),
        ("RequestType", "Read", "'RequestType' must be one of Create, Update, Delete, got 'Read'"),
        ("StackId", "", "'StackId' must be a text that is not empty, got ''"),
        ("RequestId", None, "'RequestId' must be a text that is not empty, got NoneType"),
        ("LogicalResourceId", 3, "'LogicalResourceId' must be a text that is not empty, got int"),
        ("ResourceProperties", None, "'ResourceProperties' must be an object, got NoneType"),
    ],
)
def test_a_field_that_cannot_be_read_is_named_when_it_is_needed(
    invocation_of: Of, field: str, value: object, message: str
) -> None:
    invocation = invocation_of(**{field: value})

    with pytest.raises(Failure) as failure:
        _ = invocation.properties

    assert str(failure.value) == message


@pytest.mark.parametrize(
    "unreadable",
    [None, "text", {}, {"Wait": "text"}, {"Wait": {"SignalUrl": SIGNAL_URL}}, {"Pipeline": 3}],
)
def test_an_unreadable_request_has_a_recipient_for_five_minutes(
    invocation_of: Of, unreadable: object
) -> None:
    invocation = invocation_of(ResourceProperties=unreadable)

    assert isinstance(invocation.parsed, Failure)
    assert (invocation.recipient, invocation.new_condition) == (ANSWER, None)


def test_an_unreadable_request_is_as_old_as_its_response_url(invocation_of: Of) -> None:
    invocation = invocation_of(ResourceProperties=None, ResponseURL=AT_TEN)

    assert invocation.recipient.until == datetime(2025, 1, 31, 10, 5, tzinfo=UTC)


@pytest.mark.parametrize("old", [None, "text", {}, {"PipelineName": "weather", "Version": "1"}])
def test_without_readable_old_properties_an_update_changes_the_data(invocation_of: Of, old: object) -> None:
    update = invocation_of("Update", OldResourceProperties=old)

    assert update.previous is None
    assert update.changes_the_data


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
        ({"Because": {"Telemetry/Renamed": {"code": "1f0c9a2e"}}}, False),
        ({"Because": None}, False),
    ],
)
def test_only_what_decides_the_data_changes_the_data(
    invocation_of: Of, properties: dict[str, Any], change: dict[str, Any], changes_the_data: bool
) -> None:
    properties |= {
        "Values": {"Unit.Value": "fahrenheit"},
        "Because": {"Telemetry/ToCelsius": {"code": "1f0c9a2e"}},
    }

    update = invocation_of("Update", {**properties, **change}, OldResourceProperties=properties)

    assert update.changes_the_data is changes_the_data


def test_a_selection_by_age_is_counted_from_the_request(
    invocation_of: Of, properties: dict[str, Any], clock: FakeClock
) -> None:
    properties["Messages"] = {"LastSeconds": "3600"}

    first = invocation_of("Create", properties, ResponseURL=AT_TEN)
    clock.sleep(600)
    repeated = invocation_of("Create", properties, ResponseURL=AT_TEN)

    assert first.messages == Messages(
        start=datetime(2025, 1, 31, 9, tzinfo=UTC), end=datetime(2025, 1, 31, 10, tzinfo=UTC)
    )
    assert repeated.messages == first.messages


@pytest.mark.parametrize(
    ("fields", "moment"),
    [
        ({"ResponseURL": "https://s3.example/a?X-Amz-Date=20250131T100005Z"}, NOW.replace(hour=10, second=5)),
        (
            {"ResponseURL": "https://s3.example/a", MADE_AT: 1738317600.5},
            NOW.replace(hour=10, microsecond=500_000),
        ),
        ({"ResponseURL": AT_TEN, MADE_AT: 1738321200}, NOW.replace(hour=11)),
        (
            {"ResponseURL": "https://s3.example/a?X-Amz-Date=yesterday", MADE_AT: 1738317600},
            NOW.replace(hour=10),
        ),
        ({"ResponseURL": "https://[s3.example/a"}, NOW),
        ({"ResponseURL": "https://s3.example/a", MADE_AT: "noon"}, NOW),
        ({"ResponseURL": AT_TEN, MADE_AT: "noon"}, NOW.replace(hour=10)),
        ({}, NOW),
    ],
)
def test_a_request_was_made_when_it_says_and_otherwise_now(
    invocation_of: Of, fields: dict[str, Any], moment: datetime
) -> None:
    assert invocation_of(**fields).made_at == moment


@pytest.mark.parametrize(
    ("wait", "minutes"), [(None, 5), (SHORT, 6), ({"TimeoutSeconds": "3300"}, 60), (LONG, 5)]
)
def test_an_answer_is_due_when_the_wait_is_over(
    invocation_of: Of, properties: dict[str, Any], wait: object, minutes: int
) -> None:
    properties["Wait"] = wait

    recipient = invocation_of("Create", properties).recipient

    assert recipient == Recipient("answer", RESPONSE_URL, NOW + timedelta(minutes=minutes))


def test_a_long_wait_answers_the_request_and_has_a_new_condition(
    invocation_of: Of, properties: dict[str, Any]
) -> None:
    create = invocation_of("Create", {**properties, "Wait": LONG})
    update = invocation_of("Update", {**properties, "Wait": LONG}, OldResourceProperties=properties)

    for each in (create, update):
        assert (each.recipient, each.new_condition) == (ANSWER, SIGNAL)


def test_a_condition_of_the_deploy_before_is_no_new_one(
    invocation_of: Of, properties: dict[str, Any]
) -> None:
    properties["Wait"] = LONG

    update = invocation_of("Update", {**properties, "Trigger": "b"}, OldResourceProperties=properties)

    assert update.new_condition is None


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_the_continuation_of_a_long_wait_tells_the_condition_only(
    invocation_of: Of, properties: dict[str, Any], type_: str
) -> None:
    properties["Wait"] = LONG
    later = continued(NOW + timedelta(minutes=3))

    continuation = invocation_of(type_, properties, OldResourceProperties=properties, **later)

    assert continuation.recipient == Recipient("signal", SIGNAL_URL, SIGNAL.until + timedelta(minutes=3))
    assert continuation.new_condition is None


def test_the_continuation_of_a_short_wait_tells_the_answer(
    invocation_of: Of, properties: dict[str, Any], clock: FakeClock
) -> None:
    clock.sleep(200)

    continuation = invocation_of("Create", {**properties, "Wait": SHORT}, **continued(clock.now()))

    assert continuation.recipient == Recipient("answer", RESPONSE_URL, NOW + timedelta(minutes=6))


@pytest.mark.parametrize("data", [None, {}, "text", {"started_at": "noon"}])
def test_a_continuation_of_a_strange_shape_has_a_recipient(
    invocation_of: Of, properties: dict[str, Any], data: object
) -> None:
    invocation = invocation_of("Create", {**properties, "Wait": LONG}, CrHelperData=data)

    assert isinstance(invocation.parsed, Exception)
    assert invocation.recipient == ANSWER


@pytest.mark.parametrize(
    ("remaining", "wait", "seconds"),
    [
        (900, {"TimeoutSeconds": "3300"}, 900 - 90),  # Lambda ends the invocation first
        (900, None, 300 - 90),  # CloudFormation stops listening first
        (900, SHORT, 360 - 90),
        (100, None, 80),  # of a short time a fifth is kept
        (450, {"TimeoutSeconds": "3300"}, 360),
    ],
)
def test_an_invocation_keeps_time_for_what_comes_after(
    invocation_of: Of,
    properties: dict[str, Any],
    context: FakeContext,
    remaining: int,
    wait: object,
    seconds: int,
) -> None:
    context.remaining = remaining * 1000

    invocation = invocation_of("Create", {**properties, "Wait": wait})

    assert invocation.until(keep=timedelta(seconds=90)) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("remaining", "seconds"), [(900, 570), (825, 495), (800, 480), (60, 36)])
def test_a_hand_over_begins_early_enough_to_be_throttled_for_minutes(
    invocation_of: Of, context: FakeContext, remaining: int, seconds: int
) -> None:
    context.remaining = remaining * 1000

    assert invocation_of().hand_over_at == NOW + timedelta(seconds=seconds)


def test_a_failure_names_pipeline_and_run_and_has_the_runs_id(invocation_of: Of) -> None:
    create = invocation_of()

    before, after = create.failure("too late"), create.failure("too long", "9d31")

    assert (str(before), before.physical_id) == ("pipeline 'weather': too late", None)
    assert (str(after), after.physical_id) == (
        "pipeline 'weather', run '9d31': too long",
        "weather/9d31/1738324800",
    )


@pytest.mark.parametrize(
    ("physical_id", "run"),
    [
        ("weather/run-1/1738324800", ("run-1", NOW)),
        ("weather/run-1", ("run-1", None)),
        ("weather/a/b", ("a/b", None)),
        ("weather/a/b/1738324800", ("a/b", NOW)),
        ("weather/1738324800", ("1738324800", None)),
        ("weather/1738324800/1738324800", ("1738324800", NOW)),
        ("weather/run/12", ("run/12", None)),
        ("weather/run/173832480012", ("run/173832480012", None)),
        ("weather/not-started", None),
        ("weather/", None),
        ("weather", None),
        ("", None),
        ("weather_2/9d31", None),
        ("stack-Backfill-1TBV0FNGWF0Q5", None),
    ],
)
def test_a_run_and_its_time_are_named_by_an_id_of_ours_only(
    physical_id: str, run: tuple[str, datetime | None] | None
) -> None:
    assert named_run(physical_id, Target(Kind.IOT_ANALYTICS, "weather")) == run


def test_an_id_names_what_it_was_made_of(invocation_of: Of) -> None:
    invocation = invocation_of()

    named = named_run(invocation.id_of("9d31"), invocation.properties.target)

    assert named == ("9d31", NOW)
    assert invocation.id_of(None) == "weather/not-started"


@pytest.mark.parametrize(
    ("fields", "physical_id"),
    [
        ({"ResourceProperties": None}, "Backfill/not-started"),
        ({"ResourceProperties": None, "LogicalResourceId": ""}, "resource/not-started"),
    ],
)
def test_an_unreadable_request_has_an_id_all_the_same(
    invocation_of: Of, fields: dict[str, Any], physical_id: str
) -> None:
    assert invocation_of(**fields).id_of(None) == physical_id


@pytest.mark.parametrize(
    ("physical_id", "ours"),
    [
        ("weather/9d31/1738324800", True),
        ("weather/not-started", True),
        ("stack-Backfill-1TBV0", False),
        ("", False),
    ],
)
def test_cloudformation_invents_ids_without_a_slash(physical_id: str, ours: bool) -> None:
    assert is_of_ours(physical_id) is ours


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
def test_a_signed_url_says_when_it_expires(url: str, expires: datetime | None) -> None:
    assert valid_until(url) == expires


def test_secrets_are_not_shown_with_the_invocation(invocation_of: Of, properties: dict[str, Any]) -> None:
    properties["Wait"] = LONG

    shown = repr(invocation_of("Create", properties))

    assert "Signature" not in shown
