"""What an error of AWS means to the handler."""

from __future__ import annotations

from botocore.exceptions import ClientError


class Fault(Exception):
    """A call to AWS failed; the text names the operation and quotes the service."""


class Denied(Fault):
    """IAM refused the call. It had no effect."""


class Throttled(Fault):
    """Too many calls. The call had no effect and may be repeated."""


class Missing(Fault):
    """What the call names does not exist."""


class Conflict(Fault):
    """What the call creates exists already."""


class PerhapsOurs(Conflict):
    """It exists already, and an earlier attempt at the same call may have created it."""


class Refused(Fault):
    """The call is invalid. It had no effect, and repeating it is useless."""


class Unclear(Fault):
    """A dropped connection, a time-out or a service error: the call may have taken effect or not."""


class Unreachable(Unclear):
    """No connection to the service: the call had no effect, and the service may no longer exist."""


# The SDK's throttling codes, and the quotas of the services that are called here.
_THROTTLED = """
EC2ThrottledException ExecutionLimitExceeded KmsThrottlingException LimitExceededException PriorRequestNotComplete
RequestLimitExceeded RequestThrottled RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException
TooManyRequestsException
"""
# The last two are of credentials so new that the service does not know them yet.
_DENIED = """
AccessDenied AccessDeniedException UnauthorizedOperation InvalidClientTokenId UnrecognizedClientException
"""
_MEANING: dict[str, type[Fault]] = {
    **dict.fromkeys(_DENIED.split(), Denied),
    **dict.fromkeys(_THROTTLED.split(), Throttled),
    **dict.fromkeys(
        ("ResourceNotFoundException", "ExecutionDoesNotExist", "StateMachineDoesNotExist"), Missing
    ),
    **dict.fromkeys(("ResourceAlreadyExistsException", "ExecutionAlreadyExists"), Conflict),
}


def fault_of(error: ClientError, call: str) -> Fault:
    """The meaning of a service's error.

    Args:
        error: As boto3 raised it.
        call: Service and operation, for the text.
    """
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message") or "no message"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{call}: {code}: {message}"
    if code in _MEANING:
        return _MEANING[code](text)
    if status == 429:
        return Throttled(text)
    return Unclear(text) if status >= 500 else Refused(text)
