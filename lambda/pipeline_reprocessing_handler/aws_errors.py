"""What a refused call means to us. `aws` turns every error of a service into one of these."""

from __future__ import annotations


class Fault(Exception):
    """A call to AWS that failed; its text names the operation and what the service said."""


class Denied(Fault):
    """IAM refused: nothing happened."""


class Throttled(Fault):
    """Too many calls: nothing happened, later it may."""


class Missing(Fault):
    """What the call names does not exist."""


class Conflict(Fault):
    """What the call would make exists already."""


class PerhapsOurs(Conflict):
    """The same, after an attempt at this very call whose outcome is not known."""


class Refused(Fault):
    """The request itself is wrong: nothing happened and never will."""


class Unclear(Fault):
    """A dropped connection, a time-out or an error of the service: the call may have taken effect, or not."""


class Unreachable(Unclear):
    """No connection to the service came about: nothing happened, and perhaps there is no such service any more."""
