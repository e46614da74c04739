"""AWS CDK constructs that bring a pipeline's stored data up to date in the deploy that changes the pipeline."""

from object_replay.settings import Framing, ResultFraming
from pipeline_reprocessing.archive import Archive, ErrorOutput
from pipeline_reprocessing.archive_pipeline import ArchivePipeline
from pipeline_reprocessing.destination import Destination
from pipeline_reprocessing.limits import ReplayLimits
from pipeline_reprocessing.messages import MessageSelection
from pipeline_reprocessing.notification import Notification
from pipeline_reprocessing.pipelines import IReprocessablePipeline, PipelineBinding, ReprocessablePipeline
from pipeline_reprocessing.reports import Reports
from pipeline_reprocessing.reprocessing import PipelineReprocessing
from pipeline_reprocessing.s3_event_pipeline import S3EventPipeline
from pipeline_reprocessing.transform import Transform
from pipeline_reprocessing.trigger.watch import Watch
from pipeline_reprocessing.wait import Wait
from pipeline_reprocessing_handler.validation import OnRemoval, OnRollback, OnTimeout

__all__ = [
    "Archive",
    "ArchivePipeline",
    "Destination",
    "ErrorOutput",
    "Framing",
    "IReprocessablePipeline",
    "MessageSelection",
    "Notification",
    "OnRemoval",
    "OnRollback",
    "OnTimeout",
    "PipelineBinding",
    "PipelineReprocessing",
    "ReplayLimits",
    "Reports",
    "ReprocessablePipeline",
    "ResultFraming",
    "S3EventPipeline",
    "Transform",
    "Wait",
    "Watch",
]
