"""What a state machine's definition makes of data, in whichever of its forms the template has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aws_cdk.aws_s3_assets import Asset
from constructs import IConstruct

from pipeline_reprocessing.trigger.definitions import deciding
from pipeline_reprocessing.trigger.templates import path_of

SUBSTITUTIONS = "definitionSubstitutions"
_ELSEWHERE = ("definitionS3Location", "definitionUri")
FORMS = ("definition", "definitionString", *_ELSEWHERE)
"""The properties that a definition may be in."""


def definition_in(properties: Mapping[str, Any], machine: IConstruct) -> dict[str, Any]:
    """The properties of a state machine with its definition under one name, and without what decides no data in it.

    Args:
        properties: With a text in the place of each reference; those of anything else stay as they are.
        machine: Whose they are.
    """
    form = next((form for form in FORMS if properties.get(form)), None)
    if form is None:
        return dict(properties)
    others = {key: value for key, value in properties.items() if key not in FORMS}
    given = properties[form]
    definition = _file(given, machine) if form in _ELSEWHERE else given
    if definition is None:  # it cannot be read, so what is substituted in it counts by itself
        return others | {"definition": given}
    return others | {"definition": deciding(_substituted(definition, others.pop(SUBSTITUTIONS, None) or {}))}


def _substituted(definition: Any, substitutions: Mapping[str, Any]) -> Any:
    """The definition with the values of its placeholders, such as `${FunctionArn}`."""
    if not substitutions:
        return definition
    is_text = isinstance(definition, str)

    def of(match: re.Match[str]) -> str:
        value = substitutions[match[1]]
        text = value if isinstance(value, str) else json.dumps(value)
        return text if is_text else json.dumps(text)[1:-1]

    placeholder = re.compile(r"\$\{(" + "|".join(map(re.escape, substitutions)) + r")\}")
    return placeholder.sub(of, definition if is_text else json.dumps(definition))


def _file(location: object, machine: IConstruct) -> str | None:
    """The text of the file that has the definition, if it is an asset of the machine."""
    hashes = location.get("asset", ()) if isinstance(location, dict) else ()
    assets = (part for part in machine.node.find_all() if isinstance(part, Asset))
    paths = (path_of(asset) for asset in assets if asset.asset_hash in hashes)
    return next((path.read_text(encoding="utf-8") for path in paths if path.is_file()), None)
