"""What the ledger costs: a handful of calls, however old the stack is."""

from __future__ import annotations

from collections import Counter

from simulated_aws.invariants import check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import IOT_ANALYTICS, OLD_STREAMS, Service, last, leave_old_streams
from simulated_aws.templates import reprocessing
from simulated_aws.world import World

LEDGER = ("create_log_stream", "describe_log_streams")


def ledger_calls(world: World, request_id: str) -> Counter[str]:
    return Counter(
        call.operation
        for call in world.network.calls
        if call.request_id == request_id and call.operation in LEDGER
    )


def deployed(service: Service, *, is_old: bool) -> World:
    """The world after a Create, an Update whose run fails, and its rollback."""
    with World(service.kind, runs=[RunPlan(), RunPlan(ends="FAILED")]) as world:
        world.deploy(reprocessing(service.kind))
        if is_old:
            leave_old_streams(world)
        world.deploy(reprocessing(service.kind, trigger="t2"))
    check(world)
    return world


def test_a_create_takes_a_handful_of_calls(service: Service) -> None:
    world = deployed(service, is_old=False)

    calls = ledger_calls(world, last(world, "Create").request_id)
    assert calls.total() <= (9 if service is IOT_ANALYTICS else 5)


def test_a_rollback_reads_the_ledger_once(service: Service) -> None:
    world = deployed(service, is_old=False)

    rollback = last(world, "Update")
    assert rollback.is_swapped
    assert ledger_calls(world, rollback.request_id)["describe_log_streams"] == 1


def test_thousands_of_old_streams_cost_a_request_a_few_calls_at_most(service: Service) -> None:
    new, old = (deployed(service, is_old=is_old) for is_old in (False, True))

    assert len(old.logs.streams) > OLD_STREAMS
    for before, after in zip(new.requests, old.requests, strict=True):
        more = ledger_calls(old, after.request_id).total() - ledger_calls(new, before.request_id).total()
        assert more <= 5, after


def test_the_thirtieth_deploy_costs_no_more_than_the_third(service: Service) -> None:
    with World(service.kind, runs=[RunPlan(takes=1.0)]) as world:
        for number in range(30):
            world.deploy(reprocessing(service.kind, trigger=f"t{number}"))

    updates = [request for request in world.requests if request.type == "Update"]
    costs = [ledger_calls(world, request.request_id).total() for request in updates]
    assert costs[-1] <= costs[1]
