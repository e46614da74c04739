"""Step Functions where ministack is kinder than AWS, or different.

- The role of a state machine must allow what its states do: `lambda:InvokeFunction` for tasks, `s3:GetObject` for
  the manifest of a Distributed Map, and `states:StartExecution` on itself for the children of one.
- Stopping an execution also stops its map: no child starts a further state.
- StartExecution with the name and input of an execution that still runs answers with that execution.

What stays unlike AWS, and is held fast by a test: `ItemBatcher` is ignored.
"""

import contextvars
from typing import Any

from local_aws.emulator import hooks

_STEP_FUNCTIONS = "ministack.services.stepfunctions"
_IAM = "ministack.core.iam_evaluator"
_RESPONSES = "ministack.core.responses"

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
        if _is_stopped(ctx):
            raise _error("States.TaskFailed", "the execution was stopped")
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
            if _is_stopped(ctx):
                _mark_stopped(ctx["Execution"]["Id"])

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
        return original(func_ref, event)

    return call_lambda


def _read_as_the_role(original: Any) -> Any:
    def s3_object_text(bucket: str, key: str) -> Any:
        _require("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", "States.ItemReaderFailed")
        return original(bucket, key)

    return s3_object_text


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


def _is_stopped(ctx: dict[str, Any]) -> bool:
    """Whether the execution at the root was stopped; the context of a child names that one."""
    return (_executions().get(ctx["Execution"]["Id"]) or {}).get("status") == "ABORTED"


def _mark_stopped(execution_arn: str) -> None:
    for run in hooks.find(_STEP_FUNCTIONS, "_map_runs").values():
        if run["executionArn"] != execution_arn:
            continue
        run["status"] = "ABORTED"
        for child in _executions().values():
            if child.get("mapRunArn") == run["mapRunArn"] and child["status"] == "FAILED":
                child["status"] = "ABORTED"
                for counts in (run["itemCounts"], run["executionCounts"]):
                    counts["failed"] -= 1
                    counts["aborted"] += 1
