"""The gate before the user's function: how many calls it lets through, and in which order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from time import sleep

import pytest

from object_replay.events.gate import Gate
from object_replay.faults import FunctionFailed, Throttled


def pass_through(gate: Gate, error: Exception | None = None) -> None:
    with suppress(Exception), gate:
        if error:
            raise error


def test_each_call_that_the_function_takes_makes_room_for_one_more() -> None:
    gate = Gate(4)

    rooms = []
    for error in (None, FunctionFailed("it ran, too"), None, None, None):
        rooms.append(gate.room)
        pass_through(gate, error)

    assert [*rooms, gate.room] == [1, 2, 3, 4, 4, 4]


def test_a_throttled_call_halves_the_room_down_to_one() -> None:
    gate = Gate(10)
    for _ in range(6):
        pass_through(gate)

    rooms = []
    for _ in range(4):
        pass_through(gate, Throttled("busy"))
        rooms.append(gate.room)

    assert rooms == [3, 1, 1, 1]


@pytest.mark.parametrize("error", [Throttled("busy"), ValueError("before the call")])
def test_a_gate_is_open_when_the_function_has_run_and_not_before(error: Exception) -> None:
    gate = Gate(2)

    pass_through(gate, error)
    before = gate.has_opened
    pass_through(gate)

    assert (before, gate.has_opened) == (False, True)
    assert gate.room == 2


def test_calls_wait_for_room_and_go_in_the_order_in_which_they_came() -> None:
    gate, went, go = Gate(1), list[int](), Event()

    def call(number: int) -> None:
        with gate:
            went.append(number)
            if number == 0:
                assert go.wait(10)

    with ThreadPoolExecutor(5) as threads:
        for number in range(5):
            threads.submit(call, number)
            sleep(0.02)  # so that they come in this order
        while_first = list(went)
        go.set()

    assert while_first == [0]
    assert went == [0, 1, 2, 3, 4]
