"""What happened to objects and their messages, in numbers and the first failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from object_replay.faults import told

MAX_TOLD = 10
"""Failures that a tally tells of; the errors prefix has all of them."""


@dataclass
class Tally:
    """What happened to some objects."""

    objects: int = 0
    failed_objects: int = 0
    skipped_objects: int = 0
    """Objects that hold no messages, such as Firehose's error output, or that cannot be read while they are archived."""
    gone_objects: int = 0
    """Objects that were deleted before the function had done its work on them."""
    changed_objects: int = 0
    """Objects that were written again after the run had begun: S3 tells the function of those itself."""
    messages_in: int = 0
    messages_out: int = 0
    messages_dropped: int = 0
    messages_failed: int = 0
    bytes_in: int = 0
    """As stored: compressed, if the archive is."""
    bytes_out: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first failures: `Key`, `Reason` and, where it was one message, its `Number`."""

    def add(self, other: Tally) -> None:
        """Counts the other as well."""
        for name, value in vars(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
        self.failures += other.failures[: MAX_TOLD - len(self.failures)]

    def tell(self, key: str, reason: str, number: int | None = None) -> None:
        """Remembers a failure, if it is among the first."""
        if len(self.failures) < MAX_TOLD:
            where = {} if number is None else {"Number": number}
            self.failures.append({"Key": key, **where, "Reason": told(reason)})

    @classmethod
    def of_failed(cls, key: str, reason: str, *, bytes_in: int = 0) -> Tally:
        """One object that failed as a whole."""
        tally = cls(objects=1, failed_objects=1, bytes_in=bytes_in)
        tally.tell(key, reason)
        return tally
