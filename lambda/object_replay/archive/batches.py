"""Messages in the batches in which the user's function is called with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from object_replay.archive.framing import Framed
from object_replay.archive.json_values import Damaged

Reject = Callable[[int, bytes, str], None]
"""Takes the number, the bytes and the fault of a message that cannot be handed over."""


@dataclass(frozen=True)
class Batch:
    """Messages that go to the user's function together."""

    numbers: Sequence[int]
    """Where in its object each message stands, counted from 1."""
    messages: Sequence[bytes]
    """The bytes of each message, as they were stored."""
    arrived: Sequence[int] | None = None
    """When each message arrived, in epoch milliseconds, where the archive tells; else the object's time holds."""

    def __len__(self) -> int:
        return len(self.messages)

    def part(self, start: int, end: int | None = None) -> Batch:
        """Some of the messages, from one place to before another."""
        return Batch(
            self.numbers[start:end],
            self.messages[start:end],
            None if self.arrived is None else self.arrived[start:end],
        )


def batches(
    framed: Iterator[Framed | Damaged], *, size: int, max_bytes: int, reject: Reject
) -> Iterator[Batch]:
    """The messages in their order.

    Args:
        framed: An object's messages.
        size: Messages in a batch, at most.
        max_bytes: Bytes in a batch, at most; a larger message is a batch of its own.
        reject: Takes what is not handed over.
    """
    total = 0
    waiting = Batch([], [])
    for each in chain(framed, (None,)):
        if isinstance(each, Damaged):
            total += 1
            reject(total, each.data, each.reason)
            continue
        if each is not None:
            numbers = range(total + 1, total + 1 + len(each.messages))
            total += len(each.messages)
            arrived = None if each.arrived is None else [*(waiting.arrived or ()), *each.arrived]
            waiting = Batch([*waiting.numbers, *numbers], [*waiting.messages, *each.messages], arrived)
        done = 0
        while done < len(waiting):
            fitting = _fitting(waiting.messages, done, min(done + size, len(waiting)), max_bytes)
            if each is not None and fitting == len(waiting) and fitting - done < size:
                break  # more may fit
            batch = waiting.part(done, fitting)
            done = fitting
            yield batch
        waiting = waiting.part(done)


def _fitting(messages: Sequence[bytes], start: int, end: int, max_bytes: int) -> int:
    """Up to where the messages fit a batch: before `end`, and at least one."""
    if sum(map(len, messages[start:end])) <= max_bytes:
        return end
    total = 0
    for place in range(start, end):
        total += len(messages[place])
        if total > max_bytes and place > start:
            return place
    return end
