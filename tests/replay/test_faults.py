"""Texts of what goes wrong, as they can be stored."""

from __future__ import annotations

import pytest

from object_replay.faults import FunctionFailed, told


@pytest.mark.parametrize(
    ("text", "stored"),
    [("ü" * 2001, "ü" * 2000), ("ü" * 1000, "ü" * 1000), ("half \ud83d of it", "half ? of it"), ("", "")],
)
def test_a_text_is_cut_and_holds_no_half_of_a_surrogate_pair(text: str, stored: str) -> None:
    assert told(text) == stored
    assert str(FunctionFailed(text)) == stored
