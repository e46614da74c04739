"""The S3 prefix of a Firehose stream: its expressions, checked as Firehose checks them and evaluated for a time.

Source: Firehose's developer guide, "Understand custom prefixes for Amazon S3 objects"; Java's `DateTimeFormatter`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

START = "!{"
"""What an expression begins with."""
DEFAULT = "!{timestamp:yyyy/MM/dd/HH/}"
"""What Firehose appends to a prefix without a `timestamp` expression."""
ERROR_OUTPUT_TYPE = "!{firehose:error-output-type}"


class Unit(IntEnum):
    """What a part of a timestamp distinguishes."""

    YEAR = 0
    MONTH = 1
    DAY = 2
    HOUR = 3


_LONGEST = 512
"""Characters of an evaluated prefix."""
_LITERAL_FIELD_OR_TEXT = re.compile(r"'((?:[^']|'')*)'|(([A-Za-z])\3*)|([^'A-Za-z{}#]+)")
_MOST_LETTERS = dict.fromkeys("aF", 1) | dict.fromkeys("dHhkKmswV", 2) | {"D": 3, "z": 4, "O": 4, "S": 9}
_MOST_LETTERS |= dict.fromkeys("MLEecQqGXxZ", 5) | dict.fromkeys("yuYAnNp", 19) | {"W": 1}
"""Letters of a `DateTimeFormatter` pattern, and how often each may stand in a row."""


@dataclass(frozen=True)
class Field:
    """A part of a timestamp that a time determines.

    Args:
        unit: Two times in the same one have the same text here.
        within: The unit in which no two of those have the same text; None for years.
        format: The text, for `str.format` with the time as `t`.
        fixed: Whether every text has the same length.
    """

    unit: Unit
    within: Unit | None
    format: str
    fixed: bool = True


_FIELDS = {
    **dict.fromkeys(("y", "yyy", "yyyy", "u", "uuu", "uuuu"), Field(Unit.YEAR, None, "{t.year:04}")),
    **dict.fromkeys(("yy", "uu"), Field(Unit.YEAR, None, "{t:%y}")),
    **dict.fromkeys(("MM", "LL"), Field(Unit.MONTH, Unit.YEAR, "{t.month:02}")),
    **dict.fromkeys(("M", "L"), Field(Unit.MONTH, Unit.YEAR, "{t.month}", fixed=False)),
    "dd": Field(Unit.DAY, Unit.MONTH, "{t.day:02}"),
    "d": Field(Unit.DAY, Unit.MONTH, "{t.day}", fixed=False),
    "DDD": Field(Unit.DAY, Unit.YEAR, "{t:%j}"),
    "HH": Field(Unit.HOUR, Unit.DAY, "{t.hour:02}"),
    "H": Field(Unit.HOUR, Unit.DAY, "{t.hour}", fixed=False),
}
# Not among them is 'Y', the year of a week: it depends on a locale, and in the last days of December it is the next.


def split(prefix: str) -> tuple[str, str]:
    """The literal text before the first expression, and the rest."""
    root, start, rest = prefix.partition(START)
    return root, start + rest


def check(prefix: str, *, error_output: bool = False) -> None:
    """Checks a stream's prefix as Firehose does.

    Args:
        prefix: With its expressions.
        error_output: Whether it may be an `ErrorOutputPrefix`.

    Raises:
        ValueError: Firehose would refuse it; the text continues the name of the argument.
    """
    if ERROR_OUTPUT_TYPE in prefix and not error_output:
        raise ValueError(
            f"must be without '{ERROR_OUTPUT_TYPE}', got '{prefix}'; Firehose takes it in an error output prefix "
            "only, which error_output=ErrorOutput.REPLAY replays"
        )
    example = datetime(2026, 1, 1)  # noqa: DTZ001  # any time: lengths are counted
    length = sum(
        len(part.format.format(t=example) if isinstance(part, Field) else part or "")
        for part in _parts(_complete(prefix))
    )
    if length > _LONGEST:
        raise ValueError(f"must have at most {_LONGEST} characters when it is evaluated, got {length}")


def formats(path: str) -> dict[Unit, str]:
    """What keys begin with in each unit of time, as far as the time alone decides it.

    Only units in the order of the path count: the first text that a time in that order does not determine (a random
    string, a partition key, a day before its month) ends what can be listed by time.

    Args:
        path: What follows the archive's root; empty for Firehose's default.

    Returns:
        For each unit that the path distinguishes a text for `str.format` with the time as `t`.

    Raises:
        ValueError: The path is no valid prefix.
    """
    found: dict[Unit, str] = {}
    text, deepest = "", None
    parts = list(_parts(_complete(path)))
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(part, str):
            text += part.replace("{", "{{").replace("}", "}}")
            continue
        if part is None or (part.within is not None and (deepest is None or part.within > deepest)):
            break
        # '1' is also how '11' begins: only what follows tells them apart.
        if not part.fixed and (not isinstance(following, str) or following[0].isdigit()):
            break
        if deepest is None or part.unit > deepest:
            if deepest is not None:
                found[deepest] = text
            deepest = part.unit
        text += part.format
    if deepest is not None:
        found[deepest] = text
    return found


def _complete(prefix: str) -> str:
    return prefix if "!{timestamp:" in prefix else prefix + DEFAULT


def _parts(prefix: str) -> Iterator[str | Field | None]:
    """Literal texts, fields of the time, and None for each text that nothing here determines."""
    rest = prefix
    while rest:
        literal, start, rest = rest.partition(START)
        if literal:
            yield literal
        if start:
            expression, end, rest = rest.partition("}")
            if not end or START in expression:
                raise ValueError(f"must close each '!{{' with '}}', got '!{{{expression}'")
            yield from _evaluated(expression)


def _evaluated(expression: str) -> Iterator[str | Field | None]:
    namespace, _, value = expression.partition(":")
    match namespace:
        case "timestamp" if value:
            yield from _timestamp(value)
        case "partitionKeyFromQuery" | "partitionKeyFromLambda" if value:
            yield None
        case "firehose" if value in {"random-string", "error-output-type"}:
            yield None
        case _:
            raise ValueError(
                "must have no other expressions than '!{timestamp:...}', '!{firehose:random-string}', "
                f"'!{{partitionKeyFromQuery:...}}' and '!{{partitionKeyFromLambda:...}}', got '!{{{expression}}}'"
            )


def _timestamp(pattern: str) -> Iterator[str | Field | None]:
    position = 0
    while position < len(pattern):
        match = _LITERAL_FIELD_OR_TEXT.match(pattern, position)
        if not match:
            raise ValueError(f"must close each single quote, and have no '{{' and '#', in '{pattern}'")
        position = match.end()
        quoted, letters, letter, text = match.groups()
        if letters is None:
            # Brackets make what is in them optional; two quotes are one.
            yield None if text and re.search(r"[][]", text) else text or quoted.replace("''", "'") or "'"
        elif len(letters) > _MOST_LETTERS.get(letter, 0):
            raise ValueError(
                f"must have a pattern of Java's DateTimeFormatter in '!{{timestamp:{pattern}}}', got '{letters}' in "
                "it; put literal text in single quotes, as in 'year='yyyy"
            )
        else:
            yield _FIELDS.get(letters)
