"""Assertions about what a deploy replays, for the tests of your own stacks.

They compare two templates by the rules by which the custom resource decides: a deploy replays if the resource is new, or
if its `Trigger`, `Pipeline` (except for the endpoint), `Messages`, or one of the `Values` that both templates have differs.
A resource that is removed replays nothing.

References are compared as the templates write them. So two templates do not show what only the deploy knows: the value of
a parameter, another name or ARN behind the same reference, and a condition.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk.assertions import Template

from pipeline_reprocessing.arguments import shown
from pipeline_reprocessing_handler.validation import Failure

__all__ = ["AnyTemplate", "assert_replays", "assert_replays_nothing", "watched"]

AnyTemplate = Template | Mapping[str, Any] | str | Path
"""A `Template`, a template as a dict, or the path of one in `cdk.out`; `{}` is a stack that is not deployed yet."""


def assert_replays(
    before: AnyTemplate, after: AnyTemplate, *, because: str | None = None, construct: str | None = None
) -> None:
    """Passes if a deploy from one template to the other replays.

    Args:
        before: The template that is deployed.
        after: The template to deploy.
        because: The construct path of a watched thing that must have changed, or the end of that path: `ToCelsius` for
            `Telemetry/ToCelsius`. Selection, pipeline and `version` belong to the `PipelineReprocessing` itself. If
            that is new, it replays for no other reason. Default: any reason counts.
        construct: The `PipelineReprocessing` that must replay, by its construct path, the end of this, or its logical id.
            Default: any one counts.

    Raises:
        AssertionError: Nothing replays, or not for that reason; the text names what changed, or else what is watched.
        ValueError: An argument is not a template, or there is no such `PipelineReprocessing`.
    """
    old, new = _chosen(construct, before=before, after=after)
    replays = list(_replays(old, new))
    if not replays:
        raise AssertionError("\n".join(["a deploy replays nothing; it watches:", *map(str, new.values())]))
    if because is not None and not any(
        _is_named(path, because) for changed, _ in replays for path in changed
    ):
        texts = [text for _, text in replays]
        raise AssertionError("\n".join([f"a deploy replays, but not because of '{because}':", *texts]))


def assert_replays_nothing(before: AnyTemplate, after: AnyTemplate, *, construct: str | None = None) -> None:
    """Passes if a deploy from one template to the other replays nothing.

    Args:
        before: The template that is deployed.
        after: The template to deploy.
        construct: The `PipelineReprocessing` that must not replay, as for `assert_replays`. Default: none may.

    Raises:
        AssertionError: It replays; the text names each construct that does, and what changed.
        ValueError: An argument is not a template, or there is no such `PipelineReprocessing`.
    """
    if texts := [text for _, text in _replays(*_chosen(construct, before=before, after=after))]:
        raise AssertionError("\n".join(["a deploy replays:", *texts]))


def watched(template: AnyTemplate, *, construct: str | None = None) -> dict[str, list[str]]:
    """What is watched: the construct path of each thing, and which parts of it count.

    Args:
        template: The template. Without the property `Because`, as older versions make it, it does not name anything.
        construct: Whose things, as for `assert_replays`. Default: those of all.

    Raises:
        ValueError: The argument is not a template, or there is no such `PipelineReprocessing`.
    """
    [resources] = _chosen(construct, template=template)
    things: dict[str, set[str]] = {}
    for resource in resources.values():
        for path, parts in resource.because.items():
            things.setdefault(path, set()).update(parts)
    return {path: sorted(parts) for path, parts in sorted(things.items())}


@dataclass(frozen=True)
class _Resource:
    """The custom resource of one `PipelineReprocessing` in one template."""

    logical_id: str
    properties: Mapping[str, Any]
    cdk_path: str
    """Empty without path metadata."""

    @property
    def because(self) -> Mapping[str, Mapping[str, str]]:
        return self.properties.get("Because") or {}

    @property
    def path(self) -> str:
        """The construct's."""
        own = [path for path, parts in self.because.items() if "messages" in parts]
        return own[0] if len(own) == 1 else self.cdk_path.removesuffix("/Resource/Default") or self.logical_id

    def compared(self, name: str) -> object:
        value = self.properties.get(name)
        return {**value, "EndpointUrl": None} if name == "Pipeline" and isinstance(value, Mapping) else value

    def __str__(self) -> str:
        return _listed(self.path, self.because, "the template has no 'Because' that names it")


def _replays(
    old: Mapping[str, _Resource], new: Mapping[str, _Resource]
) -> Iterator[tuple[Iterable[str], str]]:
    """For each construct that replays, the paths of what changed, and a text that tells why."""
    for logical_id, after in new.items():
        if not (before := old.get(logical_id)):
            yield (), _listed(after.path, {}, "it is new")
            continue
        triggered = before.compared("Trigger") != after.compared("Trigger")
        changed = dict(_differing(before.because, after.because)) if triggered else {}
        if own := set(_own_changes(before, after)):
            changed[after.path] = changed.get(after.path, set()) | own
        if triggered or changed:
            mute = [name for name, side in (("before", before), ("after", after)) if not side.because]
            why = f"'{mute[0]}' has no 'Because' that tells why" if mute else "no watched thing tells why"
            yield changed, _listed(after.path, changed, f"the trigger changed, and {why}")


def _differing(
    before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, set[str]]]:
    for path in before.keys() | after.keys() if before and after else ():
        if path not in before or path not in after:
            yield path, {"newly watched" if path in after else "no longer watched"}
        elif parts := {part for part, _ in before[path].items() ^ after[path].items()}:
            yield path, parts


def _own_changes(before: _Resource, after: _Resource) -> Iterator[str]:
    """What counts besides the trigger. Of `Values` the handler compares those that it had before."""
    yield from (
        name.lower() for name in ("Pipeline", "Messages") if before.compared(name) != after.compared(name)
    )
    old, new = (side.properties.get("Values") or {} for side in (before, after))
    yield from (f"Values.{name}" for name in old.keys() & new.keys() if old[name] != new[name])


def _listed(path: str, things: Mapping[str, Iterable[str]], otherwise: str) -> str:
    lines = [f"{name}: {', '.join(sorted(parts))}" for name, parts in sorted(things.items())]
    return "\n    ".join([f"  {path}", *(lines or [otherwise])])


def _is_named(path: str, name: str) -> bool:
    return f"/{path}".endswith(f"/{name}")


def _chosen(construct: str | None, **templates: AnyTemplate) -> list[dict[str, _Resource]]:
    """The custom resources of each template, by logical id: those of the construct, or all."""
    found = [_resources(argument, template) for argument, template in templates.items()]
    everything = [resource for resources in found for resource in resources.values()]
    names = {
        of.logical_id
        for of in everything
        if construct in (None, of.logical_id) or _is_named(of.path, str(construct))
    }
    if not names:
        there = ", ".join(sorted({f"'{of.path}'" for of in everything})) or "none"
        given = "" if construct is None else f" named {shown(construct)}"
        raise Failure(f"the templates must have a PipelineReprocessing{given}; there is {there}")
    return [{name: of for name, of in resources.items() if name in names} for resources in found]


def _resources(argument: str, template: AnyTemplate) -> dict[str, _Resource]:
    document: object = template
    if isinstance(template, str | Path):
        document = json.loads(Path(template).read_text(encoding="utf-8"))
    elif isinstance(template, Template):
        document = template.to_json()
    if not isinstance(document, Mapping) or (document and "Resources" not in document):
        given = shown(str(template)) if isinstance(template, str | Path) else type(template).__name__
        raise Failure(
            f"'{argument}' must be a Template, a dict with 'Resources' or the path of such a file, got {given}; use {{}} "
            "for a stack that is not deployed yet"
        )
    return {
        name: _Resource(
            name, resource.get("Properties", {}), resource.get("Metadata", {}).get("aws:cdk:path", "")
        )
        for name, resource in document.get("Resources", {}).items()
        if resource["Type"] == "Custom::PipelineReprocessing"
    }
