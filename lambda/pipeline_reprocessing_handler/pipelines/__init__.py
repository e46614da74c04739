"""The kinds of pipeline: one module each, behind the protocol that `reprocess` drives."""

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.request import Kind, Target

from .iot_analytics import IotAnalyticsPipeline
from .protocol import Pipeline, State, Status
from .state_machine import StateMachinePipeline

__all__ = ["Pipeline", "State", "Status", "open_pipeline"]


def open_pipeline(target: Target, aws: Aws) -> Pipeline:
    """The pipeline that a request names."""
    if target.kind is Kind.STATE_MACHINE:
        return StateMachinePipeline(target, aws)
    return IotAnalyticsPipeline(target, aws)
