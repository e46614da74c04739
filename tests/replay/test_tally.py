"""What happened to objects, in numbers."""

from __future__ import annotations

from dataclasses import fields

from object_replay.tally import Tally

NUMBERS = [field.name for field in fields(Tally) if field.name != "failures"]


def test_a_tally_begins_with_nothing() -> None:
    assert vars(Tally()) == {**dict.fromkeys(NUMBERS, 0), "failures": []}


def test_every_number_is_added() -> None:
    total = Tally(*range(1, len(NUMBERS) + 1))

    total.add(Tally(*range(10, len(NUMBERS) + 10)))

    assert [getattr(total, name) for name in NUMBERS] == [11 + 2 * n for n in range(len(NUMBERS))]


def test_ten_failures_are_told_and_no_more() -> None:
    total, other = Tally(), Tally()
    for number in range(7):
        total.tell("a", "reason", number)
        other.tell("b", "reason", number)

    total.add(other)

    assert [each["Key"] for each in total.failures] == ["a"] * 7 + ["b"] * 3
    assert total.failures[0] == {"Key": "a", "Number": 0, "Reason": "reason"}
    for number in range(7):
        other.tell("c", "reason", number)
    assert [each["Key"] for each in other.failures] == ["b"] * 7 + ["c"] * 3


def test_an_object_that_failed_as_a_whole_is_one_failure_without_a_number() -> None:
    tally = Tally.of_failed("key", "x" * 5000)

    assert tally == Tally(objects=1, failed_objects=1, failures=[{"Key": "key", "Reason": "x" * 2000}])
    assert Tally.of_failed("key", "reason", bytes_in=7).bytes_in == 7
