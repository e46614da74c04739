"""Operations on data stores."""

from collections.abc import Mapping
from dataclasses import replace

from local_aws.iot_analytics.data_store import DataStoreFiles
from local_aws.iot_analytics.errors import invalid_request
from local_aws.iot_analytics.resources import Datastore
from local_aws.iot_analytics.service import (
    PAGE,
    SERVICE_MANAGED,
    Members,
    Operation,
    Service,
    need_same_storage,
    present,
    retention_of,
)
from local_aws.iot_analytics.storage import StorageError


class Datastores:
    """Data stores.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by the names that the API gives them."""
        return {
            "CreateDatastore": self.create,
            "DescribeDatastore": self.describe,
            "UpdateDatastore": self.update,
            "DeleteDatastore": self.delete,
            "ListDatastores": self.page,
        }

    def create(self, request: Members) -> Members:
        """Creates a data store of JSON lines."""
        name = request["datastoreName"]
        self._service.datastores.need_free(name)
        _need_json(request)
        if (request.get("datastorePartitions") or {}).get("partitions"):
            raise invalid_request(
                "'datastorePartitions' is not served here; leave it out, the partitions are UTC days"
            )
        storage = request.get("datastoreStorage", SERVICE_MANAGED)
        now = self._service.now()
        files = DataStoreFiles(
            name, self._service.place.account, self._service.location("datastoreStorage", storage)
        )
        try:
            files.size()
        except StorageError as error:
            raise invalid_request(f"'datastoreStorage' cannot be used: {error}") from error
        datastore = Datastore(
            name=name,
            arn=self._service.place.arn("datastore", name),
            storage=storage,
            retention=retention_of(request, storage),
            files=files,
            created=now,
            updated=now,
        )
        self._service.datastores.add(datastore)
        self._service.tag(datastore.arn, request)
        return present(datastoreName=name, datastoreArn=datastore.arn, retentionPeriod=datastore.retention)

    def describe(self, request: Members) -> Members:
        """Describes a data store."""
        datastore = self._service.datastores.get(request["datastoreName"])
        described = present(
            name=datastore.name,
            storage=datastore.storage,
            arn=datastore.arn,
            status="ACTIVE",
            retentionPeriod=datastore.retention,
            creationTime=datastore.created,
            lastUpdateTime=datastore.updated,
            lastMessageArrivalTime=datastore.last_arrival,
            fileFormatConfiguration={"jsonConfiguration": {}},
        )
        return {"datastore": described} | self._service.statistics(request, datastore.files.size)

    def update(self, request: Members) -> Members:
        """Changes how long rows are kept; where and how they are kept stays as it is."""
        datastore = self._service.datastores.get(request["datastoreName"])
        need_same_storage("datastoreStorage", request, datastore.storage)
        _need_json(request)
        retention = retention_of(request, datastore.storage)
        updated = self._service.now()
        self._service.datastores.change(
            datastore.name, lambda datastore: replace(datastore, retention=retention, updated=updated)
        )
        return {}

    def delete(self, request: Members) -> Members:
        """Deletes a data store. A customer's bucket keeps its objects."""
        self._service.tags.forget(self._service.datastores.remove(request["datastoreName"]).arn)
        return {}

    def page(self, request: Members) -> Members:
        """Lists data stores."""
        page, token = self._service.datastores.page(request.get("maxResults", PAGE), request.get("nextToken"))
        summaries = [
            present(
                datastoreName=datastore.name,
                datastoreStorage=datastore.storage,
                status="ACTIVE",
                creationTime=datastore.created,
                lastUpdateTime=datastore.updated,
                lastMessageArrivalTime=datastore.last_arrival,
                fileFormatType="JSON",
            )
            for datastore in page
        ]
        return present(datastoreSummaries=summaries, nextToken=token)


def _need_json(request: Members) -> None:
    if "parquetConfiguration" in request.get("fileFormatConfiguration", {}):
        raise invalid_request(
            "'fileFormatConfiguration.parquetConfiguration' is not served here; use jsonConfiguration"
        )
