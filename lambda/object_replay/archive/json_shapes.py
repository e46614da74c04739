"""Tells a message from an object that is nested in one, by the names that a sample of messages has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

_FIRST_NAME = re.compile(rb'\{\s*"((?:[^"\\]++|\\.)*+)"\s*:', re.DOTALL)
_ENOUGH = 10
"""Messages that must begin alike before what begins differently is taken for a part of a message."""

_Names = tuple[str, ...]


class Shapes:
    """The names in a sample of messages, and in the objects nested in them.

    Args:
        sample: Messages that are whole.
    """

    def __init__(self, sample: Sequence[bytes]) -> None:
        self._messages: set[_Names] = set()
        self._nested: set[_Names] = set()
        for message in sample:
            *nested, outermost = _names(message) or [()]
            self._messages.add(outermost)
            self._nested |= set(nested)
        self._first_names = {names[:1] for names in self._messages}
        self._nested_first_names = {names[:1] for names in self._nested}
        self._are_alike = len(sample) >= _ENOUGH and len(self._first_names) == 1

    def is_message(self, value: bytes) -> bool | None:
        """Whether a whole value is a message; False if it is a part of one, None if both are possible."""
        names = _names(value)
        if not names:
            return None
        first = names[-1][:1]
        if (first in self._first_names) != (first in self._nested_first_names):
            return first in self._first_names
        if first in self._first_names:
            if (names[-1] in self._messages) != (names[-1] in self._nested):
                return names[-1] in self._messages
            return None
        return False if self._are_alike else None

    def openings(self, region: bytes) -> Iterator[tuple[int, bool]]:
        """Where a message may begin in damaged bytes, and whether no nested object begins like that."""
        for opening in _FIRST_NAME.finditer(region):
            first = (opening[1].decode("latin-1"),)
            if first in self._first_names:
                yield opening.start(), first not in self._nested_first_names


def _names(value: bytes) -> list[_Names]:
    """The names in each object in a value, the outermost one last; none if they cannot be read."""
    found: list[_Names] = []
    try:
        # Latin-1 has a character for every byte.
        json.loads(
            value.decode("latin-1").removeprefix("\xef\xbb\xbf"),
            strict=False,
            parse_int=str,
            object_pairs_hook=lambda pairs: found.append(tuple(name for name, _ in pairs)),
        )
    except (ValueError, RecursionError):
        return []
    # A list has no names of its own.
    return found if value.endswith(b"}") else [*found, ("[",)]
