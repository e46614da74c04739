"""The rules that the construct and its handler share: one function each, and the text that people get to read."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_reprocessing_handler.invocation import RequestType
from pipeline_reprocessing_handler.properties import Kind, Messages
from pipeline_reprocessing_handler.validation import (
    MAX_LAST,
    Failure,
    check_endpoint_url,
    check_last,
    check_order,
    check_pipeline_name,
    check_s3_path,
    check_s3_path_count,
    check_time,
    check_wait,
    format_time,
    one_of,
    parse_time,
    state_machine_name,
)

OFFICIAL_NAME = re.compile(r"(^(?!_{2}))(^[a-zA-Z0-9_]+$)")
OFFICIAL_S3_PATH = re.compile(r"^[a-zA-Z0-9/_!'(){}\*\s\.\-\=\:]+$", re.ASCII)

moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  # Hypothesis adds the time zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001  # Hypothesis adds the time zone
    timezones=st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
).map(lambda moment: moment.replace(microsecond=0))
s3_paths = st.from_regex(r"[a-zA-Z0-9/_!'(){}* .=:-]{1,50}", fullmatch=True)
selections = st.one_of(
    st.just(Messages()),
    st.integers(1, int(MAX_LAST.total_seconds())).map(lambda seconds: Messages(last_seconds=seconds)),
    st.lists(s3_paths, min_size=1, max_size=100).map(lambda paths: Messages(s3_paths=tuple(paths))),
    moments.map(lambda moment: Messages(start=moment)),
    moments.map(lambda moment: Messages(end=moment)),
    st.tuples(moments, moments)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: Messages(start=min(pair), end=max(pair))),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def as_cloudformation_sends(value: Any) -> Any:
    """Every scalar a text."""
    if isinstance(value, dict):
        return {key: as_cloudformation_sends(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_cloudformation_sends(inner) for inner in value]
    return json.dumps(value) if isinstance(value, bool | int) else value


@given(selections)
def test_a_selection_survives_cloudformation(messages: Messages) -> None:
    sent = as_cloudformation_sends(json.loads(json.dumps(messages.properties())))

    assert Messages.parse(sent, Kind.IOT_ANALYTICS) == messages


@given(selections)
def test_a_selection_means_the_same_in_the_input_of_a_state_machine(messages: Messages) -> None:
    resolved = messages.at(datetime(2025, 1, 31, 12, 0, 0, 5, tzinfo=UTC))

    assert "LastSeconds" not in resolved.properties()
    assert Messages.parse(resolved.properties(), Kind.IOT_ANALYTICS) == resolved


@given(
    st.dictionaries(st.sampled_from(["StartTime", "EndTime", "LastSeconds", "S3Paths", "All"]), values)
    | values
)
def test_a_selection_of_any_shape_is_read_or_refused(shape: object) -> None:
    with suppress(Failure):
        messages = Messages.parse(shape, Kind.STATE_MACHINE)

        assert Messages.parse(messages.properties(), Kind.STATE_MACHINE) == messages


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (
            {},
            "'Messages' must have exactly one of StartTime and/or EndTime, LastSeconds, S3Paths, KeysFrom, All; got none",
        ),
        (
            {"All": "true", "LastSeconds": "60"},
            "'Messages' must have exactly one of StartTime and/or EndTime, LastSeconds, S3Paths, KeysFrom, All; "
            "got All, LastSeconds",
        ),
        (
            {"StartTime": "2025-01-01T00:00:00Z", "S3Paths": ["channel/a"]},
            "'Messages' must have exactly one of StartTime and/or EndTime, LastSeconds, S3Paths, KeysFrom, All; "
            "got S3Paths, StartTime",
        ),
        (
            {"Everything": "true"},
            "'Messages' must have exactly one of StartTime and/or EndTime, LastSeconds, S3Paths, KeysFrom, All; "
            "got Everything",
        ),
        ("All", "'Messages' must be an object, got str"),
        ({"All": "false"}, "'Messages.All' must be true, got 'false'"),
        ({"All": False}, "'Messages.All' must be true, got bool"),
        ({"All": ["true"]}, "'Messages.All' must be true, got list"),
        ({"LastSeconds": "a month"}, "'Messages.LastSeconds' must be a whole number, got 'a month'"),
        (
            {"LastSeconds": "0"},
            "'Messages.LastSeconds' must be between 1 second and 36500 days, got 0 seconds; "
            "use .all() to replay everything",
        ),
        ({"StartTime": ["2025"]}, "'Messages.StartTime' must be a text that is not empty, got list"),
        (
            {"EndTime": "tomorrow"},
            "'Messages.EndTime' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got 'tomorrow'",
        ),
        (
            {"StartTime": "2025-01-31T00:00:00Z", "EndTime": "2025-01-01T00:00:00Z"},
            "'Messages.StartTime' must be before 'Messages.EndTime', "
            "got 2025-01-31T00:00:00Z and 2025-01-01T00:00:00Z",
        ),
        ({"S3Paths": "channel/a"}, "'Messages.S3Paths' must be a list of object keys, got 'channel/a'"),
        ({"S3Paths": 5}, "'Messages.S3Paths' must be a list of object keys, got int"),
        ({"S3Paths": [5]}, "'Messages.S3Paths[0]' must be a text that is not empty, got int"),
        ({"S3Paths": ["ä" * 513]}, "'Messages.S3Paths[0]' must have 1 to 1024 bytes in UTF-8, got 1026"),
        (
            {"S3Paths": ["s3://bucket/a"]},
            "'Messages.S3Paths[0]' must be an object key without its bucket, got 's3://bucket/a'; "
            "leave out 's3://<bucket>/'",
        ),
        (
            {"S3Paths": []},
            "'Messages.S3Paths' must have 1 to 100 entries, got 0; select by time to replay more objects",
        ),
        (
            {"S3Paths": ["channel/a", None]},
            "'Messages.S3Paths[1]' must be a text that is not empty, got NoneType",
        ),
    ],
)
def test_a_selection_that_cannot_be_read_is_quoted(properties: object, message: str) -> None:
    with pytest.raises(Failure) as failure:
        Messages.parse(properties, Kind.STATE_MACHINE)

    assert str(failure.value) == message


@pytest.mark.parametrize("said", ["true", "True", True])
def test_everything_is_selected_by_saying_so(said: object) -> None:
    assert Messages.parse({"All": said, "LastSeconds": None}, Kind.IOT_ANALYTICS) == Messages()


def test_a_documented_key_of_a_channel_is_a_path() -> None:
    key = (
        "mybucket_prefix/channel/mychannel/__dt=2020-02-29 00:00:00/"
        "1582940490000_1582940520000_123456789012_mychannel_0_2118.0.json.gz"
    )

    assert check_s3_path("paths", key) == key


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "'paths' must have 1 to 1024 characters, got 0"),
        ("k" * 1025, "'paths' must have 1 to 1024 characters, got 1025"),
        (
            "s3://bucket/channel/a",
            "'paths' must be an object key without its bucket, got 's3://bucket/channel/a'; leave out 's3://<bucket>/'",
        ),
        (
            "channel/a&b",
            "'paths' has a character that IoT Analytics refuses, got 'channel/a&b'; "
            r"it takes [a-zA-Z0-9/_!'(){}*\s.\-=:]+",
        ),
        (
            "channel/\u3000",
            "'paths' has a character that IoT Analytics refuses, got 'channel/\u3000'; "
            r"it takes [a-zA-Z0-9/_!'(){}*\s.\-=:]+",
        ),
    ],
)
def test_a_path_that_the_api_refuses_is_refused_here(path: str, message: str) -> None:
    with pytest.raises(Failure) as failure:
        check_s3_path("paths", path)

    assert str(failure.value) == message


@given(st.text(alphabet=st.characters(max_codepoint=127), min_size=1, max_size=20))
def test_paths_are_those_of_the_official_pattern(path: str) -> None:
    try:
        accepted = bool(check_s3_path("paths", path))
    except Failure:
        accepted = False

    assert accepted == (bool(OFFICIAL_S3_PATH.fullmatch(path)) and not path.startswith("s3://"))


def test_each_kind_of_pipeline_takes_its_own_paths() -> None:
    paths = {"S3Paths": ["channel/a", "größe+,&@%"]}

    assert Messages.parse(paths, Kind.STATE_MACHINE).s3_paths == ("channel/a", "größe+,&@%")
    with pytest.raises(
        Failure, match=r"^'Messages\.S3Paths\[1\]' has a character that IoT Analytics refuses"
    ):
        Messages.parse(paths, Kind.IOT_ANALYTICS)


@pytest.mark.parametrize("count", [0, 101])
def test_a_call_takes_a_hundred_paths(count: int) -> None:
    with pytest.raises(Failure) as failure:
        check_s3_path_count("paths", count)

    assert str(failure.value) == (
        f"'paths' must have 1 to 100 entries, got {count}; select by time to replay more objects"
    )


def test_a_hundred_paths_are_accepted() -> None:
    messages = Messages.parse({"S3Paths": [f"channel/{number}" for number in range(100)]}, Kind.IOT_ANALYTICS)

    assert len(messages.s3_paths) == 100


@pytest.mark.parametrize("name", ["weather", "W", "_weather", "1", "w" * 128])
def test_a_name_that_the_api_takes_is_taken(name: str) -> None:
    assert check_pipeline_name("pipeline", name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "'pipeline' must have 1 to 128 characters, got 0"),
        ("w" * 129, "'pipeline' must have 1 to 128 characters, got 129"),
        (
            "__weather",
            "'pipeline' must consist of letters, digits and underscores and not begin with two underscores, "
            "got '__weather'; IoT Analytics allows no hyphens",
        ),
        (
            "weather\n",
            "'pipeline' must consist of letters, digits and underscores and not begin with two underscores, "
            "got 'weather\n'; IoT Analytics allows no hyphens",
        ),
    ],
)
def test_a_name_that_the_api_refuses_is_refused_here(name: str, message: str) -> None:
    with pytest.raises(Failure) as failure:
        check_pipeline_name("pipeline", name)

    assert str(failure.value) == message


@given(st.text(alphabet=st.characters(max_codepoint=127), min_size=1, max_size=20))
def test_names_are_those_of_the_official_pattern(name: str) -> None:
    try:
        accepted = bool(check_pipeline_name("pipeline", name))
    except Failure:
        accepted = False

    assert accepted == bool(OFFICIAL_NAME.fullmatch(name))


@given(moments)
def test_a_time_survives_its_text(moment: datetime) -> None:
    assert parse_time("start", format_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-31T00:00:00Z", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T02:00:00+02:00", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31 00:00:00+00:00", datetime(2025, 1, 31, tzinfo=UTC)),
    ],
)
def test_a_time_is_given_in_utc(text: str, expected: datetime) -> None:
    moment = parse_time("start", text)

    assert (moment, moment.utcoffset()) == (expected, timedelta())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noon", "'start' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got 'noon'"),
        ("", "'start' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got ''"),
        ("1738317600", "'start' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got '1738317600'"),
        (
            "2025-01-31T00:00:00",
            "'start' must know its time zone, got 2025-01-31T00:00:00; add tzinfo=timezone.utc",
        ),
        ("2025-01-31", "'start' must know its time zone, got 2025-01-31T00:00:00; add tzinfo=timezone.utc"),
        (
            "2025-01-31T00:00:00.5Z",
            "'start' must be in whole seconds, got 2025-01-31T00:00:00.500000+00:00; use .replace(microsecond=0)",
        ),
        ("1969-12-31T23:59:59Z", "'start' must not be before 1970, got 1969-12-31T23:59:59+00:00"),
        ("0001-01-01T00:00:00+23:59", "'start' must not be before 1970, got 0001-01-01T00:00:00+23:59"),
        (
            "9999-12-31T23:59:59-01:00",
            "'start' must be before the year 10000 in UTC, got 9999-12-31T23:59:59-01:00",
        ),
    ],
)
def test_a_time_that_names_no_instant_is_refused(text: str, message: str) -> None:
    with pytest.raises(Failure) as failure:
        parse_time("start", text)

    assert str(failure.value) == message


def test_the_first_second_of_the_epoch_is_a_time() -> None:
    assert check_time("start", datetime(1970, 1, 1, tzinfo=UTC)).timestamp() == 0


def test_a_range_holds_at_least_a_second() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)

    check_order(("start", start), ("end", start + timedelta(seconds=1)))
    with pytest.raises(Failure) as failure:
        check_order(("start", start), ("end", start))

    assert (
        str(failure.value)
        == "'start' must be before 'end', got 2025-01-01T00:00:00Z and 2025-01-01T00:00:00Z"
    )


@pytest.mark.parametrize("seconds", [1, 36_500 * 86_400])
def test_an_age_of_up_to_a_hundred_years_is_taken(seconds: int) -> None:
    assert check_last("last", seconds) == seconds


@pytest.mark.parametrize("seconds", [-1, 0, 36_500 * 86_400 + 1])
def test_an_age_outside_its_bounds_is_refused(seconds: int) -> None:
    with pytest.raises(Failure) as failure:
        check_last("last", seconds)

    assert str(failure.value) == (
        f"'last' must be between 1 second and 36500 days, got {seconds} seconds; use .all() to replay everything"
    )


@pytest.mark.parametrize("seconds", [1, 43_200])
def test_a_wait_that_cloudformation_knows_is_taken(seconds: int) -> None:
    assert check_wait("timeout", seconds) == seconds


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (0, "'timeout' must be at least 1 second, got 0; use Wait.none() to return at once"),
        (
            50_400,
            "'timeout' must be at most 12 hours, got 14 hours; use Wait.none() to return at once",
        ),
    ],
)
def test_a_wait_that_cloudformation_does_not_know_is_refused(seconds: int, message: str) -> None:
    with pytest.raises(Failure) as failure:
        check_wait("timeout", seconds)

    assert str(failure.value) == message


@pytest.mark.parametrize(
    "url", ["https://iotanalytics.example", "http://127.0.0.1:4566", "https://[::1]:8443/a"]
)
def test_an_endpoint_is_a_url(url: str) -> None:
    assert check_endpoint_url("endpoint_url", url) == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("iotanalytics.example", "iotanalytics.example"),
        ("ftp://iotanalytics.example", "ftp://iotanalytics.example"),
        ("https://", "https://"),
        ("https://[::1", "https://[::1"),
        ("https://host:99999", "https://host:99999"),
        ("https://host:port", "https://host:port"),
        ("https://me:secret@host/a", "https://***@host/a"),
        ("https://secret@host", "https://***@host"),
        ("https://@host", "https://***@host"),
    ],
)
def test_what_is_no_endpoint_is_refused_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(Failure) as failure:
        check_endpoint_url("endpoint_url", url)

    assert (
        str(failure.value)
        == f"'endpoint_url' must be an http or https URL without credentials, got '{shown}'"
    )


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_a_state_machine_has_its_name_in_its_arn(partition: str) -> None:
    arn = f"arn:{partition}:states:eu-west-1:123456789012:stateMachine:Replay-1"

    assert state_machine_name("machine", arn) == "Replay-1"


@pytest.mark.parametrize(
    "arn",
    [
        "Replay",
        "arn:aws:states:eu-west-1:123456789012:execution:Replay:1",
        "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay:1",
        "arn:aws:states:eu-west-1:123456789012:stateMachine:Map/Replay",
        "arn:aws:states:eu-west-1:123456789012:stateMachine:",
    ],
)
def test_another_arn_is_refused(arn: str) -> None:
    with pytest.raises(Failure) as failure:
        state_machine_name("machine", arn)

    assert str(failure.value) == f"'machine' must be the ARN of a state machine, got '{arn}'"


@given(values)
def test_an_unknown_request_type_is_refused(value: object) -> None:
    with pytest.raises(Failure, match=r"^'RequestType' must be one of Create, Update, Delete, got "):
        one_of("RequestType", value, RequestType)
