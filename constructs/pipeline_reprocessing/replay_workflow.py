"""What the state machine of a pipeline of objects in S3 does, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_cdk import Duration
from aws_cdk.aws_iam import PolicyStatement
from aws_cdk.aws_lambda import Function
from aws_cdk.aws_stepfunctions import (
    Chain,
    Choice,
    Condition,
    DistributedMap,
    Fail,
    IChainable,
    JitterType,
    JsonPath,
    Pass,
    ProcessorMode,
    ProcessorType,
    Result,
    S3JsonLItemReader,
    StateMachineType,
    TaskInput,
    TaskStateBase,
)
from constructs import Construct

from object_replay.settings import MANIFEST
from pipeline_reprocessing.acknowledged import acknowledge_warning
from pipeline_reprocessing.concurrency import Concurrency
from pipeline_reprocessing.reports import Reports

if TYPE_CHECKING:
    from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke

MAPS = ("Replay", "Publish")
"""The maps' labels: a part of their executions' ARNs."""


@dataclass(frozen=True)
class Retry:
    """How often a state is repeated after these errors."""

    errors: Sequence[str]
    max_attempts: int
    max_delay: Duration | None = None
    jitter: JitterType | None = None

    def add_to(self, state: TaskStateBase | DistributedMap) -> None:
        """Delays begin at 2 seconds and double."""
        state.add_retry(
            errors=list(self.errors),
            interval=Duration.seconds(2),
            backoff_rate=2,
            max_attempts=self.max_attempts,
            max_delay=self.max_delay,
            jitter_strategy=self.jitter,
        )


STEP_RETRIES = (
    # A worker waits for some 13 minutes itself before it raises this, so 48 attempts take about 12 hours. Steps that
    # meet a busy S3 raise it at once and are repeated for almost 2 hours.
    Retry(["Throttled"], 48, Duration.minutes(5), JitterType.FULL),
    # The worker did not start. Full jitter makes the mean delay half as long: 720 minutes.
    Retry(["Lambda.TooManyRequestsException"], 720, Duration.minutes(2), JitterType.FULL),
    # Lambda had a fault: about 25 minutes.
    Retry(
        ["Lambda.ServiceException", "Lambda.SdkClientException", "Lambda.ClientExecutionTimeoutException"],
        30,
        Duration.minutes(2),
        JitterType.FULL,
    ),
    # The state machine's role may not call the function, at least not yet: IAM takes seconds to apply a new policy.
    # Step Functions has no name of its own for this; 62 seconds, since it may also be for good.
    Retry(["Lambda.AWSLambdaException", "States.Permissions"], 5),
)
UNCERTAIN = STEP_RETRIES[2]
"""After these the worker may have run: it is not called again where each call of the user's function counts."""
MAP_RETRIES = (
    # The same for reading the manifest and for starting children. No child has started then: all other errors of a
    # map come from its children, which must not run twice.
    Retry(["States.ItemReaderFailed", "States.Permissions"], 5),
)


@dataclass(frozen=True)
class Workflow:
    """The steps from plan to close, as states in a construct.

    Args:
        scope: The construct.
        function: What does each step.
        reports: Where the manifest is.
        settings: What the function is told of the pipeline.
        concurrency: Workers at the same time.
        publishes: Whether the workers stage results that are published in the end; else the user's function has
            written them.
    """

    scope: Construct
    function: Function
    reports: Reports
    settings: Mapping[str, Any]
    concurrency: Concurrency
    publishes: bool

    def definition(self) -> IChainable:
        """The first step, and through it all others."""
        failed = Fail(self.scope, "Failed", error_path="$.Failure.Error", cause_path="$.Failure.Cause")
        done = Pass(self.scope, "Done", output_path="$.Summary")
        run = {
            "Name": JsonPath.string_at("$$.Execution.Name"),
            "Started": JsonPath.string_at("$$.Execution.StartTime"),
            "Settings": self.settings,
        }
        plan = self._step("Plan", {"Run": run, "Messages": JsonPath.object_at("$.messages")})
        replay = self._replay()
        so_far = {"Run": JsonPath.object_at("$.Run"), "State": JsonPath.entire_payload}
        summarise = self._step("Summarise", so_far)

        plan.next(
            Choice(self.scope, "Anything to replay?")
            .when(Condition.is_present("$.Failure"), failed)
            .when(Condition.number_equals("$.Run.Plan.Objects", 0), summarise)
            .otherwise(replay)
        )
        # A map that stopped is summed up as well: that tells which objects failed, and why.
        replay.add_catch(summarise, result_path="$.Error")
        replay.next(summarise)
        enough = Choice(self.scope, "Enough replayed?").when(Condition.is_present("$.Failure"), failed)
        summarise.next(enough)
        if not self.publishes:
            enough.otherwise(done)
            return plan
        publish = self._publish()
        close = self._step("Close", so_far)
        enough.when(Condition.number_equals("$.Summary.objects", 0), done).otherwise(publish)
        publish.add_catch(close, result_path="$.Error")
        publish.next(close)
        close.next(
            Choice(self.scope, "All published?")
            .when(Condition.is_present("$.Failure"), failed)
            .otherwise(done)
        )
        return plan

    def _map(self, label: str, max_concurrency: int) -> DistributedMap:
        """A Distributed Map: a child execution for each line of the manifest."""
        distributed = DistributedMap(
            self.scope,
            label,
            label=label,
            map_execution_type=StateMachineType.STANDARD,
            item_reader=_ManifestReader(self.reports),
            item_selector={
                "Run": JsonPath.object_at("$.Run"),
                "Batch": JsonPath.object_at("$$.Map.Item.Value"),
            },
            max_concurrency=max_concurrency,
            # Workers count their failures themselves, by objects and messages: a child fails to end the run.
            tolerated_failure_percentage=0,
            result_path=JsonPath.DISCARD,
        )
        acknowledge_warning(
            distributed,
            "@aws-cdk/aws-stepfunctions:propertyIgnored",
            "CDK warns that it ignores the processor's execution type, and does not let it be left out.",
        )
        for retry in MAP_RETRIES:
            retry.add_to(distributed)
        return distributed

    def _publish(self) -> DistributedMap:
        """Copies what is staged to its place."""
        publish = self._map("Publish", self.concurrency.publishers)
        given = {"Run": JsonPath.object_at("$.Run"), "Batch": JsonPath.object_at("$.Batch")}
        worker = self._step("Publish batch", given, step="PUBLISH")
        publish.item_processor(worker, mode=ProcessorMode.DISTRIBUTED, execution_type=ProcessorType.STANDARD)
        return publish

    def _replay(self) -> DistributedMap:
        """Gives the objects to workers."""
        replay = self._map("Replay", self.concurrency.workers)
        given = {"Run": JsonPath.object_at("$.Run"), "Batch": JsonPath.object_at("$.Batch")}
        # Children's outputs add up to the map's, which has a limit: they are as small as can be.
        replayed = Pass(self.scope, "Batch done", result=Result.from_object({}))
        give_up = self._step("Give up", {**given, "Error": JsonPath.object_at("$.Error")})
        worker = self._step("Replay batch", given, step="REPLAY", result_path="$.Batch")
        worker.add_catch(
            Fail(self.scope, "Stopped", error_path="$.Error.Error", cause_path="$.Error.Cause"),
            errors=["ReplayStopped", "Denied"],
            result_path="$.Error",
        )
        worker.add_catch(give_up.next(replayed), result_path="$.Error")
        worker.next(
            Choice(self.scope, "Batch finished?")
            # A worker leaves what it has no time for to its successor.
            .when(Condition.is_present("$.Batch.Keys[0]"), worker)
            .otherwise(replayed)
        )
        replay.item_processor(
            Chain.start(worker), mode=ProcessorMode.DISTRIBUTED, execution_type=ProcessorType.STANDARD
        )
        return replay

    def _step(
        self, name: str, payload: dict[str, Any], *, step: str | None = None, result_path: str | None = None
    ) -> LambdaInvoke:
        # A large module, which an app without an archive pipeline need not load.
        from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke  # noqa: PLC0415

        task = LambdaInvoke(
            self.scope,
            name,
            lambda_function=self.function,
            payload=TaskInput.from_object({"Step": step or name.upper().replace(" ", "_"), **payload}),
            payload_response_only=True,
            result_path=result_path,
            retry_on_service_exceptions=False,
        )
        for retry in STEP_RETRIES:
            if self.publishes or step != "REPLAY" or retry is not UNCERTAIN:
                retry.add_to(task)
        return task


class _ManifestReader(S3JsonLItemReader):
    """Reads a run's manifest. CDK's own reader asks for the whole bucket, for it does not know the key."""

    def __init__(self, reports: Reports) -> None:
        super().__init__(bucket=reports.bucket, key=JsonPath.string_at("$.ManifestKey"))
        self._arn = manifests(reports)

    def provide_policy_statements(self) -> list[PolicyStatement]:
        return [PolicyStatement(actions=["s3:GetObject"], resources=[self._arn])]


def manifests(reports: Reports) -> str:
    """The ARN of the manifests of all runs."""
    return reports.bucket.arn_for_objects(f"{reports.prefix}*/{MANIFEST}")
