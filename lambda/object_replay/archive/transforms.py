"""The two contracts of the user's function: a batch of messages in, results out."""

from __future__ import annotations

import uuid
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol

from object_replay.archive.batches import Batch
from object_replay.archive.json_text import are_objects, check_object, elements, parse
from object_replay.compression import is_text
from object_replay.faults import Fault, FunctionFailed, ReplayStopped
from object_replay.settings import ResultFraming

MAX_SEARCH = 64
"""Calls spent on finding the messages of one batch on which the function fails, before its rest counts as failed."""
HOPELESS = 5
"""Payloads that fail for good, and nothing that succeeds, after which no more is searched."""

Invoke = Callable[[bytes], bytes]

_BOM = b"\xef\xbb\xbf"


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
    """The results, framed."""
    count: int = 0
    """How many results that is."""
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

    The lists may differ in length, and which message became which is unknown: what is fewer counts as dropped. The
    texts of both lists stay as they are. A message that is not a JSON object fails alone and is not handed over.

    Args:
        invoke: Calls the function.
    """

    invoke: Invoke

    def __call__(self, batch: Batch) -> Outcome:
        """What the function makes of the batch."""
        messages, failures = _objects(batch)
        if not messages:
            return Outcome(failures=failures, messages=len(batch))
        payload = self.invoke(b"[%b]" % b",".join(messages))
        try:
            results = elements(payload.decode())
        except (ValueError, RecursionError) as error:
            # A single message may be at fault (a NaN among the results): worth a search.
            raise FunctionFailed(f"the function must return JSON: {error}") from error
        if results is None:
            raise ContractBroken(
                f"the function must return a list of messages, got {_kind(parse(payload.decode()))}"
            )
        data = ("\n".join(results) + "\n").encode() if results else b""
        return Outcome(data, len(results), max(0, len(messages) - len(results)), failures, len(batch))


def _objects(batch: Batch) -> tuple[Sequence[bytes], list[Failed]]:
    """The messages that are JSON objects, and the others."""
    if are_objects(batch.messages):
        return batch.messages, []
    messages: list[bytes] = []
    failures: list[Failed] = []
    for number, message in zip(batch.numbers, batch.messages, strict=True):
        text = message.removeprefix(_BOM)
        try:
            check_object(text.decode())
        except UnicodeDecodeError:
            failures.append(Failed(number, message, "is not UTF-8"))
        except (ValueError, RecursionError) as error:
            failures.append(Failed(number, message, f"is not a JSON object: {error}"))
        else:
            messages.append(text)
    return messages, failures


@dataclass(frozen=True)
class FirehoseTransformation:
    """Firehose's data transformation: records with base64 data in, a result for each record id out.

    As in Firehose a record fails alone that is not returned, is returned twice, or whose result is flawed. What is not
    returned is tried again in a smaller batch first: some functions leave out what exceeds Lambda's 6 MB.

    Args:
        invoke: Calls the function.
        stream_arn: The delivery stream that the function is told of.
        region: Where that is.
        arrived: When the object's oldest message arrived, where an archive does not say it of each message.
        source: The object that the messages come from, as a URL.
        framing: What is put between results.
    """

    invoke: Invoke
    stream_arn: str
    region: str
    arrived: datetime
    source: str
    framing: ResultFraming

    def __call__(self, batch: Batch) -> Outcome:
        """What the function makes of the batch."""
        # Unique across the archive, and the same whenever this object is replayed.
        first_digits = int(sha256(self.source.encode()).hexdigest(), 16) % 10**40
        ids = [f"{first_digits:040d}{number:016d}" for number in batch.numbers]
        results: dict[int, _Returned] = {}
        waiting: list[Sequence[int]] = [range(len(batch))]
        for _ in range(MAX_SEARCH):
            if not waiting:
                break
            places = waiting.pop()
            try:
                returned = _by_id(self._answer(batch, ids, places))
            except FunctionFailed as error:
                if len(places) == len(batch):
                    raise
                if len(places) == 1:
                    results[places[0]] = error
                returned = {}
            results |= {place: returned[ids[place]] for place in places if ids[place] in returned}
            missing = [place for place in places if place not in results]
            if len(missing) == len(batch):
                raise FunctionFailed("the function did not return this record")
            if len(missing) == len(places) > 1:
                half = len(missing) // 2
                waiting += [missing[half:], missing[:half]]
            elif len(missing) < len(places) and missing:
                waiting.append(missing)
        return self._outcome(batch, [results.get(place, _MISSING) for place in range(len(batch))])

    def _answer(self, batch: Batch, ids: Sequence[str], places: Sequence[int]) -> Any:
        arrived = batch.arrived or [int(self.arrived.timestamp() * 1000)] * len(batch)
        # The same records have the same id, however often they are replayed.
        invocation = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.source}#{ids[places[0]]}-{ids[places[-1]]}")
        # By hand, in half the time of an encoder: none of it needs to be escaped.
        records = ",".join(
            [
                f'{{"recordId":"{ids[place]}","approximateArrivalTimestamp":{arrived[place]},'
                f'"data":"{b2a_base64(batch.messages[place], newline=False).decode()}"}}'
                for place in places
            ]
        )
        payload = self.invoke(
            f'{{"invocationId":"{invocation}","deliveryStreamArn":"{self.stream_arn}","region":"{self.region}",'
            f'"records":[{records}]}}'.encode()
        )
        try:
            return parse(payload.decode())
        except (ValueError, RecursionError) as error:
            raise FunctionFailed(f"the function must return JSON: {error}") from error

    def _outcome(self, batch: Batch, results: Sequence[_Returned]) -> Outcome:
        data: list[bytes] = []
        failures: list[Failed] = []
        dropped = 0
        for place, result in enumerate(results):
            try:
                if (found := _data_of(result)) is None:
                    dropped += 1
                else:
                    data.append(found)
            except _Flawed as flaw:
                failures.append(Failed(batch.numbers[place], batch.messages[place], str(flaw)))
        framed = b"".join(data) if self.framing is ResultFraming.BYTES else _lines(data)
        return Outcome(framed, len(data), dropped, failures, len(batch))


_Returned = Mapping[str, Any] | FunctionFailed | None
"""What became of a record: its result; why the call failed with which it was asked for again; None if it came twice."""
_MISSING: Mapping[str, Any] = {}


class _Flawed(Fault):
    """A record's result is not as the contract says."""


def _by_id(answer: Any) -> dict[str, Mapping[str, Any] | None]:
    """The result of each record, None for one that was returned twice."""
    records = answer.get("records") if isinstance(answer, dict) else None
    if not isinstance(records, list):
        raise ContractBroken(
            f"the function must return an object with a list of 'records', got {_kind(answer)}"
        )
    by_id: dict[str, Mapping[str, Any] | None] = {}
    for record in records:
        if isinstance(record, dict):
            record_id = str(record.get("recordId"))
            by_id[record_id] = None if record_id in by_id else record
    return by_id


def _data_of(result: _Returned) -> bytes | None:
    """The data of a record's result; None if the function dropped the record.

    Raises:
        _Flawed: It has failed.
        ReplayStopped: The function asks for what an archive pipeline does not do.
    """
    if result is None:
        raise _Flawed("the function returned this record twice")
    if isinstance(result, FunctionFailed):
        raise _Flawed(str(result))
    if result is _MISSING:
        raise _Flawed("the function did not return this record")
    kind = result.get("result")
    if kind == "Ok":
        metadata = result.get("metadata")
        if isinstance(metadata, dict) and metadata.get("partitionKeys"):
            raise ReplayStopped(
                "the function returned metadata.partitionKeys (dynamic partitioning), which an archive pipeline does "
                "not follow: results would lose their partitions; return records without it"
            )
        data = result.get("data")
        if not data:
            raise _Flawed(
                "the function returned Ok without data; to leave a record out it must return Dropped"
            )
        try:
            return a2b_base64(data, strict_mode=True)
        except (ValueError, TypeError) as error:
            raise _Flawed(f"the function returned data that is not base64: {error}") from None
    if kind == "Dropped":
        return None
    if kind == "ProcessingFailed":
        raise _Flawed("the function returned ProcessingFailed")
    raise _Flawed(f"the function must return Ok, Dropped or ProcessingFailed, got {kind!r}")


def _lines(results: Sequence[bytes]) -> bytes:
    """The results one after the other, with a newline after each that is text and lacks one."""
    joined = b"\n".join(results)
    if is_text(joined):
        if joined.count(b"\n") == len(results) - 1:
            return joined + b"\n" if results else b""
        return b"".join(each if each.endswith(b"\n") else each + b"\n" for each in results)
    return b"".join(each if each.endswith(b"\n") or not is_text(each) else each + b"\n" for each in results)


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
    waiting = [batch.part(1), batch.part(0, 1)] if search.is_hopeless and len(batch) > 1 else [batch]
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
                waiting += [part.part(len(part) // 2), part.part(0, len(part) // 2)]
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


def _kind(value: Any) -> str:
    return (
        "null"
        if value is None
        else f"an object with {sorted(value)[:5]}"
        if isinstance(value, dict)
        else type(value).__name__
    )
