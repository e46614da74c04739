"""Keeps secrets out of the log, whoever writes to it and however."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

PLACEHOLDER = "[secret]"

SHORTEST_CREDENTIAL = 16
"""Characters. What is shorter is a stand-in such as 'test', and a word that may stand anywhere."""


def own_credentials() -> frozenset[str]:
    """What this function signs its calls with: a service quotes the token where it refuses a signature."""
    values = (os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
    return frozenset(value for value in values if len(value) >= SHORTEST_CREDENTIAL)


def without(secrets: frozenset[str], text: str) -> str:
    """The text, with a placeholder for each of the secrets."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may hold another
        text = text.replace(secret, PLACEHOLDER)
    return text


class _Redacting(logging.Formatter):
    def __init__(self, inner: logging.Formatter, secrets: frozenset[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return without(self._secrets, self._inner.format(record))  # message, arguments and traceback


@contextmanager
def redacted(secrets: frozenset[str]) -> Iterator[None]:
    """Within it, no handler of the root logger writes any of the secrets."""
    formatters = [(handler, handler.formatter) for handler in logging.root.handlers]
    for handler, formatter in formatters:
        handler.setFormatter(_Redacting(formatter or logging.Formatter(), secrets))
    try:
        yield
    finally:
        for handler, formatter in formatters:
            handler.setFormatter(formatter)
