"""The user's function, called synchronously."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from archive_replay.aws_errors import DENIED, code_of, described, explained, is_passing
from archive_replay.faults import Denied, FunctionFailed, ReplayStopped, Throttled

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient

_BUSY = {
    "TooManyRequestsException",
    "ThrottlingException",
    "ResourceNotReadyException",
    "ResourceConflictException",
    "SnapStartNotReadyException",
}
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

    def invoke(self, payload: bytes) -> bytes:
        """What the function gives for the payload.

        Raises:
            FunctionFailed: It raised, timed out, or gave or was given too much.
            Throttled: It did not run, and may later.
            Denied: It may not be called.
            ReplayStopped: It can never run.
        """
        try:
            response = self.client.invoke(FunctionName=self.arn, Payload=payload)
            body = response["Payload"].read()
        except ClientError as error:
            code = code_of(error)
            if code in _TOO_LARGE:
                raise FunctionFailed(described(error)) from error
            text = f"cannot invoke {self.arn}: {described(error)}"
            if code in _DENIED:
                raise Denied(text) from error
            if code in _BUSY or (is_passing(error) and code not in _MISCONFIGURED):
                raise Throttled(text) from error
            raise ReplayStopped(text) from error
        except ParamValidationError as error:
            raise ReplayStopped(f"cannot invoke {self.arn}: {described(error)}") from error
        except (BotoCoreError, OSError) as error:
            raise Throttled(f"cannot invoke {self.arn}: {described(error)}") from error
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
