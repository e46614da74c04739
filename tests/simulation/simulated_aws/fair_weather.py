"""The bounds within which the handler promises to succeed; what they exclude is known to go wrong."""

FAIR_REPEATS = 4
"""How many calls of one operation in a row may be throttled or fail: the handler has to repeat that often."""
UNDATED_IS_FAIR = False
"""Whether a ResponseURL need not tell when its request was made: such a request is dated by its first mark, and one that
comes late, after a crash or as a duplicate, supersedes what was asked meanwhile."""
LATE_DUPLICATES_ARE_HARMLESS = False
"""Whether a continuation that is delivered again after its answer leaves the run alone that goes on."""
