"""How the steps answer the state machine, also when they cannot do their work."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from object_replay import index
from object_replay.faults import ReplayStopped

START = datetime(2025, 1, 1, tzinfo=UTC)


def fill(pipeline: Any) -> str:
    key: str = pipeline.put(pipeline.channel_key(START), {"t": 1})
    return key


def test_a_selection_that_cannot_be_read_fails_the_run_by_its_name(pipeline: Any) -> None:
    answer = pipeline.plan(StartTime="yesterday")

    assert answer["Failure"]["Error"] == "SelectionFailed"
    assert "yesterday" in answer["Failure"]["Cause"]


def test_an_archive_that_cannot_be_listed_fails_the_run_by_its_name(pipeline: Any) -> None:
    del pipeline.s3.buckets["raw-bucket"]

    answer = pipeline.plan(All=True)

    assert answer["Failure"]["Error"] == "SelectionFailed"
    assert "cannot list s3://raw-bucket/" in answer["Failure"]["Cause"]


@pytest.mark.parametrize(("step", "error"), [("SUMMARISE", "ReplayFailed"), ("CLOSE", "PublishingFailed")])
def test_a_summary_that_cannot_be_written_fails_the_run_by_the_name_of_the_step(
    pipeline: Any, step: str, error: str
) -> None:
    fill(pipeline)
    planned = pipeline.plan(All=True)
    pipeline._child(planned["Run"], pipeline.manifest()[0])
    state = pipeline._step("SUMMARISE", planned["Run"], State={})
    pipeline._step("PUBLISH", planned["Run"], Batch=pipeline.manifest()[0])
    pipeline.s3.denied.add(("PutObject", "summary"))

    answer = pipeline._step(step, planned["Run"], State=state)

    assert list(answer) == ["Failure"]
    assert answer["Failure"]["Error"] == error
    assert answer["Failure"]["Cause"].startswith(
        "cannot write s3://result-bucket/runs/out/run-1/summary.json: "
    )


@pytest.mark.parametrize("step", ["REPLAY", "PUBLISH"])
def test_a_work_item_that_cannot_be_done_fails_its_map(pipeline: Any, step: str) -> None:
    fill(pipeline)
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()
    pipeline._step("REPLAY", planned["Run"], Batch=item)
    pipeline.s3.denied |= {("PutObject", "/staged/"), ("CopyObject", "out/")}

    with pytest.raises(ReplayStopped, match="cannot write s3://result-bucket/"):
        pipeline._step(step, planned["Run"], Batch=item)


def test_steps_without_news_answer_with_an_empty_object(pipeline: Any) -> None:
    pipeline.settings["ToleratedFailurePercentage"] = 100
    fill(pipeline)
    planned = pipeline.plan(All=True)
    [item] = pipeline.manifest()

    given_up = pipeline._step("GIVE_UP", planned["Run"], Batch=item, Error={"Error": "E", "Cause": "c"})
    published = pipeline._step("PUBLISH", planned["Run"], Batch=item)

    assert (given_up, published) == ({}, {})


@pytest.mark.parametrize(
    ("caught", "text"),
    [
        (None, ""),
        ({}, ""),
        ({"Error": "States.Timeout"}, "States.Timeout: None"),
        ({"Error": "E", "Cause": "a text"}, "E: a text"),
        ({"Error": "E", "Cause": "[1]"}, "E: [1]"),
        ({"Error": "E", "Cause": json.dumps({"errorType": "E"})}, 'E: {"errorType": "E"}'),
        ({"Error": "E", "Cause": json.dumps({"errorMessage": "m", "stackTrace": ["s"]})}, "E: m"),
        ({"Error": "E", "Cause": json.dumps({"errorMessage": "half \ud83d of it"})}, "E: half ? of it"),
        ({"Error": "E", "Cause": "x" * 5000}, "E: " + "x" * 1997),
    ],
)
def test_what_the_state_machine_caught_is_told_in_one_line(caught: Any, text: str) -> None:
    assert index._described(caught) == text


def test_the_clients_are_kept_while_the_function_is_warm() -> None:
    assert isinstance(index.handler, index.Handler)
    assert index.handler._clients() is index.handler._clients()
