"""Channels, data stores, pipelines and their tags: what there is, by name."""

import base64
import binascii
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from local_aws.iot_analytics.activities import Steps
from local_aws.iot_analytics.archive import ChannelArchive
from local_aws.iot_analytics.data_store import DataStoreFiles
from local_aws.iot_analytics.errors import ServiceError, invalid_request, not_found

MAX_TAGS = 50


class _Content(Protocol):
    """What a store keeps."""

    def size(self) -> int:
        """The bytes of all its objects."""


C = TypeVar("C", bound=_Content)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What every kind of resource has; the name is unique among its kind."""

    name: str
    arn: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, kw_only=True)
class Store(Resource, Generic[C]):
    """A channel or a data store; `storage` and `retention` are as the API spells them."""

    storage: Mapping[str, Any]
    retention: Mapping[str, Any] | None
    content: C
    last_arrival: datetime | None = None


Channel = Store[ChannelArchive]
Datastore = Store[DataStoreFiles]


@dataclass(frozen=True, kw_only=True)
class Pipeline(Resource):
    """A pipeline; `activities` are as the API spells them."""

    activities: tuple[Mapping[str, Any], ...]
    steps: Steps


R = TypeVar("R", bound=Resource)


class Table(Generic[R]):
    """The resources of one kind. Every method may be called from several threads.

    Args:
        kind: What the API calls one of them: `channel`, `datastore` or `pipeline`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._rows: dict[str, R] = {}
        # Re-entrant, for methods that call each other.
        self._lock = threading.RLock()

    def add(self, row: R) -> None:
        """Adds a new one.

        Raises:
            ServiceError: ResourceAlreadyExistsException if the name is taken.
        """
        with self._lock:
            self.need_free(row.name)
            self._rows[row.name] = row

    def need_free(self, name: str) -> None:
        """Makes sure that nobody has the name.

        Raises:
            ServiceError: ResourceAlreadyExistsException if somebody has.
        """
        with self._lock:
            if name in self._rows:
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"{self.kind} '{name}' already exists",
                    resourceId=name,
                    resourceArn=self._rows[name].arn,
                )

    def get(self, name: str) -> R:
        """The one of that name.

        Raises:
            ServiceError: ResourceNotFoundException if there is none.
        """
        with self._lock:
            if name not in self._rows:
                raise not_found(self.kind, name)
            return self._rows[name]

    def change(self, name: str, change: Callable[[R], R]) -> None:
        """Changes the one of that name, unless it was removed in the meantime."""
        with self._lock:
            if name in self._rows:
                self._rows[name] = change(self._rows[name])

    def remove(self, name: str) -> R:
        """Removes the one of that name.

        Raises:
            ServiceError: ResourceNotFoundException if there is none.
        """
        with self._lock:
            removed = self.get(name)
            del self._rows[name]
            return removed

    def all(self) -> list[R]:
        """All of them, by name."""
        with self._lock:
            return [self._rows[name] for name in sorted(self._rows)]

    def page(self, limit: int, token: str | None) -> tuple[list[R], str | None]:
        """At most `limit` of them after those of earlier pages, and the token of the next page if there is one.

        Raises:
            ServiceError: InvalidRequestException if the token is none of ours.
        """
        after = _read_token(token) if token else ""
        rows = [row for row in self.all() if row.name > after]
        page = rows[:limit]
        return page, _token(page[-1].name) if len(rows) > limit else None


class Tags:
    """Tags by the ARN of what bears them."""

    def __init__(self) -> None:
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def add(self, arn: str, tags: Mapping[str, str]) -> None:
        """Adds tags, or gives them other values.

        Raises:
            ServiceError: LimitExceededException beyond 50.
        """
        with self._lock:
            merged = self._tags.get(arn, {}) | dict(tags)
            if len(merged) > MAX_TAGS:
                raise ServiceError(
                    "LimitExceededException", f"'{arn}' may have at most {MAX_TAGS} tags, got {len(merged)}"
                )
            self._tags[arn] = merged

    def remove(self, arn: str, keys: list[str]) -> None:
        """Takes tags away; those that are not there too."""
        with self._lock:
            for key in keys:
                self._tags.get(arn, {}).pop(key, None)

    def of(self, arn: str) -> dict[str, str]:
        """The tags of one resource."""
        with self._lock:
            return dict(self._tags.get(arn, {}))

    def forget(self, arn: str) -> None:
        """Drops the tags of a resource that is gone."""
        with self._lock:
            self._tags.pop(arn, None)


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode("ascii")


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid_request(f"'nextToken' must come from an earlier answer, got '{token[:100]}'") from None
