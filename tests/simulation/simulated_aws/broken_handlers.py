"""Handlers of which one decision is broken, for the invariants to catch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline_reprocessing_handler import aws, crhelper_adapter, lifecycle, response, stack
from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.ledger import Ledger
from pipeline_reprocessing_handler.lifecycle import Reprocessing, Settled, Waiting
from pipeline_reprocessing_handler.pipelines import Counts
from pipeline_reprocessing_handler.pipelines.iot_analytics import IotAnalyticsPipeline
from pipeline_reprocessing_handler.request import Request
from pipeline_reprocessing_handler.validation import Failure

Break = Callable[[pytest.MonkeyPatch], None]


def an_answer_has_any_length(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(response, "MAX_ANSWER", 1_000_000)


def unknown_numbers_are_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Counts, "attributes", {})


def an_update_that_does_nothing_has_no_numbers(patch: pytest.MonkeyPatch) -> None:
    settled = Reprocessing._settled
    patch.setattr(
        Reprocessing,
        "_settled",
        lambda self, run_id, run, *asked_at: settled(
            self, run_id, replace(run, counts=Counts()) if asked_at else run, *asked_at
        ),
    )


def a_delete_renames(patch: pytest.MonkeyPatch) -> None:
    remove = Reprocessing.remove
    patch.setattr(Reprocessing, "remove", lambda self: replace(remove(self), physical_id="removed"))


def a_lost_answer_to_start_is_taken_for_no_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IotAnalyticsPipeline, "find", lambda *_, **__: None)


def everybody_is_first_in_the_ledger(patch: pytest.MonkeyPatch) -> None:
    mark = Ledger.mark
    patch.setattr(Ledger, "mark", lambda *given, **named: mark(*given, **named) or True)


def a_delete_starts_a_run(patch: pytest.MonkeyPatch) -> None:
    remove = Reprocessing.remove
    patch.setattr(Reprocessing, "remove", lambda self: self._pipeline.start(self._request) and remove(self))


def the_deadline_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reprocessing, "_timed_out", lambda self, waiting: waiting)


def a_timed_out_run_is_watched_for_ten_minutes_more(patch: pytest.MonkeyPatch) -> None:
    give_up = Reprocessing.give_up
    patch.setattr(Reprocessing, "give_up", lambda *given: given[0]._clock.sleep(600) or give_up(*given))


def the_log_is_not_redacted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(crhelper_adapter, "redacted", lambda secrets: nullcontext())


def whatever_runs_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    def end(self: Reprocessing, pipeline: IotAnalyticsPipeline, run_id: str, cause: str) -> None:
        for run in pipeline._summaries():
            pipeline.cancel(run["id"], cause)

    patch.setattr(Reprocessing, "_end", end)


def another_id_is_signalled(patch: pytest.MonkeyPatch) -> None:
    end_the_wait = Handler._end_the_wait
    patch.setattr(
        Handler,
        "_end_the_wait",
        lambda self, outcome, *given: end_the_wait(self, replace(outcome, physical_id="another"), *given),
    )


def success_is_said_without_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reprocessing, "proceed", lambda self, waiting, until: self.going_on(waiting))


def no_answer_is_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(crhelper_adapter, "deliver", lambda *_: True)


def nobody_goes_on_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Handler, "_hand_over", lambda *_: None)


def answers_are_sent_without_the_ledger(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        crhelper_adapter, "deliver", lambda delivery, ledger, aws: response._put_until_taken(delivery, aws)
    )


def signals_are_sent_without_the_ledger(patch: pytest.MonkeyPatch) -> None:
    def deliver(delivery: response.Delivery, ledger: Ledger, aws: Aws) -> bool:
        return (
            response._put_until_taken(delivery, aws)
            if delivery.kind == "signal"
            else response.deliver(delivery, ledger, aws)
        )

    patch.setattr(crhelper_adapter, "deliver", deliver)


def a_delete_does_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reprocessing, "remove", lambda self: Settled(self._request.physical_id, {}))


def nothing_is_superseded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reprocessing, "_end_earlier_runs", lambda self, **_: None)


def a_rollback_is_not_recognised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stack, "status_of", lambda aws, stack_id: "UPDATE_IN_PROGRESS")


def the_end_of_a_rollback_is_another_rollback(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        stack, "turned_away", lambda status, from_status: status != from_status and "ROLLBACK" in status
    )


def a_delete_must_be_readable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Handler, "remove", lambda self, event, context: self._reprocessing(self._read(event)).remove()
    )


def what_nobody_waits_for_runs_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reprocessing, "give_up", lambda self, waiting, why: self._failure(why, waiting.run_id))


def everything_fails(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Reprocessing) -> Settled:
        raise Failure("no reason is known")

    patch.setattr(Reprocessing, "begin", begin)


def every_wait_fails(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Reprocessing, "proceed", lambda self, waiting, until: _raise(self.give_up(waiting, "it is Friday"))
    )


def a_throttled_call_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aws, "REPEATS", 0)


def the_time_is_up_half_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "LAST_WORD", timedelta(seconds=350))


def a_run_that_is_listed_late_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "FORGOTTEN_AFTER", timedelta(seconds=5))


def a_role_that_is_new_is_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aws, "IAM_PROPAGATION", timedelta(seconds=5))


def what_is_detached_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    timed_out = Reprocessing._timed_out

    def cancel(self: Reprocessing, waiting: Waiting) -> Settled:
        self.give_up(waiting, "its time is up")
        return timed_out(self, waiting)

    patch.setattr(Reprocessing, "_timed_out", cancel)


def no_change_is_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Request, "changes_the_data", property(lambda self: self.previous is None))


def everything_is_a_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Request, "changes_the_data", True)


def _raise(error: Exception) -> None:
    raise error
