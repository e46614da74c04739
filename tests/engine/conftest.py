"""Makes the second engine importable for its tests, and starts it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

sys.path.insert(0, str(Path(__file__).parent / "playing"))

from moto_additions import complete
from moto_engine import Engine, SkippingClock  # made importable above
from pipeline_definitions import synthesized


@pytest.fixture(scope="session")
def definitions() -> dict[str, dict[str, Any]]:
    """The definitions of the pipelines, as synthesized."""
    return synthesized()


@pytest.fixture
def engine(definitions: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The pipelines on an AWS of their own."""
    clock = SkippingClock()
    complete(monkeypatch, clock.sleep)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        yield Engine(definitions, clock)
