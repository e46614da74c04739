"""Attributes of a message by name: `temp`, `device.temp`, `device.coord[0]`."""

import re
from dataclasses import dataclass, field
from typing import Any

import jmespath  # type: ignore[import-untyped]  # publishes no types
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]  # publishes no types

from local_aws.iot_analytics.errors import invalid_request
from local_aws.iot_analytics.messages import Message

# The part of JMESPath that the service's documentation shows; the rest of that language is not ours to offer.
_NESTED = re.compile(r"[A-Za-z_]\w*(\[\d+\])*(\.[A-Za-z_]\w*(\[\d+\])*)*", re.ASCII)


@dataclass(frozen=True)
class Attribute:
    """A way into a message.

    Args:
        name: As the activity spells it. A field of exactly that name comes first, then the nested path.

    Raises:
        ServiceError: It is neither a name nor a path.
    """

    name: str
    _path: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = None
        if _NESTED.fullmatch(self.name):
            try:
                path = jmespath.compile(self.name)
            except JMESPathError as error:
                raise invalid_request(f"the attribute '{self.name}' is not a path: {error}") from None
        object.__setattr__(self, "_path", path)

    @property
    def last(self) -> str:
        """The name of the innermost field: `temp` of `device.temp`, `coord` of `device.coord[0]`."""
        return self.name.rsplit(".", 1)[-1].partition("[")[0] if self._path is not None else self.name

    def of(self, message: Message) -> Any:
        """Its value, None where there is none."""
        if self.name in message:
            return message[self.name]
        return self._path.search(message) if self._path is not None else None

    def without(self, message: Message) -> Message:
        """The message without it; the given one stays as it is."""
        if self.name in message:
            return {name: value for name, value in message.items() if name != self.name}
        outer, dot, inner = self.name.partition(".")
        if dot and isinstance(message.get(outer), dict):
            return message | {outer: Attribute(inner).without(message[outer])}
        return message
