"""Functions, machines and jobs that a text names by their own names or ARNs, instead of referring to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline_reprocessing.trigger.references import canonical
from pipeline_reprocessing.trigger.templates import NAMES, Template, Templates

FUNCTIONS = ("AWS::Lambda::Function", "AWS::Serverless::Function")
_MACHINES = ("AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine")
_UNDER_KEY = {
    kind: re.compile(rf'(?:{"|".join(keys)})\\*":\s*\\*"(?!arn:|\d+:)([\w-]+)')
    for kind, (_, *keys) in NAMES.items()
    if keys
}
"""A name under one of the keys for that type."""
_ARN_PART = r'((?:\$\{[^}]*\}|[^:"\\$])*)'
_ARN = re.compile(rf"(?::(?:lambda|states):{_ARN_PART}:)?{_ARN_PART}:(function|stateMachine):([\w-]+)")
"""The ARN of a function or state machine, whole or in part, with its region, account and name."""


def naming(name: str) -> str:
    """A text that names something, of whatever type, by that name or ARN."""
    return canonical({key: name for _, *keys in NAMES.values() for key in keys})


def named_in(text: str, template: Template, templates: Templates) -> Iterator[tuple[Template, str]]:
    """The resources of this app that a text in that template names: their templates and logical ids.

    One of the same name in another account or region is another one. So is one in another stage of the app, for that
    is another deployment of it.
    """
    named = [
        (kind, name, region, account)
        for region, account, what, name in _ARN.findall(text)
        for kind in (FUNCTIONS if what == "function" else _MACHINES)
    ]
    named += [(kind, name, "", "") for kind, key in _UNDER_KEY.items() for name in key.findall(text)]
    for kind, name, region, account in dict.fromkeys(named):
        for there, logical_id in templates.by_name.get((kind, name), ()):
            if all(
                _may_be(*places)
                for places in (
                    (region, there.region),
                    (account, there.account),
                    (template.region, there.region),
                    (template.account, there.account),
                )
            ):
                yield there, logical_id


def _may_be(one: Any, other: Any) -> bool:
    """Whether the two are the same, as far as synth can tell: nothing, or a reference, may be anything."""
    return one == other or any(not text or "${" in text for text in (one, other))
