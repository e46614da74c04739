"""Whatever people, CloudFormation, Lambda, the network and the pipeline do: the invariants hold.

`make test` plays the same 900 scenarios each time, 180 of them in `test_step_by_step`, and fails if they reach not
every one of the situations. `make soak` plays others, from a seed that it prints, and counts what they reach.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_aws.invariants import ALWAYS, Invariant, check
from simulated_aws.scenarios import Scenario
from simulated_aws.situations import IN_ANY_WEATHER_ONLY, REACHED, SITUATIONS, note
from simulated_aws.strategies import in_trouble, scenarios

# A scenario is large by nature, and drawing it is cheap beside playing it.
LARGE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
ASKED_FOR = settings().max_examples
ARE_THE_SAME_EACH_TIME = settings().derandomize


def test_in_fair_weather_all_invariants_hold() -> None:
    reached = reached_by(scenarios(fair=True), 350) | reached_by(in_trouble(), 120)

    must_reach = {*SITUATIONS} - {*IN_ANY_WEATHER_ONLY} if ARE_THE_SAME_EACH_TIME else set()
    assert must_reach - reached == set(), "this was never reached"


def test_in_any_weather_the_first_invariants_hold() -> None:
    reached = reached_by(scenarios(fair=False), 250, *ALWAYS)

    must_reach = {*IN_ANY_WEATHER_ONLY} if ARE_THE_SAME_EACH_TIME else set()
    assert must_reach - reached == set(), "this was never reached"


def reached_by(drawn: st.SearchStrategy[Scenario], at_least: int, *invariants: Invariant) -> set[str]:
    """Plays scenarios, checks the invariants after each, and tells which situations were reached."""

    @settings(max_examples=max(at_least, ASKED_FOR), suppress_health_check=LARGE)
    @given(drawn)
    def play(scenario: Scenario) -> None:
        check(note(scenario.play()), *invariants)

    before = REACHED.copy()
    play()
    return {*(REACHED - before)}
