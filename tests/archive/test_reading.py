"""Bytes in, batches of messages out."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from archive_replay.reading import MAX_MESSAGE, Batch, JsonLines, gunzipped, parse
from hypothesis import given
from hypothesis import strategies as st

from archive_replay.faults import ObjectFailure

ZIPPED = gzip.compress(b"abc" * 9, mtime=0)

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


class Reading:
    """What a reader made of some bytes."""

    def __init__(self, chunks: Iterable[bytes], size: int = 100) -> None:
        self.rejected: list[tuple[int, bytes, str]] = []
        self.batches: list[Batch] = list(
            JsonLines().batches(chunks, size=size, reject=lambda *fault: self.rejected.append(fault))
        )

    @property
    def values(self) -> list[Any]:
        return [value for batch in self.batches for value in batch.values]

    @property
    def numbers(self) -> list[int]:
        return [number for batch in self.batches for number in batch.numbers]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@given(
    messages=st.lists(json_objects, max_size=20),
    separator=st.sampled_from(["\n", "\r\n", "\n\n", "", " ", " \n\t\n"]),
    chunk=st.integers(1, 50),
    size=st.integers(1, 7),
    escaped=st.booleans(),
)
def test_messages_come_out_as_they_went_in(
    messages: list[Any], separator: str, chunk: int, size: int, escaped: bool
) -> None:
    data = separator.join(json.dumps(message, ensure_ascii=escaped) for message in messages)

    reading = Reading(cut(data.encode(errors="surrogatepass"), chunk), size)

    assert reading.values == messages
    assert reading.rejected == []
    assert reading.numbers == list(range(1, len(messages) + 1))
    assert all(0 < len(batch) <= size for batch in reading.batches)
    assert [parse(text.decode()) for batch in reading.batches for text in batch.messages] == messages
    assert [value for batch in reading.batches for value in json.loads(batch.array)] == messages


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "is not a JSON object: Expecting value"),
        (b'{"t": 1', "is not a JSON object: Expecting ',' delimiter"),
        (b"12", "is not a JSON object: it is a int"),
        (b"[{}]", "is not a JSON object: it is a list"),
        (b'{"t": NaN}', "is not a JSON object: NaN is not JSON"),
        (b'{"t": "\xff"}', "is not UTF-8"),
        (b'{"t": 1} and more', "is not a JSON object: Expecting value"),
        (b'{"t":' * 100_000, "is not a JSON object: maximum recursion depth exceeded"),
        (b'{"t": ' + b"1" * 5_000 + b"}", "is not a JSON object: Exceeds the limit"),
    ],
    ids=["text", "cut", "number", "list", "nan", "not-utf-8", "trailing", "too-deep", "too-many-digits"],
)
def test_a_bad_line_costs_that_line(line: bytes, reason: str) -> None:
    reading = Reading([b'{"a": 1}\n' + line + b'\n{"b": 2}\n'])

    assert reading.values == [{"a": 1}, {"b": 2}]
    assert reading.numbers == [1, 3]
    [(number, text, fault)] = reading.rejected
    assert (number, text) == (2, line)
    assert fault.startswith(reason)


def test_two_bad_lines_that_would_be_a_list_together_are_not_mistaken_for_messages() -> None:
    reading = Reading([b'{"a": [1\n{"b": 2}]}\n{},{}\n'])

    assert reading.values == []
    assert [number for number, _, _ in reading.rejected] == [1, 2, 3]


def test_concatenated_objects_before_a_broken_one_are_kept() -> None:
    reading = Reading([b'{"a": 1}{"b": 2}{"c": \n{"d": 4}'])

    assert reading.values == [{"a": 1}, {"b": 2}, {"d": 4}]
    assert [(number, text) for number, text, _ in reading.rejected] == [(3, b'{"c": ')]
    assert reading.numbers == [1, 2, 4]


def test_objects_without_a_newline_between_them_are_read_without_holding_them_all() -> None:
    message = b'{"device": "sensor-0001", "values": [1, 2, 3]}'
    pulled = 0

    def chunks() -> Iterator[bytes]:
        nonlocal pulled
        for _ in range(100):
            pulled += 1_000
            yield message * 1_000

    read, held = 0, 0
    for batch in JsonLines().batches(chunks(), size=500, reject=lambda *_: pytest.fail("nothing is wrong")):
        read += len(batch)
        held = max(held, pulled - read)

    assert read == 100_000
    assert held * len(message) < 512 << 10


def test_a_line_longer_than_a_message_can_be_costs_that_line() -> None:
    long = b'{"a": "' + b"x" * (3 * MAX_MESSAGE) + b'"}'

    reading = Reading(cut(b'{"b": 1}\n' + long + b'\n{"c": 2}\n' + long, 1 << 20))

    assert reading.values == [{"b": 1}, {"c": 2}]
    assert [(number, fault) for number, _, fault in reading.rejected] == [
        (2, "is longer than 4,194,304 bytes"),
        (4, "is longer than 4,194,304 bytes"),
    ]
    assert all(len(text) < 2 * MAX_MESSAGE for _, text, _ in reading.rejected)


def test_the_longest_message_is_read() -> None:
    message = b'{"a": "' + b"x" * (MAX_MESSAGE - 9) + b'"}'

    reading = Reading(cut(message + b"\n" + message, 1 << 20))

    assert [len(text) for batch in reading.batches for text in batch.messages] == [MAX_MESSAGE] * 2
    assert reading.rejected == []


def test_batches_keep_within_the_size_of_a_payload_however_few_messages_that_are() -> None:
    message = b'{"a": "' + b"x" * (MAX_MESSAGE // 3) + b'"}\n'

    reading = Reading(cut(message * 7, 1 << 20), size=500)

    assert [len(batch) for batch in reading.batches] == [2, 2, 2, 1]
    assert all(len(batch.array) <= MAX_MESSAGE + 2 for batch in reading.batches)


def test_large_messages_are_not_held_until_there_are_enough_of_them() -> None:
    message = b'{"a": "' + b"x" * (1 << 20) + b'"}\n'
    pulled = 0

    def chunks() -> Iterator[bytes]:
        nonlocal pulled
        for _ in range(40):
            pulled += 1
            yield message

    read, held = 0, 0
    for batch in JsonLines().batches(
        chunks(), size=10_000, reject=lambda *_: pytest.fail("nothing is wrong")
    ):
        held = max(held, pulled - read)
        read += len(batch)

    assert read == 40
    assert held <= 5


def test_a_byte_order_mark_is_no_part_of_the_first_message() -> None:
    assert Reading([b"", b'\xef\xbb\xbf{"a": 1}\n']).values == [{"a": 1}]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n"])
def test_an_empty_object_has_no_messages(data: bytes) -> None:
    reading = Reading(gunzipped([data] if data else []))

    assert reading.batches == []
    assert reading.rejected == []


def test_a_batch_that_is_cut_is_still_the_whole() -> None:
    [batch] = Reading([b'{"a": 1}\n{"b": 2}\n{"c": 3}']).batches

    first, second = batch.cut(1)

    assert [*first.values, *second.values] == list(batch.values)
    assert [*first.numbers, *second.numbers] == list(batch.numbers)
    assert [*first.messages, *second.messages] == list(batch.messages)


@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    chunk=st.integers(1, 64),
    zeros=st.booleans(),
)
def test_gzip_is_recognized_by_its_content_in_as_many_members_as_there_are(
    parts: list[bytes], chunk: int, zeros: bool
) -> None:
    zipped = b"".join(gzip.compress(part) + b"\0" * 3 * zeros for part in parts)

    assert b"".join(gunzipped(cut(zipped, chunk))) == b"".join(parts)


@given(
    data=st.binary(max_size=200).filter(lambda data: not data.startswith(b"\x1f\x8b")),
    chunk=st.integers(1, 64),
)
def test_what_is_not_gzip_is_taken_as_it_is(data: bytes, chunk: int) -> None:
    assert b"".join(gunzipped(cut(data, chunk))) == data


@given(
    data=st.binary(min_size=1, max_size=500),
    chunk=st.integers(1, 64),
    keep=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_gzip_stream_that_ends_early_fails_its_object(data: bytes, chunk: int, keep: float) -> None:
    zipped = gzip.compress(data)
    shorter = zipped[: max(2, int(len(zipped) * keep))]

    with pytest.raises(ObjectFailure, match="is not valid gzip: it ends early"):
        list(gunzipped(cut(shorter, chunk)))


@pytest.mark.parametrize(
    "damaged",
    # The same bytes in every process, for they name the test.
    [b"\x1f\x8bnonsense", ZIPPED + b"nonsense", ZIPPED[:-8] + b"12345678"],
)
def test_a_damaged_gzip_stream_fails_its_object(damaged: bytes) -> None:
    with pytest.raises(ObjectFailure, match="is not valid gzip: Error -3"):
        list(gunzipped([damaged]))


def test_what_unzips_to_a_thousand_times_its_size_comes_in_pieces() -> None:
    zipper = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(zipper.compress(b" " * (1 << 20)) for _ in range(64)) + zipper.flush()

    sizes = [len(piece) for piece in gunzipped([bomb])]

    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20
