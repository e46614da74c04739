"""What holds for every test: no network, nobody's account, and how hard Hypothesis tries."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# The one embedded AWS that all folders of tests share.
pytest_plugins = ["local_aws.pytest_plugin"]

LOOPBACK = ["127.0.0.1", "::1", "localhost"]

# Whatever the person at the keyboard is logged in to, no test can reach it, nor does boto3 look for it elsewhere.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "eu-west-1",
    # CDK's check of each template costs more than the rest of a synth; tests/template/test_checks.py has it on purpose.
    "CDK_VALIDATION": "false",
    # jsii finds the Node of the environment, also when pytest is not started by make.
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
}

# `make test` never fails by chance: the same scenarios each time, and none fails for being slow. A test that wants
# more than the default says `settings(max_examples=max(2_000, settings().max_examples))`: `make soak` then plays SCENARIOS
# of them, from a seed that it prints.
settings.register_profile("test", derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "soak", max_examples=int(os.environ.get("SCENARIOS", "1000")), deadline=None, print_blob=True
)
settings.load_profile("test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Opens the loopback interface, and nothing beyond it, to the tests that say so."""
    for item in items:
        if item.get_closest_marker("embedded") or item.get_closest_marker("loopback"):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The top level of the project."""
    return Path(__file__).parents[1]
