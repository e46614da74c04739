"""What the README shows is what the library does."""

import json
import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template
from aws_cdk.aws_stepfunctions import StateMachine

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline


@pytest.fixture(scope="module")
def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text(encoding="utf-8")


def test_its_example_deploys_a_function_an_archive_pipeline_and_the_construct(readme: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)

    shown: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), shown)  # what it says is what is tested

    template = Template.from_stack(shown["stack"])
    template.resource_count_is("AWS::StepFunctions::StateMachine", 1)
    template.has_resource_properties(
        "Custom::PipelineReprocessing", {"Messages": {"LastSeconds": 31_536_000}}
    )


def test_its_permissions_are_those_of_the_handler(readme: str) -> None:
    stack = cdk.Stack()
    machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay"
    replay = StateMachine.from_state_machine_arn(stack, "Replay", machine)
    for id_, pipeline in {
        "Machine": ReprocessablePipeline.state_machine(replay),
        "Named": ReprocessablePipeline.iot_analytics_named("telemetry"),
    }.items():
        PipelineReprocessing(stack, id_, pipeline=pipeline, messages=MessageSelection.all())

    template = Template.from_stack(stack)
    policies = [template.find_resources(f"AWS::IAM::{kind}") for kind in ("ManagedPolicy", "Policy")]
    allowed = set(re.findall(r'"([a-z]+:[A-Z]\w+)"', json.dumps(policies)))

    section = readme.partition("## Permissions")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z]+:[A-Z]\w+)`", section))
    short = re.findall(r"`([A-Z]\w+)`", section.partition("iotanalytics:")[2].splitlines()[0])
    assert told | {f"iotanalytics:{action}" for action in short} == allowed


@pytest.mark.parametrize("pattern", [r"\]\(([^)#:]+)\)", r"^\| `([\w/.]+)`"])
def test_every_file_and_folder_that_it_names_is_there(readme: str, checkout: Path, pattern: str) -> None:
    named = [name for name in re.findall(pattern, readme, re.MULTILINE) if "/" in name or "." in name]

    assert named
    assert [name for name in named if not (checkout / name).exists()] == []


def test_every_make_target_that_it_names_is_there(readme: str, checkout: Path) -> None:
    targets = set(re.findall(r"make ([a-z-]+)", readme))
    makefile = (checkout / "Makefile").read_text()

    assert targets - set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set()
