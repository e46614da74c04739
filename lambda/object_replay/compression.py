"""Opens gzip and ZIP, and names the formats that cannot be replayed.

The first bytes of an object tell its format, not its name. Memory stays flat, whatever the object's size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from tempfile import SpooledTemporaryFile
from zipfile import BadZipFile, ZipFile

from object_replay.faults import ObjectFailure

UNZIPPED = 1 << 20
"""Bytes that are unzipped at once: a small chunk may hold a thousand times its size."""
GZIP = b"\x1f\x8b"
GZIP_BITS = 31
"""zlib's window bits for gzip and nothing else."""

_ZIP = b"PK\x03\x04"
_IN_MEMORY = 32 << 20
"""Bytes of a ZIP file that stay in memory. A larger file goes to the function's disk, because its index comes last."""
_LONGEST_MAGIC = 10
_LOOKED_AT = 4_096
"""Bytes that tell a binary format from a text that begins like it, such as a list of shares with ORCL first."""
_CONTROLS = bytes({*range(0x20)} - {*b"\t\n\v\f\r\x1b"})
"""What no text holds, and nearly all binary data do."""
_MAX_DEPTH = 3
"""Archives within archives: Firehose gzips gzip members of CloudWatch Logs."""

_COLUMNAR = "it has no messages to hand over one by one; replay the records that it was made from"
_COMPRESSED = "write the archive with gzip or ZIP, or uncompressed"
_UNREADABLE = {
    b"PAR1": ("Parquet", _COLUMNAR),
    b"Obj\x01": ("Avro", _COLUMNAR),
    b"ORC": ("ORC", _COLUMNAR),
    b"\xff\x06\x00\x00sNaPpY": ("Snappy", _COMPRESSED),
    b"\x82SNAPPY\x00": ("Snappy", _COMPRESSED),
    b"\x28\xb5\x2f\xfd": ("zstd", _COMPRESSED),
    **{b"BZh%d1AY&SY" % level: ("bzip2", _COMPRESSED) for level in range(1, 10)},
    b"\xfd7zXZ\x00": ("xz", _COMPRESSED),
}
_NAMED_SNAPPY = (".snappy", ".hsnappy")
"""How Firehose names its Snappy objects, which have no magic bytes of their own."""


def unpacked(chunks: Iterable[bytes], key: str, *, depth: int = _MAX_DEPTH) -> Iterator[bytes]:
    """The object's bytes; unzipped if they are gzip or ZIP.

    Args:
        chunks: The object's bytes.
        key: The object's key: only its extension tells Firehose's Snappy.
        depth: How many archives may lie within each other.

    Raises:
        ObjectFailure: The object is damaged, or its format cannot be replayed.
    """
    head, chunks = peeked(chunks, _LONGEST_MAGIC)
    for magic, (name, advice) in _UNREADABLE.items():
        if head.startswith(magic) and not (magic.isalnum() and is_text(head[:_LOOKED_AT])):
            raise ObjectFailure(f"is {name}, which cannot be replayed: {advice}")
    if depth and head.startswith(GZIP):
        yield from unpacked(_gunzipped(chunks), key, depth=depth - 1)
    elif depth and head.startswith(_ZIP):
        yield from unpacked(_extracted(chunks), key, depth=depth - 1)
    elif head and key.endswith(_NAMED_SNAPPY):
        raise ObjectFailure(f"is Snappy by its name, which cannot be replayed: {_COMPRESSED}")
    else:
        yield from chunks


def is_text(data: bytes) -> bool:
    """Whether the bytes are text, in UTF-8 or another encoding that keeps ASCII."""
    return len(data.translate(None, _CONTROLS)) == len(data)


def peeked(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, at least `size` of them unless there are fewer, and all chunks, these bytes included."""
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= size:
            break
    return head, chain((head,), chunks)


def _gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(GZIP_BITS)
    for chunk in chunks:
        data = chunk
        while data:
            if member.eof:
                # Another member may follow. Some writers pad with zeros, others put newlines between members.
                data = data.lstrip(b"\0\r\n")
                if not data:
                    break
                member = zlib.decompressobj(GZIP_BITS)
            try:
                yield member.decompress(data, UNZIPPED)
            except zlib.error as error:
                raise ObjectFailure(f"is not valid gzip: {error}") from error
            data = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise ObjectFailure("is not valid gzip: it ends early")


def _extracted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The files in a ZIP file, one after the other."""
    with SpooledTemporaryFile(_IN_MEMORY) as whole:
        try:
            for chunk in chunks:
                whole.write(chunk)
            with ZipFile(whole) as archive:
                for info in archive.infolist():
                    with archive.open(info) as file:
                        while data := file.read(UNZIPPED):
                            yield data
                    yield b"\n"  # the last line of a file and the first of the next are two
        except (BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
            # An encrypted file raises RuntimeError.
            raise ObjectFailure(f"is not a readable ZIP file: {error}") from error
        except OSError as error:
            raise ObjectFailure(f"is a ZIP file too large for the function's disk: {error}") from error
