"""No secret reaches the log."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_reprocessing_handler.redaction import own_credentials, redacted, secrets_of, without

if TYPE_CHECKING:
    Written = io.StringIO
    Event = Callable[..., dict[str, Any]]

URL = "https://answers.example/a?X-Amz-Signature=0f1e2d3c"
SECRETS = frozenset({URL, "X-Amz-Signature=0f1e2d3c"})
log = logging.getLogger("some.library")


@pytest.fixture
def written() -> Iterator[Written]:
    """What a handler of the root logger writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.root.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield stream
    logging.root.removeHandler(handler)


def test_a_secret_is_replaced_in_a_message(written: Written) -> None:
    with redacted(SECRETS):
        log.debug("PUT " + URL)  # noqa: G003  # as careless libraries do

    assert written.getvalue() == "DEBUG PUT [secret]\n"


def test_a_secret_is_replaced_in_an_argument(written: Written) -> None:
    with redacted(SECRETS):
        log.info("event: %s", {"ResponseURL": URL})

    assert written.getvalue() == "INFO event: {'ResponseURL': '[secret]'}\n"


def test_a_part_of_a_secret_is_replaced(written: Written) -> None:
    with redacted(SECRETS):
        log.info("path: /a?X-Amz-Signature=0f1e2d3c of host answers.example")

    assert written.getvalue() == "INFO path: /a?[secret] of host answers.example\n"


def test_a_secret_is_replaced_in_a_traceback(written: Written) -> None:
    with redacted(SECRETS):
        try:
            raise OSError(f"cannot reach {URL}")
        except OSError:
            log.exception("it failed")

    assert "OSError: cannot reach [secret]" in written.getvalue()
    assert "0f1e2d3c" not in written.getvalue()


def test_a_handler_without_a_format_is_covered_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.root.addHandler(handler)

    with redacted(SECRETS):
        log.warning("PUT %s", URL)
    logging.root.removeHandler(handler)

    assert stream.getvalue() == "PUT [secret]\n"
    assert handler.formatter is None


def test_afterwards_the_log_is_what_it_was(written: Written) -> None:
    formatters = [handler.formatter for handler in logging.root.handlers]

    with pytest.raises(OSError, match="anything"), redacted(SECRETS):
        raise OSError("anything")
    log.info("path %s", "/a")

    assert [handler.formatter for handler in logging.root.handlers] == formatters
    assert written.getvalue() == "INFO path /a\n"


def test_secrets_of_one_event_do_not_stay_for_the_next(written: Written) -> None:
    with redacted(SECRETS), redacted(frozenset({"other"})):
        log.info("one %s, other", URL)
    with redacted(frozenset({"next"})):
        log.info("X-Amz-Signature=0f1e2d3c, next")

    assert written.getvalue() == "INFO one [secret], [secret]\nINFO X-Amz-Signature=0f1e2d3c, [secret]\n"


def test_a_text_without_secrets_is_itself() -> None:
    assert without(frozenset(), "the run failed") == "the run failed"
    assert without(SECRETS, "the run failed") == "the run failed"


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert without(frozenset({"abc", "abcdef", "f"}), "abcdefg abc f") == "[secret]g [secret] [secret]"


def test_the_functions_own_credentials_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k" * 40)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t" * 400)

    assert own_credentials() == {"k" * 40, "t" * 400}


def test_a_stand_in_for_credentials_is_a_word_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    assert own_credentials() == frozenset()


def test_every_address_of_an_answer_is_a_secret(event_of: Event, properties: dict[str, Any]) -> None:
    properties["Wait"] = {"TimeoutSeconds": "60", "SignalUrl": "https://new.example/w?Signature=new"}
    old = {"Wait": {"SignalUrl": "https://old.example/w?Signature=old"}}
    event = event_of(
        "Update", properties, OldResourceProperties=old, ResponseURL="https://s3.example/a?Signature=s3"
    )

    assert secrets_of(event) == {
        "https://s3.example/a?Signature=s3",
        "Signature=s3",
        "https://new.example/w?Signature=new",
        "Signature=new",
        "https://old.example/w?Signature=old",
        "Signature=old",
    }


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"ResponseURL": None, "ResourceProperties": None, "OldResourceProperties": "text"},
        {"ResourceProperties": {"Wait": "text"}},
        {"ResourceProperties": {"Wait": {"SignalUrl": ["https://signal.example"]}}},
    ],
)
def test_an_event_of_any_shape_can_be_searched_for_secrets(event: dict[str, Any]) -> None:
    assert secrets_of(event) == frozenset()
