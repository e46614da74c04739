"""What functions wrote, read from CloudWatch Logs."""

from collections.abc import Iterator
from typing import Any


def lines_of(logs: Any, group: str) -> list[str]:
    """All lines of a log group, in the order of writing; none when there is no such group.

    Args:
        logs: A client of CloudWatch Logs.
        group: The group's name.
    """
    events: list[tuple[int, str]] = []
    try:
        for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
            for stream in page["logStreams"]:
                events += _events(logs, group, stream["logStreamName"])
    except logs.exceptions.ResourceNotFoundException:
        return []
    # Stable: the lines of one stream that have the same millisecond stay in their order.
    return [message for _, message in sorted(events, key=lambda event: event[0])]


def group_of(functions: Any, name: str) -> str:
    """The name of the log group of a function, also of one that is gone.

    Args:
        functions: A client of Lambda.
        name: The function's name or ARN.
    """
    try:
        configuration = functions.get_function_configuration(FunctionName=name)
    except functions.exceptions.ResourceNotFoundException:
        return f"/aws/lambda/{name.rpartition(':')[2]}"
    group: str = configuration["LoggingConfig"]["LogGroup"]
    return group


def _events(logs: Any, group: str, stream: str) -> Iterator[tuple[int, str]]:
    pages = logs.get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=group, logStreamNames=[stream]):
        yield from ((event["timestamp"], event["message"]) for event in page["events"])
