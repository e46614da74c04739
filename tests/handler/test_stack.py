"""What the stack is doing is a hint, never a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.aws_errors import Denied, Missing, Unclear
from pipeline_reprocessing_handler.stack import has_turned_away, status_of

if TYPE_CHECKING:
    from botocore.stub import Stubber
    from tests.handler.conftest import FakeAws

    from pipeline_reprocessing_handler.aws import Aws

STACK_ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10"


def test_the_status_is_asked_of_cloudformation(real_aws: Aws, stub: Callable[[str], Stubber]) -> None:
    stack = {"StackName": "weather", "CreationTime": "2025-01-31", "StackStatus": "UPDATE_IN_PROGRESS"}
    stub("cloudformation").add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": STACK_ID})

    assert status_of(real_aws, STACK_ID) == "UPDATE_IN_PROGRESS"


@pytest.mark.parametrize(
    "answer",
    [Denied("no"), Missing("no such stack"), Unclear("oops"), {"Stacks": []}, {}, {"Stacks": [{}]}],
)
def test_a_status_that_cloudformation_does_not_tell_is_not_known(aws: FakeAws, answer: Any) -> None:
    aws.scripts["describe_stacks"] = [answer]

    assert status_of(aws, STACK_ID) == ""


@pytest.mark.parametrize(
    ("before", "now", "turned"),
    [
        ("CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", False),
        ("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", True),
        ("CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS", True),
        ("CREATE_IN_PROGRESS", "CREATE_COMPLETE", False),
        ("CREATE_IN_PROGRESS", "", False),
        ("", "ROLLBACK_IN_PROGRESS", True),
        ("", "UPDATE_ROLLBACK_IN_PROGRESS", False),
        ("", "UPDATE_IN_PROGRESS", False),
        ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", True),
        ("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", False),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", False),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE", False),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED", False),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS", True),
        ("REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", False),
    ],
)
def test_a_stack_turns_away_by_rolling_back_or_going(before: str, now: str, turned: bool) -> None:
    assert has_turned_away(now, before) is turned
