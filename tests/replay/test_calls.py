"""Several calls of the user's function in flight, and what that changes: nothing but the time."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from object_replay.archive.calls import Calls, _Room

START = datetime(2025, 1, 1, tzinfo=UTC)


class Meter:
    """A function that notes how many of its calls run together. The first ones wait for each other."""

    def __init__(self, expected: int) -> None:
        self.most = 0
        self._running = self._calls = 0
        self._expected = expected
        self._lock = threading.Lock()
        self._together = threading.Barrier(expected)

    def __call__(self, given: Any) -> Any:
        with self._lock:
            self._running += 1
            self._calls += 1
            waits = self._calls <= self._expected
            self.most = max(self.most, self._running)
        if waits:
            self._together.wait(timeout=20)
        with self._lock:
            self._running -= 1
        return given


def fill(pipeline: Any, *counts: int) -> list[str]:
    """Objects with so many messages each."""
    return [
        pipeline.put(
            pipeline.channel_key(START + timedelta(days=day)), *[{"day": day, "n": n} for n in range(count)]
        )
        for day, count in enumerate(counts)
    ]


@pytest.mark.parametrize("counts", [(40,), (1,) * 12, (10, 1, 1, 8)], ids=["one large", "small", "mixed"])
def test_so_many_calls_are_in_flight_and_no_more(pipeline: Any, counts: tuple[int, ...]) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 4}
    pipeline.settings["Function"]["BatchSize"] = 1
    fill(pipeline, *counts)
    meter = Meter(4)
    pipeline.function.code = meter

    summary = pipeline.replay(All=True)

    assert meter.most == 4
    assert summary["messagesOut"] == sum(counts)
    for day, count in enumerate(counts):
        lines = pipeline.s3.lines(f"out/dt={START + timedelta(days=day):%Y-%m-%d}/")
        assert lines == [{"day": day, "n": n} for n in range(count)]


def test_results_keep_their_order_when_calls_overtake_each_other() -> None:
    first_may_end = threading.Event()

    def call(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(timeout=20)
        elif number == 3:
            first_may_end.set()
        return number

    with Calls(4) as calls:
        assert list(calls.ordered(call, iter(range(10)), turn=0)) == list(range(10))


def test_payloads_are_taken_only_when_there_is_room_for_them() -> None:
    taken: list[int] = []
    may_end = threading.Event()

    def given() -> Any:
        for number in range(20):
            taken.append(number)
            yield number

    def call(number: int) -> int:
        assert may_end.wait(timeout=20)
        return number

    most: list[int] = []

    def let_go() -> None:
        most.append(len(taken))
        may_end.set()

    with Calls(2) as calls:
        results = calls.ordered(call, given(), turn=0)
        threading.Timer(0.1, let_go).start()
        assert next(results) == 0
        assert most == [4]  # two in flight, one that waits, and one for which there is no room yet
        assert list(results) == list(range(1, 20))


def test_the_first_object_has_all_calls_while_it_can_use_them(pipeline: Any) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 2}
    pipeline.settings["Function"]["BatchSize"] = 1
    fill(pipeline, 30, 30, 30)
    days: list[int] = []

    def code(messages: Any) -> Any:
        days.append(messages[0]["day"])
        time.sleep(0.01)
        return messages

    pipeline.function.code = code

    pipeline.replay(All=True)

    # The next one gets what the first one has no message for: while it is opened, and while its last calls run.
    assert days[:30].count(0) >= 20
    assert days[-20:].count(2) >= 10


def test_a_failing_call_is_the_failure_of_its_object_alone(pipeline: Any) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 3, "ToleratedFailurePercentage": 50}
    pipeline.settings["Function"]["BatchSize"] = 1
    fill(pipeline, 3, 3, 3)
    pipeline.put(pipeline.channel_key(START + timedelta(days=1)), raw=b"\x1f\x8bdamaged")

    summary = pipeline.replay(All=True)

    assert (summary["objects"], summary["objectsFailed"], summary["messagesOut"]) == (3, 1, 6)


def test_what_is_in_flight_is_waited_for_when_the_run_is_over(pipeline: Any) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 4}
    pipeline.settings["Function"]["BatchSize"] = 1
    keys = fill(pipeline, *[20] * 8)
    lock = threading.Lock()
    running = [0]

    def code(messages: Any) -> Any:
        with lock:
            running[0] += 1
        try:
            return [{"n": 1 // messages[0]["n"]}]
        finally:
            with lock:
                running[0] -= 1

    pipeline.function.code = code

    answer = pipeline.replay(All=True)

    assert running == [0]
    assert "messages failed" in answer["Cause"]
    # Four objects are begun at once, and the first message of each fails.
    assert any(key in answer["Cause"] for key in keys[:4])
    assert len(pipeline.function.events) < 40
    assert pipeline.s3.keys("result-bucket", "out/") == []
    assert pipeline.s3.uploads == {}


def test_an_object_that_was_not_finished_in_time_is_left_with_those_not_begun(pipeline: Any) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 2}
    pipeline.function.seconds = 300
    keys = fill(pipeline, 1, 1, 1, 1, 1)
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()

    left = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert left["Part"] == 1
    assert set(left["Keys"]) < set(keys)
    assert left["Keys"] == [key for key in keys if key in left["Keys"]]


def test_two_calls_of_one_work_item_count_no_object_twice(pipeline: Any) -> None:
    pipeline.settings["Workers"] = 1
    pipeline.function.seconds = 400
    fill(pipeline, 1, 1, 1)
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()

    first = pipeline._step("REPLAY", planned["Run"], Batch=item)
    # The state machine did not hear of the first call's end and repeats it, with more time left than that had.
    pipeline.context.aws_request_id = "00000000-0000-4000-8000-000000000002"
    pipeline.context.left, pipeline.function.seconds = 900, 10
    second = pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert len(first["Keys"]) == 1
    assert second["Keys"] == []
    summary = pipeline.finish(planned)
    assert (summary["objectsNotReplayed"], summary["messagesIn"]) == (0, 3)
    notes = [
        json.loads(pipeline.s3.buckets["result-bucket"][key].body)
        for key in pipeline.s3.keys("result-bucket", "runs/out/run-1/results/")
    ]
    assert [len(note["Objects"]) for note in notes] == [2, 3]


def test_what_is_given_up_is_waited_for_and_leaves_its_room_to_others() -> None:
    both_run, may_end = threading.Barrier(3), threading.Event()
    called: list[int] = []
    ended: list[int] = []

    def call(number: int) -> int:
        called.append(number)
        if number < 2:
            both_run.wait(timeout=20)
            assert may_end.wait(timeout=20)
        ended.append(number)
        return number

    def given() -> Any:
        yield from range(3)  # two run, one waits for a thread
        both_run.wait(timeout=20)
        threading.Timer(0.1, may_end.set).start()
        raise OSError("the object breaks off")

    with Calls(2) as calls:
        with pytest.raises(OSError, match="breaks off"):
            list(calls.ordered(call, given(), turn=0))
        assert sorted(called) == sorted(ended) == [0, 1]

        assert list(calls.ordered(call, iter(range(10, 20)), turn=1)) == list(range(10, 20))


def test_a_call_that_fails_while_its_object_is_given_up_hides_nothing() -> None:
    def call(number: int) -> int:
        raise ValueError(number)

    with Calls(3) as calls, pytest.raises(ValueError, match="0"):
        list(calls.ordered(call, iter(range(10)), turn=0))


def test_who_is_first_in_turn_has_the_room_first() -> None:
    room = _Room(1)
    room.want(2)
    room.want(1)

    assert not room.take(2, wait=False)
    assert room.take(1, wait=False)
    assert not room.take(2, wait=False)
    room.give_back()
    assert room.take(2, wait=False)


@pytest.mark.parametrize("event", ["give back", "forget", "take"])
def test_who_waits_for_room_hears_when_its_turn_has_come(event: str) -> None:
    room = _Room(1 if event != "take" else 2)
    room.want(1)
    if event == "give back":
        assert room.take(1, wait=False)
    room.want(2)
    waiting = threading.Thread(target=room.take, args=(2,), kwargs={"wait": True}, daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()

    if event == "give back":
        room.give_back()
    elif event == "forget":
        room.forget(1)
    else:
        assert room.take(1, wait=False)

    waiting.join(20)
    assert not waiting.is_alive()
    room.forget(3)  # is in no line


def test_an_unexpected_error_ends_the_worker_and_begins_no_further_object(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.settings |= {"Workers": 1, "CallsPerWorker": 2}
    fill(pipeline, *[1] * 20)
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()

    begun: list[str] = []

    def broken(_: Any, __: Any, key: str) -> Any:
        begun.append(key)
        raise KeyError("a fault of the worker")

    monkeypatch.setattr("object_replay.archive.replaying.framed", broken)

    with pytest.raises(KeyError, match="a fault of the worker"):
        pipeline._step("REPLAY", planned["Run"], Batch=item)

    assert len(begun) <= 4
