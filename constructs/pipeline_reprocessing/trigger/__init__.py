"""When a deploy reprocesses, and why; `trigger` is the way in."""
