"""What a pipeline must be to be created or updated."""

from typing import Any

import pytest

pytestmark = pytest.mark.loopback

CHANNEL = {"channel": {"name": "in", "channelName": "temperatures", "next": "out"}}
DATASTORE = {"datastore": {"name": "out", "datastoreName": "celsius"}}
ROLE = "arn:aws:iam::123456789012:role/analytics"


def _filter(name: str, next_name: str | None, text: str = "t > 1") -> dict[str, Any]:
    return {"filter": {"name": name, "filter": text} | ({"next": next_name} if next_name else {})}


def _channel(next_name: str) -> dict[str, Any]:
    return {"channel": {**CHANNEL["channel"], "next": next_name}}


def test_a_pipeline_is_described_as_created(analytics: Any) -> None:
    analytics.pipeline({"filter": {"filter": "t > 1"}})

    pipeline = analytics.client.describe_pipeline(pipelineName="convert")["pipeline"]

    assert pipeline["arn"] == "arn:aws:iotanalytics:us-east-1:123456789012:pipeline/convert"
    assert pipeline["activities"] == analytics.activities({"filter": {"filter": "t > 1"}})
    assert pipeline["reprocessingSummaries"] == []


def test_the_order_in_the_list_does_not_matter(analytics: Any) -> None:
    analytics.channel()
    analytics.datastore()
    activities = [DATASTORE, _filter("f", "out"), _channel("f")]

    analytics.client.create_pipeline(pipelineName="convert", pipelineActivities=activities)
    analytics.feed({"t": 0}, {"t": 2})

    assert analytics.control.rows("celsius") == [{"t": 2}]


@pytest.mark.parametrize(
    ("activities", "problem"),
    [
        ([{}, CHANNEL, DATASTORE], "'pipelineActivities[0]' must hold exactly one activity, got none"),
        (
            [CHANNEL | DATASTORE, DATASTORE],
            "'pipelineActivities[0]' must hold exactly one activity, got channel, datastore",
        ),
        ([DATASTORE], "'pipelineActivities' must hold exactly one channel activity, got 0"),
        ([CHANNEL], "'pipelineActivities' must hold exactly one datastore activity, got 0"),
        (
            [CHANNEL, DATASTORE, {"datastore": {"name": "out2", "datastoreName": "celsius"}}],
            "'pipelineActivities' must hold exactly one datastore activity, got 2",
        ),
        ([CHANNEL, _filter("out", None), DATASTORE], "two activities are named 'out'; names must be unique"),
        (
            [_channel("f"), _filter("f", None), DATASTORE],
            "activity 'f' has no 'next'; only the datastore activity is the last one",
        ),
        ([_channel("gone"), DATASTORE], "activity 'in' is followed by 'gone', which does not exist"),
        (
            [_channel("f"), _filter("f", "g"), _filter("g", "f"), DATASTORE],
            "activity 'g' is followed by 'f', which comes before it",
        ),
        (
            [CHANNEL, _filter("f", "out"), DATASTORE],
            "no activity leads to 'f'; name it as another one's 'next', or leave it out",
        ),
        (
            [_channel("f"), _filter("f", "out", "temp >"), DATASTORE],
            "the filter expression 'temp >' is broken: something is missing beside an operator",
        ),
        (
            [
                _channel("m"),
                {"math": {"name": "m", "attribute": "c", "math": "(t", "next": "out"}},
                DATASTORE,
            ],
            "the math expression '(t' is broken: ",
        ),
        (
            [{"channel": {"name": "in", "channelName": "gone", "next": "out"}}, DATASTORE],
            "'pipelineActivities' cannot be used: channel 'gone' does not exist",
        ),
        (
            [CHANNEL, {"datastore": {"name": "out", "datastoreName": "gone"}}],
            "'pipelineActivities' cannot be used: datastore 'gone' does not exist",
        ),
        *(
            (
                [
                    _channel("e"),
                    {kind: {"name": "e", "attribute": "a", "thingName": "t", "roleArn": ROLE, "next": "out"}},
                    DATASTORE,
                ],
                f"'pipelineActivities[1]' is a {kind} activity, which asks AWS IoT about a thing and is not served "
                "here; use a lambda activity that adds what you need",
            )
            for kind in ("deviceRegistryEnrich", "deviceShadowEnrich")
        ),
    ],
)
def test_activities_that_cannot_work_are_refused(
    analytics: Any, activities: list[dict[str, Any]], problem: str
) -> None:
    analytics.pipeline(name="other")

    created = analytics.refused(
        lambda: analytics.client.create_pipeline(pipelineName="convert", pipelineActivities=activities)
    )
    updated = analytics.refused(
        lambda: analytics.client.update_pipeline(pipelineName="other", pipelineActivities=activities)
    )

    assert created.startswith(problem)
    assert updated == created
    assert [each["pipelineName"] for each in analytics.client.list_pipelines()["pipelineSummaries"]] == [
        "other"
    ]


def test_a_refused_update_leaves_the_pipeline_as_it_was(analytics: Any) -> None:
    analytics.pipeline({"filter": {"filter": "t > 1"}})

    analytics.refused(lambda: analytics.change({"filter": {"filter": "t >"}}))
    analytics.feed({"t": 0}, {"t": 2})

    assert analytics.control.rows("celsius") == [{"t": 2}]
