"""Functions that S3 calls, run over what is in the bucket: every form of event, on the embedded AWS.

One stack for all of it, deployed once; runs are started as `PipelineReprocessing` starts them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import aws_cdk as cdk
import pytest
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_lambda_destinations import SqsDestination
from aws_cdk.aws_s3 import Bucket, EventType, NotificationKeyFilter
from aws_cdk.aws_s3_notifications import LambdaDestination
from aws_cdk.aws_sns import Topic
from aws_cdk.aws_sqs import Queue

from local_aws import LocalAws
from pipeline_reprocessing import (
    Archive,
    MessageSelection,
    Notification,
    PipelineReprocessing,
    S3EventPipeline,
)

pytestmark = [pytest.mark.embedded, pytest.mark.more_deploys]

NAME = "s3-events"
ODD = ("a b+c%20d.jpg", "(1)=2.jpg", "日本 é.jpg")

# Writes down what it is called with; what it does then, a name in its environment says.
CODE = """
import json, os, time, uuid
from urllib.parse import unquote_plus
import boto3

s3 = boto3.client("s3")

def handler(event, context):
    began = time.time()
    client = context.client_context
    custom = client.custom if client else None
    answer = globals()[os.environ["DOES"]](event)
    row = {"event": event, "custom": custom, "began": began, "ended": time.time()}
    key = os.environ["DOES"] + "/" + str(uuid.uuid4())
    s3.put_object(Bucket=os.environ["SEEN"], Key=key, Body=json.dumps(row).encode())
    return answer

def keys(event):
    return [unquote_plus(each["s3"]["object"]["key"]) for each in event["Records"]]

def notes(event):
    pass

def naps(event):
    time.sleep(0.2)

def moves(event):
    bucket = event["Records"][0]["s3"]["bucket"]["name"]
    for key in keys(event):
        s3.copy_object(Bucket=bucket, Key=key.replace("in/", "done/"), CopySource={"Bucket": bucket, "Key": key})
        s3.delete_object(Bucket=bucket, Key=key)
        if key.endswith("x"):
            time.sleep(10)

def reads(event):
    for key in keys(event):
        if key == "n/0777.csv":
            raise ValueError("bad row")

def refuses(event):
    for each in event["Records"]:
        if each["eventName"] != "ObjectCreated:Put":
            raise ValueError(each["eventName"])

def reports(event):
    ids = [each["messageId"] for each in event["Records"] if "2.csv" in each["body"]]
    return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}
"""


def synthesized(folder: Path) -> str:
    """The cloud assembly with every pipeline of these tests."""
    app = cdk.App(outdir=str(folder))
    stack = cdk.Stack(app, NAME)
    bucket, seen = Bucket(stack, "Uploads", versioned=True), Bucket(stack, "Seen")
    queue, topic, following = Queue(stack, "Queue"), Topic(stack, "Topic"), Queue(stack, "Following")

    def function(does: str, **options: Any) -> Function:
        made = Function(
            stack,
            does.title(),
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline(CODE),
            **{"timeout": cdk.Duration.seconds(30), **options},
            environment={"DOES": does, "SEEN": seen.bucket_name},
        )
        seen.grant_put(made, f"{does}/*")
        return made

    def pipeline(name: str, prefix: str, made: Function, **options: Any) -> None:
        pipelines[name] = S3EventPipeline(
            stack, name, source=Archive.objects(bucket, prefix=prefix), function=made, **options
        )

    pipelines: dict[str, S3EventPipeline] = {}
    notes = function("notes", on_success=SqsDestination(following))
    bucket.add_event_notification(
        EventType.OBJECT_CREATED, LambdaDestination(notes), NotificationKeyFilter(prefix="photos/")
    )
    direct = Notification.s3()
    for name, notification in {
        "S3": direct,
        "EventBridge": Notification.event_bridge(),
        "Sns": Notification.sns(topic),
        "Sqs": Notification.sqs(queue, batch_size=2),
        "SqsEventBridge": Notification.sqs(queue, carrying=Notification.event_bridge()),
        "SqsSns": Notification.sqs(queue, carrying=Notification.sns(topic)),
        "SqsRaw": Notification.sqs(queue, carrying=Notification.sns(topic, raw_message_delivery=True)),
    }.items():
        pipeline(name, "photos/", notes, notification=notification, allow_skipped_destinations=True)
    moves = function("moves", timeout=cdk.Duration.seconds(2))
    bucket.grant_read_write(moves)
    pipeline("Gone", "in/", moves)
    reads = function("reads")
    pipeline("Strict", "n/", reads, max_concurrency=20)
    pipeline("Tolerant", "n/", reads, max_concurrency=20, tolerated_failure_percentage=1)
    naps = function("naps", reserved_concurrent_executions=2)
    pipeline("Throttled", "busy/", naps, max_concurrency=20)
    never = function("never", reserved_concurrent_executions=0)
    pipeline("Reserved", "busy/", never)
    refuses = function("refuses")
    pipeline("Multipart", "parts/", refuses)
    named = Notification.s3(event_name="ObjectCreated:Put")
    pipeline("Named", "parts/", refuses, notification=named)
    pipeline("Reported", "batch/", function("reports"), notification=Notification.sqs(queue, batch_size=5))
    PipelineReprocessing(stack, "Backfill", pipeline=pipelines["S3"], messages=MessageSelection.all())
    for name, each in pipelines.items():
        cdk.CfnOutput(stack, f"{name}Machine", value=each.state_machine.state_machine_arn)
    for name, value in {
        "Uploads": bucket.bucket_name,
        "SeenBucket": seen.bucket_name,
        "QueueArn": queue.queue_arn,
        "TopicArn": topic.topic_arn,
        "Following": following.queue_url,
    }.items():
        cdk.CfnOutput(stack, f"{name}Name", value=value)
    app.synth()
    return str(folder)


@dataclass
class Deployed:
    """The stack, and what one does with it."""

    aws: LocalAws
    outputs: dict[str, str]

    @property
    def s3(self) -> Any:
        return self.aws.client("s3")

    def put(self, key: str, body: bytes = b"12345") -> None:
        self.s3.put_object(Bucket=self.outputs["UploadsName"], Key=key, Body=body)

    def put_all(self, keys: list[str]) -> None:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(self.put, keys))

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.outputs["UploadsName"], Prefix=prefix)
        return [each["Key"] for each in listed.get("Contents", [])]

    def seen(self, does: str) -> list[dict[str, Any]]:
        """What the function was called with."""
        bucket = self.outputs["SeenBucketName"]
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{does}/")
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        with ThreadPoolExecutor(16) as threads:
            return list(
                threads.map(
                    lambda key: json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()), keys
                )
            )

    def replayed(self, does: str, run: str) -> list[dict[str, Any]]:
        """What the function was called with by that run."""
        return [row["event"] for row in self.seen(does) if (row["custom"] or {}).get("replay") == run]

    def uploaded(self, does: str, count: int) -> list[dict[str, Any]]:
        """What the function was called with by S3 itself."""
        deadline = time.monotonic() + 30
        while True:
            found = [row["event"] for row in self.seen(does) if not row["custom"]]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def start(self, pipeline: str, **messages: Any) -> str:
        arn: str = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.outputs[f"{pipeline}Machine"],
            input=json.dumps({"messages": messages or {"All": True}, "trigger": "by hand", "resource": {}}),
        )["executionArn"]
        return arn

    def ended(self, execution: str, *, within: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            described: dict[str, Any] = self.aws.client("stepfunctions").describe_execution(
                executionArn=execution
            )
            if described["status"] != "RUNNING":
                return described
            time.sleep(0.2)
        raise TimeoutError(f"{execution} still runs after {within} s")

    def run(self, pipeline: str, **messages: Any) -> dict[str, Any]:
        """The summary of a run that succeeds, and the run's name."""
        described = self.ended(self.start(pipeline, **messages))
        assert described["status"] == "SUCCEEDED", described
        return {**json.loads(described["output"]), "run": described["name"]}

    def read_lines(self, place: str) -> list[Any]:
        bucket, _, key = place.removeprefix("s3://").partition("/")
        return [
            json.loads(line)
            for line in self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
        ]


def counts(summary: dict[str, Any]) -> dict[str, int]:
    names = ("objects", "objectsDone", "objectsFailed", "objectsGone", "objectsChanged", "objectsSkipped")
    return {name: summary[name] for name in names if summary[name]}


@pytest.fixture(scope="module")
def deployed(local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack, and three uploads of which S3 has told the function."""
    local_aws.cdk("deploy", NAME, app=synthesized(tmp_path_factory.mktemp(NAME) / "out")).check()
    (stack,) = local_aws.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"]
    made = Deployed(
        local_aws, {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    )
    for name in ODD:
        made.put(f"photos/{name}")
    yield made
    local_aws.client("cloudformation").delete_stack(StackName=NAME)


def test_a_replay_sends_the_events_that_s3_sends(deployed: Deployed) -> None:
    by_key = {each["Records"][0]["s3"]["object"]["key"]: each for each in deployed.uploaded("notes", 3)}

    summary = deployed.run("S3")

    assert counts(summary) == {"objects": 3, "objectsDone": 3}
    events = deployed.replayed("notes", summary["run"])
    assert {event["Records"][0]["s3"]["object"]["key"] for event in events} == {
        "photos/a+b%2Bc%2520d.jpg",
        "photos/%281%29%3D2.jpg",
        "photos/%E6%97%A5%E6%9C%AC+%C3%A9.jpg",
    }
    for event in events:
        [replayed], [uploaded] = (
            event["Records"],
            by_key[event["Records"][0]["s3"]["object"]["key"]]["Records"],
        )
        assert replayed.keys() == uploaded.keys()
        assert replayed["s3"].keys() == uploaded["s3"].keys()
        for name in ("key", "size", "eTag", "versionId"):
            assert replayed["s3"]["object"][name] == uploaded["s3"]["object"][name]
        assert replayed["s3"]["bucket"]["arn"] == uploaded["s3"]["bucket"]["arn"]
        assert replayed["responseElements"]["x-amz-request-id"].startswith("REPLAY")


def test_the_forms_carry_the_same_objects(deployed: Deployed) -> None:
    deployed.uploaded("notes", 3)
    runs = {
        name: deployed.start(name)
        for name in ("EventBridge", "Sns", "Sqs", "SqsEventBridge", "SqsSns", "SqsRaw")
    }

    events = {}
    for name, execution in runs.items():
        described = deployed.ended(execution)
        assert counts(json.loads(described["output"])) == {"objects": 3, "objectsDone": 3}, described
        events[name] = deployed.replayed("notes", described["name"])

    def of_s3(text: str) -> str:
        return unquote_plus(json.loads(text)["Records"][0]["s3"]["object"]["key"])

    def of_topic(message: dict[str, Any]) -> str:
        assert message["TopicArn"] == deployed.outputs["TopicArnName"]
        return of_s3(message["Message"])

    def bodies(name: str) -> list[str]:
        records = [record for event in events[name] for record in event["Records"]]
        assert {record["eventSourceARN"] for record in records} == {deployed.outputs["QueueArnName"]}
        return [record["body"] for record in records]

    found = {
        "EventBridge": [event["detail"]["object"]["key"] for event in events["EventBridge"]],
        "Sns": [of_topic(event["Records"][0]["Sns"]) for event in events["Sns"]],
        "Sqs": [of_s3(body) for body in bodies("Sqs")],
        "SqsEventBridge": [json.loads(body)["detail"]["object"]["key"] for body in bodies("SqsEventBridge")],
        "SqsSns": [of_topic(json.loads(body)) for body in bodies("SqsSns")],
        "SqsRaw": [of_s3(body) for body in bodies("SqsRaw")],
    }
    expected = sorted(f"photos/{name}" for name in ODD)
    assert {name: sorted(keys) for name, keys in found.items()} == dict.fromkeys(found, expected)
    assert sorted(len(event["Records"]) for event in events["Sqs"]) == [1, 2]


def test_a_replay_does_not_reach_the_function_s_destination(deployed: Deployed) -> None:
    deployed.uploaded("notes", 3)
    sqs = deployed.aws.client("sqs")

    def waiting() -> int:
        found = sqs.get_queue_attributes(
            QueueUrl=deployed.outputs["FollowingName"], AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    deadline = time.monotonic() + 30
    while waiting() < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    deployed.run("S3")

    assert waiting() == 3  # for the uploads


def test_an_object_that_the_function_has_moved_is_gone_and_not_failed(deployed: Deployed) -> None:
    deployed.put_all([f"in/{name}" for name in "abcdx"])

    summary = deployed.run("Gone")

    assert counts(summary) == {"objects": 5, "objectsDone": 4, "objectsGone": 1}
    assert len(deployed.keys("done/")) == 5


def test_one_of_1200_fails_and_is_all_that_is_run_again(deployed: Deployed) -> None:
    deployed.put_all([f"n/{number:04}.csv" for number in range(1, 1201)])

    strict = deployed.ended(deployed.start("Strict"))

    assert (strict["status"], strict["error"]) == ("FAILED", "ReplayFailed")
    assert "n/0777.csv: ValueError: bad row" in strict["cause"]

    summary = deployed.run("Tolerant")

    assert counts(summary) == {"objects": 1200, "objectsDone": 1199, "objectsFailed": 1}
    assert deployed.read_lines(summary["errors"]) == [{"key": "n/0777.csv", "reason": "ValueError: bad row"}]

    again = deployed.ended(deployed.start("Tolerant", KeysFrom=summary["errors"]))

    assert "1 of 1 objects failed" in again["cause"]


def test_a_run_keeps_to_the_function_s_reserved_concurrency(deployed: Deployed) -> None:
    deployed.put_all([f"busy/{number}" for number in range(60)])
    refused = deployed.start("Reserved")
    began = time.monotonic()

    summary = deployed.run("Throttled")

    assert counts(summary) == {"objects": 60, "objectsDone": 60}
    rows = [(row["began"], row["ended"]) for row in deployed.seen("naps")]
    assert max(sum(begin <= moment < end for begin, end in rows) for moment, _ in rows) <= 2
    described = deployed.ended(refused)
    assert time.monotonic() - began < 75
    assert described["status"] == "FAILED"
    assert "its reserved concurrency is 0, or all of it is in use" in described["cause"]


def test_the_name_of_an_event_says_how_the_object_was_written(deployed: Deployed) -> None:
    deployed.put("parts/small")
    uploads, key = deployed.outputs["UploadsName"], "parts/big"
    upload = deployed.s3.create_multipart_upload(Bucket=uploads, Key=key)["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": deployed.s3.upload_part(
                Bucket=uploads, Key=key, UploadId=upload, PartNumber=number, Body=b"x" * (5 << 20)
            )["ETag"],
        }
        for number in (1, 2)
    ]
    deployed.s3.complete_multipart_upload(
        Bucket=uploads, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )

    failed = deployed.ended(deployed.start("Multipart"))
    summary = deployed.run("Named")

    assert "parts/big: ValueError: ObjectCreated:CompleteMultipartUpload" in failed["cause"]
    assert counts(summary) == {"objects": 2, "objectsDone": 2}


def test_a_message_that_the_function_reports_is_a_failure_of_its_object(deployed: Deployed) -> None:
    deployed.put_all([f"batch/{number}.csv" for number in range(1, 8)])

    failed = deployed.ended(deployed.start("Reported"))

    assert "1 of 7 objects failed" in failed["cause"]
    assert "batch/2.csv: your function reported it in 'batchItemFailures'" in failed["cause"]
