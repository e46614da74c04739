"""The last step: what all workers did, as one object and as the execution's output."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from archive_replay.replaying import Tally
from archive_replay.settings import Run
from archive_replay.storage import Storage

READERS = 16
"""Results read at the same time."""
MAX_CAUSE = 4000
"""Characters of a cause: Step Functions takes 32,768, CloudFormation shows far fewer."""


def summarise(run: Run, storage: Storage, *, now: datetime, error: str = "") -> tuple[dict[str, Any], str]:
    """Adds up the results of a run's workers and writes the summary.

    Args:
        run: The execution.
        storage: Where results and summary are.
        now: The current time.
        error: Why the Distributed Map ended early, if it did.

    Returns:
        The summary, and why the run has failed: an empty text when it has not.
    """
    bucket = run.settings.destination.bucket
    keys = [item.key for item in storage.list(bucket, run.results_prefix)]
    tally, stopped = Tally(), ""
    with ThreadPoolExecutor(READERS) as readers:
        for result in readers.map(lambda key: storage.read_json(bucket, key), keys):
            stopped = stopped or result["Stopped"]
            del result["Stopped"]
            tally.add(Tally(**result))
    missing = run.objects - tally.objects
    cause = _cause(run, tally, missing=missing, error=stopped or error)
    summary = {
        "status": "FAILED" if cause else "SUCCEEDED",
        "objects": run.objects,
        "objectsFailed": tally.failed_objects,
        "objectsSuperseded": tally.superseded_objects,
        "objectsNotReplayed": missing,
        "objectsSkipped": run.skipped,
        "messagesIn": tally.messages_in,
        "messagesOut": tally.messages_out,
        "messagesDropped": tally.messages_dropped,
        "messagesFailed": tally.messages_failed,
        "bytesIn": tally.bytes_in,
        "bytesOut": tally.bytes_out,
        "durationSeconds": round((now - datetime.fromisoformat(run.started)).total_seconds(), 3),
        "failures": tally.failures,
        "errors": f"s3://{bucket}/{run.settings.destination.errors_prefix}",
        "summary": f"s3://{bucket}/{run.summary_key}",
    }
    storage.write_json(bucket, run.summary_key, summary)
    return summary, cause


def _cause(run: Run, tally: Tally, *, missing: int, error: str) -> str:
    """Why the run has failed, most important first; empty when it has not."""
    # Where the map went through, a batch without a result is one that failed; else it was not begun.
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
