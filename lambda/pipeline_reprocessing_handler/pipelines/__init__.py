"""The kinds of pipeline: one module each, behind the protocol that `lifecycle` drives."""

import logging
from datetime import timedelta

from pipeline_reprocessing_handler.aws import Aws, Clock
from pipeline_reprocessing_handler.properties import Kind, Target

from .counts import Counts
from .iot_analytics import IotAnalyticsPipeline
from .protocol import Pipeline, State, Status
from .state_machine import StateMachinePipeline

__all__ = ["END_WITHIN", "Counts", "Pipeline", "State", "Status", "end_run", "open_pipeline"]

log = logging.getLogger(__name__)

END_WITHIN = timedelta(minutes=1)
"""How long a cancelled run may take to end."""


def open_pipeline(target: Target, aws: Aws) -> Pipeline:
    """The pipeline that a request names."""
    if target.kind is Kind.STATE_MACHINE:
        return StateMachinePipeline(target, aws)
    return IotAnalyticsPipeline(target, aws)


def end_run(pipeline: Pipeline, run_id: str, cause: str, clock: Clock) -> None:
    """Cancels a run that still goes on, and sees it end."""
    before = pipeline.status(run_id).state
    if before not in (State.RUNNING, State.UNKNOWN):
        return
    log.info("cancelling run '%s': %s", run_id, cause)
    # What can be cancelled and is not listed yet will be: whoever starts the next run must not take it for that one.
    goes_on = {State.RUNNING, before} if pipeline.cancel(run_id, cause) else {State.RUNNING}
    until, pause = clock.now() + END_WITHIN, 0.5
    while pipeline.status(run_id).state in goes_on:
        if clock.now() >= until:
            log.warning("run '%s' was cancelled and is not seen to end", run_id)
            return
        clock.sleep(pause)
        pause = min(2 * pause, 8.0)
