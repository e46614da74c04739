"""The pipeline of a function that S3 calls: the function is run over what is already in the bucket."""

from __future__ import annotations

from dataclasses import replace

import jsii
from aws_cdk import Duration, INumberProducer, IResolveContext, Lazy, Token
from aws_cdk.aws_iam import PolicyStatement
from aws_cdk.aws_lambda import Alias, Function, IFunction, Version
from aws_cdk.aws_s3 import BlockPublicAccess, Bucket, BucketEncryption, LifecycleRule
from constructs import Construct

from object_replay.settings import MAX_CALLS, MAX_KEYS, Contract, Form, Framing, Layout
from pipeline_reprocessing.acknowledged import acknowledge_finding
from pipeline_reprocessing.archive import Archive
from pipeline_reprocessing.arguments import check_function, check_number, check_type
from pipeline_reprocessing.concurrency import MAX_CONCURRENCY, Concurrency, ReservationCheck
from pipeline_reprocessing.limits import ReplayLimits, limits_setting
from pipeline_reprocessing.notification import Notification
from pipeline_reprocessing.object_pipeline import ObjectPipeline, listing
from pipeline_reprocessing.pipelines import PipelineBinding, ReprocessablePipeline
from pipeline_reprocessing.reports import Reports
from pipeline_reprocessing.s3_event_checks import (
    DEFAULT_TIMEOUT,
    LONGEST_CALL,
    EventChecks,
    check_reports_apart,
)
from pipeline_reprocessing_handler.validation import Failure

MAX_RETRIES = 10
_MEMORY = 1024
"""Megabytes of a worker, which waits for the function most of the time."""
_KEPT = Duration.days(30)


class S3EventPipeline(ObjectPipeline):
    r"""Runs a function that S3 calls for each upload over the objects that are in the bucket already.

    Give it to `PipelineReprocessing` as its `pipeline`: a deploy that changes the function's code then calls the
    function for each selected object, with the event that S3 sends when an object is created (docs/s3-events.md). The
    function stays as it is, and so does the way in which uploads reach it.

    It is a state machine of Step Functions: a planning step lists the objects, a Distributed Map calls the function for
    each of them and waits for its answer, and a step adds up what happened. Each object is done, failed, gone (deleted
    in the meantime), changed (written again since the run began, so that S3 itself tells the function) or skipped (a
    folder's marker, or in an archived storage class). What failed is listed in a file that
    `MessageSelection.keys_from` takes.

    The function writes its own results: a deploy that fails halfway leaves those that are written. A replay calls the
    function again for objects that it has seen before, so it must give the same result for the same object, whenever
    and however often it is called.

    Args:
        scope: Where the construct belongs.
        id: Its id in that scope.
        source: Which objects: `Archive.objects(...)` with the prefix and suffix of the notification.
        function: What S3 calls today: a function, a version or an alias, which is called as such.
        notification: In which form the function gets S3's events. Default: `Notification.s3()`.
        max_concurrency: Calls of the function at once, 1 to 10,000. There are never more, and above 20 up to 5% fewer
            where the number does not divide. A worker makes up to 20 of them, or one for each batch of its 100 objects, begins
            with one, and makes fewer while Lambda throttles the function. Synth warns above half of the function's reserved
            concurrency: uploads arrive meanwhile. A token is the number of workers with one call each. Default: 10.
        tolerated_failure_percentage: Share of the objects that may fail before the run fails, 0 to 100. Default: 0,
            the first failure ends the run.
        retries: How often an object on which the function fails is tried again, 0 to 10. Default: 2, as Lambda does it
            for events of S3.
        limits: With how much a run is refused before it calls the function. Default: none.
        reports: Where runs keep their notes and lists of errors. Default: a private bucket of this construct, whose
            objects expire after 30 days.
        allow_skipped_destinations: Whether the function may have an OnSuccess destination, which gets nothing from a
            replay: Lambda sends it the results of asynchronous calls only. Default: no, synth fails.
        allow_long_timeout: Whether the function's time-out may be above 13 minutes. A worker has 15 minutes itself: of
            a call that takes longer the result is not known, and the object counts as failed. Default: no, synth fails.

    Raises:
        ValueError: An argument is invalid; the text names it, its value and the way out.

    Example:
        from aws_cdk import App, Stack
        from aws_cdk.aws_lambda import Code, Function, Runtime
        from aws_cdk.aws_s3 import Bucket
        from pipeline_reprocessing import (
            Archive,
            MessageSelection,
            PipelineReprocessing,
            ReplayLimits,
            S3EventPipeline,
        )

        stack = Stack(App(), "Photos")
        uploads = Bucket(stack, "Uploads")
        make_thumbnail = Function(
            stack,
            "MakeThumbnail",
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline("def handler(event, context):\n    return None"),
        )
        pipeline = S3EventPipeline(
            stack,
            "Thumbnails",
            source=Archive.objects(uploads, prefix="photos/", suffix=".jpg"),
            function=make_thumbnail,
            limits=ReplayLimits(max_objects=50_000),
        )
        PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all())
    """

    reports: Reports
    """Where runs keep their notes and lists of errors."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002  # CDK's name for it
        *,
        source: Archive,
        function: IFunction,
        notification: Notification | None = None,
        max_concurrency: int = 10,
        tolerated_failure_percentage: float = 0,
        retries: int = 2,
        limits: ReplayLimits | None = None,
        reports: Reports | None = None,
        allow_skipped_destinations: bool = False,
        allow_long_timeout: bool = False,
    ) -> None:
        super().__init__(scope, id)
        notification = Notification.s3() if notification is None else notification
        _check_source(source)
        check_function(function)
        check_type("notification", notification, Notification, "Notification.s3()")
        if notification.form is Form.SNS_RAW:
            raise Failure(
                "'notification' must not have raw message delivery, which functions do not get; use "
                "Notification.sqs(queue, carrying=Notification.sns(...)) where a queue is subscribed"
            )
        check_number("max_concurrency", max_concurrency, 1, MAX_CONCURRENCY)
        check_number("tolerated_failure_percentage", tolerated_failure_percentage, 0, 100, whole=False)
        check_number("retries", retries, 0, MAX_RETRIES)
        if reports is not None:
            check_type("reports", reports, Reports, "Reports(bucket, prefix='replays/')")
            check_reports_apart(source, reports)
        self.reports = self._own_reports() if reports is None else reports
        self._function = function
        self._decisive = {
            "Source": dict(source.settings),
            "Function": {
                "Arn": function.function_arn,
                "Contract": Contract.S3_EVENT.value,
                "Notification": dict(notification.settings),
            },
        }
        checks = EventChecks(
            self,
            source,
            function,
            notification,
            self.reports,
            allow_skipped_destinations=allow_skipped_destinations,
            allow_long_timeout=allow_long_timeout,
        )
        objects = source.bucket.arn_for_objects(f"{source.root}*")
        written = self.reports.bucket.arn_for_objects(f"{self.reports.prefix}*")
        self._build(
            "Runs a function over objects in S3",
            {
                **self._decisive,
                "Function": {
                    **self._decisive["Function"],
                    "Retries": retries,
                    "Timeout": Lazy.uncached_number(_Timeout(checks, function)),
                },
                "Destination": {
                    "Bucket": self.reports.bucket.bucket_name,
                    "RunsPrefix": self.reports.prefix,
                },
                "ToleratedFailurePercentage": tolerated_failure_percentage,
                **limits_setting(limits),
            },
            concurrency=Concurrency.of(max_concurrency, _calls_per_worker(notification)),
            reports=self.reports,
            statements=[
                listing(source.bucket, source.root),
                # HeadObject asks for it; no object is read.
                PolicyStatement(actions=["s3:GetObject"], resources=[objects]),
                listing(self.reports.bucket, self.reports.prefix),
                PolicyStatement(
                    actions=["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], resources=[written]
                ),
                PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function_arn]),
            ],
            objects=[objects, written],
            memory_size=_MEMORY,
            publishes=False,
        )
        self.node.add_validation(ReservationCheck(self, function, max_concurrency, share=0.5))
        self.node.add_validation(checks)

    def bind(self, scope: Construct) -> PipelineBinding:
        """What `PipelineReprocessing` has to know of this pipeline.

        Not the state machine's definition is watched, but what was said to this construct: another version of this
        library must not replay anything. Left out is what changes no result: retries, tolerance, concurrency, limits.
        """
        return replace(
            ReprocessablePipeline.state_machine(self.state_machine).bind(scope),
            fingerprint=self._decisive,
            watched=[self._function],
            prerequisites=[self],
        )

    def _own_reports(self) -> Reports:
        bucket = Bucket(
            self,
            "Reports",
            block_public_access=BlockPublicAccess.BLOCK_ALL,
            encryption=BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            lifecycle_rules=[
                LifecycleRule(expiration=_KEPT, abort_incomplete_multipart_upload_after=Duration.days(1))
            ],
        )
        acknowledge_finding(
            bucket, "AwsSolutions-S1", "Only runs write here, and what they write expires after 30 days."
        )
        return Reports(bucket)


def _calls_per_worker(notification: Notification) -> range:
    """How many calls at once a worker may make: no more than it has batches."""
    size = notification.settings.get("BatchSize", 1)
    most = MAX_CALLS if Token.is_unresolved(size) else min(MAX_CALLS, MAX_KEYS // size)
    return range(-(-most // 2), most + 1)


def _check_source(source: Archive) -> None:
    check_type("source", source, Archive, 'Archive.objects(bucket, prefix="photos/")')
    if source.layout is not Layout.OBJECTS:
        raise Failure(
            f"'source' must be Archive.objects(...), got an archive of the layout {source.layout}; S3 calls a function "
            "for objects, whatever is in them"
        )
    if source.framing is not Framing.JSON:
        raise Failure(
            f"'source' must be without a framing, got Framing.{source.framing.name}; the function reads the objects"
        )


@jsii.implements(INumberProducer)
class _Timeout:
    """Seconds that a call may take, as late as they can be known: Aspects and escape hatches change them."""

    def __init__(self, checks: EventChecks, function: IFunction) -> None:
        self._checks = checks
        self._function = function

    def produce(self, context: IResolveContext) -> int:  # noqa: ARG002  # jsii's signature
        """What the template says where it is there already, else what the construct says."""
        return self._checks.timeout or _timeout(self._function)


def _timeout(function: IFunction) -> int:
    """Seconds that a call may take; the most that are allowed where the app does not say."""
    while isinstance(function, Alias | Version):
        function = function.version if isinstance(function, Alias) else function.lambda_
    if not isinstance(function, Function):
        return LONGEST_CALL
    if function.timeout is None:
        return DEFAULT_TIMEOUT
    seconds = function.timeout.to_seconds() if not function.timeout.is_unresolved() else LONGEST_CALL
    return LONGEST_CALL if Token.is_unresolved(seconds) else int(seconds)
