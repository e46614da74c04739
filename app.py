"""The example app: temperatures in degrees Fahrenheit arrive; what is stored of them follows the code that is deployed.

`cdk deploy Temperatures -c stage=celsius` changes the function, replays the archive through it, and ends when every
stored value is in degrees Celsius. It runs on AWS as it is. `IotAnalytics` is the same on AWS IoT Analytics, which has
ended: see `examples/iot_analytics.py`.
"""

from pathlib import Path

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk.aws_lambda import Architecture, Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket
from constructs import Construct
from examples.iot_analytics import IotAnalyticsStack

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    MessageSelection,
    PipelineReprocessing,
    Transform,
    Wait,
)

TRANSFORMATIONS = Path(__file__).parent / "examples" / "transformations"
STAGES = ("fahrenheit", "celsius", "broken")


class TemperaturesStack(Stack):
    """Raw messages as Firehose keeps them, the function that transforms them, and what is stored of them.

    Args:
        scope: The app.
        id: The stack's name.
        stage: Which of the transformations is deployed: one of `STAGES`.
    """

    def __init__(self, scope: Construct, id: str, *, stage: str) -> None:  # noqa: A002  # CDK's name for it
        super().__init__(scope, id, description="Temperatures, replayed from their archive by each deploy")
        # Where a Firehose stream with source record backup keeps what arrives.
        archive = Bucket(self, "Archive", enforce_ssl=True)
        data = Bucket(self, "Data", enforce_ssl=True)
        transform = Function(
            self,
            "Transform",
            # What differs between machines must not change the asset's hash, and so replay.
            code=Code.from_asset(
                str(TRANSFORMATIONS / stage), exclude=["**/__pycache__", "**/*.pyc", "**/.DS_Store"]
            ),
            handler="index.handler",
            runtime=Runtime.PYTHON_3_14,
            architecture=Architecture.ARM_64,
            timeout=Duration.minutes(1),
        )
        pipeline = ArchivePipeline(
            self,
            "Pipeline",
            source=Archive.firehose(archive, prefix="raw/"),
            transform=Transform.firehose(transform),
            destination=Destination(data, prefix="temperatures/"),
        )
        backfill = PipelineReprocessing(
            self,
            "Backfill",
            pipeline=pipeline,
            messages=MessageSelection.all(),
            wait=Wait.for_completion(timeout=Duration.minutes(30)),
        )

        CfnOutput(self, "ArchiveBucket", value=archive.bucket_name)
        CfnOutput(self, "DataBucket", value=data.bucket_name)
        CfnOutput(self, "DataPrefix", value="temperatures/")
        CfnOutput(self, "StateMachineArn", value=pipeline.state_machine.state_machine_arn)
        CfnOutput(self, "ReprocessingId", value=backfill.reprocessing_id)
        CfnOutput(self, "ReprocessingStatus", value=backfill.status)
        CfnOutput(self, "MessagesIn", value=backfill.messages_in)
        CfnOutput(self, "MessagesOut", value=backfill.messages_out)


def main() -> None:
    """Synthesizes both stacks at the stage that `-c stage=...` says. Default: `fahrenheit`."""
    app = App()
    stage = app.node.try_get_context("stage") or "fahrenheit"
    if stage not in STAGES:
        raise ValueError(f"'stage' must be one of {', '.join(STAGES)}, got '{stage}'; use -c stage=celsius")
    TemperaturesStack(app, "Temperatures", stage=stage)
    IotAnalyticsStack(app, "IotAnalytics", stage=stage)
    app.synth()


if __name__ == "__main__":
    main()
