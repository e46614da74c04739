"""The archive that an `ArchivePipeline` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Duration, Token
from aws_cdk.aws_s3 import IBucket

from archive_replay.settings import Layout
from pipeline_reprocessing.arguments import shown, whole_seconds
from pipeline_reprocessing.places import check_bucket, check_prefix
from pipeline_reprocessing_handler.rules import Failure, check_pipeline_name

MAX_BUFFER_SECONDS = 900
"""Firehose's longest buffer interval (API `BufferingHints`, `IntervalInSeconds`)."""


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
        check_bucket("bucket", bucket)
        if not isinstance(channel_name, str):
            raise Failure(f"'channel_name' must be a channel's name, got {shown(channel_name)}")
        if not Token.is_unresolved(channel_name):
            check_pipeline_name("channel_name", channel_name)
        check_prefix("prefix", prefix, folder=True)
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
        check_bucket("bucket", bucket)
        check_prefix("prefix", prefix)
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
