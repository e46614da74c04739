"""The place of a pipeline's reports: what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aws_cdk import CfnParameter, Stack
from aws_cdk.aws_s3 import Bucket, IBucket

from pipeline_reprocessing import Reports


@pytest.fixture
def bucket() -> IBucket:
    return Bucket.from_bucket_name(Stack(None, "Photos"), "Operations", "operations")


@pytest.mark.parametrize("prefix", ["", "replays/", "teams/photos/", "ü" * 324 + "/"])
def test_a_prefix_is_empty_or_a_folder(bucket: IBucket, prefix: str) -> None:
    reports = Reports(bucket, prefix=prefix)

    assert (reports.bucket, reports.prefix) == (bucket, prefix)


def test_a_token_passes_as_prefix(bucket: IBucket) -> None:
    prefix = CfnParameter(Stack.of(bucket), "Prefix").value_as_string

    assert Reports(bucket, prefix=prefix).prefix == prefix


@pytest.mark.parametrize(
    ("prefix", "error"),
    [
        ("replays", "'prefix' must end with '/', got 'replays'; use 'replays/'"),
        (7, "'prefix' must be a text, got int 7"),
        ("s3://b/r/", "'prefix' must be without its bucket, got 's3://b/r/'; leave out 's3://<bucket>/'"),
        ("r*/", "'prefix' must be without '*', '?' and '$', got 'r*/'"),
        (
            "!{timestamp:yyyy}/",
            "'prefix' must be without expressions, got '!{timestamp:yyyy}/'; only the prefix of Archive.firehose() "
            "may have them",
        ),
        ("ü" * 325 + "/", "'prefix' must have at most 650 bytes, got 651"),
    ],
)
def test_an_invalid_prefix_is_refused(bucket: IBucket, prefix: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        Reports(bucket, prefix=prefix)


def test_what_is_no_bucket_is_refused() -> None:
    name: Any = "operations"

    with pytest.raises(ValueError, match=r"^'bucket' must be a bucket, got 'operations'$"):
        Reports(name)
