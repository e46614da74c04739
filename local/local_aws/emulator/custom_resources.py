"""CloudFormation's side of custom resources, as strict as AWS where ministack is kinder.

What is mended:

- the function is invoked asynchronously, so a failed first invocation is repeated twice;
- the ResponseURL looks like a pre-signed one: it has `X-Amz-Date` and a secret; an answer that AWS would not take
  (another content type, over 4,096 bytes, no physical id, other ids than asked) fails the resource;
- an Update with another `ServiceToken` is refused;
- a failed Create is followed by a Delete in the rollback, with the id of the FAILED answer, or with one that
  CloudFormation invents when there was none (the Create may still run then);
- when a later resource fails in an update, a resource that was replaced gets the Update with old and new properties
  swapped, and only then the Delete of the id that the failed update made.

What stays unlike AWS, and is held fast by tests: resources are made one after another, also when none depends on the
other; and after a Delete that failed the function is deleted all the same, so no second Delete reaches it.

Every request and every answer is noted in a file of JSON lines, without the ResponseURL.
"""

import json
import os
import re
import secrets
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_aws.emulator import hooks

_APP = "ministack.app"
_CUSTOM_RESOURCE = "ministack.services.cloudformation.custom_resource"
_LAMBDA = "ministack.services.lambda_svc"
_PROVISIONERS = "ministack.services.cloudformation.provisioners"
_STACKS = "ministack.services.cloudformation.stacks"

_ANSWER_PATH = "/_ministack/cfn-response/"
_LONGEST_ANSWER = 4096
_LONGEST_PHYSICAL_ID = 1024


class Refused(Exception):
    """The custom resource failed; the text is the reason in the stack's events."""


@dataclass
class _Exchange:
    """One request, and the answer to it that counts: the first."""

    request: dict[str, Any]
    answered: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    over: bool = False


@dataclass(frozen=True)
class _FailedCreate:
    """What a rollback needs for the Delete of a resource that was never created."""

    resource_type: str
    physical_id: str
    properties: dict[str, Any]


class _Predecessor(str):
    """The logical id of a resource whose other physical id is to be deleted: reads the same, is another key."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


_exchanges: dict[str, _Exchange] = {}
_failed_creates: dict[tuple[str, str], _FailedCreate] = {}
_journal_lock = threading.Lock()


def install() -> None:
    """Puts the strict exchange and the complete rollback in the place of ministack's."""
    hooks.replace(
        _CUSTOM_RESOURCE,
        "invoke_custom_resource",
        "request_type logical_id props stack_name stack_id resource_type physical_id old_props",
        lambda _original: _invoke,
    )
    hooks.replace(
        _APP, "_handle_post_body_shortcuts", "method path headers body query_params request_id", _take_answers
    )
    rollback = "stack_name stack_id stack operation reason_override"
    hooks.replace(_STACKS, "_roll_back_operation", rollback, _roll_back_completely)
    # The handlers have the same function by a name of their own, for RollbackStack.
    handlers = "ministack.services.cloudformation.handlers"
    hooks.replace(
        handlers, "_roll_back_operation", rollback, lambda _: hooks.find(_STACKS, "_roll_back_operation")
    )
    hooks.replace(
        _PROVISIONERS,
        "_custom_resource_delete",
        "physical_id props stack_name logical_id resource_type",
        _delete_unless_current,
    )


def _invoke(  # noqa: PLR0917  # the parameters of the function that it replaces
    request_type: str,
    logical_id: str,
    props: dict[str, Any],
    stack_name: str,
    stack_id: str,
    resource_type: str,
    physical_id: str | None = None,
    old_props: dict[str, Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Sends one request and waits for its answer: the physical id and the data for `Fn::GetAtt`."""
    if old_props is not None and _has_another_token(props, old_props):
        raise Refused("Modifying service token is not allowed.")
    as_sent = hooks.find(_CUSTOM_RESOURCE, "_normalise_resource_properties")
    token = uuid.uuid4().hex
    request: dict[str, Any] = {
        "RequestType": request_type,
        "RequestId": str(uuid.uuid4()),
        "StackId": stack_id,
        "ResponseURL": _presigned(token),
        "ResourceType": resource_type,
        "LogicalResourceId": str(logical_id),
        "ResourceProperties": as_sent(props),
    }
    if physical_id is not None:
        request["PhysicalResourceId"] = physical_id
    if old_props is not None:
        request["OldResourceProperties"] = as_sent(old_props)
    exchange = _exchanges[token] = _Exchange(request)
    _note({"Request": {name: value for name, value in request.items() if name != "ResponseURL"}})

    try:
        return _exchange(exchange, str(props.get("ServiceToken", "")), int(props.get("ServiceTimeout", 3600)))
    except Refused:
        if request_type == "Create":
            invented = f"{stack_name}-{logical_id}-{secrets.token_hex(6).upper()}"
            answered_id = "" if exchange.problem else exchange.answer.get("PhysicalResourceId", "")
            _failed_creates[stack_id, str(logical_id)] = _FailedCreate(
                resource_type, answered_id or invented, props
            )
        raise


def _exchange(exchange: _Exchange, service_token: str, seconds: int) -> tuple[str, dict[str, Any]]:
    record, config, _name = hooks.find(_LAMBDA, "_get_func_record_for_ref")(service_token)
    if record is None or config is None:
        raise Refused(f"Invalid service token: there is no function '{service_token}'.")
    execution = hooks.find(_LAMBDA, "_execution_record_for_config")(record, config)
    hooks.find(_LAMBDA, "invoke_async_with_retry")(execution, exchange.request)

    in_time = exchange.answered.wait(seconds)
    exchange.over = True
    request_id = exchange.request["RequestId"]
    if not in_time:
        raise Refused(
            "CloudFormation did not receive a response from your Custom Resource. "
            f"Please check your logs for requestId [{request_id}]."
        )
    if exchange.problem:
        raise Refused(exchange.problem)
    answer = exchange.answer
    if answer["Status"] == "FAILED":
        raise Refused(
            "Received response status [FAILED] from custom resource. "
            f"Message returned: {answer['Reason']} (RequestId: {request_id})"
        )
    return answer["PhysicalResourceId"], answer.get("Data") or {}


def _presigned(token: str) -> str:
    plain: str = hooks.find(_CUSTOM_RESOURCE, "_response_url")(token)
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return (
        f"{plain}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={now}&X-Amz-SignedHeaders=host"
        f"&X-Amz-Expires=7200&X-Amz-Signature={secrets.token_hex(32)}"
    )


def _take_answers(original: Any) -> Any:
    async def handle_post_body_shortcuts(
        method: str, path: str, headers: dict[str, str], body: bytes, *more: Any
    ) -> Any:
        if not path.startswith(_ANSWER_PATH):
            return await original(method, path, headers, body, *more)
        exchange = _exchanges.get(path.removeprefix(_ANSWER_PATH))
        # S3 refuses what the pre-signed URL was not signed for: another method, a content type.
        refused = method != "PUT" or exchange is None or headers.get("content-type")
        if refused or exchange is None:
            return (
                403,
                {"content-type": "application/xml"},
                b"<Error><Code>SignatureDoesNotMatch</Code></Error>",
            )
        _take(exchange, body)
        return 200, {}, b""

    return handle_post_body_shortcuts


def _take(exchange: _Exchange, body: bytes) -> None:
    counts = not exchange.answered.is_set() and not exchange.over
    answer, problem = _read_answer(body, exchange.request)
    noted = {name: value for name, value in answer.items() if name != "ResponseURL"}
    _note({"Answer": noted, "Bytes": len(body), "Counts": counts, "Problem": problem})
    if counts:
        exchange.answer, exchange.problem = answer, problem
        exchange.answered.set()


def _read_answer(body: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The answer and what is wrong with it, the empty string when nothing is."""
    if len(body) > _LONGEST_ANSWER:
        return {}, f"Response object is too long: {len(body)} bytes, at most {_LONGEST_ANSWER} are taken."
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {}, "Response is not a JSON object."
    for name in ("StackId", "RequestId", "LogicalResourceId"):
        if answer.get(name) != request[name]:
            return answer, f"Vendor response doesn't contain the {name} of the request."
    physical_id = answer.get("PhysicalResourceId")
    problem = ""
    if answer.get("Status") not in {"SUCCESS", "FAILED"}:
        problem = "Invalid response status: must be SUCCESS or FAILED."
    elif not isinstance(physical_id, str) or not 0 < len(physical_id.encode()) <= _LONGEST_PHYSICAL_ID:
        problem = "Invalid PhysicalResourceId: must be a string of 1 to 1024 bytes."
    elif answer["Status"] == "FAILED" and not (isinstance(answer.get("Reason"), str) and answer["Reason"]):
        problem = "Invalid response: FAILED must have a Reason."
    elif request["RequestType"] == "Delete" and physical_id != request["PhysicalResourceId"]:
        problem = "Invalid PhysicalResourceId: Delete must not change it."
    return answer, problem


def _roll_back_completely(original: Any) -> Any:
    async def roll_back_operation(
        stack_name: str,
        stack_id: str,
        stack: dict[str, Any],
        operation: dict[str, Any],
        *more: Any,
        **named: Any,
    ) -> None:
        _delete_what_failed_to_be_created(stack_id, stack, operation)
        if operation.get("is_update"):
            _send_back_what_was_replaced(stack, operation)
            _leave_alone_what_was_not_asked(operation)
        await original(stack_name, stack_id, stack, operation, *more, **named)

    return roll_back_operation


def _delete_what_failed_to_be_created(
    stack_id: str, stack: dict[str, Any], operation: dict[str, Any]
) -> None:
    logical_id = operation.get("failed_logical_id")
    failed = _failed_creates.pop((stack_id, str(logical_id)), None)
    if failed is None:
        return
    # As if it had been created: then it is the first that the rollback deletes.
    stack["_resources"][logical_id] = {
        "PhysicalResourceId": failed.physical_id,
        "ResourceType": failed.resource_type,
        "LogicalResourceId": logical_id,
        "Properties": failed.properties,
        "Attributes": {},
    }
    operation["created"].append(logical_id)


def _send_back_what_was_replaced(stack: dict[str, Any], operation: dict[str, Any]) -> None:
    current = stack["_resources"]
    previous = (operation.get("previous_stack") or {}).get("_resources", {})
    for logical_id in list(operation["created"]):
        new, old = current[logical_id], previous.get(logical_id)
        replaced = old is not None and old["PhysicalResourceId"] != new["PhysicalResourceId"]
        if not replaced or not _is_custom(new["ResourceType"]):
            continue
        # ministack sends the swapped Update only to what kept its id. That request names the id to be replaced,
        # which is the new one, so the record of before takes it until the answer tells another.
        old["PhysicalResourceId"] = new["PhysicalResourceId"]
        operation["replaced_ids"] = [other for other in operation["replaced_ids"] if other != logical_id]
        predecessor = _Predecessor(logical_id)
        current[predecessor] = {**new, "_superseded_by": old}
        operation["created"].append(predecessor)


def _leave_alone_what_was_not_asked(operation: dict[str, Any]) -> None:
    failed = operation.get("failed_update")
    if failed is None:
        return
    logical_id, resource_type, physical_id, applied, previous, attributes = failed
    if _is_custom(resource_type) and _has_another_token(applied or {}, previous):
        operation["failed_update"] = (logical_id, resource_type, physical_id, None, previous, attributes)


def _has_another_token(props: dict[str, Any], old_props: dict[str, Any]) -> bool:
    return bool(props.get("ServiceToken") != old_props.get("ServiceToken"))


def _delete_unless_current(original: Any) -> Any:
    def custom_resource_delete(physical_id: str, props: dict[str, Any], **named: Any) -> None:
        logical_id = named.get("logical_id")
        if isinstance(logical_id, _Predecessor):
            stack = hooks.find("ministack.services.cloudformation", "_stacks").get(named["stack_name"]) or {}
            record = stack.get("_resources", {}).get(logical_id) or {}
            if record.get("_superseded_by", {}).get("PhysicalResourceId") == physical_id:
                return  # the swapped Update kept this id
            named["logical_id"] = str.__str__(logical_id)
        original(physical_id, props, **named)

    return custom_resource_delete


def _is_custom(resource_type: str) -> bool:
    return bool(re.match(r"Custom::|AWS::CloudFormation::CustomResource$", resource_type))


def _note(entry: dict[str, Any]) -> None:
    line = json.dumps({"Time": datetime.now(UTC).isoformat(), **entry}, default=str)
    with _journal_lock, Path(os.environ["LOCAL_AWS_JOURNAL"]).open("a", encoding="utf-8") as journal:
        journal.write(line + "\n")
