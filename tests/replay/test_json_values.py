"""Where one JSON value ends and the next begins, in whole objects and in damaged ones."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay.archive.json_values import Damaged, JsonValues
from object_replay.faults import ObjectFailure

LONGEST = 4 << 20
DAMAGED = "is damaged: it does not end before the next message begins"
TOO_LONG = "is longer than 4,194,304 bytes"

texts = st.text(max_size=5) | st.sampled_from(['q"uo\\te', "}{", '{"a":1}', "}\n{", "{", "]", "\\", '"}{"'])
members = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(texts, members, max_size=4)


def values_of(data: bytes, chunk: int = 1 << 20, longest: int = LONGEST) -> list[bytes | Damaged]:
    values = JsonValues(longest)
    found: list[bytes | Damaged] = []
    for start in range(0, len(data), chunk):
        found += values.feed(data[start : start + chunk])
    return [*found, *values.finish()]


def damaged(data: bytes) -> Damaged:
    return Damaged(data, DAMAGED)


@given(
    messages=st.lists(json_objects | st.lists(json_objects, max_size=2), max_size=20),
    separator=st.sampled_from([b"\n", b"\r\n", b"\n\n", b"", b" ", b" \n\t\n", b",", b",\n", b" , "]),
    ends=st.sampled_from([b"", b"\n", b"\r\n \n"]),
    chunk=st.integers(1, 50) | st.just(1 << 20),
    indent=st.sampled_from([None, 0, 2]),
    escaped=st.booleans(),
    encoding=st.sampled_from(["utf-8", "latin-1"]),
    mark=st.booleans(),
)
def test_values_come_out_byte_for_byte(
    messages: list[Any],
    separator: bytes,
    ends: bytes,
    chunk: int,
    indent: int | None,
    escaped: bool,
    encoding: str,
    mark: bool,
) -> None:
    errors = "surrogatepass" if encoding == "utf-8" else "replace"
    given_ = [
        b"\xef\xbb\xbf" * mark
        + json.dumps(message, ensure_ascii=escaped, indent=indent).encode(encoding, errors)
        for message in messages
    ]

    assert values_of(separator.join(given_) + ends, chunk) == given_


@pytest.mark.parametrize(
    "value",
    [
        b'{"t": NaN}',
        b'{"t": "\xff"}',
        b'{"t": 1,}',
        b"{t: 1}",
        b'{"a": 1, "a": 2}',
        b"[1, 2]",
        b"[]",
        b"{}",
        b'{"t":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"t": ' + b"1" * 5_000 + b"}",
    ],
)
@pytest.mark.parametrize("separator", [b"", b"\n"])
def test_what_a_strict_parser_refuses_is_handed_over(value: bytes, separator: bytes) -> None:
    around = b'{"a": 1}'

    assert values_of(separator.join([around, value, around])) == [around, value, around]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n", b"\t"])
def test_blanks_hold_no_values(data: bytes) -> None:
    assert values_of(data) == []


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b'{"t": 1',
        b"12",
        b'"text"',
        b'{"t": 1} and more',
        b'{"t": 1}}',
        b'{"t": 1}]',
        b'"t": 1}',
        b'{"t": "1}',
        b'{"t": [1}',
        b'{"x": 1},{"x": 2}]}',
        b'{"x": 1}, "y": 2}',
        b"}",
        b'{"t":' * 1_000,
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_a_bad_line_costs_that_line(line: bytes, chunk: int) -> None:
    good = [b'{"a": %d}' % number for number in range(6)]

    data = b"\n".join([*good[:3], line, *good[3:]])

    assert values_of(data, chunk) == [*good[:3], line, *good[3:]]
    assert values_of(data + b"\n", chunk) == [*good[:3], line, *good[3:]]


@pytest.mark.parametrize("line", [b"nonsense", b'{"t": 1', b'"t": 1}', b'{"t": 1} and more'])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_bad_first_or_last_line_costs_that_line(line: bytes, newline: bytes) -> None:
    good = [b'{"a": 1}', b'{"a": 2}']

    assert values_of(newline.join([line, *good])) == [line, *good]
    assert values_of(newline.join([*good, line])) == [*good, line]


def test_concatenated_values_before_a_broken_one_are_kept() -> None:
    assert values_of(b'{"a": 1}{"a": 2}{"c": \n{"a": 4}') == [
        b'{"a": 1}',
        b'{"a": 2}',
        damaged(b'{"c":'),
        b'{"a": 4}',
    ]


def test_a_damaged_value_over_several_lines_costs_itself() -> None:
    good = [json.dumps({"a": n, "t": {"x": [n]}}, indent=2).encode() for n in range(4)]

    without_head = good[1][5:]
    without_tail = good[1][:-5].rstrip()

    for bad in (without_head, without_tail):
        assert values_of(b"\n".join([good[0], bad, *good[2:]])) == [good[0], bad, *good[2:]]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (b'{"i":', [damaged(b'{"i":')]),
        (b'{"i":10,"t":', [damaged(b'{"i":10,"t":')]),
        (b'{"i":10,"t":{"x":"ab', [damaged(b'{"i":10,"t":{"x":"ab')]),
        (b'{"i":10,"t":{"x":1}', [damaged(b'{"i":10,"t":{"x":1}')]),
        (b'"i":10,"t":{"x":1}}', [damaged(b'"i":10,"t":{"x":1}}')]),
        (b'{"x":1}}', [damaged(b'{"x":1}}')]),
        (b'{"x":1},{"x":2}]}', [damaged(b'{"x":1},{"x":2}]}')]),
        (b',"t":{"x":1}}', [damaged(b',"t":{"x":1}}')]),
        (b":10}", [damaged(b":10}")]),
        (b"}", [damaged(b"}")]),
        (b"]}", [damaged(b"]}")]),
        (b'{"i":10,"t":{"x":"1}}', [damaged(b'{"i":10,"t":{"x":"1}}')]),
        (b'{"i":10,"t":{"x":1]}', [damaged(b'{"i":10,"t":{"x":1]}')]),
        (b'{"i":10,"t{"i":11,"t":', [damaged(b'{"i":10,"t'), damaged(b'{"i":11,"t":')]),
    ],
)
@pytest.mark.parametrize(
    ("place", "chunk"), [(0, 1 << 20), (1, 1 << 20), (15, 40), (15, 1 << 20), (30, 40), (30, 1 << 20)]
)
def test_a_damaged_value_without_separators_costs_itself(
    bad: bytes, expected: list[bytes | Damaged], place: int, chunk: int
) -> None:
    good = [b'{"i":%d,"t":{"x":%d}}' % (number, number) for number in range(30)]

    found = values_of(b"".join([*good[:place], bad, *good[place:]]), chunk)

    if place == 30 and bad.startswith(b'{"i":10,"t{'):
        expected = [damaged(bad[:10]), damaged(bad[10:])]
    assert found == [*good[:place], *expected, *good[place:]]


def test_a_value_before_a_line_with_a_closing_brace_is_a_line_or_a_part() -> None:
    lines = [b'{"a":1}', b"}", b'{"b":2}', b'{"c":3}']
    nested = [b'{"i":%d,\n"t":{"x":1}\n}' % number for number in range(4)]
    without_head = b'{"x":1}\n}'

    assert values_of(b"\n".join(lines)) == lines
    assert values_of(b"\n".join([*nested, without_head, *nested])) == [*nested, without_head, *nested]


@pytest.mark.parametrize("separator", [b"", b" \n", b"\n\n", b" "])
def test_a_message_after_one_that_is_too_long_may_begin_a_chunk(separator: bytes) -> None:
    values = JsonValues(50)

    found = [*values.feed(b'{"a": "' + b"x" * 60), *values.feed(b"x" * 60), *values.feed(b'"}' + separator)]
    found += [*values.feed(b'{"b": 1}'), *values.feed(b'{"c": 1}'), *values.finish()]

    assert isinstance(found[0], Damaged)
    assert found[0].reason == "is longer than 50 bytes"
    assert found[1:] == [b'{"b": 1}', b'{"c": 1}']


def test_a_message_of_a_new_kind_is_not_mistaken_for_a_part() -> None:
    good = [b'{"i":%d}' % number for number in range(30)]

    assert values_of(b"".join([*good, b'{"new":1}', *good])) == [*good, b'{"new":1}', *good]


def test_nested_objects_that_begin_alike_are_told_apart_by_their_other_names() -> None:
    good = [b'{"id":%d,"sub":{"id":1,"s":"x"}}' % number for number in range(20)]

    for bad in (b'{"id":9,"sub":{"id":1,"s":"x"}', b'{"id":9,"sub":', b'{"id":9,"sub":{"id":1,"s":"'):
        found = values_of(b"".join([*good[:9], bad, *good[10:]]))

        assert found == [*good[:9], damaged(bad), *good[10:]]


def test_an_object_fails_where_a_message_may_be_a_part_of_another() -> None:
    tree = [b'{"n":%d,"of":[{"n":1,"of":[]}]}' % number for number in range(20)]

    with pytest.raises(ObjectFailure, match="is damaged, and the number of messages lost is unknown"):
        values_of(b"".join([*tree, b'{"n":9,"of":[', *tree]))


RECORDS: list[Callable[[int, str], dict[str, Any]]] = [
    lambda i, s: {"i": i, "t": {"i2": i}},
    lambda i, s: {"i": i, "t": {"x": i, "y": [1, 2, {"z": "}{"}]}, "s": s},
    lambda i, s: {"dev": "a", "i": i, "child": {"n": [i, {"k": "v"}]}},
    lambda i, s: {"id": i, "sub": {"id": i, "s": s}},
    lambda i, s: {"i": i},
    lambda i, s: {"i": i, "list": [{"i": j} for j in range(3)]},
    lambda i, s: {"i": i, "v": {"": float("nan")}, "w": [[{}], s]},
    lambda i, s: {chr(97 + i % 8) + str(i): s, "s": [s, {"z": 1}]},
]


def harmed(data: bytes, how: str, chance: random.Random) -> bytes:
    place = chance.randrange(1, len(data))
    match how:
        case "cut":
            return data[:place].rstrip()
        case "head missing":
            return data[place:].strip()
        case "byte flipped":
            return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
        case "quote lost":
            place = chance.choice([n for n, byte in enumerate(data) if byte == 0x22])
            return data[:place] + data[place + 1 :]
        case _:
            return data[:place] + data[place + chance.randrange(1, 9) :]


@given(
    chance=st.randoms(use_true_random=False),
    how=st.sampled_from(["cut", "head missing", "byte flipped", "quote lost", "bytes dropped"]),
    record=st.sampled_from(RECORDS),
    separator=st.sampled_from([b"", b"", b"\n", b"\r\n"]),
    indent=st.sampled_from([None, None, 2]),
    count=st.integers(10, 30),
    chunk=st.sampled_from([7, 50, 1000, 1 << 20]),
)
def test_a_damaged_record_costs_itself_and_is_counted(
    chance: random.Random, how: str, record: Any, separator: bytes, indent: int | None, count: int, chunk: int
) -> None:
    texts = ["abc", 'q"uo\\te', "}{", '{"a":1}', "", "é}{", "[", "\\", "}\n{"]
    records = [
        json.dumps(
            record(number, chance.choice(texts)), indent=indent, ensure_ascii=chance.random() < 0.5
        ).encode()
        for number in range(count)
    ]
    place = chance.choice([0, count - 1, chance.randrange(count)])
    bad = harmed(records[place], how, chance)
    data = separator.join([*records[:place], bad, *records[place + 1 :]]) + chance.choice([b"", b"\n"])

    try:
        found = values_of(data, chunk)
    except ObjectFailure:
        return

    messages = [each for each in found if isinstance(each, bytes)]
    assert [each for each in messages if each in records and each != records[place]] == [
        *records[:place],
        *records[place + 1 :],
    ]
    assert all(each in records or each in bad for each in messages)
    # The pieces of the damaged record may be more than one.
    assert count <= len(found) <= count + 2


@given(
    chance=st.randoms(use_true_random=False),
    how=st.sampled_from(["cut", "head missing"]),
    record=st.sampled_from([*RECORDS[:3], RECORDS[4]]),
)
def test_a_cut_record_among_alike_ones_never_fails_the_object(
    chance: random.Random, how: str, record: Any
) -> None:
    records = [json.dumps(record(number, "abc")).encode() for number in range(24)]
    place = chance.randrange(1, 24)
    bad = harmed(records[place], how, chance)

    found = values_of(b"".join([*records[:place], bad, *records[place + 1 :]]))

    assert found == [*records[:place], found[place], *records[place + 1 :]]


def test_the_longest_value_is_read() -> None:
    value = b'{"a": "' + b"x" * (LONGEST - 9) + b'"}'

    assert values_of(value + b"\n" + value) == [value, value]
    assert values_of(value + value) == [value, value]


@pytest.mark.parametrize("separator", [b"", b"\n"])
def test_a_value_that_is_too_long_costs_itself(separator: bytes) -> None:
    long = b'{"a": "' + b"x" * (3 * LONGEST) + b'"}'
    a_little = b'{"a": "' + b"x" * LONGEST + b'"}'

    found = values_of(separator.join([b'{"b": 1}', long, b'{"c": 2}', a_little, b'{"d": 3}', long]))

    lost = [each for each in found if isinstance(each, Damaged)]
    assert [each for each in found if isinstance(each, bytes)] == [b'{"b": 1}', b'{"c": 2}', b'{"d": 3}']
    assert [found.index(each) for each in lost] == [1, 3, 5]
    assert [each.reason for each in lost] == [TOO_LONG] * 3
    assert all(len(each.data) <= LONGEST + (1 << 20) for each in lost)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"x"),
        (b'{"a": "', b"x"),
        (b'{"a": "', b"} "),
        (b"{", b'"a": {"b": 1}, '),
        (b"{", b"{"),
        (b"[", b"1, "),
        (b'{"a": 1}', b" "),
        (b'{"a": "x}', b"\n "),
    ],
)
def test_an_endless_value_is_not_held(head: bytes, piece: bytes) -> None:
    longest, chunk = 1 << 18, piece * ((1 << 16) // len(piece))
    values = JsonValues(longest)
    held = 0

    tracemalloc.start()
    try:
        values.feed(head)
        for _ in range(24):
            found = values.feed(chunk)
            assert len(found) <= 1
            del found
            held = max(held, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    assert held < 2 * longest


def test_values_without_separators_are_not_held_until_the_object_ends() -> None:
    message = b'{"device": "sensor-0001", "values": [1, 2, 3]}'
    values = JsonValues(LONGEST)

    for _ in range(20):
        assert len(values.feed(message * 1_000)) == 1_000 - (not _)
    assert len(values.finish()) == 1
