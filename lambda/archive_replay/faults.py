"""What goes wrong, by how far it reaches: a payload, an object, a step that is repeated later, or the run."""


class ObjectFailure(Exception):
    """One object cannot be replayed; the text says why. The others can."""


class Superseded(ObjectFailure):
    """A run that began later has written this object's result already."""


class ReplayStopped(Exception):
    """Nothing can be replayed, or too much has failed: going on would be a waste."""


class Denied(ReplayStopped):
    """What is not allowed: it may still become so, for IAM takes a while to hear of a new policy."""


class Throttled(Exception):
    """AWS asks to come back later, after boto3's own retries: the state machine repeats the step with back-off."""


class FunctionFailed(Exception):
    """The user's function failed on this payload."""
