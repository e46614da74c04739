"""The trigger: a SHA-256 over what decides the resulting data, and over nothing else.

Data change with a pipeline's activities or a state machine's definition, with the code, layers, handler, runtime and
environment of the functions that these name, directly or by way of others, with the selection and with the user's
`version`. They do not change with tags, memory sizes, time-outs, log settings, roles, descriptions, paths, the
bootstrap bucket, or the version of this library, so none of these enter.

References are followed as CDK knows them, before they become CloudFormation's: a reference to a function stands for
what that function does, in whatever stack of the app it is. That keeps the trigger the same while CDK is still
turning references between stacks into exports and parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import jsii
from aws_cdk import (
    CfnElement,
    CfnResource,
    DefaultTokenResolver,
    IFragmentConcatenator,
    IPostProcessor,
    IResolvable,
    IResolveContext,
    Reference,
    Stack,
    Tokenization,
)
from aws_cdk.aws_ecr_assets import DockerImageAsset
from aws_cdk.aws_s3_assets import Asset
from constructs import IConstruct

_DECIDES = {
    "AWS::IoTAnalytics::Pipeline": ("pipelineActivities",),
    "AWS::Lambda::Alias": ("functionName", "functionVersion", "routingConfig"),
    "AWS::Lambda::Function": ("code", "environment", "handler", "imageConfig", "layers", "runtime"),
    "AWS::Lambda::LayerVersion": ("content",),
    "AWS::Lambda::Version": ("functionName",),
    "AWS::StepFunctions::StateMachine": (
        "definition",
        "definitionS3Location",
        "definitionString",
        "definitionSubstitutions",
    ),
    "AWS::StepFunctions::StateMachineAlias": ("deploymentPreference", "routingConfiguration"),
    "AWS::StepFunctions::StateMachineVersion": ("stateMachineArn", "stateMachineRevisionId"),
}
"""What decides the data, by type. A reference to one of these is followed."""

_DECIDES_NOTHING = re.compile(
    r"AWS::(CDK::|CloudWatch::|IAM::|Lambda::(EventInvokeConfig|Permission)|Logs::).*"
)
"""Types that `rerun_on` passes over."""

_SETTINGS = {
    "description",
    "logConfiguration",
    "loggingConfig",
    "loggingConfiguration",
    "memory",
    "memorySize",
    "reservedConcurrentExecutions",
    "role",
    "roleArn",
    "serviceToken",
    "tags",
    "timeout",
    "tracingConfig",
    "tracingConfiguration",
}
"""Properties of other types in `rerun_on` that decide no data."""

_ASSETS = {"code", "content", "definitionS3Location"}
"""Properties that say where an asset is. Its hash is in the key; bucket and account say nothing about the content."""

_ASSET_HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Fingerprints:
    """What the constructs of one stack make of data, as JSON-able values and their digests."""

    def __init__(self, stack: Stack) -> None:
        self.found: dict[str, CfnResource] = {}
        """The resources that were followed, by path."""
        self._stack = stack
        self._known: dict[str, str] = {}
        self._open: set[str] = set()
        self._resolver = _Resolver(self)

    @property
    def digests(self) -> set[str]:
        """The digests of all resources that were followed."""
        return set(self._known.values())

    def of_value(self, value: object) -> object:
        """The value without tokens: references to what decides data are followed, others are named."""
        return Tokenization.resolve(value, scope=self._stack, resolver=self._resolver, preparing=False)

    def of_construct(self, construct: IConstruct) -> list[str]:
        """The digests of all in that construct that decides data, in an order of their own."""
        resource = construct.node.default_child
        if isinstance(resource, CfnResource) and resource.cfn_resource_type in _DECIDES:
            return [self.of_resource(resource)]
        return sorted({digest for part in construct.node.find_all() for digest in self._of_part(part)})

    def of_resource(self, resource: CfnResource) -> str:
        """The digest of what decides data in that resource."""
        path = resource.node.path
        if path in self._open:
            # A function that names itself, or a machine that starts itself: already being looked at.
            return self.name_of(resource)
        if path not in self._known:
            self.found[path] = resource
            with self._opened(path):
                self._known[path] = digest([resource.cfn_resource_type, self._content(resource)])
        return self._known[path]

    def of_reference(self, reference: Reference) -> str:
        """What stands for the reference."""
        target = reference.target
        if isinstance(target, CfnResource) and target.cfn_resource_type in _DECIDES:
            return f"${{{self.of_resource(target)}}}"
        if isinstance(target, CfnElement):
            return f"${{{self.name_of(target)}.{reference.display_name}}}"
        return f"${{{reference.display_name}}}"

    def name_of(self, element: CfnElement) -> str:
        """The logical id, with its stack if that is another one."""
        stack = element.stack
        logical_id = str(stack.resolve(element.logical_id))
        return logical_id if stack.node.path == self._stack.node.path else f"{identity(stack)}/{logical_id}"

    def _of_part(self, part: IConstruct) -> Iterable[str]:
        if isinstance(part, Asset | DockerImageAsset):
            yield digest(["asset", part.asset_hash])
        elif isinstance(part, CfnResource) and not _DECIDES_NOTHING.fullmatch(part.cfn_resource_type):
            yield self.of_resource(part)

    def _content(self, resource: CfnResource) -> object:
        properties = {_uncapitalized(key): value for key, value in _properties(resource).items()}
        chosen = _DECIDES.get(resource.cfn_resource_type)
        keys = properties.keys() - _SETTINGS if chosen is None else properties.keys() & set(chosen)
        values = {key: self.of_value(properties[key]) for key in sorted(keys)}
        return {key: _asset_hash(value) if key in _ASSETS else value for key, value in values.items()}

    @contextmanager
    def _opened(self, path: str) -> Any:
        self._open.add(path)
        try:
            yield
        finally:
            self._open.remove(path)


def identity(stack: Stack) -> str:
    """What tells a stack from others: its name, and for a nested one the logical ids that lead to it."""
    resource = stack.nested_stack_resource
    parent = stack.nested_stack_parent
    if resource is None or parent is None:
        return stack.stack_name
    return f"{identity(parent)}/{parent.resolve(resource.logical_id)}"


def digest(value: object) -> str:
    """The SHA-256 of the value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(text.encode()).hexdigest()


def _properties(resource: CfnResource) -> Mapping[str, Any]:
    return resource._cfn_properties  # a protected member, as jsii spells it


def _uncapitalized(key: str) -> str:
    return key[:1].lower() + key[1:]


def _asset_hash(location: object) -> object:
    """The hash of an asset in place of where it lies; code that is no asset stays as it is."""
    hashes = _ASSET_HASH.findall(json.dumps(location, sort_keys=True))
    return {"asset": hashes} if hashes else location


@jsii.implements(IFragmentConcatenator)
class _Fragments:
    """Keeps the parts of a text in a list, because what a token in it resolves to may be more than a text."""

    def join(self, left: Any, right: Any) -> Any:
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        return [*self._parts(left), *self._parts(right)]

    @staticmethod
    def _parts(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [] if value is None else [value]


class _Resolver(DefaultTokenResolver):
    """Resolves tokens as CDK does, but lets `Fingerprints` say what a reference stands for."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        super().__init__(_Fragments())
        self._fingerprints = fingerprints

    def resolve_token(
        self, token: IResolvable, context: IResolveContext, post_processor: IPostProcessor
    ) -> Any:
        if isinstance(token, Reference):
            return self._fingerprints.of_reference(token)
        return super().resolve_token(token, context, post_processor)
