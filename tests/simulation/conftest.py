"""Makes the simulation importable for its tests, plays their stories on both kinds of pipeline, and tells what was reached."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated_aws.situations import REACHED, table  # made importable above
from simulated_aws.stories import IOT_ANALYTICS, STATE_MACHINE, Service


@pytest.fixture(params=[IOT_ANALYTICS, STATE_MACHINE], ids=lambda service: service.kind)
def service(request: pytest.FixtureRequest) -> Service:
    """A kind of pipeline."""
    chosen: Service = request.param
    return chosen


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what it has counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["reached"] = dict(REACHED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The counts of all workers are summed."""
    REACHED.update(Counter(node.workeroutput["reached"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Shows what `make soak` has reached."""
    if config.getoption("--hypothesis-profile") == "soak" and REACHED:
        terminalreporter.section("situations, and how many scenarios have reached each")
        for line in table(REACHED):
            terminalreporter.write_line(line)
