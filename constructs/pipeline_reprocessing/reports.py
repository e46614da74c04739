"""Where the runs of a pipeline keep their notes."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk.aws_s3 import IBucket

from pipeline_reprocessing.places import check_bucket, check_prefix


@dataclass(frozen=True)
class Reports:
    """Where each run keeps its manifest, its notes, its summary and its errors, in a folder named after the execution.

    Args:
        bucket: A lifecycle rule may expire the objects.
        prefix: Ends with a slash, or is empty. Default: none.

    Raises:
        ValueError: An argument is invalid.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_s3 import Bucket
        from pipeline_reprocessing import Reports

        reports = Reports(Bucket(Stack(), "Operations"), prefix="replays/")
    """

    bucket: IBucket
    prefix: str = ""

    def __post_init__(self) -> None:
        check_bucket("bucket", self.bucket)
        check_prefix("prefix", self.prefix, folder=True)
