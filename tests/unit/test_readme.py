"""What the README and the documents show is what the library does."""

import json
import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template
from aws_cdk.aws_stepfunctions import StateMachine

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline
from pipeline_reprocessing.testing import assert_replays_nothing


@pytest.fixture(scope="module")
def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def testing(checkout: Path) -> str:
    return (checkout / "docs" / "testing.md").read_text(encoding="utf-8")


def python_in(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document, re.DOTALL)


def test_its_example_deploys_a_function_an_archive_pipeline_and_the_construct(readme: str) -> None:
    (example,) = python_in(readme)

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


@pytest.fixture
def worked_example(testing: str) -> dict[str, Any]:
    """What the blocks of docs/testing.md define, one after the other."""
    shown: dict[str, Any] = {}
    for example in python_in(testing):
        exec(compile(example, "docs/testing.md", "exec"), shown)
    return shown


def test_the_worked_example_of_testing_passes(
    testing: str, worked_example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("deployed", "cdk.out"):
        app = cdk.App(outdir=str(tmp_path / folder))  # the Node of jsii has a folder of its own
        worked_example["Telemetry"](app)
        app.synth()

    tests = [name for name in worked_example if name.startswith("test_")]
    for name in tests:
        worked_example[name]()

    assert len(tests) == testing.count("def test_") == 5


def test_the_failure_that_is_shown_is_that_of_the_worked_example(
    testing: str, worked_example: dict[str, Any]
) -> None:
    telemetry = worked_example["telemetry"]

    with pytest.raises(AssertionError) as failure:
        assert_replays_nothing(telemetry(), telemetry(code="def handler(event, context): return 1"))

    assert f"```text\n{failure.value}\n```" in testing
