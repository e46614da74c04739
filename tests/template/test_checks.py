"""What the field's own checkers say about the templates: nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnParameter, Duration, Stack, Validations
from aws_cdk.aws_logs import LogGroup
from aws_cdk.aws_stepfunctions import (
    DefinitionBody,
    LogLevel,
    LogOptions,
    Pass,
    StateMachine,
)
from cdk_nag import AwsSolutionsChecks

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Wait


def named(stack: Stack) -> ReprocessablePipeline:
    return ReprocessablePipeline.iot_analytics_named("telemetry")


def defined_machine(stack: Stack) -> ReprocessablePipeline:
    machine = StateMachine(
        stack,
        "Machine",
        definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")),
        logs=LogOptions(destination=LogGroup(stack, "Logs"), level=LogLevel.ALL),
        tracing_enabled=True,
    )
    return ReprocessablePipeline.state_machine(machine)


def known_machine(stack: Stack) -> ReprocessablePipeline:
    arn = "arn:aws:states:eu-west-1:111122223333:stateMachine:replay"
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Machine", arn))


def machine_of_a_parameter(stack: Stack) -> ReprocessablePipeline:
    arn = CfnParameter(stack, "Arn").value_as_string
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Machine", arn))


KINDS = [named, defined_machine, known_machine, machine_of_a_parameter]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    make: Callable[[Stack], ReprocessablePipeline] = request.param
    app = App(outdir=str(tmp_path))
    stack = Stack(app, "Telemetry")
    pipeline = make(stack)
    PipelineReprocessing(stack, "Short", pipeline=pipeline, messages=MessageSelection.last(Duration.days(30)))
    PipelineReprocessing(
        stack,
        "Long",
        pipeline=pipeline,
        messages=MessageSelection.all(),
        wait=Wait.for_completion(timeout=Duration.hours(6)),
    )
    return app


def violations(app: App) -> set[tuple[str, str]]:
    """The rules that cdk-nag and CDK's own validation see broken, and by which construct."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    with suppress(RuntimeError):
        app.synth()
    report = Path(app.outdir, "validation-report.json")
    if not report.exists():
        return set()
    return {
        (violation["ruleName"], construct["constructPath"])
        for plugin in json.loads(report.read_text(encoding="utf-8"))["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    }


def test_cdk_nag_and_cdk_find_nothing_in_what_is_ours(app: App) -> None:
    found = violations(app)

    # The machine of this test has a role of CDK's making, of which cdk-nag does not approve.
    assert {(rule, path) for rule, path in found if not path.startswith("Telemetry/Machine/")} == set()


def test_cdk_nag_does_look(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    StateMachine(
        Stack(app, "Telemetry"), "Machine", definition_body=DefinitionBody.from_string('{"StartAt":"A"}')
    )

    assert ("AwsSolutions-SF1", "Telemetry/Machine/Resource") in violations(app)


def test_cfn_lint_finds_nothing(app: App) -> None:
    app.synth()
    template = Path(app.outdir, "Telemetry.template.json")
    command = [
        sys.executable,
        "-m",
        "cfnlint",
        "--regions",
        "eu-west-1",
        "--format",
        "json",
        "--",
        str(template),
    ]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    findings: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    assert [(finding["Rule"]["Id"], finding["Message"]) for finding in findings] == []
