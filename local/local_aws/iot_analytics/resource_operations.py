"""The five operations that every kind of resource has: create, describe, update, delete, list."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic

from local_aws.iot_analytics.resources import R, Table
from local_aws.iot_analytics.service import Members, Operation, Service, present

_PAGE = 250


class ResourceOperations(ABC, Generic[R]):
    """Creates, describes, updates, deletes and lists resources; what is special to a kind is in its subclass.

    Args:
        service: What there is.
        table: The resources of the kind.
    """

    def __init__(self, service: Service, table: Table[R]) -> None:
        self._service = service
        self._table = table
        self._name = f"{table.kind}Name"

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by the names that the API gives them."""
        kind = self._table.kind.capitalize()
        return {
            f"Create{kind}": self.create,
            f"Describe{kind}": self.describe,
            f"Update{kind}": self.update,
            f"Delete{kind}": self.delete,
            f"List{kind}s": self.page,
        }

    def create(self, request: Members) -> Members:
        """Creates a resource under a name that nobody has."""
        name = request[self._name]
        self._table.need_free(name)
        now = self._service.now()
        arn = self._service.place.arn(self._table.kind, name)
        made = self._made(request, name, arn=arn, created=now, updated=now)
        self._table.add(made)
        self._service.tag(arn, request)
        return present(**{self._name: name, f"{self._table.kind}Arn": arn}, **self._creation(made))

    def describe(self, request: Members) -> Members:
        """Describes a resource."""
        found = self._table.get(request[self._name])
        described = present(
            name=found.name,
            arn=found.arn,
            creationTime=found.created,
            lastUpdateTime=found.updated,
            **self._description(found),
        )
        return {self._table.kind: described}

    def update(self, request: Members) -> Members:
        """Changes a resource."""
        found = self._table.get(request[self._name])
        changes = self._changes(request, found)
        updated = self._service.now()
        self._table.change(found.name, lambda resource: replace(resource, updated=updated, **changes))
        return {}

    def delete(self, request: Members) -> Members:
        """Deletes a resource. A customer's bucket keeps its objects."""
        self._service.tags.forget(self._table.remove(request[self._name]).arn)
        return {}

    def page(self, request: Members) -> Members:
        """Lists resources."""
        page, token = self._table.page(request.get("maxResults", _PAGE), request.get("nextToken"))
        summaries = [
            present(
                **{self._name: found.name},
                creationTime=found.created,
                lastUpdateTime=found.updated,
                **self._summary(found),
            )
            for found in page
        ]
        return present(**{f"{self._table.kind}Summaries": summaries}, nextToken=token)

    @abstractmethod
    def _made(self, request: Members, name: str, **common: Any) -> R:
        """What the request wants to be created; `common` are the other fields of every `Resource`."""

    @abstractmethod
    def _changes(self, request: Members, found: R) -> Mapping[str, Any]:
        """The fields that the request changes, by name."""

    def _creation(self, _made: R) -> Members:
        """What is answered to a create, beside name and ARN."""
        return {}

    @abstractmethod
    def _description(self, found: R) -> Members:
        """What a description tells beside name, ARN and times."""

    @abstractmethod
    def _summary(self, found: R) -> Members:
        """What a list tells beside name and times."""
