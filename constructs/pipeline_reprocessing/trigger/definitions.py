"""Definitions of state machines in the Amazon States Language: what decides the data, and what they call.

`deciding` goes by the grammar (https://states-language.net/spec.html): `Retry` is a setting as a field of a state, and
data within `Parameters`. The order of keys is layout. The order of lists counts: the first of `Catch` and `Choices` that
matches is taken. `1` and `1.0` differ, because a task may tell them apart. A default that is written out differs from
one that is left out. `Credentials` count, because a role may belong to another account, with other functions and jobs.
`ProcessorConfig`, `ItemBatcher`, `ItemReader` and `ResultWriter` count, and so does how long a `Wait` state waits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from operator import itemgetter

_OF_MACHINES = "Comment|TimeoutSeconds|Version"
_OF_STATES = "Comment|Retry|(Heartbeat|Timeout)Seconds(Path)?"
_OF_MAPS = f"{_OF_STATES}|Label|MaxConcurrency(Path)?|ToleratedFailure(Count|Percentage)(Path)?"
"""The fields that decide no data."""

_MARKER = re.compile(r"\$\{[^{}]*\}")
_STRING_OR_MARKER = re.compile(rf'("(?:[^"\\]|\\.)*+"?)|{_MARKER.pattern}')
"""A string may lack its end: looking for it from each quote again would take very long."""

_ARN = re.compile(r"arn:[^:]*:(?:lambda|states):[^:]*:[^:]*:(activity|function):")
_INTEGRATION = re.compile(r"arn:[^:]*:states:[^:]*:[^:]*:(?:aws-sdk:)?(\w+:\w+)(?:\..*)?")

_UNREADABLE = (ArithmeticError, RecursionError, TypeError, ValueError)
"""What reading a text raises; newer versions of Python read deeper than functions of Python may call each other."""

_CALLS = {
    "apigateway:invoke": ("API", "ApiEndpoint"),
    "athena:getNamedQuery": ("Athena named query", "NamedQueryId"),
    "batch:submitJob": ("Batch job definition", "JobDefinition"),
    "codebuild:startBuild(Batch)?": ("CodeBuild project", "ProjectName"),
    "databrew:startJobRun": ("DataBrew job", "Name"),
    "ecs:(run|start)Task": ("ECS task definition", "TaskDefinition"),
    "glue:startJobRun": ("Glue job", "JobName"),
    "glue:startWorkflowRun": ("Glue workflow", "Name"),
    "lambda:invoke(Async)?": ("function", "FunctionName"),
    "sagemaker:createTransformJob": ("SageMaker model", "ModelName"),
    "sagemaker:startPipelineExecution": ("SageMaker pipeline", "PipelineName"),
    "sagemakerruntime:invokeEndpoint(Async)?": ("SageMaker endpoint", "EndpointName"),
    "ssm:(sendCommand|startAutomationExecution)": ("SSM document", "DocumentName"),
    "(states|sfn):start(Sync)?Execution": ("state machine", "StateMachineArn"),
}
"""By service and action: what it calls, and the argument that names that.

Left out is what the arguments hold themselves (the scripts of EMR, the images of SageMaker, queries), and what changes
its name when it changes (the models of Bedrock).
"""


@dataclass(frozen=True)
class Call:
    """What a task calls.

    Args:
        state: The name of the task's state.
        what: Its kind, such as "function" or "Glue job".
        name: The text that names it, as it stands: a name or an ARN, with `${...}` for references; a JSONPath such as
            `$.fn`; a JSONata expression; `$` where the task has no arguments, so that its input names it. A function
            that is known at synth has its qualifier, after a colon.
    """

    state: str
    what: str
    name: str


def deciding(definition: object) -> object:
    """What in a definition decides the resulting data, with sorted keys. Never raises.

    Args:
        definition: A text or what it parses to, with `${...}` for references: in strings or, as CDK writes numbers, in
            place of a value. It comes back as it is unless it is JSON with `States`; also where that could be read in
            two ways (a key twice, a number that no float holds exactly) or is nested too deep.
    """
    try:
        return _machines(_parsed(definition))
    except _UNREADABLE:
        return definition


def called(definition: object) -> list[Call]:
    """What the tasks of a definition call, sorted by state. Never raises: a definition that cannot be read has none."""
    try:
        return list(_calls(_parsed(definition)))
    except _UNREADABLE:
        return []


def _parsed(definition: object) -> dict[str, object]:
    text = definition if isinstance(definition, str) else json.dumps(definition)
    text = _STRING_OR_MARKER.sub(lambda match: match[1] or json.dumps({match[0]: None}), text)
    value = json.loads(text, object_pairs_hook=_object, parse_constant=_number, parse_float=_number)
    if not isinstance(value, dict) or not isinstance(value.get("States"), dict):
        raise TypeError("no state machine")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(sorted(pairs, key=itemgetter(0)))
    if len(value) < len(pairs):
        raise ValueError("a key stands twice")
    return value


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number) or Decimal(text) != Decimal(repr(number)):
        raise ValueError("another number would be the same float")
    return number


def _machines(value: object) -> object:
    if isinstance(value, list):
        return [*map(_machines, value)]
    if not isinstance(value, dict) or not isinstance(states := value.get("States"), dict):
        return value
    return _without(value, _OF_MACHINES) | {"States": {name: _state(state) for name, state in states.items()}}


def _state(state: object) -> object:
    if not isinstance(state, dict):
        return state
    kind = state.get("Type")
    kept = _without(state, _OF_MAPS if kind == "Map" else _OF_STATES)
    for field, value in kept.items():
        match kind, field:
            case ("Map", "ItemProcessor" | "Iterator") | ("Parallel", "Branches"):
                kept[field] = _machines(value)
            case ("Choice", "Choices") | ("Map" | "Parallel" | "Task", "Catch"):
                kept[field] = _rules(value)
    return kept


def _rules(value: object) -> object:
    """The rules of a choice, with those in them; or catchers, which have none in them."""
    if isinstance(value, list):
        return [*map(_rules, value)]
    if not isinstance(value, dict):
        return value
    kept = _without(value, "Comment")
    return {key: _rules(item) if key in {"And", "Or", "Not"} else item for key, item in kept.items()}


def _without(value: dict[str, object], settings: str) -> dict[str, object]:
    return {field: item for field, item in value.items() if not re.fullmatch(settings, field)}


def _calls(value: object) -> Iterator[Call]:
    match value:
        case [*machines]:
            for machine in machines:
                yield from _calls(machine)
        case {"States": {**states}}:
            for name, state in states.items():
                match state:
                    case {"Type": "Task", "Resource": str(resource), **fields}:
                        arguments = fields.get("Arguments", fields.get("Parameters", "$"))
                        yield from _calls_of_task(str(name), resource, arguments)
                    case {"Type": "Map", **fields}:
                        yield from _calls([fields.get("ItemProcessor"), fields.get("Iterator")])
                    case {"Type": "Parallel", **fields}:
                        yield from _calls(fields.get("Branches"))


def _calls_of_task(state: str, resource: str, arguments: object) -> Iterator[Call]:
    # Partition, region and account may be references, with colons in their names.
    plain = _MARKER.sub("", resource)
    if (arn := _ARN.match(plain)) or _MARKER.match(resource):
        yield Call(state, arn[1] if arn else "function", resource)
    elif integration := _INTEGRATION.fullmatch(plain):
        for action, (what, field) in _CALLS.items():
            if re.fullmatch(action, integration[1]) and (name := _name(arguments, field)):
                yield Call(state, what, name)


def _name(arguments: object, field: str) -> str:
    if not isinstance(arguments, dict):
        return arguments if isinstance(arguments, str) else ""
    name, qualifier = (arguments.get(key, arguments.get(f"{key}.$")) for key in (field, "Qualifier"))
    if not isinstance(name, str):
        return ""
    _, _, last = _MARKER.sub("", name).rpartition(":function:")
    known = field in arguments and not name.startswith("{%")
    return f"{name}:{qualifier}" if known and isinstance(qualifier, str) and ":" not in last else name
