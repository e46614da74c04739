"""What an error of AWS means for a run: what to say, and whether another try is worth it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from object_replay.faults import Denied, ReplayStopped, Throttled

ABSENT = {"404", "NoSuchKey", "NotFound"}
DENIED = {"403", "AccessDenied", "AccessDeniedException", "Forbidden", "AllAccessDisabled"}
PASSING = {
    "InternalError",
    "NoSuchUpload",  # completed before, when boto3 repeats what had no answer
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottlingException",
}
_PASSING_STATUS = {408, 410, 429}
"""Lambda answers 408 and 410 while a function's file system does not (API `Invoke`, EFS...Exception)."""
CONFLICT = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Says what failed, and whether it is worth another try; any other object would fare the same."""
    try:
        yield
    except ClientError as error:
        kind = Throttled if is_passing(error) else Denied if code_of(error) in DENIED else ReplayStopped
        raise kind(f"cannot {action}: {described(error)}") from error
    except ParamValidationError as error:
        raise ReplayStopped(f"cannot {action}: {described(error)}") from error
    except BotoCoreError as error:
        raise Throttled(f"cannot {action}: {described(error)}") from error


def is_passing(error: ClientError) -> bool:
    """Whether the same work may go well later."""
    status = status_of(error)
    return status >= 500 or status in _PASSING_STATUS or code_of(error) in PASSING


def status_of(error: ClientError) -> int:
    """The answer's HTTP status."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def code_of(error: ClientError) -> str:
    """AWS's name for the error."""
    return error.response.get("Error", {}).get("Code", "")


def described(error: Exception) -> str:
    """What happened, in one line."""
    if isinstance(error, ClientError):
        return f"{code_of(error)}: {error.response.get('Error', {}).get('Message', '')}"
    return f"{type(error).__name__}: {error}"
