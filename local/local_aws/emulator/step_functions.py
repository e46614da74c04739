"""Step Functions where ministack is kinder than AWS, or different.

- The role of a state machine must allow what its states do: `lambda:InvokeFunction` for tasks, `s3:GetObject` for
  the manifest of a Distributed Map, and `states:StartExecution` on itself for the children of one.
- Stopping an execution also stops its map: no child starts a further state or attempt, and none waits on.
- `MaxDelaySeconds` and `JitterStrategy` of a retrier count, and its delays do not overflow.
- A throttled function fails its task with `Lambda.TooManyRequestsException`.
- The calls about a map run need the right to that map run, not to everything.
- StartExecution with the name and input of an execution that still runs answers with that execution.

What stays unlike AWS: `ItemBatcher` is ignored, which is held fast by a test; children of a stopped execution stay
RUNNING until the functions that they called return; and a retrier waits at most 60 seconds.
"""

import contextvars
import json
import random
import time
from typing import Any

from local_aws.emulator import hooks

_STEP_FUNCTIONS = "ministack.services.stepfunctions"
_IAM = "ministack.core.iam_evaluator"
_ACTIONS = "ministack.core.iam_actions"
_RESPONSES = "ministack.core.responses"

_STOPPED = "the execution was stopped"
_LONGEST_SLEEP = 0.1
"""How many seconds a stopped execution sleeps on at most."""

_execution: contextvars.ContextVar[str] = contextvars.ContextVar("execution", default="")
"""The ARN of the execution that this thread works for; for a child of a map, that of its parent."""

_role: contextvars.ContextVar[str] = contextvars.ContextVar("state_machine_role", default="")


def install() -> None:
    """Puts the checks around what ministack does."""
    hooks.replace(_STEP_FUNCTIONS, "_start_execution", "data", _start_once)
    hooks.replace(_STEP_FUNCTIONS, "_fail_execution", "execution error cause", _stopped_stays_stopped)
    hooks.replace(_STEP_FUNCTIONS, "_execute_task", "state_def raw_input execution ctx", _stop_between_tasks)
    hooks.replace(
        _STEP_FUNCTIONS,
        "_run_distributed_map",
        "state_def raw_input effective iterator execution ctx",
        _start_children_as_the_role,
    )
    hooks.replace(_STEP_FUNCTIONS, "_call_lambda", "func_ref event", _invoke_as_the_role)
    hooks.replace(_STEP_FUNCTIONS, "_s3_object_text", "bucket key", _read_as_the_role)
    hooks.replace(_STEP_FUNCTIONS, "_run_execution", "exec_arn", _know_the_execution)
    hooks.replace(_STEP_FUNCTIONS, "_scaled_sleep", "seconds", lambda _original: _sleep_until_stopped)
    hooks.replace(_STEP_FUNCTIONS, "_find_matching_retrier", "retriers error retry_counts", _bound_the_delay)
    hooks.replace(
        _ACTIONS,
        "extract_resource_arn",
        "service method path headers body query_params region account_id",
        _find_the_map_run,
    )


def _start_once(original: Any) -> Any:
    def start_execution(data: dict[str, Any]) -> Any:
        machine = hooks.find(_STEP_FUNCTIONS, "_resolve_state_machine_arn")(data.get("stateMachineArn", ""))
        for execution in _executions().values():
            if (
                "name" in data
                and execution["name"] == data["name"]
                and execution["stateMachineArn"] == machine
                and execution["status"] == "RUNNING"
                and execution["input"] == data.get("input", "{}")
            ):
                started = {name: execution[name] for name in ("executionArn", "startDate")}
                return hooks.find(_STEP_FUNCTIONS, "json_response")(started)
        return original(data)

    return start_execution


def _stopped_stays_stopped(original: Any) -> Any:
    def fail_execution(execution: dict[str, Any], error: str, cause: str) -> None:
        if execution["status"] != "ABORTED":
            original(execution, error, cause)

    return fail_execution


def _stop_between_tasks(original: Any) -> Any:
    def execute_task(state_def: Any, raw_input: Any, execution: Any, ctx: dict[str, Any]) -> Any:
        _end_if_stopped()
        _role.set(_role_of(ctx))
        return original(state_def, raw_input, execution, ctx)

    return execute_task


def _start_children_as_the_role(original: Any) -> Any:
    def run_distributed_map(*arguments: Any) -> Any:
        ctx = arguments[-1]
        _role.set(_role_of(ctx))
        machine = ctx["StateMachine"]["Id"]
        _require("states:StartExecution", machine, "States.Permissions")
        try:
            return original(*arguments)
        finally:
            if _is_stopped():
                _mark_stopped(_execution.get())

    return run_distributed_map


def _invoke_as_the_role(original: Any) -> Any:
    def call_lambda(func_ref: str, event: Any) -> Any:
        if _role.get():
            _record, config, _name = hooks.find("ministack.services.lambda_svc", "_get_func_record_for_ref")(
                func_ref
            )
            resource = (
                func_ref if func_ref.startswith("arn:") else (config or {}).get("FunctionArn", func_ref)
            )
            _require("lambda:InvokeFunction", resource, "Lambda.AWSLambdaException")
        try:
            return original(func_ref, event)
        except hooks.find(_STEP_FUNCTIONS, "_ExecutionError") as error:
            if "TooManyRequestsException" not in error.cause or error.error != "Lambda.Unknown":
                raise
            cause = f"{json.loads(error.cause)['message']} (Service: Lambda, Status Code: 429)"
            raise _error("Lambda.TooManyRequestsException", cause) from error

    return call_lambda


def _read_as_the_role(original: Any) -> Any:
    def s3_object_text(bucket: str, key: str) -> Any:
        _require("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", "States.ItemReaderFailed")
        return original(bucket, key)

    return s3_object_text


def _know_the_execution(original: Any) -> Any:
    def run_execution(exec_arn: str) -> None:
        _execution.set(exec_arn)
        original(exec_arn)

    return run_execution


def _sleep_until_stopped(seconds: float) -> None:
    end = time.monotonic() + seconds * hooks.find(_STEP_FUNCTIONS, "_SFN_WAIT_SCALE")
    while (left := end - time.monotonic()) > 0:
        _end_if_stopped()
        time.sleep(min(left, _LONGEST_SLEEP))


def _bound_the_delay(original: Any) -> Any:
    def find_matching_retrier(
        retriers: list[dict[str, Any]], error: str, retry_counts: dict[int, int]
    ) -> tuple[dict[str, Any] | None, int]:
        found: dict[str, Any] | None
        found, index = original(retriers, error, retry_counts)
        if found is None:
            return None, index
        # Higher powers are no floats any more; a delay of 60 seconds is the longest anyway.
        growth = float(found.get("BackoffRate", 2.0)) ** min(retry_counts.get(index, 0), 100)
        delay = min(found.get("IntervalSeconds", 1) * growth, found.get("MaxDelaySeconds", 60))
        if found.get("JitterStrategy") == "FULL":
            delay = random.uniform(0, delay)  # noqa: S311  # a delay is no secret
        return {**found, "IntervalSeconds": delay, "BackoffRate": 1}, index

    return find_matching_retrier


def _find_the_map_run(original: Any) -> Any:
    field = hooks.find(_ACTIONS, "_safe_json_field")

    def extract_resource_arn(service: str, *arguments: Any) -> str:
        map_run: str = field(arguments[3], "mapRunArn") if service == "states" else ""
        return map_run or str(original(service, *arguments))

    return extract_resource_arn


def _require(action: str, resource: str, error: str) -> None:
    role = _role.get()
    account, name = role.split(":")[4], role.rpartition("/")[2]
    session = f"arn:aws:sts::{account}:assumed-role/{name}/states"
    request = hooks.find(_IAM, "EvalContext")(
        principal_arn=session,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=hooks.find(_RESPONSES, "get_region")(),
    )
    policies = hooks.find(_IAM, "_gather_role_policies")(name, account)
    if hooks.find(_IAM, "evaluate")(request, policies).decision != "Allow":
        raise _error(error, f"User: {session} is not authorized to perform: {action} on resource: {resource}")


def _error(error: str, cause: str) -> Exception:
    made: Exception = hooks.find(_STEP_FUNCTIONS, "_ExecutionError")(error, cause)
    return made


def _executions() -> Any:
    return hooks.find(_STEP_FUNCTIONS, "_executions")


def _role_of(ctx: dict[str, Any]) -> str:
    machine = hooks.find(_STEP_FUNCTIONS, "_state_machines").get(ctx["StateMachine"]["Id"]) or {}
    return str(machine.get("roleArn", ""))


def _is_stopped() -> bool:
    return (_executions().get(_execution.get()) or {}).get("status") == "ABORTED"


def _end_if_stopped() -> None:
    if _is_stopped():
        raise _error("States.TaskFailed", _STOPPED)


def _mark_stopped(execution_arn: str) -> None:
    for run in hooks.find(_STEP_FUNCTIONS, "_map_runs").values():
        if run["executionArn"] != execution_arn:
            continue
        run["status"] = "ABORTED"
        for child in _executions().values():
            if child.get("mapRunArn") == run["mapRunArn"] and child.get("cause") == _STOPPED:
                child.update(status="ABORTED", error=None, cause=None)
                for counts in (run["itemCounts"], run["executionCounts"]):
                    counts["failed"] -= 1
                    counts["aborted"] += 1
