"""With how much a pipeline refuses to begin: what the limits become, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aws_cdk import Size, Stack, Token

from pipeline_reprocessing import ReplayLimits
from pipeline_reprocessing.limits import limits_setting

MOST = 9_007_199_254_740_991


def number() -> Any:
    return Token.as_number({"Ref": "Number"})


@pytest.mark.parametrize(
    ("limits", "settings"),
    [
        (ReplayLimits(), {}),
        (ReplayLimits(max_objects=1), {"MaxObjects": 1}),
        (ReplayLimits(max_objects=MOST), {"MaxObjects": MOST}),
        (ReplayLimits(max_size=Size.bytes(1)), {"MaxBytes": 1}),
        (ReplayLimits(max_size=Size.bytes(MOST)), {"MaxBytes": MOST}),
        (ReplayLimits(max_size=Size.mebibytes(0.5)), {"MaxBytes": 524_288}),
        (
            ReplayLimits(max_objects=50_000, max_size=Size.gibibytes(100)),
            {"MaxObjects": 50_000, "MaxBytes": 107_374_182_400},
        ),
    ],
)
def test_limits_are_whole_numbers_of_objects_and_bytes(
    limits: ReplayLimits, settings: dict[str, int]
) -> None:
    assert limits.settings == settings
    assert limits_setting(limits) == {"Limits": settings}


def test_a_pipeline_without_limits_has_no_setting() -> None:
    assert limits_setting(None) == {}


def test_tokens_pass() -> None:
    limits = ReplayLimits(max_objects=number(), max_size=Size.bytes(number()))

    assert Stack().resolve(limits.settings) == {
        "MaxObjects": {"Ref": "Number"},
        "MaxBytes": {"Ref": "Number"},
    }


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_objects": 0}, "'max_objects' must be 1 to 9,007,199,254,740,991, got 0"),
        (
            {"max_objects": MOST + 1},
            "'max_objects' must be 1 to 9,007,199,254,740,991, got 9,007,199,254,740,992",
        ),
        ({"max_objects": 1.5}, "'max_objects' must be a whole number, got float 1.5"),
        ({"max_objects": True}, "'max_objects' must be a whole number, got bool True"),
        ({"max_objects": "50_000"}, "'max_objects' must be a whole number, got '50_000'"),
        ({"max_size": 1}, "'max_size' must be a Size, got int 1; write Size.mebibytes(...)"),
        (
            {"max_size": Size.bytes(0)},
            "'max_size' must be 1 to 9,007,199,254,740,991 bytes, got 0 bytes",
        ),
        (
            {"max_size": Size.pebibytes(9)},
            "'max_size' must be 1 to 9,007,199,254,740,991 bytes, got 10,133,099,161,583,616 bytes",
        ),
        (
            {"max_size": Size.mebibytes(number())},
            "'max_size' must be in bytes if it is a token; write Size.bytes(...)",
        ),
    ],
)
def test_impossible_limits_are_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ReplayLimits(**arguments)


def test_what_is_no_limits_is_refused() -> None:
    error = (
        "'limits' must be of type ReplayLimits, got int 5; use one such as ReplayLimits(max_objects=50_000)"
    )
    number: Any = 5

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        limits_setting(number)
