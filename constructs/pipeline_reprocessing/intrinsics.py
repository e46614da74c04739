"""References that were written by hand: `Fn.ref`, raw templates, escape hatches, and names in `Fn::Sub`.

CDK does not know them as references, so they are found in what it resolves to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any

NAME = re.compile(r"\$\{([^!{}][^{}]*)\}")
"""A name in `Fn::Sub`, or what stands for a reference in the same form; `${!this}` is none."""

Attribute = Callable[[str, str], str | None]
"""What stands for an attribute (or `Ref`) of what has that logical id; None if nothing has it."""

Entry = Callable[[str, str], object]
"""What stands in a section of the template under a name."""


def without_intrinsics(value: Any, attribute: Attribute, entry: Entry) -> Any:
    """The value with what stands for the logical ids in it.

    Args:
        value: As it stands in a template.
        attribute: Tells of elements.
        entry: Tells of mappings and conditions.
    """

    def of(value: Any) -> Any:
        return without_intrinsics(value, attribute, entry)

    match value:
        case {"Ref": str(name)} if len(value) == 1:
            return attribute(name, "Ref") or value
        case {"Fn::GetAtt": str(name)} if len(value) == 1:
            return of({"Fn::GetAtt": name.split(".", 1)})
        case {"Fn::GetAtt": [str(name), str(of_name)]} if len(value) == 1:
            return attribute(name, of_name) or value
        case {"Fn::Sub": str(text)} if len(value) == 1:
            return {"Fn::Sub": _text(text, (), attribute)}
        case {"Fn::Sub": [str(text), {**variables}]} if len(value) == 1:
            return {"Fn::Sub": [_text(text, variables, attribute), of(variables)]}
        case {"Fn::FindInMap": [str(name), *keys]} if len(value) == 1:
            return {"Fn::FindInMap": [entry("Mappings", name), *map(of, keys)]}
        case {"Fn::If": [str(name), *values]} if len(value) == 1:
            return {"Fn::If": [of(entry("Conditions", name)), *map(of, values)]}
        case {"Condition": str(name)} if len(value) == 1:
            return {"Condition": of(entry("Conditions", name))}
        case dict():
            return {key: of(item) for key, item in value.items()}
        case list():
            return [*map(of, value)]
    return value


def _text(text: str, variables: Container[object], attribute: Attribute) -> str:
    def of(match: re.Match[str]) -> str:
        name, _, of_name = match[1].partition(".")
        known = None if match[1] in variables else attribute(name, of_name or "Ref")
        return known or match[0]

    return NAME.sub(of, text)
