"""Buckets and prefixes as arguments, checked."""

from __future__ import annotations

import re

from aws_cdk import Token
from aws_cdk.aws_s3 import IBucket

from pipeline_reprocessing.arguments import shown
from pipeline_reprocessing_handler.validation import Failure

MAX_PREFIX_LENGTH = 650
"""A key has at most 1,024 bytes, and names of ours follow the prefix."""

_WILDCARDS = re.compile(r"[*?$]")


def check_bucket(argument: str, bucket: IBucket) -> None:
    """Checks that it is a bucket.

    Raises:
        ValueError: It is something else.
    """
    if not hasattr(bucket, "bucket_arn"):
        raise Failure(f"'{argument}' must be a bucket, got {shown(bucket)}")


def check_prefix(argument: str, prefix: str, *, folder: bool = False) -> None:
    """Checks a prefix of keys; a token passes.

    Args:
        argument: What the user calls it.
        prefix: The prefix.
        folder: Whether it must end with a slash, unless it is empty.

    Raises:
        ValueError: The prefix is invalid.
    """
    if not isinstance(prefix, str):
        raise Failure(f"'{argument}' must be a text, got {shown(prefix)}")
    if Token.is_unresolved(prefix):
        return
    if prefix.startswith("s3://"):
        raise Failure(f"'{argument}' must be without its bucket, got '{prefix}'; leave out 's3://<bucket>/'")
    if "!{" in prefix:
        raise Failure(
            f"'{argument}' must be without expressions, got '{prefix}'; only the prefix of Archive.firehose() may have "
            "them"
        )
    if _WILDCARDS.search(prefix):
        # In an IAM policy these would allow more than they say.
        raise Failure(f"'{argument}' must be without '*', '?' and '$', got '{prefix}'")
    if len(prefix.encode()) > MAX_PREFIX_LENGTH:
        raise Failure(f"'{argument}' must have at most {MAX_PREFIX_LENGTH} bytes, got {len(prefix.encode())}")
    if folder and prefix and not prefix.endswith("/"):
        raise Failure(f"'{argument}' must end with '/', got '{prefix}'; use '{prefix}/'")
