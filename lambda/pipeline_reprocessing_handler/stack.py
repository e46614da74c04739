"""What the stack is doing."""

from __future__ import annotations

import logging

from .aws import Aws
from .aws_errors import Fault

log = logging.getLogger(__name__)

CREATING = "CREATE_IN_PROGRESS"
ROLLING_BACK = "UPDATE_ROLLBACK_IN_PROGRESS"
UNKNOWN = ""


def status_of(aws: Aws, stack_id: str) -> str:
    """The status of the stack, or `UNKNOWN` if CloudFormation does not tell."""
    try:
        stacks = aws.call("cloudformation", "describe_stacks", StackName=stack_id)["Stacks"]
        return str(stacks[0]["StackStatus"])
    except (Fault, LookupError) as error:
        log.info("the status of the stack is not known: %s", error)
        return UNKNOWN


def is_rolling_back(status: str) -> bool:
    """Whether an Update that arrives now is one of a rollback; it may arrive again when that is over."""
    return status.startswith("UPDATE_ROLLBACK")


def has_turned_away(status: str, from_status: str) -> bool:
    """Whether a stack that was in `from_status` has since given up what it was doing.

    What a rollback itself has started is part of it, however the rollback ends. Where it is not known whether a
    rollback started it, the end of a rollback does not count either.
    """
    if from_status == UNKNOWN or is_rolling_back(from_status):
        return status.startswith(("DELETE", "ROLLBACK"))
    return "ROLLBACK" in status or status.startswith("DELETE")
