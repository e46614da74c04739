"""The way of one event through the function, and how waiting is handed over."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crhelper
import pytest

from pipeline_reprocessing_handler import index
from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Throttled, Unclear
from pipeline_reprocessing_handler.crhelper_adapter import NotDelivered
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.invocation import LAST_WORD, MADE_AT, START_BY

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeContext

    Event = Callable[..., dict[str, Any]]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
GROUP = "handler-logs"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay-1"
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"
SIGNAL_URL = "https://signals.example/wait?Signature=77aa"


@pytest.fixture
def handler(aws: FakeAws) -> Handler:
    """Its pipeline is a state machine whose executions succeed at the second look."""
    aws.scripts = {
        "start_execution": [{"executionArn": "arn"}],
        "describe_execution": [{"status": "RUNNING"}, {"status": "SUCCEEDED"}],
        "stop_execution": [{}],
    }
    return Handler(aws, GROUP)


@pytest.fixture
def machine(properties: dict[str, Any]) -> dict[str, Any]:
    properties["Pipeline"] = {"Kind": "STATE_MACHINE", "Arn": MACHINE}
    return properties


def handed_over(aws: FakeAws) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(aws.invocations[-1]["Payload"])
    return event


def test_the_waiting_is_handed_to_the_function_itself(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    event = event_of("Create", machine)

    handler(event, context)

    (invocation,) = aws.invocations
    assert (invocation["FunctionName"], invocation["InvocationType"]) == ("handler", "Event")
    continuation = handed_over(aws)
    waiting = continuation.pop("CrHelperData")
    assert continuation == {**event, "CrHelperPoll": True, MADE_AT: aws.time.now().timestamp()}
    assert waiting["run_id"].startswith("Backfill-")
    assert aws.answers == []


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_a_continuation_waits_and_answers(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any], type_: str
) -> None:
    handler(event_of(type_, machine), context)
    run_id = handed_over(aws)["CrHelperData"]["run_id"]
    handler(handed_over(aws), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", f"Replay-1/{run_id}/1738324800")
    assert answer["Data"]["Status"] == "SUCCEEDED"
    assert len(aws.invocations) == 1


def test_an_answer_has_the_numbers_of_the_execution(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    output = json.dumps({"objects": 2, "messagesIn": 7, "errors": "s3://results/errors/"})
    aws.scripts["describe_execution"] = [{"status": "SUCCEEDED", "output": output}]

    handler(event_of("Create", machine), context)
    handler(handed_over(aws), context)

    (answer,) = aws.documents
    assert answer["Reason"] == "the run has succeeded: 2 objects, 7 messages in"
    assert answer["Data"] == {
        "PipelineName": "Replay-1",
        "ReprocessingId": handed_over(aws)["CrHelperData"]["run_id"],
        "Status": "SUCCEEDED",
        "StartTime": "2025-01-01T00:00:00Z",
        "EndTime": "2025-01-31T00:00:00Z",
        "Objects": "2",
        "ObjectsDone": "",
        "ObjectsGone": "",
        "ObjectsChanged": "",
        "ObjectsFailed": "",
        "ObjectsNotReplayed": "",
        "ObjectsSkipped": "",
        "MessagesIn": "7",
        "MessagesOut": "",
        "MessagesDropped": "",
        "MessagesFailed": "",
    }


@pytest.mark.parametrize(("remaining", "waits"), [(900_000, 570), (60_000, 36), (100_000, 60)])
def test_a_continuation_hands_over_before_its_time_is_up(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    remaining: int,
    waits: int,
) -> None:
    aws.scripts["describe_execution"] = [{"status": "RUNNING"}]
    handler(event_of("Create", machine), context)
    before = aws.time.now()
    context.remaining = remaining

    handler(handed_over(aws), context)

    assert abs((aws.time.now() - before).total_seconds() - waits) < 0.1
    assert len(aws.invocations) == 2
    assert aws.answers == []


def test_a_chain_of_continuations_carries_the_time_of_its_request(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    aws.scripts["describe_execution"] = [{"status": "RUNNING"}]
    arrived = aws.time.now().timestamp()

    handler(event_of("Create", machine), context)
    for _ in range(2):
        handler(handed_over(aws), context)

    assert handed_over(aws)[MADE_AT] == arrived
    assert handed_over(aws)["CrHelperData"]["started_at"] == arrived


def test_a_chain_ends_at_its_deadline(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    aws.scripts["describe_execution"] = [{"status": "RUNNING"}]
    aws.scripts["stop_execution"] = [lambda _: aws.scripts.update(describe_execution=[{"status": "ABORTED"}])]
    handler(event_of("Create", machine), context)

    while not aws.answers:
        handler(handed_over(aws), context)

    (answer,) = aws.documents
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].endswith(": not finished within 50 minutes, and cancelled")
    assert len(aws.invocations) == 6  # one in 9.5 minutes of fifty


def test_a_run_that_cannot_be_waited_for_is_ended(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    aws.scripts["invoke"] = [Denied("lambda:invoke: AccessDeniedException: no")]

    handler(event_of("Create", machine), context)

    (answer,) = aws.documents
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("pipeline 'Replay-1', run 'Backfill-")
    assert answer["Reason"].endswith(
        ": the next invocation cannot be called: lambda:invoke: AccessDeniedException: no"
    )
    assert answer["PhysicalResourceId"].startswith("Replay-1/Backfill-")
    assert "stop_execution" in aws.operations()


def test_a_long_wait_is_answered_at_once_and_signalled_at_its_end(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    machine["Wait"] = {"TimeoutSeconds": "36000", "SignalUrl": SIGNAL_URL}
    output = '{"objects": 0, "objectsSkipped": 0}'
    aws.scripts["describe_execution"] = [{"status": "SUCCEEDED", "output": output}]

    handler(event_of("Create", machine), context)
    handler(handed_over(aws), context)

    first, second = aws.documents
    assert (first["Status"], first["Data"]["Status"]) == ("SUCCESS", "RUNNING")
    assert (first["Data"]["Objects"], first["Data"]["MessagesIn"]) == ("", "")
    assert aws.answers[1][0] == SIGNAL_URL
    assert second == {
        "Status": "SUCCESS",
        "Reason": "the run replayed nothing: the selection matched no object (0 objects, 0 objects skipped)",
        "UniqueId": "request-1",
        "Data": first["PhysicalResourceId"],
    }


def test_a_wait_that_only_grew_beyond_an_hour_ends_at_once(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    before = deepcopy(machine)
    machine["Wait"] = {"TimeoutSeconds": "36000", "SignalUrl": SIGNAL_URL}

    handler(event_of("Update", machine, OldResourceProperties=before), context)

    assert "start_execution" not in aws.operations()
    (signal_url, signal), (_, answer) = [(url, json.loads(body)) for url, body in aws.answers]
    assert (signal_url, signal["Status"]) == (SIGNAL_URL, "SUCCESS")
    assert signal["Reason"] == "nothing is reprocessed: nothing that decides the data has changed"
    assert answer["Status"] == "SUCCESS"


def test_a_condition_that_a_rollback_returns_to_is_left_alone(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    grown = {**machine, "Wait": {"TimeoutSeconds": "7200", "SignalUrl": SIGNAL_URL}}

    handler(event_of("Update", grown, OldResourceProperties=machine), context)

    assert [answer["Status"] for answer in aws.documents] == ["SUCCESS"]


def test_a_condition_that_cannot_be_reached_leaves_the_request_to_the_next_attempt(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    grown = {**machine, "Wait": {"TimeoutSeconds": "7200", "SignalUrl": SIGNAL_URL}}
    event = event_of("Update", grown, OldResourceProperties=machine)
    aws.http_statuses = [403] * 20

    with pytest.raises(NotDelivered):
        handler(event, context)
    assert aws.answers == []

    aws.http_statuses.clear()
    handler(event, context)
    assert [url for url, _ in aws.answers] == [SIGNAL_URL, event["ResponseURL"]]


@pytest.mark.parametrize(("status", "told"), [("SUCCEEDED", "SUCCESS"), ("FAILED", None)])
def test_a_run_that_ends_before_its_hand_over_succeeds_ends_the_long_wait_too(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    status: str,
    told: str | None,
) -> None:
    machine["Wait"] = {"TimeoutSeconds": "36000", "SignalUrl": SIGNAL_URL}
    aws.scripts["invoke"] = [Throttled("busy")]
    aws.scripts["describe_execution"] = [*[{"status": "RUNNING"}] * 20, {"status": status}]

    handler(event_of("Create", machine), context)

    assert {
        url: document["Status"] for (url, _), document in zip(aws.answers, aws.documents, strict=True)
    } == ({SIGNAL_URL: "SUCCESS", RESPONSE_URL: "SUCCESS"} if told else {RESPONSE_URL: "FAILED"})
    assert "stop_execution" not in aws.operations()


def test_a_condition_that_was_told_before_is_left_alone(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    machine["Wait"] = {"TimeoutSeconds": "36000", "SignalUrl": SIGNAL_URL}
    before = deepcopy(machine) | {"OnRemoval": "LEAVE"}

    handler(event_of("Update", machine, OldResourceProperties=before), context)

    ((_, answer),) = aws.answers
    assert json.loads(answer)["Status"] == "SUCCESS"


# How long an invocation is patient.


@pytest.mark.parametrize("operation", ["create_log_stream", "describe_log_streams", "start_execution"])
@pytest.mark.parametrize("fault", [Throttled("busy"), Unclear("oops")])
def test_a_deploy_gets_through_minutes_of_trouble(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    operation: str,
    fault: Fault,
) -> None:
    calm = aws.scripts.get(operation, [])
    _in_trouble_until(aws, operation, NOW + timedelta(minutes=3), fault, calm)

    handler(event_of("Create", machine), context)

    assert len(aws.invocations) == 1
    assert aws.answers == []
    assert aws.time.now() >= NOW + timedelta(minutes=3)


@pytest.mark.parametrize("wait", [None, {"TimeoutSeconds": "3000"}])
@pytest.mark.parametrize("operation", ["create_log_stream", "describe_log_streams", "start_execution"])
def test_a_deploy_that_gets_through_nothing_fails_in_time(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    operation: str,
    wait: object,
) -> None:
    machine["Wait"] = wait
    aws.scripts[operation] = [Throttled("busy")]

    handler(event_of("Create", machine), context)

    (answer,) = aws.documents
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].endswith("busy")
    last = max(at for name, at in aws.called_at if name in ("start_execution", operation))
    assert last <= NOW + (START_BY if operation == "start_execution" else timedelta(seconds=225))
    assert aws.time.now() <= NOW + timedelta(seconds=230)


def test_a_short_function_fails_a_deploy_within_its_own_time(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    context.remaining = 60_000
    aws.scripts["start_execution"] = [Throttled("busy")]

    handler(event_of("Create", machine), context)

    assert [answer["Status"] for answer in aws.documents] == ["FAILED"]
    assert aws.time.now() <= NOW + timedelta(seconds=50)


def test_an_update_that_starts_nothing_does_not_wait_for_the_status_of_the_run(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    aws.scripts["describe_execution"] = [Throttled("busy")]
    named = {"PhysicalResourceId": "Replay-1/Backfill-1"}

    handler(event_of("Update", machine, OldResourceProperties=machine, **named), context)

    assert [answer["Data"]["Status"] for answer in aws.documents] == ["UNKNOWN"]
    assert aws.time.now() == NOW


@pytest.mark.parametrize("operation", ["describe_stacks", "describe_execution"])
def test_a_wait_looks_again_rather_than_to_hang_on_one_call(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    operation: str,
) -> None:
    handler(event_of("Create", machine), context)
    aws.scripts["describe_execution"] = [{"status": "SUCCEEDED"}]
    aws.scripts[operation] = [*[Throttled("busy")] * 4, *aws.scripts.get(operation, [{}])]

    handler(handed_over(aws), context)

    assert [answer["Status"] for answer in aws.documents] == ["SUCCESS"]
    assert aws.time.now() <= NOW + timedelta(seconds=2)  # four looks in half seconds


def test_a_run_is_cancelled_in_spite_of_throttling_at_the_last_moment(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    machine["Wait"] = {"TimeoutSeconds": "43200", "SignalUrl": SIGNAL_URL}
    aws.scripts["describe_execution"] = [{"status": "RUNNING"}]
    handler(event_of("Create", machine), context)
    last_word = NOW + timedelta(hours=12) - LAST_WORD
    ends: list[Any] = [lambda _: aws.scripts.update(describe_execution=[{"status": "ABORTED"}])]
    _in_trouble_until(aws, "stop_execution", last_word + timedelta(seconds=30), Throttled("busy"), ends)
    aws.time.moment = last_word - timedelta(seconds=10)

    handler(handed_over(aws), context)

    assert last_word + timedelta(seconds=30) <= max(
        at for name, at in aws.called_at if name == "stop_execution"
    )
    assert aws.documents[-1]["Status"] == "FAILURE"
    assert aws.documents[-1]["Reason"].endswith("minutes, and cancelled")


def test_a_cancelled_run_that_is_not_seen_to_end_leaves_time_for_the_signal(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    machine["Wait"] = {"TimeoutSeconds": "43200", "SignalUrl": SIGNAL_URL}
    aws.scripts["describe_execution"] = [{"status": "RUNNING"}]
    handler(event_of("Create", machine), context)
    last_word = NOW + timedelta(hours=12) - LAST_WORD
    stopped = aws.scripts["stop_execution"]
    _in_trouble_until(aws, "stop_execution", last_word + timedelta(seconds=30), Throttled("busy"), stopped)
    aws.time.moment = last_word - timedelta(seconds=10)

    handler(handed_over(aws), context)

    assert [document["Status"] for document in aws.documents] == ["SUCCESS", "FAILURE"]


@pytest.mark.parametrize(("minutes", "deploys"), [(0.9, True), (1.1, False)])
def test_a_new_role_has_a_minute_to_become_known(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    minutes: float,
    deploys: bool,
) -> None:
    denied = Denied("not authorized to perform: states:StartExecution")
    known_at = NOW + timedelta(minutes=minutes)
    _in_trouble_until(aws, "start_execution", known_at, denied, aws.scripts["start_execution"])

    handler(event_of("Create", machine), context)

    assert bool(aws.invocations) is deploys
    assert [answer["Status"] for answer in aws.documents] == ([] if deploys else ["FAILED"])


@pytest.mark.parametrize(
    ("physical_id", "waits"),
    [("Backfill-1TBV0FNGWF0Q5", True), ("Replay-1/Backfill-1", False), ("Replay-1/not-started", False)],
)
def test_a_delete_waits_for_a_new_role_only_while_its_create_may_go_on(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    physical_id: str,
    waits: bool,
) -> None:
    aws.scripts |= {"create_log_stream": [Denied("no")], "describe_log_streams": [Denied("no")]}
    aws.scripts["describe_execution"] = [Denied("no")]

    handler(event_of("Delete", machine, PhysicalResourceId=physical_id), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", physical_id)
    assert (aws.time.now() > NOW + timedelta(seconds=45)) is waits


def test_a_delete_gets_through_minutes_of_throttling(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, machine: dict[str, Any]
) -> None:
    stopped = aws.scripts["stop_execution"]
    _in_trouble_until(aws, "stop_execution", NOW + timedelta(minutes=3), Throttled("busy"), stopped)

    handler(event_of("Delete", machine, PhysicalResourceId="Replay-1/Backfill-1"), context)

    assert [answer["Status"] for answer in aws.documents] == ["SUCCESS"]


def _in_trouble_until(aws: FakeAws, operation: str, until: datetime, fault: Fault, calm: list[Any]) -> None:
    def script(parameters: Any) -> Any:
        if aws.time.now() < until:
            raise fault
        if calm:
            return calm[0](parameters) if callable(calm[0]) else calm[0]
        return getattr(aws, f"_{operation}")(**parameters)

    aws.scripts[operation] = [script]


@pytest.mark.parametrize("unreadable", [None, {}, {"Pipeline": "an old shape"}])
def test_a_delete_that_cannot_be_read_succeeds(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, unreadable: object
) -> None:
    handler(event_of("Delete", ResourceProperties=unreadable), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather/run-1")


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_properties_that_cannot_be_read_fail_the_deploy_with_a_reason(
    handler: Handler, aws: FakeAws, event_of: Event, context: FakeContext, type_: str
) -> None:
    handler(event_of(type_, {"Pipeline": {"Kind": "KINESIS"}}), context)

    (answer,) = aws.documents
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == "'Pipeline.Kind' must be one of IOT_ANALYTICS, STATE_MACHINE, got 'KINESIS'"
    assert aws.invocations == []


@pytest.mark.parametrize("data", [None, {}, {"run": "9d31"}, "text"])
def test_a_continuation_that_is_none_of_ours_is_answered(
    handler: Handler,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    machine: dict[str, Any],
    data: object,
) -> None:
    handler(event_of("Create", machine, CrHelperPoll=True, CrHelperData=data), context)

    assert [answer["Status"] for answer in aws.documents] == ["FAILED"]


def test_lambda_finds_the_handler_by_its_name() -> None:
    assert isinstance(index.handler, Handler)


def test_the_function_starts_in_the_environment_of_lambda(checkout: Path, tmp_path: Path) -> None:
    runtime = checkout / ".local/runtime/bin/python"
    (tmp_path / "crhelper").symlink_to(Path(crhelper.__file__).parent)
    (tmp_path / "pipeline_reprocessing_handler").symlink_to(Path(index.__file__).parent)
    program = (
        "import sys, boto3, pipeline_reprocessing_handler.index as index\n"
        "index.handler({'RequestType': 'Create'}, None)\n"  # no ResponseURL: logged, and no error
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'aws_cdk', 'jsii', 'constructs'}))\n"
    )

    done = subprocess.run(
        [runtime, "-c", program],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(tmp_path),
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
