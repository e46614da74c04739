"""Messages on their way in: into the channel's archive, and through its pipelines at once."""

import logging
from dataclasses import replace
from datetime import datetime

from local_aws.iot_analytics.archive import ArchiveObject
from local_aws.iot_analytics.data_store import live_run
from local_aws.iot_analytics.errors import ServiceError, invalid_request
from local_aws.iot_analytics.messages import MAX_BATCH, Message, UnusablePayload, message_of
from local_aws.iot_analytics.resources import Channel, Pipeline
from local_aws.iot_analytics.service import Members, Service
from local_aws.iot_analytics.storage import StorageError

_log = logging.getLogger(__name__)


class Ingestion:
    """Takes messages in.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def put_messages(self, request: Members, at: datetime | None = None) -> Members:
        """Archives messages and sends them through the channel's pipelines, before it answers.

        Args:
            request: The members.
            at: When the messages arrive, for those who feed the past; by default now.
        """
        channel = self._service.channels.get(request["channelName"])
        batch = request["messages"]
        if len(batch) > MAX_BATCH:
            raise invalid_request(f"'messages' must be at most {MAX_BATCH} in one batch, got {len(batch)}")
        ids = [entry["messageId"] for entry in batch]
        if len(set(ids)) != len(ids):
            raise invalid_request(
                "'messages' must have a 'messageId' of its own for each message of the batch"
            )
        messages: list[Message] = []
        errors = []
        for entry in batch:
            try:
                messages.append(message_of(entry["payload"]))
            except UnusablePayload as error:
                errors.append(
                    {
                        "messageId": entry["messageId"],
                        "errorCode": "InvalidRequestException",
                        "errorMessage": str(error),
                    }
                )
        if messages:
            self._ingest(channel, messages, at or self._service.now())
        return {"batchPutMessageErrorEntries": errors}

    def _ingest(self, channel: Channel, messages: list[Message], at: datetime) -> None:
        try:
            source = channel.content.append(messages, at)
        except StorageError as error:
            raise ServiceError(
                "InternalFailureException", f"the messages cannot be archived: {error}"
            ) from error
        self._service.channels.change(channel.name, lambda channel: replace(channel, last_arrival=at))
        for pipeline in self._service.pipelines.all():
            if pipeline.steps.channel == channel.name:
                self._pass(pipeline, messages, source)

    def _pass(self, pipeline: Pipeline, messages: list[Message], source: ArchiveObject) -> None:
        # A pipeline that fails loses messages, as in the service; the archive has them.
        batch = pipeline.steps.process(messages)
        for reason in batch.reasons:
            _log.warning("pipeline %s, %s: %s", pipeline.name, source.key, reason)
        if not batch.messages:
            return
        try:
            datastore = self._service.datastores.get(pipeline.steps.datastore)
            datastore.content.write(batch.messages, source=source, run=live_run(pipeline.name))
            self._service.datastores.change(
                datastore.name, lambda datastore: replace(datastore, last_arrival=source.window.start)
            )
        except (ServiceError, StorageError) as error:
            _log.warning("pipeline %s, %s: %s", pipeline.name, source.key, error)
