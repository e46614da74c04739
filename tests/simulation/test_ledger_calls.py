"""What the ledger costs: a handful of calls, however old the stack is."""

from __future__ import annotations

from collections import Counter

from simulated_aws.invariants import check
from simulated_aws.runs import RunPlan
from simulated_aws.stories import IOT_ANALYTICS, Service, last
from simulated_aws.templates import reprocessing
from simulated_aws.world import World

OLD_STREAMS = 5_000
LEDGER = ("create_log_stream", "describe_log_streams")


def made_old(world: World) -> None:
    """Leaves the streams behind that hundreds of deploys of this resource would have left."""
    first = next(name for name in world.logs.streams if "asks~" in name)
    folder, falling, _, note = first.rsplit("/", 3)
    for number in range(1, OLD_STREAMS // 5):
        older = f"{folder}/{int(falling) + 60_000 * number:013d}/old-{number}"
        claims = f"{folder}/claims/old-{number}"
        for name in (f"{older}/{note}", f"{older}/run~old-{number}", f"{older}/answer~Update~SUCCESS"):
            world.logs.streams[name] = 0
        world.logs.streams[f"{claims}/start-1"] = world.logs.streams[f"{claims}/answer-1"] = 0


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
            made_old(world)
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
