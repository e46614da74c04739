"""Where one message of an archive's object ends and the next begins. Only boundaries are looked for.

Firehose hands bytes over and parses nothing, so this does neither: what is between two boundaries is a message,
whatever the function makes of it. Memory stays flat: nothing here holds more than a chunk and the longest message.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from archive_replay import settings
from archive_replay.compression import GZIP, UNZIPPED, peeked, unpacked
from archive_replay.faults import ObjectFailure
from archive_replay.json_values import Damaged, JsonValues

MAX_MESSAGE = 4 << 20
"""Bytes in one message: Lambda takes 6 MiB in all, and base64 makes four bytes of three."""

_GZIP_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]....[\x00\x02\x04][\x00-\x0d\xff]", re.DOTALL)
_BETWEEN_MEMBERS = b"\0\r\n\t "
_HEADER_LENGTH = 10
_ERROR_OUTPUT = {"attemptsMade", "arrivalTimestamp", "errorCode", "rawData"}
"""What an entry of Firehose's error output has, and no message (Firehose's developer guide, "Data delivery")."""


@dataclass(frozen=True)
class Framed:
    """Messages that follow each other."""

    messages: list[bytes]
    arrived: list[int] | None = None
    """When each of them arrived, in epoch milliseconds, where the archive tells."""


def framed(framing: settings.Framing, chunks: Iterable[bytes], key: str) -> Iterator[Framed | Damaged]:
    """The messages of an object, in their order.

    Args:
        framing: How the object is divided.
        chunks: The object's bytes, as stored.
        key: The object's key.

    Raises:
        ObjectFailure: The object cannot be read, or how many of its messages are damaged cannot be told.
    """
    match framing:
        case settings.Framing.JSON:
            return _json(unpacked(chunks, key))
        case settings.Framing.LINES:
            return _lines(unpacked(chunks, key))
        case settings.Framing.GZIP_MEMBERS:
            return _gzip_members(chunks)
        case settings.Framing.OBJECT:
            return _whole(chunks)


def is_error_output(content: bytes) -> bool:
    """Whether an object is Firehose's error output: what it could not deliver, with the reasons.

    Args:
        content: The first bytes of the object, unpacked.
    """
    if not content.lstrip().startswith(b"{") or b'"rawData"' not in content:
        return False
    values = JsonValues(MAX_MESSAGE)
    messages = [*values.feed(content), *values.finish()]
    try:
        first = json.loads(messages[0])  # type: ignore[arg-type]  # damage is no JSON
    except (ValueError, TypeError, IndexError):
        # An entry may be longer than what was read of it.
        return all(f'"{name}"'.encode() in content for name in _ERROR_OUTPUT)
    return isinstance(first, dict) and first.keys() >= _ERROR_OUTPUT


def error_output(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    """The raw data of Firehose's error output as messages, each with the time at which it arrived.

    Args:
        chunks: The object's bytes, unpacked.
    """
    for each in _json(chunks):
        if isinstance(each, Damaged):
            yield each
            continue
        for text in each.messages:
            try:
                entry = json.loads(text)
                message = base64.b64decode(entry["rawData"], validate=True)
                yield Framed([message], [int(entry["arrivalTimestamp"])])
            except (ValueError, TypeError, KeyError, binascii.Error) as error:
                yield Damaged(text, f"is not an entry of Firehose's error output: {error!r}")


def _json(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    values = JsonValues(MAX_MESSAGE)
    for chunk in chunks:
        yield from _grouped(values.feed(chunk))
    yield from _grouped(values.finish())


def _grouped(found: Sequence[bytes | Damaged]) -> Iterator[Framed | Damaged]:
    """Messages together, and what is damaged between them."""
    messages: list[bytes] = []
    for each in found:
        if isinstance(each, bytes):
            messages.append(each)
            continue
        if messages:
            yield Framed(messages)
            messages = []
        yield each
    if messages:
        yield Framed(messages)


def _lines(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    rest, skips = b"", False
    for chunk in chain(chunks, (None,)):
        buffer = rest + (chunk or b"")
        lines = buffer.splitlines()
        rest = b""
        if lines and chunk is not None and not buffer.endswith(b"\n"):
            # Where a chunk ends between CR and LF, both are one end of a line.
            rest = lines.pop() + (b"\r" if buffer.endswith(b"\r") else b"")
        if skips and lines:
            del lines[0]
            skips = False
        yield from _grouped([_message(line) for line in lines if line and not line.isspace()])
        if len(rest) > MAX_MESSAGE:
            if not skips:
                yield from _grouped([_message(rest)])
            rest, skips = b"", True


def _message(line: bytes) -> bytes | Damaged:
    if len(line) <= MAX_MESSAGE:
        return line
    return Damaged(line, f"is longer than {MAX_MESSAGE:,} bytes")


def _gzip_members(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    head, chunks = peeked(chunks, 1 << 16)
    if head and not head.startswith(GZIP):
        raise ObjectFailure("does not begin with a gzip member")
    if zlib.decompressobj(31).decompress(head, len(GZIP)) == GZIP:
        chunks = unpacked(chunks, "", depth=1)  # the stream's own compression around it
    members = _GzipMembers()
    for chunk in chunks:
        yield from _grouped(members.feed(chunk))
    yield from _grouped(members.finish())


class _GzipMembers:
    """Finds gzip members in a stream of bytes. A damaged one costs itself: the next one begins with a header."""

    def __init__(self) -> None:
        self._held = b""
        self._member = zlib.decompressobj(31)
        self._unzipped = 0
        """Bytes of what is held that have been unzipped."""
        self._is_lost = False
        """Whether what is held belongs to a damaged member."""

    def feed(self, chunk: bytes) -> list[bytes | Damaged]:
        self._held += chunk
        found: list[bytes | Damaged] = []
        while self._held:
            if self._is_lost:
                header = _GZIP_HEADER.search(self._held)
                self._begin(header.start() if header else max(0, len(self._held) - _HEADER_LENGTH))
                self._is_lost = not header
                if not header:
                    break
            if not self._unzipped:
                self._begin(len(self._held) - len(self._held.lstrip(_BETWEEN_MEMBERS)))
            try:
                end = self._end()
            except zlib.error as error:
                found.append(self._damaged(f"is not valid gzip: {error}"))
                continue
            if end is None and len(self._held) <= MAX_MESSAGE:
                break
            if end is None or end > MAX_MESSAGE:
                found.append(self._damaged(f"is longer than {MAX_MESSAGE:,} bytes"))
                continue
            found.append(self._held[:end])
            self._begin(end)
        return found

    def finish(self) -> list[bytes | Damaged]:
        if self._is_lost or not self._held:
            return []
        return [Damaged(self._held, "is not valid gzip: it ends early")]

    def _begin(self, place: int) -> None:
        self._held = self._held[place:]
        self._member = zlib.decompressobj(31)
        self._unzipped = 0

    def _damaged(self, reason: str) -> Damaged:
        header = _GZIP_HEADER.search(self._held, 1)
        end = header.start() if header else max(1, len(self._held) - _HEADER_LENGTH)
        damaged = Damaged(self._held[:end], reason)
        self._is_lost = not header
        self._begin(end)
        return damaged

    def _end(self) -> int | None:
        """Where the member ends; None if the next chunk is needed."""
        data = self._held[self._unzipped :]
        while not self._member.eof:
            unzipped = self._member.decompress(data, UNZIPPED)
            data = self._member.unconsumed_tail
            if not data and len(unzipped) < UNZIPPED:
                break
        self._unzipped = len(self._held)
        return len(self._held) - len(self._member.unused_data) if self._member.eof else None


def _whole(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    whole = bytearray()
    for chunk in chunks:
        whole += chunk
        if len(whole) > MAX_MESSAGE:
            raise ObjectFailure(f"is larger than {MAX_MESSAGE:,} bytes, the most that one call takes")
    if whole:
        yield Framed([bytes(whole)])
