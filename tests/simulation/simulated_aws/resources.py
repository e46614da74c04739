"""What a template of the simulated CloudFormation is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ref:
    """The value of another resource of the template."""

    logical_id: str


@dataclass(frozen=True)
class CustomResource:
    logical_id: str
    properties: Mapping[str, Any]
    service_timeout: int


@dataclass(frozen=True)
class WaitHandle:
    logical_id: str


@dataclass(frozen=True)
class WaitCondition:
    logical_id: str
    handle: str
    timeout: int


@dataclass(frozen=True)
class Other:
    """Any other resource: takes some time, and may fail."""

    logical_id: str
    version: int = 1
    takes: float = 2.0
    fails: bool = False


Resource = CustomResource | WaitHandle | WaitCondition | Other
Template = tuple[Resource, ...]
