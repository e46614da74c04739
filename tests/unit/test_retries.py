"""No work item is given up because it waits for its turn: the retries as synthesized, by a discrete-event model."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_lambda import Function
from aws_cdk.aws_s3 import Bucket

from pipeline_reprocessing import Archive, ArchivePipeline, Destination, Transform

WAITS_INSIDE = 780.0
"""Seconds for which a worker waits for the user's function before it raises `Throttled`."""
HOUR = 3600.0

Retry = Mapping[str, Any]


@pytest.fixture(scope="module")
def retries() -> Mapping[str, Retry]:
    """Of the step that replays a work item, by error."""
    stack = Stack(App(), "Telemetry")
    ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw")),
        transform=Transform.firehose(Function.from_function_name(stack, "Enrich", "enrich")),
        destination=Destination(Bucket(stack, "Clean"), prefix="clean/"),
    )
    [machine] = Template.from_stack(stack).find_resources("AWS::StepFunctions::StateMachine").values()
    parts = machine["Properties"]["DefinitionString"]["Fn::Join"][1]
    definition = json.loads("".join(part if isinstance(part, str) else "token" for part in parts))
    step = definition["States"]["Replay"]["ItemProcessor"]["States"]["Replay batch"]
    return {error: retry for retry in step["Retry"] for error in retry["ErrorEquals"]}


@dataclass
class Model:
    """Work items that all begin at once and take their turns in slots, each for some minutes.

    Args:
        retry: How Step Functions repeats an attempt that found no free slot.
        slots: Work items that run at the same time.
        waits_inside: How long an attempt waits for a slot before it fails.
        items: How many there are.
    """

    retry: Retry
    slots: int
    waits_inside: float = 0.0
    items: int = 400
    random: Random = field(default_factory=lambda: Random(8))
    done: int = 0
    given_up: list[float] = field(default_factory=list)
    """When."""

    def run(self) -> Model:
        events = [(self.random.uniform(0, 10), "attempt", item, 0) for item in range(self.items)]
        heapq.heapify(events)
        free, waiting = self.slots, dict[int, int]()
        while events:
            now, what, item, attempt = heapq.heappop(events)
            if what == "end":
                self.done += 1
                free += 1
            elif what == "attempt":
                waiting[item] = attempt
                heapq.heappush(events, (now + self.waits_inside, "throttled", item, attempt))
            elif waiting.get(item) == attempt:
                del waiting[item]
                if attempt == self.retry["MaxAttempts"]:
                    self.given_up.append(now)
                else:
                    heapq.heappush(events, (now + self._delay(attempt), "attempt", item, attempt + 1))
            while free and waiting:
                free -= 1
                lucky = self.random.choice(list(waiting))
                del waiting[lucky]
                heapq.heappush(events, (now + self.random.uniform(120, 600), "end", lucky, 0))
        return self

    def _delay(self, attempt: int) -> float:
        retry = self.retry
        delay = min(retry["MaxDelaySeconds"], retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt)
        return self.random.uniform(0, delay) if retry["JitterStrategy"] == "FULL" else delay


ERRORS = pytest.mark.parametrize(
    ("error", "waits_inside"), [("Lambda.TooManyRequestsException", 0.0), ("Throttled", WAITS_INSIDE)]
)


@ERRORS
def test_400_work_items_take_their_turns_in_10_slots(
    retries: Mapping[str, Retry], error: str, waits_inside: float
) -> None:
    model = Model(retries[error], slots=10, waits_inside=waits_inside).run()

    assert (model.done, model.given_up) == (400, [])


def test_half_an_hour_would_be_too_short(retries: Mapping[str, Retry]) -> None:
    """So the model can fail."""
    retry = {**retries["Lambda.TooManyRequestsException"], "MaxAttempts": 30}

    model = Model(retry, slots=10).run()

    assert len(model.given_up) > 40
    assert model.done == 400 - len(model.given_up)


@ERRORS
def test_what_never_gets_its_turn_is_given_up_after_about_12_hours(
    retries: Mapping[str, Retry], error: str, waits_inside: float
) -> None:
    model = Model(retries[error], slots=0, waits_inside=waits_inside).run()

    assert len(model.given_up) == 400
    assert min(model.given_up) > 11 * HOUR
    assert max(model.given_up) < 13 * HOUR


def test_a_step_that_is_denied_is_repeated_for_a_minute(retries: Mapping[str, Retry]) -> None:
    """Step Functions has no name of its own for it: a role that may not call the function gives AWSLambdaException."""
    for error in ("Lambda.AWSLambdaException", "States.Permissions"):
        retry = retries[error]

        delays = [
            retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt
            for attempt in range(retry["MaxAttempts"])
        ]

        assert 60 <= sum(delays) <= 90
