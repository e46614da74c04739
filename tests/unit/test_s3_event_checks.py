"""What synth says of a function that S3 calls: what a replay could not do, and what may go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from tempfile import NamedTemporaryFile
from typing import Any

import jsii
import pytest
from aws_cdk import Annotations as CdkAnnotations
from aws_cdk import (
    App,
    Aspects,
    CfnParameter,
    CfnResource,
    Duration,
    Fn,
    IAspect,
    NestedStack,
    Stack,
    Stage,
)
from aws_cdk.assertions import Annotations, Match
from aws_cdk.aws_ecr import Repository
from aws_cdk.aws_events import EventPattern, Rule
from aws_cdk.aws_events_targets import LambdaFunction as RuleCalls
from aws_cdk.aws_events_targets import SqsQueue as RuleSends
from aws_cdk.aws_iam import (
    Effect,
    IRole,
    ManagedPolicy,
    PolicyDocument,
    PolicyStatement,
    Role,
    ServicePrincipal,
)
from aws_cdk.aws_lambda import (
    Alias,
    CfnEventInvokeConfig,
    CfnFunction,
    Code,
    DockerImageCode,
    DockerImageFunction,
    EventInvokeConfig,
    Function,
    IFunction,
    Runtime,
    SingletonFunction,
)
from aws_cdk.aws_lambda_destinations import EventBridgeDestination, LambdaDestination, SqsDestination
from aws_cdk.aws_s3 import Bucket, CfnBucket, EventType, IBucket, NotificationKeyFilter
from aws_cdk.aws_s3_notifications import LambdaDestination as CallsFunction
from aws_cdk.aws_s3_notifications import SnsDestination as PublishesTo
from aws_cdk.aws_s3_notifications import SqsDestination as SendsTo
from aws_cdk.aws_sns import Topic
from aws_cdk.aws_sqs import Queue
from aws_cdk.cloudformation_include import CfnInclude
from constructs import IConstruct

from pipeline_reprocessing import (
    Archive,
    MessageSelection,
    Notification,
    PipelineReprocessing,
    Reports,
    S3EventPipeline,
)

PREFIX = "pipeline-reprocessing:"


class Site:
    """A stack with a bucket and a function, and what synth says of a pipeline of the two."""

    def __init__(self) -> None:
        self.app = App()
        self.stack = Stack(self.app, "Telemetry")
        self.other = Stack(self.app, "Other")
        self.uploads: IBucket = Bucket(self.stack, "Uploads")
        self.queue = Queue(self.stack, "Next")

    def make(self, id: str = "Make", *, stack: Stack | None = None, **settings: Any) -> Function:  # noqa: A002  # CDK's name for it
        return Function(
            stack or self.stack,
            id,
            **{
                "code": Code.from_inline("one"),
                "handler": "index.handler",
                "runtime": Runtime.PYTHON_3_14,
                **settings,
            },
        )

    def pipeline(
        self,
        function: IFunction,
        *,
        prefix: str = "photos/",
        suffix: str = ".jpg",
        bucket: IBucket | None = None,
        **arguments: Any,
    ) -> S3EventPipeline:
        return S3EventPipeline(
            self.stack,
            "Pipeline",
            source=Archive.objects(bucket or self.uploads, prefix=prefix, suffix=suffix),
            function=function,
            **{"max_concurrency": 1, **arguments},
        )

    @property
    def errors(self) -> list[str]:
        """What `cdk synth` fails with."""
        text = ""
        try:
            self.app.synth()
        except RuntimeError as error:
            text = str(error)
        start = "[Telemetry/Pipeline] "
        lines = [line.strip() for line in text.splitlines()]
        found = [line.removeprefix(start) for line in lines if line.startswith(start)]
        assert found or not text, text
        return found

    @property
    def warnings(self) -> dict[str, list[str]]:
        """The texts of the pipeline's warnings, by their names; synth does not fail."""
        found: dict[str, list[str]] = {}
        for message in Annotations.from_stack(self.stack).find_warning("*", Match.any_value()):
            text, _, name = str(message.entry.data).removesuffix("]").rpartition(f" [ack: {PREFIX}")
            if message.id == "/Telemetry/Pipeline":
                found.setdefault(name, []).append(text)
        return found


@pytest.fixture
def site() -> Site:
    return Site()


def skipped(destination: str, function: str = "Telemetry/Make") -> str:
    return (
        f"'function' must not have an OnSuccess destination, got '{destination}' of '{function}': a replay calls the "
        "function synchronously, which the destination does not get; if that is fine, set "
        "allow_skipped_destinations=True"
    )


def by_construction(site: Site) -> IFunction:
    return site.make(on_success=SqsDestination(site.queue))


def by_configuration(site: Site) -> IFunction:
    made = site.make()
    made.configure_async_invoke(on_success=SqsDestination(site.queue))
    return made


def by_its_arn(site: Site) -> IFunction:
    return Function.from_function_arn(site.stack, "Imported", by_construction(site).function_arn)


def by_its_literal_arn(site: Site) -> IFunction:
    site.make(function_name="make", on_success=SqsDestination(site.queue))
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:make"
    return Function.from_function_arn(site.stack, "Imported", arn)


def by_the_alias(site: Site) -> IFunction:
    alias = site.make().add_alias("live")
    alias.configure_async_invoke(on_success=SqsDestination(site.queue))
    return alias


def by_the_alias_at_its_construction(site: Site) -> IFunction:
    version = site.make().current_version
    return Alias(
        site.stack, "Live", alias_name="live", version=version, on_success=SqsDestination(site.queue)
    )


def by_the_version(site: Site) -> IFunction:
    version = site.make().current_version
    version.configure_async_invoke(on_success=SqsDestination(site.queue))
    return version


def by_a_config_of_another_stack(site: Site) -> IFunction:
    made = site.make()
    EventInvokeConfig(site.other, "Config", function=made, on_success=SqsDestination(site.queue))
    return made


def by_a_config_of_the_function_s_stack(site: Site) -> IFunction:
    functions = Stack(site.app, "Functions")
    made = site.make(stack=functions)
    queue = Queue(functions, "Next")
    EventInvokeConfig(site.other, "Config", function=made, on_success=SqsDestination(queue))
    return made


def by_a_config_with_names(site: Site) -> IFunction:
    made = site.make(function_name="make")
    alias = made.add_alias("live")
    CfnEventInvokeConfig(
        site.stack,
        "Config",
        function_name="make",
        qualifier="live",
        destination_config={"onSuccess": {"destination": site.queue.queue_arn}},
    )
    return alias


def by_an_escape_hatch(site: Site) -> IFunction:
    made = site.make()
    made.configure_async_invoke(retry_attempts=0)
    config = made.node.find_child("EventInvokeConfig").node.default_child
    assert isinstance(config, CfnResource)
    config.add_property_override("DestinationConfig.OnSuccess.Destination", site.queue.queue_arn)
    return made


def of_a_nested_stack(site: Site) -> IFunction:
    nested = NestedStack(site.stack, "Nested")
    return site.make(stack=nested, on_success=SqsDestination(site.queue))


def of_a_singleton(site: Site) -> IFunction:
    return SingletonFunction(
        site.stack,
        "Make",
        uuid="c1b5ca00-0000-4000-8000-000000000000",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        on_success=SqsDestination(site.queue),
    )


def of_sam(site: Site, **properties: Any) -> IFunction:
    made = CfnResource(
        site.stack,
        "Make",
        type="AWS::Serverless::Function",
        properties={
            "EventInvokeConfig": {"DestinationConfig": {"OnSuccess": {"Destination": site.queue.queue_arn}}},
            **properties,
        },
    )
    return Function.from_function_arn(site.stack, "Imported", made.get_att("Arn").to_string())


SKIPPED: Mapping[str, tuple[Callable[[Site], IFunction], str]] = {
    each.__name__: (each, path)
    for each, path in (
        (by_construction, "Telemetry/Make"),
        (by_configuration, "Telemetry/Make"),
        (by_its_arn, "Telemetry/Make"),
        (by_its_literal_arn, "Telemetry/Make"),
        (by_the_alias, "Telemetry/Make"),
        (by_the_alias_at_its_construction, "Telemetry/Make"),
        (by_the_version, "Telemetry/Make"),
        (by_a_config_of_another_stack, "Telemetry/Make"),
        (by_a_config_of_the_function_s_stack, "Functions/Make"),
        (by_a_config_with_names, "Telemetry/Make"),
        (by_an_escape_hatch, "Telemetry/Make"),
        (of_a_nested_stack, "Telemetry/Nested/Make"),
        (of_a_singleton, "Telemetry/SingletonLambdac1b5ca00000040008000000000000000"),
        (of_sam, "Telemetry/Make"),
    )
}


@pytest.mark.parametrize("case", SKIPPED)
def test_a_destination_that_a_replay_skips_is_refused_however_it_was_set(site: Site, case: str) -> None:
    make, path = SKIPPED[case]

    site.pipeline(make(site))

    assert site.errors == [skipped(f"{path.partition('/')[0]}/Next", path)]


def test_a_destination_of_another_service_is_named_as_far_as_it_is_known(site: Site) -> None:
    site.pipeline(site.make(on_success=EventBridgeDestination()))

    place = ":events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
    assert site.errors == [skipped("arn:${AWS::Partition}" + place)]


def test_the_next_function_of_a_chain_is_named(site: Site) -> None:
    site.pipeline(site.make(on_success=LambdaDestination(site.make("Then", stack=site.other))))

    assert site.errors == [skipped("Other/Then")]


def test_skipped_destinations_can_be_accepted(site: Site) -> None:
    site.pipeline(by_construction(site), allow_skipped_destinations=True)

    assert site.warnings == {
        "destinationSkipped": [
            "'Telemetry/Make' has the OnSuccess destination 'Telemetry/Next', which gets nothing from a replay"
        ]
    }


def on_another_alias(site: Site) -> IFunction:
    made = site.make()
    made.add_alias("other").configure_async_invoke(on_success=SqsDestination(site.queue))
    return made.add_alias("live")


def on_the_function_where_an_alias_is_called(site: Site) -> IFunction:
    return site.make(on_success=SqsDestination(site.queue)).add_alias("live")


def on_an_alias_where_the_function_is_called(site: Site) -> IFunction:
    made = site.make()
    made.add_alias("live").configure_async_invoke(on_success=SqsDestination(site.queue))
    return made


def on_the_function_where_a_version_is_called(site: Site) -> IFunction:
    return site.make(on_success=SqsDestination(site.queue)).current_version


def on_another_function(site: Site) -> IFunction:
    site.make("Another", on_success=SqsDestination(site.queue))
    return site.make()


def for_failures_only(site: Site) -> IFunction:
    return site.make(on_failure=SqsDestination(site.queue), dead_letter_queue_enabled=True)


def on_a_sam_alias(site: Site) -> IFunction:
    return of_sam(site, AutoPublishAlias="live")


def on_nothing_known(site: Site) -> IFunction:
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:make"
    return Function.from_function_arn(site.stack, "Imported", arn)


@pytest.mark.parametrize(
    "make",
    [
        on_another_alias,
        on_the_function_where_an_alias_is_called,
        on_an_alias_where_the_function_is_called,
        on_the_function_where_a_version_is_called,
        on_another_function,
        for_failures_only,
        on_a_sam_alias,
        on_nothing_known,
    ],
)
def test_a_destination_that_uploads_do_not_reach_either_is_none(
    site: Site, make: Callable[[Site], IFunction]
) -> None:
    site.pipeline(make(site))

    assert (site.errors, site.warnings) == ([], {})


def too_long(seconds: int = 781, function: str = "Telemetry/Make") -> str:
    return (
        f"'function' must have a time-out of at most 780 seconds, got {seconds} of '{function}': a worker cannot wait "
        "longer; shorten it, or set allow_long_timeout=True"
    )


@jsii.implements(IAspect)
class LongTimeout:
    def visit(self, node: IConstruct) -> None:
        if isinstance(node, CfnFunction) and node.node.path.startswith("Telemetry/Make"):
            node.timeout = 781


def long(site: Site) -> Function:
    return site.make(timeout=Duration.seconds(781))


def long_by_an_escape_hatch(site: Site) -> IFunction:
    made = site.make()
    element = made.node.default_child
    assert isinstance(element, CfnFunction)
    element.add_property_override("Timeout", 781)
    return made


def long_by_an_aspect(site: Site) -> IFunction:
    Aspects.of(site.stack).add(LongTimeout())
    return site.make()


def long_by_globals_of_sam(site: Site) -> IFunction:
    site.stack.template_options.transforms = ["AWS::Serverless-2016-10-31"]
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"Resources": {}, "Globals": {"Function": {"Timeout": 781}}}, file)
        file.flush()
        CfnInclude(site.stack, "Included", template_file=file.name)
    return of_sam(site, EventInvokeConfig={})


def long_as_an_image(site: Site) -> IFunction:
    code = DockerImageCode.from_ecr(Repository.from_repository_name(site.stack, "Images", "make"))
    return DockerImageFunction(site.stack, "Make", code=code, timeout=Duration.seconds(781))


@pytest.mark.parametrize(
    "make",
    [
        long,
        lambda site: long(site).add_alias("live"),
        lambda site: long(site).current_version,
        long_by_an_escape_hatch,
        long_by_an_aspect,
        long_by_globals_of_sam,
        long_as_an_image,
    ],
    ids=["function", "alias", "version", "escape hatch", "Aspect", "Globals", "image"],
)
def test_a_time_out_for_which_a_worker_cannot_wait_is_refused(
    site: Site, make: Callable[[Site], IFunction]
) -> None:
    site.pipeline(make(site))

    assert site.errors == [too_long()]


def test_a_long_time_out_can_be_accepted(site: Site) -> None:
    site.pipeline(long(site), allow_long_timeout=True)

    assert site.warnings == {
        "longTimeout": [
            "'Telemetry/Make' may run for 781 seconds: objects for which it takes more than 780 count as failed, and "
            "what came of them is not known"
        ]
    }


def test_the_longest_time_out_and_one_that_is_a_token_pass(site: Site) -> None:
    seconds = CfnParameter(site.stack, "Seconds", type="Number").value_as_number
    first, second = site, Site()
    first.pipeline(site.make(timeout=Duration.seconds(seconds)))
    second.pipeline(second.make(timeout=Duration.seconds(780)))

    assert first.errors == second.errors == []


def looped(
    keys: str, filtered: str = "photos/*.jpg", function: str = "Telemetry/Make"
) -> dict[str, list[str]]:
    return {
        "mayCallItself": [
            f"'{function}' may write '{keys}' in its own bucket, where S3 calls it for '{filtered}': what it writes "
            "there calls it again; write elsewhere, or grant another prefix only"
        ]
    }


def put(*resources: str, **more: Any) -> PolicyStatement:
    return PolicyStatement(actions=["s3:PutObject"], resources=list(resources), **more)


def granted(grant: Callable[[Site, Function], object], **settings: Any) -> Callable[[Site], IFunction]:
    def make(site: Site) -> IFunction:
        made = site.make(**{name: value(site) for name, value in settings.items()})
        grant(site, made)
        return made

    return make


def a_role(site: Site, stack: Stack | None = None, **arguments: Any) -> Role:
    return Role(stack or site.stack, "Role", assumed_by=ServicePrincipal("lambda.amazonaws.com"), **arguments)


def inline(site: Site) -> IRole:
    document = PolicyDocument(statements=[put(site.uploads.arn_for_objects("photos/small/*"))])
    return a_role(site, inline_policies={"Writing": document})


def managed(site: Site) -> IRole:
    policy = ManagedPolicy(site.stack, "Policy", statements=[put(site.uploads.arn_for_objects("*"))])
    return a_role(site, managed_policies=[policy])


def attached(site: Site) -> IRole:
    role = a_role(site)
    ManagedPolicy(site.stack, "Policy", roles=[role], statements=[put(site.uploads.arn_for_objects("*"))])
    return role


def of_aws(site: Site) -> IRole:
    return a_role(site, managed_policies=[ManagedPolicy.from_aws_managed_policy_name("AmazonS3FullAccess")])


def imported(site: Site) -> IRole:
    return Role.from_role_arn(site.stack, "Role", "arn:aws:iam::111122223333:role/team/make")


def raw(site: Site) -> IRole:
    role = a_role(site)
    CfnResource(
        site.stack,
        "Raw",
        type="AWS::IAM::RolePolicy",
        properties={
            "RoleName": role.role_name,
            "PolicyName": "writing",
            "PolicyDocument": {
                "Statement": {
                    "Effect": "Allow",
                    "Action": "s3:Put*",
                    "Resource": Fn.sub(
                        "arn:${AWS::Partition}:s3:::${B}/photos/*", {"B": site.uploads.bucket_name}
                    ),
                }
            },
        },
    )
    return role


def writing_into_a_bucket_of_another_stack(site: Site) -> IFunction:
    site.uploads = Bucket(site.other, "Uploads")
    site.uploads.grant_put(made := site.make())
    return made


def all_in_other_stacks(site: Site) -> IFunction:
    site.uploads = Bucket(Stack(site.app, "Storage"), "Uploads")
    site.uploads.grant_put(made := site.make(stack=site.other))
    return made


def in_a_nested_stack(site: Site) -> IFunction:
    made = site.make(stack=NestedStack(site.stack, "Nested"))
    site.uploads.grant_put(made)
    return made


def with_a_role_of_another_stack(site: Site) -> IFunction:
    site.uploads = Bucket(site.other, "Uploads")
    made = site.make(role=a_role(site, site.other))
    site.uploads.grant_put(made)
    return made


LOOPS: Mapping[str, tuple[Callable[[Site], IFunction], dict[str, list[str]]]] = {
    "grant_write": (granted(lambda it, f: it.uploads.grant_write(f)), looped("*")),
    "grant_read_write": (
        granted(lambda it, f: it.uploads.grant_read_write(f, "photos/*")),
        looped("photos/*"),
    ),
    "grant_put": (granted(lambda it, f: it.uploads.grant_put(f, "*.jpg")), looped("*.jpg")),
    "grant of one object": (
        granted(lambda it, f: it.uploads.grant_put(f, "photos/last.jpg")),
        looped("photos/last.jpg"),
    ),
    "grant of the folder above": (granted(lambda it, f: it.uploads.grant_put(f, "ph*")), looped("ph*")),
    "grant to an alias": (
        lambda it: (alias := it.make().add_alias("live"), it.uploads.grant_put(alias))[0],
        looped("*"),
    ),
    "all of S3": (granted(lambda it, f: f.add_to_role_policy(put("*"))), looped("*")),
    "all buckets": (granted(lambda it, f: f.add_to_role_policy(put("arn:aws:s3:::*"))), looped("*")),
    "all actions": (
        granted(
            lambda it, f: f.add_to_role_policy(
                PolicyStatement(actions=["*"], resources=[it.uploads.arn_for_objects("photos/*")])
            )
        ),
        looped("photos/*"),
    ),
    "ARN with the bucket's name": (
        granted(lambda it, f: f.add_to_role_policy(put(f"arn:aws:s3:::{it.uploads.bucket_name}/*"))),
        looped("*"),
    ),
    "inline policy": (granted(lambda it, f: None, role=inline), looped("photos/small/*")),
    "managed policy of the role": (granted(lambda it, f: None, role=managed), looped("*")),
    "managed policy with the role": (granted(lambda it, f: None, role=attached), looped("*")),
    "managed policy of AWS": (granted(lambda it, f: None, role=of_aws), looped("*")),
    "imported role": (granted(lambda it, f: it.uploads.grant_write(f), role=imported), looped("*")),
    "raw policy": (granted(lambda it, f: None, role=raw), looped("photos/*")),
    "bucket of another stack": (writing_into_a_bucket_of_another_stack, looped("*")),
    "all in other stacks": (all_in_other_stacks, looped("*", function="Other/Make")),
    "nested stack": (in_a_nested_stack, looped("*", function="Telemetry/Nested/Make")),
    "role of another stack": (with_a_role_of_another_stack, looped("*")),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_function_that_may_call_itself_by_writing_is_warned_of(site: Site, case: str) -> None:
    make, expected = LOOPS[case]

    site.pipeline(make(site))

    assert site.warnings == expected


QUIET: Mapping[str, Callable[[Site], IFunction]] = {
    "reading": granted(lambda it, f: it.uploads.grant_read(f)),
    "deleting": granted(lambda it, f: it.uploads.grant_delete(f)),
    "another prefix": granted(lambda it, f: it.uploads.grant_put(f, "thumbs/*")),
    "another suffix": granted(lambda it, f: it.uploads.grant_put(f, "photos/*.png")),
    "one object elsewhere": granted(lambda it, f: it.uploads.grant_put(f, "state.jpg")),
    "another bucket": granted(lambda it, f: Bucket(it.stack, "Results").grant_write(f)),
    "buckets with another name": granted(lambda it, f: f.add_to_role_policy(put("arn:aws:s3:::results-*/*"))),
    "the bucket itself": granted(lambda it, f: f.add_to_role_policy(put(it.uploads.bucket_arn))),
    "another function": granted(lambda it, f: it.uploads.grant_write(it.make("Another"))),
    "a denial": granted(
        lambda it, f: f.add_to_role_policy(put(it.uploads.arn_for_objects("*"), effect=Effect.DENY))
    ),
    "a prefix that is a token": granted(
        lambda it, f: it.uploads.grant_put(f, f"{CfnParameter(it.stack, 'P').value_as_string}*")
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_what_a_function_may_do_elsewhere_is_not_warned_of(site: Site, case: str) -> None:
    site.pipeline(QUIET[case](site))

    assert site.warnings == {}


def test_an_imported_bucket_is_known_by_its_name(site: Site) -> None:
    bucket = Bucket.from_bucket_name(site.stack, "Imported", "uploads")
    made = site.make(stack=site.other)
    Bucket.from_bucket_name(site.other, "Imported", "uploads").grant_write(made)

    site.pipeline(made, bucket=bucket)

    assert site.warnings == looped("*", function="Other/Make")


def test_a_bucket_may_be_meant_by_its_name(site: Site) -> None:
    Bucket(site.stack, "Named", bucket_name="uploads").grant_write(made := site.make())

    site.pipeline(made, bucket=Bucket.from_bucket_name(site.stack, "Imported", "uploads"))

    assert site.warnings == looped("*")


def test_a_prefix_or_suffix_that_is_a_token_is_not_warned_of(site: Site) -> None:
    site.uploads.grant_write(made := site.make())

    site.pipeline(made, prefix=CfnParameter(site.stack, "P").value_as_string)

    assert site.warnings == {}


def test_warnings_can_be_acknowledged(site: Site) -> None:
    site.uploads.grant_write(made := site.make())
    pipeline = site.pipeline(made)

    CdkAnnotations.of(pipeline).acknowledge_warning(f"{PREFIX}mayCallItself", "it looks at the metadata")

    assert site.warnings == {}


def encoded(filtered: str, prefix: str, meant: str = "year=2026/") -> dict[str, list[str]]:
    return {
        "encodedPrefix": [
            f"the bucket's notification has the prefix '{filtered}', and the pipeline '{prefix}': S3 takes filters "
            "URL-encoded, and the pipeline takes prefixes as they are in keys; check that both mean the same, such as "
            f"'{meant}' here"
        ]
    }


def notified(site: Site, bucket: IBucket, target: Any, prefix: str | None, suffix: str | None = None) -> None:
    bucket.add_event_notification(
        EventType.OBJECT_CREATED, target, NotificationKeyFilter(prefix=prefix, suffix=suffix)
    )


@pytest.mark.parametrize(
    ("filtered", "prefix"), [("year%3D2026/", "year=2026/"), ("year=2026/", "year%3D2026/")]
)
def test_a_prefix_that_only_one_of_the_two_encodes_is_warned_of(
    site: Site, filtered: str, prefix: str
) -> None:
    notified(site, site.uploads, CallsFunction(made := site.make()), filtered)

    site.pipeline(made, prefix=prefix, reports=Reports(Bucket(site.stack, "Reports")))

    assert site.warnings == encoded(filtered, prefix)


def test_the_same_is_said_once_however_often_it_is_there_or_synthesized(site: Site) -> None:
    notified(site, site.uploads, CallsFunction(made := site.make()), "year%3D2026/", ".a")
    notified(site, site.uploads, SendsTo(site.queue), "year%3D2026/", ".b")
    site.pipeline(made, prefix="year=2026/")

    first, second = site.warnings, site.warnings

    assert first == second == encoded("year%3D2026/", "year=2026/")


def test_the_filters_of_an_imported_bucket_are_seen_in_any_stack(site: Site) -> None:
    notified(
        site,
        Bucket.from_bucket_name(site.other, "Imported", "uploads"),
        SendsTo(Queue(site.other, "Q")),
        "year%3D2026/",
    )

    bucket = Bucket.from_bucket_name(site.stack, "Imported", "uploads")
    site.pipeline(site.make(), bucket=bucket, prefix="year=2026/")

    assert site.warnings == encoded("year%3D2026/", "year=2026/")


def test_the_filters_of_a_raw_bucket_are_seen(site: Site) -> None:
    element = CfnBucket(
        site.stack,
        "Raw",
        notification_configuration={
            "lambdaConfigurations": [
                {
                    "event": "s3:ObjectCreated:*",
                    "function": "arn",
                    "filter": {"s3Key": {"rules": [{"name": "Prefix", "value": "year%3D2026/"}]}},
                }
            ]
        },
    )

    bucket = Bucket.from_cfn_bucket(element)
    site.pipeline(site.make(), bucket=bucket, prefix="year=2026/")

    assert site.warnings == encoded("year%3D2026/", "year=2026/")


def test_filters_that_are_equal_different_or_unknown_are_not_warned_of(site: Site) -> None:
    for prefix in ("photos/", "year%3D2026/", None):
        notified(site, site.uploads, CallsFunction(site.make(f"F{prefix}")), prefix, f"{prefix}")
    Bucket(site.stack, "Bridged", event_bridge_enabled=True)
    token = CfnParameter(site.stack, "P").value_as_string
    notified(site, site.uploads, SendsTo(site.queue), token, "other")

    site.pipeline(site.make())

    assert site.warnings == {}


def test_a_prefix_that_is_a_token_is_not_compared_with_filters(site: Site) -> None:
    notified(site, site.uploads, CallsFunction(made := site.make()), "year%3D2026/")

    site.pipeline(made, prefix=CfnParameter(site.stack, "P").value_as_string)

    assert site.warnings == {}


def reported(folder: str, filtered: str) -> list[str]:
    return [
        f"'reports' must not be where S3 calls the function, got '{folder}*' in the bucket of the notification of "
        f"'{filtered}'; use another prefix, or another bucket"
    ]


def calls_it(site: Site) -> tuple[IFunction, Any, Notification]:
    return (made := site.make()), CallsFunction(made), Notification.s3()


def calls_its_alias(site: Site) -> tuple[IFunction, Any, Notification]:
    return (made := site.make().add_alias("live")), CallsFunction(made), Notification.s3()


def calls_the_function_of_another_stack(site: Site) -> tuple[IFunction, Any, Notification]:
    return (made := site.make(stack=site.other)), CallsFunction(made), Notification.s3()


def sends_to_its_queue(site: Site) -> tuple[IFunction, Any, Notification]:
    return site.make(), SendsTo(site.queue), Notification.sqs(site.queue)


def publishes_to_its_queue(site: Site) -> tuple[IFunction, Any, Notification]:
    topic = Topic(site.stack, "Topic")
    return site.make(), PublishesTo(topic), Notification.sqs(site.queue, carrying=Notification.sns(topic))


@pytest.mark.parametrize(
    "way",
    [
        calls_it,
        calls_its_alias,
        calls_the_function_of_another_stack,
        sends_to_its_queue,
        publishes_to_its_queue,
    ],
)
def test_reports_for_which_s3_calls_the_function_are_refused(
    site: Site, way: Callable[[Site], tuple[IFunction, Any, Notification]]
) -> None:
    function, target, notification = way(site)
    notified(site, site.uploads, target, "runs/", ".json")

    site.pipeline(
        function, notification=notification, reports=Reports(site.uploads, prefix="runs/thumbnails/")
    )

    assert site.errors == reported("runs/thumbnails/", "runs/*.json")


def ruled(site: Site, target: Any, *, detail_type: str = "Object Created", **detail: Any) -> None:
    Rule(
        site.stack,
        "Rule",
        event_pattern=EventPattern(source=["aws.s3"], detail_type=[detail_type], detail=detail),
        targets=[target],
    )


@pytest.mark.parametrize(
    ("key", "filtered"),
    [
        ({}, "*"),
        ({"object": {"key": [{"prefix": "photos/"}, {"prefix": "runs/"}]}}, "runs/*"),
        ({"object": {"key": [{"suffix": ".json"}]}}, "*.json"),
    ],
)
def test_reports_for_which_a_rule_calls_the_function_are_refused(
    site: Site, key: dict[str, Any], filtered: str
) -> None:
    ruled(site, RuleCalls(made := site.make()), bucket={"name": [site.uploads.bucket_name]}, **key)

    site.pipeline(
        made, notification=Notification.event_bridge(), reports=Reports(site.uploads, prefix="runs/")
    )

    assert site.errors == reported("runs/", filtered)


def test_reports_that_a_rule_sends_to_the_function_s_queue_are_refused(site: Site) -> None:
    ruled(site, RuleSends(site.queue))

    site.pipeline(
        site.make(),
        notification=Notification.sqs(site.queue, carrying=Notification.event_bridge()),
        reports=Reports(site.uploads, prefix="runs/"),
    )

    assert site.errors == reported("runs/", "*")


@pytest.mark.parametrize(
    "pattern",
    [
        {"bucket": {"name": ["another"]}},
        {"object": {"key": [{"prefix": "photos/"}]}},
        {"object": {"key": [{"suffix": ".jpg"}]}},
        {
            "object": {
                "key": [
                    "runs/a",
                    {"anything-but": {"prefix": "runs/"}},
                    {"prefix": {"equals-ignore-case": "x"}},
                ]
            }
        },
        {"detail_type": "Object Deleted"},
    ],
)
def test_reports_that_no_rule_takes_pass(site: Site, pattern: dict[str, Any]) -> None:
    ruled(site, RuleCalls(made := site.make()), **pattern)

    site.pipeline(
        made, notification=Notification.event_bridge(), reports=Reports(site.uploads, prefix="runs/")
    )

    assert (site.errors, site.warnings) == ([], {})


@pytest.mark.parametrize(
    ("prefix", "suffix"), [("photos/", None), ("runs/", ".jpg"), (None, ".jpg"), ("runs/other/", None)]
)
def test_reports_beside_the_notifications_pass(site: Site, prefix: str | None, suffix: str | None) -> None:
    notified(site, site.uploads, CallsFunction(made := site.make()), prefix, suffix)

    site.pipeline(made, reports=Reports(site.uploads, prefix="runs/thumbnails/"))

    assert site.errors == []


def test_reports_for_which_s3_calls_another_function_pass(site: Site) -> None:
    notified(site, site.uploads, CallsFunction(site.make("Another")), "runs/")

    site.pipeline(site.make(), reports=Reports(site.uploads, prefix="runs/"))

    assert site.errors == []


def test_reports_in_another_bucket_pass(site: Site) -> None:
    notified(site, site.uploads, CallsFunction(made := site.make()), "photos/")

    site.pipeline(made, reports=Reports(Bucket(site.other, "Operations"), prefix="photos/"))

    assert site.errors == []


@pytest.mark.parametrize(("reserved", "calls"), [(20, 11), (21, 11), (1, 1)])
def test_more_than_half_of_the_reservation_is_warned_of(site: Site, reserved: int, calls: int) -> None:
    site.pipeline(site.make(reserved_concurrent_executions=reserved), max_concurrency=calls)

    lower = f"set max_concurrency={reserved // 2} or less, or " if reserved > 1 else ""
    assert site.warnings == {
        "concurrencyExceedsReservation": [
            f"'max_concurrency' is {calls}, but 'Telemetry/Make' has a reserved concurrency of {reserved}: a replay "
            f"would take more than half of it from the uploads that arrive meanwhile; {lower}raise the reservation"
        ]
    }


def test_half_of_the_reservation_is_not_warned_of(site: Site) -> None:
    site.pipeline(site.make(reserved_concurrent_executions=20), max_concurrency=10)

    assert site.warnings == {}


CHOICE = {"Fn::If": ["Condition", {"Ref": "AWS::NoValue"}, {"Ref": "AWS::NoValue"}]}
"""CloudFormation takes one almost everywhere."""


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("AWS::S3::Bucket", {"BucketName": CHOICE, "NotificationConfiguration": CHOICE}),
        ("Custom::S3BucketNotifications", {"BucketName": CHOICE, "NotificationConfiguration": CHOICE}),
        ("Custom::S3BucketNotifications", {"BucketName": "<uploads>", "NotificationConfiguration": CHOICE}),
        (
            "Custom::S3BucketNotifications",
            {
                "BucketName": "<uploads>",
                "NotificationConfiguration": {
                    "A": [{"Filter": {"Key": {"FilterRules": CHOICE}}, "LambdaFunctionArn": CHOICE}],
                    "B": [{"Filter": CHOICE, "QueueArn": CHOICE}, CHOICE],
                    "C": CHOICE,
                },
            },
        ),
        (
            "AWS::Lambda::EventInvokeConfig",
            {"FunctionName": "<make>", "Qualifier": "$LATEST", "DestinationConfig": CHOICE},
        ),
        ("AWS::Lambda::EventInvokeConfig", {"FunctionName": CHOICE, "Qualifier": CHOICE}),
        ("AWS::IAM::Role", {"RoleName": CHOICE, "Policies": CHOICE, "ManagedPolicyArns": [CHOICE]}),
        ("AWS::IAM::Policy", {"Roles": CHOICE, "PolicyDocument": CHOICE}),
        ("AWS::IAM::Policy", {"Roles": ["<role>", CHOICE], "PolicyDocument": CHOICE}),
        (
            "AWS::IAM::Policy",
            {
                "Roles": ["<role>"],
                "PolicyDocument": {
                    "Statement": [
                        CHOICE,
                        {"Effect": "Allow", "Action": CHOICE, "Resource": "*"},
                        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": CHOICE},
                        {"Effect": "Allow", "NotAction": "s3:GetObject", "NotResource": "*"},
                    ]
                },
            },
        ),
    ],
)
def test_values_that_only_the_deploy_chooses_are_passed_over(
    site: Site, kind: str, properties: Mapping[str, Any]
) -> None:
    made = site.make()
    assert made.role is not None
    names = {
        "<uploads>": site.uploads.bucket_name,
        "<make>": made.function_name,
        "<role>": made.role.role_name,
    }
    text = json.dumps(properties)
    for name, value in names.items():
        text = text.replace(name, value)
    CfnResource(site.stack, "Raw", type=kind, properties=json.loads(text))

    site.pipeline(made)

    assert (site.errors, site.warnings) == ([], {})


def test_a_pipeline_in_a_stage_and_a_nested_stack_is_checked() -> None:
    app = App()
    stage = Stage(app, "Live")
    stack = Stack(stage, "Telemetry")
    uploads, queue = Bucket(stack, "Uploads"), Queue(stack, "Next")
    made = Function(
        stack,
        "Make",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        on_success=SqsDestination(queue),
    )
    uploads.grant_write(made)
    nested = NestedStack(stack, "Nested")

    pipeline = S3EventPipeline(
        nested,
        "Pipeline",
        source=Archive.objects(uploads),
        function=made,
        allow_skipped_destinations=True,
        max_concurrency=1,
    )
    PipelineReprocessing(nested, "Backfill", pipeline=pipeline, messages=MessageSelection.all())

    app.synth()
    said = [entry.data for entry in pipeline.node.metadata if entry.type == "aws:cdk:warning"]
    assert [str(text).rpartition("[ack: ")[2] for text in said] == [
        f"{PREFIX}destinationSkipped]",
        f"{PREFIX}mayCallItself]",
    ]


def test_a_pipeline_that_no_deploy_runs_is_checked_as_well(site: Site) -> None:
    queue = Queue(site.other, "Next")
    made = site.make(stack=site.other, on_success=SqsDestination(queue))

    S3EventPipeline(
        site.stack, "Pipeline", source=Archive.objects(site.uploads), function=made, max_concurrency=1
    )

    assert site.errors == [skipped("Other/Next", "Other/Make")]
