"""Operations on channels."""

from collections.abc import Mapping
from dataclasses import replace

from local_aws.iot_analytics.archive import ChannelArchive
from local_aws.iot_analytics.errors import invalid_request
from local_aws.iot_analytics.resources import Channel
from local_aws.iot_analytics.service import (
    PAGE,
    SERVICE_MANAGED,
    Members,
    Operation,
    Service,
    need_same_storage,
    present,
    retention_of,
)
from local_aws.iot_analytics.storage import StorageError


class Channels:
    """Channels.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by the names that the API gives them."""
        return {
            "CreateChannel": self.create,
            "DescribeChannel": self.describe,
            "UpdateChannel": self.update,
            "DeleteChannel": self.delete,
            "ListChannels": self.page,
        }

    def create(self, request: Members) -> Members:
        """Creates a channel; a customer's bucket must be there."""
        name = request["channelName"]
        self._service.channels.need_free(name)
        storage = request.get("channelStorage", SERVICE_MANAGED)
        now = self._service.now()
        try:
            archive = ChannelArchive(
                name, self._service.place.account, self._service.location("channelStorage", storage)
            )
        except StorageError as error:
            raise invalid_request(f"'channelStorage' cannot be used: {error}") from error
        channel = Channel(
            name=name,
            arn=self._service.place.arn("channel", name),
            storage=storage,
            retention=retention_of(request, storage),
            archive=archive,
            created=now,
            updated=now,
        )
        self._service.channels.add(channel)
        self._service.tag(channel.arn, request)
        return present(channelName=name, channelArn=channel.arn, retentionPeriod=channel.retention)

    def describe(self, request: Members) -> Members:
        """Describes a channel."""
        channel = self._service.channels.get(request["channelName"])
        described = present(
            name=channel.name,
            storage=channel.storage,
            arn=channel.arn,
            status="ACTIVE",
            retentionPeriod=channel.retention,
            creationTime=channel.created,
            lastUpdateTime=channel.updated,
            lastMessageArrivalTime=channel.last_arrival,
        )
        return {"channel": described} | self._service.statistics(request, channel.archive.size)

    def update(self, request: Members) -> Members:
        """Changes how long messages are kept; where they are kept stays as it is."""
        channel = self._service.channels.get(request["channelName"])
        need_same_storage("channelStorage", request, channel.storage)
        retention = retention_of(request, channel.storage)
        updated = self._service.now()
        self._service.channels.change(
            channel.name, lambda channel: replace(channel, retention=retention, updated=updated)
        )
        return {}

    def delete(self, request: Members) -> Members:
        """Deletes a channel. A customer's bucket keeps its objects."""
        self._service.tags.forget(self._service.channels.remove(request["channelName"]).arn)
        return {}

    def page(self, request: Members) -> Members:
        """Lists channels."""
        page, token = self._service.channels.page(request.get("maxResults", PAGE), request.get("nextToken"))
        summaries = [
            present(
                channelName=channel.name,
                channelStorage=channel.storage,
                status="ACTIVE",
                creationTime=channel.created,
                lastUpdateTime=channel.updated,
                lastMessageArrivalTime=channel.last_arrival,
            )
            for channel in page
        ]
        return present(channelSummaries=summaries, nextToken=token)
