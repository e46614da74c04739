"""Whatever people, CloudFormation, Lambda, the network and the pipeline do: the invariants hold.

`make test` plays the same 2,100 scenarios each time, 600 of them in `test_step_by_step`, and `make soak` others, from a
seed that it prints.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from simulated_aws.invariants import ALWAYS, check
from simulated_aws.scenarios import Scenario
from simulated_aws.strategies import scenarios

# A scenario is large by nature, and drawing it is cheap beside playing it.
LARGE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
ASKED_FOR = settings().max_examples


@settings(max_examples=max(1_000, ASKED_FOR), suppress_health_check=LARGE)
@given(scenarios(fair=True))
def test_in_fair_weather_all_invariants_hold(scenario: Scenario) -> None:
    check(scenario.play())


@settings(max_examples=max(500, ASKED_FOR), suppress_health_check=LARGE)
@given(scenarios(fair=False))
def test_in_any_weather_the_first_invariants_hold(scenario: Scenario) -> None:
    check(scenario.play(), *ALWAYS)
