"""Bytes of an archive's object in, batches of messages out: one reader per format, gunzipping beneath all of them.

Memory stays flat whatever the object's size: nothing here holds more than a chunk and the longest message.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any, NoReturn, Protocol

from archive_replay.faults import ObjectFailure

MAX_MESSAGE = 4 << 20
"""Bytes in one message, and in one batch: Lambda takes 6 MiB in all, and results may be larger than messages."""

_UNZIPPED = 1 << 20
"""Bytes that are unzipped at once: a small chunk may hold a thousand times its size."""
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLANKS = " \t\r\n"
_LONG_LINE = 1 << 18

Reject = Callable[[int, bytes, str], None]
"""Takes the number, the bytes and the fault of a message that cannot be read."""


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


@dataclass(frozen=True)
class Batch:
    """Messages that go to the user's function together."""

    numbers: Sequence[int]
    """Where in its object each message stands, counted from 1; empty lines do not count."""
    messages: Sequence[bytes]
    """The JSON text of each message, as it was stored."""
    values: Sequence[Any]
    """What the texts mean."""

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def array(self) -> bytes:
        """The messages as one JSON list."""
        return b"[%b]" % b",".join(self.messages)

    def cut(self, place: int) -> tuple[Batch, Batch]:
        """The first messages, so many, and the rest."""
        return (
            Batch(self.numbers[:place], self.messages[:place], self.values[:place]),
            Batch(self.numbers[place:], self.messages[place:], self.values[place:]),
        )


class Reader(Protocol):
    """One format of archive objects."""

    def batches(self, chunks: Iterable[bytes], *, size: int, reject: Reject) -> Iterator[Batch]:
        """The messages in their order, at most `size` together; those that cannot be read go to `reject`."""
        ...


class JsonLines:
    """A JSON object per line; also JSON objects one after the other without a newline, as Firehose concatenates."""

    def batches(self, chunks: Iterable[bytes], *, size: int, reject: Reject) -> Iterator[Batch]:
        """The messages in their order, at most `size` together; those that cannot be read go to `reject`."""
        numbers = count(1)
        waiting: list[bytes] = []
        held = 0
        for lines in chain(_lines(chunks), (None,)):
            waiting += lines or ()
            held += _size(lines or ())
            done = 0
            while done < len(waiting) and (
                lines is None or len(waiting) - done >= size or held > MAX_MESSAGE
            ):
                fitting = _fitting(waiting[done : done + size])
                done += len(fitting)
                held -= _size(fitting)
                yield from _parsed(fitting, numbers, size, reject)
            del waiting[:done]


def gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes themselves, or what they unzip to if they begin as gzip does, whatever the object is called.

    Raises:
        ObjectFailure: The gzip stream is damaged or ends early.
    """
    chunks = iter(chunks)
    head = next(chunks, b"")
    while len(head) < len(_GZIP) and (more := next(chunks, b"")):
        head += more
    if not head.startswith(_GZIP):
        yield head
        yield from chunks
        return
    member = zlib.decompressobj(31)
    for chunk in chain((head,), chunks):
        data = chunk
        while data:
            if member.eof:
                # Another member may follow, and so may zeros, with which some tools fill up.
                data = data.lstrip(b"\0")
                if not data:
                    break
                member = zlib.decompressobj(31)
            try:
                yield member.decompress(data, _UNZIPPED)
            except zlib.error as error:
                raise ObjectFailure(f"is not valid gzip: {error}") from error
            data = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof and (rest := member.decompress(b"", _UNZIPPED)):
        yield rest
    if not member.eof:
        raise ObjectFailure("is not valid gzip: it ends early")


def _lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines that are not empty, those of a chunk together; one that is too long is cut short."""
    rest = b""
    first = True
    for chunk in chunks:
        if first and chunk:
            chunk, first = chunk.removeprefix(_BOM), False  # noqa: PLW2901  # only this chunk
        lines = chunk.split(b"\n")
        if len(rest) <= MAX_MESSAGE or len(lines) > 1:
            lines[0] = rest + lines[0] if len(rest) <= MAX_MESSAGE else rest
            rest = lines.pop()
        else:
            continue  # still within a line that is too long
        if len(rest) > _LONG_LINE:
            objects, rest = _objects_before_the_end(rest)
            lines += objects
        yield [line for line in lines if line and not line.isspace()]
    yield [rest] if rest.strip() else []


def _objects_before_the_end(line: bytes) -> tuple[list[bytes], bytes]:
    """The JSON objects with which a very long line begins, and what follows them: an end not yet read, or a fault."""
    text = _decoded(line)
    messages, position = [], 0
    with suppress(_Fault):
        for start, position, _ in _objects(text):  # where the last one ended
            messages.append(_encoded(text[start:position]))
    return messages, _encoded(text[position:])


def _size(lines: Sequence[bytes]) -> int:
    """Bytes of the lines, each with what separates it from the next."""
    return sum(map(len, lines)) + len(lines)


def _fitting(lines: list[bytes]) -> list[bytes]:
    """As many of the lines as fit a batch, and at least one."""
    total = 0
    for index, line in enumerate(lines):
        total += len(line) + 1
        if total > MAX_MESSAGE and index:
            return lines[:index]
    return lines


def _parsed(lines: list[bytes], numbers: Iterator[int], size: int, reject: Reject) -> Iterator[Batch]:
    """The messages of the lines: quickly where each line is one, else with a closer look."""
    values = _one_each(lines)
    if values is not None:
        yield Batch(list(islice(numbers, len(lines))), lines, values)
        return
    messages = _one_by_one(lines, numbers, reject)
    while batch := list(islice(messages, size)):
        yield Batch(*zip(*batch, strict=True))


def _one_each(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """The values, if each line is one JSON object."""
    if len(lines[0]) > MAX_MESSAGE:
        return None
    values = []
    # Decoding them together and calling the scanner itself takes two thirds of the time of a json.loads for each.
    try:
        for line in b"\n".join(lines).decode().split("\n"):
            value, end = _scan(line, 0)
            if type(value) is not dict or line[end:].strip(_BLANKS):
                return None
            values.append(value)
    except (ValueError, StopIteration, RecursionError):
        return None
    return values


def _one_by_one(
    lines: Iterable[bytes], numbers: Iterator[int], reject: Reject
) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    for line in lines:
        if len(line) > MAX_MESSAGE:
            reject(next(numbers), line, f"is longer than {MAX_MESSAGE:,} bytes")
            continue
        objects, rest, fault = _split(line)
        if rest and not rest.startswith(b"{"):
            # Not objects one after the other: the line as a whole is wrong.
            objects, rest = [], line
        for message, value in objects:
            yield next(numbers), message, value
        if rest:
            reject(next(numbers), rest, fault)


def _split(line: bytes) -> tuple[list[tuple[bytes, dict[str, Any]]], bytes, str]:
    """The JSON objects with which the line begins, what follows them, and why that is no JSON object."""
    text = _decoded(line)
    objects: list[tuple[bytes, dict[str, Any]]] = []
    try:
        for start, end, value in _objects(text):
            objects.append((text[start:end].encode(), value))
    except _Fault as fault:
        return objects, _encoded(text[fault.position :]), str(fault)
    return objects, b"", ""


class _Fault(Exception):
    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


def _objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Where each of the JSON objects begins and ends, and what it means; raises `_Fault` where there is none."""
    position = _after_blanks(text, 0)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
            text[position:end].encode()
        except UnicodeEncodeError:
            raise _Fault(position, "is not UTF-8") from None
        except (ValueError, RecursionError) as error:
            raise _Fault(position, f"is not a JSON object: {error}") from None
        if type(value) is not dict:
            raise _Fault(position, f"is not a JSON object: it is a {type(value).__name__}")
        yield position, end, value
        position = _after_blanks(text, end)


def _decoded(line: bytes) -> str:
    # Bytes that are no UTF-8 survive the way to text and back, so that they can be told of unchanged.
    return line.decode(errors="surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position
