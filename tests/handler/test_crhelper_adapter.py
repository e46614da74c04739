"""Each hole of crhelper is closed, in the order in which `lifecycle` numbers them."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from pipeline_reprocessing_handler.crhelper_adapter import Lifecycle, NotDelivered
from pipeline_reprocessing_handler.lifecycle import Settled, Waiting
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeContext

    Event = Callable[..., dict[str, Any]]

GROUP = "handler-logs"
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"
DONE = Settled("weather/9d31", {"Status": "SUCCEEDED"})
GOING_ON = Waiting("9d31", 0, 0, "", 0)


def raising(error: Exception) -> Callable[..., Any]:
    def function(event: object, context: object) -> None:
        raise error

    return function


def test_what_a_function_has_settled_is_answered(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(lambda event, context: DONE)

    lifecycle(event_of(), context)

    assert aws.answers[0][0] == RESPONSE_URL
    (answer,) = aws.documents
    assert answer["Status"] == "SUCCESS"
    assert answer["PhysicalResourceId"] == "weather/9d31"
    assert answer["Data"] == {"Status": "SUCCEEDED"}
    assert answer["RequestId"] == "request-1"
    assert answer["LogicalResourceId"] == "Backfill"


@pytest.mark.parametrize("type_", ["Create", "Update", "Delete"])
def test_each_type_of_request_has_its_function(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext, type_: str
) -> None:
    for name in ("create", "update", "delete"):
        getattr(lifecycle, name)(lambda event, context, name=name: Settled(name, {}))

    lifecycle(event_of(type_), context)

    assert aws.documents[0]["PhysicalResourceId"] == type_.lower()


@pytest.mark.parametrize("physical_id", [None, ""])
def test_a_create_that_fails_has_an_id_that_names_no_run(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext, physical_id: str | None
) -> None:
    lifecycle.create(raising(ValueError("oops")))

    lifecycle(event_of(PhysicalResourceId=physical_id), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "weather/not-started")


def test_a_create_that_fails_after_its_start_has_the_id_of_the_run(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(raising(Failure("the run ended FAILED", physical_id="weather/9d31")))

    lifecycle(event_of(), context)

    assert aws.documents[0]["PhysicalResourceId"] == "weather/9d31"


@pytest.mark.parametrize("error", [Failure("oops", physical_id="weather/9d31"), ValueError("oops")])
def test_an_update_that_fails_keeps_its_id(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext, error: Exception
) -> None:
    lifecycle.update(raising(error))

    lifecycle(event_of("Update"), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "weather/run-1")


def test_a_continuation_that_fails_keeps_the_id(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.update(lambda event, context: GOING_ON)
    lifecycle.poll_update(raising(RuntimeError("oops")))

    lifecycle(event_of("Update", CrHelperPoll=True, CrHelperData=GOING_ON.state()), context)

    assert aws.documents[0]["PhysicalResourceId"] == "weather/run-1"


@pytest.mark.parametrize("returned", [None, Settled("", {}), Settled("weather/run-1", {})])
def test_a_delete_answers_with_the_id_that_it_came_with(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext, returned: Settled | None
) -> None:
    lifecycle.delete(lambda event, context: returned)

    lifecycle(event_of("Delete"), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather/run-1")


def test_a_request_whose_pipeline_cannot_be_read_has_an_id_all_the_same(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(raising(Failure("'Pipeline' must be an object, got str")))

    lifecycle(event_of("Create", {"Pipeline": "weather"}), context)

    assert aws.documents[0]["PhysicalResourceId"] == "Backfill/not-started"


def test_who_waits_on_answers_nothing_and_makes_no_rule(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(lambda event, context: GOING_ON)
    lifecycle.poll_create(lambda event, context: GOING_ON)

    lifecycle(event_of(), context)
    lifecycle(event_of(CrHelperPoll=True, CrHelperData=GOING_ON.state()), context)

    assert aws.answers == []
    assert aws.sent == []


def test_a_continuation_goes_to_the_function_that_waits(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    seen: list[Any] = []
    lifecycle.create(raising(AssertionError("the run is started already")))

    @lifecycle.poll_create  # type: ignore[untyped-decorator]  # crhelper has no types
    def look(event: Any, context: object) -> Settled:
        seen.append(event["CrHelperData"])
        return DONE

    lifecycle(event_of(CrHelperPoll=True, CrHelperData=GOING_ON.state()), context)

    assert seen == [GOING_ON.state()]
    assert aws.documents[0]["PhysicalResourceId"] == "weather/9d31"


def test_an_answer_that_is_not_accepted_is_an_error_so_that_lambda_repeats_the_event(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(lambda event, context: DONE)
    aws.http_statuses = [503] * 100

    with pytest.raises(NotDelivered, match=r"^request request-1 of Backfill is not answered$"):
        lifecycle(event_of(), context)


def test_an_error_while_answering_leaves_the_function_without_its_text(
    lifecycle: Any,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lambda itself writes what leaves the function into the log, and redacts nothing."""
    lifecycle.create(lambda event, context: DONE)

    def fail(url: str, body: bytes) -> int:
        raise OSError(f"cannot reach {url}")

    monkeypatch.setattr(aws, "put", fail)

    with pytest.raises(NotDelivered, match=r"^request request-1 of Backfill is not answered$") as failure:
        lifecycle(event_of(), context)

    assert failure.value.__context__ is None
    assert "OSError: cannot reach [secret]" in logged.getvalue()
    assert RESPONSE_URL not in logged.getvalue()


def test_a_long_reason_keeps_its_beginning(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(raising(Failure("pipeline 'weather': " + "so it goes, " * 1000)))

    lifecycle(event_of(), context)

    (_, body) = aws.answers[0]
    assert len(body) <= 4096
    assert json.loads(body)["Reason"].startswith("pipeline 'weather': so it goes, so it goes, ")


def test_no_timer_is_set(lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext) -> None:
    threads: list[int] = []

    @lifecycle.create  # type: ignore[untyped-decorator]  # crhelper has no types
    def count(event: object, context: object) -> Settled:
        threads.append(threading.active_count())
        return DONE

    before = threading.active_count()
    context.remaining = 600  # crhelper's timer would go off at once

    lifecycle(event_of(), context)

    assert threads == [before]
    assert len(aws.answers) == 1


@pytest.mark.parametrize("type_", ["Create", "Delete"])
def test_no_secret_is_logged(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext, logged: io.StringIO, type_: str
) -> None:
    def careless(event: Any, context: object) -> Settled:
        logging.getLogger("crhelper").error("got %s", event)
        logging.getLogger("botocore").error("body %s", json.dumps(event))
        raise OSError(f"cannot reach {event['ResponseURL']}")

    lifecycle.create(careless)
    lifecycle.delete(careless)

    lifecycle(event_of(type_), context)

    assert "OSError: cannot reach [secret]" in logged.getvalue()
    assert "0f1e2d3c4b5a" not in logged.getvalue()


def test_the_event_is_not_logged(
    lifecycle: Any, event_of: Event, context: FakeContext, logged: io.StringIO
) -> None:
    lifecycle.create(lambda event, context: DONE)

    lifecycle(event_of(), context)

    assert "ResourceProperties" not in logged.getvalue()
    assert logging.root.level == logging.INFO


def test_a_delete_is_not_slept_on(
    lifecycle: Any, event_of: Event, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", raising(AssertionError("slept")))
    monkeypatch.setattr("crhelper.resource_helper.sleep", raising(AssertionError("slept")))
    lifecycle.delete(lambda event, context: DONE)

    lifecycle(event_of("Delete"), context)

    assert lifecycle._sleep_on_delete == 0


def test_no_client_is_made_at_construction(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr(boto3, "client", raising(AssertionError("made a client")))

    lifecycle: Any = Lifecycle(aws, GROUP)

    assert lifecycle._init_failed is None


@pytest.mark.parametrize("before", [None, "true"])
def test_the_switch_that_keeps_clients_away_is_put_back(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before:
        monkeypatch.setenv("AWS_SAM_LOCAL", before)

    Lifecycle(aws, GROUP)

    assert os.environ.get("AWS_SAM_LOCAL") == before


def test_no_echo_ends_with_its_event(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    def secretive(event: object, context: object) -> Settled:
        lifecycle.NoEcho = True
        return DONE

    lifecycle.create(secretive)
    lifecycle.update(lambda event, context: DONE)

    lifecycle(event_of("Create"), context)
    lifecycle(event_of("Update"), context)

    assert [answer["NoEcho"] for answer in aws.documents] == [True, False]


def test_nothing_of_an_event_is_in_the_answer_to_the_next(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(lambda event, context: DONE)
    lifecycle.delete(raising(ValueError("oops")))

    lifecycle(event_of("Create", LogicalResourceId="One"), context)
    lifecycle(
        event_of("Delete", LogicalResourceId="Two", ResponseURL="https://two.example/?X=1"),
        context,
    )
    lifecycle(event_of("Create", LogicalResourceId="Three"), context)

    first, second, third = aws.documents
    assert [url for url, _ in aws.answers] == [RESPONSE_URL, "https://two.example/?X=1", RESPONSE_URL]
    assert (second["Status"], second["Reason"], second["Data"]) == ("FAILED", "ValueError: oops", {})
    assert (second["LogicalResourceId"], second["PhysicalResourceId"]) == ("Two", "weather/run-1")
    assert (third["Status"], third["Reason"]) == ("SUCCESS", "")
    assert {**third, "LogicalResourceId": "One", "RequestId": "request-1"} == first


def test_an_event_that_cannot_be_dispatched_is_not_answered_to_the_last_one(
    lifecycle: Any, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    lifecycle.create(lambda event, context: DONE)

    lifecycle(event_of("Create", LogicalResourceId="One"), context)
    lifecycle(
        event_of("Create", missing=("RequestType",), LogicalResourceId="Two", PhysicalResourceId=None),
        context,
    )

    assert [answer["LogicalResourceId"] for answer in aws.documents] == ["One", "Two"]
    assert [answer["PhysicalResourceId"] for answer in aws.documents] == [
        "weather/9d31",
        "weather/not-started",
    ]
