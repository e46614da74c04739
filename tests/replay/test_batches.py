"""Messages in the batches in which the user's function gets them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay.archive.batches import Batch, batches
from object_replay.archive.framing import Framed
from object_replay.archive.json_values import Damaged

LARGE = 1 << 30


def never(number: int, data: bytes, reason: str) -> None:
    pytest.fail(f"message {number} was rejected: {reason}")


def batched(framed: list[Framed | Damaged], size: int = 100, max_bytes: int = LARGE) -> list[Batch]:
    return list(batches(iter(framed), size=size, max_bytes=max_bytes, reject=never))


@given(
    groups=st.lists(
        st.lists(st.binary(max_size=6), min_size=1, max_size=8) | st.binary(max_size=6), max_size=8
    ),
    size=st.integers(1, 7),
    max_bytes=st.integers(1, 12),
)
def test_batches_hold_every_message_once_and_in_order(
    groups: list[list[bytes] | bytes], size: int, max_bytes: int
) -> None:
    given_ = [Framed(group) if isinstance(group, list) else Damaged(group, "is damaged") for group in groups]
    everything = [each for group in groups for each in (group if isinstance(group, list) else [group])]
    rejected: list[tuple[int, bytes, str]] = []

    found = list(
        batches(iter(given_), size=size, max_bytes=max_bytes, reject=lambda *fault: rejected.append(fault))
    )

    numbered = [pair for batch in found for pair in zip(batch.numbers, batch.messages, strict=True)]
    assert numbered == sorted(numbered)
    assert sorted(numbered + [(number, data) for number, data, _ in rejected]) == list(
        enumerate(everything, start=1)
    )
    assert all(reason == "is damaged" for _, _, reason in rejected)
    for batch in found:
        assert 0 < len(batch) <= size
        assert sum(map(len, batch.messages)) <= max_bytes or len(batch) == 1
    for batch, following in pairwise(found):
        with_next = sum(map(len, [*batch.messages, following.messages[0]]))
        assert len(batch) == size or with_next > max_bytes  # it was full


def test_a_message_larger_than_a_batch_is_a_batch_of_its_own() -> None:
    found = batched([Framed([b"a", b"b" * 9, b"c", b"d"])], max_bytes=4)

    assert [list(batch.messages) for batch in found] == [[b"a"], [b"b" * 9], [b"c", b"d"]]
    assert [list(batch.numbers) for batch in found] == [[1], [2], [3, 4]]


def test_messages_fill_a_batch_to_the_last_byte() -> None:
    found = batched([Framed([b"aa", b"bb", b"cc", b"dd"])], max_bytes=4)

    assert [list(batch.messages) for batch in found] == [[b"aa", b"bb"], [b"cc", b"dd"]]


def test_the_time_of_each_message_stays_with_it() -> None:
    found = batched([Framed([b"a"], [10]), Framed([b"b", b"c"], [20, 30])], size=2)

    assert [batch.arrived for batch in found] == [[10, 20], [30]]


def test_messages_without_a_time_have_none() -> None:
    [batch] = batched([Framed([b"a"]), Framed([b"b"])])

    assert batch.arrived is None
    assert batch.part(0, 1).arrived is None


def test_a_part_of_a_batch_keeps_numbers_and_times() -> None:
    batch = Batch([4, 5, 6], [b"a", b"b", b"c"], [10, 20, 30])

    assert batch.part(1) == Batch([5, 6], [b"b", b"c"], [20, 30])
    assert batch.part(0, 1) == Batch([4], [b"a"], [10])


def test_a_batch_is_given_as_soon_as_it_is_full() -> None:
    pulled = 0

    def framed() -> Iterator[Framed | Damaged]:
        nonlocal pulled
        for _ in range(40):
            pulled += 1
            yield Framed([b"x" * 10])

    read, held = 0, 0
    for batch in batches(framed(), size=100, max_bytes=30, reject=never):
        held = max(held, pulled - read)
        read += len(batch)

    assert read == 40
    assert held == 4
