"""Gzip whose header has a comment (RFC 1952), so that equal content of two runs is not equal byte for byte."""

from __future__ import annotations

import struct
import zlib

_HEADER = b"\x1f\x8b\x08\x10" + b"\0" * 5 + b"\xff"
"""Deflate, FLG.FCOMMENT, no time, no extra flags, an unknown file system: the comment follows."""


class GzipStream:
    """Compresses to one gzip member; the same content with the same comment gives the same bytes.

    Args:
        comment: What the header says. It is ISO 8859-1 there; other characters become escapes.
        level: zlib's level of compression.
    """

    def __init__(self, comment: str, *, level: int) -> None:
        # zlib writes a header of its own that has no comment: here it writes the raw deflate stream only.
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        encoded = comment.encode("latin-1", "backslashreplace").replace(b"\0", b"")
        self._header = _HEADER + encoded + b"\0"
        self._crc = zlib.crc32(b"")
        self._size = 0

    def compress(self, data: bytes) -> bytes:
        """The compressed bytes that are ready so far."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        header, self._header = self._header, b""
        return header + self._deflate.compress(data)

    def flush(self) -> bytes:
        """The rest; nothing can follow it."""
        return self._header + self._deflate.flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
