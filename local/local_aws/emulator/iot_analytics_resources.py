"""The CloudFormation resource types of IoT Analytics, which ministack lacks: each one call to the project's server.

Shapes: CloudFormation writes the members of the API in PascalCase, the API in camelCase; nothing else differs but the
tags' place. What the server refuses fails the resource with the server's words, and CloudFormation rolls back.
"""

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

from local_aws.emulator import hooks

_PROVISIONERS = "ministack.services.cloudformation.provisioners"
_STACKS = "ministack.services.cloudformation.stacks"

_NUMBERS = {"batchSize", "numberOfDays"}
_FLAGS = {"unlimited"}


class Refused(Exception):
    """The server refused; the text is the reason in the stack's events."""


@dataclass(frozen=True)
class _Kind:
    resource_type: str
    name_property: str
    path: str

    def create(self, logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = str(props.get(self.name_property) or _invented_name(stack_name, logical_id))
        body = _as_api({**props, self.name_property: name})
        _call("POST", self.path, body)
        return name, {"Id": name}

    def update(
        self, name: str, _old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str
    ) -> tuple[str, dict[str, str]]:
        if new.get(self.name_property, name) != name:
            return self.create(
                logical_id, new, stack_name
            )  # CloudFormation deletes the old one in its clean-up
        body = _as_api({key: value for key, value in new.items() if key not in {self.name_property, "Tags"}})
        _call("PUT", f"{self.path}/{urllib.parse.quote(name)}", body)
        return name, {"Id": name}

    def delete(self, name: str, _props: dict[str, Any]) -> None:
        _call("DELETE", f"{self.path}/{urllib.parse.quote(name)}", None)


_KINDS = (
    _Kind("AWS::IoTAnalytics::Channel", "ChannelName", "/channels"),
    _Kind("AWS::IoTAnalytics::Datastore", "DatastoreName", "/datastores"),
    _Kind("AWS::IoTAnalytics::Pipeline", "PipelineName", "/pipelines"),
)


def install() -> None:
    """Registers the types with ministack's CloudFormation."""
    handlers = hooks.find(_PROVISIONERS, "_RESOURCE_HANDLERS")
    for kind in _KINDS:
        handlers[kind.resource_type] = {
            "create": kind.create,
            "update": kind.update,
            "update_with_logical_id": True,
            "delete": kind.delete,
        }
    ours = {kind.resource_type for kind in _KINDS}
    # The server calls back into ministack while it works, so these must not hold up the event loop.
    hooks.replace(
        _STACKS,
        "_runs_on_worker_thread",
        "resource_type",
        lambda original: lambda resource_type: resource_type in ours or original(resource_type),
    )


def _as_api(value: Any, member: str = "") -> Any:
    if isinstance(value, list):
        return [_as_api(item) for item in value]
    if isinstance(value, dict):
        if member == "attributes":
            return value  # the names in the map of AddAttributes are the user's
        members = {key[0].lower() + key[1:]: item for key, item in value.items()}
        return {key: _as_api(item, key) for key, item in members.items()}
    if member in _NUMBERS:
        return int(value)
    if member in _FLAGS:
        return str(value).lower() == "true"
    return value


def _invented_name(stack_name: str, logical_id: str) -> str:
    plain = re.sub(r"\W", "_", f"{stack_name}_{logical_id}")[:100]
    return f"{plain}_{uuid.uuid4().hex[:12]}"


def _call(method: str, path: str, body: dict[str, Any] | None) -> None:
    endpoint = os.environ["LOCAL_AWS_IOT_ANALYTICS"]
    request = urllib.request.Request(  # noqa: S310  # our own server's address
        endpoint + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310  # as above
            return
    except urllib.error.HTTPError as error:
        kind = (error.headers.get("x-amzn-errortype") or "").partition(":")[0]
        if method == "DELETE" and error.code == 404:
            return
        raise Refused(
            f"{_message(error.read())} (Service: IoTAnalytics, Status Code: {error.code}, Error: {kind or 'unknown'})"
        ) from error


def _message(body: bytes) -> str:
    try:
        content = json.loads(body)
        return str(content.get("message") or content.get("Message") or content)
    except (ValueError, AttributeError):
        return body.decode(errors="replace")
