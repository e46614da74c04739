"""References in templates: which element each one leads to, in whatever stack of the app that is.

CDK turns a reference to another stack into an export, a nested stack's parameter or output, or a value that crosses
regions, but only after it has asked for dependencies. Before, it is a `Ref` or `Fn::GetAtt` to an id of the other stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aws_cdk import (
    CfnElement,
    CfnResource,
    DefaultTokenResolver,
    IPostProcessor,
    IResolvable,
    IResolveContext,
    Reference,
    Stack,
    StringConcat,
    Tokenization,
)

from pipeline_reprocessing.trigger.templates import Template, Templates

FOLLOWED = re.compile(r"\$\{[0-9a-f]{64}\}")
"""What stands for what was followed."""
_NAME = re.compile(r"\$\{([^!{}][^{}]*)\}")
"""A name in `Fn::Sub`; `${!this}` is none."""
_UNMADE = re.compile("0{24}[0-9a-f]{40}")
_FOR_NESTED = "referenceto"
"""How CDK begins the names of the parameters by which a nested stack gets what it refers to."""


@dataclass(frozen=True)
class Place:
    """Where a value stands."""

    template: Template
    known: Callable[[], Mapping[str, list[Template]]] = field(default=dict)
    """The templates in which are the elements that CDK knows the value to refer to, by logical id."""


@dataclass(frozen=True)
class References:
    """Replaces the references in a value.

    Args:
        templates: Those of the stage.
        name: Gives, within `${...}`, what stands for an attribute (or `Ref`) of the element with an id in a template.
    """

    templates: Templates
    name: Callable[[Template, str, str], str]

    def replaced(self, value: Any, place: Place) -> Any:  # noqa: PLR0912  # one case for each intrinsic function
        """The value with a text in the place of each reference, and one text where parts of it are joined.

        Mappings and conditions stand for what is in them. The stack's own region and account, where they are known,
        stand for themselves: what they are called in a template does not matter.
        """

        def of(value: Any) -> Any:
            return self.replaced(value, place)

        template = place.template
        match value:
            case str():
                return self._plain(value, template)
            case dict() if len(value) != 1:  # so it is no intrinsic function
                return {key: of(item) for key, item in value.items()}
            case {"Ref": str(name)}:
                return self._attribute(name, "Ref", place) or value
            case {"Fn::GetAtt": str(name)}:
                return of({"Fn::GetAtt": name.split(".", 1)})
            case {"Fn::GetAtt": [str(name), str(attribute)]}:
                return self._attribute(name, attribute, place) or value
            case {"Fn::Sub": str(text)}:
                return self._text(text, {}, place)
            case {"Fn::Sub": [str(text), {**variables}]}:
                return self._text(text, of(variables), place)
            case {"Fn::Join": [str(separator), [*items]]}:
                return separator.join(_text_of(of(item)) for item in items)
            case {"Fn::ImportValue": name}:
                export = of(name)
                found = self._output(lambda there, _, output: self._exported(output, there) == export)
                return {"Fn::ImportValue": export} if found is None else self.replaced(*found)
            case {"Fn::GetStackOutput": {"StackName": str(stack), "OutputName": str(name)}}:
                found = self._output(lambda there, key, _: key == name and there.stack.stack_name == stack)
                return value if found is None else self.replaced(*found)
            case {"Fn::FindInMap": [str(name), *keys]}:
                return {"Fn::FindInMap": [of(template.section("Mappings").get(name, name)), *map(of, keys)]}
            case {"Fn::If": [str(name), *values]}:
                return {"Fn::If": [of(template.section("Conditions").get(name, name)), *map(of, values)]}
            case {"Condition": str(name)}:
                return {"Condition": of(template.section("Conditions").get(name, name))}
            case {}:
                return {key: of(item) for key, item in value.items()}
            case list():
                return [*map(of, value)]
        return value

    def _attribute(self, logical_id: str, attribute: str, place: Place) -> Any:
        """What stands for an attribute; None where nothing has the id."""
        if "::" in logical_id:
            return f"${{{logical_id}}}"
        found = place.known().get(logical_id, []) if len(self.templates.stacks) > 1 else []
        if not found and logical_id in place.template:
            found = [place.template]
        if not found:
            # CDK tells the references in an escape hatch to no one.
            found = [there for there in self.templates.all if logical_id in there]
        if not found:
            return None
        # Several stacks may have the id, and the value refer to each of them.
        values = [self._in(template, logical_id, attribute) for template in found]
        return values[0] if len(values) == 1 else "".join(map(_text_of, values))

    def _in(self, template: Template, logical_id: str, attribute: str) -> Any:
        handed_on = self._handed_on(template, logical_id, attribute)
        if handed_on is None:
            return f"${{{self.name(template, logical_id, attribute)}}}"
        value = self.replaced(*handed_on)
        if attribute != "Ref" or logical_id.startswith(_FOR_NESTED):
            return value
        # A parameter that people gave to a nested stack is seen there at the deploy, too.
        return f"{_text_of(value)}${{{self.name(template, logical_id, attribute)}}}"

    def _handed_on(self, template: Template, logical_id: str, attribute: str) -> tuple[Any, Place] | None:
        """The value that another stack gives by way of that element, and where it stands."""
        resource = template.resource(logical_id)
        if attribute == "Ref" and logical_id in template.section("Parameters"):
            nested = template.stack.nested_stack_resource
            if isinstance(nested, CfnResource):
                there, made_by = self.templates.place_of(nested)
                given = there.properties(made_by).get("Parameters", {})
                return (given[logical_id], Place(there)) if logical_id in given else None
        if resource.get("Type") == "AWS::CloudFormation::Stack" and attribute.startswith("Outputs."):
            path, name = template.elements[logical_id].node.path, attribute.removeprefix("Outputs.")
            return self._output(lambda there, key, _: key == name and _made_by(there) == path)
        if resource.get("Type") == "Custom::CrossRegionExportReader":
            for there in self.templates.all:
                for writer in there.section("Resources").values():
                    exports = writer.get("Properties", {}).get("WriterProps", {}).get("exports", {})
                    if writer["Type"] == "Custom::CrossRegionExportWriter" and attribute in exports:
                        return exports[attribute], Place(there)
        return None

    def _output(self, is_it: Callable[[Template, str, Mapping[str, Any]], bool]) -> tuple[Any, Place] | None:
        for template in self.templates.all:
            for name, output in template.section("Outputs").items():
                if is_it(template, name, output):
                    return output["Value"], Place(template)
        return None

    def _exported(self, output: Mapping[str, Any], template: Template) -> Any:
        return self.replaced(output.get("Export", {}).get("Name"), Place(template))

    def _text(self, text: str, variables: Mapping[str, Any], place: Place) -> str:
        def of(match: re.Match[str]) -> str:
            if match[1] in variables:
                return _text_of(variables[match[1]])
            name, _, attribute = match[1].partition(".")
            known = self._attribute(name, attribute or "Ref", place)
            return match[0] if known is None else _text_of(known)

        return _NAME.sub(of, self._plain(text, place.template))

    def _plain(self, text: str, template: Template) -> str:
        """The text with the names of the stack's own region and account, and with the triggers of others in it."""
        for value, name in ((template.region, "${AWS::Region}"), (template.account, "${AWS::AccountId}")):
            if value and value in text:
                pattern = rf"(?<![0-9A-Za-z]){re.escape(value)}(?![0-9A-Za-z])"
                text = re.sub(pattern, name, text)
        return _UNMADE.sub(self._of_others, text)

    def _of_others(self, unmade: re.Match[str]) -> str:
        trigger = self.templates.triggers.get(unmade[0])
        return trigger.for_others() if trigger else unmade[0]


def _made_by(template: Template) -> str | None:
    """The path of the resource that makes a nested stack."""
    resource = template.stack.nested_stack_resource
    return resource.node.path if resource else None


def known_to_cdk(value: object, stack: Stack, templates: Templates) -> Mapping[str, list[Template]]:
    """What the value, as it was given to CDK, refers to: the templates by logical id."""
    finder = _Finder()
    Tokenization.resolve(value, scope=stack, resolver=finder, preparing=False)
    found: dict[str, list[Template]] = {}
    for target in finder.targets:
        template = templates.template(target.stack)
        known = found.setdefault(str(target.stack.resolve(target.logical_id)), [])
        if template not in known:
            known.append(template)
    return found


class _Finder(DefaultTokenResolver):
    """Resolves tokens as CDK does, and notes what each reference means."""

    def __init__(self) -> None:
        super().__init__(StringConcat())
        self.targets: list[CfnElement] = []

    def resolve_token(
        self, token: IResolvable, context: IResolveContext, post_processor: IPostProcessor
    ) -> Any:
        if not isinstance(token, Reference):
            return super().resolve_token(token, context, post_processor)
        if isinstance(token.target, CfnElement):
            self.targets.append(token.target)
        return ""


def _text_of(part: Any) -> str:
    """The part of a text; in the form of a reference where only the deploy knows it."""
    if isinstance(part, str):
        return part
    plain = canonical(part)
    unknown = re.sub('[{}"$]', "", FOLLOWED.sub("", plain))
    return f"${{{unknown}}}" + "".join(FOLLOWED.findall(plain))


def canonical(value: object) -> str:
    """The value as canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
