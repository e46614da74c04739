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

_FORMS = ("definition", "definitionString", "definitionS3Location", "definitionUri")
_ELSEWHERE = ("definitionS3Location", "definitionUri")
_SUBSTITUTIONS = "definitionSubstitutions"


def definition_in(properties: Mapping[str, Any], machine: IConstruct) -> dict[str, Any]:
    """The properties of a state machine with its definition under one name, and without what decides no data in it.

    Args:
        properties: With a text in the place of each reference; those of anything else stay as they are.
        machine: Whose they are.
    """
    forms = [form for form in _FORMS if properties.get(form)]
    if not forms:
        return dict(properties)
    definition = properties[forms[0]]
    if forms[0] in _ELSEWHERE:
        definition, location = _file(definition, machine), definition
    others = {key: value for key, value in properties.items() if key not in _FORMS}
    if definition is None:  # it cannot be read, so what is substituted in it counts by itself
        return others | {"definition": location}
    substitutions = others.pop(_SUBSTITUTIONS, None) or {}
    return others | {"definition": deciding(_substituted(definition, substitutions))}


def _substituted(definition: Any, substitutions: Mapping[str, Any]) -> Any:
    """The definition with the values of its placeholders, such as `${FunctionArn}`."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in substitutions.items()
    }
    if not texts:
        return definition
    placeholder = re.compile(r"\$\{(" + "|".join(map(re.escape, texts)) + r")\}")

    def of(value: Any) -> Any:
        match value:
            case str():
                return placeholder.sub(lambda match: texts[match[1]], value)
            case dict():
                return {key: of(item) for key, item in value.items()}
            case list():
                return [*map(of, value)]
        return value

    return of(definition)


def _file(location: object, machine: IConstruct) -> str | None:
    """The text of the file that has the definition, if it is an asset of the machine."""
    hashes = location.get("asset", ()) if isinstance(location, dict) else ()
    for asset in machine.node.find_all() if hashes else ():
        if isinstance(asset, Asset) and asset.asset_hash in hashes:
            path = path_of(asset)
            return path.read_text(encoding="utf-8") if path.is_file() else None
    return None
