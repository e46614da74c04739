"""The place that an `ArchivePipeline` writes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Token
from aws_cdk.aws_s3 import IBucket

from pipeline_reprocessing.archive import Archive
from pipeline_reprocessing.places import check_bucket, check_prefix
from pipeline_reprocessing_handler.validation import Failure


@dataclass(frozen=True, init=False)
class Destination:
    """Where results go: gzipped JSON lines, an object for each object of the archive, partitioned for Athena.

    A result's key is `<prefix>dt=YYYY-MM-DD/<name>-<digest>.json.gz`, made from its object's key, where the day is
    the UTC day of the object's oldest message; for `Archive.objects` there is no day in it. Replaying overwrites and
    never duplicates.

    Args:
        bucket: May be the archive's.
        prefix: Of the results; it ends with a slash, or is empty.
        errors_prefix: Of what could not be replayed, with the reasons. Default: `errors/<prefix>`.
        runs_prefix: Of each run's manifest, notes, summary and, until they are published, results, in a folder named
            after the execution; a lifecycle rule may expire them, and does well to: a run that is cancelled leaves
            its results there. Default: `runs/<prefix>`.

    Raises:
        ValueError: A prefix is invalid, or lies within another.

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
        check_bucket("bucket", bucket)
        check_prefix("prefix", prefix, folder=True)
        # Before and not below the results: a query of those would read it too.
        errors_prefix = f"errors/{prefix}" if errors_prefix is None else errors_prefix
        runs_prefix = f"runs/{prefix}" if runs_prefix is None else runs_prefix
        check_prefix("errors_prefix", errors_prefix, folder=True)
        check_prefix("runs_prefix", runs_prefix, folder=True)
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


def check_archive_apart(source: Archive, destination: Destination) -> None:
    """Raises if the results would become a part of the archive."""
    same = source.bucket is destination.bucket or source.bucket.bucket_name == destination.bucket.bucket_name
    if not same or Token.is_unresolved(source.root):
        return
    for name in ("prefix", "errors_prefix", "runs_prefix"):
        value = getattr(destination, name)
        if Token.is_unresolved(value):
            continue
        # Everything lies within an empty root: there a run leaves out what lies under the destination's prefixes.
        if value == source.root or (source.root and value.startswith(source.root)):
            raise Failure(
                f"'destination.{name}' must lie outside of the archive '{source.root}' in the same bucket, got "
                f"'{value}'; results would be replayed as messages"
            )


def _check_apart(named: Sequence[tuple[str, str]]) -> None:
    """Raises if one of the prefixes lies within another; all may lie within an empty one of the results."""
    known = [(name, value) for name, value in named if not Token.is_unresolved(value)]
    for other, outer in known:
        if not outer and other != "prefix":
            raise Failure(f"'{other}' must not be empty; use '{other.removesuffix('_prefix')}/{named[0][1]}'")
        for name, value in known:
            if name != other and outer and value.startswith(outer):
                raise Failure(f"'{name}' must lie outside of '{other}', got '{value}' within '{outer}'")
