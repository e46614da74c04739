"""What all operations share: what there is, where it is kept, and what time it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_aws.iot_analytics.archive import Location
from local_aws.iot_analytics.errors import invalid_request
from local_aws.iot_analytics.functions import Functions
from local_aws.iot_analytics.resources import Channel, Datastore, Pipeline, Table, Tags
from local_aws.iot_analytics.runs import Runs
from local_aws.iot_analytics.storage import ObjectStore

Members = Mapping[str, Any]
"""A request or an answer: members by name, already checked against the model, or still to be."""

Operation = Callable[[Members], Members]

SERVICE_MANAGED: Members = {"serviceManagedS3": {}}
PAGE = 250


@dataclass(frozen=True)
class Place:
    """Where the service pretends to be.

    Args:
        region: The region.
        account: The account's number.
        partition: The partition.
    """

    region: str = "us-east-1"
    account: str = "123456789012"
    partition: str = "aws"

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a resource."""
        return f"arn:{self.partition}:iotanalytics:{self.region}:{self.account}:{kind}/{name}"


@dataclass(frozen=True)
class Service:
    """The state of the service.

    Args:
        place: Region and account.
        customer_store: Where the customer's buckets are.
        functions: What lambda activities call.
        now: The clock.
        new_id: A new id each time, for what the service keeps for itself.
        runs: All reprocessing runs.
        own_store: Where the service keeps what is not in a customer's bucket.
    """

    place: Place
    customer_store: ObjectStore
    functions: Functions
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    runs: Runs
    own_store: ObjectStore
    channels: Table[Channel] = field(default_factory=lambda: Table("channel"))
    datastores: Table[Datastore] = field(default_factory=lambda: Table("datastore"))
    pipelines: Table[Pipeline] = field(default_factory=lambda: Table("pipeline"))
    tags: Tags = field(default_factory=Tags)

    def location(self, argument: str, storage: Members) -> Location:
        """Where a storage is; `argument` is what the request calls it.

        Raises:
            ServiceError: InvalidRequestException if it is not one of those that are served.
        """
        if len(storage) != 1:
            raise invalid_request(
                f"'{argument}' must hold exactly one storage, got {', '.join(sorted(storage)) or 'none'}"
            )
        [(kind, settings)] = storage.items()
        match kind:
            case "serviceManagedS3":
                # A bucket of its own, so that nothing is left when a name is used again.
                return Location(self.own_store, self.new_id(), "")
            case "customerManagedS3":
                prefix = settings.get("keyPrefix", "")
                return Location(self.customer_store, settings["bucket"], prefix)
        raise invalid_request(f"'{argument}.{kind}' is not served here; use customerManagedS3")

    def tag(self, arn: str, request: Members) -> None:
        """Gives a resource the tags of the request."""
        self.tags.add(arn, {tag["key"]: tag["value"] for tag in request.get("tags", ())})

    def statistics(self, request: Members, size: Callable[[], int]) -> dict[str, Any]:
        """The part of a description that is there only when asked for."""
        if not request.get("includeStatistics"):
            return {}
        return {"statistics": {"size": {"estimatedSizeInBytes": float(size()), "estimatedOn": self.now()}}}


def retention_of(request: Members, storage: Members) -> Members | None:
    """How long something is kept, None where it is not said.

    Raises:
        ServiceError: InvalidRequestException if it is said twice.
    """
    retention: Members | None = request.get("retentionPeriod")
    # Documented: with customer-managed storage the retention period is ignored.
    if retention is None or "customerManagedS3" in storage:
        return None
    if retention.get("unlimited") and "numberOfDays" in retention:
        raise invalid_request("'retentionPeriod' must be unlimited or a number of days, not both")
    return retention


def need_same_storage(argument: str, request: Members, storage: Members) -> None:
    """Makes sure that an update leaves the storage as it is.

    Raises:
        ServiceError: InvalidRequestException if not.
    """
    if request.get(argument, storage) != storage:
        raise invalid_request(
            f"'{argument}' cannot be changed after creation; create another one under a new name"
        )


def present(**members: Any) -> dict[str, Any]:
    """The members that there are: an answer leaves out the others."""
    return {name: member for name, member in members.items() if member is not None}
