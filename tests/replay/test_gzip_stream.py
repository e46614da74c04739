"""Gzip with a comment: every reader must be able to read it."""

from __future__ import annotations

import gzip
import random
import struct
import zlib

import pytest

from object_replay.gzip_stream import GzipStream


def compressed(*pieces: bytes, comment: str = "run-1") -> bytes:
    stream = GzipStream(comment, level=6)
    return b"".join([stream.compress(piece) for piece in pieces]) + stream.flush()


@pytest.mark.parametrize("size", [0, 1, 100, 32_768, 1_000_000])
@pytest.mark.parametrize("random_bytes", [True, False])
def test_what_is_compressed_can_be_read(size: int, random_bytes: bool) -> None:
    content = random.Random(1).randbytes(size) if random_bytes else b"x" * size

    stream = compressed(content)

    assert gzip.decompress(stream) == content
    reader = zlib.decompressobj(31)
    assert reader.decompress(stream) == content
    assert (reader.eof, reader.unused_data) == (True, b"")


def test_the_header_has_the_comment_and_no_time() -> None:
    assert compressed(b"x")[:16] == b"\x1f\x8b\x08\x10\0\0\0\0\0\xffrun-1\0"


def test_the_end_has_the_check_sum_and_the_size() -> None:
    content = b"ab" * 1000

    assert compressed(content[:7], content[7:])[-8:] == struct.pack("<II", zlib.crc32(content), 2000)


def test_the_size_of_more_than_4_gb_wraps() -> None:
    stream = GzipStream("", level=1)
    stream._size = (1 << 32) + 6  # as after so many bytes

    assert stream.flush()[-4:] == struct.pack("<I", 6)


def test_what_is_not_of_latin_1_is_escaped() -> None:
    stream = compressed(b"x", comment="nächtlich-日本\0")

    assert stream[10:].startswith("nächtlich-\\u65e5\\u672c".encode("latin-1") + b"\0")
    assert gzip.decompress(stream) == b"x"


def test_nothing_but_the_comment_makes_equal_content_differ() -> None:
    assert compressed(b"x", b"yz") == compressed(b"xyz")
    assert compressed(b"xyz") != compressed(b"xyz", comment="run-2")


def test_members_in_a_row_can_be_read() -> None:
    assert gzip.decompress(compressed(b"x") + compressed(b"y")) == b"xy"
