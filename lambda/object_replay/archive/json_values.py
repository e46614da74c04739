"""JSON values that follow each other: a line each, over several lines, or without a separator.

This looks for boundaries only. What a strict parser refuses (NaN, Latin-1, a trailing comma) is handed over as it is.
In JSON no opening brace follows a closing one, and no string contains a line break. So an opening brace after a closing
one, or at the start of a line, begins a message, even when the message before it is damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from object_replay.archive.json_shapes import Shapes
from object_replay.faults import ObjectFailure

_BOM = b"\xef\xbb\xbf"
_JOINT = re.compile(rb"\}[ \t\r]*\{")
"""Where one value ends and the next begins on the same line."""
_BOUNDARY = re.compile(rb"\}\s*\{")
_ODD = re.compile(rb"\}\s*+[^\s,}\]{]")
"""A closing brace before something that follows none outside a string: the bytes are damaged there."""
_SEPARATORS = re.compile(rb"\s*(?:,[\s,]*(?=[{\[\xef]|\Z))?")
_SPACE = re.compile(rb"\s*")
_TOKEN = re.compile(rb'[{}\[\]]|"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_AFTER_VALUE = re.compile(rb"\n(?=\{\s*[\"}])|\}\s*(?=\{\s*[\"}])")
"""Where a message may begin after one that is damaged."""
_AFTER_TEXT = re.compile(rb"\n(?![ \t}\]])|[\n}]\s*(?=\{\s*[\"}])")
"""Where text ends that is no JSON object or list: with its line, unless the next line continues it."""
_INSIDE = re.compile(rb"[,:\]}]")
"""What follows a value only inside another one."""

_INCOMPLETE = -1
_BROKEN = -2
_SAMPLE = 100
"""Messages from which this learns what the messages of an object look like."""
_SAMPLE_BYTES = 10_000
"""Bytes of a message in the sample, at most."""
_MOST_BRACES = 1_000
"""Places in a damaged region that are tried as the beginning of a message."""
_UNCOUNTABLE = "is damaged, and the number of messages lost is unknown"


@dataclass(frozen=True)
class Damaged:
    """Bytes of one message that cannot be handed over."""

    data: bytes
    reason: str


@dataclass
class _Line:
    """The values found since a line began, or since the last damage."""

    begins: bool
    """Whether the first of them begins the line."""
    values: list[int] = field(default_factory=list)
    """Where each of them begins."""

    @property
    def is_at_its_beginning(self) -> bool:
        return self.begins and not self.values

    def parts(self, buffer: bytes) -> int:
        """How many of the last values only commas separate: they may be parts of one message."""
        parts = 0
        for place in reversed(self.values):
            parts += 1
            if not _is_after(buffer, place, b","):
                break
        return parts


class JsonValues:
    """Finds the values in a stream of bytes.

    A damaged value costs itself: the next message begins at the next brace that opens a whole value. A damaged value on
    a line of its own is handed over, because the line shows where it ends. Without separators it is `Damaged`. The
    object fails where the number of damaged messages is unknown.

    Args:
        longest: Bytes of a message, at most.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._begins_line = True
        """Whether the rest begins a line, or the object."""
        self._has_lines = False
        """Whether a line has ended between two values."""
        self._skips = False
        """Whether the rest belongs to a message that is too long."""
        self._sample: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[bytes | Damaged]:
        """The values that end in this chunk or are damaged there, in their order.

        Raises:
            ObjectFailure: The number of messages lost is unknown.
        """
        buffer = self._rest + chunk
        found = self._quickly(buffer)
        if found is None:
            return self._closely(buffer, is_last=False)
        self._learn(found)
        return found

    def finish(self) -> Sequence[bytes | Damaged]:
        """The values that are left after the last chunk.

        Raises:
            ObjectFailure: The number of messages lost is unknown.
        """
        return self._closely(self._rest, is_last=True)

    def _learn(self, values: Iterable[bytes | Damaged]) -> None:
        for value in values:
            if len(self._sample) >= _SAMPLE:
                break
            if isinstance(value, bytes) and len(value) <= _SAMPLE_BYTES:
                self._sample.append(value)

    def _quickly(self, buffer: bytes) -> list[bytes] | None:
        """The values if each begins and ends with a brace; None if they need a closer look.

        The last one may continue in the next chunk and becomes the rest.
        """
        if self._skips or not buffer.startswith(b"{"):
            return None
        begins_line, has_lines = self._begins_line, self._has_lines
        if _JOINT.search(buffer):
            first, *others = _BOUNDARY.split(buffer)
            rest = b"{" + others.pop()
            values = [first + b"}", *[b"{%b}" % other for other in others]]
            # A string may hold what looks like a boundary. Then a quote before it stays open.
            if _ODD.search(buffer) or not all(map(_is_balanced, values)):
                return None
            begins_line = buffer[: -len(rest)].endswith(b"\n")
            has_lines = has_lines or begins_line
        else:
            first, *others = buffer.split(b"\n{")
            values = [first, *[b"{" + other for other in others]]
            rest = values.pop()
            if others:
                begins_line = has_lines = True
            if not all(value[-1:] == b"}" for value in values):
                values = [value.rstrip() for value in values]
                if not all(value[-1:] == b"}" for value in values):
                    return None
        if b"\n" in b"".join(values) or max(map(len, (*values, rest))) > self._longest:
            return None
        self._rest, self._begins_line, self._has_lines = rest, begins_line, has_lines
        return values

    def _closely(self, buffer: bytes, *, is_last: bool) -> list[bytes | Damaged]:
        """The values and the damage between them, found brace by brace."""
        found: list[bytes | Damaged] = []
        line = _Line(self._begins_line)
        start = 0
        while True:
            begins_line = line.is_at_its_beginning
            if not self._skips:
                separators = _end(_SEPARATORS, buffer, start)
                if b"\n" in buffer[start:separators]:
                    begins_line = self._has_lines = True
                    if not _INSIDE.match(buffer, separators):
                        line = _Line(True)
                start = separators
            if start == len(buffer):
                break
            end = _BROKEN if self._skips else _end_of_value(buffer, start)
            may_wait = not is_last and len(buffer) - start <= self._longest
            if may_wait and (
                end == _INCOMPLETE or (end > 0 and _end(_SEPARATORS, buffer, end) == len(buffer))
            ):
                break  # what follows tells whether it is a value of its own
            if end > 0:
                found.append(self._checked(buffer[start:end]))
                line.values.append(start)
                start = end
                continue
            end, is_known = self._end_of_damage(buffer, start, is_last=is_last)
            if not is_known:
                parts = 0 if self._skips else line.parts(buffer)
                continues = _INSIDE.match(buffer, start) or (line.begins and parts == len(line.values))
                if parts and continues and len(buffer) - line.values[-parts] <= self._longest:
                    # They are looked at again, with what follows.
                    start = line.values[-parts]
                    del found[-parts:], line.values[-parts:]
                    begins_line = line.is_at_its_beginning
                    break
                buffer, start = self._wait(buffer, start, end, found)
                break
            if not self._skips:
                self._add_damage(buffer, start, end, found, line, begins_line=begins_line, is_last=is_last)
            self._skips = False
            start, line = end, _Line(False)
        self._rest, self._begins_line = buffer[start:], begins_line
        self._learn(found)
        return found

    def _end_of_damage(self, buffer: bytes, start: int, *, is_last: bool) -> tuple[int, bool]:
        """Where damaged bytes end, and whether that is known.

        They end where the next message begins, or with the line if they are text. While that is unknown, a message may
        begin at or after the place that this returns.
        """
        is_text = not self._skips and not _begins_value(buffer, start)
        for boundary in (_AFTER_TEXT if is_text else _AFTER_VALUE).finditer(buffer, start):
            end = boundary.end()
            if end == len(buffer) and not is_last:
                return boundary.start(), False
            if not buffer.startswith(b"{", end):
                return end - 1, True
            value_end = _end_of_value(buffer, end)
            is_cut = value_end == _INCOMPLETE or (
                value_end > 0 and _end(_SEPARATORS, buffer, value_end) == len(buffer)
            )
            if is_cut and not is_last and len(buffer) - end <= self._longest:
                return boundary.start(), False
            if value_end > 0 and not _INSIDE.match(buffer, _end(_SEPARATORS, buffer, value_end)):
                # The line break stays, and tells that the line ends.
                return boundary.start() + (buffer[boundary.start()] != 0x0A), True
        return len(buffer), is_last

    def _add_damage(
        self,
        buffer: bytes,
        start: int,
        end: int,
        found: list[bytes | Damaged],
        line: _Line,
        *,
        begins_line: bool,
        is_last: bool,
    ) -> None:
        """Adds damaged bytes: as a message if they are a line, else as damage."""
        after = _end(_SPACE, buffer, end)
        ends_line = b"\n" in buffer[end:after] or (is_last and after == len(buffer))
        has_lines = self._has_lines or (ends_line and after < len(buffer))
        parts = line.parts(buffer)
        shapes = self._shapes(buffer, end, found[: len(found) - parts])
        if has_lines and ends_line and not begins_line and line.begins and parts == len(line.values) > 0:
            # The line has a value, or several after commas, and then something else.
            del found[-parts:]
            start, begins_line = line.values[0], True
        elif _INSIDE.match(buffer, start):
            # Something closes here that opened before the values found: they may be parts of a message.
            while line.values and isinstance(value := found[-1], bytes):
                is_message = shapes.is_message(value)
                if is_message is None and begins_line and b"\n" not in value:
                    is_message = True
                if is_message is None:
                    raise ObjectFailure(_UNCOUNTABLE)
                if is_message:
                    break
                found.pop()
                start = line.values.pop()
        region = buffer[start:end].rstrip()
        if len(region) > self._longest:
            found.append(self._too_long(region))
        elif begins_line and ends_line and not _JOINT.search(region):
            found.append(region)
        else:
            found += _lost(region, shapes)

    def _shapes(self, buffer: bytes, end: int, found: Sequence[bytes | Damaged]) -> Shapes:
        """What messages look like: the first ones of the object, else those around the damage."""
        if len(self._sample) >= _SAMPLE:
            return Shapes(self._sample)
        before = [each for each in found[-_SAMPLE:] if isinstance(each, bytes)]
        return Shapes([*self._sample, *before, *_following(buffer, _end(_SEPARATORS, buffer, end))])

    def _wait(self, buffer: bytes, start: int, end: int, found: list[bytes | Damaged]) -> tuple[bytes, int]:
        """What to keep until the next chunk, and from where on. Damage that is too long by now is dropped."""
        if not self._skips:
            if len(buffer) - start <= self._longest:
                return buffer, start
            found.append(self._too_long(buffer[start:]))
            self._skips = True
        if end < len(buffer):
            return buffer, end
        kept = buffer.rstrip()
        return kept[-1:] + b"\n" * (b"\n" in buffer[len(kept) :]), 0

    def _checked(self, value: bytes) -> bytes | Damaged:
        return value if len(value) <= self._longest else self._too_long(value)

    def _too_long(self, region: bytes) -> Damaged:
        return Damaged(region, f"is longer than {self._longest:,} bytes")


def _is_after(buffer: bytes, place: int, characters: bytes) -> bool:
    """Whether one of the characters stands before that place, with at most some blanks between them."""
    return buffer[max(0, place - 100) : place].rstrip()[-1:] in {b"%c" % each for each in characters}


def _lost(region: bytes, shapes: Shapes) -> Iterator[bytes | Damaged]:
    """The messages in a damaged region without separators: all are damaged, except one at its end that is whole.

    Raises:
        ObjectFailure: Their number is unknown.
    """
    # Where a message is cut off, the one after it seems to be a part of it.
    whole = _whole_at_the_end(region)
    is_message = whole is not None and shapes.is_message(region[whole:])
    if is_message is None:
        raise ObjectFailure(_UNCOUNTABLE)
    end = whole if whole is not None and is_message else len(region)
    places = [0]
    for place, is_certain in shapes.openings(region[:end]):
        if place and (is_certain or not _is_after(region, place, b":,[")):
            places.append(place)
    for first, after in pairwise([*places, end]):
        yield Damaged(region[first:after], "is damaged: it does not end before the next message begins")
    if end < len(region):
        yield region[end:]


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
    """Where the object or list ends that begins there; `_INCOMPLETE` if it may end later, `_BROKEN` if it cannot."""
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
    """The first whole values from there on."""
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
    """Where the match of a pattern ends that may be empty."""
    match = pattern.match(buffer, start)
    return match.end() if match else start
