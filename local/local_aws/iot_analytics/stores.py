"""Operations on channels and data stores: what keeps messages, in some place and for some time."""

from collections.abc import Callable, Mapping
from typing import Any

from local_aws.iot_analytics.archive import ChannelArchive, Location
from local_aws.iot_analytics.data_store import DataStoreFiles
from local_aws.iot_analytics.errors import invalid_request
from local_aws.iot_analytics.resource_operations import ResourceOperations
from local_aws.iot_analytics.resources import C, Store, Table
from local_aws.iot_analytics.service import Members, Service
from local_aws.iot_analytics.storage import StorageError

_SERVICE_MANAGED: Members = {"serviceManagedS3": {}}


class _Stores(ResourceOperations[Store[C]]):
    """What channels and data stores have in common.

    Args:
        service: What there is.
        table: All stores of the kind.
        content: Makes what a store keeps of its name, the account and its location.
    """

    def __init__(
        self, service: Service, table: Table[Store[C]], content: Callable[[str, str, Location], C]
    ) -> None:
        super().__init__(service, table)
        self._storage = f"{table.kind}Storage"
        self._content = content

    def describe(self, request: Members) -> Members:
        """Describes a store, with its size when that is asked for."""
        described = super().describe(request)
        if not request.get("includeStatistics"):
            return described
        size = float(self._table.get(request[self._name]).content.size())
        statistics = {"size": {"estimatedSizeInBytes": size, "estimatedOn": self._service.now()}}
        return {**described, "statistics": statistics}

    def _made(self, request: Members, name: str, **common: Any) -> Store[C]:
        self._need_served(request)
        storage = request.get(self._storage, _SERVICE_MANAGED)
        try:
            content = self._content(name, self._service.place.account, self._location(storage))
        except StorageError as error:
            raise invalid_request(f"'{self._storage}' cannot be used: {error}") from error
        retention = _retention(request, storage)
        return Store(name=name, **common, storage=storage, retention=retention, content=content)

    def _changes(self, request: Members, found: Store[C]) -> Mapping[str, Any]:
        if request.get(self._storage, found.storage) != found.storage:
            raise invalid_request(
                f"'{self._storage}' cannot be changed after creation; create another one under a new name"
            )
        self._need_served(request)
        return {"retention": _retention(request, found.storage)}

    def _need_served(self, request: Members) -> None:
        """Makes sure that the request wants nothing that is not served here."""

    def _location(self, storage: Members) -> Location:
        if len(storage) != 1:
            raise invalid_request(
                f"'{self._storage}' must hold exactly one storage, got {', '.join(sorted(storage)) or 'none'}"
            )
        [(kind, settings)] = storage.items()
        match kind:
            case "serviceManagedS3":
                # A bucket of its own, so that nothing is left when a name is used again.
                return Location(self._service.own_store, self._service.new_id(), "")
            case "customerManagedS3":
                prefix = settings.get("keyPrefix", "")
                return Location(self._service.customer_store, settings["bucket"], prefix)
        raise invalid_request(f"'{self._storage}.{kind}' is not served here; use customerManagedS3")

    def _creation(self, made: Store[C]) -> Members:
        return {"retentionPeriod": made.retention}

    def _description(self, found: Store[C]) -> Members:
        return {
            "storage": found.storage,
            "status": "ACTIVE",
            "retentionPeriod": found.retention,
            "lastMessageArrivalTime": found.last_arrival,
        }

    def _summary(self, found: Store[C]) -> Members:
        return {
            self._storage: found.storage,
            "status": "ACTIVE",
            "lastMessageArrivalTime": found.last_arrival,
        }


class Channels(_Stores[ChannelArchive]):
    """Channels.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service, service.channels, ChannelArchive)


class Datastores(_Stores[DataStoreFiles]):
    """Data stores, of JSON lines.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service, service.datastores, DataStoreFiles)

    def _need_served(self, request: Members) -> None:
        if "parquetConfiguration" in request.get("fileFormatConfiguration", {}):
            raise invalid_request(
                "'fileFormatConfiguration.parquetConfiguration' is not served here; use jsonConfiguration"
            )
        if (request.get("datastorePartitions") or {}).get("partitions"):
            raise invalid_request(
                "'datastorePartitions' is not served here; leave it out, the partitions are UTC days"
            )

    def _description(self, found: Store[DataStoreFiles]) -> Members:
        return {**super()._description(found), "fileFormatConfiguration": {"jsonConfiguration": {}}}

    def _summary(self, found: Store[DataStoreFiles]) -> Members:
        return {**super()._summary(found), "fileFormatType": "JSON"}


def _retention(request: Members, storage: Members) -> Members | None:
    """How long something is kept, None where it is not said."""
    retention: Members | None = request.get("retentionPeriod")
    # Documented: with customer-managed storage the retention period is ignored.
    if retention is None or "customerManagedS3" in storage:
        return None
    if retention.get("unlimited") and "numberOfDays" in retention:
        raise invalid_request("'retentionPeriod' must be unlimited or a number of days, not both")
    return retention
