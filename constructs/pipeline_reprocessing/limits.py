"""With how much a pipeline refuses to begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Size, SizeRoundingBehavior

from pipeline_reprocessing.arguments import check_number, check_type, shown
from pipeline_reprocessing_handler.validation import Failure

MOST = 2**53 - 1
"""The largest whole number that JSON keeps everywhere."""


@dataclass(frozen=True, kw_only=True)
class ReplayLimits:
    """Refuses a run that selects more, before it calls the function. The deploy fails with `ReplayTooLarge`.

    Args:
        max_objects: Objects, at least 1; or a token. Default: no limit.
        max_size: Their size as stored, at least one byte. A token must be `Size.bytes(...)`. Default: no limit.

    Raises:
        ValueError: An argument is invalid.

    Example:
        from aws_cdk import Size
        from pipeline_reprocessing import ReplayLimits

        limits = ReplayLimits(max_objects=50_000, max_size=Size.gibibytes(100))
    """

    max_objects: int | None = None
    max_size: Size | None = None

    def __post_init__(self) -> None:
        if self.max_objects is not None:
            check_number("max_objects", self.max_objects, 1, MOST)
        self._bytes()

    @property
    def settings(self) -> Mapping[str, int]:
        """What the state machine passes to its first step."""
        values = {"MaxObjects": self.max_objects, "MaxBytes": self._bytes()}
        return {name: value for name, value in values.items() if value is not None}

    def _bytes(self) -> int | None:
        return None if self.max_size is None else whole_bytes("max_size", self.max_size, 1, MOST)


def limits_setting(limits: ReplayLimits | None) -> dict[str, Mapping[str, int]]:
    """The setting of a pipeline with these limits; none where there is no limit.

    Raises:
        ValueError: They are something else.
    """
    if limits is None:
        return {}
    check_type("limits", limits, ReplayLimits, "ReplayLimits(max_objects=50_000)")
    return {"Limits": limits.settings}


def whole_bytes(argument: str, size: Size, least: int, most: int, bounds: str = "") -> int:
    """The size in bytes, without a fraction; a token stays one.

    Raises:
        ValueError: It is no size, is out of bounds, or a token in another unit.
    """
    if not isinstance(size, Size):
        raise Failure(f"'{argument}' must be a Size, got {shown(size)}; write Size.mebibytes(...)")
    if size.is_unresolved():
        try:
            return size.to_bytes()  # type: ignore[return-value]  # a number token is a float
        except RuntimeError:  # CDK converts no tokens
            raise Failure(f"'{argument}' must be in bytes if it is a token; write Size.bytes(...)") from None
    # CDK leaves fractions in Size.bytes(...).
    value = int(size.to_bytes(rounding=SizeRoundingBehavior.FLOOR))
    if not least <= value <= most:
        raise Failure(f"'{argument}' must be {least:,} to {most:,} bytes{bounds}, got {value:,} bytes")
    return value
