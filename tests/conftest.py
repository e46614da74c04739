"""What holds for every test: no network, and which tests may talk to themselves."""

from pathlib import Path

import pytest

LOOPBACK = ["127.0.0.1", "::1", "localhost"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Lets `make soak` say how much is enough."""
    soak = parser.getgroup("soak")
    soak.addoption("--soak-scenarios", type=int, default=100_000, help="random scenarios that a soak test plays")
    soak.addoption("--soak-seed", type=int, default=0, help="the seed of the soak tests (0: a new one)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Opens the loopback interface where a test says so, and leaves the soak tests to `make soak`."""
    soaking = "soak" in config.option.markexpr
    for item in items:
        if item.get_closest_marker("embedded") or item.get_closest_marker("loopback"):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
        if item.get_closest_marker("soak") and not soaking:
            item.add_marker(pytest.mark.skip(reason="takes hours: make soak"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The top level of the project."""
    return Path(__file__).parents[1]
