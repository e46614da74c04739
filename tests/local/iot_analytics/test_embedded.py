"""The server beside the emulator: archives and data stores in its S3, functions in its Lambda."""

import io
import json
import time
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws import LocalAws
from local_aws.iot_analytics.client import put_messages
from local_aws.iot_analytics.data_store import stored_object
from local_aws.iot_analytics.messages import unpacked

pytestmark = pytest.mark.embedded

CODE = """
def handler(messages, context):
    return [{**message, "celsius": (message["t"] - 32) * 5 / 9} for message in messages if message["t"] < 200]
"""


@pytest.fixture
def names(local_aws: LocalAws) -> Iterator[dict[str, str]]:
    """A bucket and a function of our own."""
    unique = uuid.uuid4().hex[:8]
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam, functions, s3 = (local_aws.client(name) for name in ("iam", "lambda", "s3"))
    role = iam.create_role(
        RoleName=f"role-{unique}",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("index.py", CODE)
    functions.create_function(
        FunctionName=f"convert-{unique}",
        Runtime="python3.13",
        Handler="index.handler",
        Role=role,
        Code={"ZipFile": archive.getvalue()},
    )
    s3.create_bucket(Bucket=f"data-{unique}")
    yield {"unique": unique, "bucket": f"data-{unique}", "function": f"convert-{unique}", "role": role}
    functions.delete_function(FunctionName=f"convert-{unique}")


def test_a_run_reads_s3_calls_lambda_and_writes_s3(local_aws: LocalAws, names: dict[str, str]) -> None:
    client, s3 = local_aws.client("iotanalytics"), local_aws.client("s3")
    channel, datastore, pipeline = (
        f"{kind}_{names['unique']}" for kind in ("channel", "datastore", "pipeline")
    )
    storage = {
        "customerManagedS3": {"bucket": names["bucket"], "keyPrefix": "iot/", "roleArn": names["role"]}
    }
    client.create_channel(channelName=channel, channelStorage=storage)
    client.create_datastore(datastoreName=datastore, datastoreStorage=storage)
    ends = (
        {"channel": {"name": "in", "channelName": channel, "next": "convert"}},
        {"datastore": {"name": "out", "datastoreName": datastore}},
    )
    plain = [{"channel": {**ends[0]["channel"], "next": "out"}}, ends[1]]
    convert = {"lambda": {"name": "convert", "lambdaName": names["function"], "batchSize": 10, "next": "out"}}
    client.create_pipeline(pipelineName=pipeline, pipelineActivities=plain)
    day = datetime(2025, 3, 1, tzinfo=UTC)
    for number in range(3):
        put_messages(client, channel, [{"t": 32 + number}, {"t": 999}], at=day + timedelta(days=number))

    client.update_pipeline(pipelineName=pipeline, pipelineActivities=[ends[0], convert, ends[1]])
    run = client.start_pipeline_reprocessing(pipelineName=pipeline, startTime=day + timedelta(days=1))
    status = "RUNNING"
    while status == "RUNNING":
        time.sleep(0.05)
        [summary] = client.describe_pipeline(pipelineName=pipeline)["pipeline"]["reprocessingSummaries"]
        status = summary["status"]

    listed = s3.list_objects_v2(Bucket=names["bucket"], Prefix=f"iot/datastore/{datastore}/")["Contents"]
    rows: dict[str, list[Any]] = {}
    for entry in listed:
        stored = stored_object(entry["Key"])
        assert stored
        body = s3.get_object(Bucket=names["bucket"], Key=entry["Key"])["Body"].read()
        rows.setdefault(stored.run, []).extend(unpacked(body))
    assert status == "SUCCEEDED"
    assert rows["live"] == [{"t": 32}, {"t": 999}, {"t": 33}, {"t": 999}, {"t": 34}, {"t": 999}]
    assert rows[run["reprocessingId"]] == [{"t": 33, "celsius": 5 / 9}, {"t": 34, "celsius": 10 / 9}]


def test_a_bucket_that_is_not_there_is_refused(local_aws: LocalAws, names: dict[str, str]) -> None:
    client = local_aws.client("iotanalytics")
    storage = {"customerManagedS3": {"bucket": f"no-{names['bucket']}", "roleArn": names["role"]}}

    with pytest.raises(client.exceptions.InvalidRequestException) as caught:
        client.create_channel(channelName=f"broken_{names['unique']}", channelStorage=storage)

    assert "'channelStorage' cannot be used: bucket " in str(caught.value)
    assert "NoSuchBucket" in str(caught.value)
