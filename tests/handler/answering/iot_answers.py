"""What IoT Analytics says on the wire: status, headers, body."""

import json

Run = tuple[str, str, float]
Answer = tuple[int, dict[str, str], bytes]
STARTED: Answer = (200, {}, b'{"reprocessingId": "9d31"}')
MADE = 1738324800.0
ERRORS = {
    "ResourceNotFoundException": 404,
    "ResourceAlreadyExistsException": 409,
    "InvalidRequestException": 400,
    "InternalFailureException": 500,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
}


def error(name: str) -> Answer:
    return (ERRORS[name], {"x-amzn-ErrorType": name}, b'{"message": "the words of AWS"}')


def listing(*runs: Run) -> Answer:
    summaries = [{"id": id_, "status": status, "creationTime": made} for id_, status, made in runs]
    return (
        200,
        {},
        json.dumps({"pipeline": {"name": "weather", "reprocessingSummaries": summaries}}).encode(),
    )
