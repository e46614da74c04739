"""The bounds within which the handler promises to succeed; what they exclude is known to go wrong."""

FAIR_REPEATS = 4
"""How many calls of one operation in a row may be throttled or fail: the handler has to repeat that often."""
UNDATED_MAY_CRASH = False
"""Whether a crash may delay a request of which its ResponseURL does not tell when it was made: such a request is dated
by its first mark, and one that comes late supersedes what was asked meanwhile."""
LATE_DUPLICATES_ARE_HARMLESS = False
"""Whether a continuation that is delivered again after its answer leaves the run alone that goes on."""
