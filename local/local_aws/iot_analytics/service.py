"""What all operations share: what there is, where it is kept, and what time it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_aws.iot_analytics.functions import Functions
from local_aws.iot_analytics.resources import Channel, Datastore, Pipeline, Table, Tags
from local_aws.iot_analytics.runs import Runs
from local_aws.iot_analytics.storage import ObjectStore

Members = Mapping[str, Any]
"""A request or an answer: members by name, already checked against the model, or still to be."""

Operation = Callable[[Members], Members]


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

    def tag(self, arn: str, request: Members) -> None:
        """Gives a resource the tags of the request."""
        self.tags.add(arn, {tag["key"]: tag["value"] for tag in request.get("tags", ())})


def present(**members: Any) -> dict[str, Any]:
    """The members that there are: an answer leaves out the others."""
    return {name: member for name, member in members.items() if member is not None}
