"""Python functions run by AWS's own runtime client, each execution environment in a process of its own.

ministack imports Python handlers into a loop of its own; custom runtimes, though, it serves over the Lambda Runtime
API, with warm reuse, enforced time-outs and one environment for each concurrent invocation. So a Python function is
given to that as a custom runtime whose `bootstrap` starts awslambdaric. On top come the environment variables of
the real one, nothing of the emulator's own, and log lines that are in CloudWatch Logs as soon as they are written.

Where ministack differs from AWS: an invocation ends with the code and configuration that it began with when the
function is updated or another of its environments dies, instead of being killed; and a call with a `Qualifier` needs
the right to the version or alias. Also:

- `ReservedConcurrentExecutions` of a template counts, and a reservation counts for versions and aliases, too.
- A throttled call is refused with Lambda's own message.
- The `ClientContext` of a synchronous call reaches the function; one that is not Base64-encoded JSON is refused.
- The error of a function that timed out or exited begins with the id of the request.
"""

import base64
import contextvars
import io
import json
import os
import queue
import shlex
import time
import uuid
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, Any

from local_aws.emulator import hooks

_LAMBDA = "ministack.services.lambda_svc"
_RUNTIME = "ministack.core.lambda_runtime"
_LOGS = "ministack.services.cloudwatch_logs"
_ACTIONS = "ministack.core.iam_actions"
_RESPONSES = "ministack.core.responses"
_PROVISIONERS = "ministack.services.cloudformation.provisioners"

LIVE = "live"
"""The `log_source` of a result whose log lines are in CloudWatch Logs already."""

_PASSED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_IOTANALYTICS",
    "SSL_CERT_FILE",
    "AWS_CA_BUNDLE",
    "HOME",
    "TMPDIR",
)
"""What a function gets of the emulator's environment: how to reach AWS, and private places."""

_RESERVED = "ReservedConcurrentExecutions"

_ENDED_BY_LAMBDA = {"Sandbox.Timedout", "Runtime.ExitError"}
"""Types of the errors that Lambda reports when the function's process cannot."""

_STREAM: contextvars.ContextVar[str] = contextvars.ContextVar("log_stream")
"""The log stream of the execution environment that is being started."""

_CLIENT_CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("client_context", default="")
"""What the caller of this invocation gave as client context: JSON, or nothing."""


def install(*, runtime_python: str) -> None:
    """Lets Python functions run with `python -m awslambdaric`.

    Args:
        runtime_python: Path of a Python that has awslambdaric and the boto3 of the functions.
    """
    worker = _worker_class(runtime_python)
    hooks.replace(
        _RUNTIME,
        "_worker_class_for",
        "config",
        lambda original: lambda config: worker if _is_python(config) else original(config),
    )
    hooks.replace(_LAMBDA, "_execute_function_warm", "func event request_id", _execute_like_a_custom_runtime)
    hooks.replace(
        _LAMBDA, "_emit_lambda_logs", "func request_id log_text error duration_ms log_source", _skip_live_logs
    )
    hooks.replace(_LAMBDA, "_provided_worker_env", "config code_dir port", _environment)
    hooks.replace(_RUNTIME, "kill_workers", "workers", _let_invocations_end)
    hooks.replace(_PROVISIONERS, "_lambda_create", "logical_id props stack_name", _create_with_reservation)
    update = "physical_id old_props new_props stack_name logical_id"
    hooks.replace(_PROVISIONERS, "_lambda_update", update, _update_with_reservation)
    # CloudFormation calls what stands in this table, not the functions by their names.
    handlers = hooks.find(_PROVISIONERS, "_RESOURCE_HANDLERS")["AWS::Lambda::Function"]
    for operation in ("create", "update"):
        handlers[operation] = hooks.find(_PROVISIONERS, f"_lambda_{operation}")
    hooks.replace(_LAMBDA, "_reserved_concurrency", "func config", _reserve_for_every_version)
    hooks.replace(_LAMBDA, "_throttle_response", "reason_code msg retry_after", _refuse_like_lambda)
    hooks.replace(
        _LAMBDA, "_invoke", "name event headers path_qualifier query_params", _keep_the_client_context
    )
    hooks.replace(
        _ACTIONS,
        "extract_resource_arn",
        "service method path headers body query_params region account_id",
        _qualified,
    )


def _is_python(config: dict[str, Any]) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _execute_like_a_custom_runtime(original: Any) -> Any:
    execute = hooks.find(_LAMBDA, "_execute_function_provided_warm")

    def execute_function_warm(func: dict[str, Any], event: object, request_id: str) -> dict[str, Any]:
        if not _is_python(func.get("config") or func):
            return dict(original(func, event, request_id))
        return {**execute(func, event, request_id), "log_source": LIVE}

    return execute_function_warm


def _skip_live_logs(original: Any) -> Any:
    def emit_lambda_logs(*arguments: Any, log_source: str | None = None) -> None:
        if log_source != LIVE:
            original(*arguments, log_source=log_source)

    return emit_lambda_logs


def _environment(original: Any) -> Any:
    reserved_left_out = hooks.find(_LAMBDA, "_runtime_env_vars")

    def provided_worker_env(config: dict[str, Any], code_dir: str, port: int) -> dict[str, str]:
        full: dict[str, str] = original(config, code_dir, port)
        if not _is_python(config):
            return full
        # Not the whole of it, because that has the emulator's own settings, and the key that may do everything.
        names = {name for name in full if name.startswith(("AWS_LAMBDA_", "LAMBDA_TASK_", "_HANDLER"))}
        names |= {"AWS_REGION", "AWS_DEFAULT_REGION"}
        names |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
        environment = {name: full[name] for name in names}
        environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(config),
            "AWS_LAMBDA_LOG_STREAM_NAME": _STREAM.get(),
            "AWS_EC2_METADATA_DISABLED": "true",
            # The folder of the code is read-only on Lambda; here it is shared by the environments of a function.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(_layers(config)),
        }
        environment |= reserved_left_out(config)
        return environment

    return provided_worker_env


def _let_invocations_end(original: Any) -> Any:
    def kill_workers(workers: Iterable[Any]) -> None:
        original([worker for worker in workers if not getattr(worker, "retire", bool)()])

    return kill_workers


def _create_with_reservation(original: Any) -> Any:
    def lambda_create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        created: tuple[str, dict[str, str]] = original(logical_id, props, stack_name)
        _reserve(created[0], props)
        return created

    return lambda_create


def _update_with_reservation(original: Any) -> Any:
    def lambda_update(
        physical_id: str, old_props: dict[str, Any], new_props: dict[str, Any], *more: Any, **named: Any
    ) -> tuple[str, dict[str, str]]:
        updated: tuple[str, dict[str, str]] = original(physical_id, old_props, new_props, *more, **named)
        # A value set by the API stays, as on AWS, as long as the template says the same as before.
        if old_props.get(_RESERVED) != new_props.get(_RESERVED):
            _reserve(updated[0], new_props)
        return updated

    return lambda_update


def _reserve(name: str, props: dict[str, Any]) -> None:
    reserved = props.get(_RESERVED)
    function = hooks.find(_LAMBDA, "_functions")[name]
    function["concurrency"] = None if reserved is None else int(reserved)


def _reserve_for_every_version(original: Any) -> Any:
    functions = hooks.find(_LAMBDA, "_functions")

    def reserved_concurrency(func: dict[str, Any], config: dict[str, Any]) -> int | None:
        # The record of a version has no reservation: the function has it.
        reserved: int | None = original(functions.get(config.get("FunctionName"), func), config)
        return reserved

    return reserved_concurrency


def _refuse_like_lambda(original: Any) -> Any:
    def throttle_response(reason_code: str, msg: str, retry_after: int = 1) -> dict[str, Any]:  # noqa: ARG001  # ministack's own message
        return dict(original(reason_code, "Rate Exceeded.", retry_after))

    return throttle_response


def _keep_the_client_context(original: Any) -> Any:
    async def invoke(name: str, event: object, headers: dict[str, str], *more: Any) -> Any:
        synchronous = headers.get("x-amz-invocation-type", "RequestResponse") == "RequestResponse"
        try:
            context = json.loads(
                base64.b64decode(headers.get("x-amz-client-context") or "e30=", validate=True)
            )
        except ValueError:
            context = None
        if not isinstance(context, dict):
            message = "Client context must be a valid Base64-encoded JSON object."
            return hooks.find(_RESPONSES, "error_response_json")(
                "InvalidRequestContentException", message, 400
            )
        # As ASCII, for it travels in a header.
        _CLIENT_CONTEXT.set(json.dumps(context) if synchronous and context else "")
        return await original(name, event, headers, *more)

    return invoke


def _qualified(original: Any) -> Any:
    def extract_resource_arn(service: str, *arguments: Any) -> str:
        arn: str = original(service, *arguments)
        qualifier = hooks.find(_ACTIONS, "_query_param")(arguments[4], "Qualifier")
        return f"{arn}:{qualifier}" if qualifier and service == "lambda" else arn

    return extract_resource_arn


def _layers(config: dict[str, Any]) -> Iterable[str]:
    extract = hooks.find(_LAMBDA, "_provided_runtime_code_dir")
    content = hooks.find(_LAMBDA, "_resolve_layer_zip")
    for layer in config.get("Layers") or []:
        archive = content(layer)
        if archive:
            yield os.path.join(extract(archive), "python")  # noqa: PTH118  # one string among strings


def _log_group(config: dict[str, Any]) -> str:
    own = (config.get("LoggingConfig") or {}).get("LogGroup")
    return str(own or f"/aws/lambda/{config.get('FunctionName')}")


def _with_bootstrap(code_zip: bytes, runtime_python: str) -> bytes:
    archive = io.BytesIO(code_zip)
    with zipfile.ZipFile(archive, "a") as added:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        added.writestr(
            bootstrap, f'#!/bin/sh\nexec {shlex.quote(runtime_python)} -m awslambdaric "$_HANDLER"\n'
        )
    return archive.getvalue()


def _worker_class(runtime_python: str) -> type:
    base = hooks.find(_RUNTIME, "ProvidedWorker")

    class AwslambdaricWorker(base):  # type: ignore[misc, valid-type]  # found by name, for `hooks`
        """One execution environment of a Python function."""

        def __init__(self, func_name: str, config: dict[str, Any], code_zip: bytes) -> None:
            super().__init__(func_name, config, _with_bootstrap(code_zip, runtime_python))
            self._stream = ""
            self._first_lines: list[str] = []
            self._scope = contextvars.copy_context()
            self._running = self._retired = False
            self._client_context = ""

        def retire(self) -> bool:
            """Ends the environment after the invocation that it runs, and tells whether it runs one."""
            with self._state_lock:
                self._retired = True
                return self._running

        def _spawn(self, init_timeout: float | None = None) -> None:
            version = self.config.get("Version", "$LATEST")
            self._stream = f"{datetime.now(UTC):%Y/%m/%d}/[{version}]{uuid.uuid4().hex}"
            _STREAM.set(self._stream)
            # The account and region of this invocation, which the thread that reads the output does not inherit.
            self._scope = contextvars.copy_context()
            super()._spawn(init_timeout)
            self._log(self._first_lines)

        def invoke(self, event: object, request_id: str, **more: Any) -> dict[str, Any]:
            """Runs one invocation, framed in the log by the lines of the platform."""
            with self._state_lock:
                self._running = True
            try:
                return self._invoke(event, request_id, **more)
            finally:
                with self._state_lock:
                    self._running = False
                    retired = self._retired
                if retired:
                    self.kill()

        def _invoke(self, event: object, request_id: str, **more: Any) -> dict[str, Any]:
            self._first_lines = [
                f"START RequestId: {request_id} Version: {self.config.get('Version', '$LATEST')}"
            ]
            if self._proc is not None and self._proc.poll() is None:
                self._log(self._first_lines)
            self._client_context = _CLIENT_CONTEXT.get()
            began = time.monotonic()
            result: dict[str, Any] = super().invoke(event, request_id, **more)
            milliseconds = (time.monotonic() - began) * 1000
            # Lambda itself tells this, for the function was not there any more to tell it.
            timed_out = [f"{request_id} {result['error']}"] if "timed out" in str(result.get("error")) else []
            report = f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms"
            self._log([*timed_out, f"END RequestId: {request_id}", report])
            error = result.get("error_payload")
            if isinstance(error, dict) and error.get("errorType") in _ENDED_BY_LAMBDA:
                error["errorMessage"] = f"RequestId: {request_id} Error: {error['errorMessage']}"
            return result

        def _build_handler_class(self, generation: int, pending: "queue.Queue[Any]") -> type:
            worker, handler = self, super()._build_handler_class(generation, pending)

            class WithClientContext(handler):  # type: ignore[misc, valid-type]  # made at run time
                def send_header(self, keyword: str, value: str) -> None:
                    super().send_header(keyword, value)
                    if keyword == "Lambda-Runtime-Aws-Request-Id" and worker._client_context:
                        super().send_header("Lambda-Runtime-Client-Context", worker._client_context)

            return WithClientContext

        def _pump_output(self, stream: IO[bytes], log_queue: "queue.Queue[str]") -> None:
            scope, group_name, stream_name = self._scope, _log_group(self.config), self._stream
            with stream:
                for raw in stream:
                    line = raw.decode(errors="replace").rstrip("\n")
                    scope.run(_append, group_name, stream_name, [line])
                    if not log_queue.full():  # only for LogType=Tail and the reasons of failed starts
                        log_queue.put_nowait(line)

        def _drain_stderr_bounded(self, **_waits: float) -> str:
            return str(
                self._drain_stderr()
            )  # nothing to wait for: the lines are in CloudWatch Logs without this

        def _log(self, lines: list[str]) -> None:
            _append(_log_group(self.config), self._stream, lines)

    return AwslambdaricWorker


def _append(group_name: str, stream_name: str, lines: list[str]) -> None:
    groups = hooks.find(_LOGS, "_log_groups")
    now = int(time.time() * 1000)
    if group_name not in groups:
        if not group_name.startswith("/aws/lambda/"):
            return  # a group that was deleted, or never made, is not brought back by the function
        arn = hooks.find(_LOGS, "_make_group_arn")(group_name)
        groups[group_name] = {
            "arn": arn,
            "creationTime": now,
            "retentionInDays": None,
            "tags": {},
            "subscriptionFilters": {},
            "streams": {},
        }
    stream = groups[group_name]["streams"].setdefault(
        stream_name,
        {
            "events": [],
            "uploadSequenceToken": "1",
            "creationTime": now,
            "firstEventTimestamp": None,
            "lastEventTimestamp": None,
            "lastIngestionTime": None,
        },
    )
    events = [{"timestamp": now, "message": line, "ingestionTime": now} for line in lines]
    hooks.find(_LOGS, "_append_log_events")(stream, events)
