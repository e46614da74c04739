"""CDK's durations as the whole seconds that CloudFormation takes."""

from __future__ import annotations

from aws_cdk import Duration

from pipeline_reprocessing_handler.request import Failure


def whole_seconds(argument: str, duration: Duration) -> int:
    """The duration in seconds; a token stays one.

    Raises:
        ValueError: It is not a duration, or has a fraction of a second.
    """
    if not isinstance(duration, Duration):
        raise Failure(
            f"'{argument}' must be a Duration, got {type(duration).__name__} {duration}; write Duration.minutes(...)"
        )
    if duration.is_unresolved():
        return duration.to_seconds()  # type: ignore[return-value]  # a number token is a float
    seconds, fraction = divmod(duration.to_milliseconds(), 1000)
    if fraction:
        raise Failure(f"'{argument}' must be in whole seconds, got {seconds + fraction / 1000:g} seconds")
    return int(seconds)
