"""What is made of data by what a run reaches: followed from the pipeline along every reference and name.

A reference to a function stands for what that function does, in whatever stack of the app it is. So the trigger is the
same however a function is named, and moves with nothing but what the functions do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any

from aws_cdk import CfnResource, Stack
from aws_cdk.aws_ecr_assets import DockerImageAsset
from aws_cdk.aws_s3_assets import Asset
from constructs import IConstruct

from pipeline_reprocessing.trigger.machines import definition_in
from pipeline_reprocessing.trigger.names import FUNCTIONS, named_in
from pipeline_reprocessing.trigger.references import FOLLOWED, Place, References, canonical, known_to_cdk
from pipeline_reprocessing.trigger.relevant import (
    FOLLOWED_TYPES,
    Opaque,
    deciding_parts,
    deciding_properties,
    ours,
    owner,
    without_locations,
)
from pipeline_reprocessing.trigger.templates import Template, Templates
from pipeline_reprocessing.trigger.watch import Watch

_SECRET = re.compile("secret|password|apikey|privatekey", re.IGNORECASE)
"""Attributes whose values are secret."""
NEVER_CHANGES = re.compile(r":(?:function|stateMachine):[\w-]+:\d+(?![\w-])")
"""The ARN of a version."""
_ITSELF = "0" * 64
"""The digest of what is still being looked at: a function that names itself, or a machine that starts itself."""


@dataclass
class Node:
    """Something that decides data."""

    construct: IConstruct
    kind: str
    """The type of a resource, or what else it is."""
    place: Place
    digest: str = ""
    content: dict[str, Any] = field(default_factory=dict)
    """What of it decides data, by name, with a text in the place of each reference."""
    needs: set[str] = field(default_factory=set)
    """The keys of what has to be there before it works."""
    reaches: set[str] = field(default_factory=set)
    """The keys of all that it names."""
    values: dict[str, Any] = field(default_factory=dict)
    """What only the deploy knows, by name, as the template refers to it."""


class Graph:
    """What a run reaches.

    Args:
        root: The `PipelineReprocessing`, with which all begins.
        templates: Those of the stage.
        watch: What to leave out.
    """

    def __init__(self, root: IConstruct, templates: Templates, watch: Watch) -> None:
        self.templates = templates
        self._watch = watch
        self._of = References(templates, self._of_attribute).replaced
        self.template = templates.template(Stack.of(root))
        self.root = Node(root, "", Place(self.template))
        """What was said to the construct itself."""
        self.nodes = {"": self.root}
        self._open = [self.root]
        self.unseen: list[IConstruct] = []
        """What was said to decide data, and is defined elsewhere."""

    @property
    def place(self) -> str:
        """The path of what is being looked at."""
        return self._open[-1].construct.node.path

    @property
    def because(self) -> dict[str, dict[str, str]]:
        """What counts, by construct path and name: a short digest each, which what it names does not change."""
        paths = {f"${{{node.digest}}}": node.construct.node.path for node in self.nodes.values()}
        found: dict[str, dict[str, str]] = {}
        for node in self.nodes.values():
            counted = found.setdefault(node.construct.node.path, {})
            for name, value in node.content.items():
                named = FOLLOWED.sub(lambda match: paths.get(match[0], ""), canonical(value))
                counted[name] = sha256(named.encode()).hexdigest()[:8]
        return {path: dict(sorted(counted.items())) for path, counted in sorted(found.items()) if counted}

    @property
    def needed(self) -> list[Node]:
        """What has to be there before a run starts."""
        return [self.nodes[key] for key in sorted(self.closure(lambda node: node.needs)) if key]

    @property
    def values(self) -> dict[str, Any]:
        """What only the deploy knows: the references of this stack that are named in what has to be there.

        The resource that gets them makes no circle of dependencies, for it waits for what names them.
        """
        values = {name: value for node in (self.root, *self.needed) for name, value in node.values.items()}
        return dict(sorted(values.items()))

    def closure(self, of: Callable[[Node], set[str]], *, not_through: Container[str] = ()) -> set[str]:
        """The keys of what is reached from the root.

        Args:
            of: What a node leads to.
            not_through: Types of resources whose nodes lead nowhere.
        """
        reached, keys = {""}, [""]
        while keys:
            node = self.nodes[keys.pop()]
            new = (of(node) if node.kind not in not_through else set()) - reached
            reached |= new
            keys += new
        return reached

    def settings(self, name: str, value: object, *, is_handed_on: bool = False) -> None:
        """Takes a value, tokens allowed, as something that decides data, under that name in the root.

        Args:
            name: Its name.
            value: JSON-able.
            is_handed_on: Whether CloudFormation sees the values of its references anyway.
        """
        known = dict(self.root.values)
        resolved = self.template.stack.resolve(value)
        self.root.content[name] = self._of(resolved, self._place(lambda: value, self.template))
        if is_handed_on:
            self.root.values = known

    def construct(self, construct: IConstruct) -> list[str]:
        """The digests of all in that construct that decides data; none where this app does not see it."""
        if parts := deciding_parts(construct):
            return sorted({self._of_part(part) for part in parts})
        # An imported one has no parts, but its ARN may lead to a resource.
        arn = getattr(construct, "function_arn", None) or getattr(construct, "state_machine_arn", None)
        template = self.templates.template(Stack.of(construct))
        text = canonical(self._of(template.stack.resolve(arn), self._place(lambda: arn, template)))
        digests = {*self._names(text, template), *FOLLOWED.findall(text)}
        if not digests and not NEVER_CHANGES.search(text):
            self.unseen.append(construct)
        return sorted(digests)

    def _of_part(self, part: IConstruct) -> str:
        match part:
            case CfnResource():
                return self._of_resource(*self.templates.place_of(part))
            case Opaque():
                return self._of_opaque(part)
        assert isinstance(part, Asset | DockerImageAsset)  # noqa: S101  # nothing else decides
        node = Node(part, "asset", Place(self.template))
        return self._follow(part.node.path, node, lambda: {"asset": part.asset_hash})

    def _of_resource(self, template: Template, logical_id: str, *, needed: bool = True) -> str:
        element = template.elements[logical_id]
        within = ours(element)
        if within:
            return self._of_opaque(within)
        assert isinstance(element, CfnResource)  # noqa: S101  # only resources are followed
        # A protected member, as jsii spells it.
        place = self._place(lambda: element._cfn_properties, template)
        node = Node(owner(element), template.resource(logical_id)["Type"], place)

        def content() -> dict[str, Any]:
            properties = deciding_properties(node.kind, template.properties(logical_id))
            chosen = without_locations(node.kind, self._of(properties, node.place))
            if node.kind in FUNCTIONS:
                chosen = self._watch.kept(chosen)
            chosen = definition_in(chosen, node.construct)
            named = sorted({*self._names(canonical(chosen), template)})
            kept = {key: value for key, value in chosen.items() if value not in (None, [], {})}
            return kept | {"named": named} if named else kept

        return self._follow(f"{template.path}|{logical_id}", node, content, needed=needed)

    def _of_opaque(self, construct: IConstruct) -> str:
        assert isinstance(construct, Opaque)  # noqa: S101  # who calls knows
        told, constructs = construct._stands_for()
        template = self.templates.template(Stack.of(construct))
        node = Node(construct, "construct", self._place(lambda: told, template))

        def content() -> dict[str, Any]:
            settings = self._of(template.stack.resolve(told), node.place)
            watched = sorted({part for each in constructs for part in self.construct(each)})
            return {"settings": settings, "watched": watched}

        return self._follow(construct.node.path, node, content)

    def _follow(
        self, key: str, node: Node, content: Callable[[], dict[str, Any]], *, needed: bool = True
    ) -> str:
        """What stands for what was followed.

        Args:
            key: Which node it is.
            node: The node, without its content.
            content: Makes that, when the node is first asked for.
            needed: Whether what names it cannot do without it.
        """
        self._open[-1].reaches.add(key)
        if needed:
            self._open[-1].needs.add(key)
        if key not in self.nodes:
            self.nodes[key] = node
            self._open.append(node)
            node.content = content()
            node.digest = digest([node.kind, node.content])
            text = canonical(node.content)  # what was left out of it needs no value either
            node.values = {name: value for name, value in node.values.items() if name in text}
            self._open.pop()
        return f"${{{self.nodes[key].digest or _ITSELF}}}"

    def _place(self, given: Callable[[], object], template: Template) -> Place:
        """Where a value stands that was given to CDK in that form."""
        return Place(template, cache(lambda: known_to_cdk(given(), template.stack, self.templates)))

    def _of_attribute(self, template: Template, logical_id: str, attribute: str) -> str:
        resource = template.resource(logical_id)
        if resource.get("Type") in FOLLOWED_TYPES:
            return self._of_resource(template, logical_id)[2:-1]
        name = f"{logical_id}.{attribute}"
        if template is not self.template:
            return f"{template.identity}/{name}"
        parameter = template.section("Parameters").get(logical_id, {})
        if not (
            str(parameter.get("NoEcho", "")).lower() == "true"
            or _SECRET.search(attribute)
            or (logical_id in template.elements and ours(template.elements[logical_id]))
        ):
            token: dict[str, Any] = (
                {"Ref": logical_id} if attribute == "Ref" else {"Fn::GetAtt": [logical_id, attribute]}
            )
            if condition := resource.get("Condition"):  # where it does not hold there is no value
                token = {"Fn::If": [condition, token, {"Ref": "AWS::NoValue"}]}
            self._open[-1].values[name] = token
        return name

    def _names(self, text: str, template: Template) -> Iterator[str]:
        for there, logical_id in named_in(text, template, self.templates):
            # Nothing says that the one of another stack comes first: that stack may well need this one.
            yield self._of_resource(there, logical_id, needed=there is template)


def digest(value: object) -> str:
    """The SHA-256 of the value as canonical JSON."""
    return sha256(canonical(value).encode()).hexdigest()
