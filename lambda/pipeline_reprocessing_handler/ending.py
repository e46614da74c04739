"""The end of a run that is not wanted any more."""

from __future__ import annotations

import logging
from datetime import timedelta

from .aws import Clock
from .pipelines import Pipeline, State

log = logging.getLogger(__name__)

END_WITHIN = timedelta(minutes=1)
"""How long a cancelled run may take to end."""


def end_run(pipeline: Pipeline, run_id: str, cause: str, clock: Clock) -> None:
    """Cancels a run that still goes on, and sees it end."""
    # A new run may not be listed yet, and a cancelled one may take its time.
    if pipeline.status(run_id).state not in (State.RUNNING, State.UNKNOWN):
        return
    log.info("cancelling run '%s': %s", run_id, cause)
    pipeline.cancel(run_id, cause)
    until, pause = clock.now() + END_WITHIN, 0.5
    while pipeline.status(run_id).state is State.RUNNING:
        if clock.now() >= until:
            log.warning("run '%s' was cancelled and still goes on", run_id)
            return
        clock.sleep(pause)
        pause = min(2 * pause, 8.0)
