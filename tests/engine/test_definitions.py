"""The definitions are valid Amazon States Language, by a validator that is not ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from local_aws.toolchain import Toolchain

Definition = dict[str, Any]
Validate = Callable[[Definition], tuple[int, str]]


@pytest.fixture
def validate(tmp_path: Path) -> Validate:
    """Gives asl-validator's exit code, 0 for a valid definition and 1 for an invalid one, and what it says."""
    tools = Toolchain.of_project()
    script = tools.cdk.parents[2] / "asl-validator/dist/bin/asl-validator.js"

    def run(definition: Definition) -> tuple[int, str]:
        path = tmp_path / "definition.json"
        path.write_text(json.dumps(definition))
        done = subprocess.run(
            [tools.node, script, "--json-path", path], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("name", ["Activity", "Stream", "Single", "Tolerant", "Uploads"])
def test_definition_is_valid(definitions: dict[str, Definition], validate: Validate, name: str) -> None:
    code, text = validate(definitions[name])

    assert code == 0, text


def misdirect(definition: Definition) -> None:
    definition["States"]["Plan"]["Next"] = "Nowhere"


def misspell(definition: Definition) -> None:
    definition["States"]["Replay"]["MaxConcurrenzy"] = 1


def misread(definition: Definition) -> None:
    definition["States"]["Done"]["OutputPath"] = "$.Summary["


def orphan(definition: Definition) -> None:
    definition["States"]["Replay"]["ItemProcessor"]["States"]["Orphan"] = {"Type": "Succeed"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (misdirect, "MISSING_TRANSITION_TARGET: Missing 'StartAt'|'Next'|'Default' target: Nowhere"),
        (misspell, "SCHEMA_VALIDATION_FAILED: /States/Replay is invalid"),
        (misread, "SCHEMA_VALIDATION_FAILED: /States/Done"),
        (orphan, "Orphan"),
    ],
)
def test_validator_refuses_a_broken_definition(
    definitions: dict[str, Definition], validate: Validate, damage: Callable[[Definition], None], reason: str
) -> None:
    definition = deepcopy(definitions["Activity"])
    damage(definition)

    code, text = validate(definition)

    assert code == 1
    assert reason in text
