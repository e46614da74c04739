"""Lambda functions, as the lambda activity calls them: a list of messages in, a list of messages out."""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.iot_analytics.messages import Message

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient


class FunctionFailed(Exception):
    """A function did not give back messages; the text says why."""


class Functions(Protocol):
    """What calls functions. Calls may come from several threads."""

    def __call__(self, name: str, messages: Sequence[Message]) -> list[Message]:
        """The messages that the function makes of the given ones.

        Raises:
            FunctionFailed: It fails, or does not return a list of objects.
        """


class LambdaFunctions:
    """Functions in Lambda, at the endpoint and with the credentials that the environment names."""

    def __init__(self) -> None:
        self._lambda: LambdaClient = boto3.client(
            "lambda",
            # A function may take five minutes, and is not called again because it took long.
            config=Config(read_timeout=310, max_pool_connections=16, retries={"total_max_attempts": 1}),
        )

    def __call__(self, name: str, messages: Sequence[Message]) -> list[Message]:
        """The messages that the function makes of the given ones."""
        try:
            answer = self._lambda.invoke(FunctionName=name, Payload=json.dumps(list(messages)).encode())
            payload = answer["Payload"].read()
        except (ClientError, BotoCoreError) as error:
            raise FunctionFailed(f"function '{name}' cannot be invoked: {error}") from error
        if answer.get("FunctionError"):
            raise FunctionFailed(f"function '{name}' failed: {payload.decode(errors='replace')[:1000]}")
        return returned(name, payload)


class NoFunctions:
    """Stands where there is no Lambda."""

    def __call__(self, name: str, messages: Sequence[Message]) -> NoReturn:
        """Never gives messages."""
        raise FunctionFailed(
            f"function '{name}' cannot be invoked with {len(messages)} messages: "
            "there is no Lambda here; start the server with AWS_ENDPOINT_URL set"
        )


def lambda_functions() -> Functions:
    """Functions at the endpoint of the environment, or none where the environment names no endpoint.

    Without an endpoint boto3 would go to the real AWS.
    """
    has_endpoint = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"))
    return LambdaFunctions() if has_endpoint else NoFunctions()


def returned(name: str, payload: bytes) -> list[Message]:
    """The messages in what a function returned.

    Raises:
        FunctionFailed: It is not a list of objects.
    """
    try:
        messages = json.loads(payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FunctionFailed(f"function '{name}' must return JSON: {error}") from None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        shown = payload.decode(errors="replace")[:100]
        raise FunctionFailed(f"function '{name}' must return a list of objects, got '{shown}'")
    return messages


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
