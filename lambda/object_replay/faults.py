"""What goes wrong, by how far it reaches: a payload, an object, a step that is repeated later, or the run."""

MAX_REASON = 2_000
"""Characters of a reason, with a key of 1,024 in it. A function that quotes its event in an error must not store that
with every message."""


def told(text: str) -> str:
    """The text as it can be stored anywhere: not too long, and without half a surrogate pair, which is no UTF-8."""
    return text[:MAX_REASON].encode(errors="replace").decode()


class Fault(Exception):
    """Something went wrong; the text says what, also when it comes from the user's function."""

    def __init__(self, text: str) -> None:
        super().__init__(told(text))


class ObjectFailure(Fault):
    """One object cannot be replayed; the text says why. The others can."""


class Unreadable(ObjectFailure):
    """The object may not be read. It may still become allowed, as with `Denied`."""


class Superseded(ObjectFailure):
    """A run that began later has written this object's result already."""


class ReplayStopped(Fault):
    """Nothing can be replayed, or too much has failed: going on would be a waste."""


class ReplayTooLarge(ReplayStopped):
    """More is selected than the limits of the pipeline allow."""


class Denied(ReplayStopped):
    """What is not allowed: it may still become so, for IAM takes a while to hear of a new policy."""


class Throttled(Fault):
    """AWS asks to come back later, after boto3's own retries."""


class OutOfReservation(Throttled):
    """The user's function did not run, for its reserved concurrency is 0 or in use."""


class ResultUnknown(Fault):
    """Whether the user's function ran is not known. Where a second run does no harm, it is called again."""


class FunctionFailed(Fault):
    """The user's function failed on this payload."""
