"""CSV files become JSON lines as they are uploaded; a deploy that changes the function does it for all that are stored.

    cdk deploy --app "python examples/csv_to_json/app.py"                    # as it was: every value is a text
    cdk deploy --app "python examples/csv_to_json/app.py" -c code=numbers    # numbers: all stored files are converted
    cdk deploy --app "python examples/csv_to_json/app.py" -c code=lenient -c keys=reports/<run>/errors.jsonl

One file that is no table of numbers makes the second deploy fail, with the file's key and the reason. The third has a
function for which it is none, and runs it over what failed, and nothing else.
"""

from pathlib import Path

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk.aws_lambda import Architecture, Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket, EventType, NotificationKeyFilter
from aws_cdk.aws_s3_notifications import LambdaDestination
from constructs import Construct

from pipeline_reprocessing import (
    Archive,
    MessageSelection,
    PipelineReprocessing,
    ReplayLimits,
    Reports,
    S3EventPipeline,
)

PREFIX, SUFFIX = "uploads/", ".csv"


class CsvToJsonStack(Stack):
    """A bucket, the function that S3 calls for each upload, and the construct that calls it for what is stored.

    Args:
        scope: The app.
        id: The stack's name.
        code: Which of the functions beside this file is deployed.
        keys: The file with the keys of what to convert, in the results' bucket. Default: everything is converted.
    """

    def __init__(self, scope: Construct, id: str, *, code: str, keys: str | None) -> None:  # noqa: A002  # CDK's name
        super().__init__(scope, id, description="CSV files to JSON lines, converted again by each deploy")
        uploads = Bucket(self, "Uploads", enforce_ssl=True)
        results = Bucket(self, "Results", enforce_ssl=True)
        convert = Function(
            self,
            "Convert",
            code=Code.from_asset(
                str(Path(__file__).parent / code), exclude=["**/__pycache__", "**/*.pyc", "**/.DS_Store"]
            ),
            handler="index.handler",
            runtime=Runtime.PYTHON_3_14,
            architecture=Architecture.ARM_64,
            timeout=Duration.minutes(1),
            environment={"RESULTS": results.bucket_name},
        )
        uploads.grant_read(convert)
        results.grant_put(convert)
        uploads.add_event_notification(
            EventType.OBJECT_CREATED,
            LambdaDestination(convert),
            NotificationKeyFilter(prefix=PREFIX, suffix=SUFFIX),
        )

        pipeline = S3EventPipeline(
            self,
            "Csv",
            source=Archive.objects(uploads, prefix=PREFIX, suffix=SUFFIX),
            function=convert,
            limits=ReplayLimits(max_objects=100_000),
            reports=Reports(results, prefix="reports/"),
        )
        backfill = PipelineReprocessing(
            self,
            "Backfill",
            pipeline=pipeline,
            messages=MessageSelection.keys_from(results, keys) if keys else MessageSelection.all(),
        )

        CfnOutput(self, "UploadsBucket", value=uploads.bucket_name)
        CfnOutput(self, "ResultsBucket", value=results.bucket_name)
        CfnOutput(self, "Objects", value=backfill.objects)
        CfnOutput(self, "ObjectsDone", value=backfill.objects_done)


def main() -> None:
    """Synthesizes the stack with the function that `-c code=...` says. Default: `texts`."""
    app = App()
    code = app.node.try_get_context("code") or "texts"
    CsvToJsonStack(app, "CsvToJson", code=code, keys=app.node.try_get_context("keys"))
    app.synth()


if __name__ == "__main__":
    main()
