"""What an `ArchivePipeline` is made of: the archive it reads, the function it calls, the place it writes to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Duration, Token
from aws_cdk.aws_lambda import IFunction
from aws_cdk.aws_s3 import IBucket

from archive_replay.settings import Contract, Layout
from pipeline_reprocessing.arguments import shown, whole_seconds
from pipeline_reprocessing_handler.rules import Failure, check_pipeline_name

MAX_BUFFER_SECONDS = 900
"""Firehose's longest buffer interval (API `BufferingHints`, `IntervalInSeconds`)."""
MAX_ACTIVITY_BATCH = 1_000
"""IoT Analytics' largest batch (API `LambdaActivity`, `batchSize`)."""
MAX_FIREHOSE_BATCH = 10_000
MAX_PREFIX_LENGTH = 650
"""A key has at most 1,024 bytes, and names of ours follow the prefix."""

_WILDCARDS = re.compile(r"[*?$]")


@dataclass(frozen=True)
class Archive:
    """Raw messages kept in S3. Make one with `iot_analytics_channel` or `firehose`.

    Objects hold a JSON object per line, or JSON objects one after the other, gzipped or not: that is told from their
    content, not from their names.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_s3 import Bucket
        from pipeline_reprocessing import Archive

        bucket = Bucket(Stack(), "Raw")
        channel = Archive.iot_analytics_channel(bucket, channel_name="telemetry", prefix="raw/")
        stream = Archive.firehose(bucket, prefix="raw/")
    """

    bucket: IBucket
    layout: Layout
    root: str
    """The prefix of everything that belongs to the archive; nothing else is listed or read."""
    buffer_seconds: int = 0

    @classmethod
    def iot_analytics_channel(cls, bucket: IBucket, *, channel_name: str, prefix: str = "") -> Archive:
        """The archive of an IoT Analytics channel with customer-managed storage.

        A time selects the objects whose 30 seconds, which are in their keys, it meets.

        Args:
            bucket: The channel's bucket.
            channel_name: 1 to 128 letters, digits and underscores, not beginning with two underscores; or a token.
            prefix: The channel's key prefix: it ends with a slash. Default: none.

        Raises:
            ValueError: The name or the prefix is one that cannot be.

        Source: API `CustomerManagedChannelS3Storage`, `ChannelName`; for the keys FACTS section 1.
        """
        _check_bucket("bucket", bucket)
        if not isinstance(channel_name, str):
            raise Failure(f"'channel_name' must be a channel's name, got {shown(channel_name)}")
        if not Token.is_unresolved(channel_name):
            check_pipeline_name("channel_name", channel_name)
        _check_prefix("prefix", prefix, folder=True)
        return cls(bucket, Layout.IOT_ANALYTICS, f"{prefix}channel/{channel_name}/")

    @classmethod
    def firehose(
        cls, bucket: IBucket, *, prefix: str = "", buffer_interval: Duration | None = None
    ) -> Archive:
        """What a Firehose stream delivered to S3 under its default `YYYY/MM/dd/HH/` (UTC).

        The time in a key is that of the object's oldest message; younger ones follow for as long as the stream
        buffers. A time selects every object that may hold messages of it, so that none is missed at its start.

        Args:
            bucket: The stream's bucket.
            prefix: The stream's S3 prefix, without expressions such as `!{timestamp:...}`. Default: none.
            buffer_interval: How long the stream buffers, 0 to 900 seconds. Default: 900 seconds, the longest there
                is: up to 15 minutes more than needed are replayed, which changes nothing.

        Raises:
            ValueError: The prefix or the interval is one that cannot be.

        Source: Firehose's developer guide, "Configure Amazon S3 object name format"; API `BufferingHints`.
        """
        _check_bucket("bucket", bucket)
        _check_prefix("prefix", prefix)
        seconds = MAX_BUFFER_SECONDS
        if buffer_interval is not None:
            seconds = whole_seconds("buffer_interval", buffer_interval)
            if not Token.is_unresolved(seconds) and not 0 <= seconds <= MAX_BUFFER_SECONDS:
                raise Failure(
                    f"'buffer_interval' must be 0 to {MAX_BUFFER_SECONDS} seconds, got {seconds} seconds"
                )
        return cls(bucket, Layout.FIREHOSE, prefix, seconds)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the state machine is told of it."""
        return {
            "Layout": self.layout.value,
            "Bucket": self.bucket.bucket_name,
            "Root": self.root,
            "BufferSeconds": self.buffer_seconds,
        }


@dataclass(frozen=True)
class Transform:
    r"""The function that makes results of messages. Make one with `lambda_activity` or `firehose`.

    The function stays as it is: it takes and gives what it takes and gives in IoT Analytics or in Firehose.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_lambda import Code, Function, Runtime
        from pipeline_reprocessing import Transform

        enrich = Function(
            Stack(),
            "Enrich",
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline("def handler(messages, context):\n    return messages"),
        )
        transform = Transform.lambda_activity(enrich, batch_size=100)
    """

    function: IFunction
    contract: Contract
    batch_size: int

    @classmethod
    def lambda_activity(cls, function: IFunction, *, batch_size: int = 500) -> Transform:
        """A function made for IoT Analytics' Lambda activity: a list of messages in, a list of messages out.

        The list that it gives may be longer or shorter. When the function fails on a batch, the batch is halved
        until the messages are found on which it fails.

        Args:
            function: A function, a version or an alias.
            batch_size: Messages at once, 1 to 1,000; fewer where they are large. Default: 500.

        Raises:
            ValueError: The size is out of these bounds.

        Source: API `LambdaActivity`.
        """
        return cls._of(function, Contract.LAMBDA_ACTIVITY, batch_size, MAX_ACTIVITY_BATCH)

    @classmethod
    def firehose(cls, function: IFunction, *, batch_size: int = 500) -> Transform:
        """A function made for Firehose's data transformation: records in, `Ok`, `Dropped` or `ProcessingFailed` out.

        Records hold a message each, without a newline at its end.

        Args:
            function: A function, a version or an alias.
            batch_size: Records at once, 1 to 10,000; fewer where they are large. Default: 500.

        Raises:
            ValueError: The size is out of these bounds.

        Source: Firehose's developer guide, "Transform source data".
        """
        return cls._of(function, Contract.FIREHOSE, batch_size, MAX_FIREHOSE_BATCH)

    @classmethod
    def _of(cls, function: IFunction, contract: Contract, batch_size: int, most: int) -> Transform:
        if not hasattr(function, "function_arn"):
            raise Failure(f"'function' must be a Lambda function, got {shown(function)}")
        check_number("batch_size", batch_size, 1, most)
        return cls(function, contract, batch_size)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the state machine is told of it."""
        return {
            "Arn": self.function.function_arn,
            "Contract": self.contract.value,
            "BatchSize": self.batch_size,
        }


@dataclass(frozen=True, init=False)
class Destination:
    """Where results go: gzipped JSON lines, an object for each object of the archive, partitioned for Athena.

    A result's key is `<prefix>dt=YYYY-MM-DD/<name>-<digest>.json.gz`, made from its object's key, where the day is
    the UTC day of the object's oldest message: replaying overwrites and never duplicates.

    Args:
        bucket: May be the archive's.
        prefix: Of the results; it ends with a slash, or is empty.
        errors_prefix: Of what could not be replayed, with the reasons. Default: `errors/<prefix>`.
        runs_prefix: Of each run's manifest, notes, summary and, until they are published, results, in a folder named
            after the execution; a lifecycle rule may expire them, and does well to: a run that is cancelled leaves
            its results there. Default: `runs/<prefix>`.

    Raises:
        ValueError: A prefix is one that cannot be, or lies within another.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_s3 import Bucket
        from pipeline_reprocessing import Destination

        destination = Destination(Bucket(Stack(), "Results"), prefix="telemetry/")
    """

    bucket: IBucket
    prefix: str
    errors_prefix: str
    runs_prefix: str

    def __init__(
        self,
        bucket: IBucket,
        *,
        prefix: str,
        errors_prefix: str | None = None,
        runs_prefix: str | None = None,
    ) -> None:
        _check_bucket("bucket", bucket)
        _check_prefix("prefix", prefix, folder=True)
        # Before and not below the results: a query of those would read it too.
        errors_prefix = f"errors/{prefix}" if errors_prefix is None else errors_prefix
        runs_prefix = f"runs/{prefix}" if runs_prefix is None else runs_prefix
        _check_prefix("errors_prefix", errors_prefix, folder=True)
        _check_prefix("runs_prefix", runs_prefix, folder=True)
        named = (("prefix", prefix), ("errors_prefix", errors_prefix), ("runs_prefix", runs_prefix))
        _check_apart(named)
        for name, value in (("bucket", bucket), *named):
            object.__setattr__(self, name, value)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the state machine is told of it."""
        return {
            "Bucket": self.bucket.bucket_name,
            "Prefix": self.prefix,
            "ErrorsPrefix": self.errors_prefix,
            "RunsPrefix": self.runs_prefix,
        }


def check_number(argument: str, value: float, least: float, most: float, *, whole: bool = True) -> None:
    """Raises unless the number is within the bounds, or a token."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Failure(f"'{argument}' must be a {'whole ' if whole else ''}number, got {shown(value)}")
    if Token.is_unresolved(value):
        return
    if whole and not isinstance(value, int):
        raise Failure(f"'{argument}' must be a whole number, got {shown(value)}")
    if not least <= value <= most:
        raise Failure(f"'{argument}' must be {least:,} to {most:,}, got {value:,}")


def check_archive_apart(source: Archive, destination: Destination) -> None:
    """Raises if the results would become a part of the archive."""
    same = source.bucket is destination.bucket or source.bucket.bucket_name == destination.bucket.bucket_name
    if not same or Token.is_unresolved(source.root):
        return
    for name in ("prefix", "errors_prefix", "runs_prefix"):
        value = getattr(destination, name)
        if Token.is_unresolved(value):
            continue
        # Everything lies within an empty root, but a stream without a prefix keeps to folders named after years.
        if value == source.root or (source.root and value.startswith(source.root)):
            raise Failure(
                f"'destination.{name}' must lie outside of the archive '{source.root}' in the same bucket, got "
                f"'{value}'; results would be replayed as messages"
            )


def _check_bucket(argument: str, bucket: IBucket) -> None:
    if not hasattr(bucket, "bucket_arn"):
        raise Failure(f"'{argument}' must be a bucket, got {shown(bucket)}")


def _check_prefix(argument: str, prefix: str, *, folder: bool = False) -> None:
    if not isinstance(prefix, str):
        raise Failure(f"'{argument}' must be a text, got {shown(prefix)}")
    if Token.is_unresolved(prefix):
        return
    if prefix.startswith("s3://"):
        raise Failure(f"'{argument}' must be without its bucket, got '{prefix}'; leave out 's3://<bucket>/'")
    if "!{" in prefix:
        raise Failure(
            f"'{argument}' must be without expressions, got '{prefix}'; only Firehose's default YYYY/MM/dd/HH/ is "
            "known, so give what stands before the expressions and use MessageSelection.all() or .s3_paths()"
        )
    if _WILDCARDS.search(prefix):
        # In an IAM policy these would allow more than they say.
        raise Failure(f"'{argument}' must be without '*', '?' and '$', got '{prefix}'")
    if len(prefix.encode()) > MAX_PREFIX_LENGTH:
        raise Failure(f"'{argument}' must have at most {MAX_PREFIX_LENGTH} bytes, got {len(prefix.encode())}")
    if folder and prefix and not prefix.endswith("/"):
        raise Failure(f"'{argument}' must end with '/', got '{prefix}'; use '{prefix}/'")


def _check_apart(named: Sequence[tuple[str, str]]) -> None:
    """Raises if one of the prefixes lies within another; all may lie within an empty one of the results."""
    known = [(name, value) for name, value in named if not Token.is_unresolved(value)]
    for other, outer in known:
        if not outer and other != "prefix":
            raise Failure(f"'{other}' must not be empty; use '{other.removesuffix('_prefix')}/{named[0][1]}'")
        for name, value in known:
            if name != other and outer and value.startswith(outer):
                raise Failure(f"'{name}' must lie outside of '{other}', got '{value}' within '{outer}'")
