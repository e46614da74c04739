"""Fingerprints: what constructs and values make of data, and nothing else of them.

References are followed as CDK knows them, before they become CloudFormation's: a reference to a function stands for
what that function does, in whatever stack of the app it is. That keeps a fingerprint the same while CDK is still
turning references between stacks into exports and parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jsii
from aws_cdk import (
    Aws,
    CfnElement,
    CfnParameter,
    CfnResource,
    DefaultTokenResolver,
    Fn,
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

from pipeline_reprocessing.deciding import (
    Opaque,
    deciding_parts,
    deciding_properties,
    is_followed,
    ours,
    owner,
    physical_name,
    without_place,
)
from pipeline_reprocessing.intrinsics import NAME, without_intrinsics
from pipeline_reprocessing.literal_names import named_resources, names_others
from pipeline_reprocessing.overrides import Rendered

_SECRET = re.compile("secret|password|apikey|privatekey", re.IGNORECASE)
"""Attributes whose values are nobody's business."""


class Fingerprints:
    """What the constructs of an app make of data, as JSON-able values and their digests.

    Args:
        stack: Whose data; names in it go without its own.
        rendered: What tells of escape hatches, mappings and conditions. Default: they are not looked at.
    """

    def __init__(self, stack: Stack, rendered: Rendered | None = None) -> None:
        self._stack = stack
        self._rendered = rendered
        self._seen = {"": _Seen()}
        self._open = [""]
        self._named: dict[str, object] = {}
        self._elements: dict[str, dict[str, CfnElement]] = {}

    @property
    def place(self) -> str:
        """The path of what is being looked at."""
        return self._open[-1]

    @property
    def needed(self) -> list[IConstruct]:
        """What was followed and has to be there before a run starts."""
        return [seen.construct for seen in self._reached if seen.construct]

    @property
    def values(self) -> dict[str, object]:
        """What only the deploy knows: the references of this stack that are named in what has to be there.

        Who hands them to the custom resource makes no circle of dependencies, for that waits for what names them.
        """
        return {name: self._named[name] for name in sorted({n for seen in self._reached for n in seen.names})}

    @property
    def digests(self) -> list[str]:
        """The digests of all that was followed."""
        return sorted({seen.digest for seen in self._seen.values() if seen.digest})

    def sees(self, value: object, *, in_deploys: bool) -> bool:
        """Whether a change of what the value stands for is seen at synth, or else in deploys."""
        self.of_settings(value)
        return bool(self.digests or (in_deploys and self.values))

    def of_settings(self, value: object) -> list[object]:
        """The value without tokens, as something that a run needs, and what stands for the functions it names."""
        settings = self._of_value(value, self._stack)
        self._note(settings)
        return [settings, sorted(self._of_named_resources(self._stack, settings))]

    def named(self, value: object) -> object:
        """The value without tokens: references are named, with the physical name that a pipeline was given."""
        return self._resolved(value, self._identity_of)

    def of_construct(self, construct: IConstruct) -> list[str]:
        """The digests of all in that construct that decides data."""
        return sorted({self._of_part(part) for part in deciding_parts(construct)})

    def _of_part(self, part: IConstruct) -> str:
        match part:
            case CfnResource():
                return self._of_resource(part)
            case Opaque():
                return self._of_opaque(part)
            case Asset() | DockerImageAsset():
                return digest(["asset", part.asset_hash])
        raise TypeError(part)

    def _of_resource(self, resource: CfnResource, *, needed: bool = True) -> str:
        within = ours(resource)
        if within:
            return self._of_opaque(within)
        kind = resource.cfn_resource_type
        content = lambda: [kind, *self._content(resource)]  # noqa: E731  # as short as that
        return self._followed(resource, owner(resource), content, needed=needed)

    def _of_opaque(self, construct: IConstruct) -> str:
        assert isinstance(construct, Opaque)  # noqa: S101  # who calls knows

        def content() -> list[object]:
            told, constructs = construct._stands_for()
            value = self._of_value(told, Stack.of(construct))
            self._note(value)
            return [value, sorted({part for each in constructs for part in self.of_construct(each)})]

        return self._followed(construct, construct, content)

    def _followed(
        self,
        element: IConstruct,
        construct: IConstruct,
        content: Callable[[], list[object]],
        *,
        needed: bool = True,
    ) -> str:
        """The digest of the content.

        Args:
            element: Whose content.
            construct: What has to be there for it.
            content: Makes it, when it is first asked for.
            needed: Whether what names the element cannot do without it.
        """
        path = element.node.path
        if needed:
            self._seen[self._open[-1]].needs.add(path)
        if path not in self._seen:
            self._seen[path] = _Seen(construct)
            self._open.append(path)
            self._seen[path].digest = digest(content())
            self._open.pop()
        # A function that names itself, or a machine that starts itself, is still being looked at.
        return self._seen[path].digest or "itself"

    def _content(self, resource: CfnResource) -> Iterator[object]:
        """What decides data in a resource."""
        stack = resource.stack
        values = {
            key: without_place(key, self._of_value(value, stack))
            # Protected members, as jsii spells them.
            for key, value in deciding_properties(resource, resource._cfn_properties).items()
        }
        overrides = {}
        if self._rendered:
            overrides = {
                key: without_place(key, self._without_intrinsics(value, stack))
                for key, value in deciding_properties(resource, self._rendered.overrides(resource)).items()
            }
        yield {key: value for key, value in values.items() if value is not None}
        yield overrides
        if names_others(resource):
            yield sorted(self._of_named_resources(stack, [values, overrides]))
        # What was overridden is not in the template any more.
        self._note(values | overrides)

    def _of_value(self, value: object, stack: Stack) -> object:
        """The value without tokens: references to what decides data are followed, others are named.

        Args:
            value: JSON-able, tokens allowed.
            stack: In whose template it is.
        """
        return self._without_intrinsics(self._resolved(value, self._of_reference), stack)

    def _resolved(self, value: object, of_reference: Callable[[Reference], str]) -> object:
        return Tokenization.resolve(
            value, scope=self._stack, resolver=_Resolver(of_reference), preparing=False
        )

    def _without_intrinsics(self, value: object, stack: Stack) -> Any:
        def attribute(logical_id: str, name: str) -> str | None:
            element = self._element(stack, logical_id)
            if element is None:
                return None
            token = {"Ref": logical_id} if name == "Ref" else {"Fn::GetAtt": [logical_id, name]}
            return self._of_attribute(element, name, token)

        def entry(section: str, name: str) -> object:
            return self._rendered.entry(section, stack, name) if self._rendered else name

        return without_intrinsics(value, attribute, entry)

    def _element(self, stack: Stack, logical_id: str) -> CfnElement | None:
        if "::" in logical_id:
            return None
        path = stack.node.path
        if path not in self._elements:
            self._elements[path] = _elements(stack)
        return self._elements[path].get(logical_id)

    def _of_reference(self, reference: Reference) -> str:
        return self._of_attribute(reference.target, reference.display_name, reference)

    def _of_attribute(self, target: IConstruct, attribute: str, token: object) -> str:
        """What stands for a reference in a text: the digest of what it leads to, or a name."""
        if isinstance(target, CfnResource) and is_followed(target):
            return f"${{{self._of_resource(target)}}}"
        name = self._name_of(target, attribute)
        if self._may_be_handed_on(target, attribute):
            self._named[name] = _where_it_exists(target, token)
        return f"${{{name}}}"

    def _identity_of(self, reference: Reference) -> str:
        name = f"${{{self._name_of(reference.target, reference.display_name)}}}"
        given = physical_name(reference.target)
        return name if given is None else name + digest(self.named(given))

    def _name_of(self, target: IConstruct, attribute: str) -> str:
        """The logical id, with its stack if that is another one, and the attribute."""
        if not isinstance(target, CfnElement):
            return attribute
        stack = target.stack
        logical_id = str(stack.resolve(target.logical_id))
        same = stack.node.path == self._stack.node.path
        return f"{logical_id}.{attribute}" if same else f"{identity(stack)}/{logical_id}.{attribute}"

    def _may_be_handed_on(self, target: IConstruct, attribute: str) -> bool:
        """Whether CloudFormation may look at it for us: a value of this stack, no secret, and nothing of ours."""
        return (
            isinstance(target, CfnElement)
            and not attribute.startswith("AWS::")
            and target.stack.node.path == self._stack.node.path
            and not (isinstance(target, CfnParameter) and target.no_echo)
            and not _SECRET.search(attribute)
            and not ours(target)
        )

    def _of_named_resources(self, stack: Stack, value: object) -> Iterator[str]:
        for resource in named_resources(stack, json.dumps(value)):
            # Nothing says that the one of another stack comes first: that stack may well need this one.
            yield self._of_resource(resource, needed=resource.stack.node.path == stack.node.path)

    def _note(self, value: object) -> None:
        """Takes down which values are named by what is being looked at."""
        names = NAME.findall(json.dumps(value))
        self._seen[self._open[-1]].names.update(name for name in names if name in self._named)

    @property
    def _reached(self) -> list[_Seen]:
        """What has to be there before a run starts."""
        paths, reached = [""], {""}
        while paths:
            new = self._seen[paths.pop()].needs - reached
            reached |= new
            paths += new
        return [self._seen[path] for path in sorted(reached)]


@dataclass
class _Seen:
    """What was seen of an element; and, without a construct, of what all begins with."""

    construct: IConstruct | None = None
    digest: str | None = None
    needs: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


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


def _where_it_exists(target: IConstruct, token: object) -> object:
    """The token, or nothing where its resource has a condition that does not hold."""
    condition = target.cfn_options.condition if isinstance(target, CfnResource) else None
    return Fn.condition_if(condition.logical_id, token, Aws.NO_VALUE) if condition else token


def _elements(stack: Stack) -> dict[str, CfnElement]:
    """What stands in the stack's template, by logical id."""
    return {
        str(stack.resolve(part.logical_id)): part
        for part in stack.node.find_all()
        # This library's own parts have ids that contain the trigger.
        if isinstance(part, CfnElement) and part.stack.node.path == stack.node.path and not ours(part)
    }


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
    """Resolves tokens as CDK does, but lets someone else say what a reference stands for."""

    def __init__(self, of_reference: Callable[[Reference], str]) -> None:
        super().__init__(_Fragments())
        self._of_reference = of_reference

    def resolve_token(
        self, token: IResolvable, context: IResolveContext, post_processor: IPostProcessor
    ) -> Any:
        if isinstance(token, Reference):
            return self._of_reference(token)
        return super().resolve_token(token, context, post_processor)
