"""The example of a function that S3 calls: converted by notification, and again by the deploy that changes it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_aws import CdkResult, LocalAws

pytestmark = [pytest.mark.embedded, pytest.mark.more_deploys]

NAME = "CsvToJson"


@dataclass
class Example:
    """The stack of the example."""

    aws: LocalAws
    checkout: Path

    def deploy(self, code: str, **context: str) -> CdkResult:
        given = [part for name, value in context.items() for part in ("-c", f"{name}={value}")]
        return self.aws.cdk(
            "deploy",
            NAME,
            "-c",
            f"code={code}",
            *given,
            app="python examples/csv_to_json/app.py",
            directory=self.checkout,
        )

    @property
    def outputs(self) -> dict[str, str]:
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def upload(self, key: str, text: str) -> None:
        self.aws.client("s3").put_object(Bucket=self.outputs["UploadsBucket"], Key=key, Body=text.encode())

    def read(self, key: str) -> bytes:
        found = self.aws.client("s3").get_object(Bucket=self.outputs["ResultsBucket"], Key=key)
        body: bytes = found["Body"].read()
        return body

    def results(self) -> dict[str, list[Any]]:
        """What the function has written, by the names of the files."""
        listed = self.aws.client("s3").list_objects_v2(Bucket=self.outputs["ResultsBucket"])
        keys = [each["Key"] for each in listed.get("Contents", [])]
        return {
            key: [json.loads(line) for line in self.read(key).splitlines()]
            for key in keys
            if not key.startswith("reports/")
        }

    def results_when(self, count: int) -> dict[str, list[Any]]:
        deadline = time.monotonic() + 30
        while len(found := self.results()) < count and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


@pytest.fixture
def example(local_aws: LocalAws, checkout: Path) -> Iterator[Example]:
    yield Example(local_aws, checkout)
    local_aws.client("cloudformation").delete_stack(StackName=NAME)


def test_a_changed_function_converts_what_is_stored_and_then_only_what_failed(example: Example) -> None:
    example.deploy("texts").check()
    for number in range(5):
        example.upload(f"uploads/{number}.csv", f"id,celsius\n{number},21.5\n")
    assert example.results_when(5)["3.jsonl"] == [{"id": "3", "celsius": "21.5"}]

    converted = example.deploy("numbers")

    converted.check()
    assert example.results()["3.jsonl"] == [{"id": 3, "celsius": 21.5}]
    assert (example.outputs["Objects"], example.outputs["ObjectsDone"]) == ("5", "5")


def test_one_bad_file_fails_the_deploy_and_is_all_that_the_next_one_converts(example: Example) -> None:
    example.deploy("texts").check()
    for number in range(5):
        example.upload(f"uploads/{number}.csv", f"id,celsius\n{number},{'n/a' if number == 3 else 21.5}\n")
    example.results_when(5)

    failed = example.deploy("numbers")

    assert not failed.succeeded
    assert "1 of 5 objects failed" in failed.output
    assert "uploads/3.csv: ValueError: could not convert string to float: 'n/a'" in failed.output
    [keys] = set(re.findall(r"s3://[^/ ]+/(reports/[^ ,;]+/errors\.jsonl)", failed.output))
    assert [json.loads(line)["key"] for line in example.read(keys).splitlines()] == ["uploads/3.csv"]

    example.deploy("lenient", keys=keys).check()

    assert (example.outputs["Objects"], example.outputs["ObjectsDone"]) == ("1", "1")
    assert example.results()["3.jsonl"] == [{"id": 3, "celsius": None}]
