"""Handlers of which one decision is broken, for the invariants to catch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pipeline_reprocessing_handler import crhelper_adapter, index, lifecycle, response, stack, waiting
from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Refused
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.invocation import Invocation, Waiting
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.lifecycle import Lifecycle
from pipeline_reprocessing_handler.pipelines import Counts, State, Status
from pipeline_reprocessing_handler.pipelines.iot_analytics import IotAnalyticsPipeline
from pipeline_reprocessing_handler.response import Answer
from pipeline_reprocessing_handler.validation import Failure
from pipeline_reprocessing_handler.waiting import Wait, answer_about

Break = Callable[[pytest.MonkeyPatch], None]


def an_answer_has_any_length(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(response, "MAX_RESPONSE", 1_000_000)


def unknown_numbers_are_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Counts, "attributes", {})


def an_update_that_does_nothing_has_no_numbers(patch: pytest.MonkeyPatch) -> None:
    unchanged = Lifecycle._unchanged
    none = Counts().attributes
    patch.setattr(
        Lifecycle,
        "_unchanged",
        lambda self, why: replace(done := unchanged(self, why), data={**done.data, **none}),
    )


def a_delete_renames(patch: pytest.MonkeyPatch) -> None:
    remove = Lifecycle.remove
    patch.setattr(Lifecycle, "remove", lambda self: replace(remove(self), physical_id="removed"))


def a_lost_answer_to_start_is_taken_for_no_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IotAnalyticsPipeline, "newer_runs", lambda *_: [])


def everybody_is_first_in_the_ledger(patch: pytest.MonkeyPatch) -> None:
    claim = Ledger.claim
    patch.setattr(Ledger, "claim", lambda *given, **named: claim(*given, **named) or True)


def a_delete_starts_a_run(patch: pytest.MonkeyPatch) -> None:
    remove = Lifecycle.remove
    patch.setattr(
        Lifecycle,
        "remove",
        lambda self: (
            self.open(self.invocation.properties.target).start(
                self.invocation, lambda: self.ledger.read().own
            )
            and remove(self)
        ),
    )


def the_deadline_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wait, "_timed_out", lambda self, waiting: self._hand_over(waiting) or waiting)


def a_timed_out_run_is_watched_for_ten_minutes_more(patch: pytest.MonkeyPatch) -> None:
    give_up = Wait.give_up
    patch.setattr(Wait, "give_up", lambda *given: given[0].clock.sleep(600) or give_up(*given))


def the_log_is_not_redacted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(crhelper_adapter, "redacted", lambda secrets: nullcontext())


def whatever_runs_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    def end(self: Lifecycle, pipeline: IotAnalyticsPipeline, run_id: str, cause: str) -> None:
        for run in pipeline._summaries():
            pipeline.cancel(run["id"], cause)

    patch.setattr(Lifecycle, "_end", end)


def another_id_is_signalled(patch: pytest.MonkeyPatch) -> None:
    signal = response._signal

    def another(answer: Answer, event: Mapping[str, Any]) -> dict[str, Any]:
        is_of_no_run = answer.reason.startswith("nothing is reprocessed")
        return signal(replace(answer, physical_id="another") if is_of_no_run else answer, event)

    patch.setattr(response, "_signal", another)


def success_is_said_without_waiting(patch: pytest.MonkeyPatch) -> None:
    def go_on(self: Wait, waiting: Waiting, **_: object) -> Answer:
        return replace(answer_about(self.invocation, waiting.run_id, Status(State.RUNNING)), ends_wait=True)

    patch.setattr(Wait, "go_on", go_on)


def no_answer_is_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(crhelper_adapter, "respond", lambda *_: True)


def nobody_goes_on_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wait, "_hand_over", lambda *_: None)


def answers_are_sent_without_the_ledger(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "claim", lambda *_, **__: True)


def signals_are_sent_without_the_ledger(patch: pytest.MonkeyPatch) -> None:
    claim = Ledger.claim
    patch.setattr(
        Ledger,
        "claim",
        lambda self, name, **named: claim(self, name, **named) or name.startswith("signal"),
    )


def a_delete_does_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "remove", lambda self: Answer(self.invocation.physical_id))


def nothing_is_superseded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "_end_earlier_runs", lambda *_: None)


def a_rollback_is_not_recognised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stack, "status_of", lambda aws, stack_id: "UPDATE_IN_PROGRESS")


def what_is_settled_is_done_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "_check_wanted", lambda self, history: None)


def the_end_of_a_rollback_is_another_rollback(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        stack, "has_turned_away", lambda status, from_status: status != from_status and "ROLLBACK" in status
    )


def a_delete_must_be_readable(patch: pytest.MonkeyPatch) -> None:
    remove = Handler.remove
    patch.setattr(Handler, "remove", lambda self, invocation: invocation.read() and remove(self, invocation))


def what_nobody_waits_for_runs_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wait, "give_up", lambda self, waiting, why: self.invocation.failure(why, waiting.run_id))


def everything_fails(patch: pytest.MonkeyPatch) -> None:
    def create_or_update(self: Lifecycle) -> Answer:
        raise Failure("no reason is known")

    patch.setattr(Lifecycle, "create_or_update", create_or_update)


def every_wait_fails(patch: pytest.MonkeyPatch) -> None:
    def go_on(self: Wait, waiting: Waiting, **_: object) -> Answer:
        raise self.give_up(waiting, "it is Friday")

    patch.setattr(Wait, "go_on", go_on)


def a_throttled_call_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Aws, "repeat", lambda self, attempt: attempt())


def a_throttled_hand_over_is_final(patch: pytest.MonkeyPatch) -> None:
    hand_over = Wait._hand_over
    patch.setattr(Wait, "_hand_over", lambda *given: (fault := hand_over(*given)) and Refused(str(fault)))


def the_time_is_up_half_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "LAST_WORD", timedelta(seconds=350))


def a_run_that_is_listed_late_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(waiting, "FORGOTTEN_AFTER", timedelta(seconds=5))


def a_role_that_is_new_is_refused(patch: pytest.MonkeyPatch) -> None:
    for module in (index, waiting):
        patch.setattr(module, "IAM_PROPAGATION", timedelta(seconds=5))


def what_is_detached_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    timed_out = Wait._timed_out

    def cancel(self: Wait, waiting: Waiting) -> Answer:
        self.give_up(waiting, "its time is up")
        return timed_out(self, waiting)

    patch.setattr(Wait, "_timed_out", cancel)


def no_change_is_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Invocation, "changes_the_data", property(lambda self: self.previous is None))


def what_tells_why_is_a_change(patch: pytest.MonkeyPatch) -> None:
    def told(event: Mapping[str, Any], properties: str) -> object:
        return event.get(properties, {}).get("Because")

    patch.setattr(
        Invocation,
        "changes_the_data",
        property(
            lambda self: told(self.event, "ResourceProperties") != told(self.event, "OldResourceProperties")
        ),
    )


def everything_is_a_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Invocation, "changes_the_data", True)
