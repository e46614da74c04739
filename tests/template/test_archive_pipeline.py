"""What an `ArchivePipeline` deploys, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnParameter, Duration, Environment, Size, Stack, Validations
from aws_cdk.assertions import Match, Template
from aws_cdk.aws_iam import Role, ServicePrincipal
from aws_cdk.aws_kinesisfirehose import DeliveryStream, S3Bucket
from aws_cdk.aws_kms import Key
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket, BucketEncryption, IBucket
from cdk_nag import AwsSolutionsChecks
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

import object_replay
from object_replay.settings import Selection, Settings
from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    Framing,
    MessageSelection,
    PipelineReprocessing,
    ResultFraming,
    Transform,
)

CODE = "def handler(messages, context):\n    return messages"


class Fixture:
    """A stack with buckets, a transforming function and an archive pipeline; any argument may be another one."""

    def __init__(
        self,
        *,
        outdir: str | None = None,
        code: str = CODE,
        stack: str = "Telemetry",
        env: Environment | None = None,
        **arguments: Any,
    ) -> None:
        self.app = App(outdir=outdir)
        self.stack = Stack(self.app, stack, env=env)
        self.raw: IBucket = Bucket.from_bucket_name(self.stack, "Raw", "raw-bucket")
        self.results: IBucket = Bucket.from_bucket_name(self.stack, "Results", "result-bucket")
        self.function = Function(
            self.stack,
            "Enrich",
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline(code),
        )
        given = {key: value(self) if callable(value) else value for key, value in arguments.items()}
        self.pipeline = ArchivePipeline(
            self.stack,
            "Pipeline",
            **{
                "source": Archive.iot_analytics_channel(self.raw, channel_name="telemetry", prefix="raw/"),
                "transform": Transform.lambda_activity(self.function),
                "destination": Destination(self.results, prefix="telemetry/"),
                **given,
            },
        )

    @property
    def template(self) -> Template:
        return Template.from_stack(self.stack)

    @property
    def trigger(self) -> str:
        PipelineReprocessing(self.stack, "Backfill", pipeline=self.pipeline, messages=MessageSelection.all())
        [resource] = self.template.find_resources("Custom::PipelineReprocessing").values()
        trigger: str = resource["Properties"]["Trigger"]
        return trigger


@pytest.fixture(scope="module")
def deployed() -> Fixture:
    return Fixture()


@pytest.fixture(scope="module")
def template(deployed: Fixture) -> Template:
    return deployed.template


@pytest.fixture(scope="module")
def definition(template: Template) -> dict[str, Any]:
    """The state machine's definition, with `<...>` where CloudFormation puts names."""
    return definition_of(template)


def definition_of(template: Template, **parameters: str) -> dict[str, Any]:
    [machine] = template.find_resources("AWS::StepFunctions::StateMachine").values()
    parts = machine["Properties"]["DefinitionString"]["Fn::Join"][1]
    names = [part if isinstance(part, str) else ".".join(_name(part)) for part in parts]
    text = "".join(
        name if isinstance(part, str) else parameters.get(name, f"<{name}>")
        for name, part in zip(names, parts, strict=True)
    )
    definition: dict[str, Any] = json.loads(text)
    return definition


def _name(reference: Mapping[str, Any]) -> list[str]:
    [value] = reference.values()
    return [value] if isinstance(value, str) else value


def logical_id(template: Template, resource_type: str, start: str) -> str:
    [found] = [name for name in template.find_resources(resource_type) if name.startswith(start)]
    return found


def test_ids_and_properties_stay_as_they_are(template: Template, snapshot: SnapshotAssertion) -> None:
    """They are a public contract, as in `test_snapshot.py`: what changes here replaces people's resources."""
    resources = {
        name: resource
        for name, resource in sorted(template.to_json()["Resources"].items())
        if name.startswith("Pipeline")
    }
    for resource in resources.values():
        if resource["Type"] == "AWS::Lambda::Function":
            resource["Properties"]["Code"]["S3Key"] = "<hash>.zip"  # the code may change

    assert resources == snapshot(extension_class=JSONSnapshotExtension)


def test_one_function_does_all_steps(template: Template) -> None:
    template.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": "object_replay.index.handler",
            "Runtime": "python3.14",
            "Architectures": ["arm64"],
            "MemorySize": 1769,
            "Timeout": 900,
            "LoggingConfig": {
                "LogGroup": {"Ref": logical_id(template, "AWS::Logs::LogGroup", "PipelineLogs")}
            },
        },
    )


def test_log_groups_expire(template: Template) -> None:
    template.resource_count_is("AWS::Logs::LogGroup", 2)
    template.all_resources_properties("AWS::Logs::LogGroup", {"RetentionInDays": 30})


def test_the_function_may_read_the_archive_call_the_function_and_write_the_destination_and_nothing_else(
    template: Template,
) -> None:
    [policy] = [
        policy
        for name, policy in template.find_resources("AWS::IAM::Policy").items()
        if name.startswith("PipelinePolicy")
    ]

    def s3(*path: str) -> Any:
        arns = [{"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, f":s3:::{each}"]]} for each in path]
        return arns if len(arns) > 1 else arns[0]

    written = [
        f"result-bucket/{prefix}*" for prefix in ("telemetry/", "errors/telemetry/", "runs/telemetry/")
    ]
    assert policy["Properties"]["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": {"Fn::GetAtt": [logical_id(template, "AWS::Logs::LogGroup", "PipelineLogs"), "Arn"]},
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": s3("raw-bucket"),
            "Condition": {"StringLike": {"s3:prefix": ["raw/channel/telemetry/*"]}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": s3("raw-bucket/raw/channel/telemetry/*")},
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": s3("result-bucket"),
            "Condition": {"StringLike": {"s3:prefix": ["runs/telemetry/*"]}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": s3(*written)},
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": s3(*written)},
        {
            "Effect": "Allow",
            "Action": "s3:DeleteObject",
            "Resource": s3(written[1], "result-bucket/runs/telemetry/*/staged/*"),
        },
        {
            "Effect": "Allow",
            "Action": ["lambda:InvokeFunction", "lambda:GetFunctionConfiguration"],
            "Resource": {"Fn::GetAtt": [logical_id(template, "AWS::Lambda::Function", "Enrich"), "Arn"]},
        },
    ]


def test_the_state_machine_may_call_its_function_and_read_manifests(template: Template) -> None:
    [policy] = [
        policy
        for name, policy in template.find_resources("AWS::IAM::Policy").items()
        if name.startswith("PipelineStateMachineRole")
    ]
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    function = {"Fn::GetAtt": [logical_id(template, "AWS::Lambda::Function", "PipelineFunction"), "Arn"]}

    assert statements[:2] == [
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": [function, {"Fn::Join": ["", [function, ":*"]]}],
        },
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": {
                "Fn::Join": [
                    "",
                    [
                        "arn:",
                        {"Ref": "AWS::Partition"},
                        ":s3:::result-bucket/runs/telemetry/*/manifest.jsonl",
                    ],
                ]
            },
        },
    ]
    assert {action.split(":")[0] for statement in statements[2:] for action in statement["Action"]} == {
        "logs",
        "xray",
    }


def test_the_state_machine_is_standard_logged_and_traced(template: Template) -> None:
    template.has_resource_properties(
        "AWS::StepFunctions::StateMachine",
        {
            "StateMachineType": "STANDARD",
            "LoggingConfiguration": {"Level": "ALL"},
            "TracingConfiguration": {"Enabled": True},
        },
    )


def test_the_state_machine_waits_for_the_function_s_policy(template: Template) -> None:
    policy = logical_id(template, "AWS::IAM::Policy", "PipelinePolicy")

    template.has_resource("AWS::StepFunctions::StateMachine", {"DependsOn": Match.array_with([policy])})


def test_the_definition_plans_replays_summarises_and_publishes(definition: Mapping[str, Any]) -> None:
    states = definition["States"]

    assert definition["StartAt"] == "Plan"
    assert states["Plan"]["Next"] == "Anything to replay?"
    assert states["Anything to replay?"] == {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.Failure", "IsPresent": True, "Next": "Failed"},
            {"Variable": "$.Run.Plan.Objects", "NumericEquals": 0, "Next": "Summarise"},
        ],
        "Default": "Replay",
    }
    assert states["Replay"]["Next"] == "Summarise"
    assert states["Replay"]["Catch"] == [
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.Error", "Next": "Summarise"}
    ]
    assert states["Summarise"]["Next"] == "Enough replayed?"
    assert states["Enough replayed?"] == {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.Failure", "IsPresent": True, "Next": "Failed"},
            {"Variable": "$.Summary.objects", "NumericEquals": 0, "Next": "Done"},
        ],
        "Default": "Publish",
    }
    assert states["Publish"]["Next"] == "Close"
    assert states["Publish"]["Catch"] == [
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.Error", "Next": "Close"}
    ]
    assert states["Close"]["Next"] == "All published?"
    assert states["All published?"] == {
        "Type": "Choice",
        "Choices": [{"Variable": "$.Failure", "IsPresent": True, "Next": "Failed"}],
        "Default": "Done",
    }
    assert states["Failed"] == {
        "Type": "Fail",
        "ErrorPath": "$.Failure.Error",
        "CausePath": "$.Failure.Cause",
    }
    assert states["Done"] == {"Type": "Pass", "OutputPath": "$.Summary", "End": True}


@pytest.mark.parametrize("label", ["Replay", "Publish"])
def test_the_maps_read_the_manifest_and_give_almost_nothing_back(
    definition: Mapping[str, Any], label: str
) -> None:
    replay = definition["States"][label]

    assert replay["Label"] == label
    assert replay["ResultPath"] is None
    assert replay["ItemReader"] == {
        "Resource": "arn:<AWS::Partition>:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSONL"},
        "Parameters": {"Bucket": "result-bucket", "Key.$": "$.ManifestKey"},
    }
    assert replay["ItemSelector"] == {"Run.$": "$.Run", "Batch.$": "$$.Map.Item.Value"}
    assert replay["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    # Any child that fails ends the run; workers decide themselves when that is due.
    assert not {key for key in replay if key.startswith("Tolerated")}

    last = {
        "Replay": {"Type": "Pass", "Result": {}, "End": True},
        "Publish": {"Type": "Task", "End": True},  # which gives {} by itself
    }[label]
    ends = [state for state in replay["ItemProcessor"]["States"].values() if state.get("End")]
    assert [{**end, **last} for end in ends] == ends


def test_publishing_a_batch_ends_the_run_where_it_fails(definition: Mapping[str, Any]) -> None:
    child = definition["States"]["Publish"]["ItemProcessor"]

    assert child["States"].keys() == {"Publish batch"}
    assert "Catch" not in child["States"]["Publish batch"]


def test_a_worker_is_called_until_its_batch_is_done_and_given_up_when_it_cannot_go_on(
    definition: Mapping[str, Any],
) -> None:
    child = definition["States"]["Replay"]["ItemProcessor"]

    assert child["StartAt"] == "Replay batch"
    assert child["States"]["Replay batch"]["ResultPath"] == "$.Batch"
    assert child["States"]["Replay batch"]["Next"] == "Batch finished?"
    assert child["States"]["Batch finished?"]["Choices"] == [
        {"Variable": "$.Batch.Keys[0]", "IsPresent": True, "Next": "Replay batch"}
    ]
    assert child["States"]["Replay batch"]["Catch"] == [
        {"ErrorEquals": ["ReplayStopped", "Denied"], "ResultPath": "$.Error", "Next": "Stopped"},
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.Error", "Next": "Give up"},
    ]
    assert child["States"]["Give up"]["Next"] == "Batch done"


@pytest.mark.parametrize(
    ("calls", "workers", "calls_per_worker", "publishers"),
    [(1, 1, 1, 1), (10, 3, 3, 3), (40, 10, 4, 10), (10_000, 2_500, 4, 40)],
)
def test_workers_follow_from_the_calls_at_once(
    calls: int, workers: int, calls_per_worker: int, publishers: int
) -> None:
    states = definition_of(Fixture(max_concurrency=calls).template)["States"]

    settings = states["Plan"]["Parameters"]["Run"]["Settings"]
    assert (settings["Workers"], settings["CallsPerWorker"]) == (workers, calls_per_worker)
    assert states["Replay"]["MaxConcurrency"] == workers
    assert states["Publish"]["MaxConcurrency"] == publishers


def test_a_token_of_calls_is_a_worker_for_each() -> None:
    fixture = Fixture(max_concurrency=lambda it: number(it, "N"))

    states = definition_of(fixture.template, N="7")["States"]

    settings = states["Plan"]["Parameters"]["Run"]["Settings"]
    assert (settings["Workers"], settings["CallsPerWorker"]) == (7, 1)
    assert states["Replay"]["MaxConcurrency"] == 7
    assert states["Publish"]["MaxConcurrency"] == 10


def tasks_of(definition: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    states = dict(definition["States"])
    for label in ("Replay", "Publish"):
        states |= definition["States"][label]["ItemProcessor"]["States"]
    return [state for state in states.values() if state["Type"] == "Task"]


def test_every_step_is_repeated_for_hours_or_for_a_minute_by_what_went_wrong(
    definition: Mapping[str, Any],
) -> None:
    doubling = {"IntervalSeconds": 2, "BackoffRate": 2}
    expected = [
        {
            "ErrorEquals": ["Throttled"],
            **doubling,
            "MaxAttempts": 48,
            "MaxDelaySeconds": 300,
            "JitterStrategy": "FULL",
        },
        {
            "ErrorEquals": ["Lambda.TooManyRequestsException"],
            **doubling,
            "MaxAttempts": 720,
            "MaxDelaySeconds": 120,
            "JitterStrategy": "FULL",
        },
        {
            "ErrorEquals": [
                "Lambda.ServiceException",
                "Lambda.SdkClientException",
                "Lambda.ClientExecutionTimeoutException",
            ],
            **doubling,
            "MaxAttempts": 30,
            "MaxDelaySeconds": 120,
            "JitterStrategy": "FULL",
        },
        {"ErrorEquals": ["Lambda.AWSLambdaException", "States.Permissions"], **doubling, "MaxAttempts": 5},
    ]

    tasks = tasks_of(definition)

    assert [task["Retry"] for task in tasks] == [expected] * 6


@pytest.mark.parametrize("label", ["Replay", "Publish"])
def test_a_map_is_repeated_only_while_it_may_not_begin(definition: Mapping[str, Any], label: str) -> None:
    """Any other error comes from children, which a repeated map would run again."""
    assert definition["States"][label]["Retry"] == [
        {
            "ErrorEquals": ["States.ItemReaderFailed", "States.Permissions"],
            "IntervalSeconds": 2,
            "BackoffRate": 2,
            "MaxAttempts": 5,
        }
    ]


def test_retries_are_within_the_bounds_of_step_functions(definition: Mapping[str, Any]) -> None:
    """Source: Step Functions' developer guide, "Handling errors", "Retry field examples"."""
    states = [*tasks_of(definition), *(definition["States"][label] for label in ("Replay", "Publish"))]

    for retry in (retry for state in states for retry in state["Retry"]):
        assert 0 < retry["IntervalSeconds"] <= 99_999_999
        assert 0 < retry["MaxAttempts"] <= 99_999_999
        assert retry["IntervalSeconds"] < retry.get("MaxDelaySeconds", 300) < 31_622_400
        # Three events for an attempt, of the 25,000 that an execution may have.
        assert 3 * retry["MaxAttempts"] < 25_000 / 4


def test_the_settings_in_the_definition_are_what_the_function_reads() -> None:
    fixture = Fixture(
        source=lambda it: Archive.firehose(it.raw, prefix="raw/", buffer_interval=Duration.minutes(5)),
        transform=lambda it: Transform.firehose(
            it.function,
            batch_size=250,
            buffer_size=Size.mebibytes(3),
            delivery_stream=DeliveryStream.from_delivery_stream_name(it.stack, "Live", "live"),
            result_framing=ResultFraming.BYTES,
        ),
        destination=lambda it: Destination(
            it.results, prefix="out/", errors_prefix="bad/", runs_prefix="notes/"
        ),
        max_concurrency=7,
        tolerated_failure_percentage=2.5,
    )

    settings = Settings.parse(
        definition_of(fixture.template)["States"]["Plan"]["Parameters"]["Run"]["Settings"]
    )

    assert (settings.source.layout, settings.source.bucket, settings.source.root) == (
        "FIREHOSE",
        "raw-bucket",
        "raw/",
    )
    assert settings.source.buffer_seconds == 300
    assert settings.function.arn.startswith("<Enrich")
    assert (settings.function.contract, settings.function.batch_size) == ("FIREHOSE", 250)
    assert (settings.function.max_bytes, settings.function.result_framing) == (3 << 20, "BYTES")
    assert settings.function.stream_arn == (
        "arn:<AWS::Partition>:firehose:<AWS::Region>:<AWS::AccountId>:deliverystream/live"
    )
    assert (settings.destination.bucket, settings.destination.prefix) == ("result-bucket", "out/")
    assert (settings.destination.errors_prefix, settings.destination.runs_prefix) == ("bad/", "notes/")
    assert (settings.workers, settings.calls_per_worker) == (2, 3)
    assert settings.tolerated_failure_percentage == 2.5


def test_the_defaults_are_the_longest_buffer_and_folders_beside_the_results(
    definition: Mapping[str, Any],
) -> None:
    fixture = Fixture(source=lambda it: Archive.firehose(it.raw))

    settings = Settings.parse(
        definition_of(fixture.template)["States"]["Plan"]["Parameters"]["Run"]["Settings"]
    )

    assert (settings.source.root, settings.source.buffer_seconds) == ("", 900)
    assert settings.function.batch_size == 500
    assert (settings.destination.errors_prefix, settings.destination.runs_prefix) == (
        "errors/telemetry/",
        "runs/telemetry/",
    )


def test_an_activity_has_batches_of_4_mib_and_knows_no_stream(definition: Mapping[str, Any]) -> None:
    function = definition["States"]["Plan"]["Parameters"]["Run"]["Settings"]["Function"]

    assert function["MaxBytes"] == 4 << 20
    assert function.keys() == {"Arn", "Contract", "BatchSize", "MaxBytes"}


def test_a_firehose_function_is_told_of_a_stream_that_does_not_exist() -> None:
    """So that it fails where it puts what exceeds 6 MB back into the stream, which would be the live one."""
    fixture = Fixture(transform=lambda it: Transform.firehose(it.function))

    function = definition_of(fixture.template)["States"]["Plan"]["Parameters"]["Run"]["Settings"]["Function"]

    place, _, name = function["StreamArn"].rpartition("/")
    assert place == "arn:<AWS::Partition>:firehose:<AWS::Region>:<AWS::AccountId>:deliverystream"
    assert name == "pipeline-reprocessing-no-such-stream"
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name)  # a valid name: the function must fail on nothing else
    assert (function["MaxBytes"], function["ResultFraming"]) == (1 << 20, "LINES")


def test_the_pipeline_reprocesses_through_its_state_machine_once_all_of_it_is_there() -> None:
    fixture = Fixture()
    PipelineReprocessing(
        fixture.stack,
        "Backfill",
        pipeline=fixture.pipeline,
        messages=MessageSelection.last(Duration.days(365)),
    )
    template = fixture.template

    machine = logical_id(template, "AWS::StepFunctions::StateMachine", "Pipeline")
    [resource] = template.find_resources("Custom::PipelineReprocessing").values()
    assert resource["Properties"]["Pipeline"] == {"Kind": "STATE_MACHINE", "Arn": {"Ref": machine}}
    assert {
        machine,
        logical_id(template, "AWS::IAM::Policy", "PipelinePolicy"),
        logical_id(template, "AWS::IAM::Policy", "PipelineStateMachineDistributedMapPolicy"),
        logical_id(template, "AWS::Lambda::Function", "Enrich"),
    } <= set(resource["DependsOn"])


def test_what_the_handler_sends_is_a_selection_that_the_pipeline_reads() -> None:
    for messages in (
        {"StartTime": "2025-01-31T00:00:00Z"},
        {"StartTime": "2025-01-31T00:00:00Z", "EndTime": "2025-02-01T00:00:00Z"},
        {"S3Paths": ["a/b"]},
        {"All": True},
    ):
        assert Selection.parse(messages) is not None


CHANGES: dict[str, dict[str, Any]] = {
    "code": {"code": "def handler(messages, context):\n    return []"},
    "batch size": {"transform": lambda it: Transform.lambda_activity(it.function, batch_size=10)},
    "contract": {"transform": lambda it: Transform.firehose(it.function)},
    "layout": {"source": lambda it: Archive.firehose(it.raw, prefix="raw/channel/telemetry/")},
    "channel": {
        "source": lambda it: Archive.iot_analytics_channel(it.raw, channel_name="other", prefix="raw/")
    },
    "source bucket": {
        "source": lambda it: Archive.iot_analytics_channel(
            it.results, channel_name="telemetry", prefix="raw/"
        )
    },
    "destination": {"destination": lambda it: Destination(it.results, prefix="other/")},
    "destination bucket": {"destination": lambda it: Destination(it.raw, prefix="telemetry/")},
}
KEEPS: dict[str, dict[str, Any]] = {
    "concurrency": {"max_concurrency": 41},
    "tolerance": {"tolerated_failure_percentage": 1},
    "memory": {"memory_size": 3008},
    "errors prefix": {
        "destination": lambda it: Destination(it.results, prefix="telemetry/", errors_prefix="bad/")
    },
    "runs prefix": {
        "destination": lambda it: Destination(it.results, prefix="telemetry/", runs_prefix="notes/")
    },
}


@pytest.fixture(scope="module")
def trigger() -> str:
    return Fixture().trigger


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_resulting_data_is_part_of_the_trigger(change: str, trigger: str) -> None:
    assert Fixture(**CHANGES[change]).trigger != trigger


def test_the_buffer_interval_is_part_of_the_trigger() -> None:
    """For it decides which objects a time selects."""
    short = Fixture(source=lambda it: Archive.firehose(it.raw, buffer_interval=Duration.minutes(5)))
    long = Fixture(source=lambda it: Archive.firehose(it.raw, buffer_interval=Duration.minutes(10)))

    assert short.trigger != long.trigger


FIREHOSE_CHANGES: dict[str, Any] = {
    "buffer": lambda it: Transform.firehose(it.function, buffer_size=Size.mebibytes(2)),
    "stream": lambda it: Transform.firehose(
        it.function, delivery_stream=DeliveryStream.from_delivery_stream_name(it.stack, "Live", "live")
    ),
    "framing": lambda it: Transform.firehose(it.function, result_framing=ResultFraming.BYTES),
}


@pytest.mark.parametrize("change", FIREHOSE_CHANGES)
def test_what_decides_a_firehose_function_s_results_is_part_of_the_trigger(change: str) -> None:
    plain = Fixture(transform=lambda it: Transform.firehose(it.function))

    assert Fixture(transform=FIREHOSE_CHANGES[change]).trigger != plain.trigger


def test_the_defaults_of_a_firehose_function_are_the_same_when_written_out() -> None:
    plain = Fixture(transform=lambda it: Transform.firehose(it.function))

    written = Fixture(
        transform=lambda it: Transform.firehose(
            it.function, batch_size=500, buffer_size=Size.mebibytes(1), result_framing=ResultFraming.LINES
        )
    )

    assert written.trigger == plain.trigger


def test_an_explicit_region_of_the_stack_is_not_part_of_the_trigger() -> None:
    """The ARN of the stream that does not exist has the region in it."""
    plain = Fixture(transform=lambda it: Transform.firehose(it.function))
    placed = Fixture(
        transform=lambda it: Transform.firehose(it.function),
        env=Environment(account="111122223333", region="eu-west-1"),
    )

    assert placed.trigger == plain.trigger
    assert ":firehose:eu-west-1:111122223333:" in str(placed.template.to_json())


@pytest.mark.parametrize("change", KEEPS)
def test_what_changes_no_result_is_not(change: str, trigger: str) -> None:
    assert Fixture(**KEEPS[change]).trigger == trigger


def test_the_trigger_does_not_change_with_this_library_s_own_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trigger: str
) -> None:
    plain = Fixture()
    other = tmp_path / "object_replay"
    other.mkdir()
    (other / "index.py").write_text("def handler(event, context): ...")
    monkeypatch.setattr("pipeline_reprocessing.object_pipeline.packaged", lambda *_: tmp_path)
    upgraded = Fixture()

    assert upgraded.trigger == trigger
    assert asset_of(upgraded) != asset_of(plain)


def asset_of(fixture: Fixture) -> str:
    [function] = [
        function
        for name, function in fixture.template.find_resources("AWS::Lambda::Function").items()
        if name.startswith("PipelineFunction")
    ]
    key: str = function["Properties"]["Code"]["S3Key"]
    return key


def test_the_asset_is_the_package_without_what_pip_adds(tmp_path: Path) -> None:
    fixture = Fixture(outdir=str(tmp_path))
    digest = asset_of(fixture).removesuffix(".zip")
    fixture.app.synth()

    files = sorted(
        path.relative_to(tmp_path / f"asset.{digest}").as_posix()
        for path in (tmp_path / f"asset.{digest}").rglob("*")
        if path.is_file()
    )

    package = Path(object_replay.__file__).parent
    assert files == sorted(path.relative_to(package.parent).as_posix() for path in package.rglob("*.py"))


def test_encrypted_buckets_come_with_their_keys() -> None:
    fixture = Fixture(
        source=lambda it: Archive.firehose(
            Bucket(it.stack, "A", encryption=BucketEncryption.KMS, encryption_key=Key(it.stack, "KeyA")),
            prefix="raw/",
        ),
        destination=lambda it: Destination(
            Bucket(it.stack, "B", encryption=BucketEncryption.KMS, encryption_key=Key(it.stack, "KeyB")),
            prefix="out/",
        ),
    )
    template = fixture.template

    [policy] = [
        policy["Properties"]["PolicyDocument"]["Statement"]
        for name, policy in template.find_resources("AWS::IAM::Policy").items()
        if name.startswith("PipelineRoleDefaultPolicy")
    ]
    allowed = {
        statement["Resource"]["Fn::GetAtt"][0]: [statement["Action"]]
        if isinstance(statement["Action"], str)
        else statement["Action"]
        for statement in policy
    }
    keys = {name[:4]: name for name in template.find_resources("AWS::KMS::Key")}
    assert allowed == {
        keys["KeyA"]: ["kms:Decrypt"],
        keys["KeyB"]: ["kms:Decrypt", "kms:Encrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
    }
    # The state machine reads the manifest.
    assert any(
        statement.get("Action") == "kms:Decrypt"
        for name, policy in template.find_resources("AWS::IAM::Policy").items()
        if name.startswith("PipelineStateMachineRole")
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    )


def test_keys_of_buckets_known_by_name_are_granted_to_the_pipeline() -> None:
    fixture = Fixture()
    key = Key.from_key_arn(fixture.stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d")

    key.grant_encrypt_decrypt(fixture.pipeline)
    key.grant_decrypt(fixture.pipeline.state_machine)
    PipelineReprocessing(
        fixture.stack, "Backfill", pipeline=fixture.pipeline, messages=MessageSelection.all()
    )

    template = fixture.template
    granted = logical_id(template, "AWS::IAM::Policy", "PipelineRoleDefaultPolicy")
    policy = template.find_resources("AWS::IAM::Policy")[granted]["Properties"]
    assert policy["Roles"] == [{"Ref": logical_id(template, "AWS::IAM::Role", "PipelineRole")}]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*"} <= set(statement["Action"])
    assert statement["Resource"] == key.key_arn
    template.has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key.key_arn}]
                )
            },
            "Roles": [{"Ref": logical_id(template, "AWS::IAM::Role", "PipelineStateMachineRole")}],
        },
    )
    # No run begins before it may read.
    [resource] = template.find_resources("Custom::PipelineReprocessing").values()
    assert granted in resource["DependsOn"]


def test_the_permissions_in_the_document_are_those_of_the_policies(
    template: Template, checkout: Path
) -> None:
    document = (checkout / "docs" / "archive.md").read_text(encoding="utf-8")
    section = document.partition("## Permissions")[2]
    machine = section.index("| the state machine |")
    told = [
        set(re.findall(r"`([a-z0-9]+:[A-Z]\w+)`", rows)) for rows in (section[:machine], section[machine:])
    ]

    policies = template.find_resources("AWS::IAM::Policy")
    allowed: list[set[str]] = [set(), set()]
    for name, policy in policies.items():
        found = re.findall(r'"([a-z0-9]+:[A-Z]\w+)"', json.dumps(policy))
        allowed[name.startswith("PipelineStateMachine")] |= set(found)

    assert told == allowed


def test_an_alias_is_called_as_the_alias() -> None:
    fixture = Fixture(transform=lambda it: Transform.lambda_activity(it.function.add_alias("live")))
    alias = logical_id(fixture.template, "AWS::Lambda::Alias", "Enrich")

    fixture.template.has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [
                        {
                            "Effect": "Allow",
                            "Action": ["lambda:InvokeFunction", "lambda:GetFunctionConfiguration"],
                            "Resource": {"Ref": alias},
                        }
                    ]
                )
            }
        },
    )


def test_what_it_creates_can_be_used() -> None:
    fixture = Fixture()
    someone = Role(fixture.stack, "Someone", assumed_by=ServicePrincipal("ec2.amazonaws.com"))

    fixture.pipeline.grant_start_execution(someone)
    metric = fixture.pipeline.metric_failed(period=Duration.hours(1))

    template = fixture.template
    machine = logical_id(template, "AWS::StepFunctions::StateMachine", "Pipeline")
    template.has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": [{"Action": "states:StartExecution", "Resource": {"Ref": machine}}]
            },
            "Roles": [{"Ref": logical_id(template, "AWS::IAM::Role", "Someone")}],
        },
    )
    assert metric.metric_name == "ExecutionsFailed"
    assert fixture.stack.resolve(fixture.pipeline.state_machine.state_machine_arn) == {"Ref": machine}
    for part in ("function", "role", "policy", "log_group", "state_machine_log_group"):
        assert getattr(fixture.pipeline, part).node.path.startswith("Telemetry/Pipeline/")


def wrong(value: object) -> Any:
    """The value, which mypy would refuse as well."""
    return value


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no archive": ({"source": "raw/"}, "'source' must be of type Archive, got 'raw/'"),
    "no transform": ({"transform": None}, "'transform' must be of type Transform, got NoneType None"),
    "no destination": ({"destination": 5}, "'destination' must be of type Destination, got int 5"),
    "no concurrency": ({"max_concurrency": 0}, "'max_concurrency' must be 1 to 10,000, got 0"),
    "too much concurrency": (
        {"max_concurrency": 10_001},
        "'max_concurrency' must be 1 to 10,000, got 10,001",
    ),
    "half a worker": ({"max_concurrency": 1.5}, "'max_concurrency' must be a whole number, got float 1.5"),
    "tolerance below nothing": (
        {"tolerated_failure_percentage": -0.1},
        "'tolerated_failure_percentage' must be 0 to 100, got -0.1",
    ),
    "tolerance above all": (
        {"tolerated_failure_percentage": 101},
        "'tolerated_failure_percentage' must be 0 to 100, got 101",
    ),
    "tolerance that is no number": (
        {"tolerated_failure_percentage": "5"},
        "'tolerated_failure_percentage' must be a number, got '5'",
    ),
    "little memory": ({"memory_size": 128}, "'memory_size' must be 512 to 10,240, got 128"),
    "a truth for memory": ({"memory_size": True}, "'memory_size' must be a whole number, got bool True"),
    "archive without bucket": (
        {"source": lambda it: Archive.firehose(wrong("raw-bucket"))},
        "'bucket' must be a bucket, got 'raw-bucket'",
    ),
    "gzip members for an activity": (
        {
            "source": lambda it: Archive.firehose(it.raw, framing=Framing.GZIP_MEMBERS),
            "transform": lambda it: Transform.lambda_activity(it.function),
        },
        "'source' must not have Framing.GZIP_MEMBERS for a Lambda activity, which takes JSON objects; use Framing.JSON, "
        "which opens gzip, or Transform.firehose()",
    ),
    "channel with hyphens": (
        {"source": lambda it: Archive.iot_analytics_channel(it.raw, channel_name="my-channel")},
        "'channel_name' must consist of letters, digits and underscores and not begin with two underscores, got "
        "'my-channel'; IoT Analytics allows no hyphens",
    ),
    "channel that is no name": (
        {"source": lambda it: Archive.iot_analytics_channel(it.raw, channel_name=wrong(None))},
        "'channel_name' must be a channel's name, got NoneType None",
    ),
    "channel prefix without slash": (
        {"source": lambda it: Archive.iot_analytics_channel(it.raw, channel_name="t", prefix="raw")},
        "'prefix' must end with '/', got 'raw'; use 'raw/'",
    ),
    "prefix with bucket": (
        {"source": lambda it: Archive.firehose(it.raw, prefix="s3://raw-bucket/raw/")},
        "'prefix' must be without its bucket, got 's3://raw-bucket/raw/'; leave out 's3://<bucket>/'",
    ),
    "prefix with a wildcard": (
        {"source": lambda it: Archive.firehose(it.raw, prefix="raw*/")},
        "'prefix' must be without '*', '?' and '$', got 'raw*/'",
    ),
    "prefix that is no text": (
        {"source": lambda it: Archive.firehose(it.raw, prefix=wrong(7))},
        "'prefix' must be a text, got int 7",
    ),
    "prefix that is too long": (
        {"source": lambda it: Archive.firehose(it.raw, prefix="ü" * 326)},
        "'prefix' must have at most 650 bytes, got 652",
    ),
    "buffer that is too long": (
        {"source": lambda it: Archive.firehose(it.raw, buffer_interval=Duration.minutes(16))},
        "'buffer_interval' must be 0 to 900 seconds, got 960 seconds",
    ),
    "buffer that is no duration": (
        {"source": lambda it: Archive.firehose(it.raw, buffer_interval=wrong(60))},
        "'buffer_interval' must be a Duration, got int 60; write Duration.minutes(...)",
    ),
    "no function": (
        {"transform": lambda it: Transform.firehose(wrong("arn:aws:lambda:..."))},
        "'function' must be a Lambda function, got 'arn:aws:lambda:...'",
    ),
    "activity batch that is too large": (
        {"transform": lambda it: Transform.lambda_activity(it.function, batch_size=1001)},
        "'batch_size' must be 1 to 1,000, got 1,001",
    ),
    "firehose batch of none": (
        {"transform": lambda it: Transform.firehose(it.function, batch_size=0)},
        "'batch_size' must be 1 to 10,000, got 0",
    ),
    "small buffer": (
        {"transform": lambda it: Transform.firehose(it.function, buffer_size=Size.bytes(199_999))},
        "'buffer_size' must be 200,000 to 3,145,728 bytes as in Firehose, got 199,999 bytes",
    ),
    "large buffer": (
        {"transform": lambda it: Transform.firehose(it.function, buffer_size=Size.bytes(3_145_729))},
        "'buffer_size' must be 200,000 to 3,145,728 bytes as in Firehose, got 3,145,729 bytes",
    ),
    "buffer that is no size": (
        {"transform": lambda it: Transform.firehose(it.function, buffer_size=wrong(1))},
        "'buffer_size' must be a Size, got int 1; write Size.mebibytes(...)",
    ),
    "buffer in a unit of a token": (
        {
            "transform": lambda it: Transform.firehose(
                it.function, buffer_size=Size.mebibytes(number(it, "N"))
            )
        },
        "'buffer_size' must be in bytes if it is a token; write Size.bytes(...)",
    ),
    "stream by name": (
        {"transform": lambda it: Transform.firehose(it.function, delivery_stream=wrong("live"))},
        "'delivery_stream' must be a delivery stream, got 'live'; use DeliveryStream.from_delivery_stream_arn()",
    ),
    "unknown framing": (
        {"transform": lambda it: Transform.firehose(it.function, result_framing=wrong("CSV"))},
        "'result_framing' must be one of LINES, BYTES, got 'CSV'",
    ),
    "destination prefix without slash": (
        {"destination": lambda it: Destination(it.results, prefix="out")},
        "'prefix' must end with '/', got 'out'; use 'out/'",
    ),
    "errors among the results": (
        {"destination": lambda it: Destination(it.results, prefix="out/", errors_prefix="out/errors/")},
        "'errors_prefix' must lie outside of 'prefix', got 'out/errors/' within 'out/'",
    ),
    "errors everywhere": (
        {"destination": lambda it: Destination(it.results, prefix="out/", errors_prefix="")},
        "'errors_prefix' must not be empty; use 'errors/out/'",
    ),
    "runs everywhere": (
        {"destination": lambda it: Destination(it.results, prefix="out/", runs_prefix="")},
        "'runs_prefix' must not be empty; use 'runs/out/'",
    ),
    "destination within the archive": (
        {"destination": lambda it: Destination(it.raw, prefix="raw/channel/telemetry/")},
        "'destination.prefix' must lie outside of the archive 'raw/channel/telemetry/' in the same bucket, got "
        "'raw/channel/telemetry/'; results would be replayed as messages",
    ),
    "errors within the archive": (
        {
            "source": lambda it: Archive.firehose(it.raw, prefix="raw/"),
            "destination": lambda it: Destination(it.raw, prefix="out/", errors_prefix="raw/errors/"),
        },
        "'destination.errors_prefix' must lie outside of the archive 'raw/' in the same bucket, got 'raw/errors/'; "
        "results would be replayed as messages",
    ),
    "destination that is the archive": (
        {
            "source": lambda it: Archive.firehose(it.raw),
            "destination": lambda it: Destination(it.raw, prefix=""),
        },
        "'destination.prefix' must lie outside of the archive '' in the same bucket, got ''; results would be "
        "replayed as messages",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_the_way_out(case: str) -> None:
    arguments, message = REFUSED[case]

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        Fixture(**arguments)

    assert str(caught.value) == message


ACCEPTED: dict[str, dict[str, Any]] = {
    "results beside the archive": {"destination": lambda it: Destination(it.raw, prefix="out/")},
    "results in an archive of years": {
        "source": lambda it: Archive.firehose(it.raw),
        "destination": lambda it: Destination(it.raw, prefix="out/"),
    },
    "no prefixes at all": {
        "source": lambda it: Archive.iot_analytics_channel(it.raw, channel_name="t"),
        "destination": lambda it: Destination(it.results, prefix=""),
    },
    "a stream's prefix without slash": {"source": lambda it: Archive.firehose(it.raw, prefix="raw-")},
    "the largest numbers": {
        "max_concurrency": 10_000,
        "tolerated_failure_percentage": 100,
        "memory_size": 10_240,
        "transform": lambda it: Transform.lambda_activity(it.function, batch_size=1_000),
        "source": lambda it: Archive.firehose(it.raw, buffer_interval=Duration.seconds(900)),
    },
    "the smallest numbers": {
        "max_concurrency": 1,
        "memory_size": 512,
        "transform": lambda it: Transform.firehose(it.function, batch_size=1),
        "source": lambda it: Archive.firehose(it.raw, buffer_interval=Duration.seconds(0)),
    },
    "the smallest buffer": {
        "transform": lambda it: Transform.firehose(it.function, buffer_size=Size.mebibytes(0.2))
    },
    "the largest buffer": {
        "transform": lambda it: Transform.firehose(it.function, buffer_size=Size.mebibytes(3))
    },
    "transformation buffer that is a token": {
        "transform": lambda it: Transform.firehose(it.function, buffer_size=Size.bytes(number(it, "N")))
    },
    "stream of this app": {
        "transform": lambda it: Transform.firehose(
            it.function,
            delivery_stream=DeliveryStream(it.stack, "Live", destination=S3Bucket(it.results)),
        )
    },
    "framing by its value": {
        "transform": lambda it: Transform.firehose(it.function, result_framing=wrong("BYTES"))
    },
    "channel name that is a token": {
        "source": lambda it: Archive.iot_analytics_channel(
            it.raw, channel_name=text(it, "C"), prefix=text(it, "P")
        )
    },
    "stream prefix that is a token": {"source": lambda it: Archive.firehose(it.raw, prefix=text(it, "P"))},
    "buffer that is a token": {
        "source": lambda it: Archive.firehose(it.raw, buffer_interval=Duration.seconds(number(it, "B")))
    },
    "batch size that is a token": {
        "transform": lambda it: Transform.lambda_activity(it.function, batch_size=number(it, "N"))
    },
    "prefixes that are tokens": {
        "destination": lambda it: Destination(
            it.raw, prefix=text(it, "P"), errors_prefix=text(it, "E"), runs_prefix=text(it, "R")
        )
    },
    "concurrency that is a token": {"max_concurrency": lambda it: number(it, "N")},
    "tolerance that is a token": {"tolerated_failure_percentage": lambda it: number(it, "N")},
    "memory that is a token": {"memory_size": lambda it: number(it, "N")},
}


def text(it: Fixture, name: str) -> str:
    return CfnParameter(it.stack, name).value_as_string


def number(it: Fixture, name: str) -> Any:
    return CfnParameter(it.stack, name, type="Number").value_as_number


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_can_be_is_accepted(case: str) -> None:
    Fixture(**ACCEPTED[case]).template.resource_count_is("AWS::StepFunctions::StateMachine", 1)


def test_cdk_nag_finds_nothing(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    stack = Stack(app, "Telemetry")
    function = Function.from_function_arn(stack, "F", "arn:aws:lambda:eu-west-1:111122223333:function:enrich")
    ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket.from_bucket_name(stack, "Raw", "raw"), prefix="raw/"),
        transform=Transform.firehose(function),
        destination=Destination(Bucket.from_bucket_name(stack, "Out", "out"), prefix="out/"),
    )
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))

    with suppress(RuntimeError):
        app.synth()

    report = tmp_path / "validation-report.json"
    found = json.loads(report.read_text())["pluginReports"] if report.exists() else []
    assert [violation["ruleName"] for plugin in found for violation in plugin["violations"]] == []


def test_cdk_warns_of_nothing(deployed: Fixture) -> None:
    """Else `cdk synth --strict` would fail."""
    messages = deployed.app.synth().get_stack_by_name("Telemetry").messages

    assert [(message.id, message.entry.data) for message in messages] == []


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    fixture = Fixture(outdir=str(tmp_path))
    PipelineReprocessing(
        fixture.stack, "Backfill", pipeline=fixture.pipeline, messages=MessageSelection.all()
    )
    fixture.app.synth()

    # CDK writes a DependsOn beside every reference to a role, of which W3005 does not think much.
    options = ["--regions", "eu-west-1", "--ignore-checks", "W3005"]
    command: list[str | Path] = [Path(sys.executable).with_name("cfn-lint"), *options]
    checked = subprocess.run(
        [*command, "--", tmp_path / "Telemetry.template.json"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
