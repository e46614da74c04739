"""What the field's own checkers say about the templates: nothing."""

import json
import re
import runpy
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnParameter, CloudFormationValidatePlugin, Duration, Stack, Stage, Validations
from aws_cdk.aws_logs import LogGroup
from aws_cdk.aws_stepfunctions import (
    DefinitionBody,
    LogLevel,
    LogOptions,
    Pass,
    StateMachine,
)
from cdk_nag import AwsSolutionsChecks

from pipeline_reprocessing import (
    IReprocessablePipeline,
    MessageSelection,
    PipelineReprocessing,
    ReprocessablePipeline,
    Wait,
)


def named(stack: Stack) -> IReprocessablePipeline:
    return ReprocessablePipeline.iot_analytics_named("telemetry")


def defined_machine(stack: Stack) -> IReprocessablePipeline:
    machine = StateMachine(
        stack,
        "Machine",
        definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")),
        logs=LogOptions(destination=LogGroup(stack, "Logs"), level=LogLevel.ALL),
        tracing_enabled=True,
    )
    return ReprocessablePipeline.state_machine(machine)


def known_machine(stack: Stack) -> IReprocessablePipeline:
    arn = "arn:aws:states:eu-west-1:111122223333:stateMachine:replay"
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Machine", arn))


def machine_of_a_parameter(stack: Stack) -> IReprocessablePipeline:
    arn = CfnParameter(stack, "Arn").value_as_string
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Machine", arn))


def machine_of_another_stack(stack: Stack) -> IReprocessablePipeline:
    app = Stage.of(stack)
    assert app is not None
    return defined_machine(Stack(app, "machines"))


KINDS = [named, defined_machine, known_machine, machine_of_a_parameter, machine_of_another_stack]

# What cdk-nag says of the example, and why it stays so.
EXPLAINED = {
    "AwsSolutions-S1": "who reads an example's buckets is not logged: that needs one more bucket",
    "AwsSolutions-IAM4": "CDK gives a function that it makes a role for the AWS managed policy, to log",
}


@dataclass(frozen=True)
class Assembly:
    """What came out of a synth with all checks on."""

    outdir: Path
    findings: set[tuple[str, str]]
    """The rules that cdk-nag and CDK's own validation see broken, and by which construct."""


def checked(app: App) -> Assembly:
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), CloudFormationValidatePlugin())
    with suppress(RuntimeError):
        app.synth()
    outdir = Path(app.outdir)
    report = outdir / "validation-report.json"
    plugins = json.loads(report.read_text(encoding="utf-8"))["pluginReports"] if report.exists() else []
    return Assembly(
        outdir,
        {
            (violation["ruleName"], construct["constructPath"])
            for plugin in plugins
            for violation in plugin["violations"]
            for construct in violation["violatingConstructs"]
        },
    )


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Assembly:
    """A stack for each kind of pipeline, and the example's stack."""
    app = App(outdir=str(tmp_path_factory.mktemp("assembly")))
    for kind in KINDS:
        stack = Stack(app, kind.__name__.replace("_", "-"))
        pipeline = kind(stack)
        PipelineReprocessing(
            stack, "Short", pipeline=pipeline, messages=MessageSelection.last(Duration.days(30))
        )
        PipelineReprocessing(
            stack,
            "Long",
            pipeline=pipeline,
            messages=MessageSelection.all(),
            wait=Wait.for_completion(timeout=Duration.hours(6)),
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(checkout))
        example = runpy.run_path(str(checkout / "app.py"))
    example["TemperaturesStack"](app, "Temperatures", stage="celsius")
    return checked(app)


def test_cdk_nag_and_cdk_find_nothing_in_what_is_ours(assembly: Assembly) -> None:
    # The machines of this test have roles of CDK's making.
    others = re.compile("(defined-machine|machines)/Machine/|Temperatures/")

    assert {(rule, path) for rule, path in assembly.findings if not others.match(path)} == set()


def test_what_cdk_nag_and_cdk_find_in_the_example_is_explained(assembly: Assembly) -> None:
    findings = {(rule, path) for rule, path in assembly.findings if path.startswith("Temperatures/")}

    assert {rule.partition("[")[0] for rule, _ in findings} == EXPLAINED.keys()
    assert not any(path.startswith("Temperatures/Backfill") for _, path in findings)


def test_cdk_nag_does_look(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    StateMachine(
        Stack(app, "Telemetry"), "Machine", definition_body=DefinitionBody.from_string('{"StartAt":"A"}')
    )

    assert ("AwsSolutions-SF1", "Telemetry/Machine/Resource") in checked(app).findings


def test_cfn_lint_finds_nothing_in_any_template(assembly: Assembly) -> None:
    templates = sorted(map(str, assembly.outdir.glob("*.template.json")))
    assert len(templates) == len(KINDS) + 2
    linter = Path(sys.executable).with_name("cfn-lint")
    # W3005: CDK itself writes down dependencies that follow from references too.
    options = ["--regions", "eu-west-1", "--format", "json", "--ignore-checks", "W3005"]
    command = [str(linter), *options, "--", *templates]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    findings: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    assert [(finding["Rule"]["Id"], finding["Filename"], finding["Message"]) for finding in findings] == []
    assert done.returncode == 0, done.stderr
