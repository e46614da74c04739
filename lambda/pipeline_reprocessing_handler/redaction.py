"""Keeps secrets out of the log, whoever writes to it and however."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PLACEHOLDER = "[secret]"

SHORTEST_CREDENTIAL = 16
"""Characters. What is shorter is a stand-in such as 'test', and a word that may stand anywhere."""


def own_credentials() -> frozenset[str]:
    """What this function signs its calls with: a service quotes the token where it refuses a signature."""
    values = (os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
    return frozenset(value for value in values if len(value) >= SHORTEST_CREDENTIAL)


def secrets_of(event: Mapping[str, Any]) -> frozenset[str]:
    """The texts in an event with which anybody could answer in our name."""
    urls = [event.get("ResponseURL")]
    for properties in (event.get("ResourceProperties"), event.get("OldResourceProperties")):
        wait = properties.get("Wait") if isinstance(properties, Mapping) else None
        urls.append(wait.get("SignalUrl") if isinstance(wait, Mapping) else None)
    whole = [url for url in urls if isinstance(url, str) and url]
    return frozenset(part for url in whole for part in (url, url.partition("?")[2]) if part)


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
