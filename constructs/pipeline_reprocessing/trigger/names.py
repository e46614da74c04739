"""Functions, machines and jobs that a text names by their own names or ARNs, instead of referring to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline_reprocessing.trigger.templates import Template, Templates

FUNCTIONS = ("AWS::Lambda::Function", "AWS::Serverless::Function")
_MACHINES = ("AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine")
_KEYS = {
    "AWS::Batch::JobDefinition": ("JobDefinition",),
    "AWS::CodeBuild::Project": ("ProjectName",),
    "AWS::ECS::TaskDefinition": ("TaskDefinition",),  # CDK's EcsRunTask always writes the family
    "AWS::Glue::Job": ("JobName",),
    **dict.fromkeys(FUNCTIONS, ("FunctionName", "LambdaName", "lambdaName")),
}
"""Under what a text has the name of something of that type."""
_UNDER_KEY = {
    kind: re.compile(rf'(?:{"|".join(keys)})\\*":\s*\\*"(?!arn:|\d+:)([\w-]+)')
    for kind, keys in _KEYS.items()
}
_ARN_PART = r'((?:\$\{[^}]*\}|[^:"\\$])*)'
_ARN = re.compile(rf"(?::(?:lambda|states):{_ARN_PART}:)?{_ARN_PART}:(function|stateMachine):([\w-]+)")
"""The ARN of a function or state machine, whole or in part, with its region, account and name."""


def naming(name: str) -> str:
    """A text that names something, of whatever type, by that name or ARN."""
    keys = sorted({key for keys in _KEYS.values() for key in keys})
    return " ".join([name, *(f'"{key}":"{name}"' for key in keys)])


def named_in(text: str, template: Template, templates: Templates) -> Iterator[tuple[Template, str]]:
    """The resources of this app that a text in that template names: their templates and logical ids.

    One of the same name in another account or region is another one. So is one in another stage of the app, for that
    is another deployment of it.
    """
    named: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for region, account, what, name in _ARN.findall(text):
        for kind in FUNCTIONS if what == "function" else _MACHINES:
            named.setdefault((kind, name), []).append((region, account))
    for kind, pattern in _UNDER_KEY.items():
        for name in pattern.findall(text):
            named.setdefault((kind, name), []).append(("", ""))
    for key, places in named.items():
        for there, logical_id in templates.by_name.get(key, ()):
            if (
                any(
                    _may_be(region, there.region) and _may_be(account, there.account)
                    for region, account in places
                )
                and _may_be(template.region, there.region)
                and _may_be(template.account, there.account)
            ):
                yield there, logical_id


def _may_be(one: Any, other: Any) -> bool:
    """Whether the two are the same, as far as synth can tell: nothing, or a reference, may be anything."""
    return one == other or any(not text or "${" in text for text in (one, other))
