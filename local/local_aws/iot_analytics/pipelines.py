"""Operations on pipelines, and their reprocessing."""

from collections.abc import Mapping
from typing import Any

from local_aws.iot_analytics.activities import steps_of
from local_aws.iot_analytics.archive import Keys, Selection, TimeRange
from local_aws.iot_analytics.errors import ServiceError, invalid_request
from local_aws.iot_analytics.resource_operations import ResourceOperations
from local_aws.iot_analytics.resources import Channel, Pipeline
from local_aws.iot_analytics.runs import Work
from local_aws.iot_analytics.service import Members, Operation, Service


class Pipelines(ResourceOperations[Pipeline]):
    """Pipelines.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service, service.pipelines)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by the names that the API gives them."""
        return {
            **super().operations,
            "StartPipelineReprocessing": self.start_reprocessing,
            "CancelPipelineReprocessing": self.cancel_reprocessing,
        }

    def delete(self, request: Members) -> Members:
        """Deletes a pipeline and stops its runs."""
        answer = super().delete(request)
        self._service.runs.forget(request["pipelineName"])
        return answer

    def start_reprocessing(self, request: Members) -> Members:
        """Starts a run. The same request twice is two runs: there is no client token."""
        pipeline = self._service.pipelines.get(request["pipelineName"])
        channel = self._service.channels.get(pipeline.steps.channel)
        datastore = self._service.datastores.get(pipeline.steps.datastore)
        work = Work(
            steps=pipeline.steps,
            archive=channel.content,
            selection=_selection(request, channel),
            files=datastore.content,
        )
        return {"reprocessingId": self._service.runs.start(pipeline.name, work).id}

    def cancel_reprocessing(self, request: Members) -> Members:
        """Cancels a run. To cancel one that has ended changes nothing and is no error."""
        pipeline = self._service.pipelines.get(request["pipelineName"])
        self._service.runs.cancel(pipeline.name, request["reprocessingId"])
        return {}

    def _made(self, request: Members, name: str, **common: Any) -> Pipeline:
        return Pipeline(name=name, **common, **self._definition(request))

    def _changes(self, request: Members, _found: Pipeline) -> Mapping[str, Any]:
        # Runs that go on keep the steps that they were started with.
        return self._definition(request)

    def _definition(self, request: Members) -> Mapping[str, Any]:
        activities = tuple(request["pipelineActivities"])
        steps = steps_of(activities, self._service.functions)
        try:
            self._service.channels.get(steps.channel)
            self._service.datastores.get(steps.datastore)
        except ServiceError as error:
            raise invalid_request(f"'pipelineActivities' cannot be used: {error.message}") from error
        return {"activities": activities, "steps": steps}

    def _description(self, found: Pipeline) -> Members:
        return {"activities": found.activities, **self._summary(found)}

    def _summary(self, found: Pipeline) -> Members:
        runs = self._service.runs.summarised(found.name)
        summaries = [{"id": run.id, "status": run.status, "creationTime": run.created} for run in runs]
        return {"reprocessingSummaries": summaries}


def _selection(request: Members, channel: Channel) -> Selection:
    start, end = request.get("startTime"), request.get("endTime")
    messages = request.get("channelMessages")
    if messages is None:
        if start is not None and end is not None and start >= end:
            raise invalid_request(
                f"'startTime' must be before 'endTime', got {start.isoformat()} and {end.isoformat()}"
            )
        return TimeRange(start, end)
    if start is not None or end is not None:
        raise invalid_request("'channelMessages' excludes 'startTime' and 'endTime'; use one or the other")
    keys = messages.get("s3Paths")
    if keys is None:
        raise invalid_request(
            "'channelMessages' must hold 's3Paths'; to reprocess the whole channel leave it out"
        )
    if "customerManagedS3" not in channel.storage:
        raise invalid_request(
            f"'channelMessages.s3Paths' needs a channel with customer-managed storage, and '{channel.name}' has none; "
            "use 'startTime' and 'endTime'"
        )
    for key in keys:
        if channel.content.named(key) is None:
            raise invalid_request(
                f"'channelMessages.s3Paths' must be full keys of objects of channel '{channel.name}', with its key prefix "
                f"and without the bucket, got '{key}'"
            )
    return Keys(tuple(keys))
