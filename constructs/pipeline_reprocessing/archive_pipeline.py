"""The archive pipeline: raw messages kept in S3, replayed through the user's function by a state machine."""

from __future__ import annotations

from dataclasses import replace

from aws_cdk.aws_iam import PolicyStatement
from constructs import Construct

from object_replay.settings import Contract, Framing
from pipeline_reprocessing.archive import Archive
from pipeline_reprocessing.arguments import check_number, shown
from pipeline_reprocessing.concurrency import MAX_CONCURRENCY, Concurrency, ReservationCheck
from pipeline_reprocessing.destination import Destination, check_archive_apart
from pipeline_reprocessing.limits import ReplayLimits, limits_setting
from pipeline_reprocessing.object_pipeline import ObjectPipeline, listing
from pipeline_reprocessing.pipelines import PipelineBinding, ReprocessablePipeline
from pipeline_reprocessing.reports import Reports
from pipeline_reprocessing.transform import Transform
from pipeline_reprocessing_handler.validation import Failure


class ArchivePipeline(ObjectPipeline):
    r"""Replays raw messages kept in S3 through a function, into another place in S3.

    Give it to `PipelineReprocessing` as its `pipeline`: a deploy that changes the function's code, or anything that
    is said here and decides the resulting data, then replays the selected messages. It replays the past: what arrives
    is for the stream to process that writes the archive (docs/archive.md, "New messages").

    It is a state machine of Step Functions: a planning step lists the objects, a Distributed Map transforms them in
    batches and stages the results, a step adds up what happened, and if that is within the tolerance a second map
    publishes the results. So a run that fails before it publishes leaves the destination as it was; one that fails
    while it publishes leaves a part published, and the next replay completes it. An object that fails in a run that
    succeeds keeps its earlier result. Replaying twice is the same as once: every object of the archive has one result,
    published whole and replaced by the next replay.

    It may do what it needs, and use the keys of buckets that tell CDK theirs. Where a bucket is encrypted with a key of
    KMS and known by its name only, grant the key as to any construct: for an archive `key.grant_decrypt(pipeline)`,
    for a destination `key.grant_encrypt_decrypt(pipeline)` and `key.grant_decrypt(pipeline.state_machine)`, which
    reads the manifest.

    Args:
        scope: Where the construct belongs.
        id: Its id in that scope.
        source: The archive.
        transform: The function, and what it takes and gives.
        destination: Where results, errors and summaries go.
        max_concurrency: Calls of the function at once, 1 to 10,000. There are never more, and up to two fewer where
            the number does not divide: a worker keeps three or four calls in flight. Workers are Lambda executions
            too: 40 calls and their 10 workers take 50 of the account's concurrent executions (1,000 by default). Synth
            warns when the function's reserved concurrency is smaller. A token is the number of workers, each with one
            call in flight. Default: 40.
        tolerated_failure_percentage: Share of the objects, and of the messages, that may fail before the run fails,
            0 to 100; an object fails also when all of its messages do. What fails is written to the errors prefix in
            any case. Default: 0, the first failure ends the run.
        limits: With how much a run is refused before it calls the function. Default: none.
        memory_size: Megabytes of a worker, 512 to 10,240; the processor's speed goes with it. Default: 1,769, one
            processor.

    Raises:
        ValueError: An argument is invalid; the text names it, its value and the way out.

    Example:
        from aws_cdk import App, Duration, Stack
        from aws_cdk.aws_lambda import Code, Function, Runtime
        from aws_cdk.aws_s3 import Bucket
        from pipeline_reprocessing import (
            Archive,
            ArchivePipeline,
            Destination,
            MessageSelection,
            PipelineReprocessing,
            Transform,
        )

        stack = Stack(App(), "Telemetry")
        bucket = Bucket(stack, "Bucket")
        function = Function(
            stack,
            "Enrich",
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline("def handler(messages, context):\n    return messages"),
        )
        pipeline = ArchivePipeline(
            stack,
            "Pipeline",
            source=Archive.iot_analytics_channel(bucket, channel_name="telemetry", prefix="raw/"),
            transform=Transform.lambda_activity(function, batch_size=500),
            destination=Destination(bucket, prefix="telemetry/"),
        )
        PipelineReprocessing(
            stack, "Backfill", pipeline=pipeline, messages=MessageSelection.last(Duration.days(365))
        )
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002  # CDK's name for it
        *,
        source: Archive,
        transform: Transform,
        destination: Destination,
        max_concurrency: int = 40,
        tolerated_failure_percentage: float = 0,
        limits: ReplayLimits | None = None,
        memory_size: int = 1769,
    ) -> None:
        super().__init__(scope, id)
        for name, value, kind in (
            ("source", source, Archive),
            ("transform", transform, Transform),
            ("destination", destination, Destination),
        ):
            if not isinstance(value, kind):
                raise Failure(f"'{name}' must be of type {kind.__name__}, got {shown(value)}")
        if source.framing is Framing.GZIP_MEMBERS and transform.contract is Contract.LAMBDA_ACTIVITY:
            raise Failure(
                "'source' must not have Framing.GZIP_MEMBERS for a Lambda activity, which takes JSON objects; use "
                "Framing.JSON, which opens gzip, or Transform.firehose()"
            )
        check_number("max_concurrency", max_concurrency, 1, MAX_CONCURRENCY)
        check_number("tolerated_failure_percentage", tolerated_failure_percentage, 0, 100, whole=False)
        check_number("memory_size", memory_size, 512, 10_240)
        check_archive_apart(source, destination)
        self._source = source
        self._transform = transform
        self._destination = destination
        self._settings = {
            "Source": dict(source.settings),
            "Function": dict(transform.settings),
            "Destination": dict(destination.settings),
            "ToleratedFailurePercentage": tolerated_failure_percentage,
            **limits_setting(limits),
        }
        archive = source.bucket.arn_for_objects(f"{source.root}*")
        written = [
            destination.bucket.arn_for_objects(f"{prefix}*")
            for prefix in (destination.prefix, destination.errors_prefix, destination.runs_prefix)
        ]
        staged = destination.bucket.arn_for_objects(f"{destination.runs_prefix}*/staged/*")
        self._build(
            "Replays raw messages kept in S3",
            self._settings,
            concurrency=Concurrency.of(max_concurrency),
            reports=Reports(destination.bucket, destination.runs_prefix),
            statements=[
                listing(source.bucket, source.root),
                PolicyStatement(actions=["s3:GetObject"], resources=[archive]),
                listing(destination.bucket, destination.runs_prefix),
                # Reading: which run wrote a result or an error, what is staged, and what the workers noted.
                PolicyStatement(actions=["s3:GetObject"], resources=written),
                PolicyStatement(actions=["s3:PutObject", "s3:AbortMultipartUpload"], resources=written),
                PolicyStatement(actions=["s3:DeleteObject"], resources=[written[1], staged]),
                # Its configuration, too: a run publishes only what the function made that it was planned with.
                PolicyStatement(
                    actions=["lambda:InvokeFunction", "lambda:GetFunctionConfiguration"],
                    resources=[transform.function.function_arn],
                ),
            ],
            objects=[archive, *written, staged],
            memory_size=memory_size,
            publishes=True,
        )
        if source.bucket.encryption_key:
            source.bucket.encryption_key.grant_decrypt(self.role)
        self.node.add_validation(ReservationCheck(self, transform.function, max_concurrency))

    def bind(self, scope: Construct) -> PipelineBinding:
        """What `PipelineReprocessing` has to know of this pipeline.

        Not the state machine's definition is watched, but what was said to this construct: another version of this
        library must not replay anything.
        """
        destination = self._destination.settings
        return replace(
            ReprocessablePipeline.state_machine(self.state_machine).bind(scope),
            # The batch size is among it, for a function may look at a message's neighbours, and the buffer interval,
            # for it decides which objects a time selects. Left out is what changes no result: where errors and the
            # notes of runs go, how many workers there are, and what is tolerated. Tolerance decides whether a run may
            # publish, not what. A run that failed for the lack of it has failed its deploy, so the next one starts it
            # anyway; where no deploy waited for it, `version` does.
            fingerprint={
                "Source": self._settings["Source"],
                "Function": dict(self._transform.fingerprint),
                "Destination": {name: destination[name] for name in ("Bucket", "Prefix")},
            },
            watched=[self._transform.function],
            prerequisites=[self],
        )
