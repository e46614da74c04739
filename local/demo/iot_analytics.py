"""The story on AWS IoT Analytics: the channel takes the messages in, the service runs the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from demo.scenario import outputs
from demo.temperatures import Reading, days
from local_aws import LocalAws
from local_aws.iot_analytics.client import iot_analytics_client, put_messages
from local_aws.iot_analytics.data_store import LIVE, stored_object
from local_aws.iot_analytics.messages import unpacked


class IotAnalytics:
    """Channel, pipeline and data store of the stack `IotAnalytics`.

    Args:
        aws: The embedded AWS.
    """

    stack = "IotAnalytics"
    title = "AWS IoT Analytics, which AWS ended on 2025-12-15; here our own server speaks its API"

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._service = iot_analytics_client(aws.environment["AWS_ENDPOINT_URL_IOTANALYTICS"])

    def feed(self, readings: Sequence[Reading], on_progress: Callable[[int], object]) -> None:
        """Sends each day's messages with the day as their time of arrival: an archive object a day."""
        channel, sent = outputs(self._aws, self.stack)["ChannelName"], 0
        for day, of_day in days(readings):
            sent += put_messages(self._service, channel, [reading.message for reading in of_day], at=day)
            on_progress(sent)

    def rows(self) -> list[Mapping[str, Any]]:
        """The rows of the newest run; before the first one with messages, those that came in live.

        The service appends what a run writes to what is there: who queries a data store picks the newest.
        """
        s3, bucket = self._aws.client("s3"), outputs(self._aws, self.stack)["Bucket"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="clean/datastore/")
        objects = [
            found
            for page in pages
            for entry in page.get("Contents", [])
            if (found := stored_object(entry["Key"]))
        ]
        written = {found.run for found in objects}
        newest = next((run for run in reversed(self._run_ids()) if run in written), LIVE)
        return [
            row
            for found in objects
            if found.run == newest
            for row in unpacked(s3.get_object(Bucket=bucket, Key=found.key)["Body"].read())
        ]

    def runs(self) -> list[str]:
        """The service's own list."""
        return [f"{run['id']} {run['status']}" for run in self._summaries()]

    def _run_ids(self) -> list[str]:
        return [run["id"] for run in self._summaries()]

    def _summaries(self) -> list[Mapping[str, Any]]:
        name = outputs(self._aws, self.stack)["PipelineName"]
        pipeline = self._service.describe_pipeline(pipelineName=name)["pipeline"]
        return sorted(pipeline.get("reprocessingSummaries", []), key=lambda run: run["creationTime"])
