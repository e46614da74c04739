"""The bounds within which the handler promises to succeed; what they exclude is known to go wrong."""

FAIR_REPEATS = 8
"""How many calls of one operation in a row may be throttled or fail: the handler has to repeat that often."""
