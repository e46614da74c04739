"""The whole way on the embedded AWS, for pipelines that replay an archive in S3.

One stack for all of it, deployed twice: the second deploy changes the transforming function.
"""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.aws_iam import Effect, PolicyStatement
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket

from local_aws import CdkResult, LocalAws
from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    ErrorOutput,
    Framing,
    MessageSelection,
    PipelineReprocessing,
    Transform,
)

pytestmark = pytest.mark.embedded

NAME = "archive"
START = datetime(2025, 1, 1, tzinfo=UTC)
UUID = "0a1b2c3d-0000-4000-8000-"

# Before the change readings stay in Fahrenheit; sleeping makes a run that can be stopped on its way.
ACTIVITY = """
import time

def handler(messages, context):
    time.sleep(max([message.get("sleep", 0) for message in messages], default=0))
    return [{**message, "unit": "UNIT", "value": CHANGE} for message in messages if message["value"] is not None]
"""
BEFORE = ACTIVITY.replace("UNIT", "F").replace("CHANGE", 'message["value"]')
AFTER = ACTIVITY.replace("UNIT", "C").replace("CHANGE", 'round((message["value"] - 32) / 1.8, 2)')
FIREHOSE = """
import base64, json

def handler(event, context):
    def result(record):
        message = json.loads(base64.b64decode(record["data"]))
        if message["value"] is None:
            return {"result": "Dropped"}
        if message["value"] > 200:
            return {"result": "ProcessingFailed"}
        message["stream"] = event["deliveryStreamArn"].rpartition("/")[2]
        return {"result": "Ok", "data": base64.b64encode(json.dumps(message).encode() + b"\\n").decode()}
    return {"records": [{"recordId": record["recordId"], **result(record)} for record in event["records"]]}
"""
# Gives back what it got, after the time that a record asks for; gzip members are opened.
RECORDS = """
import base64, gzip, json, time

def handler(event, context):
    results = []
    for record in event["records"]:
        data = base64.b64decode(record["data"])
        if data.startswith(b"\\x1f\\x8b"):
            data = gzip.decompress(data)
        message = json.loads(data)
        time.sleep(message.get("sleep", 0))
        message["arrived"] = record["approximateArrivalTimestamp"]
        data = base64.b64encode(json.dumps(message).encode()).decode()
        results.append({"recordId": record["recordId"], "result": "Ok", "data": data})
    return {"records": results}
"""


def function(stack: cdk.Stack, name: str, code: str, **options: Any) -> Function:
    return Function(
        stack,
        name,
        **options,
        runtime=Runtime.PYTHON_3_14,
        handler="index.handler",
        code=Code.from_inline(code),
        timeout=cdk.Duration.seconds(60),
    )


def synthesized(folder: Path, code: str) -> str:
    """The cloud assembly with every pipeline of these tests."""
    app = cdk.App(outdir=str(folder))
    stack = cdk.Stack(app, NAME)
    raw, results = Bucket(stack, "Raw"), Bucket(stack, "Results")
    activity = Transform.lambda_activity(function(stack, "Activity", code), batch_size=2)
    records = Transform.firehose(function(stack, "Records", FIREHOSE))
    channel = Archive.iot_analytics_channel(raw, channel_name="telemetry", prefix="channels/")
    stream = Archive.firehose(raw, prefix="stream/", buffer_interval=cdk.Duration.minutes(5))
    pipelines = {
        "Channel": ArchivePipeline(
            stack,
            "Channel",
            source=channel,
            transform=activity,
            destination=Destination(results, prefix="channel/"),
            max_concurrency=4,
        ),
        "Tolerant": ArchivePipeline(
            stack,
            "Tolerant",
            source=stream,
            transform=records,
            destination=Destination(results, prefix="tolerant/"),
            tolerated_failure_percentage=40,
        ),
        "Strict": ArchivePipeline(
            stack,
            "Strict",
            source=stream,
            transform=records,
            destination=Destination(results, prefix="strict/"),
        ),
        "Missing": ArchivePipeline(
            stack,
            "Missing",
            source=Archive.firehose(Bucket.from_bucket_name(stack, "Nowhere", "there-is-no-such-bucket")),
            transform=records,
            destination=Destination(results, prefix="missing/"),
        ),
        "Denied": ArchivePipeline(
            stack,
            "Denied",
            source=stream,
            transform=records,
            destination=Destination(results, prefix="denied/"),
        ),
    }
    echo = Transform.firehose(function(stack, "Echo", RECORDS))
    others = {
        "Uploads": (Archive.objects(raw, prefix="uploads/", suffix=".json"), echo),
        "Hive": (
            Archive.firehose(
                raw,
                prefix="hive/!{timestamp:'year='yyyy'/month='MM'/day='dd}/",
                time_zone="Asia/Tokyo",
                error_output=ErrorOutput.REPLAY,
            ),
            echo,
        ),
        "Members": (Archive.firehose(raw, prefix="members/", framing=Framing.GZIP_MEMBERS), echo),
        "Busy": (
            Archive.firehose(raw, prefix="busy/"),
            Transform.firehose(
                function(stack, "Reserved", RECORDS, reserved_concurrent_executions=1), batch_size=1
            ),
        ),
        "Changing": (
            Archive.firehose(raw, prefix="changing/"),
            Transform.firehose(function(stack, "Changed", RECORDS)),
        ),
    }
    for name, (source, transform) in others.items():
        pipelines[name] = ArchivePipeline(
            stack,
            name,
            source=source,
            transform=transform,
            destination=Destination(results, prefix=f"{name.lower()}/"),
            max_concurrency=4,
        )
    pipelines["Denied"].role.add_to_policy(
        PolicyStatement(effect=Effect.DENY, actions=["s3:ListBucket"], resources=[raw.bucket_arn])
    )
    backfill = PipelineReprocessing(
        stack, "Backfill", pipeline=pipelines["Channel"], messages=MessageSelection.time_range(START, None)
    )
    changed = others["Changing"][1].function
    cdk.CfnOutput(stack, "ChangedFunction", value=changed.function_name)
    for name, pipeline in pipelines.items():
        cdk.CfnOutput(stack, f"{name}Machine", value=pipeline.state_machine.state_machine_arn)
    cdk.CfnOutput(stack, "RunId", value=backfill.reprocessing_id)
    for counted in ("objects", "messages_in", "messages_out", "messages_dropped", "messages_failed"):
        cdk.CfnOutput(stack, counted.title().replace("_", ""), value=getattr(backfill, counted))
    cdk.CfnOutput(stack, "RawBucket", value=raw.bucket_name)
    cdk.CfnOutput(stack, "ResultsBucket", value=results.bucket_name)
    app.synth()
    return str(folder)


@dataclass
class Deployed:
    """The stack, and what one does with it."""

    aws: LocalAws
    folder: Path
    outputs: dict[str, str] = field(default_factory=dict)
    denied: str = ""

    def deploy(self, name: str, code: str) -> CdkResult:
        result = self.aws.cdk("deploy", NAME, app=synthesized(self.folder / name, code))
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        return result

    @property
    def s3(self) -> Any:
        return self.aws.client("s3")

    @property
    def states(self) -> Any:
        return self.aws.client("stepfunctions")

    def put_channel(self, day: int, *messages: dict[str, Any]) -> str:
        first = int((START + timedelta(days=day)).timestamp() * 1000)
        key = (
            f"channels/channel/telemetry/__dt={START + timedelta(days=day):%Y-%m-%d} 00:00:00/"
            f"{first}_{first + 30_000}_{self.aws.account}_telemetry_0_1.json.gz"
        )
        return self.put(key, gzip.compress(lines(messages)))

    def put_stream(self, hour: int, body: bytes, prefix: str = "stream/%Y/%m/%d/%H/") -> str:
        moment = START + timedelta(hours=hour)
        return self.put(f"{moment:{prefix}}readings-1-{moment:%Y-%m-%d-%H-%M-%S}-{UUID}{hour:012x}", body)

    def put(self, key: str, body: bytes, **options: Any) -> str:
        self.s3.put_object(Bucket=self.outputs["RawBucket"], Key=key, Body=body, **options)
        return key

    def stored(self, prefix: str) -> dict[str, bytes]:
        bucket = self.outputs["ResultsBucket"]
        listed = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {
            each["Key"]: self.s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed
        }

    def results(self, prefix: str) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for body in self.stored(prefix).values()
            for line in gzip.decompress(body).splitlines()
        ]

    def start(self, pipeline: str, **messages: Any) -> str:
        arn: str = self.states.start_execution(
            stateMachineArn=self.outputs[f"{pipeline}Machine"],
            input=json.dumps({"messages": messages, "trigger": "by hand", "resource": {}}),
        )["executionArn"]
        return arn

    def ended(self, execution: str, *, within: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            described: dict[str, Any] = self.states.describe_execution(executionArn=execution)
            if described["status"] != "RUNNING":
                return described
            time.sleep(0.2)
        raise TimeoutError(f"{execution} still runs after {within} s")

    def run(self, pipeline: str, **messages: Any) -> dict[str, Any]:
        """The summary of a run that succeeds."""
        described = self.ended(self.start(pipeline, **messages))
        assert described["status"] == "SUCCEEDED", described
        summary: dict[str, Any] = json.loads(described["output"])
        return summary


def unzipped(stored: dict[str, bytes]) -> dict[str, bytes]:
    return {key: gzip.decompress(body) for key, body in stored.items()}


def lines(messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


@pytest.fixture(scope="module")
def first_deploy(local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack as it is before there are any messages."""
    deployed = Deployed(local_aws, tmp_path_factory.mktemp(NAME))
    deployed.deploy("first", BEFORE).check()
    yield deployed
    local_aws.client("cloudformation").delete_stack(StackName=NAME)


@pytest.fixture(scope="module")
def archive(first_deploy: Deployed) -> Deployed:
    """The stack with messages in both archives; and a run that is going to be denied what it needs.

    That run waits a while for IAM to change its mind, so it begins here.
    """
    first_deploy.denied = first_deploy.start("Denied", All=True)
    for day in range(6):
        first_deploy.put_channel(day, {"n": day, "value": 50 + day}, {"n": day, "value": None})
    for hour in range(4):
        first_deploy.put_stream(hour, lines([{"n": hour, "value": 10 + hour}, {"n": hour, "value": None}]))
    return first_deploy


def test_a_deploy_with_an_empty_archive_succeeds(first_deploy: Deployed) -> None:
    described = first_deploy.states.list_executions(stateMachineArn=first_deploy.outputs["ChannelMachine"])

    [execution] = described["executions"]
    assert execution["name"] == first_deploy.outputs["RunId"]
    summary = json.loads(first_deploy.ended(execution["executionArn"])["output"])
    assert (summary["status"], summary["objects"], summary["messagesIn"]) == ("SUCCEEDED", 0, 0)


def test_an_archive_of_firehose_replays_through_its_contract(archive: Deployed) -> None:
    summary = archive.run("Strict", StartTime="2025-01-01T01:00:00Z", EndTime="2025-01-01T03:00:00Z")

    assert archive.results("strict/dt=2025-01-01/") == [
        {"n": 1, "value": 11, "stream": "pipeline-reprocessing-no-such-stream"},
        {"n": 2, "value": 12, "stream": "pipeline-reprocessing-no-such-stream"},
    ]
    counted = ("objects", "messagesIn", "messagesOut", "messagesDropped", "messagesFailed")
    assert [summary[name] for name in counted] == [2, 4, 2, 2, 0]


def test_a_changed_function_replays_the_channel_in_the_deploy_that_changes_it(archive: Deployed) -> None:
    before = archive.run("Channel", All=True)
    assert {message["unit"] for message in archive.results("channel/")} == {"F"}
    once = archive.stored("channel/")
    archive.run("Channel", All=True)
    assert unzipped(archive.stored("channel/")) == unzipped(once), "replaying twice must be the same as once"

    archive.deploy("second", AFTER).check()

    assert archive.results("channel/") == [
        {"n": day, "value": round((18 + day) / 1.8, 2), "unit": "C"} for day in range(6)
    ]
    assert archive.stored("channel/").keys() == once.keys()
    summary = json.loads(
        archive.ended(
            archive.outputs["ChannelMachine"].replace(":stateMachine:", ":execution:")
            + ":"
            + archive.outputs["RunId"]
        )["output"]
    )
    for counted in ("objects", "messagesIn", "messagesOut", "messagesDropped"):
        assert summary[counted] == before[counted]
    shown = ("Objects", "MessagesIn", "MessagesOut", "MessagesDropped", "MessagesFailed")
    assert [archive.outputs[name] for name in shown] == ["6", "12", "6", "6", "0"]


def test_tolerated_failures_are_written_down_and_the_rest_is_replayed(archive: Deployed) -> None:
    bad_line = archive.put_stream(100, lines([{"n": 100, "value": 1}] * 8) + b"nonsense\n")
    failing = archive.put_stream(101, lines([{"n": 101, "value": 999}, *[{"n": 101, "value": 1}] * 8]))
    truncated = archive.put_stream(102, gzip.compress(lines([{"n": 102, "value": 1}]))[:-6])

    summary = archive.run("Tolerant", S3Paths=[bad_line, failing, truncated])

    assert (summary["objects"], summary["objectsFailed"]) == (3, 1)
    assert (summary["messagesIn"], summary["messagesOut"], summary["messagesFailed"]) == (18, 16, 2)
    reasons = {error["key"]: error["reason"] for error in archive.results("errors/tolerant/")}
    assert reasons.keys() == {bad_line, failing, truncated}
    assert reasons[bad_line].startswith("JSONDecodeError: Expecting value")
    assert reasons[failing] == "the function returned ProcessingFailed"
    assert reasons[truncated] == "is not valid gzip: it ends early"


def test_failures_that_are_not_tolerated_fail_the_run_with_the_numbers_and_leave_earlier_results(
    archive: Deployed,
) -> None:
    good = archive.put_stream(199, lines([{"n": 199, "value": 1}]))
    failing = archive.put_stream(200, lines([{"n": 200, "value": 1}]))
    archive.run("Strict", S3Paths=[good, failing])
    before = archive.stored("strict/dt=2025-01-09/")
    assert len(before) == 2
    archive.put_stream(199, lines([{"n": 199, "value": 2}]))
    archive.put_stream(200, lines([{"n": 200, "value": 999}, {"n": 200, "value": 1}]))

    execution = archive.start("Strict", S3Paths=[failing])
    described = archive.ended(execution)

    assert (described["status"], described["error"]) == ("FAILED", "ReplayFailed")
    assert described["cause"] == (
        "0 of 1 objects and 1 of 2 messages failed, tolerated are 0%; first: "
        f"{failing} message 1: the function returned ProcessingFailed"
    )
    # Both objects this time: the one that does not fail is staged, and not published either.
    assert archive.ended(archive.start("Strict", S3Paths=[good, failing]))["error"] == "ReplayFailed"
    assert archive.stored("strict/dt=2025-01-09/") == before
    assert archive.stored(f"runs/strict/{execution.rpartition(':')[2]}/staged/") == {}


def test_an_object_that_is_not_there_costs_that_object(archive: Deployed) -> None:
    there = archive.put_stream(300, lines([{"n": 300, "value": 1}]))

    described = archive.ended(archive.start("Tolerant", S3Paths=["stream/not there", there]))

    assert described["error"] == "ReplayFailed"
    assert described["cause"].startswith(
        "1 of 2 objects and 0 of 1 messages failed, tolerated are 40%; first: "
    )
    assert "stream/not there: cannot be read: " in described["cause"]
    assert 300 not in {message["n"] for message in archive.results("tolerant/")}


def test_a_missing_bucket_fails_the_run_with_the_reason(archive: Deployed) -> None:
    described = archive.ended(archive.start("Missing", All=True))

    assert (described["status"], described["error"]) == ("FAILED", "SelectionFailed")
    assert described["cause"].startswith("cannot list s3://there-is-no-such-bucket/: NoSuchBucket: ")


def test_a_run_that_is_stopped_leaves_the_destination_and_the_next_one_completes_it(
    archive: Deployed,
) -> None:
    for day in range(100, 112):
        archive.put_channel(day, *[{"n": day, "value": 1, "sleep": 0.5}] * 6)
    last_fortnight = {"StartTime": (START + timedelta(days=100)).isoformat()}
    execution = archive.start("Channel", **last_fortnight)
    staged = f"runs/channel/{execution.rpartition(':')[2]}/staged/"
    while len(archive.stored(staged)) < 2:
        time.sleep(0.1)

    archive.states.stop_execution(executionArn=execution, error="Superseded", cause="a new deploy")

    assert archive.ended(execution)["status"] == "ABORTED"
    assert all(gzip.decompress(body).count(b"\n") == 6 for body in archive.stored(staged).values())
    assert archive.stored("channel/dt=2025-04") == {}

    summary = archive.run("Channel", **last_fortnight)

    assert (summary["objects"], summary["messagesOut"]) == (12, 72)
    assert len(archive.stored("channel/dt=2025-04")) == 12


def test_denied_access_fails_the_run_with_the_reason(archive: Deployed) -> None:
    described = archive.ended(archive.denied)

    assert (described["status"], described["error"]) == ("FAILED", "SelectionFailed")
    assert described["cause"].startswith(
        f"cannot list s3://{archive.outputs['RawBucket']}/stream/: AccessDenied"
    )


def test_a_damaged_record_without_separators_costs_itself(archive: Deployed) -> None:
    records = [json.dumps({"n": n, "value": n}).encode() for n in range(200)]
    records[100] = records[100][:7]
    key = archive.put_stream(400, b"".join(records))

    summary = archive.run("Tolerant", S3Paths=[key])

    assert (summary["messagesIn"], summary["messagesOut"], summary["messagesFailed"]) == (200, 199, 1)
    day = f"{START + timedelta(hours=400):%Y-%m-%d}"
    assert [message["n"] for message in archive.results(f"tolerant/dt={day}/")] == [
        *range(100),
        *range(101, 200),
    ]


def test_any_objects_are_replayed_and_an_overwritten_one_replaces_its_result(archive: Deployed) -> None:
    archive.put("uploads/a b/1.json", b'{"n": 1}')
    archive.put("uploads/2.json", b'{"n": 2}')
    archive.put("uploads/readme.txt", b"no message")
    first = archive.run("Uploads", All=True)
    names = archive.stored("uploads/").keys()
    archive.put("uploads/2.json", b'{"n": 3}')

    second = archive.run("Uploads", StartTime="2025-01-01T00:00:00Z")

    assert [summary["objects"] for summary in (first, second)] == [2, 2]
    assert second["objectsSkipped"] == 1
    assert {message["n"] for message in archive.results("uploads/")} == {1, 3}
    assert archive.stored("uploads/").keys() == names


def test_a_stream_with_a_prefix_and_a_time_zone_of_its_own_is_found_by_time(archive: Deployed) -> None:
    tokyo = "hive/year=%Y/month=%m/day=%d/"
    archive.put_stream(
        24, b'{"n": 24}', prefix=tokyo
    )  # midnight of January 2 there, 15:00 of January 1 in UTC
    archive.put_stream(48, b'{"n": 48}', prefix=tokyo)
    undelivered = {
        "attemptsMade": 4,
        "arrivalTimestamp": 1735743600000,
        "errorCode": "Lambda.FunctionError",
        "errorMessage": "it failed",
        "attemptEndingTimestamp": 1735743601000,
        "rawData": "eyJuIjogN30=",
        "lambdaArn": "arn",
    }
    archive.put_stream(24, lines([undelivered]), prefix="hive/processing-failed/%Y/%m/%d/%H/")

    summary = archive.run("Hive", StartTime="2025-01-01T14:00:00Z", EndTime="2025-01-01T16:00:00Z")

    assert summary["objects"] == 2
    assert sorted(
        (message["n"], message["arrived"]) for message in archive.results("hive/dt=2025-01-01/")
    ) == [
        (7, 1735743600000),
        (24, 1735743600000),
    ]


def test_gzip_members_are_handed_over_one_by_one_unopened(archive: Deployed) -> None:
    members = [gzip.compress(json.dumps({"n": n}).encode()) for n in range(3)]
    archive.put_stream(1, b"".join(members), prefix="members/%Y/%m/%d/%H/")

    summary = archive.run("Members", All=True)

    assert (summary["messagesIn"], summary["messagesOut"]) == (3, 3)
    assert [message["n"] for message in archive.results("members/")] == [0, 1, 2]


def test_keys_of_another_layout_fail_a_run_that_selects_nothing(archive: Deployed) -> None:
    key = archive.put_stream(10, b'{"n": 1}', prefix="busy/%Y/%m/%d/")

    described = archive.ended(
        archive.start("Busy", StartTime="2025-01-01T00:00:00Z", EndTime="2025-01-01T12:00:00Z")
    )

    assert (described["status"], described["error"]) == ("FAILED", "SelectionFailed")
    assert described["cause"].startswith("nothing is selected, and 1 of the first 1 objects")
    assert f"'{key}' is not of the form" in described["cause"]


def test_a_function_with_a_reserved_concurrency_of_one_is_waited_for(archive: Deployed) -> None:
    keys = [
        archive.put_stream(hour, lines([{"n": hour, "sleep": 0.1}] * 2), prefix="busy/%Y/%m/%d/%H/")
        for hour in range(20, 26)
    ]

    summary = archive.run("Busy", S3Paths=keys)

    assert (summary["objects"], summary["messagesIn"], summary["messagesOut"]) == (6, 12, 12)


def test_an_archived_object_fails_the_run_before_any_work(archive: Deployed) -> None:
    archive.put_stream(500, b'{"n": 1}', prefix="members/%Y/%m/%d/%H/")
    moment = START + timedelta(hours=501)
    name = f"members/{moment:%Y/%m/%d/%H}/readings-1-{moment:%Y-%m-%d-%H-%M-%S}-{UUID}{501:012x}"
    archive.put(name, b'{"n": 1}', StorageClass="GLACIER")

    described = archive.ended(archive.start("Members", StartTime="2025-01-21T00:00:00Z"))

    assert described["error"] == "SelectionFailed"
    assert described["cause"].startswith(
        "1 of 2 selected objects are archived and 0 are being restored, such as"
    )


def test_a_run_publishes_nothing_after_its_function_has_changed(archive: Deployed) -> None:
    for hour in range(8):
        # The first is staged seconds before the last, however busy the machine is.
        archive.put_stream(hour, lines([{"n": hour, "sleep": 0.7 * hour}]), prefix="changing/%Y/%m/%d/%H/")
    execution = archive.start("Changing", All=True)
    staged = f"runs/changing/{execution.rpartition(':')[2]}/staged/"
    while not archive.stored(staged):
        time.sleep(0.1)
    functions = archive.aws.client("lambda")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archived:
        archived.writestr("index.py", RECORDS + "# changed")
    functions.update_function_code(FunctionName=archive.outputs["ChangedFunction"], ZipFile=code.getvalue())

    described = archive.ended(execution)

    assert described["error"] == "ReplayFailed"
    assert "your function has changed since this run was planned" in described["cause"]
    assert archive.stored("changing/") == {}
