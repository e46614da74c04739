"""A run publishes only what the function made that it was planned with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_s3 import fault

from object_replay.faults import Denied, ReplayStopped, Throttled
from object_replay.functions import Functions, is_same

RESULT = "result-bucket"
CHANGED = (
    "your function has changed since this run was planned, and its results may be a mix of both; deploy again or "
    "start a new run: a redriven execution cannot publish"
)
OLD_CODE = {"CodeSha256": "01d"}


@pytest.fixture
def planned(pipeline: Any) -> Any:
    """A run that is planned, with two objects in two work items."""
    for day in range(2):
        pipeline.put(pipeline.channel_key(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day)), {"t": day})
    return pipeline.plan(All=True)


def replayed(pipeline: Any, planned: Any) -> Any:
    for item in pipeline.manifest():
        pipeline._child(planned["Run"], item)
    return planned


def digest(pipeline: Any, **change: Any) -> str:
    pipeline.function.configuration |= change
    return Functions(pipeline.function, pipeline.settings["Function"]["Arn"]).digest()


@pytest.mark.parametrize(
    "change",
    [
        OLD_CODE,
        {"Runtime": "python3.13"},
        {"Handler": "index.other"},
        {"Environment": {"Variables": {"UNIT": "F"}}},
        {"Environment": {"Variables": {}}},
        {"Layers": []},
        {"Layers": [{"Arn": "arn:aws:lambda:eu-west-1:111122223333:layer:units:3"}]},
        {"ImageConfigResponse": {"ImageConfig": {"Command": ["index.other"]}}},
    ],
    ids=json.dumps,
)
def test_what_decides_the_results_decides_the_digest(pipeline: Any, change: Any) -> None:
    before = digest(pipeline)

    assert not is_same(digest(pipeline, **change), before)
    assert len(before) == 129


def test_the_order_of_layers_decides_the_digest(pipeline: Any) -> None:
    assert not is_same(
        digest(pipeline), digest(pipeline, Layers=pipeline.function.configuration["Layers"][::-1])
    )


@pytest.mark.parametrize(
    "change",
    [
        {"MemorySize": 512},
        {"RevisionId": "2"},
        {"LastModified": "2026-01-02T00:00:00.000+0000"},
        {"Layers": [{"Arn": f"arn:aws:lambda:eu-west-1:111122223333:layer:units:{n}"} for n in (1, 2)]},
    ],
    ids=json.dumps,
)
def test_what_changes_no_result_does_not_change_the_digest(pipeline: Any, change: Any) -> None:
    assert digest(pipeline) == digest(pipeline, **change)


def test_the_code_decides_where_the_variables_are_not_shown(pipeline: Any) -> None:
    """KMS may not answer once, or may never allow to see them."""
    shown = digest(pipeline)
    hidden = digest(pipeline, Environment={"Error": {"ErrorCode": "AccessDeniedException"}})

    assert is_same(hidden, hidden)
    assert is_same(shown, hidden)
    assert is_same(hidden, shown)
    assert not is_same(shown, digest(pipeline, **OLD_CODE))


def test_a_plan_holds_the_digest_and_nothing_of_the_environment(pipeline: Any, planned: Any) -> None:
    assert planned["Run"]["Plan"]["FunctionDigest"] == digest(pipeline)
    assert "UNIT" not in json.dumps(planned)


def test_a_function_that_has_changed_ends_the_run_before_it_publishes(pipeline: Any, planned: Any) -> None:
    """A failed deploy has brought back the old code, and then the execution is redriven."""
    replayed(pipeline, planned)
    pipeline.function.configuration |= OLD_CODE

    answer = pipeline.finish(planned)

    assert answer == {"Error": "ReplayFailed", "Cause": CHANGED}
    assert pipeline.s3.keys(RESULT, "out/") == []
    assert pipeline.s3.keys(RESULT, "runs/out/run-1/staged/") == []
    summary = json.loads(pipeline.s3.buckets[RESULT]["runs/out/run-1/summary.json"].body)
    assert summary["status"] == "FAILED"


def test_a_function_that_has_changed_ends_the_publishing(pipeline: Any, planned: Any) -> None:
    """The execution was stopped while it published, the function changed, and then the execution is redriven."""
    replayed(pipeline, planned)
    state = pipeline._step("SUMMARISE", planned["Run"], State=planned)
    first, second = pipeline.manifest()
    pipeline._step("PUBLISH", planned["Run"], Batch=first)
    pipeline.function.configuration |= OLD_CODE

    with pytest.raises(ReplayStopped, match="your function has changed since this run was planned"):
        pipeline._step("PUBLISH", planned["Run"], Batch=second)
    answer = pipeline._step("CLOSE", planned["Run"], State=state)

    assert answer["Failure"] == {
        "Error": "PublishingFailed",
        "Cause": f"publishing finished for 1 of 2 objects; {CHANGED}",
    }
    assert len(pipeline.s3.keys(RESULT, "out/")) == 1
    assert len(pipeline.s3.keys(RESULT, "runs/out/run-1/staged/")) == 1


def test_a_function_that_comes_back_as_it_was_is_published(pipeline: Any, planned: Any) -> None:
    replayed(pipeline, planned)
    before = pipeline.function.configuration
    pipeline.function.configuration = before | OLD_CODE
    with pytest.raises(ReplayStopped):
        pipeline._step("PUBLISH", planned["Run"], Batch=pipeline.manifest()[0])

    pipeline.function.configuration = before

    assert pipeline.finish(planned)["status"] == "SUCCEEDED"


def test_a_run_that_has_failed_does_not_look_at_the_function(pipeline: Any, planned: Any) -> None:
    pipeline.function.configuration |= OLD_CODE

    answer = pipeline.finish(planned)

    assert answer["Cause"].startswith("2 of 2 objects and 0 of 0 messages failed")
    assert pipeline.function.looks == 1


def test_a_run_with_nothing_to_publish_does_not_look_at_the_function(pipeline: Any) -> None:
    planned = pipeline.plan(All=True)
    pipeline.function.configuration |= OLD_CODE

    assert pipeline.finish(planned)["status"] == "SUCCEEDED"


def test_a_run_that_an_earlier_version_planned_is_published(pipeline: Any, planned: Any) -> None:
    replayed(pipeline, planned)
    del planned["Run"]["Plan"]["FunctionDigest"]
    pipeline.function.configuration |= OLD_CODE

    assert pipeline.finish(planned)["status"] == "SUCCEEDED"
    assert pipeline.function.looks == 1


def test_batches_published_one_after_the_other_look_at_the_function_once(pipeline: Any, planned: Any) -> None:
    replayed(pipeline, planned)
    handler, now = pipeline.handler(), pipeline.function.looks

    def looks_after(run: Any) -> Any:
        handler({"Step": "PUBLISH", "Run": run, "Batch": pipeline.manifest()[0]}, pipeline.context)
        return pipeline.function.looks - now

    assert looks_after(planned["Run"]) == 1
    pipeline.clock.sleep(29)
    assert looks_after(planned["Run"]) == 1
    pipeline.clock.sleep(2)
    assert looks_after(planned["Run"]) == 2
    # What another run has seen of the function says nothing of this one.
    pipeline.function.configuration |= OLD_CODE
    other = json.loads(json.dumps(planned["Run"]).replace('"run-1"', '"run-2"'))
    with pytest.raises(ReplayStopped, match="your function has changed"):
        looks_after(other)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDeniedException", 403, Denied),
        ("ResourceNotFoundException", 404, ReplayStopped),
        ("TooManyRequestsException", 429, Throttled),
        ("ServiceException", 500, Throttled),
    ],
)
def test_a_function_that_cannot_be_looked_at_is_named_with_the_reason(
    pipeline: Any, code: str, status: int, expected: type[Exception]
) -> None:
    pipeline.function.look_faults.append(fault("GetFunctionConfiguration", code, status))

    with pytest.raises(
        expected, match=f"cannot read the configuration of your function arn:aws:lambda:.*:enrich: {code}: "
    ) as caught:
        digest(pipeline)
    assert type(caught.value) is expected


def test_planning_waits_until_it_may_look_at_the_function(pipeline: Any) -> None:
    pipeline.started = "2026-06-01T00:00:00.000Z"
    pipeline.function.look_faults.append(
        fault("GetFunctionConfiguration", "AccessDeniedException", 403),
    )

    planned = pipeline.plan(All=True)

    assert planned["Run"]["Plan"]["FunctionDigest"] == digest(pipeline)
    assert len(pipeline.clock.slept) == 1


def test_a_function_that_is_gone_ends_the_run_before_it_began(pipeline: Any) -> None:
    pipeline.function.look_faults.append(
        fault("GetFunctionConfiguration", "ResourceNotFoundException", 404),
    )

    answer = pipeline.replay(All=True)

    assert answer["Error"] == "SelectionFailed"
    assert answer["Cause"].startswith("cannot read the configuration of your function arn:")


def test_a_function_that_is_gone_ends_the_run_before_it_publishes(pipeline: Any, planned: Any) -> None:
    replayed(pipeline, planned)
    pipeline.function.look_faults.append(
        fault("GetFunctionConfiguration", "ResourceNotFoundException", 404),
    )

    answer = pipeline.finish(planned)

    assert answer["Error"] == "ReplayFailed"
    assert answer["Cause"].startswith("cannot read the configuration of your function arn:")
    assert pipeline.s3.keys(RESULT, "out/") == []


@pytest.mark.parametrize("step", ["SUMMARISE", "PUBLISH"])
def test_a_step_is_repeated_while_the_function_cannot_be_looked_at(
    pipeline: Any, planned: Any, step: str
) -> None:
    replayed(pipeline, planned)
    pipeline.function.look_faults.append(
        fault("GetFunctionConfiguration", "TooManyRequestsException", 429),
    )

    with pytest.raises(Throttled):
        pipeline._step(step, planned["Run"], State=planned, Batch=pipeline.manifest()[0])

    assert pipeline.finish(planned)["status"] == "SUCCEEDED"
