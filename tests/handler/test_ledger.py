"""Notes and claims are the names of log streams."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_reprocessing_handler.aws_errors import Denied, Fault, Missing, PerhapsOurs, Throttled
from pipeline_reprocessing_handler.invocation import Invocation
from pipeline_reprocessing_handler.ledger import History, Ledger, Record

if TYPE_CHECKING:
    from botocore.stub import Stubber
    from tests.handler.conftest import FakeAws, FakeClock, FakeContext

    from pipeline_reprocessing_handler.aws import Aws

    LedgerOf = Callable[..., Ledger]
    Of = Callable[..., Invocation]

GROUP = "handler-logs"
NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FOLDER = "reprocessing/Backfill-a2e91303c707"
ANOTHER_STACK = "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/made-again"
MISSING = "the handler's log group 'handler-logs' does not exist; create it under that name and deploy again"


def test_a_note_is_a_stream_below_the_falling_time_of_its_request(ledger: Ledger, aws: FakeAws) -> None:
    ledger.note("asks~Create~0123")

    assert list(aws.streams) == [f"{FOLDER}/8261675200000/request-1/asks~Create~0123"]
    assert 10**13 - NOW.timestamp() * 1000 == 8261675200000


def test_the_streams_of_a_newer_request_sort_first(ledger_of: LedgerOf, aws: FakeAws) -> None:
    for made_at in (datetime(2001, 9, 9, tzinfo=UTC), NOW, datetime(2286, 1, 1, tzinfo=UTC)):
        ledger_of(f"made-{made_at.year}", made_at=made_at).note("run~1")

    assert [name.split("/")[3] for name in sorted(aws.streams)] == ["made-2286", "made-2025", "made-2001"]


def test_a_claim_is_a_stream_beside_the_notes(ledger: Ledger, aws: FakeAws) -> None:
    ledger.claim("start-1")

    assert list(aws.streams) == [f"{FOLDER}/claims/request-1/start-1"]


def test_a_note_is_made_once_however_often_it_is_said(ledger: Ledger, aws: FakeAws) -> None:
    ledger.note("run~9d31")
    ledger.note("run~9d31")

    assert len(aws.streams) == 1


def test_the_second_to_claim_is_told(ledger: Ledger) -> None:
    assert [ledger.claim("start-1"), ledger.claim("start-1"), ledger.claim("start-2")] == [True, False, True]


def test_a_claim_in_doubt_is_taken_for_anothers(ledger: Ledger, aws: FakeAws) -> None:
    aws.scripts["create_log_stream"] = [PerhapsOurs("it exists")]

    assert not ledger.claim("start-1")


@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_claim_that_may_be_ours_is_what_the_caller_takes_it_for(
    ledger: Ledger, aws: FakeAws, in_doubt: bool
) -> None:
    aws.scripts["create_log_stream"] = [PerhapsOurs("it exists")]

    assert ledger.claim("answer-1", in_doubt=in_doubt) is in_doubt


def test_the_claims_of_a_request_come_with_their_times(
    ledger: Ledger, ledger_of: LedgerOf, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    clock.sleep(90)
    ledger.claim("start-2")
    ledger_of("request-10").claim("start-1")

    assert ledger.claims("request-1") == {"start-1": NOW, "start-2": NOW + timedelta(seconds=90)}
    assert ledger.claims("request-2") == {}


def test_notes_come_with_their_times(ledger: Ledger, clock: FakeClock) -> None:
    notes = ["run~9d31", "asks~Create~0123", "answer~Create~SUCCESS"]
    for note in notes:
        ledger.note(note)
        clock.sleep(1)

    own = ledger.read().own

    assert own.notes == {note: NOW + timedelta(seconds=second) for second, note in enumerate(notes)}


def test_a_request_without_notes_is_as_old_as_it_says(ledger: Ledger, clock: FakeClock) -> None:
    clock.sleep(60)

    assert ledger.read() == History(Record("request-1", NOW), ())


def test_other_requests_come_the_newest_first(ledger_of: LedgerOf) -> None:
    for minutes in (2, -1, 1, -2):
        ledger_of(f"at {minutes}", made_at=NOW + minutes * MINUTE).note("asks~Update~0123")

    history = ledger_of().read()

    assert [record.request_id for record in history.others] == ["at 2", "at 1", "at -1", "at -2"]
    assert [record.request_id for record in history.earlier_deploys] == ["at -1", "at -2"]


def test_a_request_that_came_again_undated_is_one_that_is_as_old_as_its_first_note(
    ledger_of: LedgerOf,
) -> None:
    ledger_of("again", made_at=NOW - 2 * MINUTE).note("asks~Create~0123")
    ledger_of("again", made_at=NOW - MINUTE).note("asks~Create~0123")
    ledger_of("request-1", made_at=NOW - MINUTE).note("run~9d31")

    history = ledger_of("request-1", made_at=NOW).read()

    assert [(each.request_id, each.made_at) for each in history.others] == [("again", NOW - 2 * MINUTE)]
    assert history.own.made_at == NOW - MINUTE
    assert ledger_of("request-1", made_at=NOW - 2 * MINUTE).read().own.made_at == NOW - 2 * MINUTE


def test_streams_are_read_page_by_page(ledger: Ledger, aws: FakeAws) -> None:
    for number in range(7):
        ledger.note(f"run~{number}")

    assert len(ledger.read().own.notes) == 7
    assert aws.operations().count("describe_log_streams") == 4  # two on a page


def test_claims_are_not_read_as_notes(ledger: Ledger) -> None:
    ledger.claim("start-1")
    ledger.note("run~9d31")

    assert list(ledger.read().own.notes) == ["run~9d31"]


@pytest.mark.parametrize(
    "other",
    [{"LogicalResourceId": "Backfill2"}, {"StackId": ANOTHER_STACK}, {"LogicalResourceId": "Back"}],
    ids=["another resource", "another stack", "the beginning of its name"],
)
def test_resources_and_stacks_with_one_log_group_do_not_read_each_other(
    ledger: Ledger, ledger_of: LedgerOf, other: dict[str, str]
) -> None:
    theirs = ledger_of("request-9", **other)
    theirs.note("asks~Update~0123")
    theirs.claim("start-1")

    assert ledger.read().others == ()
    assert ledger.claims("request-9") == {}
    assert ledger_of("request-9").claim("start-1")


def test_a_run_has_the_requests_that_own_it_whatever_their_resource(
    ledger: Ledger, ledger_of: LedgerOf, aws: FakeAws
) -> None:
    ledger.own_run("9d31")
    ledger_of("request-9", StackId=ANOTHER_STACK).own_run("9d31")
    ledger.own_run("9d")

    assert ledger.owners("9d31") == {"request-1", "request-9"}
    assert ledger.owners("9d") == {"request-1"}
    assert ledger.owners("a") == set()
    assert min(aws.streams) == "reprocessing/runs/9d/request-1"


def test_the_functions_own_log_streams_are_no_notes(ledger: Ledger, aws: FakeAws) -> None:
    aws.streams["2025/01/31/[$LATEST]0b6b2a3e"] = 0

    assert ledger.read().others == ()


def test_reading_stops_after_two_settled_deploys(
    ledger: Ledger, ledger_of: LedgerOf, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(aws), "PAGE", 50)  # as CloudWatch Logs
    for number in range(1, 1000):
        old = ledger_of(f"deploy-{number}", made_at=NOW - number * MINUTE)
        for note in ("asks~Update~0123", f"run~{number}", "answer~Update~SUCCESS", "signal~Update~SUCCESS"):
            old.note(note)
        old.claim("answer-1")
    assert len(aws.streams) > 4990

    history = ledger.read()

    assert [each.request_id for each in history.others] == ["deploy-1", "deploy-2"]
    assert aws.operations().count("describe_log_streams") == 1


def test_reading_goes_on_beyond_requests_that_were_not_settled(ledger_of: LedgerOf) -> None:
    said = {
        "never answered": "asks~Update~0123",
        "newest": "answer~Update~FAILED",
        "removal": "answer~Delete~SUCCESS",
        "second": "answer~Create~SUCCESS",
        "third": "answer~Create~SUCCESS",
    }
    for age, (request_id, note) in enumerate(said.items()):
        ledger_of(request_id, made_at=NOW - age * MINUTE).note(note)

    # its own answer, given before this event was delivered again, does not count
    history = ledger_of("newest", made_at=NOW - MINUTE).read()

    assert [each.request_id for each in history.others] == ["never answered", "removal", "second", "third"]
    assert [each.request_id for each in ledger_of().read().others] == list(said)[:4]


@pytest.mark.parametrize("fault", [Denied("no"), Throttled("later")])
def test_what_goes_wrong_with_the_log_group_is_told(ledger: Ledger, aws: FakeAws, fault: Fault) -> None:
    aws.scripts = {"create_log_stream": [fault], "describe_log_streams": [fault]}

    for action in (lambda: ledger.claim("start-1"), lambda: ledger.note("run~1"), ledger.read):
        with pytest.raises(type(fault)) as raised:
            action()
        assert raised.value is fault


def test_a_log_group_that_is_gone_is_named_with_the_way_out(ledger: Ledger, aws: FakeAws) -> None:
    gone = Missing("logs: ResourceNotFoundException: The specified log group does not exist.")
    aws.scripts = {"create_log_stream": [gone], "describe_log_streams": [gone]}

    for action in (lambda: ledger.claim("start-1"), lambda: ledger.note("run~1"), ledger.read):
        with pytest.raises(Missing) as raised:
            action()
        assert str(raised.value) == MISSING


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_any_text_can_be_noted(
    aws: FakeAws, ledger_of: LedgerOf, logical_id: str, request_id: str, note: str
) -> None:
    aws.streams.clear()
    ledger = ledger_of(request_id, LogicalResourceId=logical_id)

    ledger.note(note)
    ledger.claim(note)

    for name in aws.streams:
        assert not {":", "*"} & set(name)  # a log stream's name must not have them
        assert name.isascii()
        assert name.count("/") == 4
    assert list(ledger.read().own.notes) == [note]
    assert list(ledger.claims(request_id)) == [note]


def test_the_longest_names_fit_a_log_stream(ledger_of: LedgerOf, aws: FakeAws) -> None:
    ledger = ledger_of("5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f", LogicalResourceId="B" * 255)

    ledger.note("before~" + "~".join(["1738324800.123456", *["0a1b2c3d"] * 30]))
    ledger.note("run~" + "B" * 80)

    assert max(map(len, aws.streams)) <= 512


def test_the_calls_are_those_of_cloudwatch_logs(
    real_aws: Aws, stub: Callable[[str], Stubber], invocation_of: Of
) -> None:
    logs = stub("logs")
    ledger = Ledger(real_aws, GROUP, invocation_of())
    stream = {"logGroupName": GROUP, "logStreamName": f"{FOLDER}/claims/request-1/start-1"}
    logs.add_response("create_log_stream", {}, stream)
    logs.add_client_error("create_log_stream", "ResourceAlreadyExistsException", "it is there", 400)
    own = f"{FOLDER}/8261675200000/request-1/"
    listing = {"logGroupName": GROUP, "logStreamNamePrefix": f"{FOLDER}/"}
    first = {"logStreamName": own + "asks~Create~0123", "creationTime": 1738324800000}
    second = {"logStreamName": own + "run~%3A", "creationTime": 1738324800500}
    logs.add_response("describe_log_streams", {"logStreams": [first], "nextToken": "t"}, listing)
    logs.add_response("describe_log_streams", {"logStreams": [second]}, {**listing, "nextToken": "t"})

    claimed = ledger.claim("start-1"), ledger.claim("start-1")
    notes = ledger.read().own.notes

    assert claimed == (True, False)
    assert notes == {"asks~Create~0123": NOW, "run~:": NOW + timedelta(milliseconds=500)}


def record(request_id: str, minutes: int, *notes: str) -> Record:
    return Record(request_id, NOW + minutes * MINUTE, dict.fromkeys(notes, NOW))


def history_of(*others: Record) -> History:
    return History(record("own", 0), others)


@pytest.mark.parametrize(
    ("notes", "succeeded", "answered"),
    [
        ([], False, False),
        (["asks~Create~0123", "run~9d31"], False, False),
        (["answer~Create~SUCCESS"], True, True),
        (["answer~Create~FAILED"], False, True),
        (["answer~Create~SUCCESS", "signal~Create~SUCCESS"], True, True),
        (["answer~Create~SUCCESS", "signal~Create~FAILED"], False, True),
        (["signal~Create~SUCCESS"], True, False),
    ],
)
def test_a_request_has_succeeded_when_all_that_was_told_is_well(
    notes: list[str], succeeded: bool, answered: bool
) -> None:
    told = record("a", -1, *notes)

    assert (told.has_succeeded, told.is_answered) == (succeeded, answered)


def test_of_two_notes_on_a_subject_the_oldest_counts() -> None:
    twice = record("a", -1, "asks~Create~0123", "run~first", "run~second")

    assert twice.said("run") == "first"
    assert twice.said("ru") is None
    assert (twice.asks_for, record("b", -1).asks_for) == ("0123", "")


@pytest.mark.parametrize(
    ("minutes", "asks", "superseded"),
    [
        (1, "asks~Update~0123", True),
        (1, "asks~Delete~", True),
        (1, "asks~Create~0123", False),
        (1, "answer~Delete~SUCCESS", False),
        (0, "asks~Update~0123", False),
        (-1, "asks~Update~0123", False),
    ],
)
def test_a_later_update_or_removal_supersedes_a_request(minutes: int, asks: str, superseded: bool) -> None:
    assert history_of(record("a", minutes, asks)).is_superseded is superseded


def test_earlier_deploys_are_creates_and_updates_of_before() -> None:
    history = history_of(
        record("later", 1, "asks~Update~0123"),
        record("at once", 0, "asks~Update~0123"),
        record("removal", -1, "asks~Delete~"),
        record("known by its answer", -2, "answer~Create~FAILED"),
        record("unknown", -3, "run~9d31"),
    )

    assert [each.request_id for each in history.earlier_deploys] == ["at once", "known by its answer"]


@pytest.fixture
def rollback(invocation_of: Of, properties: dict[str, Any]) -> Invocation:
    """From trigger b back to a."""
    return invocation_of(
        "Update",
        {**properties, "Trigger": "a" * 64},
        OldResourceProperties={**properties, "Trigger": "b" * 64},
    )


@pytest.mark.parametrize(
    ("newest", "older", "verdict"),
    [
        ("asks~Update~{b}", "answer~Create~SUCCESS", True),
        ("answer~Update~FAILED", "answer~Create~SUCCESS", True),
        ("answer~Update~SUCCESS", "answer~Create~SUCCESS", False),  # a change back by hand
        ("answer~Update~FAILED", "answer~Create~FAILED", False),
        ("answer~Update~FAILED", "asks~Create~{a}", False),
    ],
)
def test_a_return_from_a_failed_deploy_to_one_that_succeeded_is_a_rollback(
    rollback: Invocation, logged: io.StringIO, newest: str, older: str, verdict: bool
) -> None:
    assert rollback.previous
    digests = {"a": rollback.properties.digest, "b": rollback.previous.digest}
    history = history_of(
        record("newest", -1, f"asks~Update~{digests['b']}", newest.format(**digests)),
        record("older", -2, f"asks~Create~{digests['a']}", older.format(**digests)),
    )

    assert history.looks_like_a_rollback(rollback) is verdict

    said = "rolling back" if verdict else "being updated"
    assert logged.getvalue() == (
        f"[WARNING] the stack's status is not known; by its earlier requests it is {said}\n"
    )


@pytest.mark.parametrize("swap", ["newest", "older"])
def test_a_deploy_of_something_else_is_no_rollback(rollback: Invocation, swap: str) -> None:
    assert rollback.previous
    asks = {"newest": rollback.previous.digest, "older": rollback.properties.digest, swap: "0123"}
    history = history_of(
        record("newest", -1, f"asks~Update~{asks['newest']}", "answer~Update~FAILED"),
        record("older", -2, f"asks~Create~{asks['older']}", "answer~Create~SUCCESS"),
    )

    assert not history.looks_like_a_rollback(rollback)


def test_the_first_deploys_are_no_rollback(rollback: Invocation) -> None:
    assert not history_of().looks_like_a_rollback(rollback)
    assert not history_of(
        record("first", -1, f"asks~Create~{rollback.properties.digest}", "answer~Create~SUCCESS")
    ).looks_like_a_rollback(rollback)


def test_a_return_from_a_deploy_that_could_not_be_read_is_a_rollback(
    event_of: Callable[..., dict[str, Any]], context: FakeContext
) -> None:
    event = event_of("Update", OldResourceProperties={"Pipeline": "unreadable"})
    back = Invocation.parse(event, context, NOW)
    history = history_of(
        record("unreadable", -1, "answer~Update~FAILED"),
        record("older", -2, f"asks~Create~{back.properties.digest}", "answer~Create~SUCCESS"),
    )

    assert history.looks_like_a_rollback(back)
