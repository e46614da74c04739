"""Step Functions: what is sent, how executions are named, and where each state of one leads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Throttled, Unclear
from pipeline_reprocessing_handler.invocation import START_BY, Invocation
from pipeline_reprocessing_handler.ledger import Ledger, Record
from pipeline_reprocessing_handler.pipelines import Counts, State, Status, open_pipeline
from pipeline_reprocessing_handler.pipelines.state_machine import (
    MAX_INPUT,
    StateMachinePipeline,
    execution_input,
    execution_name,
)
from pipeline_reprocessing_handler.properties import Kind, Messages, Target
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from botocore.stub import Stubber
    from tests.handler.conftest import FakeClock

    from pipeline_reprocessing_handler.aws import Aws

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:Replay-1"
STACK_ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f"
TARGET = Target(Kind.STATE_MACHINE, "Replay-1", arn=MACHINE)
EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:Replay-1:Backfill-1"
STARTED = {"executionArn": EXECUTION, "startDate": datetime(2025, 1, 31, tzinfo=UTC)}
NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
NAMES = re.compile(r"[0-9A-Za-z_-]{1,80}")


@pytest.fixture
def request_(invocation_of: Callable[..., Invocation], properties: dict[str, Any]) -> Invocation:
    properties["Pipeline"] = {"Kind": "STATE_MACHINE", "Arn": MACHINE}
    return invocation_of("Create", properties)


@pytest.fixture
def states(stub: Callable[[str], Stubber]) -> Stubber:
    return stub("stepfunctions")


@pytest.fixture
def replay(real_aws: Aws, states: Stubber) -> StateMachinePipeline:
    return StateMachinePipeline(TARGET, real_aws.patient(NOW + START_BY))


@pytest.fixture
def start(replay: StateMachinePipeline, request_: Invocation) -> Callable[[], str]:
    """Starts the run of a request that is still wanted."""
    return lambda: replay.start(request_, lambda: Record(request_.request_id, request_.made_at))


def execution(status: str, **fields: object) -> dict[str, Any]:
    return {
        **STARTED,
        "stateMachineArn": MACHINE,
        "status": status,
        **fields,
    }


def test_a_target_of_this_kind_opens_this_pipeline(aws: Aws, ledger: Ledger) -> None:
    assert isinstance(open_pipeline(TARGET, aws, ledger), StateMachinePipeline)


def test_a_start_sends_name_and_input(
    start: Callable[[], str], states: Stubber, request_: Invocation
) -> None:
    name = execution_name(request_, request_.request_id)
    states.add_response(
        "start_execution",
        STARTED,
        {"stateMachineArn": MACHINE, "name": name, "input": execution_input(request_)},
    )

    assert start() == name


def test_an_execution_that_was_started_before_is_the_run(
    start: Callable[[], str], states: Stubber, request_: Invocation
) -> None:
    states.add_client_error("start_execution", "ExecutionAlreadyExists", "it is there", 400)

    assert start() == execution_name(request_, request_.request_id)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "StateMachineDoesNotExist",
            "state machine 'Replay-1' does not exist: "
            "stepfunctions:start_execution: StateMachineDoesNotExist: the words of AWS",
        ),
        (
            "StateMachineDeleting",
            "state machine 'Replay-1' cannot be started: "
            "stepfunctions:start_execution: StateMachineDeleting: the words of AWS",
        ),
        (
            "InvalidExecutionInput",
            "state machine 'Replay-1' cannot be started: "
            "stepfunctions:start_execution: InvalidExecutionInput: the words of AWS",
        ),
        (
            "ValidationException",
            "state machine 'Replay-1' cannot be started: "
            "stepfunctions:start_execution: ValidationException: the words of AWS",
        ),
    ],
)
def test_a_machine_that_cannot_be_started_fails_with_a_reason(
    start: Callable[[], str], states: Stubber, code: str, message: str
) -> None:
    states.add_client_error("start_execution", code, "the words of AWS", 400)

    with pytest.raises(Failure) as failure:
        start()

    assert str(failure.value) == message


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("ExecutionLimitExceeded", 400),
        ("ServiceUnavailable", 503),
        ("Oops", 500),
    ],
)
def test_a_start_may_be_sent_again_because_its_name_makes_it_one(
    start: Callable[[], str], states: Stubber, request_: Invocation, code: str, status: int
) -> None:
    states.add_client_error("start_execution", code, "later", status)
    states.add_response("start_execution", STARTED)

    assert start() == execution_name(request_, request_.request_id)


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [("ThrottlingException", 400, Throttled), ("Oops", 500, Unclear)],
)
def test_what_goes_on_going_wrong_is_told_when_the_patience_is_over(
    start: Callable[[], str],
    states: Stubber,
    real_aws: Aws,
    code: str,
    status: int,
    fault: type[Fault],
) -> None:
    for _ in range(99):
        states.add_client_error("start_execution", code, "no", status)

    with pytest.raises(fault):
        start()

    assert NOW + START_BY - timedelta(seconds=10) <= real_aws.clock.now() <= NOW + START_BY
    vars(states)["_queue"].clear()


def test_a_refusal_of_iam_is_told_at_once(start: Callable[[], str], states: Stubber, real_aws: Aws) -> None:
    states.add_client_error("start_execution", "AccessDeniedException", "no", 400)

    with pytest.raises(Denied):
        start()

    assert real_aws.clock.now() == NOW


def test_whether_it_is_still_wanted_is_asked_before_each_attempt(
    replay: StateMachinePipeline, states: Stubber, request_: Invocation
) -> None:
    states.add_client_error("start_execution", "ThrottlingException", "later", 400)
    asked = iter([True, False])

    def still_wanted() -> Record:
        if not next(asked):
            raise request_.failure("superseded")
        return Record(request_.request_id, NOW)

    with pytest.raises(Failure, match="superseded"):
        replay.start(request_, still_wanted)


@pytest.mark.parametrize("made_at", [NOW - START_BY, NOW - START_BY - timedelta(hours=1)])
def test_a_request_that_comes_too_late_starts_nothing(
    replay: StateMachinePipeline, states: Stubber, request_: Invocation, made_at: datetime
) -> None:
    states.add_client_error("describe_execution", "ExecutionDoesNotExist", "no such execution", 400)

    with pytest.raises(Failure) as failure:
        replay.start(request_, lambda: Record(request_.request_id, made_at))

    assert str(failure.value) == "pipeline 'Replay-1': the run could not be started in time"


def test_an_execution_of_an_interrupted_invocation_is_adopted_however_late(
    replay: StateMachinePipeline, states: Stubber, request_: Invocation
) -> None:
    name = execution_name(request_, request_.request_id)
    described = {"executionArn": EXECUTION.replace("Backfill-1", name)}
    states.add_response("describe_execution", execution("RUNNING"), described)

    run_id = replay.start(request_, lambda: Record(request_.request_id, NOW - START_BY))

    assert run_id == name


def test_an_input_that_is_too_long_is_refused_before_any_call(
    replay: StateMachinePipeline,
    states: Stubber,
    invocation_of: Callable[..., Invocation],
    properties: dict[str, Any],
) -> None:
    request = invocation_of("Create", {**properties, "Trigger": "x" * MAX_INPUT})

    with pytest.raises(Failure, match="the execution's input must be at most 262144 bytes"):
        replay.start(request, lambda: pytest.fail("the ledger was read"))


def test_a_repeated_request_has_the_same_name(invocation_of: Callable[..., Invocation]) -> None:
    names = {execution_name(invocation_of(), "5f2a-10") for _ in range(2)}

    assert len(names) == 1


@pytest.mark.parametrize("field", ["StackId", "LogicalResourceId"])
def test_a_request_of_another_resource_has_another_name(
    invocation_of: Callable[..., Invocation], field: str
) -> None:
    name = execution_name(invocation_of(), "5f2a-10")

    assert execution_name(invocation_of(**{field: "other"}), "5f2a-10") != name
    assert execution_name(invocation_of(), "5f2a-11") != name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.from_regex(r"[A-Za-z0-9]{1,255}", fullmatch=True), st.uuids())
@example("B" * 255, "5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f")
def test_a_name_is_one_that_step_functions_takes(
    invocation_of: Callable[..., Invocation], logical_id: str, request_id: object
) -> None:
    name = execution_name(invocation_of(LogicalResourceId=logical_id), str(request_id))

    assert NAMES.fullmatch(name)
    assert name.startswith(logical_id[:47])


@pytest.mark.parametrize(
    ("messages", "resolved"),
    [
        ({"All": "true"}, {"All": True}),
        ({"StartTime": "2025-01-01T01:00:00+01:00"}, {"StartTime": "2025-01-01T00:00:00Z"}),
        (
            {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-01-31T00:00:00Z"},
            {"StartTime": "2025-01-01T00:00:00Z", "EndTime": "2025-01-31T00:00:00Z"},
        ),
        (
            {"LastSeconds": "86400"},
            {"StartTime": "2025-01-30T12:00:00Z", "EndTime": "2025-01-31T12:00:00Z"},
        ),
        ({"S3Paths": ["a b/c", "ä+,&@%"]}, {"S3Paths": ["a b/c", "ä+,&@%"]}),
    ],
)
def test_the_input_is_the_documented_one(
    invocation_of: Callable[..., Invocation],
    properties: dict[str, Any],
    messages: dict[str, Any],
    resolved: dict[str, Any],
) -> None:
    properties |= {"Pipeline": {"Kind": "STATE_MACHINE", "Arn": MACHINE}, "Messages": messages}

    document = json.loads(execution_input(invocation_of("Create", properties)))

    assert document == {
        "messages": resolved,
        "trigger": "a" * 64,
        "resource": {
            "stackId": STACK_ID,
            "logicalResourceId": "Backfill",
            "requestId": "request-1",
        },
    }
    assert Messages.parse(document["messages"], Kind.STATE_MACHINE).properties() == resolved


def test_a_hundred_long_paths_fit_the_input(
    invocation_of: Callable[..., Invocation], properties: dict[str, Any]
) -> None:
    properties["Messages"] = {"S3Paths": ["k" * 1024] * 100}

    assert len(execution_input(invocation_of("Create", properties))) <= MAX_INPUT


def test_an_input_that_step_functions_would_refuse_is_refused_here(
    invocation_of: Callable[..., Invocation], properties: dict[str, Any]
) -> None:
    properties["Messages"] = {"S3Paths": ["\x0b" * 1024] * 100}  # takes six bytes in JSON
    request = invocation_of("Create", properties)

    with pytest.raises(
        Failure,
        match=r"^the execution's input must be at most 262144 bytes, got 61\d{4}; select fewer S3 paths$",
    ):
        execution_input(request)


def test_an_input_is_measured_to_the_byte(
    invocation_of: Callable[..., Invocation], properties: dict[str, Any]
) -> None:
    def input_with(trigger: str) -> str:
        return execution_input(invocation_of("Create", {**properties, "Trigger": trigger}, RequestId="5f2a"))

    room = MAX_INPUT - len(input_with("x")) + 1

    assert len(input_with("x" * room).encode()) == MAX_INPUT
    with pytest.raises(Failure, match="must be at most 262144 bytes, got 262145"):
        input_with("x" * (room + 1))


@pytest.mark.parametrize(
    ("described", "status"),
    [
        (execution("RUNNING"), Status(State.RUNNING)),
        (execution("PENDING_REDRIVE"), Status(State.RUNNING)),
        (execution("SUCCEEDED", output="{}"), Status(State.SUCCEEDED)),
        (execution("SUCCEEDED", outputDetails={"included": False}), Status(State.SUCCEEDED)),
        (
            execution(
                "SUCCEEDED", output='{"objects": 2, "messagesIn": 7}', outputDetails={"included": True}
            ),
            Status(State.SUCCEEDED, counts=Counts(objects=2, messages_in=7)),
        ),
        (
            execution("FAILED", error="States.TaskFailed", cause="no such table"),
            Status(State.FAILED, "States.TaskFailed: no such table"),
        ),
        (execution("FAILED", error="States.Runtime"), Status(State.FAILED, "States.Runtime")),
        (execution("FAILED", cause="no such table"), Status(State.FAILED, "no such table")),
        (execution("FAILED"), Status(State.FAILED)),
        (execution("TIMED_OUT"), Status(State.FAILED, "TIMED_OUT")),
        (
            execution("TIMED_OUT", error="States.Timeout", cause="an hour"),
            Status(State.FAILED, "TIMED_OUT: States.Timeout: an hour"),
        ),
        (
            execution("ABORTED", error="Superseded", cause="by a new deploy"),
            Status(State.CANCELLED, "Superseded: by a new deploy"),
        ),
        (execution("PAUSED"), Status(State.UNKNOWN)),
    ],
)
def test_a_run_stands_where_its_execution_does(
    replay: StateMachinePipeline, states: Stubber, described: dict[str, Any], status: Status
) -> None:
    states.add_response("describe_execution", described, {"executionArn": EXECUTION})

    assert replay.status("Backfill-1") == status


def test_every_state_of_an_execution_is_known(real_aws: Aws) -> None:
    model = real_aws._client("stepfunctions", None).meta.service_model
    known = {"RUNNING", "PENDING_REDRIVE", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}

    assert set(model.shape_for("ExecutionStatus").enum) == known


def test_an_execution_that_does_not_exist_is_unknown(replay: StateMachinePipeline, states: Stubber) -> None:
    states.add_client_error("describe_execution", "ExecutionDoesNotExist", "no such execution", 400)

    assert replay.status("Backfill-1") == Status(State.UNKNOWN)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_an_execution_is_in_the_partition_of_its_machine(
    real_aws: Aws, states: Stubber, partition: str
) -> None:
    target = Target(Kind.STATE_MACHINE, "Replay-1", arn=MACHINE.replace("aws", partition, 1))
    expected = {"executionArn": EXECUTION.replace("aws", partition, 1)}
    states.add_response("describe_execution", execution("RUNNING"), expected)

    assert StateMachinePipeline(target, real_aws).status("Backfill-1").state is State.RUNNING


def test_a_machine_may_be_called_as_its_arn_is_written(real_aws: Aws, states: Stubber) -> None:
    target = Target(Kind.STATE_MACHINE, "stateMachine", arn=MACHINE.replace("Replay-1", "stateMachine"))
    states.add_response(
        "describe_execution",
        execution("RUNNING"),
        {"executionArn": EXECUTION.replace("Replay-1", "stateMachine")},
    )

    assert StateMachinePipeline(target, real_aws).status("Backfill-1").state is State.RUNNING


@pytest.fixture
def of_another(request_: Invocation) -> tuple[Record, str]:
    """The notes of another request, and the name of its execution."""
    return Record("request-9", NOW), execution_name(request_, "request-9")


def test_what_another_request_has_started_is_found_by_its_name(
    replay: StateMachinePipeline, states: Stubber, request_: Invocation, of_another: tuple[Record, str]
) -> None:
    record, name = of_another
    described = {"executionArn": EXECUTION.replace("Backfill-1", name)}
    states.add_response("describe_execution", execution("SUCCEEDED"), described)

    assert replay.started_run(request_, record) == name


@pytest.mark.parametrize("late", [2, 28])
def test_an_execution_that_is_listed_late_is_found(
    replay: StateMachinePipeline,
    request_: Invocation,
    of_another: tuple[Record, str],
    monkeypatch: pytest.MonkeyPatch,
    late: int,
) -> None:
    record, name = of_another
    is_listed = iter([False] * (late // 2) + [True])
    monkeypatch.setattr(
        StateMachinePipeline,
        "status",
        lambda *_: Status(State.RUNNING if next(is_listed) else State.UNKNOWN),
    )

    assert replay.started_run(request_, record) == name


def test_an_execution_that_was_never_started_is_looked_for_half_a_minute(
    replay: StateMachinePipeline,
    states: Stubber,
    request_: Invocation,
    of_another: tuple[Record, str],
    real_aws: Aws,
) -> None:
    for _ in range(16):
        states.add_client_error("describe_execution", "ExecutionDoesNotExist", "no such execution", 400)

    assert replay.started_run(request_, of_another[0]) is None

    assert real_aws.clock.now() == NOW + timedelta(seconds=30)


@pytest.mark.parametrize(("ago", "looks"), [(30, 1), (28, 2), (24, 4)])
def test_the_execution_of_a_request_that_failed_may_be_listed_late(
    replay: StateMachinePipeline,
    request_: Invocation,
    states: Stubber,
    real_aws: Aws,
    ago: int,
    looks: int,
) -> None:
    answered_at = real_aws.clock.now() - timedelta(seconds=ago)
    answered = Record("request-9", NOW, {"answer~Create~FAILED": answered_at})
    for _ in range(looks):
        states.add_client_error("describe_execution", "ExecutionDoesNotExist")

    assert replay.started_run(request_, answered) is None

    states.assert_no_pending_responses()


@pytest.mark.parametrize("status", ["SUCCESS", "WAITING"])
def test_the_execution_of_a_request_that_succeeded_is_not_looked_for(
    replay: StateMachinePipeline, request_: Invocation, status: str
) -> None:
    answered = Record("request-9", NOW, {f"answer~Create~{status}": NOW})

    assert replay.started_run(request_, answered) == execution_name(request_, "request-9")


def test_a_run_is_cancelled_with_its_cause(replay: StateMachinePipeline, states: Stubber) -> None:
    states.add_response(
        "stop_execution",
        {"stopDate": datetime(2025, 1, 31, tzinfo=UTC)},
        {"executionArn": EXECUTION, "error": "Superseded", "cause": "by a new deploy"},
    )

    assert replay.cancel("Backfill-1", "by a new deploy")


@pytest.mark.parametrize("code", ["ExecutionDoesNotExist", "ValidationException"])
def test_a_run_that_has_ended_is_left_as_it_is(
    replay: StateMachinePipeline, states: Stubber, code: str
) -> None:
    states.add_client_error("stop_execution", code, "too late", 400)

    assert not replay.cancel("Backfill-1", "by a new deploy")


def test_a_cancel_that_iam_refuses_is_told(
    replay: StateMachinePipeline, states: Stubber, real_aws: Aws
) -> None:
    clock: FakeClock | Any = real_aws.clock
    states.add_client_error("stop_execution", "AccessDeniedException", "no", 400)

    with pytest.raises(Denied, match="stepfunctions:stop_execution: AccessDeniedException: no"):
        replay.cancel("Backfill-1", "by a new deploy")

    assert clock.slept == []
