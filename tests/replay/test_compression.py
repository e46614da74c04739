"""What an object holds once it is unpacked."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay import compression
from object_replay.compression import peeked, unpacked
from object_replay.faults import ObjectFailure

ZIPPED = gzip.compress(b"abc" * 9, mtime=0)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def whole(data: bytes, chunk: int = 1 << 20, key: str = "key") -> bytes:
    return b"".join(unpacked(cut(data, chunk), key))


def zip_of(*files: bytes, compression: int = ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", compression) as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}.json", file)
    return buffer.getvalue()


@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    chunk=st.integers(1, 64),
    between=st.sampled_from([b"", b"\0\0\0", b"\n", b"\r\n"]),
)
def test_gzip_is_recognised_by_its_content_in_any_number_of_members(
    parts: list[bytes], chunk: int, between: bytes
) -> None:
    zipped = b"".join(gzip.compress(part) + between for part in [b"{", *parts])

    assert whole(zipped, chunk) == b"{" + b"".join(parts)


@given(data=st.binary(max_size=200), chunk=st.integers(1, 64))
def test_what_is_not_compressed_is_taken_as_it_is(data: bytes, chunk: int) -> None:
    assert whole(b"{" + data, chunk) == b"{" + data


@given(
    data=st.binary(min_size=1, max_size=500),
    chunk=st.integers(1, 64),
    keep=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_gzip_stream_that_ends_early_fails_its_object(data: bytes, chunk: int, keep: float) -> None:
    zipped = gzip.compress(b"{" + data)
    shorter = zipped[: max(2, int(len(zipped) * keep))]

    with pytest.raises(ObjectFailure, match="is not valid gzip: it ends early"):
        whole(shorter, chunk)


@pytest.mark.parametrize(
    "damaged",
    # The same bytes in every process, for they name the test.
    [b"\x1f\x8bnonsense", ZIPPED + b"nonsense", ZIPPED[:-8] + b"12345678"],
)
def test_a_damaged_gzip_stream_fails_its_object(damaged: bytes) -> None:
    with pytest.raises(ObjectFailure, match="is not valid gzip: Error -3"):
        whole(damaged)


@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_what_unzips_to_a_thousand_times_its_size_comes_in_pieces(chunk: int) -> None:
    zipper = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(zipper.compress(b" " * (1 << 20)) for _ in range(64)) + zipper.flush()

    sizes = [len(piece) for piece in unpacked(cut(bomb, chunk), "key")]

    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20


def test_archives_within_archives_are_opened() -> None:
    text = b'{"a": 1}\n'

    assert whole(gzip.compress(gzip.compress(text))) == text
    assert whole(gzip.compress(zip_of(text))) == text + b"\n"
    assert whole(zip_of(gzip.compress(text))) == text
    once = gzip.compress(text)
    assert whole(gzip.compress(gzip.compress(gzip.compress(once)))) == once


@pytest.mark.parametrize("compression", [ZIP_DEFLATED, ZIP_STORED])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_the_files_in_a_zip_file_follow_each_other(compression: int, chunk: int) -> None:
    data = zip_of(b'{"a": 1}', b'{"b": 2}\n', compression=compression)

    assert whole(data, chunk) == b'{"a": 1}\n{"b": 2}\n\n'


def test_a_large_file_in_a_zip_file_comes_in_pieces() -> None:
    sizes = [len(piece) for piece in unpacked([zip_of(b" " * (20 << 20))], "key")]

    assert sum(sizes) == (20 << 20) + 1
    assert max(sizes) <= 1 << 20


def test_a_zip_file_that_is_cut_fails_its_object() -> None:
    with pytest.raises(ObjectFailure, match="is not a readable ZIP file: File is not a zip file"):
        whole(zip_of(b"abc")[:-30])


def test_a_zip_file_whose_content_is_damaged_fails_its_object() -> None:
    data = zip_of(b"abc" * 99, compression=ZIP_STORED)

    with pytest.raises(ObjectFailure, match="is not a readable ZIP file: Bad CRC-32"):
        whole(data.replace(b"abcabc", b"abcabd", 1))


def test_an_encrypted_zip_file_fails_its_object() -> None:
    data = bytearray(zip_of(b"abc"))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the index
    data[6] |= 1

    with pytest.raises(ObjectFailure, match=r"is not a readable ZIP file: .* is encrypted"):
        whole(bytes(data))


def test_a_zip_file_larger_than_the_disk_fails_its_object(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.BytesIO):
        def __init__(self, in_memory: int) -> None:
            assert in_memory == 32 << 20
            super().__init__()

        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(compression, "SpooledTemporaryFile", FullDisk)

    with pytest.raises(ObjectFailure, match=r"is a ZIP file too large .*: \[Errno 28\] No space left"):
        whole(zip_of(b"abc"))


@pytest.mark.parametrize(
    ("magic", "name", "advice"),
    [
        (b"PAR1", "Parquet", "it has no messages to hand over one by one; replay the records"),
        (b"Obj\x01", "Avro", "it has no messages"),
        (b"ORC", "ORC", "it has no messages"),
        (b"\xff\x06\x00\x00sNaPpY", "Snappy", "write the archive with gzip or ZIP, or uncompressed"),
        (b"\x82SNAPPY\x00", "Snappy", "write the archive"),
        (b"\x28\xb5\x2f\xfd", "zstd", "write the archive"),
        (b"BZh91AY&SY", "bzip2", "write the archive"),
        (b"\xfd7zXZ\x00", "xz", "write the archive"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_a_format_that_cannot_be_replayed_is_named(magic: bytes, name: str, advice: str, chunk: int) -> None:
    for data in (magic + b"\0" * 99, gzip.compress(magic + b"\0" * 99)):
        with pytest.raises(ObjectFailure, match=f"^is {name}, which cannot be replayed: {advice}"):
            whole(data, chunk)


@pytest.mark.parametrize(
    "text", [b"ORCL,100\nIBM,2\n", b"PAR1,1\n", b"BZh9,1\n", "ORC\u00fc\n".encode("latin-1")]
)
def test_a_text_that_begins_like_a_binary_format_is_a_text(text: bytes) -> None:
    assert whole(text) == text


@pytest.mark.parametrize("extension", [".snappy", ".hsnappy"])
def test_snappy_is_told_from_its_extension(extension: str) -> None:
    with pytest.raises(ObjectFailure, match=r"^is Snappy by its name, which cannot be replayed: write"):
        whole(b"\x05\x10hello", key=f"raw/x{extension}")

    assert whole(gzip.compress(b"{}"), key="raw/x.gz") == b"{}"
    assert whole(b"", key=f"raw/x{extension}") == b""


@pytest.mark.parametrize(
    ("chunks", "head"), [([], b""), ([b"a", b"bc", b"de"], b"abc"), ([b"a"], b"a"), ([b"ab", b"c"], b"ab")]
)
def test_peeking_takes_no_bytes_away(chunks: list[bytes], head: bytes) -> None:
    seen, everything = peeked(chunks, 2)

    assert seen == head
    assert b"".join(everything) == b"".join(chunks)
