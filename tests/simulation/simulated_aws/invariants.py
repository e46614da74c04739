"""What must hold in every world, whatever AWS does.

The first list holds always. The second holds as long as AWS keeps within the bounds of FAIR WEATHER (see `fair_weather`
for the numbers), which are

- Lambda delivers every event in the end: of the three attempts at one, not all crash;
- a call that fails is answered when it is repeated up to `FAIR_REPEATS` times, or four where each failure takes long;
- of the calls that take a claim of the ledger one is in doubt;
- what goes wrong takes no more time than the five minutes by which a request may outlast its wait;
- no one else's run begins, or is first listed, on an IoT Analytics pipeline between our look at it and the settling
  of our start (the API has no token by which the two could be told apart).
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from pipeline_reprocessing_handler.validation import ANSWER_ALLOWANCE, MAX_WAIT

from .network import Call
from .requests import LONGEST_ANSWER, Answer, Request, Wait
from .runs import Run
from .timeline import EPOCH, FOR_EVER
from .troubles import CRASHES, HANGING, UNCLEAR, Trouble
from .world import World

Invariant = Callable[[World], None]
LOOKS = ("describe_pipeline", "describe_execution")
STARTS = ("start_pipeline_reprocessing", "start_execution")
DECIDE_THE_DATA = ("Pipeline", "Messages", "Trigger")
ATTRIBUTES = {
    *("ReprocessingId", "PipelineName", "Status", "StartTime", "EndTime"),
    *(
        "Objects",
        "ObjectsDone",
        "ObjectsGone",
        "ObjectsChanged",
        "ObjectsFailed",
        "ObjectsNotReplayed",
        "ObjectsSkipped",
    ),
    *("MessagesIn", "MessagesOut", "MessagesDropped", "MessagesFailed"),
}
LONGEST_CALL = 70.0
"""Seconds that a call may take that hangs and is repeated four times."""
ENDS_WITHIN = ANSWER_ALLOWANCE.total_seconds() + LONGEST_CALL
"""Seconds that a continuation may take after its deadline: until nobody listens any more, and a call that hangs then."""

LAST_WORD = 90.0
"""Seconds before CloudFormation stops listening in which a run may be given up: a cancelled one is watched until it ends."""
NOT_LISTED = 120.0
"""Seconds after which a run that is not listed may be given up."""
FINDS_OUT_WITHIN = 6.0
"""Seconds from the end of a run until it is seen, when nothing goes wrong."""
IAM_MAY_TAKE = 55.0
"""Seconds of refusals after which a permission may be taken for missing."""
TROUBLE_MAY_TAKE = 150.0
"""Seconds of trouble beyond which a request may fail: four minutes may pass to its start, and a rollback needs some of
them for itself."""


class Broken(AssertionError):
    """An invariant does not hold."""


def answers_are_valid(world: World) -> None:
    """An answer is JSON of at most 4,096 bytes, with a status, an id, a reason for a failure, and the copied fields."""
    for request in world.requests:
        for answer in request.answers:
            _require(len(answer.body) <= LONGEST_ANSWER, f"{len(answer.body)} bytes", request)
            document = answer.document
            _require(document["Status"] in ("SUCCESS", "FAILED"), "the status", request)
            for key in ("StackId", "RequestId", "LogicalResourceId"):
                _require(document[key] == request.event[key], f"{key} is not copied", request)
            _require(isinstance(document["Reason"], str), "the reason is no text", request)
            _require(
                document["Status"] == "SUCCESS" or document["Reason"], "a failure without a reason", request
            )
            _require(isinstance(document["Data"], dict), "the data are no object", request)
            _require(isinstance(document["NoEcho"], bool), "NoEcho", request)
    for wait in world.cloudformation.waits:
        for signal in wait.signals:
            document = signal.document
            _require(document["Status"] in ("SUCCESS", "FAILURE"), "the signal's status")
            _require(
                all(document.get(key) for key in ("Reason", "UniqueId", "Data")), "the signal is not whole"
            )
            _require(len(signal.body) <= LONGEST_ANSWER, f"{len(signal.body)} bytes")


def attributes_are_those_of_the_run(world: World) -> None:
    """A success has every attribute, as Fn::GetAtt needs it, and the numbers of the run that it names and no other."""
    for request in world.requests:
        for answer in request.answers:
            if request.type == "Delete" or answer.document["Status"] == "FAILED":
                continue
            data = answer.document["Data"]
            _require(data.keys() == ATTRIBUTES, f"the attributes {sorted(data)}", request)
            _require(
                all(isinstance(value, str) for value in data.values()), "an attribute is no text", request
            )
            has_numbers = data["Status"] == "SUCCEEDED" and world.kind == "STATE_MACHINE"
            known = [str(number) for number, run in enumerate(world.runs) if run.id == data["ReprocessingId"]]
            _require(
                [data["Objects"]] == (known if has_numbers else [""]), f"{data['Objects']} objects", request
            )


def ids_follow_the_rules(world: World) -> None:
    """An id is never empty or 'None'; Delete and a failed Update keep theirs; another names the request's own run.

    What is answered after CloudFormation has given the request up may name the run of a second construct for the same
    pipeline of IoT Analytics: only the queue of requests keeps the two apart. CloudFormation does not take that answer.
    """
    for request in world.requests:
        name = _pipeline_of(request)
        own = {f"{name}/{run.id}" for run in world.service.of(request.request_id)}
        for answer in request.answers:
            document = answer.document
            answered = document["PhysicalResourceId"]
            _require(answered not in ("", "None") and len(answered) <= 1024, f"the id {answered!r}", request)
            if request.abandoned and not answer.accepted:
                continue
            failed = document["Status"] == "FAILED"
            if request.type == "Delete" or (request.type == "Update" and failed):
                _require(answered == request.physical_id, f"the id became {answered!r}", request)
            elif request.type == "Update":
                is_own = answered.rpartition("/")[0] in own
                _require(is_own or answered == request.physical_id, f"the id {answered!r}", request)
            else:
                is_unstarted = failed and answered == f"{name}/not-started"
                _require(is_unstarted or answered.rpartition("/")[0] in own, f"the id {answered!r}", request)


def a_request_starts_one_run_at_most(world: World) -> None:
    """Repeated events, duplicates, crashes and lost responses start no second run for a trigger and request."""
    for request in world.requests:
        runs = world.service.of(request.request_id)
        _require(len(runs) <= 1, f"{len(runs)} runs started", request)


def a_delete_starts_nothing(world: World) -> None:
    """No run is ever started by a Delete."""
    for request in world.requests:
        if request.type == "Delete":
            _require(not world.service.of(request.request_id), "a run was started", request)


def a_continuation_ends_by_its_deadline(world: World) -> None:
    """No continuation is handed over after its deadline, and none goes on long after it."""
    for event in world.functions.events:
        deadline = _deadline_of(event.body)
        if deadline is not None:
            latest = deadline + LONGEST_CALL
            _require(event.queued <= latest, f"handed over at {event.queued:.0f}, deadline {deadline:.0f}")
    for invocation in world.functions.invocations:
        deadline = _deadline_of(invocation.body)
        if deadline is not None:
            latest = max(deadline, invocation.started) + ENDS_WITHIN
            alive_at = min(invocation.ended, world.now)
            _require(alive_at <= latest, f"alive at {alive_at:.0f}, deadline {deadline:.0f}")


def nothing_secret_is_written(world: World) -> None:
    """ResponseURL and SignalUrl are in no log line, traceback, ledger mark, call or answer; only the queue carries them.

    Nor are 16 consecutive characters of a signature, in whatever encoding.
    """
    written = list(_written(world))
    readings = list(_readings("\n".join(text for _, text in written)))
    for secret in world.cloudformation.secrets:
        pieces = [secret[at : at + 16] for at in range(len(secret) - 15)]
        for piece in {form for plain in pieces for form in (plain, *_in_base64(plain))}:
            if any(piece in reading for reading in readings):
                for place, text in written:
                    _require(
                        not any(piece in reading for reading in _readings(text)),
                        f"a secret in {place}: {text}",
                    )


def _readings(text: str) -> Iterator[str]:
    """The text, and what is left when one kind of escape after the other is taken away."""
    yield text
    for _ in range(3):
        for decode in (unquote, html.unescape, _without_json_escapes):
            if (decoded := decode(text)) != text:
                text = decoded
                yield text


def _without_json_escapes(text: str) -> str:
    return re.sub(r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda escape: chr(int(escape[1], 16)), text).replace(
        "\\", ""
    )


def _in_base64(text: str) -> Iterator[str]:
    """What stands in Base64 for all of the text but its edges, wherever in a longer one it begins."""
    for before in range(3):
        yield b64encode(b" " * before + text.encode())[4:20].decode()


def only_own_runs_are_cancelled(world: World) -> None:
    """A run is cancelled only for the resource that started it, never somebody else's."""
    resource_of = {request.request_id: request.logical_id for request in world.requests}
    for run in world.runs:
        for when, by in run.cancels:
            _require(run.owner is not None, f"{by} cancelled the foreign run {run.id} at {when:.0f}")
            _require(
                resource_of[by] == run.resource,
                f"{by} of {resource_of[by]} cancelled a run of {run.resource}",
            )


def success_means_that_the_run_succeeded(world: World) -> None:
    """SUCCESS of a Create or Update that waits is never said of a run that has not succeeded."""
    for request in world.requests:
        wait = wait_of(request)
        waits_here = wait and "SignalUrl" not in wait and wait["OnTimeout"] == "FAIL"
        if request.succeeded and request.type != "Delete" and waits_here:
            assert request.accepted
            for run in world.service.of(request.request_id):
                state = run.state(request.accepted.time)
                _require(state == "SUCCEEDED", f"SUCCESS, but run {run.id} is {state}", request)
    for wait_condition in world.cloudformation.waits:
        signal = wait_condition.accepted
        if signal and signal.document["Status"] == "SUCCESS":
            request = _request(world, signal.document["UniqueId"])
            if not changes_the_data(request):  # it is said of no run, but of what was there
                _require(signal.document["Data"] == request.physical_id, "another id is signalled", request)
                continue
            signalled = _run_of(world, signal.document["Data"])
            state = signalled.state(signal.time) if signalled else "missing"
            # A run that is let go may have ended since its time was up, or since the last look that was answered.
            detached = signalled and signalled.ended >= _let_go(world, signalled, signal)
            _require(state == "SUCCEEDED" or detached, f"signalled SUCCESS, but the run is {state}")


def every_request_is_answered(world: World) -> None:
    """CloudFormation gets an answer to each request in time, unless it stops listening on its own account."""
    for request in world.requests:
        is_gone = request.event["StackId"] in world.cloudformation.gone  # its function, too
        _require(request.accepted or is_gone or _nobody_waits_in_vain(world, request), "no answer", request)
    for wait in world.cloudformation.waits:
        _require(wait.accepted or _nobody_waits_in_vain(world, wait), f"no signal to {wait.logical_id}")


def no_request_is_answered_twice(world: World) -> None:
    """One answer arrives for each request, unless the delivery itself or its record was interrupted."""
    for request in world.requests:
        if not _delivery_was_troubled(world, request.request_id):
            _require(len(request.answers) <= 1, f"{len(request.answers)} answers", request)
    for wait in world.cloudformation.waits:
        signallers = Counter(signal.document["UniqueId"] for signal in wait.signals)
        for request_id, count in signallers.items():
            if not _delivery_was_troubled(world, request_id):
                _require(count == 1, f"{count} signals to {wait.logical_id}", _request(world, request_id))


def nothing_runs_after_removal(world: World) -> None:
    """Under OnRemoval CANCEL no run of a resource goes on when the resource is no more."""
    if world.cloudformation.status not in ("DELETE_COMPLETE", "ROLLBACK_COMPLETE"):
        return
    for run in world.service.running():
        if run.owner is not None and not run.cancels:
            request = _request(world, run.owner)
            _require(
                request.event["ResourceProperties"]["OnRemoval"] == "LEAVE", f"run {run.id} goes on", request
            )


def a_new_run_comes_after_the_end_of_the_last(world: World) -> None:
    """When a run starts, every earlier run of its resource has ended or was asked to."""
    for later in world.runs:
        for run in world.runs:
            if run.owner is None or run.resource != later.resource or run.created >= later.created:
                continue
            asked = any(when <= later.created for when, _ in run.cancels)
            request = _request(world, later.owner or "")
            was_left = _was_left(world, _request(world, run.owner), request)
            _require(
                asked or was_left or run.state(later.created) != "RUNNING",
                f"run {later.id} started while {run.id} went on",
                request,
            )


def a_rollback_under_keep_starts_nothing(world: World) -> None:
    """The swapped Update of a failing deploy starts no run, unless OnRollback is REPROCESS."""
    for request in world.requests:
        if request.is_swapped and request.event["ResourceProperties"]["OnRollback"] == "KEEP":
            _require(not world.service.of(request.request_id), "a run was started", request)


def a_delete_succeeds(world: World) -> None:
    """Delete succeeds for whatever it names."""
    for request in world.requests:
        if request.type == "Delete" and request.accepted:
            _require(request.succeeded, f"Delete failed: {request.reason}", request)


def a_failure_leaves_no_run(world: World) -> None:
    """When a request, or the WaitCondition for it, is told FAILED, its run has ended or was asked to."""
    failed = [
        (request.accepted.time, request.request_id)
        for request in world.requests
        if request.accepted and not request.succeeded
    ]
    failed += [
        (wait.accepted.time, wait.accepted.document["UniqueId"])
        for wait in world.cloudformation.waits
        if wait.accepted and wait.accepted.document["Status"] == "FAILURE"
    ]
    for when, request_id in failed:
        for run in world.service.of(request_id):
            _require(
                run.state(when) != "RUNNING" or bool(run.cancels),
                f"run {run.id} goes on",
                _request(world, request_id),
            )


def a_restored_run_is_left_alone(world: World) -> None:
    """Under OnRollback REPROCESS the end of the rollback does not end the run that the rollback has started."""
    for request in world.requests:
        if request.is_swapped and request.succeeded:
            for run in world.service.of(request.request_id):
                timeout = float((wait_of(request) or {}).get("TimeoutSeconds", 0))
                for when, by in run.cancels:
                    is_early = by == request.request_id and when < run.created + timeout - LAST_WORD
                    _require(
                        not is_early or _is_removed(world, request, when),
                        f"run {run.id} was cancelled",
                        request,
                    )


def a_change_is_reprocessed(world: World) -> None:
    """SUCCESS of a Create, or of an Update of what decides the data, is not said without a run, unless a rollback keeps."""
    for request in world.requests:
        is_rollback = request.is_swapped or _looks_like_a_rollback(world, request)
        keeps = is_rollback and request.event["ResourceProperties"]["OnRollback"] == "KEEP"
        if request.succeeded and changes_the_data(request) and not keeps:
            _require(world.service.of(request.request_id), "SUCCESS, but no run was started", request)


def _looks_like_a_rollback(world: World, request: Request) -> bool:
    """Whether the stack's status was never told, nor is it noted how an earlier deploy has ended."""
    calls = world.network.calls
    looks = [
        call
        for call in calls
        if call.request_id == request.request_id and call.operation == "describe_stacks"
    ]
    return all(call.trouble for call in looks) and any(
        call.trouble and re.search("/(answer|signal)~Update", call.parameters["logStreamName"])
        for call in calls
        if call.operation == "create_log_stream" and call.time < request.made
    )


def what_is_unchanged_is_not_reprocessed(world: World) -> None:
    """An Update that changes nothing that decides the data starts no run."""
    for request in world.requests:
        if request.type == "Update" and not changes_the_data(request):
            _require(not world.service.of(request.request_id), "a run was started", request)


def a_success_leaves_its_run_alone(world: World) -> None:
    """What says SUCCESS of a run that goes on neither cancels that run later nor has done so.

    A duplicate may: it sees a later request, which cancels the run as well.
    """
    succeeded = [
        (request.request_id, request.accepted)
        for request in world.requests
        if request.accepted and request.succeeded and "SignalUrl" not in (wait_of(request) or {})
    ]
    succeeded += [
        (wait.accepted.document["UniqueId"], wait.accepted)
        for wait in world.cloudformation.waits
        if wait.accepted and wait.accepted.document["Status"] == "SUCCESS"
    ]
    for request_id, answer in succeeded:
        for run in world.service.of(request_id):
            # it may have succeeded although it was asked to end
            _require(
                run.state(answer.time) == "SUCCEEDED" or {by for _, by in run.cancels} != {request_id},
                f"run {run.id} was cancelled all the same: {run.cancels}",
                _request(world, request_id),
            )


def a_settled_request_ends_nothing_of_others(world: World) -> None:
    """An Update that was answered, or that a later request has followed to its answer, cancels no other request's run.

    An invocation that began before may still do so: its deploy was going on when it decided.
    """
    requests = {request.request_id: request for request in world.requests}
    for run in world.runs:
        for when, by in run.cancels:
            request = requests.get(by)
            if request is None or request.type != "Update" or run.owner == by:
                continue
            settled = [
                later.accepted.time
                for later in world.requests
                if later.type == "Update"
                and later.logical_id == request.logical_id
                and later.made >= request.made
                and later.accepted
                and later.accepted.time < when
            ]
            began_before = any(
                invocation.request_id == by and invocation.started < min(settled) and invocation.ended >= when
                for invocation in world.functions.invocations
                if settled
            )
            _require(
                not settled or began_before,
                f"run {run.id} was cancelled at {when:.0f} by a settled request",
                request,
            )


def a_failure_has_a_cause(world: World) -> None:
    """A Create or Update, or the WaitCondition for one, is told FAILED for a cause that the world knows of.

    CloudFormation has listened to it, so the stack was not interrupted. Its run has therefore ended badly, was forgotten
    or took too long; or AWS has given the request more trouble than it can bear; or it asks for what there cannot be.
    All else succeeds.
    """
    failed = [
        (request, request.accepted)
        for request in world.requests
        if request.type != "Delete" and request.accepted and not request.succeeded
    ]
    failed += [
        (_request(world, wait.accepted.document["UniqueId"]), wait.accepted)
        for wait in world.cloudformation.waits
        if wait.accepted and wait.accepted.document["Status"] == "FAILURE"
    ]
    for request, answer in failed:
        trouble, denied = _trouble_of(world, request, answer.time)
        _require(
            trouble > TROUBLE_MAY_TAKE
            or denied > IAM_MAY_TAKE
            or not _is_readable(request)
            or any(
                _ended_badly(run, answer.time)
                or _was_forgotten(run, answer.time)
                or _took_too_long(run, request, answer, trouble)
                for run in world.service.of(request.request_id)
            ),
            f"FAILED without a cause: {answer.document['Reason']}",
            request,
        )


ALWAYS: tuple[Invariant, ...] = (
    answers_are_valid,
    attributes_are_those_of_the_run,
    ids_follow_the_rules,
    a_request_starts_one_run_at_most,
    a_delete_starts_nothing,
    a_continuation_ends_by_its_deadline,
    nothing_secret_is_written,
    only_own_runs_are_cancelled,
    success_means_that_the_run_succeeded,
    a_change_is_reprocessed,
    a_success_leaves_its_run_alone,
    what_is_unchanged_is_not_reprocessed,
)
IN_FAIR_WEATHER: tuple[Invariant, ...] = (
    every_request_is_answered,
    no_request_is_answered_twice,
    nothing_runs_after_removal,
    a_new_run_comes_after_the_end_of_the_last,
    a_rollback_under_keep_starts_nothing,
    a_delete_succeeds,
    a_failure_leaves_no_run,
    a_restored_run_is_left_alone,
    a_settled_request_ends_nothing_of_others,
    a_failure_has_a_cause,
)


def check(world: World, *invariants: Invariant) -> World:
    """Raises `Broken` unless the invariants hold; by default all of them."""
    for invariant in invariants or ALWAYS + IN_FAIR_WEATHER:
        invariant(world)
    return world


def _require(holds: object, what: str, request: Request | None = None) -> None:
    if not holds:
        raise Broken(f"{what} ({request})" if request else what)


def _request(world: World, request_id: str) -> Request:
    return next(request for request in world.requests if request.request_id == request_id)


def _nobody_waits_in_vain(world: World, asked: Request | Wait) -> bool:
    """Whether CloudFormation still listens, or has stopped before the time was up."""
    return (world.now if asked.abandoned is None else asked.abandoned) < asked.deadline


def changes_the_data(request: Request) -> bool:
    """Whether what a Create or Update asks for differs from what was there."""
    if request.type == "Update":
        now, before = request.event["ResourceProperties"], request.event["OldResourceProperties"]
        return any(now[name] != before[name] for name in DECIDE_THE_DATA)
    return request.type == "Create"


def _is_readable(request: Request) -> bool:
    """Whether the selection names what can be a key of S3: at most 1,024 bytes, and no address."""
    keys = request.event["ResourceProperties"]["Messages"].get("S3Paths", ())
    return all(len(key.encode()) <= 1024 and "://" not in key for key in keys)


def _ended_badly(run: Run, when: float) -> bool:
    """Whether the run had failed, or was cancelled by something else than the request that started it."""
    by_itself = min(
        run.created + run.plan.cancelled_after,
        run.created + run.plan.takes if run.plan.ends == "FAILED" else FOR_EVER,
    )
    by_another = min((asked for asked, by in run.cancels if by != run.owner), default=FOR_EVER)
    return run.state(when) in ("FAILED", "CANCELLED") and min(by_itself, by_another) <= when


def _was_forgotten(run: Run, when: float) -> bool:
    never_listed = run.created + NOT_LISTED <= when < run.created + run.plan.listed_after
    return never_listed or run.ended + run.plan.forgotten_after <= when


def _took_too_long(run: Run, request: Request, answer: Answer, trouble: float) -> bool:
    """Whether the time was up, and the run had not succeeded by then for all to see."""
    wait = wait_of(request)
    if wait is None or wait["OnTimeout"] != "FAIL":
        return False
    timeout = float(wait["TimeoutSeconds"])
    listened_until = run.created + MAX_WAIT.total_seconds() if "SignalUrl" in wait else request.deadline
    by = min(run.created + timeout, listened_until - LAST_WORD)
    has_succeeded = run.plan.ends == "SUCCEEDED" and (
        run.created + run.plan.takes + FINDS_OUT_WITHIN + trouble < by
    )
    return answer.time >= by and not has_succeeded


def _trouble_of(world: World, request: Request, until: float) -> tuple[float, float]:
    """Seconds that went wrong with the resource's calls shortly before the answer, and for which IAM has refused them."""
    since = request.made - ENDS_WITHIN  # what goes wrong with the request before may hold up this one
    calls = [
        call
        for call in world.network.calls
        if call.logical_id == request.logical_id and since <= call.time <= until
    ]
    refused = [call.time for call in calls if call.trouble is Trouble.DENIED]
    return sum(_costs(call) for call in calls), max(refused) - min(refused) if refused else 0.0


def _costs(call: Call) -> float:
    """Seconds that a call in trouble may cost, with the pause before it is repeated."""
    if call.trouble is None or call.trouble is Trouble.DENIED:
        return 0.0
    if call.trouble in CRASHES:
        return 130.0  # Lambda repeats it a minute later, and what it had begun must be over
    hangs = 10.0 if call.trouble in HANGING else 0.0
    # whether a run was started is looked for
    looks = 30.0 if call.trouble in UNCLEAR and call.operation in STARTS else 0.0
    return 8.0 + hangs + looks


def _is_removed(world: World, request: Request, when: float) -> bool:
    """Whether the stack was on its way out by then."""
    return any(
        other.type == "Delete"
        and other.stack_status == "DELETE_IN_PROGRESS"
        and request.made < other.made <= when
        for other in world.requests
    )


def _was_left(world: World, earlier: Request, later: Request) -> bool:
    """Whether the resource was removed in between, and its run left alone."""
    was_made_again = any(
        request.type == "Create"
        and request.logical_id == later.logical_id
        and earlier.made < request.made <= later.made
        for request in world.requests
    )
    return bool(was_made_again and earlier.event["ResourceProperties"]["OnRemoval"] == "LEAVE")


def _pipeline_of(request: Request) -> str:
    pipeline = request.event["ResourceProperties"]["Pipeline"]
    return str(pipeline.get("Name") or pipeline["Arn"].rpartition(":")[2])


def wait_of(request: Request) -> dict[str, str] | None:
    """What the properties say of the wait."""
    wait: dict[str, str] | None = request.event["ResourceProperties"].get("Wait")
    return wait


def _run_of(world: World, physical_id: str) -> Run | None:
    return next((run for run in world.runs if run.id in physical_id.split("/")), None)


def _let_go(world: World, run: Run, signal: Answer) -> float:
    """When the run may have been let go: its time was up, or nobody was told any more how it stands."""
    wait = wait_of(_request(world, run.owner or ""))
    if wait is None or wait["OnTimeout"] != "DETACH":
        return FOR_EVER
    looks = (
        call.time
        for call in world.network.calls
        if call.request_id == run.owner
        and call.operation in LOOKS
        and call.trouble in (None, Trouble.SLOW)
        and call.time <= signal.time
    )
    return min(run.created + float(wait["TimeoutSeconds"]), max(looks, default=run.created))


def _deadline_of(body: dict[str, object]) -> float | None:
    state = body.get("CrHelperData")
    return state["deadline"] - EPOCH.timestamp() if isinstance(state, dict) else None


def _delivery_was_troubled(world: World, request_id: str) -> bool:
    """Whether a PUT, or the ledger in which it is written down, did not do as it was told."""
    if any(
        call.trouble not in (None, Trouble.SLOW)
        for call in world.network.calls
        if call.request_id == request_id and call.service in ("s3", "logs")
    ):
        return True
    return any(
        invocation.outcome in ("Crash", "TimedOut")
        for invocation in world.functions.invocations
        if invocation.request_id == request_id
    )


def _written(world: World) -> Iterator[tuple[str, str]]:
    for line in world.functions.log:
        yield "the log", line
    for error in world.functions.errors:
        yield "a traceback", error
    for call in world.network.calls:
        if call.operation != "invoke":  # the queue is the one place that may carry them
            yield f"a call of {call.operation}", repr(call.parameters)
