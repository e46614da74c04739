"""Where one message of an archive's object ends and the next begins.

Firehose hands bytes over and parses nothing. So this looks for boundaries only: the bytes between two of them are a
message, valid or not. Memory stays flat: nothing here holds more than a chunk and the longest message.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from object_replay import settings
from object_replay.archive.json_values import Damaged, JsonValues
from object_replay.compression import GZIP, GZIP_BITS, UNZIPPED, peeked, unpacked
from object_replay.faults import ObjectFailure

MAX_MESSAGE = 4 << 20
"""Bytes in one message: Lambda takes 6 MiB in all, and base64 makes four bytes of three."""

_GZIP_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]....[\x00\x02\x04][\x00-\x0d\xff]", re.DOTALL)
_PADDING = re.compile(rb"[\0\r\n\t ]*")
"""What writers put between members."""
_PIECE = 4 << 10
"""Bytes that are unzipped at once: what follows a small member is copied each time."""
_HEADER_LENGTH = 10
_ERROR_OUTPUT = {"attemptsMade", "arrivalTimestamp", "errorCode", "rawData"}
"""Names in an entry of Firehose's error output (Firehose's developer guide, "Data delivery")."""


@dataclass(frozen=True)
class Framed:
    """Messages that follow each other."""

    messages: list[bytes]
    arrived: list[int] | None = None
    """When each of them arrived, in epoch milliseconds, if the archive says so."""


def framed(framing: settings.Framing, chunks: Iterable[bytes], key: str) -> Iterator[Framed | Damaged]:
    """The messages of an object, in their order.

    Args:
        framing: How the object is divided.
        chunks: The object's bytes, as stored.
        key: The object's key.

    Raises:
        ObjectFailure: The object cannot be read, or the number of its damaged messages is unknown.
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
    """Whether an object is Firehose's error output: records that Firehose could not deliver, with the reasons.

    Args:
        content: The first bytes of the object, unpacked.
    """
    if not content.lstrip().startswith(b"{") or b'"rawData"' not in content:
        return False
    try:
        first, _ = json.JSONDecoder().raw_decode(content.decode(errors="replace").lstrip())
    except (ValueError, RecursionError):
        # An entry may be longer than these bytes.
        return all(b'"%b"' % name.encode() in content for name in _ERROR_OUTPUT)
    return bool(first.keys() >= _ERROR_OUTPUT)


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
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                yield Damaged(text, f"is not an entry of Firehose's error output: {error!r}")


def _json(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    values = JsonValues(MAX_MESSAGE)
    for chunk in chunks:
        yield from _grouped(values.feed(chunk))
    yield from _grouped(values.finish())


def _grouped(found: Sequence[bytes | Damaged]) -> Iterator[Framed | Damaged]:
    """Messages that follow each other together, and the damage between them."""
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
            # The chunk may end between CR and LF, which end one line together.
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
    with suppress(zlib.error):  # a damaged member costs itself
        if zlib.decompressobj(GZIP_BITS).decompress(head, len(GZIP)) == GZIP:
            chunks = unpacked(chunks, "", depth=1)  # the stream's own compression around the members
    members = _GzipMembers()
    for chunk in chunks:
        yield from _grouped(members.feed(chunk))
    yield from _grouped(members.finish())


class _GzipMembers:
    """Finds gzip members in a stream of bytes. A damaged one costs itself: the next one begins with a header."""

    def __init__(self) -> None:
        self._held = b""
        self._is_lost = False
        """Whether these bytes belong to a damaged member."""
        self._begin(0)

    def _begin(self, start: int) -> None:
        """Looks for a member from there in the held bytes."""
        self._start = self._read = start
        self._member = zlib.decompressobj(GZIP_BITS)

    def feed(self, chunk: bytes) -> list[bytes | Damaged]:
        """The members that end in this chunk or are damaged there, in their order."""
        self._held = self._held[self._start :] + chunk
        self._read -= self._start
        self._start = 0
        return self._found(is_last=False)

    def finish(self) -> list[bytes | Damaged]:
        """The members that are left after the last chunk."""
        return self._found(is_last=True)

    def _found(self, *, is_last: bool) -> list[bytes | Damaged]:
        found: list[bytes | Damaged] = []
        while True:
            if self._is_lost:
                self._begin(self._next_header(self._start, is_last=is_last))
            if self._is_lost:
                break
            if self._read == self._start:
                self._begin(_end_of_padding(self._held, self._start))
            if self._start == len(self._held):
                break
            reason = ""
            try:
                end = self._end()
            except zlib.error as error:
                end, reason = None, f"is not valid gzip: {error}"
            if not reason and (end or len(self._held)) - self._start > MAX_MESSAGE:
                reason = f"is longer than {MAX_MESSAGE:,} bytes"
            elif not reason and end is None:
                if not is_last:
                    break
                reason = "is not valid gzip: it ends early"
            if end is None or reason:
                start = self._start
                self._begin(self._next_header(start + 1, is_last=is_last))
                found.append(Damaged(self._held[start : self._start], reason))
            else:
                found.append(self._held[self._start : end])
                self._begin(end)
        return found

    def _next_header(self, start: int, *, is_last: bool) -> int:
        """Where the next member begins; if none is known yet, where its header may begin."""
        header = _GZIP_HEADER.search(self._held, start)
        self._is_lost = not header
        if header:
            return header.start()
        return len(self._held) if is_last else max(start, len(self._held) - _HEADER_LENGTH + 1)

    def _end(self) -> int | None:
        """Where the member ends; None if the next chunk is needed."""
        while True:
            piece = self._held[self._read : self._read + _PIECE]
            unzipped = self._member.decompress(piece, UNZIPPED)
            if self._member.eof:
                return self._read + len(piece) - len(self._member.unused_data)
            self._read += len(piece) - len(self._member.unconsumed_tail)
            if not piece and len(unzipped) < UNZIPPED:
                return None


def _end_of_padding(data: bytes, start: int) -> int:
    """Where the next byte is that does not stand between members."""
    padding = _PADDING.match(data, start)
    return padding.end() if padding else start


def _whole(chunks: Iterable[bytes]) -> Iterator[Framed | Damaged]:
    whole = bytearray()
    for chunk in chunks:
        whole += chunk
        if len(whole) > MAX_MESSAGE:
            raise ObjectFailure(f"is larger than {MAX_MESSAGE:,} bytes, the most that one call takes")
    if whole:
        yield Framed([bytes(whole)])
