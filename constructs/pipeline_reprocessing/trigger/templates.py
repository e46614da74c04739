"""The templates of an app as CDK writes them: the one form in which the trigger looks at resources.

Escape hatches, Aspects, raw templates and late values show nowhere else. Each stack is rendered once in a synth, when CDK
asks for dependencies: everything is defined then, and Aspects have run. What refers to another stack may still be a plain
`Ref` at that time (CDK has not made an export of it yet), which `references` knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsii
from aws_cdk import (
    CfnElement,
    CfnResource,
    ISynthesisSession,
    LegacyStackSynthesizer,
    NestedStack,
    Stack,
    Stage,
    Token,
)
from aws_cdk.aws_s3_assets import Asset
from aws_cdk.cx_api import CloudAssemblyBuilder
from constructs import IConstruct

NAMES = {
    "AWS::Batch::JobDefinition": ("JobDefinitionName", "JobDefinition"),
    "AWS::CodeBuild::Project": ("Name", "ProjectName"),
    "AWS::ECS::TaskDefinition": ("Family", "TaskDefinition"),  # CDK's EcsRunTask always writes the family
    "AWS::Glue::Job": ("Name", "JobName"),
    "AWS::Lambda::Function": ("FunctionName", "FunctionName", "LambdaName", "lambdaName"),
    "AWS::Serverless::Function": ("FunctionName", "FunctionName", "LambdaName", "lambdaName"),
    "AWS::Serverless::StateMachine": ("Name",),
    "AWS::StepFunctions::StateMachine": ("StateMachineName",),
}
"""By type: the property with a resource's own name, and the keys under which others name it."""
Section = Mapping[str, Mapping[str, Any]]
Document = Mapping[str, Section]
_HERE = "_pipeline_reprocessing_templates"


class Template:
    """One stack's template, and the constructs that its logical ids stand for.

    Args:
        stack: Which stack.
        document: What CDK writes for it.
        elements: The constructs by logical id.
    """

    def __init__(self, stack: Stack, document: Document, elements: Mapping[str, CfnElement]) -> None:
        self.stack = stack
        self.path = stack.node.path
        self.region, self.account = (
            None if Token.is_unresolved(place) else place for place in (stack.region, stack.account)
        )
        self._document = document
        self.elements = elements

    def section(self, name: str) -> Section:
        """`Resources`, `Parameters` and so on; empty if there is none."""
        return self._document.get(name, {})

    def resource(self, logical_id: str) -> Mapping[str, Any]:
        """A resource as the template has it; empty if it has none of that id."""
        return self.section("Resources").get(logical_id, {})

    def properties(self, logical_id: str) -> Mapping[str, Any]:
        """A resource's properties, with those that SAM's `Globals` give to every function."""
        resource = self.resource(logical_id)
        own: Mapping[str, Any] = resource.get("Properties", {})
        shared = self.section("Globals").get("Function", {})
        if resource.get("Type") != "AWS::Serverless::Function" or not shared:
            return own
        together = {**shared, **own}
        match shared.get("Environment"), own.get("Environment"):
            case {"Variables": {**of_all}}, {"Variables": {**of_one}}:
                together["Environment"] = {"Variables": of_all | of_one}
        return together

    def __contains__(self, logical_id: str) -> bool:
        return logical_id in self.section("Resources") or logical_id in self.section("Parameters")

    @cached_property
    def identity(self) -> str:
        """What tells the stack from others: its name, and for a nested one the logical ids that lead to it."""
        names, stack = list[str](), self.stack
        while (resource := stack.nested_stack_resource) and (parent := stack.nested_stack_parent):
            names.insert(0, str(parent.resolve(resource.logical_id)))
            stack = parent
        return "/".join([stack.stack_name, *names])


class Templates:
    """The templates of a stage (an app is one): what one deployment of the app consists of."""

    def __init__(self, stage: IConstruct) -> None:
        self._stage = stage
        self._kept: dict[str, Template] = {}
        self.synth = 0
        """Counts the syntheses."""
        self.triggers: dict[str, Any] = {}
        """The triggers of the stage, by what stands for them while they are not made."""
        self.left_behind: dict[str, str | None] = {}
        """The path of a file that an asset should not have, by the asset's path."""
        self.is_rendering = False
        """Whether a stack is being rendered: what is made from templates is not there yet."""
        self._settled: Templates | None = None
        self._is_settled = False

    @classmethod
    def of(cls, scope: IConstruct) -> Templates:
        """Those of the stage in which the construct is."""
        stage = Stage.of(scope) or scope.node.root
        # Kept on the stage itself, which lives as long as any of its constructs holds this.
        templates = getattr(stage, _HERE, None) or cls(stage)
        setattr(stage, _HERE, templates)
        return templates

    @classmethod
    def settled(cls, scope: IConstruct) -> Templates:
        """The same with all references between stacks as they are deployed, for checks of the complete app."""
        templates = cls.of(scope)
        if not (templates._settled and templates.triggers):
            templates._settled = cls(templates._stage)
            templates._settled.triggers = templates.triggers
            templates._settled._is_settled = True
        return templates._settled

    def forget(self) -> None:
        """Lets all stacks be rendered again, as another synth begins."""
        self.synth += 1
        self._settled = None
        self._kept.clear()
        self.left_behind.clear()
        for made in ("all", "by_name", "stacks"):
            self.__dict__.pop(made, None)

    def template(self, stack: Stack) -> Template:
        """The template of a stack."""
        if not self.triggers and not self._is_settled:  # triggers tell when a synth begins
            self.forget()
        path = stack.node.path
        if path not in self._kept:
            with self._rendering():
                self._kept[path] = Template(stack, _rendered(stack), _elements(stack))
        return self._kept[path]

    def id_of(self, element: CfnElement) -> str:
        """The element's logical id, as the templates here have it."""
        with self._rendering():
            return str(element.stack.resolve(element.logical_id))

    @contextmanager
    def _rendering(self) -> Iterator[None]:
        before, self.is_rendering = self.is_rendering, True
        try:
            yield
        finally:
            self.is_rendering = before

    def place_of(self, resource: CfnResource) -> tuple[Template, str]:
        """The template in which the resource stands, and its logical id there."""
        return self.template(resource.stack), self.id_of(resource)

    @cached_property
    def all(self) -> list[Template]:
        """The templates of all stacks of the stage."""
        return [self.template(stack) for stack in self.stacks]

    @cached_property
    def stacks(self) -> list[Stack]:
        """The stacks of the stage."""
        path = self._stage.node.path
        found = [part for part in self._stage.node.find_all() if isinstance(part, Stack)]
        return [stack for stack in found if (Stage.of(stack) or stack.node.root).node.path == path]

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], list[tuple[Template, str]]]:
        """Template and logical id of what has a name of its own, by type and name."""
        named: dict[tuple[str, str], list[tuple[Template, str]]] = {}
        for template in self.all:
            for logical_id, resource in template.section("Resources").items():
                own, *_ = NAMES.get(resource["Type"], ("",))
                name = resource.get("Properties", {}).get(own)
                if isinstance(name, str):
                    named.setdefault((resource["Type"], name), []).append((template, logical_id))
        return named


def path_of(asset: Asset) -> Path:
    """Where the files of an asset are, as they will be published."""
    stage = Stage.of(asset)
    return Path(stage.asset_outdir if stage else "", asset.asset_path)


def _rendered(stack: Stack) -> Document:
    synthesizer = LegacyStackSynthesizer()
    synthesizer.bind(stack)
    with TemporaryDirectory() as folder:
        # A protected member, as jsii spells it.
        synthesizer._synthesize_template(_Session(folder))  # type: ignore[arg-type]  # it has what is used
        text = Path(folder, stack.template_file).read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]  # CDK writes an object


def _elements(stack: Stack) -> Mapping[str, CfnElement]:
    parts = stack.node.find_all()
    elements = [part for part in parts if isinstance(part, CfnElement)]
    if any(isinstance(part, NestedStack) for part in parts):
        path = stack.node.path
        elements = [element for element in elements if element.stack.node.path == path]
    ids = stack.resolve([element.logical_id for element in elements])  # one call for all is much faster
    return dict(zip(ids, elements, strict=True))


@jsii.implements(ISynthesisSession)
class _Session:
    """Takes the template: a stack writes it to the session's assembly, and looks at nothing else of it."""

    def __init__(self, folder: str) -> None:
        self._assembly = CloudAssemblyBuilder(folder)

    @property
    def assembly(self) -> CloudAssemblyBuilder:
        return self._assembly
