"""The same world, but nobody knows the story beforehand: each step is chosen when the one before has been played.

After every step, in the middle of whatever is going on, the invariants are checked.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from simulated_aws.invariants import ALWAYS, IN_FAIR_WEATHER, check, nothing_runs_after_removal
from simulated_aws.scenarios import (
    MAY_BE_DEPLOYED,
    Deploy,
    Scenario,
    delete_what_was_replaced,
    may_start_a_foreign_run,
    start_a_foreign_run,
)
from simulated_aws.situations import note
from simulated_aws.strategies import (
    INTERRUPTIONS,
    KINDS,
    SECONDS,
    crashes,
    denials,
    deploys,
    passing,
    weighted,
    worlds,
)
from simulated_aws.troubles import CRASHES, Fault

ASKED_FOR = settings().max_examples
NO_STACK = ("NONE", "DELETE_COMPLETE")


def step_by_step(kind: str, *, fair: bool) -> type[RuleBasedStateMachine]:
    """What people, CloudFormation, Lambda, the network and the pipeline may do next.

    Args:
        kind: Of the pipeline.
        fair: Whether the trouble keeps within the bounds of `invariants`.
    """
    denied = [] if fair else [(1, denials(kind))]
    faults = weighted((3, passing(kind, fair=fair)), (1, crashes(kind, fair=fair)), *denied)
    invariants = ALWAYS + IN_FAIR_WEATHER if fair else ALWAYS
    # what a Delete leaves behind is known when everything has come to rest
    meanwhile = [each for each in invariants if each is not nothing_runs_after_removal]

    class StepByStep(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.crashes_left, self.troubles_left = 1, 2
            self.in_trouble: set[str] = set()
            self.is_broken = False

        @initialize(scenario=worlds(kind, fair=fair))
        def a_world_begins(self, scenario: Scenario) -> None:
            self.scenario = scenario
            self.world = scenario.world()
            self.cloudformation = self.world.cloudformation

        # -- people

        @precondition(lambda self: self.is_idle and self.cloudformation.status in MAY_BE_DEPLOYED)
        @rule(deploy=deploys(interrupted=False))
        def somebody_deploys(self, deploy: Deploy) -> None:
            self.scenario.begin(deploy, self.world)
            self.world.let_pass(0.1)

        @precondition(lambda self: self.is_idle and self.cloudformation.status in MAY_BE_DEPLOYED)
        @rule(deploy=deploys(interrupted=False), fault=faults)
        def somebody_deploys_in_trouble(self, deploy: Deploy, fault: Fault) -> None:
            self.calls_will_fail(fault)
            self.somebody_deploys(deploy)

        @precondition(lambda self: self.is_idle and self.cloudformation.status not in NO_STACK)
        @rule()
        def somebody_deletes_the_stack(self) -> None:
            self.world.timeline.process(self.cloudformation.destroy())
            self.world.let_pass(0.1)

        @precondition(lambda self: self.is_idle and self.cloudformation.status == "UPDATE_ROLLBACK_FAILED")
        @rule()
        def somebody_continues_the_rollback(self) -> None:
            self.world.timeline.process(self.cloudformation.continue_rollback())
            self.world.let_pass(0.1)

        @precondition(lambda self: not self.is_idle)
        @rule(how=INTERRUPTIONS)
        def the_deploy_is_interrupted(self, how: str) -> None:
            self.cloudformation.interrupt(how)

        @precondition(lambda self: may_start_a_foreign_run(self.world))
        @rule()
        def somebody_else_starts_a_run(self) -> None:
            start_a_foreign_run(self.world)

        # -- AWS

        @precondition(lambda self: not fair or self.troubles_left or self.crashes_left)
        @rule(fault=faults)
        def calls_will_fail(self, fault: Fault) -> None:
            if fair and fault.trouble in CRASHES:
                fits, self.crashes_left = self.crashes_left > 0, self.crashes_left - 1
            elif fair:
                # two streaks of one operation would be one of twice the length
                fits = self.troubles_left > 0 and fault.operation not in self.in_trouble
                self.troubles_left -= 1
                self.in_trouble.add(fault.operation)
            else:
                fits = True
            if fits:
                self.world.troubles.add(fault)

        @precondition(lambda self: self.world.functions.events)
        @rule(back=st.integers(1, 3))
        def lambda_delivers_an_event_again(self, back: int) -> None:
            events = self.world.functions.events
            self.world.functions.deliver_again(events[-min(back, len(events))])

        @precondition(lambda self: self.world.requests)
        @rule()
        def cloudformation_repeats_its_request(self) -> None:
            self.cloudformation.send_again(self.world.requests[-1])

        @rule()
        def an_old_id_is_deleted(self) -> None:
            delete_what_was_replaced(self.world)

        # -- time

        @rule(seconds=SECONDS)
        def time_passes(self, seconds: float) -> None:
            self.world.let_pass(seconds)

        @precondition(lambda self: not self.is_idle)
        @rule()
        def the_deploy_comes_to_its_end(self) -> None:
            while not self.is_idle:
                self.world.let_pass(10.0)

        @property
        def is_idle(self) -> bool:
            return not self.cloudformation.is_busy

        @invariant()
        def the_invariants_hold(self) -> None:
            self.is_broken = True
            check(self.world, *meanwhile)
            self.is_broken = False

        def teardown(self) -> None:
            if not hasattr(self, "world"):
                return
            with self.world:
                if self.is_broken:
                    return
                self.world.timeline.run()
                if self.cloudformation.status not in NO_STACK:
                    self.world.destroy()
                check(note(self.world), *invariants)

    return StepByStep


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_in_fair_weather_all_invariants_hold(kind: str) -> None:
    run_state_machine_as_test(
        step_by_step(kind, fair=True),
        settings=settings(max_examples=max(60, ASKED_FOR), stateful_step_count=20),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_in_any_weather_the_first_invariants_hold(kind: str) -> None:
    run_state_machine_as_test(
        step_by_step(kind, fair=False),
        settings=settings(max_examples=max(30, ASKED_FOR), stateful_step_count=20),
    )
