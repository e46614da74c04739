"""What could not be replayed, written down for people beside the results."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from object_replay.faults import Superseded, told
from object_replay.settings import Run
from object_replay.storage import Storage
from object_replay.tally import Tally

if TYPE_CHECKING:
    from types import TracebackType

    from object_replay.uploads import Upload


class Errors:
    """What could not be replayed of one object, as an object of its own; without errors there is none.

    Args:
        storage: Where it goes.
        bucket: Which bucket.
        name: As what.
        key: The object that is replayed.
        result: What its published result is called.
        run: The execution; what a run noted that began later stays.
    """

    def __init__(self, storage: Storage, bucket: str, name: str, key: str, *, result: str, run: Run) -> None:
        self._storage = storage
        self._bucket = bucket
        self._name = name
        self._key = key
        self._result = result
        self._run = run
        self._upload: Upload | None = None
        self.unreadable = 0
        self.tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._upload:
            return
        try:
            # What a later run found out about the object is what holds, if that was no error too.
            if kind is None and self._storage.started(self._bucket, self._result) > self._run.started:
                kind = Superseded
        except BaseException as failure:
            self._upload.__exit__(type(failure), failure, failure.__traceback__)
            raise
        with suppress(Superseded):
            self._upload.__exit__(kind, error, trace)

    def add(self, number: int, message: bytes, reason: str) -> None:
        """Writes down a message that failed."""
        self.tally.messages_failed += 1
        self.tally.tell(self._key, reason, number)
        try:
            data = {"message": message.decode()}
        except UnicodeDecodeError:
            data = {"rawData": b64encode(message).decode()}  # as Firehose calls it in its own error output
        self._write({"key": self._key, "number": number, "reason": told(reason), **data})

    def add_unreadable(self, number: int, text: bytes, reason: str) -> None:
        """Writes down what cannot be read as a message."""
        self.unreadable += 1
        self.add(number, text, reason)

    def add_object(self, reason: str) -> None:
        """Writes down that the object as a whole failed."""
        self._write({"key": self._key, "reason": told(reason)})

    def _write(self, entry: Mapping[str, Any]) -> None:
        if not self._upload:
            self._upload = self._storage.upload(self._bucket, self._name, run=self._run)
        self._upload.write(json.dumps(entry, ensure_ascii=False).encode(errors="replace") + b"\n")
