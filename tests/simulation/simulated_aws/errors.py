"""Errors as boto3 raises them."""

from __future__ import annotations

from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from .troubles import Trouble

_THROTTLED = {
    "iotanalytics": ("ThrottlingException", 429),
    "lambda": ("TooManyRequestsException", 429),
    "cloudformation": ("Throttling", 400),
    "logs": ("ThrottlingException", 400),
    "stepfunctions": ("ThrottlingException", 400),
}
_UNWELL = {
    "iotanalytics": ("InternalFailureException", 500),
    "lambda": ("ServiceException", 500),
    "cloudformation": ("InternalFailure", 500),
    "logs": ("ServiceUnavailableException", 503),
    "stepfunctions": ("InternalServerError", 500),
}
_ACTIONS = {"stepfunctions": "states", "lambda": "lambda"}


def service_error(code: str, status: int, message: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # a part is enough
        "Operation",
    )


def denied(service: str, operation: str, resource: str) -> ClientError:
    """What IAM says: who may not do what with which resource."""
    action = "InvokeFunction" if operation == "invoke" else operation.title().replace("_", "")
    who = "arn:aws:sts::123456789012:assumed-role/HandlerRole/handler"
    return service_error(
        "AccessDeniedException",
        403,
        f"User: {who} is not authorized to perform: {_ACTIONS.get(service, service)}:{action} on resource: {resource}",
    )


def error_of(trouble: Trouble, service: str) -> Exception:
    """What the client sees of a call that met with that trouble."""
    url = f"https://{service}.eu-west-1.amazonaws.com/"
    if trouble is Trouble.THROTTLED:
        code, status = _THROTTLED[service]
        return service_error(code, status, "Rate exceeded")
    if trouble in (Trouble.ERROR_BEFORE, Trouble.ERROR_AFTER, Trouble.REFUSED, Trouble.UNAVAILABLE):
        code, status = _UNWELL[service]
        return service_error(code, status, "something went wrong")
    if trouble in (Trouble.DROPPED_BEFORE, Trouble.DROPPED_AFTER):
        return ConnectionClosedError(endpoint_url=url)
    if trouble is Trouble.UNREACHABLE:
        return EndpointConnectionError(endpoint_url=url)
    return ReadTimeoutError(endpoint_url=url)
