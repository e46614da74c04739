"""What users leave out of the trigger, because it decides no data in their functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from pipeline_reprocessing.arguments import shown
from pipeline_reprocessing.trigger.references import canonical
from pipeline_reprocessing_handler.validation import Failure

_LAYER = re.compile(r":layer:([\w-]+)")


@dataclass(frozen=True)
class Watch:
    """What of the watched functions decides no data: a change of it reprocesses nothing.

    Args:
        ignored_environment: Names of environment variables, besides `IGNORED_ENVIRONMENT`; `*` stands for any letters.
            Default: none.
        ignored_layers: Names of layers (in an ARN what follows `:layer:`), besides `IGNORED_LAYERS`; `*` as above.
            Default: none.

    Raises:
        ValueError: An argument is no list of texts.

    Example:
        from pipeline_reprocessing import Watch

        watch = Watch(ignored_environment=["BUILD_*", "COMMIT"], ignored_layers=["company-tracing"])
    """

    IGNORED_ENVIRONMENT: ClassVar = (
        "DD_*",
        "LOG_LEVEL",
        "NEW_RELIC_*",
        "OTEL_*",
        "POWERTOOLS_*",
        "SENTRY_*",
    )
    """Variables that say how a function logs, traces and is labelled: they never count."""
    IGNORED_LAYERS: ClassVar = (
        "AWSOpenTelemetryDistro*",
        "Datadog-*",
        "LambdaInsightsExtension*",
        "NewRelic*",
        "Sentry*",
        "aws-otel-*",
    )
    """Layers that watch a function: they never count."""

    ignored_environment: Sequence[str] = ()
    ignored_layers: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("ignored_environment", "ignored_layers"):
            value = getattr(self, name)
            is_list = isinstance(value, Iterable) and not isinstance(value, str)
            if not is_list or not all(isinstance(item, str) for item in value):
                raise Failure(f"'{name}' must be a list of names, got {shown(value)}")

    def kept(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """The properties of a function, without references, less the variables and layers that are left out."""
        kept = dict(properties)
        match properties.get("environment"):
            case {"Variables": {**variables}}:
                ignored = (*self.IGNORED_ENVIRONMENT, *self.ignored_environment)
                kept["environment"] = {
                    name: value for name, value in variables.items() if not _is_one(str(name), ignored)
                }
        match properties.get("layers"):
            case [*layers]:
                kept["layers"] = [layer for layer in layers if self._counts(layer)]
        return kept

    def _counts(self, layer: object) -> bool:
        names = _LAYER.findall(canonical(layer))
        ignored = (*self.IGNORED_LAYERS, *self.ignored_layers)
        return not names or not all(_is_one(name, ignored) for name in names)


def _is_one(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
