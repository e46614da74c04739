"""The third step and the last: the verdict on what all workers did, and the summary of it all.

The verdict decides whether the staged results are published. The summary is the execution's output, and an object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import Any

from object_replay.faults import Denied, ReplayStopped, Throttled
from object_replay.notes import outcomes, published, summed
from object_replay.settings import Run
from object_replay.storage import Storage
from object_replay.tally import Tally

MAX_CAUSE = 4000
"""Characters of a cause: Step Functions takes 32,768, CloudFormation shows far fewer."""


def summarise(
    run: Run, storage: Storage, check: Callable[[], None], *, now: datetime, error: str = ""
) -> tuple[dict[str, Any], str]:
    """Adds up the results of a run's workers, and writes the summary as it is before anything is published.

    What a run has staged that has failed is removed.

    Args:
        run: The execution.
        storage: Where results and summary are.
        check: Raises `ReplayStopped` if the run must not publish.
        now: The current time.
        error: Why the Distributed Map ended early, if it did.

    Returns:
        The summary, and why the run has failed: an empty text when it has not.
    """
    bucket = run.settings.destination.bucket
    tally, stopped = summed(storage, run)
    missing = run.objects - tally.objects
    cause = _cause(run, tally, missing=missing, error=stopped or error) or (
        _refusal(check) if run.objects else ""
    )
    publishes = run.settings.publishes
    summary = {
        "status": "FAILED" if cause else "REPLAYED" if run.objects and publishes else "SUCCEEDED",
        "objects": run.objects,
        "objectsFailed": tally.failed_objects,
        "objectsNotReplayed": missing,
        "objectsSkipped": run.skipped + tally.skipped_objects,
        **(_of_archive(run, tally) if publishes else _of_events(run, tally, missing=missing)),
        "durationSeconds": _duration(run, now),
        "failures": tally.failures,
        "summary": f"s3://{bucket}/{run.summary_key}",
    }
    if not publishes:
        _write_lists(run, storage, missing=missing)
    storage.write_json(bucket, run.summary_key, summary)
    if cause and publishes:
        # That the run has failed matters more than what it leaves in its own folder.
        with suppress(ReplayStopped, Throttled):
            storage.remove_all(bucket, run.staged_prefix)
    return summary, cause


def _of_archive(run: Run, tally: Tally) -> dict[str, Any]:
    destination = run.settings.destination
    return {
        "objectsSuperseded": 0,
        "messagesIn": tally.messages_in,
        "messagesOut": tally.messages_out,
        "messagesDropped": tally.messages_dropped,
        "messagesFailed": tally.messages_failed,
        "bytesIn": tally.bytes_in,
        "bytesOut": tally.bytes_out,
        "errors": f"s3://{destination.bucket}/{destination.errors_prefix}",
    }


def _of_events(run: Run, tally: Tally, *, missing: int) -> dict[str, Any]:
    not_done = tally.failed_objects + tally.gone_objects + tally.changed_objects + tally.skipped_objects
    return {
        "objectsDone": tally.objects - not_done,
        "objectsGone": tally.gone_objects,
        "objectsChanged": tally.changed_objects,
        "errors": _place(run, run.errors_key),
        "remaining": _place(run, run.remaining_key if missing else run.errors_key),
    }


def _place(run: Run, key: str) -> str:
    return f"s3://{run.settings.destination.bucket}/{key}"


def _write_lists(run: Run, storage: Storage, *, missing: int) -> None:
    """Lists the objects that failed, and those too that the run has not come to: for `MessageSelection.keys_from`."""
    bucket = run.settings.destination.bucket
    with ExitStack() as lists:
        errors = lists.enter_context(storage.upload(bucket, run.errors_key))
        remaining = lists.enter_context(storage.upload(bucket, run.remaining_key)) if missing else None
        for key, tally in outcomes(storage, run):
            if tally and not tally.failed_objects:
                continue
            reason = tally.failures[0]["Reason"] if tally else "was not replayed: the run ended before"
            line = (
                json.dumps({"key": key, "reason": reason}, ensure_ascii=False).encode(errors="replace")
                + b"\n"
            )
            for each in (errors if tally else None, remaining):
                if each:
                    each.write(line)


def close(
    run: Run, summary: Mapping[str, Any], storage: Storage, *, now: datetime, error: str = ""
) -> tuple[dict[str, Any], str]:
    """Completes the summary with what became of publishing.

    Args:
        run: The execution.
        summary: As it was before publishing.
        storage: Where the notes on publishing are, and the summary.
        now: The current time.
        error: Why publishing ended early, if it did.

    Returns:
        The summary, and why publishing has failed: an empty text when it has not.
    """
    done = published(storage, run)
    cause = ""
    # A worker may come to its end after it has published all: so the notes decide, and not how the map ended.
    if done.objects < run.objects:
        cause = _bounded(
            f"publishing finished for {done.objects:,} of {run.objects:,} objects; "
            f"{done.stopped or error or 'workers left no notes'}"
        )
    closed = {
        **summary,
        "status": "FAILED" if cause else "SUCCEEDED",
        "objectsSuperseded": done.superseded,
        "durationSeconds": _duration(run, now),
    }
    storage.write_json(run.settings.destination.bucket, run.summary_key, closed)
    return closed, cause


def _duration(run: Run, now: datetime) -> float:
    return round((now - datetime.fromisoformat(run.started)).total_seconds(), 3)


def _cause(run: Run, tally: Tally, *, missing: int, error: str) -> str:
    """Why the run has failed, most important first; empty when it has not."""
    # Where the map went through, a work item without a note is one that failed; else it was not begun.
    failed = tally.failed_objects + (0 if error else missing)
    exceeds = run.exceeds_tolerance(failed, run.objects) or run.exceeds_tolerance(
        tally.messages_failed, tally.messages_in
    )
    if not error and not exceeds:
        return ""
    messages = (
        f" and {tally.messages_failed:,} of {tally.messages_in:,} messages" if run.settings.publishes else ""
    )
    numbers = (
        f"{failed:,} of {run.objects:,} objects{messages} failed"
        + (f", {missing:,} objects were not replayed" if missing else "")
        + f", tolerated are {run.settings.tolerated_failure_percentage:g}%"
    )
    listed = (
        ""
        if run.settings.publishes or not (missing or tally.failures)
        else f", see {_place(run, run.remaining_key if missing else run.errors_key)}"
    )
    # Failures that are tolerated did not end the run.
    if not tally.failures or not exceeds:
        return _bounded(f"{numbers}{listed}; {error or 'workers left no results'}")
    first = "; ".join(
        f"{failure['Key']}{' message ' + str(failure['Number']) if 'Number' in failure else ''}: {failure['Reason']}"
        for failure in tally.failures[:3]
    )
    return _bounded(f"{numbers}{listed}; first: {first}")


def _refusal(check: Callable[[], None]) -> str:
    """Why a run must not publish that has gone well; empty when it may."""
    try:
        check()
    except Denied:
        raise  # it may become allowed, in the first minute
    except ReplayStopped as error:
        return _bounded(str(error))
    return ""


def _bounded(cause: str) -> str:
    # Half of a surrogate pair in an answer would end the process: Lambda's runtime cannot encode it.
    return cause[:MAX_CAUSE].encode(errors="replace").decode()
