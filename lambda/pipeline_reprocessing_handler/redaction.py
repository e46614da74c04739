"""Keeps secrets out of the log, whoever writes to it and however."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

PLACEHOLDER = "[secret]"


class _Redacting(logging.Formatter):
    def __init__(self, inner: logging.Formatter, secrets: list[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)  # the whole line: message, arguments and traceback
        for secret in self._secrets:
            text = text.replace(secret, PLACEHOLDER)
        return text


@contextmanager
def redacted(secrets: frozenset[str]) -> Iterator[None]:
    """Within it, no handler of the root logger writes any of the secrets."""
    longest_first = sorted(secrets, key=len, reverse=True)
    formatters = [(handler, handler.formatter) for handler in logging.root.handlers]
    for handler, formatter in formatters:
        handler.setFormatter(_Redacting(formatter or logging.Formatter(), longest_first))
    try:
        yield
    finally:
        for handler, formatter in formatters:
            handler.setFormatter(formatter)
