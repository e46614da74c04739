"""Channels, data stores, pipelines and tags: create, describe, update, delete, list."""

from typing import Any

import pytest

pytestmark = pytest.mark.loopback

ROLE = "arn:aws:iam::123456789012:role/analytics"
IN_S3 = {"customerManagedS3": {"bucket": "raw", "keyPrefix": "in/", "roleArn": ROLE}}


def test_a_channel_is_described_as_created(analytics: Any) -> None:
    created = analytics.client.create_channel(channelName="c", channelStorage=IN_S3)

    channel = analytics.client.describe_channel(channelName="c")["channel"]

    assert created["channelArn"] == "arn:aws:iotanalytics:us-east-1:123456789012:channel/c"
    assert channel["arn"] == created["channelArn"]
    assert channel["name"] == "c"
    assert channel["storage"] == IN_S3
    assert channel["status"] == "ACTIVE"
    assert channel["creationTime"] == channel["lastUpdateTime"]
    assert "lastMessageArrivalTime" not in channel


def test_a_channel_without_a_storage_is_the_services_own(analytics: Any) -> None:
    analytics.client.create_channel(channelName="c", retentionPeriod={"numberOfDays": 3})

    channel = analytics.client.describe_channel(channelName="c")["channel"]

    assert channel["storage"] == {"serviceManagedS3": {}}
    assert channel["retentionPeriod"] == {"numberOfDays": 3}


def test_retention_is_ignored_for_a_customers_bucket(analytics: Any) -> None:
    created = analytics.client.create_channel(
        channelName="c", channelStorage=IN_S3, retentionPeriod={"numberOfDays": 3}
    )

    assert "retentionPeriod" not in created


@pytest.mark.parametrize("kind", ["channel", "datastore", "pipeline"])
def test_a_name_is_given_once(analytics: Any, kind: str) -> None:
    analytics.pipeline()
    names = {"channel": "temperatures", "datastore": "celsius", "pipeline": "convert"}
    create = getattr(analytics.client, f"create_{kind}")
    more = {"pipelineActivities": analytics.activities()} if kind == "pipeline" else {}

    with pytest.raises(analytics.client.exceptions.ResourceAlreadyExistsException) as caught:
        create(**{f"{kind}Name": names[kind]}, **more)

    assert caught.value.response["resourceId"] == names[kind]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


@pytest.mark.parametrize("kind", ["channel", "datastore", "pipeline"])
@pytest.mark.parametrize("verb", ["describe", "update", "delete"])
def test_what_is_not_there_is_not_found(analytics: Any, verb: str, kind: str) -> None:
    more = {"pipelineActivities": analytics.activities()} if (verb, kind) == ("update", "pipeline") else {}
    call = getattr(analytics.client, f"{verb}_{kind}")

    message = analytics.refused(lambda: call(**{f"{kind}Name": "gone"}, **more), "ResourceNotFoundException")

    assert message == f"{kind} 'gone' does not exist"


@pytest.mark.parametrize("kind", ["channel", "datastore", "pipeline"])
def test_what_is_deleted_is_gone_and_can_be_created_again(analytics: Any, kind: str) -> None:
    analytics.pipeline()
    names = {"channel": "temperatures", "datastore": "celsius", "pipeline": "convert"}
    name = {f"{kind}Name": names[kind]}
    more = {"pipelineActivities": analytics.activities()} if kind == "pipeline" else {}

    answer = getattr(analytics.client, f"delete_{kind}")(**name)
    listed = getattr(analytics.client, f"list_{kind}s")()[f"{kind}Summaries"]
    getattr(analytics.client, f"create_{kind}")(**name, **more)

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert listed == []


def test_a_service_managed_channel_forgets_its_messages_with_its_name(analytics: Any) -> None:
    analytics.channel(prefix=None)
    analytics.pipeline()
    analytics.feed({"t": 1})
    analytics.client.delete_channel(channelName="temperatures")
    analytics.channel(prefix=None)

    rows = analytics.reprocess()

    assert rows == []


def test_an_update_changes_retention_and_the_time_of_update(analytics: Any) -> None:
    analytics.client.create_channel(channelName="c")
    analytics.client.create_datastore(datastoreName="d")

    analytics.client.update_channel(channelName="c", retentionPeriod={"unlimited": True})
    analytics.client.update_datastore(datastoreName="d", retentionPeriod={"numberOfDays": 9})

    channel = analytics.client.describe_channel(channelName="c")["channel"]
    datastore = analytics.client.describe_datastore(datastoreName="d")["datastore"]
    assert channel["retentionPeriod"] == {"unlimited": True}
    assert channel["lastUpdateTime"] >= channel["creationTime"]
    assert datastore["retentionPeriod"] == {"numberOfDays": 9}


def test_storage_never_changes(analytics: Any) -> None:
    analytics.client.create_channel(channelName="c")
    analytics.client.create_datastore(datastoreName="d")

    channel = analytics.refused(
        lambda: analytics.client.update_channel(channelName="c", channelStorage=IN_S3)
    )
    datastore = analytics.refused(
        lambda: analytics.client.update_datastore(datastoreName="d", datastoreStorage=IN_S3)
    )

    assert channel == "'channelStorage' cannot be changed after creation; create another one under a new name"
    assert (
        datastore
        == "'datastoreStorage' cannot be changed after creation; create another one under a new name"
    )


@pytest.mark.parametrize(
    ("kind", "arguments", "problem"),
    [
        ("channel", {"channelStorage": {}}, "'channelStorage' must hold exactly one storage, got none"),
        (
            "channel",
            {"channelStorage": {"serviceManagedS3": {}, **IN_S3}},
            "'channelStorage' must hold exactly one storage, got customerManagedS3, serviceManagedS3",
        ),
        (
            "channel",
            {"channelStorage": {"customerManagedS3": {"bucket": "missing", "roleArn": ROLE}}},
            "'channelStorage' cannot be used: bucket 'missing' does not exist",
        ),
        (
            "datastore",
            {"datastoreStorage": {"customerManagedS3": {"bucket": "missing", "roleArn": ROLE}}},
            "'datastoreStorage' cannot be used: bucket 'missing' does not exist",
        ),
        (
            "datastore",
            {
                "datastoreStorage": {
                    "iotSiteWiseMultiLayerStorage": {"customerManagedS3Storage": {"bucket": "out"}}
                }
            },
            "'datastoreStorage.iotSiteWiseMultiLayerStorage' is not served here; use customerManagedS3",
        ),
        (
            "datastore",
            {"fileFormatConfiguration": {"parquetConfiguration": {}}},
            "'fileFormatConfiguration.parquetConfiguration' is not served here; use jsonConfiguration",
        ),
        (
            "datastore",
            {"datastorePartitions": {"partitions": [{"attributePartition": {"attributeName": "city"}}]}},
            "'datastorePartitions' is not served here; leave it out, the partitions are UTC days",
        ),
        (
            "channel",
            {"retentionPeriod": {"unlimited": True, "numberOfDays": 3}},
            "'retentionPeriod' must be unlimited or a number of days, not both",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(
    analytics: Any, kind: str, arguments: dict[str, Any], problem: str
) -> None:
    create = getattr(analytics.client, f"create_{kind}")

    assert analytics.refused(lambda: create(**{f"{kind}Name": "x"}, **arguments)) == problem


def test_a_data_store_is_described_as_created(analytics: Any) -> None:
    analytics.datastore()

    datastore = analytics.client.describe_datastore(datastoreName="celsius")["datastore"]

    assert datastore["arn"] == "arn:aws:iotanalytics:us-east-1:123456789012:datastore/celsius"
    assert datastore["storage"]["customerManagedS3"]["keyPrefix"] == "clean/"
    assert datastore["fileFormatConfiguration"] == {"jsonConfiguration": {}}


def test_statistics_come_only_when_asked_for(analytics: Any) -> None:
    analytics.pipeline()
    analytics.feed({"t": 1})

    channel = analytics.client.describe_channel(channelName="temperatures", includeStatistics=True)
    datastore = analytics.client.describe_datastore(datastoreName="celsius", includeStatistics=True)
    plain = analytics.client.describe_channel(channelName="temperatures", includeStatistics=False)

    [key] = analytics.keys("raw")
    assert channel["statistics"]["size"]["estimatedSizeInBytes"] == len(analytics.store.get("raw", key))
    assert datastore["statistics"]["size"]["estimatedSizeInBytes"] > 0
    assert "statistics" not in plain


@pytest.mark.parametrize("kind", ["channel", "datastore"])
def test_lists_come_in_pages(analytics: Any, kind: str) -> None:
    names = [f"{kind}_{number}" for number in range(5)]
    for name in reversed(names):
        getattr(analytics.client, f"create_{kind}")(**{f"{kind}Name": name})

    pages = list(analytics.client.get_paginator(f"list_{kind}s").paginate(PaginationConfig={"PageSize": 2}))

    found = [[summary[f"{kind}Name"] for summary in page[f"{kind}Summaries"]] for page in pages]
    assert found == [names[:2], names[2:4], names[4:]]
    assert "nextToken" not in pages[-1]


def test_pipelines_are_listed_with_their_runs(analytics: Any) -> None:
    analytics.pipeline()
    analytics.reprocess()

    [summary] = analytics.client.list_pipelines()["pipelineSummaries"]

    assert summary["pipelineName"] == "convert"
    assert [run["status"] for run in summary["reprocessingSummaries"]] == ["SUCCEEDED"]


def test_tags_are_added_changed_and_taken_away(analytics: Any) -> None:
    arn = analytics.client.create_channel(channelName="c", tags=[{"key": "team", "value": "a"}])["channelArn"]

    analytics.client.tag_resource(
        resourceArn=arn, tags=[{"key": "team", "value": "b"}, {"key": "x", "value": "y"}]
    )
    added = analytics.client.list_tags_for_resource(resourceArn=arn)["tags"]
    analytics.client.untag_resource(resourceArn=arn, tagKeys=["x", "never"])
    left = analytics.client.list_tags_for_resource(resourceArn=arn)["tags"]

    assert added == [{"key": "team", "value": "b"}, {"key": "x", "value": "y"}]
    assert left == [{"key": "team", "value": "b"}]


def test_tags_go_with_the_resource(analytics: Any) -> None:
    analytics.client.create_channel(channelName="c", tags=[{"key": "team", "value": "a"}])
    analytics.client.delete_channel(channelName="c")

    arn = analytics.client.create_channel(channelName="c")["channelArn"]

    assert "tags" not in analytics.client.list_tags_for_resource(resourceArn=arn)


def test_a_resource_has_at_most_fifty_tags(analytics: Any) -> None:
    arn = analytics.client.create_channel(channelName="c", tags=[{"key": "team", "value": "a"}])["channelArn"]
    fifty = [{"key": str(number), "value": "v"} for number in range(50)]

    message = analytics.refused(
        lambda: analytics.client.tag_resource(resourceArn=arn, tags=fifty), "LimitExceededException"
    )

    assert message == f"'{arn}' may have at most 50 tags, got 51"


def test_tags_of_nothing_are_not_found(analytics: Any) -> None:
    arn = "arn:aws:iotanalytics:us-east-1:123456789012:channel/gone"

    message = analytics.refused(
        lambda: analytics.client.list_tags_for_resource(resourceArn=arn), "ResourceNotFoundException"
    )

    assert message == f"resource '{arn}' does not exist"
