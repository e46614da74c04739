"""Bytes in, messages out: each way in which objects are divided."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay.archive.framing import MAX_MESSAGE, Framed, error_output, framed, is_error_output
from object_replay.archive.json_values import Damaged
from object_replay.faults import ObjectFailure
from object_replay.settings import Framing

TOO_LONG = "is longer than 4,194,304 bytes"


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def flat(found: Iterable[Framed | Damaged]) -> list[bytes | Damaged]:
    return [message for each in found for message in ([each] if isinstance(each, Damaged) else each.messages)]


def messages_of(framing: Framing, data: bytes, chunk: int = 1 << 20) -> list[bytes | Damaged]:
    return flat(framed(framing, cut(data, chunk), "key"))


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_json_values_are_messages(packed: Any, chunk: int) -> None:
    assert messages_of(Framing.JSON, packed(b'{"a":1}{"a":2}\n{"a":3}'), chunk) == [
        b'{"a":1}',
        b'{"a":2}',
        b'{"a":3}',
    ]


def test_messages_between_damage_come_together() -> None:
    found = list(framed(Framing.JSON, [b'{"a":1}{"a":2}"a":3}{"a":4}'], "key"))

    reason = "is damaged: it does not end before the next message begins"
    assert found == [Framed([b'{"a":1}', b'{"a":2}']), Damaged(b'"a":3}', reason), Framed([b'{"a":4}'])]


@given(
    lines=st.lists(
        st.binary(min_size=1, max_size=9).filter(
            lambda line: not line.isspace() and b"\n" not in line and b"\r" not in line
        ),
        max_size=9,
    ),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n \t\r\n"]),
    ends=st.booleans(),
    chunk=st.integers(1, 30),
)
def test_lines_are_messages_in_any_encoding(
    lines: list[bytes], newline: bytes, ends: bool, chunk: int
) -> None:
    data = newline.join(lines) + newline * ends
    if data.startswith(
        (b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"Obj\x01", b"ORC", b"BZh", b"\x28\xb5\x2f\xfd")
    ):
        return

    assert messages_of(Framing.LINES, data, chunk) == lines


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_line_that_is_too_long_costs_itself(packed: Any) -> None:
    long, longest = b"x" * (3 * MAX_MESSAGE), b"y" * MAX_MESSAGE

    found = messages_of(
        Framing.LINES, packed(b"\n".join([b"a", long, b"b", longest, longest + b"y", b"c", long]))
    )

    assert [each if isinstance(each, bytes) else each.reason for each in found] == [
        b"a",
        TOO_LONG,
        b"b",
        longest,
        TOO_LONG,
        b"c",
        TOO_LONG,
    ]


@pytest.mark.parametrize("framing", [Framing.LINES, Framing.JSON, Framing.GZIP_MEMBERS])
def test_an_endless_message_is_read_but_not_held(framing: Framing) -> None:
    pulled: list[int] = []
    piece = (
        random.Random(1).randbytes(1 << 20).replace(b"\n", b"x").replace(b"\r", b"x").replace(b"\x1f", b"x")
    )

    def chunks() -> Iterator[bytes]:
        zipper = zlib.compressobj(1, zlib.DEFLATED, 31)
        for _ in range(50):
            pulled.append(1)
            yield zipper.compress(piece) if framing is Framing.GZIP_MEMBERS else piece

    sizes = []
    for each in framed(framing, chunks(), "key"):
        assert isinstance(each, Damaged)
        sizes.append((len(each.data), each.reason, len(pulled)))

    [(size, reason, pulled_then)] = sizes
    assert MAX_MESSAGE < size <= MAX_MESSAGE + (2 << 20)
    assert (reason, len(pulled)) == (TOO_LONG, 50)
    assert pulled_then < 8


@given(
    messages=st.lists(st.binary(max_size=60), min_size=1, max_size=9),
    between=st.sampled_from([b"", b"\n", b"\r\n", b"\0\0", b" \t"]),
    chunk=st.integers(1, 60) | st.just(1 << 20),
    zipped=st.booleans(),
)
def test_gzip_members_are_messages_as_they_are(
    messages: list[bytes], between: bytes, chunk: int, zipped: bool
) -> None:
    members = [gzip.compress(message) for message in messages]
    if messages[0].startswith(b"\x1f\x8b"):
        return
    data = between.join(members) + between

    found = messages_of(Framing.GZIP_MEMBERS, gzip.compress(data) if zipped else data, chunk)

    assert found == members


def member(number: int, size: int = 20) -> bytes:
    return gzip.compress(random.Random(number).randbytes(size), mtime=0)


@given(
    chance=st.randoms(use_true_random=False),
    how=st.sampled_from(["cut", "head", "flip", "drop", "checksum"]),
    between=st.sampled_from([b"", b"\n"]),
    chunk=st.sampled_from([1, 3, 7, 50, 1 << 20]),
    place=st.integers(0, 11),
)
def test_a_damaged_gzip_member_costs_itself(
    chance: random.Random, how: str, between: bytes, chunk: int, place: int
) -> None:
    members = [member(number, chance.randrange(60)) for number in range(12)]
    good, spot = members[place], chance.randrange(2 if place == 0 else 1, len(members[place]) - 4)
    bad = {
        "cut": good[:spot],
        "head": good[: 2 * (place == 0)] + good[spot:],
        "flip": good[:spot] + bytes([good[spot] ^ 1 << chance.randrange(8)]) + good[spot + 1 :],
        "drop": good[:spot] + good[spot + chance.randrange(1, 5) :],
        "checksum": good[:-8] + b"12345678",
    }[how]

    found = messages_of(
        Framing.GZIP_MEMBERS, between.join([*members[:place], bad, *members[place + 1 :]]), chunk
    )

    # A bit of the header may tell the time only.
    assert found[place] == bad or isinstance(found[place], Damaged)
    assert [*found[:place], *found[place + 1 :]] == [*members[:place], *members[place + 1 :]]


def test_damaged_gzip_members_say_what_is_wrong() -> None:
    data = member(1) + member(2)[:-8] + b"12345678" + member(3) + member(4)[:-1]

    _, second, _, fourth = messages_of(Framing.GZIP_MEMBERS, data)

    assert second == Damaged(
        member(2)[:-8] + b"12345678",
        "is not valid gzip: Error -3 while decompressing data: incorrect data check",
    )
    assert fourth == Damaged(member(4)[:-1], "is not valid gzip: it ends early")


def test_a_gzip_member_that_is_too_long_costs_itself() -> None:
    long = gzip.compress(random.Random(1).randbytes(MAX_MESSAGE + 1), 1)

    found = messages_of(Framing.GZIP_MEMBERS, member(1) + long + member(2))

    assert [found[0], found[-1]] == [member(1), member(2)]
    [lost] = [each for each in found if isinstance(each, Damaged)]
    assert lost.reason == TOO_LONG
    assert len(found) == 3


def test_a_gzip_member_may_unzip_to_a_thousand_times_its_size() -> None:
    bomb = gzip.compress(b" " * (20 << 20))

    assert messages_of(Framing.GZIP_MEMBERS, member(1) + bomb + member(2), 1000) == [
        member(1),
        bomb,
        member(2),
    ]


def test_an_empty_object_has_no_gzip_members() -> None:
    assert messages_of(Framing.GZIP_MEMBERS, b"") == []


@pytest.mark.parametrize("data", [b"text", b"\n", b"\0\0"])
def test_an_object_of_something_else_has_no_gzip_members(data: bytes) -> None:
    with pytest.raises(ObjectFailure, match="does not begin with a gzip member"):
        messages_of(Framing.GZIP_MEMBERS, data)


@pytest.mark.parametrize(
    "data", [b"\0\n", gzip.compress(b"x", mtime=0), b"x" * MAX_MESSAGE], ids=["binary", "gzip", "longest"]
)
def test_an_object_is_one_message_as_it_is_stored(data: bytes) -> None:
    assert messages_of(Framing.OBJECT, data) == [data]


def test_an_empty_object_is_no_message() -> None:
    assert messages_of(Framing.OBJECT, b"") == []


def test_an_object_larger_than_a_message_fails() -> None:
    with pytest.raises(ObjectFailure, match="is larger than 4,194,304 bytes, the most that one call takes"):
        messages_of(Framing.OBJECT, b"x" * (MAX_MESSAGE + 1))


def entry(message: bytes = b'{"a":1}', **values: Any) -> bytes:
    return json.dumps(
        {
            "attemptsMade": 4,
            "arrivalTimestamp": 1764000000000,
            "errorCode": "Lambda.FunctionError",
            "errorMessage": "x",
            "attemptEndingTimestamp": 1764000001000,
            "rawData": b64encode(message).decode(),
            **values,
        }
    ).encode()


@pytest.mark.parametrize("separator", [b"", b"\n"])
@pytest.mark.parametrize("length", [100_000, 300, 3])
def test_error_output_is_recognised_by_its_content(separator: bytes, length: int) -> None:
    data = b" " + entry(b"x" * length) + separator + entry() + separator + entry()

    assert is_error_output(data)
    assert is_error_output(data[: len(data) - 5])
    if length > 3:
        assert is_error_output(data[:350])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}",
        b'{"rawData": "eyJhIjoxfQ=="}',
        b'{"rawData": "eyJhIjoxfQ==", "attemptsMade": 1, "errorCode": "x"}{"arrivalTimestamp": 1}',
        b'{"text": "attemptsMade arrivalTimestamp errorCode rawData"}',
        b'{"a": {"attemptsMade": 1, "arrivalTimestamp": 1, "errorCode": "x", "rawData": "x"}}',
        b'{"rawData": "eyJhIjoxfQ==", "attempts',
        b"[" + entry() + b"]",
        b'{"a": 1}' + entry(),
        b'{"a":' * 100_000 + b'"rawData"',
    ],
)
def test_messages_are_not_mistaken_for_error_output(content: bytes) -> None:
    assert not is_error_output(content)


def test_a_first_message_that_names_error_output_in_part_is_a_message() -> None:
    message = b'{"rawData": {"id": 1}, "id": 2}'

    # A closer look at the end of these bytes could not tell messages from their parts.
    assert not is_error_output(message * 20 + b'{"rawData": {"id": 1}')


def test_the_raw_data_of_error_output_are_messages() -> None:
    data = entry(b'{"a":1}\n') + entry(b"\xff\x00", arrivalTimestamp=7) + b"\n" + entry(b"")

    found = list(error_output(cut(data, 100)))

    assert found == [
        Framed([b'{"a":1}\n'], [1764000000000]),
        Framed([b"\xff\x00"], [7]),
        Framed([b""], [1764000000000]),
    ]


@pytest.mark.parametrize(
    "flawed",
    [
        entry(rawData="not base64"),
        entry(rawData="ü"),
        entry(rawData=None),
        entry(arrivalTimestamp="soon"),
        entry(arrivalTimestamp=None),
        entry(arrivalTimestamp=float("inf")),
        b'{"attemptsMade": 4}',
        b'{"rawData": "',
        b"[1]",
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_an_entry_of_error_output_that_is_flawed_costs_itself(flawed: bytes) -> None:
    [first, second, third] = error_output([entry() + b"\n" + flawed + b"\n" + entry()])

    assert first == third == Framed([b'{"a":1}'], [1764000000000])
    assert isinstance(second, Damaged)
    assert second.data == flawed
    assert second.reason.startswith("is not an entry of Firehose's error output: ")


def test_damage_in_error_output_stays_damage() -> None:
    found = list(error_output([entry() * 12 + entry()[:50] + entry()]))

    [lost] = [each for each in found if isinstance(each, Damaged)]
    assert lost == Damaged(entry()[:50], "is damaged: it does not end before the next message begins")
    assert len(found) == 14


def test_error_output_is_recognised_although_a_message_in_it_is_no_utf_8() -> None:
    entry = b'{"attemptsMade": 1, "arrivalTimestamp": 1, "errorCode": "x", "errorMessage": "\xff", "rawData": "eA=="}'

    assert is_error_output(entry)
    assert not is_error_output(entry.replace(b"rawData", b"raw"))
