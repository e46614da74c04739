"""The official service model: what a request may look like, and what an answer must.

Routes, shapes, bounds and error shapes are read from the `service-2.json` of botocore 1.42.50, the last release
that has it. Nothing here knows what an operation does.
"""

import base64
import binascii
import gzip
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_aws.iot_analytics.errors import invalid_request

CHECKOUT = Path(__file__).parents[3]
DEFAULT_MODEL = CHECKOUT / ".local" / "botocore-1.42.50"
"""Where `make setup` puts botocore 1.42.50: the target folder of a `pip install --target`."""

_WITHIN_TARGET = Path("botocore/data/iotanalytics/2017-11-27/service-2.json.gz")

# The model's patterns are Java's. Python spells these two in another way.
_FROM_JAVA = {
    r"\p{ASCII}": r"[\x00-\x7F]",
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",
}

Shape = Mapping[str, Any]
Wire = Any
"""JSON as it comes and goes."""


class ModelMissing(Exception):
    """The official model is not where it should be."""


class ImproperAnswer(Exception):
    """The server was about to answer something that the real service could not have answered."""


@dataclass(frozen=True)
class Operation:
    """One operation of the service, as the model describes it."""

    name: str
    method: str
    path: str
    status: int
    input: str | None
    output: str | None
    errors: tuple[str, ...]


@dataclass(frozen=True)
class RawRequest:
    """What came over the wire, before anybody has looked at it."""

    path_values: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: bytes


class ServiceModel:
    """Reads requests and writes answers by the official model's shapes.

    Args:
        description: The parsed `service-2.json`.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._shapes: Mapping[str, Shape] = description["shapes"]
        self._patterns = {
            name: re.compile(_python_pattern(shape["pattern"]))
            for name, shape in self._shapes.items()
            if "pattern" in shape
        }
        self.operations: Mapping[str, Operation] = {
            name: Operation(
                name=name,
                method=operation["http"]["method"],
                path=operation["http"]["requestUri"],
                status=operation["http"].get("responseCode", 200),
                input=operation.get("input", {}).get("shape"),
                output=operation.get("output", {}).get("shape"),
                errors=tuple(error["shape"] for error in operation.get("errors", ())),
            )
            for name, operation in description["operations"].items()
        }

    @classmethod
    def load(cls, path: Path = DEFAULT_MODEL) -> "ServiceModel":
        """The model from a file `service-2.json.gz`, or from a folder into which pip put botocore 1.42.50.

        Raises:
            ModelMissing: There is none.
        """
        file = path / _WITHIN_TARGET if path.is_dir() else path
        if not file.is_file():
            raise ModelMissing(
                f"no service model at '{file}'; run 'make setup', or name its place with '--model'"
            )
        return cls(json.loads(gzip.decompress(file.read_bytes())))

    def error_status(self, code: str) -> int | None:
        """The HTTP status of a modelled exception, or None for a name that the model does not know."""
        error = self._shapes.get(code, {}).get("error", {})
        status: int | None = error.get("httpStatusCode")
        return status

    def request(self, operation: Operation, raw: RawRequest) -> dict[str, Any]:
        """The request's members by name: timestamps as aware datetimes, blobs as bytes.

        Members that the model does not know are refused too, though the service ignored them: here a misspelt name is
        always a mistake.

        Raises:
            ServiceError: InvalidRequestException that tells all that is wrong.
        """
        walk = _Walk(self._shapes, self._patterns, incoming=True)
        parameters = self._located(operation, raw, walk)
        checked = walk.structure(self._shapes[operation.input] if operation.input else {}, parameters, "")
        if walk.problems:
            raise invalid_request("; ".join(walk.problems))
        return checked

    def answer(self, operation: Operation, members: Mapping[str, Any]) -> Wire:
        """The answer's JSON.

        Raises:
            ImproperAnswer: It does not fit the operation's output shape.
        """
        walk = _Walk(self._shapes, self._patterns, incoming=False)
        rendered = walk.structure(self._shapes[operation.output] if operation.output else {}, members, "")
        if walk.problems:
            raise ImproperAnswer(f"answer of {operation.name}: {'; '.join(walk.problems)}")
        return rendered

    def _located(self, operation: Operation, raw: RawRequest, walk: "_Walk") -> dict[str, Wire]:
        if operation.input is None:
            return {}
        members = self._shapes[operation.input].get("members", {})
        parameters: dict[str, Wire] = {}
        in_body = {}
        for name, member in members.items():
            where = member.get("locationName", name)
            match member.get("location"):
                case "uri" if where in raw.path_values:
                    parameters[name] = raw.path_values[where]
                case "querystring" if where in raw.query:
                    parameters[name] = walk.from_text(member["shape"], raw.query[where])
                case None:
                    in_body[where] = name
        if in_body:
            body = _json_object(raw.body)
            parameters |= {in_body.get(name, name): value for name, value in body.items()}
        return parameters


class _Walk:
    """One pass over a value beside its shape, which converts it and collects what is wrong with it."""

    def __init__(
        self, shapes: Mapping[str, Shape], patterns: Mapping[str, re.Pattern[str]], *, incoming: bool
    ) -> None:
        self._shapes = shapes
        self._patterns = patterns
        self._incoming = incoming
        self.problems: list[str] = []

    def structure(self, shape: Shape, value: Any, where: str) -> dict[str, Any]:
        members: Mapping[str, Any] = shape.get("members", {})
        if not isinstance(value, Mapping):
            self._wrong(where, "must be an object", value, None)
            return {}
        # In rest-json a null is a member left out.
        given = {name: member for name, member in value.items() if member is not None}
        for name in shape.get("required", ()):
            if name not in given:
                self.problems.append(f"'{_joined(where, name)}' is required")
        for name in given.keys() - members.keys():
            self.problems.append(
                f"'{_joined(where, name)}' is unknown; known here: {', '.join(sorted(members))}"
            )
        return {
            name: self._value(members[name]["shape"], member, _joined(where, name))
            for name, member in given.items()
            if name in members
        }

    def from_text(self, shape_name: str, texts: Sequence[str]) -> Any:
        """The JSON value that a query parameter stands for."""
        match self._shapes[shape_name]["type"]:
            case "list":
                return list(texts)
            case "integer" if re.fullmatch(r"-?\d{1,18}", texts[0]):
                return int(texts[0])
            case "boolean" if texts[0] in {"true", "false"}:
                return texts[0] == "true"
            case _:
                return texts[0]

    def _value(self, shape_name: str, value: Any, where: str) -> Any:
        shape = self._shapes[shape_name]
        kinds: Mapping[str, Callable[[str, Shape, Any, str], Any]] = {
            "structure": lambda _, shape, value, where: self.structure(shape, value, where),
            "list": self._list,
            "map": self._map,
            "string": self._string,
            "integer": self._number,
            "double": self._number,
            "boolean": self._boolean,
            "timestamp": self._timestamp,
            "blob": self._blob,
        }
        return kinds[shape["type"]](shape_name, shape, value, where)

    def _list(self, _: str, shape: Shape, value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            return self._wrong(where, "must be a list", value, [])
        self._bounds(shape, len(value), where, "entries")
        return [
            self._value(shape["member"]["shape"], member, f"{where}[{index}]")
            for index, member in enumerate(value)
        ]

    def _map(self, _: str, shape: Shape, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(where, "must be an object", value, {})
        self._bounds(shape, len(value), where, "entries")
        return {
            self._value(shape["key"]["shape"], key, f"{where} (key)"): self._value(
                shape["value"]["shape"], member, f"{where}.{key}"
            )
            for key, member in value.items()
        }

    def _string(self, shape_name: str, shape: Shape, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            return self._wrong(where, "must be a string", value, "")
        self._bounds(shape, len(value), where, "characters")
        if "enum" in shape and value not in shape["enum"]:
            self._wrong(where, f"must be one of {', '.join(shape['enum'])}", value, None)
        if shape_name in self._patterns and not self._patterns[shape_name].fullmatch(value):
            self._wrong(where, f"must match {shape['pattern']}", value, None)
        return value

    def _number(self, _: str, shape: Shape, value: Any, where: str) -> Any:
        allowed = int if shape["type"] == "integer" else int | float
        if not isinstance(value, allowed) or isinstance(value, bool):
            return self._wrong(where, f"must be a number ({shape['type']})", value, 0)
        self._bounds(shape, value, where, "")
        return value

    def _boolean(self, _: str, __: Shape, value: Any, where: str) -> Any:
        return value if isinstance(value, bool) else self._wrong(where, "must be true or false", value, False)

    def _timestamp(self, _: str, __: Shape, value: Any, where: str) -> Any:
        if not self._incoming:
            if not isinstance(value, datetime):
                return self._wrong(where, "must be a datetime", value, 0)
            seconds = value.timestamp()
            # The service sent milliseconds; a whole second went out without a fraction.
            return int(seconds) if seconds.is_integer() else round(seconds, 3)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            try:
                return datetime.fromtimestamp(value, UTC)
            except (ValueError, OverflowError, OSError):
                pass
        return self._wrong(
            where, "must be a time in epoch seconds, as a JSON number", value, datetime.now(UTC)
        )

    def _blob(self, _: str, __: Shape, value: Any, where: str) -> Any:
        if not self._incoming:
            return base64.b64encode(value).decode("ascii")
        if not isinstance(value, str):
            return self._wrong(where, "must be base64 text", value, b"")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return self._wrong(where, "must be base64 text", value, b"")

    def _bounds(self, shape: Shape, size: float, where: str, unit: str) -> None:
        for bound, words, violated in (
            ("min", "at least", size < shape.get("min", size)),
            ("max", "at most", size > shape.get("max", size)),
        ):
            if violated:
                limit = f"{shape[bound]} {unit}".strip()
                self.problems.append(f"'{where}' must be {words} {limit}, got {size}")

    def _wrong(self, where: str, rule: str, value: Any, stand_in: Any) -> Any:
        text = json.dumps(value, default=str)
        self.problems.append(f"'{where}' {rule}, got {text if len(text) <= 100 else text[:100] + '...'}")
        return stand_in


def _json_object(body: bytes) -> Mapping[str, Wire]:
    if not body.strip():
        return {}
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid_request(f"the body must be JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise invalid_request(f"the body must be a JSON object, got {type(parsed).__name__}")
    return parsed


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _python_pattern(java: str) -> str:
    for there, here in _FROM_JAVA.items():
        java = java.replace(there, here)
    return java
