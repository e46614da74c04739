"""What CDK's escape hatches (`add_property_override` and the like) do to a resource.

CDK keeps them to itself until it writes the template, so the template is what tells them: the stack is rendered once
more, into a folder of its own, and compared with the properties that CDK shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsii
from aws_cdk import CfnResource, ISynthesisSession, LegacyStackSynthesizer, Stack
from aws_cdk.cx_api import CloudAssemblyBuilder


class Rendered:
    """The stacks as their templates show them, each rendered when first asked for.

    Only once CDK has settled the references between stacks, that is while it writes templates itself.
    """

    in_progress = False
    """Whether a stack is being rendered here: a trigger in it must not ask for the same again."""

    def __init__(self) -> None:
        self._templates: dict[str, Mapping[str, Any]] = {}

    def entry(self, section: str, stack: Stack, name: str) -> Any:
        """What stands under that name in a section of the stack's template; the name itself if there is nothing."""
        return self._of(stack).get(section, {}).get(name, name)

    def overrides(self, resource: CfnResource) -> dict[str, Any]:
        """The properties that an escape hatch set, as the template shows them; what it deleted is None."""
        rendered = self.properties(resource)
        # Protected members, as jsii spells them.
        shown = resource._render_properties(resource.stack.resolve(resource._cfn_properties))
        plain = _without_empty(shown) or {}
        return {
            key: rendered.get(key)
            for key in sorted(rendered.keys() | plain.keys())
            if _without_empty(rendered.get(key)) != plain.get(key)
        }

    def properties(self, resource: CfnResource) -> Mapping[str, Any]:
        """The resource's properties in the template, escape hatches included."""
        stack = resource.stack
        rendered = self._of(stack).get("Resources", {}).get(stack.resolve(resource.logical_id), {})
        properties: Mapping[str, Any] = rendered.get("Properties", {})
        return properties

    def _of(self, stack: Stack) -> Mapping[str, Any]:
        path = stack.node.path
        if path not in self._templates:
            self._templates[path] = _template(stack)
        return self._templates[path]


@jsii.implements(ISynthesisSession)
class _Session:
    """Takes the template in place of the cloud assembly."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._assembly = CloudAssemblyBuilder(folder)

    @property
    def assembly(self) -> CloudAssemblyBuilder:
        return self._assembly

    @property
    def outdir(self) -> str:
        return self._folder

    @property
    def validate_on_synth(self) -> bool:
        return False


def _template(stack: Stack) -> Mapping[str, Any]:
    synthesizer = LegacyStackSynthesizer()
    synthesizer.bind(stack)
    Rendered.in_progress = True
    try:
        with TemporaryDirectory() as folder:
            synthesizer._synthesize_template(_Session(folder))  # type: ignore[arg-type]  # jsii's protocols want settable attributes
            template: Mapping[str, Any] = json.loads(
                Path(folder, stack.template_file).read_text(encoding="utf-8")
            )
    finally:
        Rendered.in_progress = False
    return template


def _without_empty(value: Any) -> Any:
    """The value as CDK would write it: without what is empty."""
    if isinstance(value, dict):
        return {
            key: kept for key, item in value.items() if (kept := _without_empty(item)) is not None
        } or None
    if isinstance(value, list):
        return [kept for item in value if (kept := _without_empty(item)) is not None] or None
    return value
