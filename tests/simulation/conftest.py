"""Makes the simulation importable for its tests, and plays their stories on both kinds of pipeline."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated_aws.stories import IOT_ANALYTICS, STATE_MACHINE, Service  # made importable above


@pytest.fixture(params=[IOT_ANALYTICS, STATE_MACHINE], ids=lambda service: service.kind)
def service(request: pytest.FixtureRequest) -> Service:
    """A kind of pipeline."""
    chosen: Service = request.param
    return chosen
