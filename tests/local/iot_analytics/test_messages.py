"""Messages on their way in: the archive's layout, what a payload may be, the live way into data stores."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws.iot_analytics.archive import ChannelArchive, Keys, Location, TimeRange, Window
from local_aws.iot_analytics.client import MessagesRefused, ingested_at, put_messages
from local_aws.iot_analytics.storage import MemoryStore

pytestmark = pytest.mark.loopback


def _put(analytics: Any, *payloads: bytes) -> list[dict[str, str]]:
    messages = [{"messageId": str(number), "payload": payload} for number, payload in enumerate(payloads)]
    answer = analytics.client.batch_put_message(channelName="temperatures", messages=messages)
    entries: list[dict[str, str]] = answer["batchPutMessageErrorEntries"]
    return entries


def test_a_batch_becomes_one_object_in_the_documented_layout(analytics: Any) -> None:
    analytics.channel()

    analytics.feed({"t": 1, "text": "grüße"}, {"t": 2}, at="2020-02-29T01:41:47.5+00:00")
    analytics.feed({"t": 3}, at="2020-02-29T01:42:00+00:00")

    assert analytics.keys("raw") == [
        "in/channel/temperatures/__dt=2020-02-29 00:00:00/"
        "1582940490000_1582940520000_123456789012_temperatures_0_0.0.json.gz",
        "in/channel/temperatures/__dt=2020-02-29 00:00:00/"
        "1582940520000_1582940550000_123456789012_temperatures_0_1.0.json.gz",
    ]
    body = analytics.store.get("raw", analytics.keys("raw")[0])
    lines = gzip.decompress(body).decode().splitlines()
    assert [json.loads(line) for line in lines] == [{"t": 1, "text": "grüße"}, {"t": 2}]
    assert body[4:8] == b"\0\0\0\0"


def test_the_example_of_the_documentation_is_a_key_of_its_channel() -> None:
    archive = ChannelArchive("mychannel", "123456789012", Location(MemoryStore(), "raw", ""))
    key = "channel/mychannel/__dt=2020-02-29 00:00:00/1582940490000_1582940520000_123456789012_mychannel_0_2118.0.json.gz"

    found = archive.named(key)

    assert found is not None
    assert found.window.start == datetime(2020, 2, 29, 1, 41, 30, tzinfo=UTC)
    assert found.sequence == 2118


def test_the_day_of_the_folder_is_that_of_utc() -> None:
    late = datetime.fromisoformat("2025-03-01T23:30:00-05:00")

    assert Window.around(late).day == "__dt=2025-03-02 00:00:00"


def test_messages_arrive_now_unless_told_otherwise(analytics: Any, now: datetime) -> None:
    analytics.channel()

    put_messages(analytics.client, "temperatures", [{"t": 1}])

    [found] = ChannelArchive("temperatures", "123456789012", Location(analytics.store, "raw", "in/")).objects(
        TimeRange()
    )
    arrival = analytics.client.describe_channel(channelName="temperatures")["channel"][
        "lastMessageArrivalTime"
    ]
    assert now - timedelta(seconds=30) <= found.window.start <= datetime.now(UTC)
    assert arrival >= now


@pytest.mark.parametrize(
    "text", ["1740823205", "1740823205.5", "2025-03-01T10:00:05+00:00", "2025-03-01T10:00:05Z"]
)
def test_the_ingestion_time_is_a_header(analytics: Any, text: str) -> None:
    analytics.channel()
    body = {"channelName": "temperatures", "messages": [{"messageId": "1", "payload": "e30="}]}

    analytics.raw.post("/messages/batch", json=body, headers={"x-local-ingestion-time": text})

    [key] = analytics.keys("raw")
    assert "/1740823200000_1740823230000_" in key


@pytest.mark.parametrize("text", ["yesterday", "2025-03-01T10:00:05", "9" * 30, ""])
def test_an_ingestion_time_that_is_none_is_refused(analytics: Any, text: str) -> None:
    analytics.channel()
    body = {"channelName": "temperatures", "messages": [{"messageId": "1", "payload": "e30="}]}

    answer = analytics.raw.post("/messages/batch", json=body, headers={"x-local-ingestion-time": text})

    assert answer.json()["message"] == (
        f"'x-local-ingestion-time' must be ISO 8601 with a zone, or epoch seconds, got '{text}'"
    )
    assert analytics.keys("raw") == []


def test_the_client_sets_the_ingestion_time_for_a_while(analytics: Any) -> None:
    analytics.channel()

    with ingested_at(datetime(2025, 3, 1, tzinfo=UTC)):
        _put(analytics, b"{}")
    _put(analytics, b"{}")

    assert sum("/__dt=2025-03-01 " in key for key in analytics.keys("raw")) == 1


def test_many_messages_go_in_several_batches(analytics: Any) -> None:
    analytics.pipeline()

    sent = put_messages(analytics.client, "temperatures", ({"t": number} for number in range(250)))

    assert sent == 250
    assert len(analytics.keys("raw")) == 3
    assert sorted(row["t"] for row in analytics.control.rows("celsius")) == list(range(250))


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "a payload must be a JSON object: "),
        (b"\x00\xff", "a payload must be a JSON object: "),
        (b"[1]", "a payload must be a JSON object, got '[1]'"),
        (b"7", "a payload must be a JSON object, got '7'"),
        (b'{"t": NaN}', "a payload must be a JSON object: NaN is not JSON"),
        (b'{"a":' * 60_000, "a payload must be at most 131072 bytes, got 300000"),
        (b'{"a":' * 20_000, "a payload must be a JSON object: "),
        (b'{"temp-01": 29}', "the field name 'temp-01' must begin with a letter or one underscore"),
        (b'{"01_temp": 29}', "the field name '01_temp' must begin"),
        (b'{"__temp_01": 29}', "the field name '__temp_01' must begin"),
        (b'{"a": [{"b c": 1}]}', "the field name 'b c' must begin"),
        (b'{"' + b"a" * 256 + b'": 1}', "at most 255 characters"),
        (b'{"foo": 1, "FOO": 2}', "the field name 'FOO' is there twice; case does not count"),
    ],
)
def test_a_payload_that_is_no_message_is_an_error_entry(analytics: Any, payload: bytes, problem: str) -> None:
    analytics.pipeline()

    [entry] = _put(analytics, b'{"t": 1}', payload)

    assert entry["messageId"] == "1"
    assert entry["errorCode"] == "InvalidRequestException"
    assert problem in entry["errorMessage"]
    assert analytics.control.rows("celsius") == [{"t": 1}]


def test_field_names_of_the_documentation_are_taken(analytics: Any) -> None:
    analytics.pipeline()

    assert _put(analytics, b'{"temp_01": 29}', b'{"_temp_01": 29}', b'{"_": 1, "a": {"b": 2}}') == []


def test_half_a_character_survives_the_way_through(analytics: Any) -> None:
    analytics.pipeline({"filter": {"filter": "text <> 'x'"}})

    errors = _put(analytics, b'{"text": "\\ud83d"}')

    assert errors == []
    assert analytics.control.rows("celsius") == [{"text": "\ud83d"}]


def test_refused_messages_are_an_exception_of_the_client(analytics: Any) -> None:
    analytics.channel()

    with pytest.raises(MessagesRefused) as caught:
        put_messages(analytics.client, "temperatures", [{"t": 1}, {"a-b": 1}])

    assert str(caught.value).startswith(
        "1 of 2 messages were refused, message 1 because the field name 'a-b' must"
    )


def test_a_batch_has_at_most_a_hundred_messages(analytics: Any) -> None:
    analytics.channel()

    message = analytics.refused(lambda: _put(analytics, *[b"{}"] * 101))

    assert message == "'messages' must be at most 100 in one batch, got 101"


def test_message_ids_are_unique_in_a_batch(analytics: Any) -> None:
    analytics.channel()
    twice = [{"messageId": "1", "payload": b"{}"}] * 2

    message = analytics.refused(
        lambda: analytics.client.batch_put_message(channelName="temperatures", messages=twice)
    )

    assert message == "'messages' must have a 'messageId' of its own for each message of the batch"


def test_messages_for_no_channel_are_not_found(analytics: Any) -> None:
    message = analytics.refused(lambda: _put(analytics, b"{}"), "ResourceNotFoundException")

    assert message == "channel 'temperatures' does not exist"


def test_messages_pass_the_pipelines_at_once_and_beside_each_other(analytics: Any) -> None:
    analytics.pipeline({"filter": {"filter": "t > 1"}})
    analytics.pipeline({"math": {"attribute": "u", "math": "t * 2"}}, name="other")

    analytics.feed({"t": 1}, {"t": 2})

    rows = sorted(analytics.control.rows("celsius", "live"), key=len)
    assert rows == [{"t": 2}, {"t": 1, "u": 2}, {"t": 2, "u": 4}]
    folder = "clean/datastore/celsius/__dt=2025-03-01 00:00:00/1740823200000_1740823230000_123456789012_celsius_live-"
    assert [key.startswith(folder) for key in analytics.keys("out")] == [True, True]


def test_a_pipeline_that_fails_does_not_hold_up_the_archive(analytics: Any) -> None:
    analytics.pipeline({"lambda": {"lambdaName": "broken", "batchSize": 1}})
    analytics.functions.bodies["broken"] = lambda messages: [{"i": 1 / 0} for _ in messages]

    analytics.feed({"t": 1})

    assert len(analytics.keys("raw")) == 1
    assert analytics.control.rows("celsius") == []


def test_a_channel_created_again_does_not_write_over_its_archive(analytics: Any) -> None:
    analytics.channel()
    analytics.feed({"t": 1})
    analytics.client.delete_channel(channelName="temperatures")
    analytics.channel()

    analytics.feed({"t": 2})

    assert len(analytics.keys("raw")) == 2


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [0, 1, 2]),
        ("10:00:30", None, [1, 2]),
        ("10:00:31", None, [2]),
        (None, "10:00:30", [0]),
        (None, "10:00:31", [0, 1]),
        ("10:00:00", "10:01:00", [0, 1]),
        ("10:01:01", None, []),
    ],
)
def test_a_time_range_takes_windows_that_begin_in_it(
    start: str | None, end: str | None, expected: list[int]
) -> None:
    archive = ChannelArchive("c", "123456789012", Location(MemoryStore(), "raw", ""))
    for text in ("10:00:00", "10:00:45", "10:01:20"):
        archive.append([{"at": text}], datetime.fromisoformat(f"2025-03-01T{text}Z"))

    bounds = [datetime.fromisoformat(f"2025-03-01T{text}Z") if text else None for text in (start, end)]

    assert [found.sequence for found in archive.objects(TimeRange(*bounds))] == expected


def test_other_files_in_the_bucket_are_not_the_archives() -> None:
    store = MemoryStore()
    archive = ChannelArchive("c", "1", Location(store, "raw", "p/"))
    for key in (
        "p/channel/c/notes.txt",
        "p/channel/c2/__dt=2025-03-01 00:00:00/0_30000_1_c2_0_0.0.json.gz",
        "x",
    ):
        store.put("raw", key, b"")

    assert archive.objects(TimeRange()) == []
    assert archive.objects(Keys(("x",))) == []
