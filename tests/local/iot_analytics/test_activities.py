"""What each activity makes of messages."""

from typing import Any

import pytest

pytestmark = pytest.mark.loopback

DEVICE = {"id": "device-123", "coord": [47.6, -122.3], "temp": 50, "hum": 40}


def test_no_activity_in_between_keeps_messages_as_they_are(analytics: Any) -> None:
    analytics.pipeline()
    message = {"text": "grüße", "list": [1, {"a": None}], "flag": True, "number": 1.5}

    analytics.feed(message)

    assert analytics.control.rows("celsius") == [message]


def test_add_attributes_does_what_the_documentation_shows(analytics: Any) -> None:
    attributes = {
        "device.id": "id",
        "device.coord[0]": "lat",
        "device.coord[1]": "lon",
        "device.gone": "gone",
    }
    analytics.pipeline({"addAttributes": {"attributes": attributes}})

    analytics.feed({"device": DEVICE})

    assert analytics.control.rows("celsius") == [
        {"device": DEVICE, "id": "device-123", "lat": 47.6, "lon": -122.3}
    ]


def test_remove_attributes_does_what_the_documentation_shows(analytics: Any) -> None:
    analytics.pipeline(
        {"removeAttributes": {"attributes": ["device", "where.lat", "gone", "where.gone.deep"]}}
    )

    analytics.feed({"device": DEVICE, "where": {"lat": 1, "lon": 2}, "id": 7})

    assert analytics.control.rows("celsius") == [{"where": {"lon": 2}, "id": 7}]


def test_select_attributes_does_what_the_documentation_shows(analytics: Any) -> None:
    analytics.pipeline({"selectAttributes": {"attributes": ["device.temp", "device.hum", "light", "gone"]}})

    analytics.feed({"device": DEVICE, "light": 90, "dark": 10})

    assert analytics.control.rows("celsius") == [{"temp": 50, "hum": 40, "light": 90}]


def test_a_filter_passes_what_is_true(analytics: Any) -> None:
    analytics.pipeline({"filter": {"filter": "temp > 40 AND hum < 20"}})

    analytics.feed({"temp": 50, "hum": 10}, {"temp": 50, "hum": 30}, {"temp": 50}, {"temp": "hot", "hum": 10})

    assert analytics.control.rows("celsius") == [{"temp": 50, "hum": 10}]


def test_math_does_what_the_documentation_shows(analytics: Any) -> None:
    analytics.pipeline({"math": {"attribute": "tempC", "math": "(tempF - 32) / 2"}})

    analytics.feed({"tempF": 50})

    assert analytics.control.rows("celsius") == [{"tempF": 50, "tempC": 9}]


def test_math_without_a_number_fails_only_that_message(analytics: Any) -> None:
    analytics.pipeline({"math": {"attribute": "inverse", "math": "1 / t"}})
    analytics.feed({"t": 4}, {"t": 0}, {})

    rows = analytics.reprocess()

    [run] = analytics.control.runs()
    assert rows == [{"t": 4, "inverse": 0.25}]
    assert (run["messagesRead"], run["messagesWritten"], run["messagesFailed"]) == (3, 1, 2)
    assert run["failures"] == ["activity 'math1': '1 / t' gives no number for 2 message(s)"]


def test_a_lambda_gets_batches_and_may_return_more_or_less(analytics: Any) -> None:
    analytics.functions.bodies["double"] = lambda messages: [each for each in messages if each["t"]] * 2
    analytics.pipeline({"lambda": {"lambdaName": "double", "batchSize": 2}})

    analytics.feed({"t": 0}, {"t": 1}, {"t": 2})

    assert analytics.functions.batches == [[{"t": 0}, {"t": 1}], [{"t": 2}]]
    assert analytics.control.rows("celsius") == [{"t": 1}, {"t": 1}, {"t": 2}, {"t": 2}]


def test_a_lambda_that_fails_loses_its_batch_and_nothing_else(analytics: Any) -> None:
    analytics.functions.bodies["inverse"] = lambda messages: [{"i": 1 / each["t"]} for each in messages]
    analytics.pipeline({"lambda": {"lambdaName": "inverse", "batchSize": 2}})
    analytics.feed({"t": 1}, {"t": 0}, {"t": 4})

    rows = analytics.reprocess()

    [run] = analytics.control.runs()
    assert rows == [{"i": 0.25}]
    assert run["status"] == "SUCCEEDED"
    assert run["messagesFailed"] == 2
    assert run["failures"] == ["activity 'lambda1': function 'inverse' failed: division by zero"]


def test_activities_work_in_the_order_of_their_chain(analytics: Any) -> None:
    analytics.pipeline(
        {"math": {"attribute": "celsius", "math": "(fahrenheit - 32) * 5 / 9"}},
        {"filter": {"filter": "celsius BETWEEN -60 AND 60"}},
        {"addAttributes": {"attributes": {"celsius": "c"}}},
        {"selectAttributes": {"attributes": ["date", "c"]}},
    )

    analytics.feed(
        {"date": "a", "fahrenheit": 212}, {"date": "b", "fahrenheit": 41.9}, {"date": "c", "fahrenheit": 999}
    )

    assert analytics.control.rows("celsius") == [{"date": "b", "c": (41.9 - 32) * 5 / 9}]
