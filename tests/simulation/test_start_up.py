"""A role that is still on its way to IAM."""

from __future__ import annotations

from simulated_aws.invariants import check
from simulated_aws.stories import Service, last
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World


def test_a_role_that_iam_does_not_know_yet_is_waited_for(service: Service) -> None:
    with World(service.kind) as world:
        world.network.denied_until = {"role": 50.0}
        world.deploy(reprocessing(service.kind))

    assert len(world.runs) == 1
    assert world.runs[0].created > 50
    assert last(world, "Create").succeeded
    check(world)


def test_a_permission_that_is_missing_fails_the_deploy_after_a_minute_with_action_and_resource(
    service: Service,
) -> None:
    with World(service.kind, faults=[Fault(service.start, Trouble.DENIED, times=10_000)]) as world:
        world.deploy(reprocessing(service.kind))

    request = last(world, "Create")
    assert request.accepted
    assert 50 < request.accepted.time < 75
    assert "is not authorized to perform" in request.reason
    assert service.start.replace("_", "") in request.reason.lower()
    assert "arn:aws:" in request.reason
    assert "sensors" in request.reason
    check(world)
