"""Faults on order: errors, slow answers and dropped connections, to see what clients make of them."""

import threading
from dataclasses import dataclass
from typing import Literal

CONNECTION_DROPPED = "ConnectionDropped"
"""In place of an error's name: the connection is closed without an answer."""

When = Literal["before", "after"]


@dataclass
class Fault:
    """A fault that is to befall requests.

    Args:
        operation: The operation.
        error: The exception that is answered, `ConnectionDropped`, or None for no more than the delay.
        times: How many requests it befalls.
        when: `before` the operation does anything, or `after` it has taken effect.
        delay_seconds: How long the answer is held back.
        message: What the error says.
    """

    operation: str
    error: str | None = None
    times: int = 1
    when: When = "before"
    delay_seconds: float = 0.0
    message: str = "told to fail"


class Faults:
    """The faults that are still to come. Every method may be called from several threads."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Orders a fault; those of one operation come in the order of their ordering."""
        with self._lock:
            self._faults.append(fault)

    def take(self, operation: str) -> Fault | None:
        """The fault that befalls this request, if there is one."""
        with self._lock:
            for fault in self._faults:
                if fault.operation == operation and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def all(self) -> list[Fault]:
        """Those that are still to come."""
        with self._lock:
            return [fault for fault in self._faults if fault.times > 0]

    def clear(self) -> None:
        """Takes them all back."""
        with self._lock:
            self._faults.clear()
