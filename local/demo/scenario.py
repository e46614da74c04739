"""What differs between the two stories: how messages get in, and where the data is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from demo.temperatures import Reading
from local_aws import LocalAws


class Scenario(Protocol):
    """A pipeline on the embedded AWS."""

    stack: str
    """The stack's name in the example app."""
    title: str

    def feed(self, readings: Sequence[Reading], on_progress: Callable[[int], object]) -> None:
        """Sends the year in, as the station did; calls back with the number of messages sent so far."""

    def rows(self) -> list[Mapping[str, Any]]:
        """What the data store holds, as somebody who queries it sees it."""

    def runs(self) -> list[str]:
        """Every reprocessing run so far, the oldest first, each with its state."""


def outputs(aws: LocalAws, stack: str) -> dict[str, str]:
    """The outputs of a deployed stack, by their names."""
    described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
