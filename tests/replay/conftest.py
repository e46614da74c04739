"""Pipelines on an S3 and a Lambda in memory: what the tests of the Lambda code run against."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from fake_s3 import DESTINATION, SOURCE, FakeS3  # found on the path above
from played_pipeline import FUNCTION, STREAM, FakeLambda, Pipeline


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


@pytest.fixture
def function() -> FakeLambda:
    return FakeLambda()


@pytest.fixture
def pipeline(s3: FakeS3, function: FakeLambda) -> Pipeline:
    """A pipeline on an IoT Analytics channel's archive with the Lambda activity's contract, tolerating nothing."""
    return Pipeline(
        s3,
        function,
        {
            "Source": {"Layout": "IOT_ANALYTICS", "Bucket": SOURCE, "Root": "raw/channel/telemetry/"},
            "Function": {
                "Arn": FUNCTION,
                "Contract": "LAMBDA_ACTIVITY",
                "BatchSize": 10,
                "MaxBytes": 4 << 20,
            },
            "Destination": {
                "Bucket": DESTINATION,
                "Prefix": "out/",
                "ErrorsPrefix": "errors/out/",
                "RunsPrefix": "runs/out/",
            },
            "Workers": 4,
            "CallsPerWorker": 1,
            "ToleratedFailurePercentage": 0,
        },
    )


@pytest.fixture
def uploads(s3: FakeS3, function: FakeLambda) -> Pipeline:
    """A pipeline that calls a function for the objects of a bucket, tolerating nothing and trying nothing again."""
    return Pipeline(
        s3,
        function,
        {
            "Source": {"Layout": "OBJECTS", "Bucket": SOURCE, "Root": ""},
            "Function": {"Arn": FUNCTION, "Contract": "S3_EVENT", "Timeout": 60},
            "Destination": {"Bucket": DESTINATION, "RunsPrefix": "runs/out/"},
            "Workers": 1,
            "CallsPerWorker": 1,
            "ToleratedFailurePercentage": 0,
        },
    )


@pytest.fixture
def firehose(pipeline: Pipeline) -> Pipeline:
    """The same on Firehose's archive with Firehose's contract."""
    pipeline.settings["Source"] = {
        "Layout": "FIREHOSE",
        "Bucket": SOURCE,
        "Root": "raw/",
        "BufferSeconds": 300,
    }
    pipeline.settings["Function"]["Contract"] = "FIREHOSE"
    pipeline.settings["Function"]["StreamArn"] = STREAM
    return pipeline
