"""The archives that an `ArchivePipeline` can read: what their arguments become, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest
from aws_cdk import CfnParameter, Duration, Stack
from aws_cdk.assertions import Match, Template
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket, IBucket

from object_replay.firehose_prefix import formats
from object_replay.settings import Settings, Source
from pipeline_reprocessing import Archive, ArchivePipeline, Destination, ErrorOutput, Framing, Transform


class Site:
    """A stack with a bucket, and an archive in it as the function reads its settings."""

    def __init__(self) -> None:
        self.stack = Stack(None, "Telemetry")
        self.bucket: IBucket = Bucket.from_bucket_name(self.stack, "Raw", "raw-bucket")

    def token(self, name: str) -> str:
        return CfnParameter(self.stack, name).value_as_string

    def source(self, archive: Archive) -> Source:
        destination = {"Bucket": "b", "Prefix": "", "ErrorsPrefix": "e/", "RunsPrefix": "r/"}
        return Settings.parse(
            {
                "Source": self.stack.resolve(archive.settings),
                "Function": {"Arn": "f", "Contract": "FIREHOSE", "BatchSize": 1, "MaxBytes": 1},
                "Destination": destination,
                "Workers": 1,
                "CallsPerWorker": 1,
                "ToleratedFailurePercentage": 0,
            }
        ).source

    def pipeline(self, archive: Archive, destination: Destination | None = None) -> Template:
        function = Function(
            self.stack,
            "Enrich",
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline("def handler(event, context):\n    return event"),
        )
        ArchivePipeline(
            self.stack,
            "Pipeline",
            source=archive,
            transform=Transform.firehose(function),
            destination=destination or Destination(self.bucket, prefix="clean/"),
        )
        return Template.from_stack(self.stack)


@pytest.fixture
def site() -> Site:
    return Site()


def wrong(value: object) -> Any:
    return value


def test_arguments_that_are_left_out_change_no_fingerprint(site: Site) -> None:
    # The trigger covers these settings: a name more, and each archive would be replayed with another version.
    settings = {"Layout": "FIREHOSE", "Bucket": "raw-bucket", "Root": "raw", "BufferSeconds": 900}

    assert site.stack.resolve(Archive.firehose(site.bucket, prefix="raw").settings) == settings
    channel = Archive.iot_analytics_channel(site.bucket, channel_name="c").settings
    assert channel == settings | {"Layout": "IOT_ANALYTICS", "Root": "channel/c/", "BufferSeconds": 0}


def test_a_stream_is_described_as_it_describes_itself(site: Site) -> None:
    source = site.source(
        Archive.firehose(
            site.bucket,
            prefix="raw/!{timestamp:'year='yyyy'/month='MM}/!{partitionKeyFromQuery:id}/",
            time_zone="Asia/Tokyo",
            file_extension=".json.gz",
            buffer_interval=Duration.minutes(5),
            framing=Framing.LINES,
            error_output=ErrorOutput.REPLAY,
        )
    )

    assert source == Source(
        layout=source.layout.FIREHOSE,
        bucket="raw-bucket",
        root="raw/",
        path="!{timestamp:'year='yyyy'/month='MM}/!{partitionKeyFromQuery:id}/",
        time_zone="Asia/Tokyo",
        suffix=".json.gz",
        buffer_seconds=300,
        framing=Framing.LINES,
        replays_error_output=True,
    )
    texts = [text.format(t=datetime(2026, 3, 5)) for text in formats(source.path).values()]  # noqa: DTZ001  # any
    assert texts == ["year=2026/month=", "year=2026/month=03/"]


def test_any_objects_are_described_by_what_their_keys_begin_and_end_with(site: Site) -> None:
    source = site.source(
        Archive.objects(site.bucket, prefix="exports/", suffix=".csv", framing=Framing.OBJECT)
    )

    assert source == Source(
        layout=source.layout.OBJECTS,
        bucket="raw-bucket",
        root="exports/",
        suffix=".csv",
        framing=Framing.OBJECT,
    )


def test_choices_may_be_given_by_name(site: Site) -> None:
    archive = Archive.firehose(site.bucket, framing=wrong("LINES"), error_output=wrong("REPLAY"))

    assert (archive.framing, archive.error_output) == (Framing.LINES, ErrorOutput.REPLAY)


@pytest.mark.parametrize(
    ("prefix", "error_output", "allowed"),
    [
        ("raw", ErrorOutput.SKIP, "raw*"),
        ("raw/a=!{timestamp:yyyy}/", ErrorOutput.SKIP, "raw/a=*"),
        ("!{firehose:random-string}/raw/", ErrorOutput.SKIP, "*"),
        ("failures/!{firehose:error-output-type}/", ErrorOutput.REPLAY, "failures/*"),
    ],
)
def test_the_pipeline_may_read_what_begins_with_the_literal_text_of_the_prefix(
    site: Site, prefix: str, error_output: ErrorOutput, allowed: str
) -> None:
    template = site.pipeline(Archive.firehose(site.bucket, prefix=prefix, error_output=error_output))

    listing = {
        "Action": "s3:ListBucket",
        "Condition": {"StringLike": {"s3:prefix": [allowed]}},
        "Effect": "Allow",
        "Resource": Match.any_value(),
    }
    reading = {
        "Action": "s3:GetObject",
        "Effect": "Allow",
        "Resource": {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, f":s3:::raw-bucket/{allowed}"]]},
    }
    template.has_resource_properties(
        "AWS::IAM::Policy", {"PolicyDocument": {"Statement": Match.array_with([listing, reading])}}
    )


def test_results_may_lie_in_a_bucket_of_which_every_object_is_replayed(site: Site) -> None:
    site.pipeline(Archive.objects(site.bucket)).resource_count_is("AWS::StepFunctions::StateMachine", 1)


def test_results_must_lie_outside_of_the_objects_that_are_replayed(site: Site) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        site.pipeline(Archive.objects(site.bucket, prefix="c"))

    assert str(caught.value) == (
        "'destination.prefix' must lie outside of the archive 'c' in the same bucket, got 'clean/'; results would be "
        "replayed as messages"
    )


TOKENS: Mapping[str, Any] = {
    "prefix before expressions": lambda it: Archive.firehose(
        it.bucket, prefix=f"{it.token('P')}/!{{timestamp:yyyy/MM/}}"
    ),
    "prefix within expressions": lambda it: Archive.firehose(
        it.bucket, prefix=f"raw/!{{timestamp:{it.token('P')}}}/"
    ),
    "time zone": lambda it: Archive.firehose(it.bucket, time_zone=it.token("Z")),
    "file extension": lambda it: Archive.firehose(it.bucket, file_extension=it.token("E")),
    "prefix and suffix": lambda it: Archive.objects(it.bucket, prefix=it.token("P"), suffix=it.token("S")),
}


@pytest.mark.parametrize("case", TOKENS)
def test_tokens_pass(site: Site, case: str) -> None:
    settings = site.stack.resolve(TOKENS[case](site).settings)

    assert "Ref" in str(settings)
    assert "Token[" not in str(settings)


def test_a_prefix_keeps_its_expressions_after_a_token(site: Site) -> None:
    archive = Archive.firehose(site.bucket, prefix=f"{site.token('P')}/!{{timestamp:yyyy/MM/}}")

    assert archive.path == "!{timestamp:yyyy/MM/}"
    assert site.stack.resolve(archive.root) == {"Fn::Join": ["", [{"Ref": "P"}, "/"]]}


REFUSED: Mapping[str, tuple[Any, str]] = {
    "unknown expression": (
        lambda it: Archive.firehose(it.bucket, prefix="raw/!{date:yyyy}/"),
        "'prefix' must have no other expressions than '!{timestamp:...}', '!{firehose:random-string}', "
        "'!{partitionKeyFromQuery:...}' and '!{partitionKeyFromLambda:...}', got '!{date:yyyy}'",
    ),
    "unknown expression after a token": (
        lambda it: Archive.firehose(it.bucket, prefix=f"{it.token('P')}!{{timestamp:yyyy"),
        "'prefix' must close each '!{' with '}', got '!{timestamp:yyyy'",
    ),
    "prefix that is too long for Firehose": (
        lambda it: Archive.firehose(it.bucket, prefix="r" * 499),
        "'prefix' must have at most 512 characters when it is evaluated, got 513",
    ),
    "wildcard before an expression": (
        lambda it: Archive.firehose(it.bucket, prefix="raw*/!{timestamp:yyyy}/"),
        "'prefix' must be without '*', '?' and '$', got 'raw*/'",
    ),
    "type of error output where it is skipped": (
        lambda it: Archive.firehose(it.bucket, prefix="errors/!{firehose:error-output-type}/"),
        "'prefix' must be without '!{firehose:error-output-type}', got 'errors/!{firehose:error-output-type}/'; "
        "Firehose takes it in an error output prefix only, which error_output=ErrorOutput.REPLAY replays",
    ),
    "time zone that there is not": (
        lambda it: Archive.firehose(it.bucket, time_zone="Mars/Olympus_Mons"),
        "'time_zone' must be a name in the IANA time zone database, such as Asia/Tokyo, got 'Mars/Olympus_Mons'",
    ),
    "time zone that is a path": (
        lambda it: Archive.firehose(it.bucket, time_zone="../etc/passwd"),
        "'time_zone' must be a name in the IANA time zone database, such as Asia/Tokyo, got '../etc/passwd'",
    ),
    "time zone that is a continent": (
        lambda it: Archive.firehose(it.bucket, time_zone="Europe"),
        "'time_zone' must be a name in the IANA time zone database, such as Asia/Tokyo, got 'Europe'",
    ),
    "time zone that is no text": (
        lambda it: Archive.firehose(it.bucket, time_zone=wrong(9)),
        "'time_zone' must be the name of a time zone, got int 9",
    ),
    "file extension without a dot": (
        lambda it: Archive.firehose(it.bucket, file_extension="gz"),
        "'file_extension' must begin with '.', have at most 128 characters, and consist of a-z, 0-9 and !-_.*'(), got "
        "'gz'; leave it out if objects have none",
    ),
    "file extension that is empty": (
        lambda it: Archive.firehose(it.bucket, file_extension=""),
        "'file_extension' must begin with '.', have at most 128 characters, and consist of a-z, 0-9 and !-_.*'(), got "
        "''; leave it out if objects have none",
    ),
    "file extension that is no text": (
        lambda it: Archive.firehose(it.bucket, file_extension=wrong(9)),
        "'file_extension' must be a text, got int 9",
    ),
    "framing": (
        lambda it: Archive.firehose(it.bucket, framing=wrong("CSV")),
        "'framing' must be one of JSON, LINES, GZIP_MEMBERS, OBJECT, got 'CSV'",
    ),
    "framing of objects": (
        lambda it: Archive.objects(it.bucket, framing=wrong("CSV")),
        "'framing' must be one of JSON, LINES, GZIP_MEMBERS, OBJECT, got 'CSV'",
    ),
    "error output": (
        lambda it: Archive.firehose(it.bucket, error_output=wrong(True)),
        "'error_output' must be one of SKIP, REPLAY, got bool True",
    ),
    "objects of no bucket": (
        lambda _: Archive.objects(wrong("raw-bucket")),
        "'bucket' must be a bucket, got 'raw-bucket'",
    ),
    "expressions of objects": (
        lambda it: Archive.objects(it.bucket, prefix="raw/!{timestamp:yyyy}/"),
        "'prefix' must be without expressions, got 'raw/!{timestamp:yyyy}/'; only the prefix of Archive.firehose() may "
        "have them",
    ),
    "suffix that is no text": (
        lambda it: Archive.objects(it.bucket, suffix=wrong([".csv"])),
        "'suffix' must be a text, got list ['.csv']",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_arguments_are_refused_with_the_way_out(site: Site, case: str) -> None:
    make, message = REFUSED[case]

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        make(site)

    assert str(caught.value) == message


def test_a_time_zone_is_taken_as_given_where_no_database_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> None:
        raise ZoneInfoNotFoundError

    monkeypatch.setattr("pipeline_reprocessing.archive.ZoneInfo", missing)

    assert Archive.firehose(site.bucket, time_zone="Asia/Tokyo").time_zone == "Asia/Tokyo"
