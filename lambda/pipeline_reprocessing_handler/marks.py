"""What the marks of one request say. A start leaves them before and after it is sent, and whoever comes second reads them.

made=<time>~<..>  when the request was made, which may be long before it arrives, and what it asks for, as a digest
before=<bookmark> what the pipeline's newest run was before anybody started one: tells new from old
start-<n>         somebody holds the right to start until a lease is over; then, if no run has turned up, the next
one takes start-<n+1>
free-<n>          the holder of that claim has given it up, and no run will come of it
run=<id>          somebody started a run and said so: adopt it
answer-sent       CloudFormation has its answer
"""

from __future__ import annotations

from datetime import datetime


class Marks(dict[str, datetime]):
    """The marks of one request, the oldest first, each with the time at which it was made."""

    @property
    def run(self) -> str | None:
        """The run that was started; of several the one that was recorded first."""
        return self._after("run=")

    @property
    def bookmark(self) -> str | None:
        return self._after("before=")

    @property
    def asked_at(self) -> float | None:
        """When the request was made, in epoch seconds."""
        said = self._after("made=")
        return None if said is None else float(said.partition("~")[0])

    @property
    def asks_for(self) -> str:
        """The digest of what the request asks for."""
        return (self._after("made=") or "").partition("~")[2]

    @property
    def is_answered(self) -> bool:
        return "answer-sent" in self

    @property
    def is_claimed(self) -> bool:
        """Whether anybody has ever held the right to start."""
        return any(mark.startswith("start-") for mark in self)

    @property
    def open_since(self) -> datetime | None:
        """When the newest claim was made of which a run may still come."""
        claims = {
            mark.removeprefix("start-"): made for mark, made in self.items() if mark.startswith("start-")
        }
        return max((made for number, made in claims.items() if f"free-{number}" not in self), default=None)

    def _after(self, prefix: str) -> str | None:
        """What the oldest mark of that kind says."""
        return next((mark.removeprefix(prefix) for mark in self if mark.startswith(prefix)), None)
