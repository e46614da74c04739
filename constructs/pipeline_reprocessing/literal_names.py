"""Functions and jobs that a definition names by their own names or ARNs, instead of referring to them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aws_cdk import CfnResource, Stack, Stage

from pipeline_reprocessing.deciding import property_of

_NAMES_OTHERS = {"AWS::IoTAnalytics::Pipeline", "AWS::StepFunctions::StateMachine"}
"""Types whose text may name something by its own name."""

_NAMES_OF = {
    "AWS::Batch::JobDefinition": ("jobDefinitionName", "JobDefinition"),
    "AWS::ECS::TaskDefinition": ("family", "TaskDefinition"),
    "AWS::Glue::Job": ("name", "JobName"),
    "AWS::Lambda::Function": ("functionName", "[lL]ambdaName|FunctionName"),
}
"""By type: the property with the name, and under what such a text has it. CDK's EcsRunTask always writes the family."""

_NAMED = {
    kind: re.compile(rf'(?:{keys})\\*":\s*\\*"(?!arn:|\d+:)([\w-]+)') for kind, (_, keys) in _NAMES_OF.items()
}

_ARN_PART = r'((?:\$\{[^}]*\}|[^:"\\$])*)'
_FUNCTION_ARN = re.compile(rf"(?::lambda:{_ARN_PART}:)?{_ARN_PART}:function:([\w-]+)")
"""A function's ARN, whole or in part, with its region, account and name."""


def names_others(resource: CfnResource) -> bool:
    """Whether what it says may name something by its own name."""
    return resource.cfn_resource_type in _NAMES_OTHERS


def named_resources(stack: Stack, text: str) -> Iterator[CfnResource]:
    """The functions and jobs of this app that a text in that stack names by their own names, or by their ARNs.

    One of the same name in another account or region is another one. So is one in another stage of the app, for that
    is another deployment of it.
    """
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for region, account, name in _FUNCTION_ARN.findall(text):
        places.setdefault(("AWS::Lambda::Function", name), []).append((region, account))
    for kind, pattern in _NAMED.items():
        for name in pattern.findall(text):
            places.setdefault((kind, name), []).append(("", ""))
    stage = Stage.of(stack) or stack
    for part in stage.node.find_all() if places else ():
        if not isinstance(part, CfnResource):
            continue
        named, there = places.get(_kind_and_name(part), ()), part.stack
        if (
            any(
                _may_be(region, there.region) and _may_be(account, there.account) for region, account in named
            )
            and _may_be(stack.region, there.region)
            and _may_be(stack.account, there.account)
            and (Stage.of(there) or there).node.path == stage.node.path
        ):
            yield part


def _kind_and_name(resource: CfnResource) -> tuple[str, str]:
    kind = resource.cfn_resource_type
    name, _ = _NAMES_OF.get(kind, ("", ""))
    given = property_of(resource, name) if name else None
    return kind, str(resource.stack.resolve(given)) if given else ""


def _may_be(one: str, other: str) -> bool:
    """Whether the two are the same, as far as synth can tell: nothing, or a token, may be anything."""
    # CDK's Token.compare_strings() gives an object that Python cannot compare.
    return one == other or any(not text or "${" in text for text in (one, other))
