"""The calculation behind docs/scale.md."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def replay_scale(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(checkout / "benchmarks")
    return import_module("replay_scale")


def test_the_document_has_the_tables_of_the_calculation(replay_scale: ModuleType, checkout: Path) -> None:
    document = (checkout / "docs" / "scale.md").read_text(encoding="utf-8")

    rows = [line for line in replay_scale.tables() if line.startswith("|")]

    assert len(rows) == 3 * 2 + 10 + 6 + 6
    assert [row for row in rows if row not in document.splitlines()] == []


def test_with_one_call_in_flight_a_worker_does_one_thing_after_the_other(replay_scale: ModuleType) -> None:
    given = replay_scale.Assumptions(calls_per_worker=1)

    own, waiting, storage = 20_000 / 60_000, 40 * (0.05 + 0.01), 0.1
    assert given.work_item_seconds(3) == pytest.approx(3 * (own + waiting + storage))


def test_four_calls_in_flight_are_almost_four_times_as_fast_while_the_worker_waits(
    replay_scale: ModuleType,
) -> None:
    one, four = (replay_scale.Assumptions(calls_per_worker=calls) for calls in (1, 4))

    assert 3.5 < one.work_item_seconds(100) / four.work_item_seconds(100) < 4.0


def test_a_worker_is_never_faster_than_its_processor(replay_scale: ModuleType) -> None:
    given = replay_scale.Assumptions(call_seconds=0, call_overhead_seconds=0, object_overhead_seconds=0)

    assert given.work_item_seconds(100) == pytest.approx(100 * 20_000 / 60_000)
