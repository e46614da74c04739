"""The example app synthesizes, for each of its stages, as `cdk deploy` would do it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAGES = ("fahrenheit", "celsius", "broken")


@pytest.fixture(scope="module")
def templates(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], dict[str, Any]]:
    """The templates by stack and stage."""
    found = {}
    for stage in STAGES:
        outdir = tmp_path_factory.mktemp(stage)
        synthesize(checkout, outdir, {"stage": stage})
        for path in outdir.glob("*.template.json"):
            name = path.name.removesuffix(".template.json")
            found[name, stage] = json.loads(path.read_text(encoding="utf-8"))
    return found


def synthesize(checkout: Path, outdir: Path, context: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the app as the CDK CLI does."""
    settings = json.loads((checkout / "cdk.json").read_text(encoding="utf-8"))
    program, *arguments = settings["app"].split()
    assert program == "python"
    environment = os.environ | {
        "CDK_OUTDIR": str(outdir),
        # CDK's own look at the templates takes most of the time, and is another test's matter.
        "CDK_VALIDATION": "false",
        "CDK_CONTEXT_JSON": json.dumps(settings["context"] | context),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=environment,
        check=not context.get("stage", "").startswith("un"),
        capture_output=True,
        text=True,
    )


def triggers(template: dict[str, Any]) -> set[str]:
    return {
        resource["Properties"]["Trigger"]
        for resource in template["Resources"].values()
        if resource["Type"] == "Custom::PipelineReprocessing"
    }


@pytest.mark.parametrize("stack", ["IotAnalytics", "Temperatures"])
def test_each_stage_has_a_trigger_of_its_own(
    stack: str, templates: dict[tuple[str, str], dict[str, Any]]
) -> None:
    assert len(set.union(*(triggers(templates[stack, stage]) for stage in STAGES))) == len(STAGES)


@pytest.mark.parametrize("stack", ["IotAnalytics", "Temperatures"])
def test_the_stages_differ_in_nothing_but_what_they_do(
    stack: str, templates: dict[tuple[str, str], dict[str, Any]]
) -> None:
    ids = {frozenset(templates[stack, stage]["Resources"]) for stage in STAGES}

    assert len(ids) == 1


@pytest.mark.parametrize("stack", ["IotAnalytics", "Temperatures"])
def test_the_outputs_tell_what_was_done(stack: str, templates: dict[tuple[str, str], dict[str, Any]]) -> None:
    outputs = templates[stack, "celsius"]["Outputs"]

    assert {"ReprocessingId", "ReprocessingStatus"} <= outputs.keys()


def test_an_unknown_stage_is_refused(checkout: Path, tmp_path: Path) -> None:
    done = synthesize(checkout, tmp_path, {"stage": "unknown"})

    error = "'stage' must be one of fahrenheit, celsius, broken, got 'unknown'; use -c stage=celsius"
    assert done.returncode
    assert error in done.stderr
