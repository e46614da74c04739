"""Stack events in the order in which they happened.

ministack gives all events of one millisecond the same time, and the CLI then shows them in reverse.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from local_aws.emulator import hooks


def install() -> None:
    """Lets every event be at least a millisecond later than the one before."""
    hooks.replace("ministack.services.cloudformation.stacks", "now_iso", "", lambda _original: _rising())


def _rising() -> Callable[[], str]:
    lock = threading.Lock()
    last = datetime.min.replace(tzinfo=UTC)

    def now_iso() -> str:
        nonlocal last
        with lock:
            last = max(datetime.now(UTC), last + timedelta(milliseconds=1))
            return f"{last:%Y-%m-%dT%H:%M:%S}.{last.microsecond // 1000:03d}Z"

    return now_iso
