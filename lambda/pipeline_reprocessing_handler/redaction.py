"""Keeps secrets out of the log and out of reasons, in whatever encoding a text quotes them."""

from __future__ import annotations

import logging
import os
import re
from binascii import a2b_base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

PLACEHOLDER = "[secret]"

RUN = 12
"""Consecutive characters of a secret value that are hidden wherever they stand.

Of a SigV4 signature of 64 characters that leaves nothing useful, and no word of a log is part of a random text by chance.
A value that is shorter than that is a word that may stand anywhere, such as 'host' or 'test'.
"""

_SEED = RUN // 2
_PUBLIC = {"expires", "x-amz-algorithm", "x-amz-date", "x-amz-expires", "x-amz-signedheaders"}
"""Parameters of a pre-signed URL whose values are no secrets, and stand in other lines of the log as well."""
_ESCAPE = re.compile(
    r"%(?:25)*([0-9a-f]{2})"  # percent-encoded, any number of times
    r"|\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2})|(.?))"  # JSON and repr()
    r"|&(?:amp;)*(?:#x0*([0-9a-f]{1,4})|#0*(\d{1,5})|(amp|equals|percnt|plus|sol));",  # HTML and XML
    re.IGNORECASE | re.DOTALL,
)
_LITERAL, _DECIMAL, _NAME = 4, 6, 7
_NAMES = {"amp": "&", "equals": "=", "percnt": "%", "plus": "+", "sol": "/"}
_BASE64 = re.compile(r"[\w+/-]{20,}={0,2}", re.ASCII)
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class Secrets:
    """What no text may show."""

    values: frozenset[str]
    """Hidden from `RUN` consecutive characters on, as a text may quote a part of one."""
    whole: frozenset[str] = frozenset()
    """Hidden only where they stand whole, as a part of one may be a word like any other."""

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the text shows any of them: first position, and the one after the last."""
        plain, starts = _decoded(text)
        for begin, end in self._plain_spans(plain):
            yield starts[begin], starts[end]

    def _plain_spans(self, plain: str) -> Iterator[tuple[int, int]]:
        for whole in self._plain_whole:
            if whole in plain:  # which is much faster than a search by pattern
                yield from (match.span() for match in re.finditer(re.escape(whole), plain))
        spaced = plain.replace("+", " ")  # as forms are decoded
        # Each run has one of these seeds in it, and most texts have none.
        for seed in range(0, len(spaced), RUN - _SEED + 1):
            if spaced[seed : seed + _SEED] in self._seeds:
                for at in range(max(0, seed + _SEED - RUN), seed + 1):
                    if spaced[at : at + RUN] in self._runs:
                        yield at, at + RUN
        in_base64 = {match.span(): _from_base64(match[0]) for match in _BASE64.finditer(plain)}
        if in_base64 and self._is_shown_in("\0".join(in_base64.values())):  # all at once, as most hold none
            yield from (span for span, meaning in in_base64.items() if self._is_shown_in(meaning))

    def _is_shown_in(self, text: str) -> bool:
        return next(self.spans(text), None) is not None

    @cached_property
    def _plain_whole(self) -> frozenset[str]:
        return frozenset(_decoded(whole)[0] for whole in self.whole if whole)

    @cached_property
    def _runs(self) -> frozenset[str]:
        values = [_decoded(value)[0].replace("+", " ") for value in self.values]
        return frozenset(value[at : at + RUN] for value in values for at in range(len(value) - RUN + 1))

    @cached_property
    def _seeds(self) -> frozenset[str]:
        return frozenset(run[at : at + _SEED] for run in self._runs for at in range(RUN - _SEED + 1))


def secrets_of(event: Mapping[str, Any]) -> Secrets:
    """The texts with which anybody could answer an event in our name, and what this function signs its calls with."""
    urls = [event.get("ResponseURL")]
    for properties in (event.get("ResourceProperties"), event.get("OldResourceProperties")):
        wait = properties.get("Wait") if isinstance(properties, Mapping) else None
        urls.append(wait.get("SignalUrl") if isinstance(wait, Mapping) else None)
    queries = {url: url.partition("?")[2] for url in urls if isinstance(url, str)}
    values = {value for query in queries.values() for value in _secret_values(query)}
    return Secrets(own_credentials() | values, frozenset({*queries, *queries.values()} - {""}))


def own_credentials() -> frozenset[str]:
    """What this function signs its calls with: a service quotes the token where it refuses a signature."""
    values = (os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
    return frozenset(value for value in values if len(value) >= RUN)


def without(secrets: Secrets, text: str) -> str:
    """The text, with a placeholder for each quote of a secret."""
    kept: list[str] = []
    at = 0
    for begin, end in sorted(secrets.spans(text)):
        if begin > at or not kept:
            kept += text[at:begin], PLACEHOLDER
        at = max(at, end)
    return "".join([*kept, text[at:]])


_FORMAT = logging.Handler.format
_IN_USE: list[Secrets] = []
"""A list, as events that are handled at the same time may end in any order."""


@contextmanager
def redacted(secrets: Secrets) -> Iterator[None]:
    """Within it, no handler of any logger writes a secret.

    That covers the message, its arguments, tracebacks and stacks, for all of them are in what `Handler.format` returns.
    """
    _IN_USE.append(secrets)
    # Not a formatter for each handler there is: a library may add a handler, or a logger of its own, meanwhile.
    setattr(logging.Handler, "format", _format_without)  # noqa: B010  # mypy refuses to assign a method
    try:
        yield
    finally:
        _IN_USE.remove(secrets)
        if not _IN_USE:
            setattr(logging.Handler, "format", _FORMAT)  # noqa: B010  # see above


def _format_without(handler: logging.Handler, record: logging.LogRecord) -> str:
    text = _FORMAT(handler, record)
    for secrets in _IN_USE:
        text = without(secrets, text)
    return text


def _secret_values(query: str) -> Iterator[str]:
    for parameter in query.split("&"):
        name, _, value = _decoded(parameter)[0].partition("=")
        if name.lower() == "x-amz-credential":
            value = value.partition("/")[0]  # date, region and service are no secrets
        if name.lower() not in _PUBLIC and len(value) >= RUN:
            yield value


def _decoded(text: str) -> tuple[str, Sequence[int]]:
    """The text without escapes, however they are nested, and where each character of it begins in the original."""
    starts: Sequence[int] = range(len(text) + 1)
    while _ESCAPE.search(text):
        characters: list[str] = []
        places: list[int] = []
        at = 0
        for match in _ESCAPE.finditer(text):
            meaning = _meaning(match)
            characters += text[at : match.start()], meaning
            places += *starts[at : match.start()], *starts[match.start() : match.start() + len(meaning)]
            at = match.end()
        text, starts = "".join([*characters, text[at:]]), [*places, *starts[at:]]
    return text, starts


def _meaning(escape: re.Match[str]) -> str:
    group = escape.lastindex or 0
    if group == _LITERAL:
        return escape[group]
    if group == _NAME:
        return _NAMES[escape[group].lower()]
    return chr(int(escape[group], 10 if group == _DECIMAL else 16))


def _from_base64(text: str) -> str:
    """All that a piece of Base64 can mean, as it may have been cut anywhere from its beginning."""
    text = text.rstrip("=").translate(_URL_SAFE)
    pieces = (text[cut : cut + (len(text) - cut) // 4 * 4] for cut in range(4))
    return b"\0".join(map(a2b_base64, pieces)).decode("latin-1")
