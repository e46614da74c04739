"""The two contracts of the user's function: a batch of messages in, lines of results out."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from archive_replay.faults import FunctionFailed
from archive_replay.reading import Batch, parse

MAX_SEARCH = 64
"""Calls spent on finding the messages of one batch on which the function fails, before its rest counts as failed."""
HOPELESS = 5
"""Payloads that fail for good, and nothing that succeeds, after which no more is searched."""

Invoke = Callable[[bytes], bytes]

# A number such as 1e999 is JSON, but what Python makes of it is not.
_PLAIN: dict[str, Any] = {"separators": (",", ":"), "check_circular": False, "allow_nan": False}
_ENCODE = json.JSONEncoder(ensure_ascii=False, **_PLAIN).encode
_ENCODE_ASCII = json.JSONEncoder(**_PLAIN).encode


@dataclass(frozen=True)
class Failed:
    """A message that failed."""

    number: int
    message: bytes
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of a batch."""

    data: bytes = b""
    """The results, each a line with its newline."""
    count: int = 0
    """How many lines that is."""
    dropped: int = 0
    """Messages that the function left out on purpose."""
    failures: Sequence[Failed] = ()
    messages: int = 0
    """Of how many messages it is the outcome."""


class ContractBroken(FunctionFailed):
    """The function answered, but not as its contract says: no smaller batch would help."""


class Transform(Protocol):
    """One contract with the user's function."""

    def __call__(self, batch: Batch) -> Outcome:
        """What the function makes of the batch.

        Raises:
            FunctionFailed: It failed on the batch as a whole.
        """
        ...


@dataclass(frozen=True)
class LambdaActivity:
    """IoT Analytics' Lambda activity: a JSON list of messages in, a JSON list of messages out.

    The lists may differ in length, and which message became which is unknown: what is fewer counts as dropped.

    Args:
        invoke: Calls the function.
    """

    invoke: Invoke

    def __call__(self, batch: Batch) -> Outcome:
        """What the function makes of the batch."""
        messages = _answer(self.invoke(batch.array))
        if not isinstance(messages, list):
            raise ContractBroken(f"the function must return a list of messages, got {_kind(messages)}")
        try:
            lines = lines_of(messages)
        except (ValueError, RecursionError) as error:
            raise FunctionFailed(f"the function must return JSON: {error}") from error
        return Outcome(lines, len(messages), dropped=max(0, len(batch) - len(messages)), messages=len(batch))


@dataclass(frozen=True)
class FirehoseTransformation:
    """Firehose's data transformation: records with base64 data in, a result for each record id out.

    Args:
        invoke: Calls the function.
        stream_arn: The delivery stream that wrote the archive.
        region: Where it is.
        arrived: When the object's oldest message arrived; an archive does not say it of each message.
        key: The object that the messages come from.
    """

    invoke: Invoke
    stream_arn: str
    region: str
    arrived: datetime
    key: str

    def __call__(self, batch: Batch) -> Outcome:
        """What the function makes of the batch."""
        ids = [f"{number:056d}" for number in batch.numbers]
        arrived = int(self.arrived.timestamp() * 1000)
        event = {
            # The same batch has the same id, however often it is replayed.
            "invocationId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.key}#{ids[0]}-{ids[-1]}")),
            "deliveryStreamArn": self.stream_arn,
            "region": self.region,
            "records": [
                {
                    "recordId": record_id,
                    "approximateArrivalTimestamp": arrived,
                    "data": base64.b64encode(message).decode(),
                }
                for record_id, message in zip(ids, batch.messages, strict=True)
            ],
        }
        results = _by_id(_answer(self.invoke(_ENCODE(event).encode())), ids)
        lines: list[bytes] = []
        failures: list[Failed] = []
        dropped = 0
        for result, number, message in zip(results, batch.numbers, batch.messages, strict=True):
            match result.get("result"):
                case "Ok":
                    try:
                        data = base64.b64decode(result.get("data") or "", validate=True)
                    except (ValueError, TypeError) as error:
                        failures.append(
                            Failed(number, message, f"the function returned data that is not base64: {error}")
                        )
                    else:
                        lines += [line for line in data.split(b"\n") if line]
                case "Dropped":
                    dropped += 1
                case "ProcessingFailed":
                    failures.append(Failed(number, message, "the function returned ProcessingFailed"))
                case other:
                    failures.append(
                        Failed(
                            number,
                            message,
                            f"the function must return Ok, Dropped or ProcessingFailed, got {other!r}",
                        )
                    )
        return Outcome(b"".join(line + b"\n" for line in lines), len(lines), dropped, failures, len(batch))


@dataclass
class Search:
    """How the function fares, from batch to batch: what fails on everything is not searched for poison every time."""

    in_vain: int = 0
    """Payloads that failed for good since something succeeded."""

    @property
    def is_hopeless(self) -> bool:
        """Whether the function seems to fail on everything."""
        return self.in_vain >= HOPELESS


def outcomes(transform: Transform, batch: Batch, search: Search | None = None) -> Iterator[Outcome]:
    """What becomes of a batch, in its order, whatever the function does.

    Where it fails on a batch, the batch is halved until the messages are found that make it fail: one poisonous
    message costs itself, not its neighbours, and a batch whose results are too large for one answer is answered in
    parts. Where nothing but failures is found the search is given up: what is left is then tried as it is.

    Args:
        transform: The contract.
        batch: The messages.
        search: How the function fared with the batches before. Default: nothing is known of it.
    """
    search = search or Search()
    # One message tells cheaply whether a function that failed on everything still does.
    waiting = list(reversed(batch.cut(1))) if search.is_hopeless and len(batch) > 1 else [batch]
    calls = -1
    succeeded = False
    while waiting:
        part = waiting.pop()
        calls += 1
        try:
            outcome = transform(part)
        except ContractBroken as error:
            yield _failed(part, error)
        except FunctionFailed as error:
            hopeless = search.is_hopeless and not succeeded
            if len(part) > 1 and calls < MAX_SEARCH and not hopeless:
                waiting += reversed(part.cut(len(part) // 2))
            else:
                search.in_vain += 1
                yield _failed(part, error)
        else:
            search.in_vain = 0
            succeeded = True
            yield outcome


def _failed(batch: Batch, error: FunctionFailed) -> Outcome:
    """All of the batch's messages failed, and for the same reason."""
    failures = [
        Failed(number, message, str(error))
        for number, message in zip(batch.numbers, batch.messages, strict=True)
    ]
    return Outcome(failures=failures, messages=len(batch))


def lines_of(messages: Sequence[Any]) -> bytes:
    """The messages as JSON, each a line with its newline.

    Raises:
        ValueError: A number in them cannot be told in JSON.
        RecursionError: They are nested too deeply.
    """
    if not messages:
        return b""
    try:
        return ("\n".join(map(_ENCODE, messages)) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return ("\n".join(map(_ENCODE_ASCII, messages)) + "\n").encode()


def _answer(payload: bytes) -> Any:
    try:
        return parse(payload.decode())
    except (ValueError, RecursionError) as error:
        # A single message may be at fault (a NaN among the results): worth a search.
        raise FunctionFailed(f"the function must return JSON: {error}") from error


def _by_id(answer: Any, ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """The result of each record, in the records' order; every record must come back exactly once."""
    records = answer.get("records") if isinstance(answer, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ContractBroken(
            f"the function must return an object with a list of 'records', got {_kind(answer)}"
        )
    by_id: dict[Any, Mapping[str, Any]] = {}
    for record in records:
        if str(record.get("recordId")) in by_id:
            raise ContractBroken(f"the function returned the recordId '{record.get('recordId')}' twice")
        by_id[str(record.get("recordId"))] = record
    missing = [record_id for record_id in ids if record_id not in by_id]
    if missing:
        raise ContractBroken(
            f"the function did not return the recordId '{missing[0]}' ({len(missing)} are missing)"
        )
    if len(by_id) > len(ids):
        given = set(ids)
        strange = next(record_id for record_id in by_id if record_id not in given)
        raise ContractBroken(f"the function returned the recordId '{strange}', which it was not given")
    return [by_id[record_id] for record_id in ids]


def _kind(value: Any) -> str:
    return (
        "null"
        if value is None
        else f"an object with {sorted(value)[:5]}"
        if isinstance(value, dict)
        else type(value).__name__
    )
