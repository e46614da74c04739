"""The numbers in a run's output: how many objects and messages it processed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

MAX_COUNT = 2**63 - 1
"""A larger number is not a count, and several of them would not fit an answer of 4,096 bytes."""


@dataclass(frozen=True)
class Counts:
    """What a run that succeeded reports in its output; None where the output has no such number."""

    objects: int | None = None
    objects_failed: int | None = None
    objects_not_replayed: int | None = None
    objects_skipped: int | None = None
    messages_in: int | None = None
    messages_out: int | None = None
    messages_dropped: int | None = None
    messages_failed: int | None = None

    @classmethod
    def parse(cls, output: object) -> Counts:
        """Reads the output of an execution. Unknown shapes are valid: any state machine may be a pipeline.

        Args:
            output: The JSON text as the service returns it; None where it returns none.
        """
        try:
            document = json.loads(output) if isinstance(output, str) else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, Mapping):
            return cls()
        return cls(**{field.name: _count(document.get(_key(field.name))) for field in fields(cls)})

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of the custom resource: always all of them, as Fn::GetAtt fails on a missing one."""
        return {_attribute(name): "" if count is None else str(count) for name, count in asdict(self).items()}

    @property
    def why_nothing(self) -> str:
        """Why the run replayed nothing; empty if it replayed something, or does not tell."""
        if self.objects == 0:
            return "the selection matched no object"
        return "no message was read" if self.messages_in == 0 else ""

    def __str__(self) -> str:
        """The known numbers, such as `365 objects, 0 objects failed`."""
        return ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in asdict(self).items() if count is not None
        )


def _attribute(name: str) -> str:
    return name.title().replace("_", "")


def _key(name: str) -> str:
    attribute = _attribute(name)
    return attribute[0].lower() + attribute[1:]


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None  # bool is an int, too
