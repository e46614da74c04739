"""One answer, delivered whatever the network does."""

from __future__ import annotations

import pytest
from simulated_aws.invariants import ALWAYS, a_failure_leaves_no_run, check, no_request_is_answered_twice
from simulated_aws.stories import last
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World


@pytest.mark.parametrize(
    "trouble", [Trouble.REFUSED, Trouble.UNAVAILABLE, Trouble.DROPPED_BEFORE, Trouble.UNREACHABLE]
)
def test_an_answer_that_is_not_accepted_is_sent_again(trouble: Trouble) -> None:
    with World(faults=[Fault("put", trouble, times=3)]) as world:
        world.deploy(reprocessing())

    assert world.troubles.calls["put"] == 4
    assert len(last(world, "Create").answers) == 1
    assert last(world, "Create").succeeded
    check(world)


def test_an_answer_that_is_not_accepted_for_a_minute_is_sent_by_the_next_attempt_of_lambda() -> None:
    with World(faults=[Fault("put", Trouble.UNAVAILABLE, times=12)]) as world:
        world.deploy(reprocessing())

    assert "NotDelivered" in {invocation.outcome for invocation in world.functions.invocations}
    assert len(last(world, "Create").answers) == 1
    assert last(world, "Create").succeeded
    check(world)


def test_an_answer_is_never_sent_after_its_deadline() -> None:
    with World(faults=[Fault("put", Trouble.UNAVAILABLE, times=10_000)]) as world:
        world.deploy(reprocessing(timeout=None))

    sent = [
        (call, request)
        for call in world.network.calls
        for request in world.requests
        if call.operation == "put" and call.request_id == request.request_id
    ]
    assert sent
    assert all(call.time < request.deadline for call, request in sent)
    check(world, *ALWAYS, no_request_is_answered_twice, a_failure_leaves_no_run)
