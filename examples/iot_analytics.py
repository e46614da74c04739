"""Temperatures through AWS IoT Analytics: what had to be built by hand before, and still runs where its API is spoken.

AWS ended the service on 2025-12-15. CDK says so at synth (E3710), and a deploy to AWS itself cannot succeed any more.
"""

from itertools import pairwise

from aws_cdk import CfnOutput, Stack
from aws_cdk.aws_iam import PolicyStatement, Role, ServicePrincipal
from aws_cdk.aws_iotanalytics import CfnChannel, CfnDatastore, CfnPipeline
from aws_cdk.aws_s3 import Bucket
from constructs import Construct

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

# What the pipeline does with a message such as {"time": "2010-01-01T00:00:00Z", "temp": 39.4}, measured in Fahrenheit.
STAGES: dict[str, dict[str, str]] = {
    # As it arrives.
    "fahrenheit": {},
    # Without what no thermometer in Seattle can show, and in Celsius.
    "celsius": {"condition": "temp > -40 AND temp < 130", "formula": "(temp - 32) / 1.8"},
    # The service refuses such an expression, so the deploy fails and rolls back.
    "broken": {"formula": "(temp - 32) / "},
}


class IotAnalyticsStack(Stack):
    """Channel, pipeline, data store, and the construct that keeps the data store true to the pipeline.

    Args:
        scope: The app.
        id: The stack's name.
        stage: What the pipeline does: one of `STAGES`.
    """

    def __init__(self, scope: Construct, id: str, *, stage: str) -> None:  # noqa: A002  # CDK's name for it
        super().__init__(
            scope, id, description="Temperatures through AWS IoT Analytics, reprocessed by each deploy"
        )
        bucket = Bucket(self, "Archive", enforce_ssl=True)
        role = Role(self, "ArchiveAccess", assumed_by=ServicePrincipal("iotanalytics.amazonaws.com"))
        bucket.grant_read_write(role)
        # IoT Analytics asks for this before it accepts a bucket.
        role.add_to_policy(PolicyStatement(actions=["s3:GetBucketLocation"], resources=[bucket.bucket_arn]))

        channel = CfnChannel(
            self,
            "Channel",
            channel_name="temperatures",
            channel_storage=CfnChannel.ChannelStorageProperty(
                customer_managed_s3=CfnChannel.CustomerManagedS3Property(
                    bucket=bucket.bucket_name, key_prefix="raw/", role_arn=role.role_arn
                )
            ),
        )
        datastore = CfnDatastore(
            self,
            "Datastore",
            datastore_name="temperatures",
            datastore_storage=CfnDatastore.DatastoreStorageProperty(
                customer_managed_s3=CfnDatastore.CustomerManagedS3Property(
                    bucket=bucket.bucket_name, key_prefix="clean/", role_arn=role.role_arn
                )
            ),
        )
        for store in (channel, datastore):
            store.node.add_dependency(role)

        pipeline = CfnPipeline(
            self,
            "Pipeline",
            pipeline_name="temperatures",
            pipeline_activities=_activities(channel.ref, datastore.ref, **STAGES[stage]),
        )
        backfill = PipelineReprocessing(
            self,
            "Backfill",
            pipeline=ReprocessablePipeline.iot_analytics(pipeline),
            messages=MessageSelection.all(),
        )

        CfnOutput(self, "Bucket", value=bucket.bucket_name)
        CfnOutput(self, "ChannelName", value=channel.ref)
        CfnOutput(self, "DatastoreName", value=datastore.ref)
        CfnOutput(self, "PipelineName", value=pipeline.ref)
        CfnOutput(self, "ReprocessingId", value=backfill.reprocessing_id)
        CfnOutput(self, "ReprocessingStatus", value=backfill.status)


def _activities(
    channel: str, datastore: str, *, condition: str | None = None, formula: str | None = None
) -> list[CfnPipeline.ActivityProperty]:
    """The pipeline's chain: channel, perhaps a filter, perhaps a conversion, data store."""
    names = ["channel", *["possible"] * bool(condition), *["celsius"] * bool(formula), "datastore"]
    after = dict(pairwise(names))
    chain = [
        CfnPipeline.ActivityProperty(
            channel=CfnPipeline.ChannelProperty(name="channel", channel_name=channel, next=after["channel"])
        )
    ]
    if condition:
        step = CfnPipeline.FilterProperty(name="possible", filter=condition, next=after["possible"])
        chain.append(CfnPipeline.ActivityProperty(filter=step))
    if formula:
        math = CfnPipeline.MathProperty(name="celsius", attribute="temp", math=formula, next=after["celsius"])
        chain.append(CfnPipeline.ActivityProperty(math=math))
    chain.append(
        CfnPipeline.ActivityProperty(
            datastore=CfnPipeline.DatastoreProperty(name="datastore", datastore_name=datastore)
        )
    )
    return chain
