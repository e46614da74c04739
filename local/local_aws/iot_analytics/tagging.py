"""Operations on tags."""

from collections.abc import Mapping

from local_aws.iot_analytics.errors import not_found
from local_aws.iot_analytics.service import Members, Operation, Service


class Tagging:
    """Tags of channels, data stores and pipelines.

    Args:
        service: What there is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by the names that the API gives them."""
        return {"TagResource": self.add, "UntagResource": self.remove, "ListTagsForResource": self.page}

    def add(self, request: Members) -> Members:
        """Adds tags."""
        self._need_arn(request["resourceArn"])
        self._service.tag(request["resourceArn"], request)
        return {}

    def remove(self, request: Members) -> Members:
        """Takes tags away."""
        self._need_arn(request["resourceArn"])
        self._service.tags.remove(request["resourceArn"], request["tagKeys"])
        return {}

    def page(self, request: Members) -> Members:
        """Lists tags."""
        self._need_arn(request["resourceArn"])
        tags = self._service.tags.of(request["resourceArn"])
        # The list's shape has a minimum of one.
        return {"tags": [{"key": key, "value": value} for key, value in tags.items()]} if tags else {}

    def _need_arn(self, arn: str) -> None:
        tables = (self._service.channels, self._service.datastores, self._service.pipelines)
        if not any(row.arn == arn for table in tables for row in table.all()):
            raise not_found("resource", arn)
