"""Arguments of more than one class, checked."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from aws_cdk import Duration, Token

from pipeline_reprocessing_handler.validation import Failure

_Choice = TypeVar("_Choice", bound=StrEnum)


def whole_seconds(argument: str, duration: Duration) -> int:
    """The duration in seconds; a token stays one.

    Raises:
        ValueError: It is not a duration, or has a fraction of a second.
    """
    if not isinstance(duration, Duration):
        raise Failure(f"'{argument}' must be a Duration, got {shown(duration)}; write Duration.minutes(...)")
    if duration.is_unresolved():
        return duration.to_seconds()  # type: ignore[return-value]  # a number token is a float
    seconds, fraction = divmod(duration.to_milliseconds(), 1000)
    if fraction:
        raise Failure(f"'{argument}' must be in whole seconds, got {seconds + fraction / 1000:g} seconds")
    return int(seconds)


def one_of(argument: str, value: str, choices: type[_Choice]) -> _Choice:
    """The choice of that name.

    Raises:
        ValueError: There is none.
    """
    try:
        return choices(value)
    except ValueError:
        raise Failure(f"'{argument}' must be one of {', '.join(choices)}, got {shown(value)}") from None


def check_type(argument: str, value: object, kind: type, example: str) -> None:
    """Checks that it is one of those.

    Raises:
        ValueError: It is something else; the text says how to make one.
    """
    if not isinstance(value, kind):
        raise Failure(
            f"'{argument}' must be of type {kind.__name__}, got {shown(value)}; use one such as {example}"
        )


def check_function(function: object) -> None:
    """Checks that it is a function, a version or an alias.

    Raises:
        ValueError: It is something else.
    """
    if not hasattr(function, "function_arn"):
        raise Failure(f"'function' must be a Lambda function, got {shown(function)}")


def check_number(argument: str, value: float, least: float, most: float, *, whole: bool = True) -> None:
    """Raises unless the number is within the bounds, or a token."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Failure(f"'{argument}' must be a {'whole ' if whole else ''}number, got {shown(value)}")
    if Token.is_unresolved(value):
        return
    if whole and not isinstance(value, int):
        raise Failure(f"'{argument}' must be a whole number, got {shown(value)}")
    if not least <= value <= most:
        raise Failure(f"'{argument}' must be {least:,} to {most:,}, got {value:,}")


def shown(value: object) -> str:
    """The value as an error quotes it: a construct by its path, for where it is in memory tells nobody anything."""
    if isinstance(value, str):
        return f"'{value}'"
    name = type(value).__name__
    if hasattr(value, "node"):
        return f"{name} '{value.node.path}'"
    text = value.to_human_string() if isinstance(value, Duration) else str(value)
    return name if " at 0x" in text else f"{name} {text}"
