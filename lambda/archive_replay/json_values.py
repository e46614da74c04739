"""JSON values one after the other: a line each, over several lines, or without a separator.

Only boundaries are looked for, so that what a strict reader refuses (NaN, Latin-1, a trailing comma) is handed over as
it is. In JSON a closing brace is never followed by an opening one, and no line break stands in a string. So a brace
that opens after another one has closed, or at the start of a line, begins the next message: also after a damaged one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from archive_replay.faults import ObjectFailure

_BOM = b"\xef\xbb\xbf"
_JOINT = re.compile(rb"\}[ \t\r]*\{")
"""Where one value ends and the next begins on the same line."""
_BOUNDARY = re.compile(rb"\}\s*\{")
_ODD = re.compile(rb"\}\s*+[^\s,}\]{]")
"""What follows no closing brace outside of a string: something is damaged there."""
_SEPARATORS = re.compile(rb"[\s,]*")
_SPACE = re.compile(rb"\s*")
_TOKEN = re.compile(rb'[{}\[\]]|"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_AFTER_VALUE = re.compile(rb"\n(?=\{)|\}\s*(?=\{)")
"""Where the next value may begin after one that is damaged."""
_AFTER_TEXT = re.compile(rb"\n|\}[ \t\r]*(?=\{)")
"""Where text ends that is no value: with its line."""
_OPENING = re.compile(rb'\{\s*"(?:[^"\\]++|\\.)*+"\s*:', re.DOTALL)

_INCOMPLETE = -1
_BROKEN = -2
_SAMPLE = 100
"""Messages that are looked at to learn how the messages of an object begin."""
_MOST_BRACES = 1_000
"""Places in a damaged region that are tried as the beginning of a message."""


@dataclass(frozen=True)
class Damaged:
    """Bytes of one message that cannot be handed over."""

    data: bytes
    reason: str


@dataclass(frozen=True)
class _Place:
    start: int
    begins_line: bool


class JsonValues:
    """Finds the values in a stream of bytes.

    A damaged value costs itself: the next message begins at the next brace that opens a whole value. On a line of its
    own a damaged value is handed over, for the line tells where it ends. Without separators it is `Damaged`, and where
    it cannot be told how many messages are, the object fails.

    Args:
        longest: Bytes that a message may have.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._begins_line = True
        """Whether the rest begins a line, or the object."""
        self._skips = False
        """Whether the rest belongs to a message that is too long."""
        self._recent: Sequence[bytes] = ()

    def feed(self, chunk: bytes) -> Sequence[bytes | Damaged]:
        """The values that end in this chunk or are damaged there, in their order.

        Raises:
            ObjectFailure: How many messages are lost cannot be told.
        """
        buffer = self._rest + chunk
        values = self._quickly(buffer)
        if values is None:
            return self._closely(buffer, is_last=False)
        self._recent = values or self._recent
        return values

    def finish(self) -> Sequence[bytes | Damaged]:
        """What is left when there are no more chunks.

        Raises:
            ObjectFailure: How many messages are lost cannot be told.
        """
        return self._closely(self._rest, is_last=True)

    def _quickly(self, buffer: bytes) -> list[bytes] | None:
        """The values, if each of them begins and ends with a brace; None where that takes a closer look.

        The last one may go on in the next chunk and becomes the rest.
        """
        if self._skips or not buffer.startswith(b"{"):
            return None
        begins_line = self._begins_line
        if _JOINT.search(buffer):
            first, *others = _BOUNDARY.split(buffer)
            rest = b"{" + others.pop()
            values = [first + b"}", *[b"{%b}" % other for other in others]]
            # A string may hold what looks like a boundary. Then a quote is left open before it.
            if _ODD.search(buffer) or not all(map(_is_balanced, values)):
                return None
            begins_line = buffer[: -len(rest)].endswith(b"\n")
        else:
            first, *others = buffer.split(b"\n{")
            values = [first, *[b"{" + other for other in others]]
            rest = values.pop()
            if others:
                begins_line = True
            if not all(value.endswith(b"}") for value in values):
                values = [value.rstrip() for value in values]
                if not all(value.endswith(b"}") for value in values):
                    return None
        if any(b"\n" in value for value in values) or max(map(len, (*values, rest))) > self._longest:
            return None
        self._rest, self._begins_line = rest, begins_line
        return values

    def _closely(self, buffer: bytes, *, is_last: bool) -> list[bytes | Damaged]:
        """The values, and what is damaged between them, found brace by brace."""
        found: list[bytes | Damaged] = []
        start = 0
        before: _Place | None = None
        while True:
            if not self._skips:
                separators = _end(_SEPARATORS, buffer, start)
                if b"\n" in buffer[start:separators]:
                    self._begins_line, before = True, None
                start = separators
            if start == len(buffer):
                break
            end = _BROKEN if self._skips else _end_of_value(buffer, start)
            if end == _INCOMPLETE and not is_last and len(buffer) - start <= self._longest:
                break
            if end < 0:
                end = self._resynchronised(buffer, start, found, before, is_last=is_last)
                before = None
            elif end - start > self._longest:
                found.append(self._too_long(buffer[start:end]))
            else:
                found.append(buffer[start:end])
                before = _Place(start, self._begins_line)
            if end < 0:
                break
            start, self._begins_line = end, False
        self._rest = buffer[start:]
        self._recent = [each for each in found[-_SAMPLE:] if isinstance(each, bytes)] or self._recent
        return found

    def _resynchronised(
        self,
        buffer: bytes,
        start: int,
        found: list[bytes | Damaged],
        before: _Place | None,
        *,
        is_last: bool,
    ) -> int:
        """Where the next message may begin after something that is no whole value; that is added to what is found.

        Args:
            buffer: The bytes.
            start: Where in them it begins.
            found: What was found so far.
            before: Where the value stands that it follows on the same line, the last one found.
            is_last: Whether there are no more chunks.

        Returns:
            `_INCOMPLETE` if the next chunk is needed to tell.
        """
        is_text = not self._skips and not _begins_value(buffer, start)
        for boundary in (_AFTER_TEXT if is_text else _AFTER_VALUE).finditer(buffer, start):
            end = boundary.end()
            is_line = buffer[end - 1 : end] == b"\n"
            if not (is_text and is_line):
                following = _end_of_value(buffer, end)
                if following == _INCOMPLETE and not is_last and len(buffer) - end <= self._longest:
                    # It is not known yet whether a message begins here.
                    return self._wait(buffer, start, found)
                if following < 0:
                    continue
            self._add(buffer, start, end, found, before, is_line=is_line)
            return end - is_line
        if not is_last:
            return self._wait(buffer, start, found)
        is_line = self._begins_line or bool(before and before.begins_line)
        self._add(buffer, start, len(buffer), found, before, is_line=is_line)
        return len(buffer)

    def _add(
        self,
        buffer: bytes,
        start: int,
        end: int,
        found: list[bytes | Damaged],
        before: _Place | None,
        *,
        is_line: bool,
    ) -> None:
        """Adds what is no whole value: a message where a line ends with it, else damage."""
        if self._skips:
            self._skips = False  # it was told of when it began
            return
        if before and (before.begins_line if is_line else buffer[start] in b"]}"):
            # The value before it on its line, or what was opened before that value and closes here, is a part of it.
            found.pop()
            start = before.start
        region = buffer[start:end].rstrip()
        if len(region) > self._longest:
            found.append(self._too_long(region))
        elif is_line and not _JOINT.search(region):
            found.append(region)
        else:
            found += self._lost(region, [*found, *_following(buffer, end)])

    def _wait(self, buffer: bytes, start: int, found: list[bytes | Damaged]) -> int:
        """Waits for the next chunk; what has become too long by now is given up."""
        if self._skips or len(buffer) - start <= self._longest:
            return _INCOMPLETE
        found.append(self._too_long(buffer[start:]))
        self._skips = True
        return _INCOMPLETE

    def _too_long(self, region: bytes) -> Damaged:
        return Damaged(region, f"is longer than {self._longest:,} bytes")

    def _lost(self, region: bytes, others: Sequence[bytes | Damaged]) -> Iterator[bytes | Damaged]:
        """The messages in a damaged region without separators: each is damaged, but one that was swallowed whole.

        Raises:
            ObjectFailure: How many they are cannot be told.
        """
        sample = [each for each in others if isinstance(each, bytes)]
        sample = [*self._recent[-_SAMPLE:], *sample[-_SAMPLE:]]
        openings = {opening[0] for each in sample if (opening := _OPENING.match(each))}
        is_nested = any(opening in each[1:] for opening in openings for each in sample)
        cuts = {place.start() for each in openings for place in re.finditer(re.escape(each), region)} - {0}
        # A message is cut off, and the one after it was taken for a part of it: that one is whole.
        whole = _whole_at_the_end(region)
        if whole is not None:
            is_known = any(region.startswith(each, whole) for each in openings)
            if is_nested or not (is_known or len(openings) == 1):
                raise ObjectFailure("is damaged, and how many of its messages are lost cannot be told")
            whole = whole if is_known else None
        elif is_nested and cuts:
            if region.count(b"{") != region.count(b"}"):
                raise ObjectFailure("is damaged, and how many of its messages are lost cannot be told")
            cuts = set()
        end = len(region) if whole is None else whole
        places = [0, *sorted(cut for cut in cuts if cut < end), end]
        for first, after in pairwise(places):
            yield Damaged(region[first:after], "is damaged: it does not end before the next message begins")
        if whole is not None:
            yield region[whole:]


def _is_balanced(value: bytes) -> bool:
    """Whether every string in it ends, and as many braces close as open."""
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    return not value.count(b'"') % 2 and value.count(b"{") == value.count(b"}")


def _begins_value(buffer: bytes, start: int) -> bool:
    if buffer.startswith(_BOM, start):
        start += len(_BOM)
    return buffer.startswith((b"{", b"["), start)


def _end_of_value(buffer: bytes, start: int) -> int:
    """Where the object or list ends that begins there; `_INCOMPLETE`, or `_BROKEN` if it never will."""
    if not _begins_value(buffer, start):
        return _BROKEN
    closing = bytearray()
    for token in _TOKEN.finditer(buffer, start):
        end = token.end()
        match buffer[token.start()]:
            case 0x22:  # a string: what follows tells whether it is one, or what stands between two
                after = _end(_SPACE, buffer, end)
                if not token[1] or after == len(buffer):
                    return _INCOMPLETE
                if buffer[after] not in b",:}]":
                    return _BROKEN
            case 0x7B | 0x5B as opening:
                closing.append(opening + 2)  # in ASCII
            case bracket:
                if bracket != closing.pop():
                    return _BROKEN
                if not closing:
                    return end
                if buffer.startswith((b"{", b"["), _end(_SPACE, buffer, end)):
                    return _BROKEN
    return _INCOMPLETE


def _following(buffer: bytes, start: int) -> Iterator[bytes]:
    """Some of the whole values that follow each other there."""
    for _ in range(_SAMPLE):
        end = _end_of_value(buffer, start)
        if end < 0:
            return
        yield buffer[start:end]
        start = _end(_SEPARATORS, buffer, end)


def _whole_at_the_end(region: bytes) -> int | None:
    """Where the first value begins that is whole and ends with the region; None if the region has none."""
    braces = [brace.start() for brace in re.finditer(rb"\{", region)][-_MOST_BRACES:]
    return next((brace for brace in braces if brace and _end_of_value(region, brace) == len(region)), None)


def _end(pattern: re.Pattern[bytes], buffer: bytes, start: int) -> int:
    """Where the match ends of a pattern that matches nothing, too."""
    match = pattern.match(buffer, start)
    return match.end() if match else start
