"""Wait checks its bounds at synth: later nobody could keep them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from aws_cdk import Duration, Token

from pipeline_reprocessing import OnTimeout, Wait


def test_a_time_out_fails_by_default() -> None:
    wait = Wait.for_completion(timeout=Duration.minutes(5))

    assert wait == Wait(timedelta(minutes=5), OnTimeout.FAIL)


def test_a_time_out_can_let_the_run_go_on() -> None:
    wait = Wait.for_completion(timeout=Duration.minutes(5), on_timeout=OnTimeout.DETACH)

    assert wait.on_timeout is OnTimeout.DETACH


def test_a_custom_resource_waits_up_to_55_minutes() -> None:
    longest = Wait.for_completion(timeout=Duration.minutes(55))

    assert not longest.needs_wait_condition
    assert longest.service_timeout == timedelta(hours=1)


def test_a_wait_condition_waits_beyond_that() -> None:
    wait = Wait.for_completion(timeout=Duration.seconds(55 * 60 + 1))

    assert wait.needs_wait_condition
    assert wait.service_timeout == timedelta(minutes=5)
    assert wait.condition_timeout == timedelta(hours=1, seconds=1)


def test_the_longest_wait_ends_when_cloudformation_gives_up() -> None:
    wait = Wait.for_completion(timeout=Duration.hours(12))

    assert wait.condition_timeout == timedelta(hours=12)


def test_without_a_wait_there_is_time_to_start_the_run() -> None:
    wait = Wait.none()

    assert wait.timeout is None
    assert not wait.needs_wait_condition
    assert wait.service_timeout == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (
            Duration.seconds(0),
            "'timeout' must be at least 1 second, got 0; use Wait.none() to return at once",
        ),
        (
            Duration.hours(14),
            "'timeout' must be at most 12 hours, got 14 hours; use Wait.none() to return at once",
        ),
        (Duration.millis(2500), "'timeout' must be in whole seconds, got 2.5 seconds"),
        (3000, "'timeout' must be a Duration, got int 3000; write Duration.minutes(...)"),
        (
            Duration.seconds(Token.as_number({"Ref": "Parameter"})),
            "'timeout' must be known at synth, got a token; CloudFormation cannot calculate with it",
        ),
    ],
)
def test_an_impossible_time_out_is_refused(timeout: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        Wait.for_completion(timeout=timeout)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (50, "'timeout' must be a timedelta, got int 50; use Wait.for_completion(timeout=...)"),
        (
            Duration.minutes(5),
            "'timeout' must be a timedelta, got Duration 5 minutes; use Wait.for_completion(timeout=...)",
        ),
    ],
)
def test_a_wait_that_is_made_by_hand_takes_a_timedelta(timeout: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        Wait(timeout)


def test_what_a_time_out_does_is_one_of_two_things() -> None:
    with pytest.raises(ValueError, match="'on_timeout' must be one of FAIL, DETACH, got 'IGNORE'"):
        Wait.for_completion(timeout=Duration.minutes(5), on_timeout="IGNORE")  # type: ignore[arg-type]  # on purpose
