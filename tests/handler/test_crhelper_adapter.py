"""Each hole of crhelper is closed, in the order in which `crhelper_adapter` numbers them."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from pipeline_reprocessing_handler.aws_errors import Throttled
from pipeline_reprocessing_handler.crhelper_adapter import CrhelperAdapter, NotDelivered
from pipeline_reprocessing_handler.invocation import Invocation, Waiting
from pipeline_reprocessing_handler.response import LEDGER_FOR, Answer
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeContext

    Event = Callable[..., dict[str, Any]]
    AdapterOf = Callable[..., CrhelperAdapter]

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
RESPONSE_URL = "https://answers.example/s3?X-Amz-Signature=0f1e2d3c4b5a"
DONE = Answer("weather/9d31", {"Status": "SUCCEEDED"})
GOING_ON = Waiting("9d31", 0, 0, "", 0)


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: object) -> None:
        raise error

    return function


def test_what_a_function_has_settled_is_answered(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter_of(begin=lambda _: DONE)(event_of(), context)

    assert aws.answers[0][0] == RESPONSE_URL
    (answer,) = aws.documents
    assert answer["Status"] == "SUCCESS"
    assert answer["PhysicalResourceId"] == "weather/9d31"
    assert answer["Data"] == {"Status": "SUCCEEDED"}
    assert answer["RequestId"] == "request-1"
    assert answer["LogicalResourceId"] == "Backfill"


@pytest.mark.parametrize("type_", ["Create", "Update", "Delete"])
def test_each_type_of_request_has_its_function(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext, type_: str
) -> None:
    functions = {name: lambda _, name=name: Answer(name) for name in ("begin", "remove")}

    adapter_of(**functions)(event_of(type_), context)

    assert aws.documents[0]["PhysicalResourceId"] == ("remove" if type_ == "Delete" else "begin")


@pytest.mark.parametrize("physical_id", [None, ""])
def test_a_create_that_fails_has_an_id_that_names_no_run(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext, physical_id: str | None
) -> None:
    adapter_of(begin=raising(ValueError("oops")))(event_of(PhysicalResourceId=physical_id), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "weather/not-started")


def test_a_create_that_fails_after_its_start_has_the_id_of_the_run(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter_of(begin=raising(Failure("the run ended FAILED", physical_id="weather/9d31")))(
        event_of(), context
    )

    assert aws.documents[0]["PhysicalResourceId"] == "weather/9d31"


@pytest.mark.parametrize("error", [Failure("oops", physical_id="weather/9d31"), ValueError("oops")])
def test_an_update_that_fails_keeps_its_id(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext, error: Exception
) -> None:
    adapter_of(begin=raising(error))(event_of("Update"), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "weather/run-1")


def test_a_continuation_that_fails_keeps_the_id(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter = adapter_of(go_on=raising(RuntimeError("oops")))

    adapter(event_of("Update", CrHelperPoll=True, CrHelperData=asdict(GOING_ON)), context)

    assert aws.documents[0]["PhysicalResourceId"] == "weather/run-1"


@pytest.mark.parametrize("returned", [Answer(""), Answer("weather/run-1")])
def test_a_delete_answers_with_the_id_that_it_came_with(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext, returned: Answer
) -> None:
    adapter_of(remove=lambda _: returned)(event_of("Delete"), context)

    (answer,) = aws.documents
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "weather/run-1")


def test_a_request_whose_pipeline_cannot_be_read_has_an_id_all_the_same(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter_of(begin=raising(Failure("'Pipeline' must be an object, got str")))(
        event_of("Create", {"Pipeline": "weather"}), context
    )

    assert aws.documents[0]["PhysicalResourceId"] == "Backfill/not-started"


def test_an_invocation_that_has_handed_over_answers_nothing_and_makes_no_rule(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter = adapter_of(begin=lambda _: GOING_ON, go_on=lambda _: GOING_ON)

    adapter(event_of(), context)
    adapter(event_of(CrHelperPoll=True, CrHelperData=asdict(GOING_ON)), context)

    assert aws.answers == []
    assert aws.sent == []


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_a_continuation_goes_to_the_function_that_waits(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext, type_: str
) -> None:
    seen: list[Any] = []

    def look(invocation: Invocation) -> Answer:
        seen.append(invocation.event["CrHelperData"])
        return DONE

    adapter_of(go_on=look)(event_of(type_, CrHelperPoll=True, CrHelperData=asdict(GOING_ON)), context)

    assert seen == [asdict(GOING_ON)]
    assert aws.documents[0]["PhysicalResourceId"] == "weather/9d31"


def test_lambda_repeats_an_event_whose_answer_is_not_accepted(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    aws.http_statuses = [503] * 100

    with pytest.raises(NotDelivered, match=r"^request request-1 of Backfill is not answered$"):
        adapter_of(begin=lambda _: DONE)(event_of(), context)


def test_an_error_while_answering_leaves_the_function_without_its_text(
    adapter_of: AdapterOf,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lambda itself writes what leaves the function into the log, and redacts nothing."""

    def fail(url: str, body: bytes) -> int:
        raise OSError(f"cannot reach {url}")

    monkeypatch.setattr(aws, "put", fail)

    with pytest.raises(NotDelivered, match=r"^request request-1 of Backfill is not answered$") as failure:
        adapter_of(begin=lambda _: DONE)(event_of(), context)

    assert failure.value.__context__ is None
    assert "OSError: cannot reach [secret]" in logged.getvalue()
    assert RESPONSE_URL not in logged.getvalue()


def test_a_long_reason_keeps_its_beginning(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter_of(begin=raising(Failure("pipeline 'weather': " + "so it goes, " * 1000)))(event_of(), context)

    (_, body) = aws.answers[0]
    assert len(body) <= 4096
    assert json.loads(body)["Reason"].startswith("pipeline 'weather': so it goes, so it goes, ")


def test_no_timer_is_set(adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext) -> None:
    threads: list[int] = []

    def count(_: object) -> Answer:
        threads.append(threading.active_count())
        return DONE

    before = threading.active_count()
    context.remaining = 600  # crhelper's timer would go off at once

    adapter_of(begin=count)(event_of(), context)

    assert threads == [before]
    assert len(aws.answers) == 1


@pytest.mark.parametrize("type_", ["Create", "Delete"])
def test_no_secret_is_logged(
    adapter_of: AdapterOf,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    logged: io.StringIO,
    type_: str,
) -> None:
    def careless(invocation: Invocation) -> Answer:
        logging.getLogger("crhelper").error("got %s", invocation.event)
        logging.getLogger("botocore").error("body %s", json.dumps(invocation.event))
        raise OSError(f"cannot reach {invocation.event['ResponseURL']}")

    adapter_of(begin=careless, remove=careless)(event_of(type_), context)

    assert "OSError: cannot reach [secret]" in logged.getvalue()
    assert "0f1e2d3c4b5a" not in logged.getvalue()


def test_the_event_is_not_logged(
    adapter_of: AdapterOf, event_of: Event, context: FakeContext, logged: io.StringIO
) -> None:
    adapter_of(begin=lambda _: DONE)(event_of(), context)

    assert "ResourceProperties" not in logged.getvalue()
    assert logging.root.level == logging.INFO


def test_a_delete_is_not_slept_on(
    adapter_of: AdapterOf, event_of: Event, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", raising(AssertionError("slept")))
    monkeypatch.setattr("crhelper.resource_helper.sleep", raising(AssertionError("slept")))
    adapter: Any = adapter_of(remove=lambda _: DONE)

    adapter(event_of("Delete"), context)

    assert adapter._sleep_on_delete == 0


def test_no_client_is_made_at_construction(adapter_of: AdapterOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr(boto3, "client", raising(AssertionError("made a client")))

    adapter: Any = adapter_of()

    assert adapter._init_failed is None


@pytest.mark.parametrize("before", [None, "true"])
def test_the_switch_that_keeps_clients_away_is_put_back(
    adapter_of: AdapterOf, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before:
        monkeypatch.setenv("AWS_SAM_LOCAL", before)

    adapter_of()

    assert os.environ.get("AWS_SAM_LOCAL") == before


def test_no_echo_ends_with_its_event(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    def secretive(invocation: Invocation) -> Answer:
        adapter.NoEcho = invocation.type == "Create"
        return DONE

    adapter: Any = adapter_of(begin=secretive, remove=lambda _: DONE)

    adapter(event_of("Create"), context)
    adapter(event_of("Delete"), context)

    assert [answer["NoEcho"] for answer in aws.documents] == [True, False]


def test_nothing_of_an_event_is_in_the_answer_to_the_next(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter = adapter_of(begin=lambda _: DONE, remove=raising(ValueError("oops")))

    adapter(event_of("Create", LogicalResourceId="One"), context)
    adapter(
        event_of("Delete", LogicalResourceId="Two", ResponseURL="https://two.example/?X=1"),
        context,
    )
    adapter(event_of("Create", LogicalResourceId="Three"), context)

    first, second, third = aws.documents
    assert [url for url, _ in aws.answers] == [RESPONSE_URL, "https://two.example/?X=1", RESPONSE_URL]
    assert (second["Status"], second["Reason"], second["Data"]) == ("FAILED", "ValueError: oops", {})
    assert (second["LogicalResourceId"], second["PhysicalResourceId"]) == ("Two", "weather/run-1")
    assert (third["Status"], third["Reason"]) == ("SUCCESS", "")
    assert {**third, "LogicalResourceId": "One", "RequestId": "request-1"} == first


def test_a_signal_of_an_event_is_not_sent_with_the_next(
    adapter_of: AdapterOf,
    aws: FakeAws,
    event_of: Event,
    context: FakeContext,
    properties: dict[str, Any],
) -> None:
    properties["Wait"] = {"TimeoutSeconds": "7200", "SignalUrl": "https://signals.example/wait"}
    outcomes = iter([replace(DONE, ends_wait=True)])
    adapter = adapter_of(begin=lambda _: next(outcomes))  # the second time an error
    adapter(event_of("Create", properties), context)
    adapter(event_of("Create", properties), context)

    assert [url for url, _ in aws.answers] == ["https://signals.example/wait", RESPONSE_URL, RESPONSE_URL]


def test_an_event_that_cannot_be_dispatched_is_not_answered_to_the_last_one(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    adapter = adapter_of(begin=lambda _: DONE)

    adapter(event_of("Create", LogicalResourceId="One"), context)
    adapter(
        event_of("Create", missing=("RequestType",), LogicalResourceId="Two", PhysicalResourceId=None),
        context,
    )

    first, second = aws.documents
    assert (first["LogicalResourceId"], first["PhysicalResourceId"]) == ("One", "weather/9d31")
    assert (second["LogicalResourceId"], second["PhysicalResourceId"]) == ("Two", "Two/not-started")


def test_the_ledger_delays_an_answer_by_seconds_only(
    adapter_of: AdapterOf, aws: FakeAws, event_of: Event, context: FakeContext
) -> None:
    aws.scripts = {"create_log_stream": [Throttled("busy")], "describe_log_streams": [Throttled("busy")]}

    adapter_of(begin=lambda _: DONE)(event_of(), context)

    assert len(aws.answers) == 1
    assert timedelta(seconds=5) < aws.time.now() - NOW <= LEDGER_FOR
