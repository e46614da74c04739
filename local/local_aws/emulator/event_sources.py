"""How Lambda treats the results of calls that it makes by itself, where ministack forgives or forgets.

- An event source mapping with `ReportBatchItemFailures` keeps the whole batch in the queue when an `itemIdentifier` is
  missing, empty or not of that batch; ministack deletes what is not named. A null list is an empty one.
- The result of an asynchronous call that succeeded goes to the function's OnSuccess destination, when that is an SQS
  queue and the configuration is that of `$LATEST`.

What stays unlike AWS: destinations of other kinds and of aliases get no successes; the role's right to send to the
queue is not checked; and EventBridge and SNS call a function only once, without retries and destinations.
"""

import contextvars
import itertools
import json
from collections.abc import Callable
from typing import Any

from local_aws.emulator import hooks

_LAMBDA = "ministack.services.lambda_svc"
_EVENT_BRIDGE = "ministack.services.eventbridge"
_RESPONSES = "ministack.core.responses"

Result = dict[str, Any]

_CHECK: contextvars.ContextVar[Callable[[Result], Result] | None] = contextvars.ContextVar(
    "check", default=None
)
"""What the caller of the next invocation of this thread makes of its result."""


def install() -> None:
    """Puts the checks around what ministack does."""
    hooks.replace(_LAMBDA, "_execute_function", "func event", _let_the_caller_check)
    hooks.replace(_LAMBDA, "invoke_async_with_retry", "func event", _send_successes)
    hooks.replace(
        _LAMBDA,
        "_run_sqs_batch",
        "esm func_rec event batch queue_url queue_name",
        _fail_batches_with_unknown_identifiers,
    )


def _let_the_caller_check(original: Any) -> Any:
    def execute_function(func: dict[str, Any], event: object) -> Result:
        check = _CHECK.get()
        token = _CHECK.set(None)  # ministack calls this function again to change the account
        try:
            result: Result = original(func, event)
        finally:
            _CHECK.reset(token)
        return check(result) if check else result

    return execute_function


def _send_successes(original: Any) -> Any:
    def invoke_async_with_retry(func: dict[str, Any], event: object) -> None:
        attempts = itertools.count(1)

        def send_success(result: Result) -> Result:
            attempt = next(attempts)
            if not result.get("error"):
                _send_success(func, event, result, attempt)
            return result

        token = _CHECK.set(send_success)
        try:
            original(func, event)
        finally:
            _CHECK.reset(token)

    return invoke_async_with_retry


def _send_success(func: dict[str, Any], event: object, result: Result, attempt: int) -> None:
    invoke_config = (
        func.get("event_invoke_config") or func.get("event_invoke_configs", {}).get("$LATEST") or {}
    )
    destination = invoke_config.get("DestinationConfig", {}).get("OnSuccess", {}).get("Destination", "")
    if ":sqs:" not in destination:
        return
    version = func["config"].get("Version", "$LATEST")
    record = {
        "version": "1.0",
        "timestamp": hooks.find(_RESPONSES, "now_iso")(),
        "requestContext": {
            "requestId": hooks.find(_RESPONSES, "new_uuid")(),
            "functionArn": f"{func['config']['FunctionArn']}:{version}",
            "condition": "Success",
            "approximateInvokeCount": attempt,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": version},
        "responsePayload": result.get("body"),
    }
    queue = hooks.find("ministack.core.arn", "parse_arn")(destination)
    hooks.find(_EVENT_BRIDGE, "_dispatch_to_sqs")(queue, json.dumps(record))


def _fail_batches_with_unknown_identifiers(original: Any) -> Any:
    def run_sqs_batch(
        esm: dict[str, Any], func_rec: dict[str, Any], event: dict[str, Any], *more: Any
    ) -> None:
        sent = [record["messageId"] for record in event["Records"]]

        def fail_unknown(result: Result) -> Result:
            body = result.get("body")
            if result.get("error") or not isinstance(body, dict):
                return result
            if not (failures := body.get("batchItemFailures")):
                return {**result, "body": {}}  # ministack would fail over a null
            if isinstance(failures, list) and all(_names_one_of(sent, failure) for failure in failures):
                return result
            message = "the function returned a batchItemFailures that Lambda cannot use"
            return {
                **result,
                "error": True,
                "body": {"errorType": "InvalidResponse", "errorMessage": message},
            }

        reports = "ReportBatchItemFailures" in (esm.get("FunctionResponseTypes") or [])
        token = _CHECK.set(fail_unknown if reports else None)
        try:
            original(esm, func_rec, event, *more)
        finally:
            _CHECK.reset(token)

    return run_sqs_batch


def _names_one_of(sent: list[str], failure: object) -> bool:
    return isinstance(failure, dict) and failure.get("itemIdentifier") in sent
