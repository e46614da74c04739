"""MessageSelection checks what is known at synth and lets tokens through."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from aws_cdk import Duration, Stack, Token
from aws_cdk.aws_s3 import Bucket, IBucket

from pipeline_reprocessing import MessageSelection
from pipeline_reprocessing_handler.properties import Kind

START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2025, 2, 1, tzinfo=UTC)


def token() -> str:
    return Token.as_string({"Ref": "Parameter"})


def test_a_time_range_has_both_times_in_utc() -> None:
    start = datetime(2025, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))

    selection = MessageSelection.time_range(start, END)

    assert selection.properties == {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-02-01T00:00:00Z"}


def test_either_time_may_stand_alone() -> None:
    assert MessageSelection.time_range(start=START).properties == {"StartTime": "2025-01-01T00:00:00Z"}
    assert MessageSelection.time_range(end=END).properties == {"EndTime": "2025-02-01T00:00:00Z"}


def test_a_time_may_be_written_as_iso_8601() -> None:
    selection = MessageSelection.time_range("2025-01-01T02:00:00+02:00")

    assert selection.properties == {"StartTime": "2025-01-01T00:00:00Z"}


@pytest.mark.parametrize("argument", ["start", "end"])
def test_a_token_passes_as_a_time(argument: str) -> None:
    value = token()

    selection = MessageSelection.time_range(**{argument: value})

    assert selection.properties == {f"{argument.capitalize()}Time": value}
    assert not selection.is_known


def test_a_token_as_start_is_not_compared_with_the_end() -> None:
    assert set(MessageSelection.time_range(token(), END).properties) == {"StartTime", "EndTime"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            {},
            "'start' and 'end' must not both be missing; use MessageSelection.all() to replay everything",
        ),
        (
            {"start": datetime(2025, 1, 1)},  # noqa: DTZ001  # that is what is wrong with it
            "'start' must know its time zone, got 2025-01-01T00:00:00; add tzinfo=timezone.utc",
        ),
        (
            {"end": datetime(2025, 1, 1, microsecond=5, tzinfo=UTC)},
            "'end' must be in whole seconds, got 2025-01-01T00:00:00.000005+00:00; use .replace(microsecond=0)",
        ),
        (
            {"start": datetime(1969, 12, 31, tzinfo=UTC)},
            "'start' must not be before 1970, got 1969-12-31T00:00:00+00:00",
        ),
        ({"start": date(2025, 1, 1)}, "'start' must be a datetime, got date 2025-01-01"),
        (
            {"end": "yesterday"},
            "'end' must be an ISO 8601 time such as 2025-01-31T00:00:00Z, got 'yesterday'",
        ),
        (
            {"start": END, "end": START},
            "'start' must be before 'end', got 2025-02-01T00:00:00Z and 2025-01-01T00:00:00Z",
        ),
        (
            {"start": START, "end": START},
            "'start' must be before 'end', got 2025-01-01T00:00:00Z and 2025-01-01T00:00:00Z",
        ),
    ],
)
def test_an_impossible_time_range_is_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        MessageSelection.time_range(**arguments)


@pytest.mark.parametrize("duration", [Duration.seconds(1), Duration.days(30), Duration.days(36_500)])
def test_the_last_messages_are_counted_in_seconds(duration: Duration) -> None:
    assert MessageSelection.last(duration).properties == {"LastSeconds": duration.to_seconds()}


def test_a_token_passes_as_a_duration() -> None:
    seconds = Token.as_number({"Ref": "Parameter"})

    selection = MessageSelection.last(Duration.seconds(seconds))

    assert Stack().resolve(selection.properties) == {"LastSeconds": {"Ref": "Parameter"}}
    assert not selection.is_known


@pytest.mark.parametrize(
    ("duration", "error"),
    [
        (
            Duration.seconds(0),
            "'duration' must be between 1 second and 36500 days, got 0 seconds; use .all() to replay everything",
        ),
        (
            Duration.days(36_501),
            "'duration' must be between 1 second and 36500 days, got 3153686400 seconds; "
            "use .all() to replay everything",
        ),
        (Duration.millis(1500), "'duration' must be in whole seconds, got 1.5 seconds"),
        (
            timedelta(days=1),
            "'duration' must be a Duration, got timedelta 1 day, 0:00:00; write Duration.minutes(...)",
        ),
    ],
)
def test_an_impossible_duration_is_refused(duration: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        MessageSelection.last(duration)


def test_paths_are_taken_as_given() -> None:
    path = (
        "raw/channel/telemetry/__dt=2025-01-01 00:00:00/1735689600000_1735689630000_1_telemetry_0_1.json.gz"
    )

    assert MessageSelection.s3_paths([path]).properties == {"S3Paths": [path]}


@pytest.mark.parametrize("path", ["raw/größe-温度", "raw/a+b,c&d@e%f", "ä" * 512])
def test_a_path_is_any_key_that_an_object_can_have(path: str) -> None:
    assert MessageSelection.s3_paths([path]).properties == {"S3Paths": [path]}


@pytest.mark.parametrize("paths", [("raw/one", "raw/two"), (f"raw/{name}" for name in ("one", "two"))])
def test_any_sequence_of_paths_is_a_list_of_them(paths: Any) -> None:
    assert MessageSelection.s3_paths(paths).properties == {"S3Paths": ["raw/one", "raw/two"]}


def test_a_hundred_paths_are_possible() -> None:
    paths = [f"raw/{number}" for number in range(100)]

    assert MessageSelection.s3_paths(paths).properties == {"S3Paths": paths}


def test_a_token_passes_as_one_of_the_paths() -> None:
    selection = MessageSelection.s3_paths(["raw/one", token()])

    assert Stack().resolve(selection.properties) == {"S3Paths": ["raw/one", {"Ref": "Parameter"}]}
    assert not selection.is_known


def test_a_token_passes_as_all_of_the_paths() -> None:
    selection = MessageSelection.s3_paths(Token.as_list({"Ref": "Parameter"}))

    assert Stack().resolve(selection.properties) == {"S3Paths": {"Ref": "Parameter"}}
    assert not selection.is_known


@pytest.mark.parametrize(
    ("paths", "error"),
    [
        ([], "'paths' must have 1 to 100 entries, got 0; select by time to replay more objects"),
        (["a"] * 101, "'paths' must have 1 to 100 entries, got 101; select by time to replay more objects"),
        (["a", ""], "'paths[1]' must have 1 to 1024 bytes in UTF-8, got 0"),
        (["a" * 1025], "'paths[0]' must have 1 to 1024 bytes in UTF-8, got 1025"),
        (["ä" * 513], "'paths[0]' must have 1 to 1024 bytes in UTF-8, got 1026"),
        (
            ["s3://bucket/raw"],
            "'paths[0]' must be an object key without its bucket, got 's3://bucket/raw'; "
            "leave out 's3://<bucket>/'",
        ),
        ([1], "'paths[0]' must be an object key, got int 1"),
        ([None], "'paths[0]' must be an object key, got NoneType None"),
        ("raw/one", "'paths' must be a list of object keys, got 'raw/one'; write ['raw/one']"),
        (5, "'paths' must be a list of object keys, got int 5; write [...]"),
        (True, "'paths' must be a list of object keys, got bool True; write [...]"),
        (None, "'paths' must be a list of object keys, got NoneType None; write [...]"),
        (b"raw", "'paths' must be a list of object keys, got bytes b'raw'; write [...]"),
        ({"raw/one"}, "'paths' must be a list of object keys, got set {'raw/one'}; write [...]"),
        ({"raw/one": 1}, "'paths' must be a list of object keys, got dict {'raw/one': 1}; write [...]"),
    ],
)
def test_impossible_paths_are_refused(paths: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        MessageSelection.s3_paths(paths)


def test_a_token_for_a_text_is_no_list_of_paths() -> None:
    error = (
        "'paths' must be a list of object keys, got a token for a text; for a parameter use .value_as_list"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        MessageSelection.s3_paths(token())


def test_everything_has_to_be_said() -> None:
    selection = MessageSelection.all()

    assert selection.properties == {"All": True}
    assert selection.is_known


def lists(stack: Stack) -> IBucket:
    return Bucket.from_bucket_name(stack, "Lists", "lists")


@pytest.mark.parametrize("key", ["failed.jsonl", "2026/größe a+b%20.jsonl.gz", "ä" * 512])
def test_a_file_of_keys_is_named_by_bucket_and_key(key: str) -> None:
    bucket = lists(Stack())

    selection = MessageSelection.keys_from(bucket, key)

    assert selection.properties == {"KeysFrom": f"s3://lists/{key}"}
    assert selection.file == (bucket, key)
    assert selection.is_known


def test_a_token_passes_as_the_key_of_a_file() -> None:
    stack = Stack()

    selection = MessageSelection.keys_from(lists(stack), token())

    assert stack.resolve(selection.properties) == {
        "KeysFrom": {"Fn::Join": ["", ["s3://lists/", {"Ref": "Parameter"}]]}
    }
    assert not selection.is_known


def test_a_token_passes_as_the_bucket_of_a_file() -> None:
    stack = Stack()

    selection = MessageSelection.keys_from(Bucket.from_bucket_name(stack, "Lists", token()), "failed.jsonl")

    assert stack.resolve(selection.properties) == {
        "KeysFrom": {"Fn::Join": ["", ["s3://", {"Ref": "Parameter"}, "/failed.jsonl"]]}
    }
    assert not selection.is_known


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", "'key' must have 1 to 1024 bytes in UTF-8, got 0"),
        ("ä" * 513, "'key' must have 1 to 1024 bytes in UTF-8, got 1026"),
        (
            "s3://lists/failed.jsonl",
            "'key' must be an object key without its bucket, got 's3://lists/failed.jsonl'; leave out 's3://<bucket>/'",
        ),
        (None, "'key' must be an object key, got NoneType None"),
    ],
)
def test_an_impossible_key_of_a_file_is_refused(key: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        MessageSelection.keys_from(lists(Stack()), key)


def test_a_file_of_keys_must_be_in_a_bucket() -> None:
    name: Any = "lists"

    with pytest.raises(ValueError, match=r"^'bucket' must be a bucket, got 'lists'$"):
        MessageSelection.keys_from(name, "failed.jsonl")


def test_iot_analytics_takes_no_file_of_keys() -> None:
    selection = MessageSelection.keys_from(lists(Stack()), "failed.jsonl")
    error = (
        "'messages' must not be MessageSelection.keys_from(...) for IoT Analytics; use "
        "MessageSelection.s3_paths([...])"
    )

    selection.check_for(Kind.STATE_MACHINE)
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        selection.check_for(Kind.IOT_ANALYTICS)
