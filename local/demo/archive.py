"""The story on an archive in S3: what Firehose has kept is replayed through the transforming function."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from demo.scenario import outputs
from demo.temperatures import Reading, days
from local_aws import LocalAws

_STREAM = "temperatures"


class Archive:
    """Archive, function and destination of the stack `Temperatures`.

    Args:
        aws: The embedded AWS.
    """

    stack = "Temperatures"
    title = "Raw messages in S3, as Firehose keeps them, replayed by Step Functions and Lambda"

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws

    def feed(self, readings: Sequence[Reading], on_progress: Callable[[int], object]) -> None:
        """Stands in for Firehose: keeps each day as an object, and lets the function of that time transform it.

        The transformation of the year as it comes is an execution of the same state machine, started by hand.
        """
        s3, bucket = self._aws.client("s3"), self._outputs["ArchiveBucket"]
        sent = 0
        with ThreadPoolExecutor(4) as writers:
            put = [
                (
                    len(of_day),
                    writers.submit(s3.put_object, Bucket=bucket, Key=_key(day), Body=_packed(of_day)),
                )
                for day, of_day in days(readings)
            ]
            for messages, done in put:
                done.result()
                sent += messages
                on_progress(sent)
        states = self._aws.client("stepfunctions")
        started = states.start_execution(
            stateMachineArn=self._outputs["StateMachineArn"], input=json.dumps({"messages": {"All": True}})
        )
        if (status := _ended(states, started["executionArn"])) != "SUCCEEDED":
            raise RuntimeError(f"the first transformation of the year ended {status}")

    def rows(self) -> list[Mapping[str, Any]]:
        """Every row below the destination's prefix."""
        s3, bucket = self._aws.client("s3"), self._outputs["DataBucket"]
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=self._outputs["DataPrefix"]
        )
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        with ThreadPoolExecutor(4) as readers:
            bodies = readers.map(lambda key: s3.get_object(Bucket=bucket, Key=key)["Body"].read(), keys)
            return [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]

    def runs(self) -> list[str]:
        """The executions of the state machine."""
        states = self._aws.client("stepfunctions")
        listed = states.list_executions(stateMachineArn=self._outputs["StateMachineArn"])["executions"]
        return [f"{run['name']} {run['status']}" for run in sorted(listed, key=lambda run: run["startDate"])]

    @property
    def _outputs(self) -> dict[str, str]:
        return outputs(self._aws, self.stack)


def _key(day: datetime) -> str:
    """Firehose's default key: the hour of arrival in UTC, the stream's name and version, the second, and a UUID."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, day.isoformat())
    return f"raw/{day:%Y/%m/%d/%H}/{_STREAM}-1-{day:%Y-%m-%d-%H-%M-%S}-{name}.gz"


def _packed(readings: Sequence[Reading]) -> bytes:
    return gzip.compress("".join(json.dumps(reading.message) + "\n" for reading in readings).encode())


@retry(
    retry=retry_if_result(lambda status: status == "RUNNING"),
    wait=wait_fixed(0.5),
    stop=stop_after_delay(180),
)
def _ended(states: Any, execution: str) -> str:
    return str(states.describe_execution(executionArn=execution)["status"])
