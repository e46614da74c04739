"""The third step and the last: the verdict on what all workers did, and the summary of it all.

The verdict decides whether the staged results are published. The summary is the execution's output, and an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

from archive_replay.faults import ReplayStopped
from archive_replay.notes import summed
from archive_replay.settings import Run
from archive_replay.storage import CONNECTIONS, Storage
from archive_replay.tally import Tally

MAX_CAUSE = 4000
"""Characters of a cause: Step Functions takes 32,768, CloudFormation shows far fewer."""


def summarise(run: Run, storage: Storage, *, now: datetime, error: str = "") -> tuple[dict[str, Any], str]:
    """Adds up the results of a run's workers, and writes the summary as it is before anything is published.

    What a run has staged that has failed is removed.

    Args:
        run: The execution.
        storage: Where results and summary are.
        now: The current time.
        error: Why the Distributed Map ended early, if it did.

    Returns:
        The summary, and why the run has failed: an empty text when it has not.
    """
    bucket = run.settings.destination.bucket
    tally, stopped = summed(storage, run)
    missing = run.objects - tally.objects
    cause = _cause(run, tally, missing=missing, error=stopped or error)
    summary = {
        "status": "FAILED" if cause else "REPLAYED" if run.objects else "SUCCEEDED",
        "objects": run.objects,
        "objectsFailed": tally.failed_objects,
        "objectsSuperseded": 0,
        "objectsNotReplayed": missing,
        "objectsSkipped": run.skipped,
        "messagesIn": tally.messages_in,
        "messagesOut": tally.messages_out,
        "messagesDropped": tally.messages_dropped,
        "messagesFailed": tally.messages_failed,
        "bytesIn": tally.bytes_in,
        "bytesOut": tally.bytes_out,
        "durationSeconds": _duration(run, now),
        "failures": tally.failures,
        "errors": f"s3://{bucket}/{run.settings.destination.errors_prefix}",
        "summary": f"s3://{bucket}/{run.summary_key}",
    }
    storage.write_json(bucket, run.summary_key, summary)
    if cause:
        # That the run has failed matters more than what it leaves in its own folder.
        with suppress(ReplayStopped):
            storage.remove_all(bucket, run.staged_prefix)
    return summary, cause


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
    bucket = run.settings.destination.bucket
    keys = [item.key for item in storage.list(bucket, run.published_prefix)]
    done, superseded, stopped = 0, 0, ""
    with ThreadPoolExecutor(CONNECTIONS) as readers:
        for note in readers.map(lambda key: storage.read_json(bucket, key), keys):
            stopped = stopped or note["Stopped"]
            superseded += note["Superseded"]
            done += not note["Stopped"]
    cause = ""
    if error or stopped or done < run.work_items:
        cause = (
            f"{done:,} of {run.work_items:,} work items were published; "
            f"{stopped or error or 'workers left no notes'}"
        )[:MAX_CAUSE]
    closed = {
        **summary,
        "status": "FAILED" if cause else "SUCCEEDED",
        "objectsSuperseded": superseded,
        "durationSeconds": _duration(run, now),
    }
    storage.write_json(bucket, run.summary_key, closed)
    return closed, cause


def _duration(run: Run, now: datetime) -> float:
    return round((now - datetime.fromisoformat(run.started)).total_seconds(), 3)


def _cause(run: Run, tally: Tally, *, missing: int, error: str) -> str:
    """Why the run has failed, most important first; empty when it has not."""
    # Where the map went through, a work item without a note is one that failed; else it was not begun.
    failed = tally.failed_objects + (0 if error else missing)
    if not (
        error
        or run.exceeds_tolerance(failed, run.objects)
        or run.exceeds_tolerance(tally.messages_failed, tally.messages_in)
    ):
        return ""
    numbers = (
        f"{failed:,} of {run.objects:,} objects and {tally.messages_failed:,} of {tally.messages_in:,} messages failed"
        + (f", {missing:,} objects were not replayed" if missing else "")
        + f", tolerated are {run.settings.tolerated_failure_percentage:g}%"
    )
    if not tally.failures:
        return f"{numbers}; {error or 'workers left no results'}"[:MAX_CAUSE]
    first = "; ".join(
        f"{failure['Key']}{' message ' + str(failure['Number']) if 'Number' in failure else ''}: {failure['Reason']}"
        for failure in tally.failures[:3]
    )
    return f"{numbers}; first: {first}"[:MAX_CAUSE]
