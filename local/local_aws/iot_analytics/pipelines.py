"""Operations on pipelines, and their reprocessing."""

from collections.abc import Mapping
from dataclasses import replace

from local_aws.iot_analytics.activities import Steps, steps_of
from local_aws.iot_analytics.archive import Keys, Selection, TimeRange
from local_aws.iot_analytics.errors import ServiceError, invalid_request
from local_aws.iot_analytics.resources import Channel, Pipeline
from local_aws.iot_analytics.runs import Work
from local_aws.iot_analytics.service import PAGE, Members, Operation, Service, present


class Pipelines:
    """Pipelines.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by the names that the API gives them."""
        return {
            "CreatePipeline": self.create,
            "DescribePipeline": self.describe,
            "UpdatePipeline": self.update,
            "DeletePipeline": self.delete,
            "ListPipelines": self.page,
            "StartPipelineReprocessing": self.start_reprocessing,
            "CancelPipelineReprocessing": self.cancel_reprocessing,
        }

    def create(self, request: Members) -> Members:
        """Creates a pipeline, if its activities can work."""
        name = request["pipelineName"]
        self._service.pipelines.need_free(name)
        now = self._service.now()
        pipeline = Pipeline(
            name=name,
            arn=self._service.place.arn("pipeline", name),
            activities=tuple(request["pipelineActivities"]),
            steps=self._steps(request),
            created=now,
            updated=now,
        )
        self._service.pipelines.add(pipeline)
        self._service.tag(pipeline.arn, request)
        return {"pipelineName": name, "pipelineArn": pipeline.arn}

    def describe(self, request: Members) -> Members:
        """Describes a pipeline and its runs."""
        pipeline = self._service.pipelines.get(request["pipelineName"])
        return {
            "pipeline": {
                "name": pipeline.name,
                "arn": pipeline.arn,
                "activities": pipeline.activities,
                "reprocessingSummaries": self._summaries(pipeline.name),
                "creationTime": pipeline.created,
                "lastUpdateTime": pipeline.updated,
            }
        }

    def update(self, request: Members) -> Members:
        """Gives a pipeline other activities. Runs that go on keep those that they were started with."""
        pipeline = self._service.pipelines.get(request["pipelineName"])
        activities, steps = tuple(request["pipelineActivities"]), self._steps(request)
        updated = self._service.now()
        self._service.pipelines.change(
            pipeline.name,
            lambda pipeline: replace(pipeline, activities=activities, steps=steps, updated=updated),
        )
        return {}

    def delete(self, request: Members) -> Members:
        """Deletes a pipeline and stops its runs."""
        pipeline = self._service.pipelines.remove(request["pipelineName"])
        self._service.tags.forget(pipeline.arn)
        self._service.runs.forget(pipeline.name)
        return {}

    def page(self, request: Members) -> Members:
        """Lists pipelines."""
        page, token = self._service.pipelines.page(request.get("maxResults", PAGE), request.get("nextToken"))
        summaries = [
            {
                "pipelineName": pipeline.name,
                "reprocessingSummaries": self._summaries(pipeline.name),
                "creationTime": pipeline.created,
                "lastUpdateTime": pipeline.updated,
            }
            for pipeline in page
        ]
        return present(pipelineSummaries=summaries, nextToken=token)

    def start_reprocessing(self, request: Members) -> Members:
        """Starts a run. The same request twice is two runs: there is no client token."""
        pipeline = self._service.pipelines.get(request["pipelineName"])
        channel = self._service.channels.get(pipeline.steps.channel)
        datastore = self._service.datastores.get(pipeline.steps.datastore)
        work = Work(
            steps=pipeline.steps,
            archive=channel.archive,
            selection=_selection(request, channel),
            files=datastore.files,
        )
        return {"reprocessingId": self._service.runs.start(pipeline.name, work).id}

    def cancel_reprocessing(self, request: Members) -> Members:
        """Cancels a run. To cancel one that has ended changes nothing and is no error."""
        pipeline = self._service.pipelines.get(request["pipelineName"])
        self._service.runs.cancel(pipeline.name, request["reprocessingId"])
        return {}

    def _steps(self, request: Members) -> Steps:
        steps = steps_of(request["pipelineActivities"], self._service.functions)
        try:
            self._service.channels.get(steps.channel)
            self._service.datastores.get(steps.datastore)
        except ServiceError as error:
            raise invalid_request(f"'pipelineActivities' cannot be used: {error.message}") from error
        return steps

    def _summaries(self, pipeline: str) -> list[Members]:
        return [
            {"id": run.id, "status": run.status, "creationTime": run.created}
            for run in self._service.runs.summarised(pipeline)
        ]


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
        if channel.archive.named(key) is None:
            raise invalid_request(
                f"'channelMessages.s3Paths' must be full keys of objects of channel '{channel.name}', with its key prefix "
                f"and without the bucket, got '{key}'"
            )
    return Keys(tuple(keys))
