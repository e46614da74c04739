"""IoT Analytics for functions: over TLS, and only what the role of the function allows.

The project's own IoT Analytics server asks nobody who they are. Requests that are signed for `iotanalytics` come
here instead: their signature and the policies of their role are checked by ministack, as for every other service, and
what is allowed goes on to the server. A connection that the server drops becomes a 502 without a body.
"""

import gzip
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from local_aws.emulator import hooks

_APP = "ministack.app"
_IAM = "ministack.core.iam_evaluator"
_ROUTER = "ministack.core.router"
_RESPONSES = "ministack.core.responses"

_SECONDS = 300
_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "expect", "date", "server"}

Response = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class _Route:
    method: str
    path: re.Pattern[str]
    operation: str


def install() -> None:
    """Takes the requests that are signed for IoT Analytics."""
    server = os.environ["LOCAL_AWS_IOT_ANALYTICS"]
    routes = _routes(Path(os.environ["LOCAL_AWS_IOT_ANALYTICS_MODEL"]))

    def take(original: Any) -> Any:
        run_in_thread = hooks.find("ministack.core.concurrency", "run_reentrant")

        async def handle_post_body_shortcuts(
            method: str,
            path: str,
            headers: dict[str, str],
            body: bytes,
            query_params: dict[str, list[str]],
            *more: Any,
        ) -> Any:
            if "/iotanalytics/aws4_request" not in headers.get("authorization", ""):
                return await original(method, path, headers, body, query_params, *more)
            refused = _refuse(routes, method, path, headers, body, query_params)
            if refused:
                return refused
            query = urllib.parse.urlencode(query_params, doseq=True)
            url = server + urllib.parse.quote(path) + (f"?{query}" if query else "")
            return await run_in_thread(_pass_on, url, method, headers, body)

        return handle_post_body_shortcuts

    hooks.replace(
        _APP, "_handle_post_body_shortcuts", "method path headers body query_params request_id", take
    )


def _routes(model: Path) -> list[_Route]:
    operations = json.loads(gzip.decompress(model.read_bytes()))["operations"]
    return [
        _Route(
            operation["http"]["method"],
            re.compile(re.sub(r"\{\w+\}", "[^/]+", operation["http"]["requestUri"])),
            name,
        )
        for name, operation in operations.items()
    ]


def _refuse(  # noqa: PLR0917  # a request has these parts
    routes: list[_Route],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query_params: dict[str, list[str]],
) -> Response | None:
    found = [route for route in routes if route.method == method and route.path.fullmatch(path)]
    if not found:
        return _error(404, "UnknownOperationException", f"there is no operation {method} {path}")
    region = hooks.find(_RESPONSES, "get_region")()
    account = hooks.find(_RESPONSES, "get_account_id")()
    action = f"iotanalytics:{found[0].operation}"
    resource = _resource(path, body, f"arn:aws:iotanalytics:{region}:{account}")
    key = hooks.find(_ROUTER, "extract_access_key_id")(headers, query_params)
    denied = hooks.find(_IAM, "enforce")(key, action, "iotanalytics", region, resource_arn=resource)
    if denied is None:
        return None
    if isinstance(denied, hooks.find(_IAM, "AuthError")):
        return _error(403, denied.code, denied.message)
    return _error(
        403,
        "AccessDeniedException",
        f"User: {denied.principal_arn} is not authorized to perform: {action} on resource: {resource}",
    )


def _resource(path: str, body: bytes, prefix: str) -> str:
    """The ARN of what a request is about: named in the path, or in the body when it is made or written to."""
    kind, _, rest = path.strip("/").partition("/")
    name = rest.partition("/")[0]
    singular = "channel" if kind == "messages" else kind.removesuffix("s")
    if not name or kind == "messages":
        try:
            name = json.loads(body).get(f"{singular}Name", "")
        except (ValueError, AttributeError):
            name = ""
    return f"{prefix}:{singular}/{name}" if name else "*"


def _pass_on(url: str, method: str, headers: dict[str, str], body: bytes) -> Response:
    kept = {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
    request = urllib.request.Request(url, method=method, data=body or None, headers=kept)  # noqa: S310  # our server
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310  # as above
            return answer.status, _kept(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, _kept(error.headers), error.read()
    except (OSError, HTTPException):
        return 502, {}, b""


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def _error(status: int, kind: str, message: str) -> Response:
    headers = {"content-type": "application/json", "x-amzn-errortype": kind}
    return status, headers, json.dumps({"message": message}).encode()
