"""What can go wrong with a call, and when it does in this scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

ANY = "*"
"""Stands for every operation: the count is over all calls of the world."""


class Trouble(StrEnum):
    """How a call goes wrong."""

    THROTTLED = "throttled"
    DENIED = "denied"
    ERROR_BEFORE = "error before effect"
    ERROR_AFTER = "error after effect"
    DROPPED_BEFORE = "dropped before effect"
    DROPPED_AFTER = "dropped after effect"
    HANGS_BEFORE = "hangs, no effect"
    HANGS_AFTER = "hangs, after effect"
    LATE = "hangs, takes effect later"
    UNREACHABLE = "no connection"
    CRASH_BEFORE = "crash before effect"
    CRASH_AFTER = "crash after effect"
    SLOW = "slow"
    REFUSED = "refused, 403"
    UNAVAILABLE = "refused, 503"


UNCLEAR = (
    Trouble.ERROR_BEFORE,
    Trouble.ERROR_AFTER,
    Trouble.DROPPED_BEFORE,
    Trouble.DROPPED_AFTER,
    Trouble.HANGS_BEFORE,
    Trouble.HANGS_AFTER,
    Trouble.LATE,
)
"""After one of these nobody knows whether the call has done anything."""
HANGING = frozenset({Trouble.HANGS_BEFORE, Trouble.HANGS_AFTER, Trouble.LATE, Trouble.SLOW})
"""A call that takes seconds to go wrong."""
CRASHES = frozenset({Trouble.CRASH_BEFORE, Trouble.CRASH_AFTER})
WITHOUT_EFFECT = frozenset(
    {
        Trouble.THROTTLED,
        Trouble.DENIED,
        Trouble.ERROR_BEFORE,
        Trouble.DROPPED_BEFORE,
        Trouble.HANGS_BEFORE,
        Trouble.UNREACHABLE,
        Trouble.CRASH_BEFORE,
        Trouble.REFUSED,
        Trouble.UNAVAILABLE,
    }
)


@dataclass(frozen=True)
class Fault:
    """Trouble with some calls of one operation.

    Args:
        operation: As boto3 spells it; `put` for answers and signals; `ANY` for whatever is called.
        trouble: How they go wrong.
        nth: The first one, counted from 1 since the world began.
        times: How many in a row.
        during: Counts only calls made for a `Create`, an `Update`, a `rollback` or a `Delete`; by default all.
    """

    operation: str
    trouble: Trouble
    nth: int = 1
    times: int = 1
    during: str = ""


class Troubles:
    """The faults of a scenario, and how far the counting has come."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._calls: Counter[tuple[str, str]] = Counter()
        self.met: list[Fault] = []

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called."""
        return Counter({operation: count for (operation, during), count in self._calls.items() if not during})

    def add(self, fault: Fault) -> None:
        """Makes trouble from now on: `nth` counts from the next call."""
        counted = self._calls[fault.operation, fault.during]
        self._faults.append(replace(fault, nth=counted + fault.nth))

    def next(self, operation: str, during: str) -> Trouble | None:
        """The trouble of the next call of an operation, made for such a request."""
        for counted in ((operation, during), (operation, ""), (ANY, during), (ANY, "")):
            self._calls[counted] += 1
        for fault in self._faults:
            if fault.operation in (operation, ANY) and fault.during in (during, ""):
                count = self._calls[fault.operation, fault.during]
                if fault.nth <= count < fault.nth + fault.times:
                    self.met.append(fault)
                    return fault.trouble
        return None
