"""Marks are the names of log streams."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Missing, PerhapsOurs, Throttled
from pipeline_reprocessing_handler.ledger import SUPERSEDING, Ledger

if TYPE_CHECKING:
    from botocore.stub import Stubber
    from tests.handler.conftest import FakeAws, FakeClock

    from pipeline_reprocessing_handler.aws import Aws

GROUP = "handler-logs"
NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)


def test_a_mark_is_an_empty_log_stream(ledger: Ledger, aws: FakeAws) -> None:
    made = ledger.mark("5f2a-10", "run=9d31")

    assert made
    assert list(aws.streams) == ["reprocessing/Backfill/5f2a-10/run=9d31"]


def test_the_second_to_make_a_mark_is_told(ledger: Ledger) -> None:
    first, second = ledger.mark("5f2a-10", "start-1"), ledger.mark("5f2a-10", "start-1")

    assert (first, second) == (True, False)


@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_mark_that_may_be_ours_is_what_the_caller_takes_it_for(
    ledger: Ledger, aws: FakeAws, in_doubt: bool
) -> None:
    aws.scripts["create_log_stream"] = [PerhapsOurs("it exists")]

    assert ledger.mark("5f2a-10", "answer-1", in_doubt=in_doubt) is in_doubt


def test_marks_come_with_their_times_the_oldest_first(ledger: Ledger, clock: FakeClock) -> None:
    for mark in ("before=0~", "start-1", "run=9d31", "answer-1", "answer-sent"):
        ledger.mark("5f2a-10", mark)
        clock.sleep(1)

    marks = ledger.marks("5f2a-10")

    assert list(marks.items()) == [
        ("before=0~", NOW),
        ("start-1", NOW + timedelta(seconds=1)),
        ("run=9d31", NOW + timedelta(seconds=2)),
        ("answer-1", NOW + timedelta(seconds=3)),
        ("answer-sent", NOW + timedelta(seconds=4)),
    ]


def test_a_request_without_marks_has_none(ledger: Ledger) -> None:
    assert ledger.marks("5f2a-10") == {}
    assert ledger.requests() == {}


def test_marks_are_read_page_by_page(ledger: Ledger, aws: FakeAws) -> None:
    for number in range(7):
        ledger.mark("5f2a-10", f"start-{number}")

    marks = ledger.marks("5f2a-10")

    assert len(marks) == 7
    assert aws.operations().count("describe_log_streams") == 4  # two on a page


def test_requests_do_not_see_each_others_marks(ledger: Ledger, clock: FakeClock) -> None:
    ledger.mark("5f2a-1", "start-1")
    clock.sleep(1)
    ledger.mark("5f2a-10", "start-1")
    ledger.mark("5f2a-10", "start-2")

    assert list(ledger.marks("5f2a-1")) == ["start-1"]
    assert {name: list(marks) for name, marks in ledger.requests().items()} == {
        "5f2a-1": ["start-1"],
        "5f2a-10": ["start-1", "start-2"],
    }


def test_resources_do_not_see_each_others_marks(ledger: Ledger, aws: FakeAws) -> None:
    other = Ledger(aws, GROUP, "Backfill2")
    other.mark("5f2a-10", "start-1")

    assert ledger.requests() == {}
    assert ledger.mark("5f2a-10", "start-1")


def test_what_supersedes_is_no_request(ledger: Ledger) -> None:
    ledger.mark(SUPERSEDING, "1738324800.000=5f2a-11")
    ledger.mark("5f2a-10", "start-1")

    assert list(ledger.requests()) == ["5f2a-10"]
    assert list(ledger.marks(SUPERSEDING)) == ["1738324800.000=5f2a-11"]


def test_the_functions_own_log_streams_are_no_marks(ledger: Ledger, aws: FakeAws) -> None:
    aws.streams["2025/01/31/[$LATEST]0b6b2a3e"] = 0

    assert ledger.requests() == {}


@pytest.mark.parametrize("fault", [Denied("no"), Throttled("later"), Missing("no such log group")])
def test_what_goes_wrong_with_the_log_group_is_told(ledger: Ledger, aws: FakeAws, fault: Fault) -> None:
    aws.scripts = {"create_log_stream": [fault], "describe_log_streams": [fault]}

    with pytest.raises(type(fault)):
        ledger.mark("5f2a-10", "start-1")
    with pytest.raises(type(fault)):
        ledger.marks("5f2a-10")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_any_text_can_be_a_mark(aws: FakeAws, logical_id: str, request_id: str, mark: str) -> None:
    aws.streams.clear()
    ledger = Ledger(aws, GROUP, logical_id)

    ledger.mark(request_id, mark)

    (name,) = aws.streams
    assert not {":", "*"} & set(name)  # a log stream's name must not have them
    assert name.isascii()
    assert name.count("/") == 3
    assert list(ledger.marks(request_id)) == [mark]
    assert list(ledger.requests()) == [request_id]


def test_the_calls_are_those_of_cloudwatch_logs(real_aws: Aws, stub: Callable[[str], Stubber]) -> None:
    logs = stub("logs")
    ledger = Ledger(real_aws, GROUP, "Backfill")
    logs.add_response(
        "create_log_stream",
        {},
        {"logGroupName": GROUP, "logStreamName": "reprocessing/Backfill/5f2a-10/start-1"},
    )
    logs.add_client_error("create_log_stream", "ResourceAlreadyExistsException", "it is there", 400)
    prefix = "reprocessing/Backfill/5f2a-10/"
    logs.add_response(
        "describe_log_streams",
        {
            "logStreams": [{"logStreamName": prefix + "start-1", "creationTime": 1738324800000}],
            "nextToken": "t",
        },
        {"logGroupName": GROUP, "logStreamNamePrefix": prefix},
    )
    logs.add_response(
        "describe_log_streams",
        {"logStreams": [{"logStreamName": prefix + "run%3D", "creationTime": 1738324800500}]},
        {"logGroupName": GROUP, "logStreamNamePrefix": prefix, "nextToken": "t"},
    )

    made = ledger.mark("5f2a-10", "start-1"), ledger.mark("5f2a-10", "start-1")
    marks = ledger.marks("5f2a-10")

    assert made == (True, False)
    assert marks == {"start-1": NOW, "run=": NOW + timedelta(milliseconds=500)}


def test_streams_of_others_under_our_name_are_no_marks(ledger: Ledger, aws: FakeAws) -> None:
    aws.streams |= {"reprocessing/": 0, "reprocessing/notes": 0, "reprocessing/Backfill/a/b/c": 0}

    assert ledger.requests() == {}
    assert ledger.recorded_runs(besides="") == frozenset()


def test_recorded_runs_are_those_of_all_other_requests_to_all_resources(ledger: Ledger, aws: FakeAws) -> None:
    ledger.mark("ours", "run=a")
    ledger.mark("another", "run=b")
    Ledger(aws, GROUP, "Second").mark("of another resource", "run=c")

    assert ledger.recorded_runs(besides="ours") == {"b", "c"}
