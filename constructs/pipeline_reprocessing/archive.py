"""The archive that an `ArchivePipeline` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from aws_cdk import Duration, Token
from aws_cdk.aws_s3 import IBucket

from object_replay import firehose_prefix
from object_replay.settings import Framing, Layout
from pipeline_reprocessing.arguments import one_of, shown, whole_seconds
from pipeline_reprocessing.places import check_bucket, check_prefix
from pipeline_reprocessing_handler.validation import Failure, check_pipeline_name

MAX_BUFFER_SECONDS = 900
"""Firehose's longest buffer interval (API `BufferingHints`, `IntervalInSeconds`)."""
_EXTENSION = re.compile(r"\.[0-9a-z!\-_.*'()]{1,127}")
"""API `ExtendedS3DestinationConfiguration`, `FileExtension`."""


class ErrorOutput(StrEnum):
    """What to do with objects of Firehose's error output: records that Firehose could not transform or deliver."""

    SKIP = "SKIP"
    """They are counted as skipped."""
    REPLAY = "REPLAY"
    """Their raw data are messages."""


@dataclass(frozen=True)
class Archive:
    """Raw messages kept in S3. Make one with `firehose`, `iot_analytics_channel` or `objects`.

    Objects may be gzipped, whatever their names say: that is told from their content.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_s3 import Bucket
        from pipeline_reprocessing import Archive, Framing

        bucket = Bucket(Stack(), "Raw")
        stream = Archive.firehose(bucket, prefix="raw/")
        by_day = Archive.firehose(
            bucket, prefix="days/!{timestamp:'year='yyyy'/month='MM'/day='dd}/", time_zone="Asia/Tokyo"
        )
        channel = Archive.iot_analytics_channel(bucket, channel_name="telemetry", prefix="raw/")
        exports = Archive.objects(bucket, prefix="exports/", suffix=".csv.gz", framing=Framing.LINES)
    """

    bucket: IBucket
    layout: Layout
    root: str
    """The prefix of everything that belongs to the archive; nothing else is listed or read."""
    buffer_seconds: int = 0
    path: str = ""
    """What follows the root in a stream's own prefix; empty for Firehose's default."""
    time_zone: str = "UTC"
    suffix: str = ""
    framing: Framing = Framing.JSON
    error_output: ErrorOutput = ErrorOutput.SKIP

    @classmethod
    def iot_analytics_channel(cls, bucket: IBucket, *, channel_name: str, prefix: str = "") -> Archive:
        """The archive of an IoT Analytics channel with customer-managed storage.

        A time selects the objects whose 30 seconds, which are in their keys, it meets.

        Args:
            bucket: The channel's bucket.
            channel_name: 1 to 128 letters, digits and underscores, not beginning with two underscores; or a token.
            prefix: The channel's key prefix: it ends with a slash. Default: none.

        Raises:
            ValueError: The name or the prefix is invalid.

        Source: API `CustomerManagedChannelS3Storage`, `ChannelName`; for the keys FACTS section 1.
        """
        check_bucket("bucket", bucket)
        if not isinstance(channel_name, str):
            raise Failure(f"'channel_name' must be a channel's name, got {shown(channel_name)}")
        if not Token.is_unresolved(channel_name):
            check_pipeline_name("channel_name", channel_name)
        check_prefix("prefix", prefix, folder=True)
        return cls(bucket, Layout.IOT_ANALYTICS, f"{prefix}channel/{channel_name}/")

    @classmethod
    def firehose(
        cls,
        bucket: IBucket,
        *,
        prefix: str = "",
        time_zone: str = "UTC",
        file_extension: str | None = None,
        buffer_interval: Duration | None = None,
        framing: Framing = Framing.JSON,
        error_output: ErrorOutput = ErrorOutput.SKIP,
    ) -> Archive:
        """What a Firehose stream delivered to S3.

        A time selects objects by the time at the end of their names, which Firehose writes whatever the prefix is.
        That is the time of the object's oldest message; younger ones follow for as long as the stream buffers. A time
        selects every object that may hold messages of it, so that none is missed at its start. Where the prefix begins
        with the year, then the month and so on, only the years, months, days or hours concerned are listed; where
        something else comes first, such as a partition key, everything is.

        Args:
            bucket: The stream's bucket.
            prefix: The stream's own S3 prefix, with its expressions: `raw/!{timestamp:yyyy/MM/dd}/`. As Firehose does,
                a prefix without a `timestamp` expression is followed by `YYYY/MM/dd/HH/`, without a slash before it.
                The pipeline may read everything that begins with the text before the first expression. A token must
                not become a text with expressions. Default: none.
            time_zone: Whose time the stream writes into keys: its custom time zone, an IANA name such as `Asia/Tokyo`.
            file_extension: What the stream's objects end with; others are skipped. Default: any.
            buffer_interval: How long the stream buffers, 0 to 900 seconds. Default: 900 seconds, the longest there
                is: up to 15 minutes more than needed are replayed, which changes nothing.
            framing: How objects are divided into messages.
            error_output: Whether to replay what Firehose could not transform or deliver. These objects are known by
                a folder such as `processing-failed/` after the prefix, which is where Firehose writes them unless it
                has an error output prefix. If it has one, `prefix` may be that. Default: they are skipped.

        Raises:
            ValueError: An argument is invalid, or the prefix is one that Firehose refuses.

        Source: Firehose's developer guide, "Understand custom prefixes for Amazon S3 objects" and "Configure Amazon S3
            object name format"; API `BufferingHints`, `ExtendedS3DestinationConfiguration`.
        """
        check_bucket("bucket", bucket)
        error_output = one_of("error_output", error_output, ErrorOutput)
        if not isinstance(prefix, str):
            raise Failure(f"'prefix' must be a text, got {shown(prefix)}")
        root, path = firehose_prefix.split(prefix)
        check_prefix("prefix", root)
        if not Token.is_unresolved(path):
            known = path if Token.is_unresolved(root) else prefix
            try:
                firehose_prefix.check(known, error_output=error_output is ErrorOutput.REPLAY)
            except ValueError as error:
                raise Failure(f"'prefix' {error}") from None
        _check_time_zone(time_zone)
        seconds = MAX_BUFFER_SECONDS
        if buffer_interval is not None:
            seconds = whole_seconds("buffer_interval", buffer_interval)
            if not Token.is_unresolved(seconds) and not 0 <= seconds <= MAX_BUFFER_SECONDS:
                raise Failure(
                    f"'buffer_interval' must be 0 to {MAX_BUFFER_SECONDS} seconds, got {seconds} seconds"
                )
        return cls(
            bucket,
            Layout.FIREHOSE,
            root,
            buffer_seconds=seconds,
            path=path,
            time_zone=time_zone,
            suffix=_extension(file_extension),
            framing=one_of("framing", framing, Framing),
            error_output=error_output,
        )

    @classmethod
    def objects(
        cls, bucket: IBucket, *, prefix: str = "", suffix: str = "", framing: Framing = Framing.JSON
    ) -> Archive:
        """Any objects.

        A time selects the objects that were last modified in it, for which everything under the prefix is listed. A
        result has no day in its key, so that the result of an object that was overwritten replaces the earlier one.

        Args:
            bucket: The bucket.
            prefix: What the objects' keys begin with. Default: nothing, the whole bucket.
            suffix: What the objects' keys end with; others are skipped. Default: nothing.
            framing: How objects are divided into messages.

        Raises:
            ValueError: An argument is invalid.
        """
        check_bucket("bucket", bucket)
        check_prefix("prefix", prefix)
        if not isinstance(suffix, str):
            raise Failure(f"'suffix' must be a text, got {shown(suffix)}")
        return cls(bucket, Layout.OBJECTS, prefix, suffix=suffix, framing=one_of("framing", framing, Framing))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the state machine is told of it."""
        # Without what is as it was before there was a choice: another version of this library must not look like
        # another archive, which would be replayed.
        chosen = {
            "Path": self.path,
            "TimeZone": self.time_zone if self.time_zone != "UTC" else "",
            "Suffix": self.suffix,
            "Framing": self.framing.value if self.framing is not Framing.JSON else "",
            "ReplaysErrorOutput": self.error_output is ErrorOutput.REPLAY,
        }
        return {
            "Layout": self.layout.value,
            "Bucket": self.bucket.bucket_name,
            "Root": self.root,
            "BufferSeconds": self.buffer_seconds,
            **{name: value for name, value in chosen.items() if value},
        }


def _check_time_zone(name: str) -> None:
    if not isinstance(name, str):
        raise Failure(f"'time_zone' must be the name of a time zone, got {shown(name)}")
    if not Token.is_unresolved(name) and not _is_known(name) and _is_known("Europe/London"):
        raise Failure(
            f"'time_zone' must be a name in the IANA time zone database, such as Asia/Tokyo, got '{name}'"
        )


def _is_known(time_zone: str) -> bool:
    """Whether this computer knows the time zone; some computers know none."""
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _extension(value: str | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Failure(f"'file_extension' must be a text, got {shown(value)}")
    if not Token.is_unresolved(value) and not _EXTENSION.fullmatch(value):
        raise Failure(
            "'file_extension' must begin with '.', have at most 128 characters, and consist of a-z, 0-9 and "
            f"!-_.*'(), got '{value}'; leave it out if objects have none"
        )
    return value
