"""What an `S3EventPipeline` deploys, what replays the past again, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnParameter, Duration, Size, Stack, Validations
from aws_cdk.assertions import Template
from aws_cdk.aws_kms import Key
from aws_cdk.aws_lambda import CfnFunction, Code, Function, IFunction, LayerVersion, Runtime
from aws_cdk.aws_s3 import Bucket, BucketEncryption, IBucket
from aws_cdk.aws_sns import Topic
from aws_cdk.aws_sqs import Queue
from cdk_nag import AwsSolutionsChecks
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from object_replay.settings import Contract, Form, Limits, Settings
from pipeline_reprocessing import (
    Archive,
    Framing,
    MessageSelection,
    Notification,
    PipelineReprocessing,
    ReplayLimits,
    Reports,
    S3EventPipeline,
)

CODE = "def handler(event, context):\n    return None"


class Site:
    """A stack with a bucket, a function that S3 calls and a pipeline of these; any argument may be another one."""

    def __init__(
        self,
        *,
        outdir: str | None = None,
        function: Mapping[str, Any] | None = None,
        call: Callable[[Function], IFunction] = lambda function: function,
        **arguments: Any,
    ) -> None:
        self.app = App(outdir=outdir)
        self.stack = Stack(self.app, "Photos")
        self.uploads: IBucket = Bucket.from_bucket_name(self.stack, "Uploads", "uploads")
        settings = {
            name: value(self) if callable(value) else value for name, value in (function or {}).items()
        }
        self.function = Function(
            self.stack,
            "MakeThumbnail",
            **{
                "runtime": Runtime.PYTHON_3_14,
                "handler": "index.handler",
                "code": Code.from_inline(CODE),
                **settings,
            },
        )
        given = {name: value(self) if callable(value) else value for name, value in arguments.items()}
        self.pipeline = S3EventPipeline(
            self.stack,
            "Pipeline",
            **{
                "source": Archive.objects(self.uploads, prefix="photos/", suffix=".jpg"),
                "function": call(self.function),
                **given,
            },
        )

    @property
    def template(self) -> Template:
        return Template.from_stack(self.stack)

    def reprocessing(self, messages: MessageSelection | None = None) -> PipelineReprocessing:
        return PipelineReprocessing(
            self.stack, "Backfill", pipeline=self.pipeline, messages=messages or MessageSelection.all()
        )

    @property
    def trigger(self) -> str:
        self.reprocessing()
        [resource] = self.template.find_resources("Custom::PipelineReprocessing").values()
        trigger: str = resource["Properties"]["Trigger"]
        return trigger

    @property
    def settings(self) -> Settings:
        """What the steps are told, as they read it."""
        states = definition_of(self.template)["States"]
        return Settings.parse(states["Plan"]["Parameters"]["Run"]["Settings"])

    def number(self, name: str = "N") -> Any:
        return CfnParameter(self.stack, name, type="Number").value_as_number

    def text(self, name: str) -> str:
        return CfnParameter(self.stack, name).value_as_string


def wrong(value: object) -> Any:
    """The value, which mypy would refuse as well."""
    return value


@pytest.fixture(scope="module")
def deployed() -> Site:
    return Site()


@pytest.fixture(scope="module")
def template(deployed: Site) -> Template:
    return deployed.template


@pytest.fixture(scope="module")
def definition(template: Template) -> dict[str, Any]:
    return definition_of(template)


def definition_of(template: Template, **parameters: str) -> dict[str, Any]:
    """The state machine's definition, with `<...>` where CloudFormation puts names."""
    [machine] = template.find_resources("AWS::StepFunctions::StateMachine").values()
    parts = machine["Properties"]["DefinitionString"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else _shown(part, parameters) for part in parts)
    definition: dict[str, Any] = json.loads(text)
    return definition


def _shown(reference: Mapping[str, Any], parameters: Mapping[str, str]) -> str:
    [value] = reference.values()
    name = value if isinstance(value, str) else ".".join(value)
    return parameters.get(name, f"<{name}>")


def logical_id(template: Template, resource_type: str, start: str) -> str:
    [found] = [name for name in template.find_resources(resource_type) if name.startswith(start)]
    return found


def statements(template: Template, start: str) -> list[Any]:
    """Those of the policy whose logical id begins so."""
    policy = template.find_resources("AWS::IAM::Policy")[logical_id(template, "AWS::IAM::Policy", start)]
    found: list[Any] = policy["Properties"]["PolicyDocument"]["Statement"]
    return found


def arn(template: Template, resource_type: str, start: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id(template, resource_type, start), "Arn"]}


def joined(*parts: Any) -> dict[str, Any]:
    return {"Fn::Join": ["", [*parts]]}


def s3(path: str) -> dict[str, Any]:
    return joined("arn:", {"Ref": "AWS::Partition"}, f":s3:::{path}")


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


def test_one_small_function_does_all_steps(template: Template) -> None:
    template.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": "object_replay.index.handler",
            "Runtime": "python3.14",
            "Architectures": ["arm64"],
            "MemorySize": 1024,
            "Timeout": 900,
        },
    )


def test_log_groups_expire(template: Template) -> None:
    template.resource_count_is("AWS::Logs::LogGroup", 2)
    template.all_resources_properties("AWS::Logs::LogGroup", {"RetentionInDays": 30})


def test_the_reports_bucket_is_private_encrypted_and_expires(template: Template) -> None:
    bucket = logical_id(template, "AWS::S3::Bucket", "PipelineReports")

    template.resource_count_is("AWS::S3::Bucket", 1)
    template.has_resource("AWS::S3::Bucket", {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"})
    template.has_resource_properties(
        "AWS::S3::Bucket",
        {
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                ]
            },
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                        "ExpirationInDays": 30,
                        "Status": "Enabled",
                    }
                ]
            },
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
        },
    )
    reports = {"Fn::GetAtt": [bucket, "Arn"]}
    [policy] = template.find_resources("AWS::S3::BucketPolicy").values()
    assert policy["Properties"] == {
        "Bucket": {"Ref": bucket},
        "PolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "s3:*",
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    "Effect": "Deny",
                    "Principal": {"AWS": "*"},
                    "Resource": [reports, joined(reports, "/*")],
                }
            ],
        },
    }


def test_the_function_may_look_at_the_objects_call_the_function_and_write_reports_and_nothing_else(
    template: Template,
) -> None:
    reports = arn(template, "AWS::S3::Bucket", "PipelineReports")

    assert statements(template, "PipelinePolicy") == [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": arn(template, "AWS::Logs::LogGroup", "PipelineLogs"),
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": s3("uploads"),
            "Condition": {"StringLike": {"s3:prefix": ["photos/*"]}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": s3("uploads/photos/*")},
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": reports,
            "Condition": {"StringLike": {"s3:prefix": ["*"]}},
        },
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": joined(reports, "/*"),
        },
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": arn(template, "AWS::Lambda::Function", "MakeThumbnail"),
        },
    ]
    # No other policy is attached to its role.
    role = {"Ref": logical_id(template, "AWS::IAM::Role", "PipelineRole")}
    policies = template.find_resources("AWS::IAM::Policy", {"Properties": {"Roles": [role]}})
    assert [name for name in policies if not name.startswith("PipelinePolicy")] == []
    [properties] = [
        each["Properties"]
        for name, each in template.find_resources("AWS::IAM::Role").items()
        if name == role["Ref"]
    ]
    assert properties.keys() == {"AssumeRolePolicyDocument", "Description"}


def test_the_state_machine_may_call_its_function_and_read_manifests(template: Template) -> None:
    function = arn(template, "AWS::Lambda::Function", "PipelineFunction")
    reports = arn(template, "AWS::S3::Bucket", "PipelineReports")
    allowed = statements(template, "PipelineStateMachineRole")

    assert allowed[:2] == [
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": [function, joined(function, ":*")],
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": joined(reports, "/*/manifest.jsonl")},
    ]
    assert {action.split(":")[0] for statement in allowed[2:] for action in statement["Action"]} == {
        "logs",
        "xray",
    }


def test_the_definition_plans_replays_and_summarises(definition: Mapping[str, Any]) -> None:
    states = definition["States"]

    assert definition["StartAt"] == "Plan"
    assert states.keys() == {
        "Plan",
        "Anything to replay?",
        "Replay",
        "Summarise",
        "Enough replayed?",
        "Failed",
        "Done",
    }
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
    assert states["Enough replayed?"] == {
        "Type": "Choice",
        "Choices": [{"Variable": "$.Failure", "IsPresent": True, "Next": "Failed"}],
        "Default": "Done",
    }
    assert states["Done"] == {"Type": "Pass", "OutputPath": "$.Summary", "End": True}
    reports = states["Replay"]["ItemReader"]["Parameters"]
    assert reports["Bucket"].startswith("<PipelineReports")
    assert reports["Key.$"] == "$.ManifestKey"


def test_a_worker_that_may_have_run_is_not_called_again(definition: Mapping[str, Any]) -> None:
    child = definition["States"]["Replay"]["ItemProcessor"]["States"]
    uncertain = {
        "Lambda.ServiceException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
    }

    def repeated_after(state: Mapping[str, Any]) -> set[str]:
        return {error for retry in state["Retry"] for error in retry["ErrorEquals"]}

    certain = {
        "Throttled",
        "Lambda.TooManyRequestsException",
        "Lambda.AWSLambdaException",
        "States.Permissions",
    }
    assert repeated_after(child["Replay batch"]) == certain
    for state in (definition["States"]["Plan"], definition["States"]["Summarise"], child["Give up"]):
        assert repeated_after(state) == certain | uncertain


def test_a_batch_whose_worker_is_lost_is_given_up_and_a_run_that_stops_ends(
    definition: Mapping[str, Any],
) -> None:
    child = definition["States"]["Replay"]["ItemProcessor"]["States"]

    assert child["Replay batch"]["Catch"] == [
        {"ErrorEquals": ["ReplayStopped", "Denied"], "ResultPath": "$.Error", "Next": "Stopped"},
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.Error", "Next": "Give up"},
    ]
    assert child["Give up"]["Next"] == "Batch done"


@pytest.mark.parametrize(
    ("calls", "workers", "calls_per_worker"),
    [
        (1, 1, 1),
        (9, 1, 9),
        (10, 1, 10),
        (20, 1, 20),
        (21, 1, 20),
        (22, 2, 11),
        (40, 2, 20),
        (39, 3, 13),
        (10_000, 500, 20),
    ],
)
def test_workers_follow_from_the_calls_at_once(calls: int, workers: int, calls_per_worker: int) -> None:
    site = Site(max_concurrency=calls)
    settings = site.settings

    assert (settings.workers, settings.calls_per_worker) == (workers, calls_per_worker)
    assert definition_of(site.template)["States"]["Replay"]["MaxConcurrency"] == workers


@pytest.mark.parametrize(("size", "calls", "workers"), [(5, 20, 5), (10, 10, 10), (25, 4, 25), (100, 1, 100)])
def test_a_worker_makes_no_more_calls_than_it_has_batches(size: int, calls: int, workers: int) -> None:
    settings = Site(notification=lambda it: queue(it, batch_size=size), max_concurrency=100).settings

    assert (settings.calls_per_worker, settings.workers) == (calls, workers)


def test_a_token_of_calls_is_a_worker_for_each() -> None:
    site = Site(max_concurrency=lambda it: it.number())

    states = definition_of(site.template, N="7")["States"]

    settings = states["Plan"]["Parameters"]["Run"]["Settings"]
    assert (settings["Workers"], settings["CallsPerWorker"]) == (7, 1)
    assert states["Replay"]["MaxConcurrency"] == 7


def test_the_settings_in_the_definition_are_what_the_steps_read() -> None:
    site = Site(
        notification=lambda it: Notification.sqs(
            Queue(it.stack, "Queue"),
            carrying=Notification.sns(
                Topic(it.stack, "Topic"),
                carrying=Notification.s3(event_name="ObjectCreated:Copy", configuration_id="uploads"),
                raw_message_delivery=True,
            ),
            batch_size=5,
        ),
        max_concurrency=12,
        tolerated_failure_percentage=2.5,
        retries=0,
        limits=ReplayLimits(max_objects=50_000, max_size=Size.gibibytes(1)),
        reports=lambda it: Reports(Bucket.from_bucket_name(it.stack, "R", "operations"), prefix="replays/"),
    )

    settings = site.settings

    source = settings.source
    assert (source.layout, source.bucket, source.root, source.suffix) == (
        "OBJECTS",
        "uploads",
        "photos/",
        ".jpg",
    )
    assert settings.function.arn.startswith("<MakeThumbnail")
    assert (settings.function.contract, settings.function.retries) == (Contract.S3_EVENT, 0)
    queue = settings.function.notification
    assert (queue.form, queue.batch_size, queue.arn[:6]) == (Form.SQS, 5, "<Queue")
    assert queue.carrying is not None
    assert (queue.carrying.form, queue.carrying.arn[:6]) == (Form.SNS_RAW, "<Topic")
    event = queue.carrying.carrying
    assert event is not None
    assert (event.form, event.event_name, event.configuration_id) == (
        Form.S3,
        "ObjectCreated:Copy",
        "uploads",
    )
    assert (settings.destination.bucket, settings.destination.runs_prefix) == ("operations", "replays/")
    assert (settings.workers, settings.calls_per_worker) == (1, 12)
    assert settings.tolerated_failure_percentage == 2.5
    assert settings.limits == Limits(50_000, 1 << 30)
    assert not settings.publishes


def test_the_defaults_are_two_retries_of_plain_notifications_without_limits(deployed: Site) -> None:
    settings = deployed.settings

    assert (settings.function.retries, settings.function.notification.form) == (2, Form.S3)
    assert settings.function.notification.event_name == ""
    assert settings.limits == Limits()
    assert settings.tolerated_failure_percentage == 0
    assert settings.destination.runs_prefix == ""


def overridden(site: Site) -> None:
    element = site.function.node.default_child
    assert isinstance(element, CfnFunction)
    element.add_property_override("Timeout", 77)


def late(site: Site) -> None:
    element = site.function.node.default_child
    assert isinstance(element, CfnFunction)
    element.timeout = 78


@pytest.mark.parametrize(
    ("arguments", "change", "seconds"),
    [
        ({}, None, 3),
        ({"function": {"timeout": Duration.minutes(2)}}, None, 120),
        ({"function": {"timeout": lambda it: Duration.seconds(it.number())}}, None, 780),
        ({"function": {"timeout": Duration.minutes(15)}, "allow_long_timeout": True}, None, 900),
        ({"call": lambda function: function.add_alias("live")}, None, 3),
        ({"call": lambda function: function.current_version}, None, 3),
        ({}, overridden, 77),
        ({}, late, 78),
    ],
)
def test_the_worker_knows_how_long_a_call_may_take(
    arguments: dict[str, Any], change: Callable[[Site], None] | None, seconds: int
) -> None:
    site = Site(**arguments)
    if change:
        change(site)

    assert site.settings.function.timeout == seconds


def test_a_call_of_an_unknown_function_may_take_the_longest_time() -> None:
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:make"
    site = Site(function={}, call=lambda made: Function.from_function_arn(made.stack, "F", arn))

    assert site.settings.function.timeout == 780


@pytest.mark.parametrize(
    ("call", "called"),
    [
        (lambda function: function.add_alias("live"), {"Ref": "MakeThumbnailAliaslive"}),
        (lambda function: function.current_version, {"Ref": "MakeThumbnailCurrentVersion"}),
        (
            lambda function: Function.from_function_arn(
                function.stack, "F", "arn:aws:lambda:eu-west-1:111122223333:function:make:live"
            ),
            "arn:aws:lambda:eu-west-1:111122223333:function:make:live",
        ),
    ],
    ids=["alias", "version", "imported"],
)
def test_what_is_given_is_what_is_called_and_nothing_else_may_be(
    call: Callable[[Function], IFunction], called: Any
) -> None:
    site = Site(call=call)
    template = site.template

    [allowed] = [
        statement["Resource"]
        for statement in statements(template, "PipelinePolicy")
        if statement["Action"] == "lambda:InvokeFunction"
    ]
    if isinstance(called, dict):
        assert allowed["Ref"].startswith(called["Ref"])
        assert site.settings.function.arn == f"<{allowed['Ref']}>"
    else:
        assert allowed == site.settings.function.arn == called


def test_function_bucket_and_reports_may_be_in_other_stacks() -> None:
    app = App()
    there, here = Stack(app, "There"), Stack(app, "Here")
    function = Function(
        there, "Make", runtime=Runtime.PYTHON_3_14, handler="index.handler", code=Code.from_inline(CODE)
    )
    pipeline = S3EventPipeline(
        here,
        "Pipeline",
        source=Archive.objects(Bucket(there, "Uploads"), prefix="photos/"),
        function=function,
        reports=Reports(Bucket(there, "Operations"), prefix="replays/"),
    )
    PipelineReprocessing(here, "Backfill", pipeline=pipeline, messages=MessageSelection.all())

    template = Template.from_stack(here)

    resources = json.dumps([statement["Resource"] for statement in statements(template, "PipelinePolicy")])
    for name in ("GetAttMake", "GetAttUploads", "GetAttOperations"):
        assert f"There:ExportsOutputFn{name}" in resources
    template.resource_count_is("AWS::S3::Bucket", 0)


def test_encrypted_reports_come_with_their_key() -> None:
    site = Site(
        reports=lambda it: Reports(
            Bucket(it.stack, "R", encryption=BucketEncryption.KMS, encryption_key=Key(it.stack, "Key"))
        )
    )
    template = site.template

    [own] = statements(template, "PipelineRoleDefaultPolicy")
    assert own["Resource"] == arn(template, "AWS::KMS::Key", "Key")
    assert own["Action"] == ["kms:Decrypt", "kms:Encrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"]
    machine = statements(template, "PipelineStateMachineRole")
    assert [each["Resource"] for each in machine if each["Action"] == "kms:Decrypt"] == [own["Resource"]]


def test_the_pipeline_reprocesses_through_its_state_machine_once_all_of_it_is_there() -> None:
    site = Site()
    site.reprocessing()
    template = site.template

    machine = logical_id(template, "AWS::StepFunctions::StateMachine", "Pipeline")
    [resource] = template.find_resources("Custom::PipelineReprocessing").values()
    assert resource["Properties"]["Pipeline"] == {"Kind": "STATE_MACHINE", "Arn": {"Ref": machine}}
    assert {
        machine,
        logical_id(template, "AWS::IAM::Policy", "PipelinePolicy"),
        logical_id(template, "AWS::IAM::Policy", "PipelineStateMachineDistributedMapPolicy"),
        logical_id(template, "AWS::Lambda::Function", "MakeThumbnail"),
    } <= set(resource["DependsOn"])


def test_a_file_of_keys_may_be_read_and_nothing_beside_it() -> None:
    site = Site()
    bucket = Bucket.from_bucket_name(site.stack, "Lists", "lists")
    site.reprocessing(MessageSelection.keys_from(bucket, "2026/failed.jsonl"))
    template = site.template

    [resource] = template.find_resources("Custom::PipelineReprocessing").values()
    assert resource["Properties"]["Messages"] == {"KeysFrom": "s3://lists/2026/failed.jsonl"}
    assert statements(template, "PipelineRoleDefaultPolicy") == [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": s3("lists/2026/failed.jsonl")},
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": s3("lists"),
            "Condition": {"StringEquals": {"s3:prefix": "2026/failed.jsonl"}},
        },
    ]
    assert logical_id(template, "AWS::IAM::Policy", "PipelineRoleDefaultPolicy") in resource["DependsOn"]


def test_a_file_of_keys_in_an_encrypted_bucket_may_be_decrypted() -> None:
    site = Site()
    key = Key(site.stack, "Key")
    lists = Bucket(site.stack, "Lists", encryption=BucketEncryption.KMS, encryption_key=key)
    site.reprocessing(MessageSelection.keys_from(lists, "failed.jsonl"))
    template = site.template

    reading, _, decrypting = statements(template, "PipelineRoleDefaultPolicy")
    assert reading["Resource"] == joined(arn(template, "AWS::S3::Bucket", "Lists"), "/failed.jsonl")
    assert decrypting == {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": arn(template, "AWS::KMS::Key", "Key"),
    }


def layered(site: Site) -> list[LayerVersion]:
    code = Code.from_bucket(Bucket.from_bucket_name(site.stack, "Code", "code"), "layer.zip")
    return [LayerVersion(site.stack, "Layer", code=code)]


def queue(site: Site, **arguments: Any) -> Notification:
    return Notification.sqs(Queue(site.stack, "Queue"), **arguments)


def topic(site: Site, **arguments: Any) -> Notification:
    return Notification.sns(Topic(site.stack, "Topic"), **arguments)


CHANGES: Mapping[str, dict[str, Any]] = {
    "code": {"function": {"code": Code.from_inline("def handler(event, context):\n    return 1")}},
    "layers": {"function": {"layers": layered}},
    "environment": {"function": {"environment": {"WIDTH": "200"}}},
    "bucket": {
        "source": lambda it: Archive.objects(
            Bucket.from_bucket_name(it.stack, "B", "other"), prefix="photos/", suffix=".jpg"
        )
    },
    "prefix": {"source": lambda it: Archive.objects(it.uploads, prefix="images/", suffix=".jpg")},
    "suffix": {"source": lambda it: Archive.objects(it.uploads, prefix="photos/", suffix=".png")},
    "form": {"notification": Notification.event_bridge()},
    "queue": {"notification": queue},
    "topic": {"notification": topic},
    "event name": {"notification": Notification.s3(event_name="ObjectCreated:Put")},
    "configuration id": {"notification": Notification.s3(configuration_id="uploads")},
    "alias": {"call": lambda function: function.add_alias("live")},
}
QUEUE_CHANGES: Mapping[str, Callable[[Site], Notification]] = {
    "batch size": lambda it: queue(it, batch_size=5),
    "carried form": lambda it: queue(it, carrying=Notification.event_bridge()),
    "carried topic": lambda it: queue(it, carrying=topic(it)),
    "raw delivery": lambda it: queue(it, carrying=topic(it, raw_message_delivery=True)),
}
KEEPS: Mapping[str, dict[str, Any]] = {
    "retries": {"retries": 0},
    "tolerance": {"tolerated_failure_percentage": 50},
    "limits": {"limits": ReplayLimits(max_objects=1)},
    "concurrency": {"max_concurrency": 11},
    "reports": {"reports": lambda it: Reports(Bucket(it.stack, "Operations"), prefix="replays/")},
    "acknowledgements": {"allow_skipped_destinations": True, "allow_long_timeout": True},
    "the same form": {"notification": Notification.s3()},
    "time-out and memory": {"function": {"timeout": Duration.minutes(1), "memory_size": 512}},
}


@pytest.fixture(scope="module")
def trigger() -> str:
    return Site().trigger


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_results_is_part_of_the_trigger(change: str, trigger: str) -> None:
    assert Site(**CHANGES[change]).trigger != trigger


def test_what_decides_the_messages_of_a_queue_is_part_of_the_trigger() -> None:
    triggers = [Site(notification=make).trigger for make in (queue, *QUEUE_CHANGES.values())]

    assert len({*triggers}) == len(triggers)


def test_the_defaults_of_a_queue_are_the_same_when_they_are_written_out() -> None:
    written = Site(notification=lambda it: queue(it, batch_size=10))

    assert written.trigger == Site(notification=queue).trigger


@pytest.mark.parametrize("change", KEEPS)
def test_what_changes_no_result_is_not_part_of_the_trigger(change: str, trigger: str) -> None:
    assert Site(**KEEPS[change]).trigger == trigger


def test_this_library_s_own_code_is_not_part_of_the_trigger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trigger: str
) -> None:
    other = tmp_path / "object_replay"
    other.mkdir()
    (other / "index.py").write_text("def handler(event, context): ...")
    monkeypatch.setattr("pipeline_reprocessing.object_pipeline.packaged", lambda *_: tmp_path)

    assert Site().trigger == trigger


@pytest.mark.parametrize("changed", ["code", "environment"])
def test_a_function_behind_an_alias_is_part_of_the_trigger(changed: str) -> None:
    def behind_alias(**more: Any) -> str:
        return Site(call=lambda function: function.add_alias("live"), **more).trigger

    assert behind_alias(**CHANGES[changed]) != behind_alias()


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "no source": (
        {"source": wrong("uploads")},
        "'source' must be of type Archive, got 'uploads'; use one such as Archive.objects(bucket, "
        'prefix="photos/")',
    ),
    "archive of a stream": (
        {"source": lambda it: Archive.firehose(it.uploads)},
        "'source' must be Archive.objects(...), got an archive of the layout FIREHOSE; S3 calls a function for "
        "objects, whatever is in them",
    ),
    "framing": (
        {"source": lambda it: Archive.objects(it.uploads, framing=Framing.LINES)},
        "'source' must be without a framing, got Framing.LINES; the function reads the objects",
    ),
    "no function": (
        {"call": lambda _: wrong("arn:aws:lambda:...")},
        "'function' must be a Lambda function, got 'arn:aws:lambda:...'",
    ),
    "no notification": (
        {"notification": wrong("S3")},
        "'notification' must be of type Notification, got 'S3'; use one such as Notification.s3()",
    ),
    "raw messages without a queue": (
        {"notification": lambda it: topic(it, raw_message_delivery=True)},
        "'notification' must not have raw message delivery, which functions do not get; use "
        "Notification.sqs(queue, carrying=Notification.sns(...)) where a queue is subscribed",
    ),
    "no calls": ({"max_concurrency": 0}, "'max_concurrency' must be 1 to 10,000, got 0"),
    "too many calls": ({"max_concurrency": 10_001}, "'max_concurrency' must be 1 to 10,000, got 10,001"),
    "half a call": ({"max_concurrency": 1.5}, "'max_concurrency' must be a whole number, got float 1.5"),
    "tolerance": (
        {"tolerated_failure_percentage": 101},
        "'tolerated_failure_percentage' must be 0 to 100, got 101",
    ),
    "tolerance of text": (
        {"tolerated_failure_percentage": wrong("5%")},
        "'tolerated_failure_percentage' must be a number, got '5%'",
    ),
    "negative retries": ({"retries": -1}, "'retries' must be 0 to 10, got -1"),
    "many retries": ({"retries": 11}, "'retries' must be 0 to 10, got 11"),
    "retries of truth": ({"retries": True}, "'retries' must be a whole number, got bool True"),
    "limits": (
        {"limits": wrong(50_000)},
        "'limits' must be of type ReplayLimits, got int 50000; use one such as ReplayLimits(max_objects=50_000)",
    ),
    "reports": (
        {"reports": wrong("replays/")},
        "'reports' must be of type Reports, got 'replays/'; use one such as Reports(bucket, "
        "prefix='replays/')",
    ),
    "reports among the objects": (
        {
            "source": lambda it: Archive.objects(it.uploads, prefix="photos/"),
            "reports": lambda it: Reports(it.uploads, prefix="photos/runs/"),
        },
        "'reports' must not be where S3 calls the function, got 'photos/runs/*' in the bucket of 'photos/*'; use "
        "another prefix, or another bucket",
    ),
    "reports in a bucket of which everything is processed": (
        {
            "source": lambda it: Archive.objects(it.uploads, suffix=".json"),
            "reports": lambda it: Reports(it.uploads, prefix="runs/"),
        },
        "'reports' must not be where S3 calls the function, got 'runs/*' in the bucket of '*.json'; use another "
        "prefix, or another bucket",
    ),
    "reports all over the bucket": (
        {
            "source": lambda it: Archive.objects(it.uploads, prefix="photos/"),
            "reports": lambda it: Reports(it.uploads),
        },
        "'reports' must not be where S3 calls the function, got '*' in the bucket of 'photos/*'; use another prefix, "
        "or another bucket",
    ),
    "reports in the bucket of the same name": (
        {
            "source": lambda it: Archive.objects(it.uploads),
            "reports": lambda it: Reports(
                Bucket.from_bucket_name(it.stack, "Again", "uploads"), prefix="runs/"
            ),
        },
        "'reports' must not be where S3 calls the function, got 'runs/*' in the bucket of '*'; use another prefix, or "
        "another bucket",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_arguments_are_refused_with_the_way_out(case: str) -> None:
    arguments, message = REFUSED[case]

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        Site(**arguments)

    assert str(caught.value) == message


ACCEPTED: Mapping[str, dict[str, Any]] = {
    "the largest numbers": {
        "max_concurrency": 10_000,
        "tolerated_failure_percentage": 100,
        "retries": 10,
    },
    "the smallest numbers": {"max_concurrency": 1, "tolerated_failure_percentage": 0, "retries": 0},
    "concurrency that is a token": {"max_concurrency": lambda it: it.number()},
    "tolerance that is a token": {"tolerated_failure_percentage": lambda it: it.number()},
    "retries that are a token": {"retries": lambda it: it.number()},
    "limits that are tokens": {
        "limits": lambda it: ReplayLimits(max_objects=it.number(), max_size=Size.bytes(it.number("M")))
    },
    "prefix and suffix that are tokens": {
        "source": lambda it: Archive.objects(it.uploads, prefix=it.text("P"), suffix=it.text("S"))
    },
    "reports that are a token in the same bucket": {
        "reports": lambda it: Reports(it.uploads, prefix=it.text("R"))
    },
    "reports in the bucket whose prefix is a token": {
        "source": lambda it: Archive.objects(it.uploads, prefix=it.text("P")),
        "reports": lambda it: Reports(it.uploads, prefix="runs/"),
    },
    "reports beside the objects": {"reports": lambda it: Reports(it.uploads, prefix="runs/")},
    "reports with another suffix": {"reports": lambda it: Reports(it.uploads, prefix="photos/runs/")},
    "a batch that is a token": {"notification": lambda it: queue(it, batch_size=it.number())},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_valid_arguments_and_tokens_are_accepted(case: str) -> None:
    Site(**ACCEPTED[case]).template.resource_count_is("AWS::StepFunctions::StateMachine", 1)


def test_cdk_nag_finds_nothing(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    stack = Stack(app, "Photos")
    pipeline = S3EventPipeline(
        stack,
        "Pipeline",
        source=Archive.objects(Bucket.from_bucket_name(stack, "Uploads", "uploads"), prefix="photos/"),
        function=Function.from_function_arn(
            stack, "F", "arn:aws:lambda:eu-west-1:111122223333:function:make"
        ),
    )
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=pipeline,
        messages=MessageSelection.keys_from(Bucket.from_bucket_name(stack, "Lists", "lists"), "failed.jsonl"),
        version="1",
    )
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))

    with suppress(RuntimeError):
        app.synth()

    report = tmp_path / "validation-report.json"
    found = json.loads(report.read_text())["pluginReports"] if report.exists() else []
    assert [
        (violation["ruleName"], construct["constructPath"])
        for plugin in found
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ] == []


def test_cdk_warns_of_nothing(deployed: Site) -> None:
    """Else `cdk synth --strict` would fail."""
    messages = deployed.app.synth().get_stack_by_name("Photos").messages

    assert [(message.id, message.entry.data) for message in messages] == []


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    site = Site(outdir=str(tmp_path))
    site.reprocessing()
    site.app.synth()

    # W3005: CDK itself writes down dependencies that follow from references too.
    options = ["--regions", "eu-west-1", "--ignore-checks", "W3005"]
    command: list[str | Path] = [Path(sys.executable).with_name("cfn-lint"), *options]
    checked = subprocess.run(
        [*command, "--", tmp_path / "Photos.template.json"], check=False, capture_output=True, text=True
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
