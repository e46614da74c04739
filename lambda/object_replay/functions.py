"""The user's function, called synchronously."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
)

from object_replay.aws_errors import DENIED, code_of, described, explained, is_passing, status_of
from object_replay.faults import (
    Denied,
    FunctionFailed,
    OutOfReservation,
    ReplayStopped,
    ResultUnknown,
    Throttled,
)

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient

_BUSY = {
    "TooManyRequestsException",
    "ThrottlingException",
    "ResourceNotReadyException",
    "ResourceConflictException",
    "SnapStartNotReadyException",
    "EC2ThrottledException",
    "ENILimitReachedException",
    "SubnetIPAddressLimitReachedException",
}
"""With these the function did not run."""
_NOT_READY = {408, 410, 429}
"""With these statuses, too: Lambda throttles, or the function's file system does not answer."""
_SENT = (HTTPClientError, IncompleteReadError)
"""The request may have reached Lambda. It did not with botocore's other errors: there was no connection."""
_RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
_DENIED = DENIED | {"KMSAccessDeniedException"}
_MISCONFIGURED = {
    "EC2AccessDeniedException",
    "InvalidRuntimeException",
    "InvalidSecurityGroupIDException",
    "InvalidSubnetIDException",
    "InvalidZipFileException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
}
"""Errors with status 502 that remain when the call is repeated (API `Invoke`)."""
_TOO_LARGE = {
    "RequestTooLargeException",
    "RequestEntityTooLargeException",
    "InvalidRequestContentException",
    "413",
}


@dataclass
class Functions:
    """The user's function, called synchronously.

    Args:
        client: A boto3 client.
        arn: The function, with its alias or version if it has one.
    """

    client: LambdaClient
    arn: str

    def invoke(self, payload: bytes, *, context: Mapping[str, object] | None = None) -> bytes:
        """What the function gives for the payload.

        Args:
            payload: The event.
            context: What the function sees as its client context.

        Raises:
            FunctionFailed: It raised, timed out, or gave or was given too much.
            ResultUnknown: It may have run, and what came of it is not known.
            Throttled: It did not run, and may later.
            Denied: It may not be called.
            ReplayStopped: It can never run.
        """
        try:
            told = b64encode(json.dumps(context).encode()).decode() if context else None
            extra: Any = {"ClientContext": told} if told else {}
            response = self.client.invoke(FunctionName=self.arn, Payload=payload, **extra)
            body = response["Payload"].read()
        except ClientError as error:
            code = code_of(error)
            if code in _TOO_LARGE:
                raise FunctionFailed(described(error)) from error
            text = f"cannot invoke {self.arn}: {described(error)}"
            if code in _DENIED:
                raise Denied(text) from error
            if error.response.get("Reason") == _RESERVED:
                raise OutOfReservation(text) from error
            if code in _BUSY or status_of(error) in _NOT_READY:
                raise Throttled(text) from error
            if is_passing(error) and code not in _MISCONFIGURED:
                raise ResultUnknown(text) from error
            raise ReplayStopped(text) from error
        except ParamValidationError as error:
            raise ReplayStopped(f"cannot invoke {self.arn}: {described(error)}") from error
        except (BotoCoreError, OSError) as error:
            unknown = isinstance(error, _SENT) or not isinstance(error, BotoCoreError)
            kind = ResultUnknown if unknown else Throttled
            raise kind(f"cannot invoke {self.arn}: {described(error)}") from error
        if response.get("FunctionError"):
            raise FunctionFailed(_error_of(body))
        return body

    def digest(self) -> str:
        """Digests of the function's code, and of its environment: see `is_same`.

        Raises:
            Throttled: Lambda does not tell now, and may later.
            ReplayStopped: The function is not there, or may not be looked at.
        """
        with explained(f"read the configuration of your function {self.arn}"):
            values = self.client.get_function_configuration(FunctionName=self.arn)
        code = [
            values.get("CodeSha256"),
            [layer.get("Arn") for layer in values.get("Layers", ())],
            values.get("Runtime"),
            values.get("Handler"),
            values.get("ImageConfigResponse", {}).get("ImageConfig"),
        ]
        environment = values.get("Environment", {})
        if "Error" in environment:  # its key may not be used, or not now
            return _sha256(code)
        return f"{_sha256(code)}-{_sha256(environment.get('Variables'))}"


def is_same(digest: str, other: str) -> bool:
    """Whether two digests are of the same function, as far as both say: Lambda does not always show the environment."""
    return all(one == another for one, another in zip(digest.split("-"), other.split("-"), strict=False))


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _error_of(body: bytes) -> str:
    """What Lambda's error payload says, in one line."""
    try:
        values = json.loads(body)
        return f"{values.get('errorType') or 'Error'}: {values.get('errorMessage')}"
    except (ValueError, AttributeError):
        return body[:1000].decode(errors="replace")
