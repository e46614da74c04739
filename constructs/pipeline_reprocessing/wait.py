"""How long a deploy waits for the reprocessing that it started."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from aws_cdk import Duration

from pipeline_reprocessing.arguments import one_of, shown, whole_seconds
from pipeline_reprocessing_handler.validation import (
    ANSWER_ALLOWANCE,
    LONGEST_CUSTOM_RESOURCE_WAIT,
    MAX_WAIT,
    Failure,
    OnTimeout,
    check_wait,
)


@dataclass(frozen=True)
class Wait:
    """Says whether the deploy ends only when the data is up to date. Make one with `for_completion` or `none`.

    Example:
        from aws_cdk import Duration
        from pipeline_reprocessing import OnTimeout, Wait

        patient = Wait.for_completion(timeout=Duration.hours(6), on_timeout=OnTimeout.DETACH)
        fire_and_forget = Wait.none()
    """

    timeout: timedelta | None
    """How long the run may take; None does not wait."""
    on_timeout: OnTimeout = OnTimeout.FAIL

    def __post_init__(self) -> None:
        if self.timeout is not None and not isinstance(self.timeout, timedelta):
            raise Failure(
                f"'timeout' must be a timedelta, got {shown(self.timeout)}; use Wait.for_completion(timeout=...)"
            )

    @classmethod
    def for_completion(cls, *, timeout: Duration, on_timeout: OnTimeout = OnTimeout.FAIL) -> Wait:
        """The deploy waits for the end of the run, and fails when the run fails.

        Args:
            timeout: In whole seconds, from 1 second to 12 hours. Beyond 55 minutes a WaitCondition does the waiting,
                for a custom resource ends after one hour; of the full 12 hours, 90 seconds are kept for the answer.
                A WaitCondition waits once for each trigger, so there what only the deploy knows, such as the value of
                a parameter, reprocesses nothing when it changes: only its name is in the trigger.
            on_timeout: `FAIL` cancels a run that is still going then and fails the deploy; `DETACH` lets the run go
                on and the deploy succeed. Default: `FAIL`.

        Raises:
            ValueError: The timeout is out of these bounds, or a token; or there is no such `on_timeout`.

        Source: CloudFormation, `ServiceTimeout` of `AWS::CloudFormation::CustomResource` and `Timeout` of
        `AWS::CloudFormation::WaitCondition`.
        """
        seconds = whole_seconds("timeout", timeout)
        if timeout.is_unresolved():
            raise Failure(
                "'timeout' must be known at synth, got a token; CloudFormation cannot calculate with it"
            )
        return cls(
            timedelta(seconds=check_wait("timeout", seconds)), one_of("on_timeout", on_timeout, OnTimeout)
        )

    @classmethod
    def none(cls) -> Wait:
        """The deploy goes on as soon as the run has started; how the run ends is not looked at."""
        return cls(None)

    @property
    def needs_wait_condition(self) -> bool:
        """Whether the wait is longer than a custom resource can take."""
        return self.timeout is not None and self.timeout > LONGEST_CUSTOM_RESOURCE_WAIT

    @property
    def service_timeout(self) -> timedelta:
        """When CloudFormation gives up on the custom resource (`ServiceTimeout`, at most an hour)."""
        here = timedelta() if self.timeout is None or self.needs_wait_condition else self.timeout
        return here + ANSWER_ALLOWANCE

    @property
    def condition_timeout(self) -> timedelta:
        """When CloudFormation gives up on the WaitCondition, counted from the answer of the custom resource."""
        return min((self.timeout or timedelta()) + ANSWER_ALLOWANCE, MAX_WAIT)
