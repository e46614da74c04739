"""The one way in which an operation says no."""


class ServiceError(Exception):
    """An error as the service's clients know it.

    Args:
        code: The name of a modelled exception, such as `InvalidRequestException`.
        message: What is wrong and the way out, for the person who sent the request.
        details: Further members of the exception's shape, such as `resourceId`.
    """

    def __init__(self, code: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def invalid_request(message: str) -> ServiceError:
    """The answer to a request that can never succeed as it stands."""
    return ServiceError("InvalidRequestException", message)


def not_found(kind: str, name: str) -> ServiceError:
    """The answer to a request that names something that is not there."""
    return ServiceError("ResourceNotFoundException", f"{kind} '{name}' does not exist")
