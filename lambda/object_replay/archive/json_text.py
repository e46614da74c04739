"""JSON as text: checked and cut, but not written anew, so that digits, escapes and repeated names stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

_WHITESPACE = " \t\n\r"
_SEPARATOR = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_scan: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # type: ignore[attr-defined]  # not in typeshed


def parse(text: str) -> Any:
    """The value of a JSON text. Unlike `json.loads` it refuses NaN and Infinity, as Lambda and Athena do.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    return _DECODER.decode(text)


def are_objects(texts: Sequence[bytes]) -> bool:
    """Whether each text is a JSON object on one line; False where that takes a closer look.

    This is `check_object` for most messages, in two thirds of its time: they are decoded together.
    """
    together = b"\n".join(texts)
    if together.count(b"\n") != len(texts) - 1:
        return False
    scan = _scan
    try:
        for text in together.decode().split("\n"):
            value, end = scan(text, 0)
            if type(value) is not dict or end != len(text):
                return False
    except (ValueError, StopIteration, RecursionError):
        return False
    return True


def check_object(text: str) -> None:
    """Checks that a text is a JSON object.

    Raises:
        ValueError: It is something else.
        RecursionError: It is nested too deeply.
    """
    try:
        # The scanner itself, without what `parse` does around it, takes two thirds of the time.
        value, end = _scan(text, 0)
    except StopIteration:
        value, end = parse(text), len(text)
    if type(value) is not dict:
        raise ValueError(f"it is a {type(value).__name__}")
    if end != len(text):
        parse(text)


def elements(text: str) -> list[str] | None:
    """The elements of a JSON list, each as its own text without line breaks; None if the text is no list.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    text = text.strip(_WHITESPACE)
    if not text.startswith("["):
        parse(text)
        return None
    cut: list[str] = []
    if not text[1:-1].strip(_WHITESPACE):
        parse(text)
        return cut
    start = 1
    while text[start] in _WHITESPACE:
        start += 1
    scan, add = _scan, cut.append
    try:
        while True:
            end = scan(text, start)[1]
            add(text[start:end])
            if text[end] == ",":  # and most often no more than a blank
                start = end + 2 if text[end + 1] == " " else end + 1
                if text[start] not in _WHITESPACE:
                    continue
            separator = _SEPARATOR.match(text, end)
            if not separator or (separator[1] == "]") != (separator.end() == len(text)):
                raise ValueError(f"an element of the list does not end at character {end}")
            if separator[1] == "]":
                break
            start = separator.end()
    except (StopIteration, IndexError):
        raise ValueError("the list does not end") from None
    if "\n" in text or "\r" in text:
        # Between the tokens only: in a string they are escaped.
        cut = [each.replace("\n", " ").replace("\r", " ") for each in cut]
    return cut
