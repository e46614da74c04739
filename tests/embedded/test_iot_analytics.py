"""The whole way on the embedded AWS, for a pipeline of IoT Analytics: real CLI, real function, enforced IAM."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.aws_iotanalytics import CfnChannel, CfnDatastore, CfnPipeline
from aws_cdk.aws_s3 import Bucket

from local_aws import CdkResult, LocalAws
from local_aws.iot_analytics.client import LocalControl, iot_analytics_client, put_messages
from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Wait

# AWS has ended this kind of pipeline: the other two are what `make test` deploys.
pytestmark = [pytest.mark.embedded, pytest.mark.more_deploys]

ENDS = ("CancelPipelineReprocessing", "DeletePipeline")
DAYS = [datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


@dataclass
class Telemetry:
    """A stack with channel, pipeline and data store, and whatever a test adds to it."""

    aws: LocalAws
    control: LocalControl
    folder: Path
    name: str
    deploys: int = 0
    service: Any = field(init=False)

    def __post_init__(self) -> None:
        self.service = iot_analytics_client(self.aws.environment["AWS_ENDPOINT_URL_IOTANALYTICS"])

    def deploy(
        self, add: Callable[[cdk.Stack, CfnPipeline], None], *, formula: str = "value * 1"
    ) -> CdkResult:
        """Deploy the stack with the pipeline's formula and what `add` adds, whether that succeeds or not."""
        self.deploys += 1
        app = cdk.App(outdir=str(self.folder / f"{self.name}-{self.deploys}"))
        stack = cdk.Stack(app, self.name)
        bucket = Bucket(stack, "Bucket")
        customer = {"bucket": bucket.bucket_name, "role_arn": "arn:aws:iam::123456789012:role/service"}
        channel = CfnChannel(
            stack,
            "Channel",
            channel_name=f"{self.name}_channel",
            channel_storage=CfnChannel.ChannelStorageProperty(
                customer_managed_s3=CfnChannel.CustomerManagedS3Property(**customer, key_prefix="raw/")
            ),
        )
        datastore = CfnDatastore(
            stack,
            "Datastore",
            datastore_name=f"{self.name}_datastore",
            datastore_storage=CfnDatastore.DatastoreStorageProperty(
                customer_managed_s3=CfnDatastore.CustomerManagedS3Property(**customer, key_prefix="clean/")
            ),
        )
        activity = CfnPipeline.ActivityProperty
        pipeline = CfnPipeline(
            stack,
            "Pipeline",
            pipeline_name=f"{self.name}_pipeline",
            pipeline_activities=[
                activity(
                    channel=CfnPipeline.ChannelProperty(name="in", channel_name=channel.ref, next="math")
                ),
                activity(
                    math=CfnPipeline.MathProperty(name="math", attribute="value", math=formula, next="out")
                ),
                activity(datastore=CfnPipeline.DatastoreProperty(name="out", datastore_name=datastore.ref)),
            ],
        )
        cdk.CfnOutput(stack, "BucketName", value=bucket.bucket_name)
        add(stack, pipeline)
        app.synth()
        return self.aws.cdk("deploy", self.name, app=app.outdir)

    def destroy(self) -> CdkResult:
        """Destroy the stack."""
        return self.aws.cdk("destroy", self.name, app=str(self.folder / f"{self.name}-{self.deploys}"))

    def feed(self) -> None:
        """Send one message on each of three days."""
        for number, day in enumerate(DAYS, start=1):
            put_messages(self.service, f"{self.name}_channel", [{"value": number}], at=day)

    def runs(self) -> list[dict[str, Any]]:
        """The runs of this pipeline, the oldest first."""
        return [run for run in self.control.runs() if run["pipeline"] == f"{self.name}_pipeline"]

    def values(self, run: dict[str, Any]) -> list[float]:
        """What a run has written."""
        return sorted(row["value"] for row in self.control.rows(f"{self.name}_datastore", run["id"]))

    def archived(self) -> list[str]:
        """The keys of the raw archive."""
        listed = self.aws.client("s3").list_objects_v2(Bucket=self.outputs["BucketName"], Prefix="raw/")
        return [entry["Key"] for entry in listed["Contents"]]

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    @property
    def status(self) -> str:
        """The status of the stack."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return str(stack["StackStatus"])

    def handler_logs(self) -> str:
        """All that the handler has written."""
        resources = self.aws.client("cloudformation").describe_stack_resources(StackName=self.name)
        (group,) = [
            each["PhysicalResourceId"]
            for each in resources["StackResources"]
            if each["ResourceType"] == "AWS::Logs::LogGroup"
        ]
        return "\n".join(self.aws.function_logs(group if "/" in group else f"/{group}"))


@pytest.fixture
def telemetry(local_aws: LocalAws, tmp_path: Path) -> Iterator[Callable[[str], Telemetry]]:
    """Makes a stack by its name; it is deleted after the test."""
    control = LocalControl(local_aws.environment["AWS_ENDPOINT_URL_IOTANALYTICS"])
    made: list[Telemetry] = []

    def make(name: str) -> Telemetry:
        made.append(Telemetry(local_aws, control, tmp_path, name))
        return made[-1]

    yield make
    control.reset()
    for each in made:
        local_aws.client("cloudformation").delete_stack(StackName=each.name)
    control.close()


def reprocessing(
    wait: Wait | None = None, *, version: str | None = None, function_seconds: int | None = None
) -> Callable[[cdk.Stack, CfnPipeline], None]:
    """Adds the construct."""

    def add(stack: cdk.Stack, pipeline: CfnPipeline) -> None:
        backfill = PipelineReprocessing(
            stack,
            "Backfill",
            pipeline=ReprocessablePipeline.iot_analytics(pipeline),
            messages=MessageSelection.all(),
            version=version,
            wait=wait,
        )
        if function_seconds:
            backfill.handler.node.default_child.timeout = function_seconds  # type: ignore[union-attr]  # an L1
        for name in ("reprocessing_id", "status", "start_time", "end_time"):
            cdk.CfnOutput(stack, name.replace("_", ""), value=getattr(backfill, name))

    return add


def test_a_changed_pipeline_is_reprocessed_once_however_many_invocations_that_takes(
    telemetry: Callable[[str], Telemetry],
) -> None:
    stack = telemetry("changed")
    stack.deploy(reprocessing(function_seconds=5)).check()
    stack.feed()
    stack.control.hold_runs()
    release = threading.Timer(18, stack.control.release_runs)
    release.start()

    stack.deploy(reprocessing(function_seconds=5), formula="value * 10").check()
    release.cancel()

    _, run = stack.runs()
    assert run["status"] == "SUCCEEDED"
    assert stack.values(run) == [10, 20, 30]
    assert stack.outputs == {
        "BucketName": stack.outputs["BucketName"],
        "reprocessingid": run["id"],
        "status": "SUCCEEDED",
        "starttime": "",
        "endtime": "",
    }
    continuations = stack.handler_logs().count("START RequestId")
    assert continuations > 4, "the run must outlive functions of 5 seconds"

    # and when only the time-out changes, nothing is reprocessed
    stack.deploy(
        reprocessing(Wait.for_completion(timeout=cdk.Duration.minutes(3)), function_seconds=5),
        formula="value * 10",
    ).check()

    assert len(stack.runs()) == 2
    logs = stack.handler_logs()
    assert "nothing is reprocessed: nothing that decides the data has changed" in logs
    assert not re.search(r"https?://\S*(cfn|custom-resource|response)\S*", logs, re.IGNORECASE)
    assert not any(secret in logs for secret in stack.aws.secrets)


def test_a_failed_run_fails_the_deploy_with_its_reason_and_the_rollback_starts_no_other(
    telemetry: Callable[[str], Telemetry],
) -> None:
    stack = telemetry("failed")
    stack.deploy(reprocessing()).check()
    stack.feed()
    stack.control.fail_run(afterObjects=1)

    result = stack.deploy(reprocessing(), formula="value * 10")

    assert not result.succeeded
    first, run = stack.runs()
    assert f"pipeline 'failed_pipeline', run '{run['id']}': the run ended FAILED" in " ".join(
        result.output.split()
    )
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.outputs["reprocessingid"] == first["id"]
    assert "nothing is reprocessed: the stack is rolling back and OnRollback is KEEP" in stack.handler_logs()


def test_destroying_the_stack_cancels_the_run_that_still_goes_on(
    telemetry: Callable[[str], Telemetry],
) -> None:
    stack = telemetry("destroyed")
    stack.deploy(reprocessing(Wait.none())).check()
    stack.feed()
    stack.control.hold_runs()
    stack.deploy(reprocessing(Wait.none()), formula="value * 10").check()
    assert stack.runs()[-1]["status"] == "RUNNING"

    stack.destroy().check()

    ends = [call["operation"] for call in stack.control.calls() if call["operation"] in ENDS]
    assert ends[-2:] == ["CancelPipelineReprocessing", "DeletePipeline"]


def test_a_wait_beyond_an_hour_is_a_wait_condition_that_fails_the_deploy_when_the_run_fails(
    telemetry: Callable[[str], Telemetry],
) -> None:
    stack = telemetry("condition")
    hours = Wait.for_completion(timeout=cdk.Duration.hours(2))
    stack.deploy(reprocessing(hours)).check()
    stack.feed()
    stack.control.pace(secondsPerObject=1)

    stack.deploy(reprocessing(hours), formula="value * 10").check()

    assert stack.values(stack.runs()[-1]) == [10, 20, 30]

    # and when the run fails
    stack.control.fail_run(afterObjects=1)
    result = stack.deploy(reprocessing(hours), formula="value * 100")

    assert not result.succeeded
    assert "the run ended FAILED" in " ".join(result.output.split())
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert len(stack.runs()) == 3


def test_two_constructs_on_one_pipeline_run_in_the_order_defined_each_on_its_selection(
    telemetry: Callable[[str], Telemetry],
) -> None:
    def add(paths: list[str]) -> Callable[[cdk.Stack, CfnPipeline], None]:
        def both(stack: cdk.Stack, pipeline: CfnPipeline) -> None:
            target = ReprocessablePipeline.iot_analytics(pipeline)
            by_time = MessageSelection.time_range(DAYS[1], DAYS[2])
            PipelineReprocessing(stack, "ByTime", pipeline=target, messages=by_time)
            if paths:
                PipelineReprocessing(
                    stack, "ByPath", pipeline=target, messages=MessageSelection.s3_paths(paths)
                )

        return both

    stack = telemetry("two")
    stack.deploy(add([])).check()
    stack.feed()
    stack.control.pace(secondsPerObject=1)

    stack.deploy(add([stack.archived()[0]]), formula="value * 10").check()

    _, by_time, by_path = stack.runs()
    assert stack.values(by_time) == [20]
    assert stack.values(by_path) == [10]
    described = stack.service.describe_pipeline(pipelineName="two_pipeline")["pipeline"]
    created = {run["id"]: run["creationTime"] for run in described["reprocessingSummaries"]}
    between = created[by_path["id"]] - created[by_time["id"]]
    assert between >= timedelta(seconds=1), "the second run must begin after the first has ended"
