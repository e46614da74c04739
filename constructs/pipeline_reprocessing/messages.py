"""Which of the stored messages a deploy reprocesses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aws_cdk import Duration, Token
from aws_cdk.aws_iam import Grant
from aws_cdk.aws_s3 import IBucket

from pipeline_reprocessing.arguments import shown, whole_seconds
from pipeline_reprocessing.places import check_bucket
from pipeline_reprocessing_handler.properties import Kind
from pipeline_reprocessing_handler.validation import (
    Failure,
    check_last,
    check_order,
    check_s3_key,
    check_s3_path,
    check_s3_path_count,
    check_time,
    format_time,
    parse_time,
)


@dataclass(frozen=True)
class MessageSelection:
    """Says which stored messages to reprocess. There is no default: replaying costs money and is said aloud.

    Everything that is known at synth is checked there; what is a token then is checked by the handler, by the
    same code. Make one with `time_range`, `last`, `s3_paths`, `keys_from` or `all`.

    Example:
        from datetime import datetime, timezone

        from aws_cdk import Duration
        from pipeline_reprocessing import MessageSelection

        january = MessageSelection.time_range(
            datetime(2025, 1, 1, tzinfo=timezone.utc), datetime(2025, 2, 1, tzinfo=timezone.utc)
        )
        last_month = MessageSelection.last(Duration.days(30))
        failed = MessageSelection.s3_paths(
            ["raw/channel/telemetry/__dt=2025-01-01 00:00:00/1735689600000_1735689630000_111122223333_telemetry_0_1.json.gz"]
        )
        everything = MessageSelection.all()
    """

    properties: Mapping[str, Any]
    """The `Messages` property of the custom resource."""
    file: tuple[IBucket, str] | None = None
    """Where `keys_from` finds the keys: a bucket and a key."""

    @classmethod
    def time_range(
        cls, start: datetime | str | None = None, end: datetime | str | None = None
    ) -> MessageSelection:
        """Messages by the time at which they were ingested, which IoT Analytics rounds to about an hour.

        Args:
            start: The first moment, included: aware, in whole seconds, not before 1970; or a token that becomes an
                ISO 8601 text such as `2025-01-31T00:00:00Z`. Default: from the first stored message on.
            end: The moment after the last, excluded; otherwise like `start`. Default: up to the last stored message.

        Raises:
            ValueError: Neither is given, one is not a time as described, or `start` is not before `end`.

        Source: API `StartPipelineReprocessing`, `startTime` and `endTime`.
        """
        if start is None and end is None:
            raise Failure(
                "'start' and 'end' must not both be missing; use MessageSelection.all() to replay everything"
            )
        times = {
            name: _time(name, value) for name, value in (("start", start), ("end", end)) if value is not None
        }
        known = [(name, time) for name, time in times.items() if isinstance(time, datetime)]
        if len(known) == 2:
            check_order(*known)
        written = {
            name: format_time(time) if isinstance(time, datetime) else time for name, time in times.items()
        }
        return cls({f"{name.capitalize()}Time": text for name, text in written.items()})

    @classmethod
    def last(cls, duration: Duration) -> MessageSelection:
        """Messages of a stretch of time that ends when the deploy reaches this resource.

        Args:
            duration: How far to go back, in whole seconds, from 1 second to 36,500 days.

        Raises:
            ValueError: The duration is out of these bounds.
        """
        seconds = whole_seconds("duration", duration)
        return cls(
            {"LastSeconds": seconds if Token.is_unresolved(seconds) else check_last("duration", seconds)}
        )

    @classmethod
    def s3_paths(cls, paths: Sequence[str]) -> MessageSelection:
        """Messages in certain objects of an archive, such as those that a failure notification named.

        Args:
            paths: 1 to 100 object keys of 1 to 1,024 bytes each in UTF-8, with the prefix and without the bucket; or
                a list token. A state machine or an `ArchivePipeline` takes any such key. IoT Analytics takes only
                `a-zA-Z0-9/_!'(){}*.-=:` and white space, and only for channels with customer-managed storage.
                The input of an execution holds 262,144 bytes, in which a character beyond ASCII takes six to twelve:
                `paths` of more bytes fail the deploy.

        Raises:
            ValueError: The list is empty or too long, or an entry is not such a key. `PipelineReprocessing` raises it
                for a key that IoT Analytics refuses.

        Source: S3 User Guide, naming objects; API `ChannelMessages`, `s3Paths`.
        """
        paths = _listed(paths)
        if not Token.is_unresolved(paths):
            check_s3_path_count("paths", len(paths))
            for index, path in enumerate(paths):
                _check_path(f"paths[{index}]", path)
        return cls({"S3Paths": paths})

    @classmethod
    def keys_from(cls, bucket: IBucket, key: str) -> MessageSelection:
        """Objects that a file in S3 names, such as the list of what failed in an earlier run.

        The file has a line for each object: `{"key": "photos/1.jpg"}`, whatever else is in it, or a key in quotes. It
        may be gzipped. The pipeline may read the file, unless it is a state machine of yours: that gets
        `{"KeysFrom": "s3://<bucket>/<key>"}` and needs its own permission.

        Args:
            bucket: The file's bucket.
            key: The file's key. It is part of the trigger; what the file holds is not.

        Raises:
            ValueError: An argument is invalid. `PipelineReprocessing` raises it for pipelines of IoT Analytics.
        """
        check_bucket("bucket", bucket)
        _check_path("key", key)
        return cls({"KeysFrom": f"s3://{bucket.bucket_name}/{key}"}, (bucket, key))

    @classmethod
    def all(cls) -> MessageSelection:
        """Every stored message."""
        return cls({"All": True})

    def check_for(self, kind: Kind) -> None:
        """Checks what only the kind of pipeline tells.

        Raises:
            ValueError: The pipeline is one of IoT Analytics, which refuses a key of `s3_paths`.
        """
        if kind is Kind.IOT_ANALYTICS and self.file:
            raise Failure(
                "'messages' must not be MessageSelection.keys_from(...) for IoT Analytics; use "
                "MessageSelection.s3_paths([...])"
            )
        paths = self.properties.get("S3Paths", [])
        if kind is Kind.IOT_ANALYTICS and not Token.is_unresolved(paths):
            for index, path in enumerate(paths):
                if not Token.is_unresolved(path):
                    check_s3_path(f"paths[{index}]", path)

    def grant_read(self, grantee: object) -> None:
        """Lets a pipeline that acts by itself read the file of `keys_from`, and nothing beside it."""
        if not self.file or not hasattr(grantee, "grant_principal"):
            return
        bucket, key = self.file
        # Without listing S3 says of a file that is not there that it is denied.
        for action, arn, conditions in (
            ("s3:GetObject", bucket.arn_for_objects(key), None),
            ("s3:ListBucket", bucket.bucket_arn, {"StringEquals": {"s3:prefix": key}}),
        ):
            Grant.add_to_principal_or_resource(
                grantee=grantee,
                actions=[action],
                resource_arns=[arn],
                resource=bucket,
                conditions=conditions,
            )
        if bucket.encryption_key:
            bucket.encryption_key.grant_decrypt(grantee)

    @property
    def is_known(self) -> bool:
        """Whether nothing of the selection waits for the deploy to get its value."""
        return not any(
            Token.is_unresolved(value) or (isinstance(value, list) and any(map(Token.is_unresolved, value)))
            for value in self.properties.values()
        )


def _time(argument: str, value: datetime | str) -> datetime | str:
    if isinstance(value, datetime):
        return check_time(argument, value)
    if not isinstance(value, str):
        raise Failure(f"'{argument}' must be a datetime, got {shown(value)}")
    return value if Token.is_unresolved(value) else parse_time(argument, value)


def _listed(paths: object) -> list[str]:
    if isinstance(paths, str):
        way_out = "for a parameter use .value_as_list" if Token.is_unresolved(paths) else f"write ['{paths}']"
        given = "a token for a text" if Token.is_unresolved(paths) else f"'{paths}'"
        raise Failure(f"'paths' must be a list of object keys, got {given}; {way_out}")
    # A set has another order in each synth, and so would the trigger.
    if isinstance(paths, bytes | Mapping | Set) or not isinstance(paths, Iterable):
        raise Failure(f"'paths' must be a list of object keys, got {shown(paths)}; write [...]")
    return list(paths)


def _check_path(argument: str, value: str) -> None:
    if not isinstance(value, str):
        raise Failure(f"'{argument}' must be an object key, got {shown(value)}")
    if not Token.is_unresolved(value):
        check_s3_key(argument, value)
