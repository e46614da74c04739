"""The resources of an app as its templates have them, with the same text for the same thing in each stack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import CfnResource, Reference, Stack, Tokenization
from constructs import IConstruct

from pipeline_reprocessing.trigger.references import Place, References, canonical
from pipeline_reprocessing.trigger.relevant import owner
from pipeline_reprocessing.trigger.templates import Template, Templates

_REFERENCE = re.compile(r"\$\{([^{}]*)\.[^./{}]*\}")


@dataclass(frozen=True)
class Resource:
    """A resource with a text in the place of each reference, such as `${Telemetry/Uploads.Arn}`."""

    kind: str
    path: str
    """Of the construct whose main part it is."""
    properties: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A property as text."""
        return _text(self.properties.get(name))

    def names(self, own: str) -> set[str]:
        """What others may call it: by reference, or by its own name, which is in that property."""
        return {
            f"${{{self.path}.Ref}}",
            f"${{{self.path}.Arn}}",
            *([self.text(own)] if own in self.properties else []),
        }


class AppResources:
    """Reads the templates of the stage in which the construct is."""

    def __init__(self, scope: IConstruct) -> None:
        self._templates = Templates.settled(scope)
        self._references = References(
            self._templates, lambda template, name, attribute: f"{_path(template, name)}.{attribute}"
        )

    def of(self, *kinds: str) -> Iterator[Resource]:
        """Those of these types, in all stacks."""
        for template in self._templates.all:
            for logical_id, resource in template.section("Resources").items():
                if resource["Type"] in kinds:
                    yield self._read(template, logical_id)

    def defined(self, element: CfnResource) -> Resource:
        """That one."""
        return self._read(*self._templates.place_of(element))

    def text(self, value: str, stack: Stack) -> str:
        """What stands for a name or ARN that a construct in that stack gives."""
        if reference := reference_in(value):
            target = reference.target
            assert isinstance(target, CfnResource)  # noqa: S101  # `reference_in` gives no others
            template, logical_id = self._templates.place_of(target)
            return f"${{{_path(template, logical_id)}.{reference.display_name}}}"
        return _text(self._references.replaced(stack.resolve(value), Place(self._templates.template(stack))))

    def _read(self, template: Template, logical_id: str) -> Resource:
        properties = self._references.replaced(template.properties(logical_id), Place(template))
        kind = template.resource(logical_id)["Type"]
        return Resource(kind, _path(template, logical_id), properties)


def reference_in(value: str) -> Reference | None:
    """The reference that the text is; None if it is anything else."""
    fragments = Tokenization.reverse_string(value)
    token = fragments.first_token if fragments.length == 1 else None
    return token if isinstance(token, Reference) and isinstance(token.target, CfnResource) else None


def path_in(text: str) -> str | None:
    """The construct to which a text refers, with nothing before and after it."""
    found = _REFERENCE.fullmatch(text)
    return found and found[1]


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list of a template, or the one that stands there without a list."""
    return [each for each in listed(value) if isinstance(each, Mapping)]


def listed(value: Any) -> list[Any]:
    """A list, also where a template has one value, or none, in its place."""
    return value if isinstance(value, list) else [] if value is None else [value]


def at(value: object, *names: str) -> Any:
    """What is under the names, one within the other; None where there is nothing."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else canonical(value)


def _path(template: Template, logical_id: str) -> str:
    element = template.elements.get(logical_id)
    if element is None:  # of a template that is included as it is
        return f"{template.path}/{logical_id}"
    return owner(element).node.path if isinstance(element, CfnResource) else element.node.path
