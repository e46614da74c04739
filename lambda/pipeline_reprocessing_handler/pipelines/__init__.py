"""The kinds of pipeline: one module each, behind the protocol that `lifecycle` and `waiting` drive."""

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.properties import Kind, Target

from .protocol import END_WITHIN, Counts, Pipeline, State, Status, end_run
from .state_machine import StateMachinePipeline

__all__ = ["END_WITHIN", "Counts", "Pipeline", "State", "Status", "end_run", "open_pipeline"]


def open_pipeline(target: Target, aws: Aws, ledger: Ledger) -> Pipeline:
    """The pipeline that a request names."""
    if target.kind is Kind.STATE_MACHINE:
        return StateMachinePipeline(target, aws)
    # imported where it is used: today few pipelines are of this kind, and its start costs each cold start
    from .iot_analytics import IotAnalyticsPipeline  # noqa: PLC0415  # see above

    return IotAnalyticsPipeline(target, aws, ledger)
