"""Messages, and objects nested in them, told apart by their names."""

from __future__ import annotations

import pytest

from object_replay.archive.json_shapes import Shapes

MESSAGE = b'{"id": 1, "at": {"lat": 1}, "parts": [{"id": 2, "n": 1}]}'


@pytest.mark.parametrize(
    ("value", "is_message"),
    [
        (b'{"id": 7, "at": {}, "parts": []}', True),
        (b'\xef\xbb\xbf{"id": 7, "at": {}, "parts": []}', True),
        (b'{"lat": 2, "lon": 3}', False),
        (b'{"id": 2, "n": 3}', False),
        (b'{"id": 2}', None),
        (b'{"id": 2, "n": 3, "new": 4}', None),
        (b'{"new": 1}', None),
        (b"{}", None),
        (b"[]", None),
        (b'{"lat": x}', None),
        (b'{"lat":' * 5_000 + b"1" + b"}" * 5_000, None),
        (b'{"lat": ' + b"1" * 5_000 + b"}", False),
        (b'{"lat": "\xff\t"}', False),
        (b'{"lat": NaN}', False),
    ],
)
def test_names_tell_a_message_from_a_part(value: bytes, is_message: bool | None) -> None:
    assert Shapes([MESSAGE]).is_message(value) is is_message


@pytest.mark.parametrize(("count", "is_message"), [(9, None), (10, False)])
def test_among_enough_alike_messages_what_begins_differently_is_a_part(
    count: int, is_message: bool | None
) -> None:
    assert Shapes([MESSAGE] * count).is_message(b'{"new": 1}') is is_message
    assert Shapes([MESSAGE] * count).is_message(b"[1]") is is_message


def test_among_messages_that_differ_a_new_one_may_be_a_message() -> None:
    assert Shapes([MESSAGE, b'{"other": 1}'] * 10).is_message(b'{"new": 1}') is None


def test_lists_are_messages_where_others_are() -> None:
    assert Shapes([b"[1]"]).is_message(b"[2, 3]") is True
    assert Shapes([b'[{"a": 1}]']).is_message(b'{"a": 1}') is False


def test_a_message_that_cannot_be_read_teaches_nothing_else() -> None:
    shapes = Shapes([b'{"a": x}', MESSAGE])

    assert shapes.is_message(b'{"a": 1}') is None
    assert shapes.is_message(b'{"lat": 1}') is False


def test_openings_say_whether_only_messages_begin_so() -> None:
    region = b'{"id": 1, "a{ "other" : {"id": 2'

    assert list(Shapes([MESSAGE, b'{"other": 1}']).openings(region)) == [(0, False), (12, True), (24, False)]
