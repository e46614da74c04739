"""Which errors of AWS pass, which are final, and what they say."""

from __future__ import annotations

import pytest
from botocore.exceptions import ParamValidationError, ReadTimeoutError
from fake_s3 import fault

from object_replay.aws_errors import explained
from object_replay.faults import Denied, ReplayStopped, Throttled


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InternalError", 500, Throttled),
        ("ServiceUnavailable", 503, Throttled),
        ("TooManyRequestsException", 429, Throttled),
        ("EFSMountTimeoutException", 408, Throttled),
        ("EFSIOException", 410, Throttled),
        ("RequestTimeout", 400, Throttled),
        ("OperationAborted", 409, Throttled),
        ("ThrottlingException", 400, Throttled),
        ("NoSuchUpload", 404, Throttled),
        ("NoSuchBucket", 404, ReplayStopped),
        ("ResourceNotFoundException", 404, ReplayStopped),
        ("InvalidRequest", 400, ReplayStopped),
        ("AccessDenied", 403, Denied),
        ("AccessDeniedException", 403, Denied),
        ("403", 403, Denied),
    ],
)
def test_an_error_reaches_as_far_as_its_cause(code: str, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^cannot do it: {code}: {code} in Act$") as caught, explained("do it"):
        raise fault("Act", code, status)

    assert type(caught.value) is kind


def test_a_connection_that_breaks_passes() -> None:
    with pytest.raises(Throttled, match=r"^cannot do it: ReadTimeoutError: "), explained("do it"):
        raise ReadTimeoutError(endpoint_url="https://s3")


def test_what_is_no_error_of_aws_is_left_as_it_is() -> None:
    with pytest.raises(KeyError), explained("do it"):
        raise KeyError


def test_a_request_that_botocore_refuses_to_make_is_final() -> None:
    with pytest.raises(ReplayStopped, match="cannot look: ParamValidationError"), explained("look"):
        raise ParamValidationError(report="an empty key")
