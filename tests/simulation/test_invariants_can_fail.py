"""Each invariant catches a handler of which one decision is broken, in a story that the real handler survives."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from simulated_aws.broken_handlers import (
    Break,
    a_delete_does_nothing,
    a_delete_must_be_readable,
    a_delete_renames,
    a_delete_starts_a_run,
    a_lost_answer_to_start_is_taken_for_no_run,
    a_role_that_is_new_is_refused,
    a_rollback_is_not_recognised,
    a_run_that_is_listed_late_is_forgotten,
    a_throttled_call_is_not_repeated,
    a_throttled_hand_over_is_final,
    a_timed_out_run_is_watched_for_ten_minutes_more,
    an_answer_has_any_length,
    an_update_that_does_nothing_has_no_numbers,
    another_id_is_signalled,
    answers_are_sent_without_the_ledger,
    every_wait_fails,
    everybody_is_first_in_the_ledger,
    everything_fails,
    everything_is_a_change,
    no_answer_is_sent,
    no_change_is_noticed,
    nobody_goes_on_waiting,
    nothing_is_superseded,
    signals_are_sent_without_the_ledger,
    success_is_said_without_waiting,
    the_deadline_is_ignored,
    the_end_of_a_rollback_is_another_rollback,
    the_log_is_not_redacted,
    the_time_is_up_half_way,
    unknown_numbers_are_left_out,
    what_is_detached_is_cancelled,
    what_is_settled_is_done_again,
    what_nobody_waits_for_runs_on,
    what_tells_why_is_a_change,
    whatever_runs_is_cancelled,
)
from simulated_aws.fair_weather import FAIR_REPEATS
from simulated_aws.functions import LambdaPlan
from simulated_aws.invariants import (
    ALWAYS,
    IN_FAIR_WEATHER,
    Broken,
    Invariant,
    a_change_is_reprocessed,
    a_continuation_ends_by_its_deadline,
    a_delete_starts_nothing,
    a_delete_succeeds,
    a_failure_has_a_cause,
    a_failure_leaves_no_run,
    a_new_run_comes_after_the_end_of_the_last,
    a_request_starts_one_run_at_most,
    a_restored_run_is_left_alone,
    a_rollback_under_keep_starts_nothing,
    a_settled_request_ends_nothing_of_others,
    a_success_leaves_its_run_alone,
    answers_are_valid,
    attributes_are_those_of_the_run,
    check,
    every_request_is_answered,
    ids_follow_the_rules,
    no_request_is_answered_twice,
    nothing_runs_after_removal,
    nothing_secret_is_written,
    only_own_runs_are_cancelled,
    success_means_that_the_run_succeeded,
    what_is_unchanged_is_not_reprocessed,
)
from simulated_aws.runs import RunPlan
from simulated_aws.scenarios import NEVER, Deploy, Scenario
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import World

Story = Callable[[], World]

DEPLOY = Scenario()
EXECUTED_AND_KEPT = Scenario(kind="STATE_MACHINE", steps=(Deploy("t1"), Deploy("t2", later_fails=True)))
SIGNALLED = Scenario(signal=True)
NOT_WAITED_FOR = Scenario(timeout=None, runs=(RunPlan(takes=600.0),))
TIMED_OUT = Scenario(timeout=30, runs=(RunPlan(takes=300.0),))
# A Delete would cancel what the failure has left
TIMED_OUT_AND_LEFT = Scenario(timeout=30, runs=(RunPlan(takes=NEVER),), on_removal="LEAVE")
DELIVERED_TWICE = Scenario(functions=LambdaPlan(cold=True, duplicates=((1, 0.01),)))
ANSWER_LOST = Scenario(faults=(Fault("start_pipeline_reprocessing", Trouble.DROPPED_AFTER),))
BESIDE_A_FOREIGN_RUN = Scenario(
    steps=(Deploy(then_wait=100.0),), runs=(RunPlan(), RunPlan(takes=NEVER)), foreign_runs=(50.0,)
)
ROLLED_BACK = Scenario(steps=(Deploy("t1"), Deploy("t2", later_fails=True)))
RESTORED = Scenario(
    steps=(Deploy("t1"), Deploy("t2", later_fails=True, then_wait=100.0)),
    on_rollback="REPROCESS",
    signal=True,
)
CHANGED = Scenario(before=Deploy("t1"), steps=(Deploy("t2"),))
UNCHANGED = Scenario(before=Deploy("t1"), steps=(Deploy("t1", longer=60),))
TOLD_WHY = Scenario(
    before=Deploy("t1"),
    steps=(Deploy("t1", because="Telemetry"), Deploy("t1", because="Weather"), Deploy("t1")),
)
DETACHED = replace(TIMED_OUT, on_timeout="DETACH")
WITHOUT_A_CAUSE = "FAILED without a cause"


def undone_and_retried() -> World:
    """An Update that crashes at once, and that Lambda delivers again when a rollback has undone it."""
    with World(runs=[RunPlan(takes=NEVER)]) as world:
        world.deploy(reprocessing(timeout=None))
        world.let_pass(60)
        world.troubles.add(Fault("create_log_stream", Trouble.CRASH_BEFORE, during="Update"))
        world.meanwhile(2, lambda: world.cloudformation.interrupt("sibling"))
        world.deploy(reprocessing(timeout=None, trigger="t2"))
    return world


def unreadable() -> World:
    """A selection that is refused, and quoted in a reason of 6,000 bytes."""
    with World() as world:
        world.deploy(reprocessing(messages={"S3Paths": ["ü" * 1000]}))
    return world


CASES: tuple[tuple[Invariant, Break, Story, str], ...] = (
    (answers_are_valid, an_answer_has_any_length, unreadable, "bytes"),
    (attributes_are_those_of_the_run, unknown_numbers_are_left_out, DEPLOY.play, "the attributes"),
    (
        attributes_are_those_of_the_run,
        an_update_that_does_nothing_has_no_numbers,
        EXECUTED_AND_KEPT.play,
        " objects",
    ),
    (ids_follow_the_rules, a_delete_renames, DEPLOY.play, "the id became 'removed'"),
    (
        a_request_starts_one_run_at_most,
        a_lost_answer_to_start_is_taken_for_no_run,
        ANSWER_LOST.play,
        "2 runs started",
    ),
    (
        a_request_starts_one_run_at_most,
        everybody_is_first_in_the_ledger,
        DELIVERED_TWICE.play,
        "2 runs started",
    ),
    (a_delete_starts_nothing, a_delete_starts_a_run, DEPLOY.play, "a run was started"),
    (a_continuation_ends_by_its_deadline, the_deadline_is_ignored, TIMED_OUT.play, "handed over"),
    (
        a_continuation_ends_by_its_deadline,
        a_timed_out_run_is_watched_for_ten_minutes_more,
        TIMED_OUT.play,
        "alive",
    ),
    (nothing_secret_is_written, the_log_is_not_redacted, Scenario(debug=True).play, "a secret in the log"),
    (only_own_runs_are_cancelled, whatever_runs_is_cancelled, BESIDE_A_FOREIGN_RUN.play, "the foreign run"),
    (
        success_means_that_the_run_succeeded,
        success_is_said_without_waiting,
        DEPLOY.play,
        "SUCCESS, but run .* is RUNNING",
    ),
    (
        success_means_that_the_run_succeeded,
        success_is_said_without_waiting,
        SIGNALLED.play,
        "signalled SUCCESS, but the run is RUNNING",
    ),
    (
        success_means_that_the_run_succeeded,
        another_id_is_signalled,
        replace(UNCHANGED, signal=True).play,
        "another id",
    ),
    (every_request_is_answered, no_answer_is_sent, DEPLOY.play, "no answer"),
    (every_request_is_answered, nobody_goes_on_waiting, SIGNALLED.play, "no signal"),
    (no_request_is_answered_twice, answers_are_sent_without_the_ledger, DELIVERED_TWICE.play, "2 answers"),
    (
        no_request_is_answered_twice,
        signals_are_sent_without_the_ledger,
        replace(SIGNALLED, functions=LambdaPlan(cold=True, duplicates=((2, 0.01),))).play,
        "2 signals",
    ),
    (nothing_runs_after_removal, a_delete_does_nothing, NOT_WAITED_FOR.play, "goes on"),
    (
        a_new_run_comes_after_the_end_of_the_last,
        nothing_is_superseded,
        replace(NOT_WAITED_FOR, steps=(Deploy("t1"), Deploy("t2"))).play,
        "started while",
    ),
    (
        a_rollback_under_keep_starts_nothing,
        a_rollback_is_not_recognised,
        ROLLED_BACK.play,
        "a run was started",
    ),
    (
        a_restored_run_is_left_alone,
        the_end_of_a_rollback_is_another_rollback,
        RESTORED.play,
        "was cancelled",
    ),
    (
        a_settled_request_ends_nothing_of_others,
        what_is_settled_is_done_again,
        undone_and_retried,
        "by a settled request",
    ),
    (a_delete_succeeds, a_delete_must_be_readable, unreadable, "Delete failed"),
    (a_failure_leaves_no_run, what_nobody_waits_for_runs_on, TIMED_OUT_AND_LEFT.play, "goes on"),
    (
        a_failure_leaves_no_run,
        what_nobody_waits_for_runs_on,
        replace(TIMED_OUT_AND_LEFT, signal=True).play,
        "goes on",
    ),
    (a_change_is_reprocessed, no_change_is_noticed, CHANGED.play, "no run was started"),
    (what_is_unchanged_is_not_reprocessed, everything_is_a_change, UNCHANGED.play, "a run was started"),
    (what_is_unchanged_is_not_reprocessed, what_tells_why_is_a_change, TOLD_WHY.play, "a run was started"),
    (a_success_leaves_its_run_alone, what_is_detached_is_cancelled, DETACHED.play, "all the same"),
    (
        a_success_leaves_its_run_alone,
        what_is_detached_is_cancelled,
        replace(DETACHED, signal=True).play,
        "all the same",
    ),
    (a_failure_has_a_cause, everything_fails, CHANGED.play, WITHOUT_A_CAUSE),
    (a_failure_has_a_cause, every_wait_fails, DEPLOY.play, WITHOUT_A_CAUSE),
    (a_failure_has_a_cause, every_wait_fails, SIGNALLED.play, WITHOUT_A_CAUSE),
    *(
        (
            a_failure_has_a_cause,
            a_throttled_call_is_not_repeated,
            replace(CHANGED, faults=(Fault(operation, Trouble.THROTTLED, times=FAIR_REPEATS),)).play,
            WITHOUT_A_CAUSE,
        )
        for operation in ("describe_log_streams", "create_log_stream")
    ),
    (
        a_failure_has_a_cause,
        a_throttled_hand_over_is_final,
        replace(CHANGED, faults=(Fault("invoke", Trouble.THROTTLED, times=FAIR_REPEATS),)).play,
        WITHOUT_A_CAUSE,
    ),
    (
        a_failure_has_a_cause,
        the_time_is_up_half_way,
        replace(CHANGED, runs=(RunPlan(takes=100.0),)).play,
        WITHOUT_A_CAUSE,
    ),
    (
        a_failure_has_a_cause,
        a_run_that_is_listed_late_is_forgotten,
        Scenario(runs=(RunPlan(listed_after=15.0),)).play,
        WITHOUT_A_CAUSE,
    ),
    (a_failure_has_a_cause, a_role_that_is_new_is_refused, Scenario(iam_takes=40.0).play, WITHOUT_A_CAUSE),
)
"""The invariant, what is broken, what happens, and what the invariant says of it."""


@pytest.mark.parametrize(("invariant", "breaks", "story", "complaint"), CASES)
def test_a_broken_handler_is_caught(
    invariant: Invariant, breaks: Break, story: Story, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)

    world = story()

    with pytest.raises(Broken, match=complaint):
        check(world, invariant)


@pytest.mark.parametrize(("invariant", "story"), [(invariant, story) for invariant, _, story, _ in CASES])
def test_the_real_handler_holds_in_the_same_story(invariant: Invariant, story: Story) -> None:
    check(story(), invariant)


@pytest.mark.parametrize(
    "quoted",
    [
        "{secret}",
        "...{secret_head}",
        "{secret_tail}...",
        "%2525{hexadecimal}",
        '{{\\\\"url\\\\": {json}',
        "{html}",
        "{base64}",
    ],
)
def test_the_invariant_sees_encoded_and_partial_quotes(quoted: str) -> None:
    with World() as world:
        world.deploy(reprocessing())
    secret = world.cloudformation.secrets[-1]
    forms = {
        "secret": secret,
        "secret_head": secret[:16],
        "secret_tail": secret[-16:],
        "hexadecimal": "%25".join(["", *(f"{ord(character):x}" for character in secret)])[3:],
        "json": "".join(f"\\u{ord(character):04x}" for character in secret),
        "html": "".join(f"&#{ord(character)};" for character in secret),
        "base64": b64encode(f"Signature={secret}".encode()).decode()[:-4],
    }

    world.functions.log.append(quoted.format(**forms))

    with pytest.raises(Broken, match="a secret in the log"):
        check(world, nothing_secret_is_written)


def test_every_invariant_is_shown_to_fail() -> None:
    assert {invariant for invariant, *_ in CASES} == {*ALWAYS, *IN_FAIR_WEATHER}
