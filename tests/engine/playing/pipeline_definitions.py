"""The pipelines that the tests deploy, and their state machines' definitions as CDK synthesizes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws_cdk import App, Environment, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    Reports,
    S3EventPipeline,
    Transform,
)

ACCOUNT, REGION = "123456789012", "eu-west-1"
SOURCE, DESTINATION = "raw-bucket", "result-bucket"


def synthesized() -> dict[str, dict[str, Any]]:
    """The definitions by the pipeline's name.

    `Activity` and `Stream` have one contract each, several workers, and tolerate nothing. `Single` makes one call at a
    time, `Tolerant` has several workers and tolerates 50 %; both give a list of messages in batches of one. `Uploads`
    calls the function as S3 does.
    """
    stack = Stack(App(), "Telemetry", env=Environment(account=ACCOUNT, region=REGION))
    raw = Bucket.from_bucket_name(stack, "Raw", SOURCE)
    results = Bucket.from_bucket_name(stack, "Results", DESTINATION)
    channel = Archive.iot_analytics_channel(raw, channel_name="telemetry", prefix="raw/")
    function = Function(
        stack,
        "Enrich",
        function_name="enrich",
        runtime=Runtime.PYTHON_3_14,
        handler="index.handler",
        code=Code.from_inline("def handler(event, context):\n    return event"),
    )
    by_one = Transform.lambda_activity(function, batch_size=1)
    given: dict[str, dict[str, Any]] = {
        "Activity": {"transform": Transform.lambda_activity(function), "max_concurrency": 8},
        "Stream": {
            "source": Archive.firehose(raw, prefix="stream/"),
            "transform": Transform.firehose(function),
            "max_concurrency": 8,
        },
        "Single": {"transform": by_one, "max_concurrency": 1},
        "Tolerant": {"transform": by_one, "max_concurrency": 8, "tolerated_failure_percentage": 50},
    }
    for name, arguments in given.items():
        destination = Destination(results, prefix=f"{name.lower()}/")
        ArchivePipeline(stack, name, **{"source": channel, "destination": destination, **arguments})
    S3EventPipeline(
        stack,
        "Uploads",
        source=Archive.objects(raw, prefix="uploads/"),
        function=function,
        reports=Reports(results, prefix="reports/"),
    )
    template = Template.from_stack(stack)
    machines = template.find_resources("AWS::StepFunctions::StateMachine")
    return {
        next(name for name in (*given, "Uploads") if logical_id.startswith(name)): json.loads(
            _resolved(machine["Properties"]["DefinitionString"])
        )
        for logical_id, machine in machines.items()
    }


def worker_arn(definition: Mapping[str, Any]) -> str:
    """The ARN of the pipeline's own function, which does every step."""
    arn: str = definition["States"]["Plan"]["Resource"]
    return arn


def _resolved(value: Any) -> str:
    """What CloudFormation makes of it: functions have their logical ids as names where they have no other."""
    match value:
        case str():
            return value
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(map(_resolved, parts))
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    raise ValueError(f"an intrinsic that is not expected in a definition: {value}")
