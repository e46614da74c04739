"""Tells cdk-nag why a permission needs a wildcard, and CDK why what it warns of is right."""

from __future__ import annotations

import json
from typing import Any

import jsii
from aws_cdk import Acknowledgment, Stack, Validations
from constructs import Construct, IValidation

EXECUTIONS = "Executions get their names when they start: only their state machine can be named."
OBJECTS = "Objects come and go: only the prefix of their keys can be named."


def acknowledge_wildcard(scope: Construct, arn: str, reason: str) -> None:
    """Acknowledges cdk-nag's finding about that ARN, and no other one, in the scope.

    Args:
        scope: Where the policy is.
        arn: The resource of a statement.
        reason: Why it cannot be narrower.
    """
    # Nothing happens where nobody asks.
    scope.node.add_validation(_Acknowledgement(scope, arn, reason))


def acknowledge_finding(scope: Construct, rule: str, reason: str) -> None:
    """Acknowledges what cdk-nag finds by that rule in the scope.

    Args:
        scope: Which resource.
        rule: Such as `AwsSolutions-S1`.
        reason: Why it is right as it is.
    """
    Validations.of(scope).acknowledge(Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))


def acknowledge_warning(scope: Construct, warning: str, reason: str) -> None:
    """Acknowledges a warning of CDK's own: unlike others it would fail `cdk synth --strict`, and nobody could help it.

    Args:
        scope: What CDK warns of.
        warning: What stands after `ack:` in its text.
        reason: Why it is right as it is.
    """
    Validations.of(scope).acknowledge(Acknowledgment(id=f"Annotation::{warning}", reason=reason))


@jsii.implements(IValidation)
class _Acknowledgement:
    """Acknowledges at validation: only then are references settled, and the finding's name has them in it."""

    def __init__(self, scope: Construct, arn: str, reason: str) -> None:
        self._scope = scope
        self._arn = arn
        self._reason = reason

    def validate(self) -> list[str]:
        resource = _as_in_findings(Stack.of(self._scope).resolve(self._arn))
        Validations.of(self._scope).acknowledge(
            Acknowledgment(id=f"AwsSolutions::AwsSolutions-IAM5[Resource::{resource}]", reason=self._reason)
        )
        return []


def _as_in_findings(value: Any) -> str:
    """The ARN as cdk-nag writes it: `arn:<AWS::Partition>:states:...`."""
    match value:
        case str():
            return value.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [str(delimiter), [*items]]}:
            return delimiter.join(map(_as_in_findings, items))
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::ImportValue": name}:
            return _as_in_findings(name)
    return json.dumps(value, separators=(",", ":"))
