"""A start of an API without a client token: who may send it, who adopts its run, and who waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pipeline_reprocessing_handler.aws_errors import (
    Conflict,
    Denied,
    Fault,
    Refused,
    Throttled,
    Unclear,
    Unreachable,
)
from pipeline_reprocessing_handler.invocation import START_BY, Invocation
from pipeline_reprocessing_handler.ledger import Ledger, Record
from pipeline_reprocessing_handler.pipelines.start_once import LEASE, SEND_FOR, WATCH, StartOnce
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    from tests.handler.conftest import FakeAws, FakeClock

NOW = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)


class Runs:
    """The runs of a pipeline, in the order in which they began; a bookmark is their number."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.began: dict[str, datetime] = {}
        self.trouble: dict[str, list[Fault]] = {}
        """What the next calls of a method raise."""
        self.sent_at: list[datetime] = []
        self.takes_unclear_starts = False
        self.listed_after = timedelta()

    def bookmark(self) -> str:
        self._trouble("bookmark")
        return str(len(self.began))

    def newer_runs(self, bookmark: str, until: datetime | None = None) -> list[str]:
        self._trouble("newer_runs")
        return [
            run_id
            for run_id, began in list(self.began.items())[int(bookmark) :]
            if began + self.listed_after <= self.clock.now() and (until is None or began <= until)
        ]

    def send_start(self, request: Invocation) -> str:
        self.sent_at.append(self.clock.now())
        try:
            self._trouble("send_start")
        except Unclear:
            if self.takes_unclear_starts:
                self.begin()
            raise
        return self.begin()

    def begin(self) -> str:
        run_id = f"run-{len(self.began) + 1}"
        self.began[run_id] = self.clock.now()
        return run_id

    def _trouble(self, method: str) -> None:
        if self.trouble.get(method):
            raise self.trouble[method].pop(0)


@pytest.fixture
def runs(clock: FakeClock) -> Runs:
    return Runs(clock)


@pytest.fixture
def create(invocation_of: Callable[..., Invocation]) -> Invocation:
    return invocation_of()


@pytest.fixture
def once(runs: Runs, ledger: Ledger, aws: FakeAws) -> StartOnce:
    return StartOnce(runs, ledger, aws.patient(NOW + START_BY))


@pytest.fixture
def start(once: StartOnce, create: Invocation, ledger: Ledger) -> Callable[[], str]:
    """Starts the run of `request-1`, which was made at NOW."""
    return lambda: once.start(create, lambda: ledger.read().own)


def meanwhile(clock: FakeClock, seconds: float, action: Callable[[], object]) -> None:
    """Does something once so many seconds have been slept."""
    sleep, when = clock.sleep, clock.now() + timedelta(seconds=seconds)

    def and_then(seconds: float) -> None:
        is_due = clock.now() < when <= clock.now() + timedelta(seconds=seconds)
        sleep(seconds)
        if is_due:
            action()

    clock.sleep = and_then  # type: ignore[method-assign]  # what happens meanwhile


def test_a_start_leaves_its_claim_and_notes(start: Callable[[], str], aws: FakeAws) -> None:
    assert start() == "run-1"

    assert aws.notes() == ["start-1", "before~0", "run~run-1", "request-1"]


def test_a_request_that_comes_again_has_its_noted_run(start: Callable[[], str], runs: Runs) -> None:
    assert [start(), start()] == ["run-1", "run-1"]

    assert len(runs.sent_at) == 1


def test_the_second_adopts_the_run_as_soon_as_it_is_noted(
    start: Callable[[], str], ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    meanwhile(clock, 10, lambda: ledger.note("run~theirs"))

    assert start() == "theirs"

    assert clock.now() <= NOW + timedelta(seconds=13)
    assert runs.sent_at == []


def test_the_second_waits_until_the_claim_is_over_and_no_longer(
    start: Callable[[], str], ledger: Ledger, aws: FakeAws, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    clock.sleep(40)

    start()

    assert NOW + LEASE <= clock.now() <= NOW + LEASE + timedelta(seconds=3)
    assert "start-2" in aws.notes()


def test_a_take_over_looks_for_the_run_of_the_dead_first(
    start: Callable[[], str], ledger: Ledger, runs: Runs
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    runs.begin()  # and died

    assert start() == "run-1"

    assert runs.sent_at == []


def test_a_run_that_another_request_owns_is_not_adopted(
    start: Callable[[], str], ledger: Ledger, ledger_of: Callable[..., Ledger], runs: Runs
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    ledger_of("request-9", LogicalResourceId="Another").own_run(runs.begin())

    assert start() == "run-2"


def test_a_run_that_this_request_owns_is_adopted(
    start: Callable[[], str], ledger: Ledger, runs: Runs
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    ledger.own_run(runs.begin())

    assert start() == "run-1"


def test_a_claim_is_not_waited_for_beyond_the_time_to_start(
    start: Callable[[], str], ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    clock.sleep(START_BY.total_seconds() - 30)
    ledger.claim("start-1")

    with pytest.raises(Failure, match=r"^pipeline 'weather': the run could not be started in time$"):
        start()

    assert clock.now() <= NOW + START_BY + timedelta(seconds=3)
    assert runs.sent_at == []


def test_a_request_that_comes_too_late_starts_nothing_and_frees_its_claim(
    start: Callable[[], str], aws: FakeAws, runs: Runs, clock: FakeClock
) -> None:
    clock.sleep(START_BY.total_seconds())

    with pytest.raises(Failure, match=r"^pipeline 'weather': the run could not be started in time$"):
        start()

    assert runs.sent_at == []
    assert aws.notes() == ["start-1", "free-1"]


def test_a_run_that_was_noted_is_adopted_however_late(
    start: Callable[[], str], ledger: Ledger, clock: FakeClock
) -> None:
    ledger.note("run~9d31")
    clock.sleep(START_BY.total_seconds() + 60)

    assert start() == "9d31"


def test_a_run_that_began_unseen_is_found_when_it_is_too_late_to_start_another(
    start: Callable[[], str], ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    ledger.note("before~0")
    runs.begin()
    clock.sleep(START_BY.total_seconds())

    assert start() == "run-1"
    assert runs.sent_at == []


def test_an_undated_request_that_comes_again_is_as_old_as_its_first_note(
    once: StartOnce, ledger: Ledger, ledger_of: Callable[..., Ledger], create: Invocation, clock: FakeClock
) -> None:
    ledger.note("asks~Create~0123")
    clock.sleep(START_BY.total_seconds())
    again = ledger_of("request-1", made_at=clock.now())

    with pytest.raises(Failure, match="could not be started in time"):
        once.start(create, lambda: again.read().own)


def test_a_request_that_is_no_longer_wanted_frees_its_claim(
    once: StartOnce, create: Invocation, aws: FakeAws, runs: Runs
) -> None:
    def no_longer() -> Record:
        raise create.failure("superseded")

    with pytest.raises(Failure, match="superseded"):
        once.start(create, no_longer)

    assert aws.notes() == ["start-1", "free-1"]
    assert runs.sent_at == []


def test_whether_it_is_still_wanted_is_asked_before_each_attempt(
    once: StartOnce, create: Invocation, ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    runs.trouble["send_start"] = [Throttled("busy")] * 9

    def wanted_for_ten_seconds() -> Record:
        if clock.now() > NOW + timedelta(seconds=10):
            raise create.failure("superseded")
        return ledger.read().own

    with pytest.raises(Failure, match="superseded"):
        once.start(create, wanted_for_ten_seconds)

    assert len(runs.sent_at) >= 2
    assert max(runs.sent_at) <= NOW + timedelta(seconds=10)


@pytest.mark.parametrize("fault", [Throttled("busy"), Conflict("it exists")])
def test_a_start_that_was_not_taken_is_sent_again_in_growing_pauses(
    start: Callable[[], str], runs: Runs, clock: FakeClock, fault: Fault
) -> None:
    runs.trouble["send_start"] = [fault] * 3

    assert start() == "run-1"

    first, second, third = clock.slept
    assert first <= 1 <= second <= 2 <= third <= 4


def test_a_claim_is_used_for_a_minute_and_then_freed(
    start: Callable[[], str], aws: FakeAws, runs: Runs
) -> None:
    runs.trouble["send_start"] = [Throttled("busy")] * 12

    assert start() == "run-1"

    claims = [note for note in aws.notes() if note.startswith(("start", "free"))]
    assert claims == ["start-1", "free-1", "start-2"]
    assert len(runs.began) == 1


def test_a_claim_that_became_old_while_the_ledger_hung_is_not_used(
    once: StartOnce, create: Invocation, ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    def slowly() -> Record:
        if not runs.sent_at and clock.now() == NOW:
            clock.sleep(SEND_FOR.total_seconds())
        return ledger.read().own

    once.start(create, slowly)

    assert runs.sent_at == [NOW + SEND_FOR]
    assert set(ledger.claims("request-1")) == {"start-1", "free-1", "start-2"}


def test_a_service_that_is_busy_for_ever_fails_when_the_time_is_up(
    start: Callable[[], str], runs: Runs, clock: FakeClock
) -> None:
    runs.trouble["send_start"] = [Throttled("busy")] * 999

    with pytest.raises(Throttled, match="busy"):  # rather than that the time is up
        start()

    assert NOW + START_BY - timedelta(seconds=10) <= max(runs.sent_at) <= NOW + START_BY
    assert clock.now() <= NOW + START_BY + timedelta(seconds=1)


@pytest.mark.parametrize("fault", [Refused("no"), Denied("no")])
def test_a_start_that_was_refused_frees_its_claim(
    start: Callable[[], str], aws: FakeAws, runs: Runs, fault: Fault
) -> None:
    runs.trouble["send_start"] = [fault]

    with pytest.raises(type(fault)):
        start()

    assert aws.notes()[-1] == "free-1"


def test_a_new_role_is_waited_for(
    runs: Runs, ledger: Ledger, aws: FakeAws, create: Invocation, clock: FakeClock
) -> None:
    runs.trouble["send_start"] = [Denied("no")] * 6
    patient = aws.patient(NOW + START_BY, denials_pass_until=NOW + timedelta(minutes=1))

    StartOnce(runs, ledger, patient).start(create, lambda: ledger.read().own)

    assert NOW < clock.now() < NOW + timedelta(minutes=1)


def test_a_lost_answer_of_a_start_that_was_taken_is_one_run(
    start: Callable[[], str], runs: Runs, clock: FakeClock
) -> None:
    runs.trouble["send_start"] = [Unclear("dropped")]
    runs.takes_unclear_starts = True
    runs.listed_after = WATCH - timedelta(seconds=1)

    assert start() == "run-1"

    assert len(runs.sent_at) == 1


def test_a_start_without_a_run_is_sent_again_when_its_time_to_show_up_is_over(
    start: Callable[[], str], runs: Runs
) -> None:
    runs.trouble["send_start"] = [Unclear("dropped")]

    assert start() == "run-1"

    first, second = runs.sent_at
    assert second - first >= WATCH


def test_a_start_in_doubt_keeps_its_claim(start: Callable[[], str], aws: FakeAws, runs: Runs) -> None:
    runs.trouble = {"send_start": [Unclear("dropped")], "newer_runs": [Unclear("oops")] * 99}

    with pytest.raises(Failure) as failure:
        start()

    assert str(failure.value) == (
        "pipeline 'weather': whether the run was started is not known, so it is not started again: oops"
    )
    assert aws.notes() == ["start-1", "before~0"]


def test_the_first_bookmark_counts_however_often_it_is_taken_over(
    start: Callable[[], str], ledger: Ledger, runs: Runs
) -> None:
    ledger.note("before~0")
    runs.begin()
    runs.trouble = {"send_start": [Unclear("dropped")]}

    assert start() == "run-1"


def test_a_bookmark_that_is_listed_late_is_not_taken_again(
    once: StartOnce, create: Invocation, ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    runs.trouble["send_start"] = [Unclear("dropped")] * 2
    unlisted = Record("request-1", NOW)

    def nothing_is_listed() -> Record:
        if clock.now() > NOW + SEND_FOR and not runs.began:
            runs.begin()  # of the lost start, and later than expected
        return unlisted

    assert once.start(create, nothing_is_listed) == "run-1"


def test_a_run_that_cannot_be_noted_is_going_on_all_the_same(
    start: Callable[[], str], runs: Runs, aws: FakeAws, create: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = runs.send_start

    def and_then(request: Invocation) -> str:
        aws.scripts["create_log_stream"] = [Denied("no")]
        return send(request)

    monkeypatch.setattr(runs, "send_start", and_then)

    assert start() == "run-1"


# What other requests have started.


@pytest.fixture
def settle(ledger_of: Callable[..., Ledger], runs: Runs, aws: FakeAws) -> Callable[[], str | None]:
    """Settles the start of `request-1`, as a later request sees it."""
    later = ledger_of("request-2", made_at=NOW + timedelta(seconds=1))

    def make() -> str | None:
        records = {record.request_id: record for record in later.read().others}
        record = records.get("request-1", Record("request-1", NOW))
        return StartOnce(runs, later, aws.patient(NOW + timedelta(minutes=5))).settle(record)

    return make


def test_a_run_that_was_noted_is_taken_at_once(
    settle: Callable[[], str | None], ledger: Ledger, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    ledger.note("run~9d31")

    assert settle() == "9d31"

    assert clock.slept == []


@pytest.mark.parametrize("claims", [[], ["start-1", "free-1"], ["start-1", "free-1", "start-2", "free-2"]])
def test_without_an_open_claim_there_is_no_run_to_wait_for(
    settle: Callable[[], str | None], ledger: Ledger, clock: FakeClock, claims: list[str]
) -> None:
    ledger.note("before~0")
    for claim in claims:
        ledger.claim(claim)

    assert settle() is None

    assert clock.slept == []


def test_an_open_claim_is_waited_for_until_its_start_is_settled(
    settle: Callable[[], str | None], ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    runs.begin()

    assert settle() == "run-1"

    assert NOW + LEASE <= clock.now() <= NOW + LEASE + timedelta(seconds=2)


def test_a_run_that_began_after_the_claim_is_another_requests(
    settle: Callable[[], str | None], ledger: Ledger, runs: Runs, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    clock.sleep(LEASE.total_seconds() + 1)
    runs.begin()

    assert settle() is None


def test_a_run_that_another_request_owns_is_not_taken_for_the_lost_one(
    settle: Callable[[], str | None], ledger: Ledger, ledger_of: Callable[..., Ledger], runs: Runs
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    ledger_of("request-9").own_run(runs.begin())

    assert settle() is None


def test_a_claim_before_a_bookmark_has_sent_nothing(
    settle: Callable[[], str | None], ledger: Ledger, runs: Runs
) -> None:
    ledger.claim("start-1")
    runs.begin()

    assert settle() is None


def test_an_answered_request_without_a_bookmark_is_not_waited_for(
    settle: Callable[[], str | None], ledger: Ledger, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    ledger.note("answer~Create~FAILED")

    assert settle() is None

    assert clock.slept == []


def test_an_answered_request_whose_start_is_in_doubt_is_settled(
    settle: Callable[[], str | None], ledger: Ledger, runs: Runs
) -> None:
    ledger.claim("start-1")
    ledger.note("before~0")
    ledger.note("answer~Create~FAILED")
    runs.begin()

    assert settle() == "run-1"


def test_a_run_that_is_noted_while_it_is_waited_for_is_taken_at_once(
    settle: Callable[[], str | None], ledger: Ledger, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    meanwhile(clock, 10, lambda: ledger.note("run~9d31"))

    assert settle() == "9d31"

    assert clock.now() <= NOW + timedelta(seconds=12)


def test_the_newest_open_claim_decides_how_long_a_start_may_be_under_way(
    settle: Callable[[], str | None], ledger: Ledger, clock: FakeClock
) -> None:
    ledger.claim("start-1")
    clock.sleep(100)
    ledger.claim("start-2")

    assert settle() is None

    assert clock.now() >= NOW + timedelta(seconds=100) + LEASE


def test_no_run_is_looked_for_after_a_start_that_reached_nothing(
    start: Callable[[], str], runs: Runs, clock: FakeClock
) -> None:
    runs.trouble["send_start"] = [Unreachable("no connection")] * 2
    runs.takes_unclear_starts = False

    assert start() == "run-1"

    assert clock.now() < NOW + timedelta(seconds=5)
