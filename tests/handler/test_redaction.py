"""No secret reaches the log, in whatever encoding and however little of it a text quotes."""

from __future__ import annotations

import html
import io
import json
import logging
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, unquote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_reprocessing_handler.redaction import Secrets, own_credentials, redacted, secrets_of, without

if TYPE_CHECKING:
    Written = io.StringIO
    Event = Callable[..., dict[str, Any]]

SIGNATURE = "6b1f0d2c9e8a7b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c"
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUC+IQ=="
KEY_ID = "ASIAQ3EGRXAMPLEKEYID"
URL = (
    "https://cloudformation-custom-resource-response-euwest1.s3.eu-west-1.amazonaws.com/arn%3Aaws%3Acloudformation"
    "%3Aeu-west-1%3A123456789012%3Astack/weather/5f2a7c10%7CBackfill%7C9d31?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Date=20250131T100000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=7200"
    f"&X-Amz-Credential={KEY_ID}%2F20250131%2Fap-northeast-1%2Fs3%2Faws4_request"
    f"&X-Amz-Security-Token={quote(TOKEN, safe='')}&X-Amz-Signature={SIGNATURE}"
)
OLD_SIGNATURE = "bWq2s1WEIj+Ydj0vQ697zp+IXMU="
OLD_URL = (
    "https://cloudformation-waitcondition-us-east-1.s3.amazonaws.com/arn%3Aaws%3Acloudformation/weather/Handle"
    f"?AWSAccessKeyId={KEY_ID}&Expires=1738317600&Signature={quote(OLD_SIGNATURE, safe='')}"
)
SECRETS = secrets_of(
    {"ResponseURL": URL, "ResourceProperties": {"Wait": {"TimeoutSeconds": 7200, "SignalUrl": OLD_URL}}}
)
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


def test_a_secret_is_replaced_in_a_traceback(written: Written) -> None:
    with redacted(SECRETS):
        try:
            raise OSError(f"cannot reach {URL}")
        except OSError:
            log.exception("it failed")

    assert "OSError: cannot reach [secret]" in written.getvalue()
    assert SIGNATURE not in written.getvalue()


def test_a_secret_is_replaced_in_the_stack_of_a_record(written: Written) -> None:
    record = log.makeRecord("some.library", logging.INFO, "file", 1, "here", (), None, sinfo=f"url = '{URL}'")

    with redacted(SECRETS):
        log.handle(record)

    assert written.getvalue() == "INFO here\nurl = '[secret]'\n"


def test_a_logger_with_a_handler_of_its_own_is_covered_too() -> None:
    stream = io.StringIO()
    own = logging.getLogger("some.library.of.its.own")
    own.propagate = False

    with redacted(SECRETS):
        handler = logging.StreamHandler(stream)  # a library may add one while an event is handled
        own.addHandler(handler)
        own.warning("PUT %s", URL)
    own.removeHandler(handler)
    own.propagate = True

    assert stream.getvalue() == "PUT [secret]\n"


def test_afterwards_the_log_is_what_it_was(written: Written) -> None:
    with pytest.raises(OSError, match="anything"), redacted(SECRETS):
        raise OSError("anything")
    log.info("path %s", URL)

    assert written.getvalue() == f"INFO path {URL}\n"


def test_secrets_of_one_event_do_not_stay_for_the_next(written: Written) -> None:
    with redacted(SECRETS), redacted(Secrets(frozenset({"another secret"}))):
        log.info("one %s, another secret", URL)
    with redacted(Secrets(frozenset({"the next secret"}))):
        log.info(SIGNATURE)

    assert written.getvalue() == f"INFO one [secret], [secret]\nINFO {SIGNATURE}\n"


def test_events_that_are_handled_at_the_same_time_may_end_in_any_order(written: Written) -> None:
    one, other = (redacted(Secrets(frozenset({f"the {name} secret"}))) for name in ("first", "second"))

    with one:
        other.__enter__()  # ends after the first
    log.info("the first secret, the second secret")
    other.__exit__(None, None, None)
    log.info("the first secret, the second secret")

    assert written.getvalue() == (
        "INFO the first secret, [secret]\nINFO the first secret, the second secret\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the run failed", "the run failed"),
        ("", ""),
        (f"/a?{URL.partition('?')[2]} of host answers.example", "/a?[secret] of host answers.example"),
        (f"PUT {quote(URL, safe='')} failed", "PUT [secret] failed"),
        (f'{{"ResponseURL": {json.dumps(URL)[:-1]}\\"}}', '{"ResponseURL": "[secret]\\"}'),
        (
            json.dumps({"url": URL[URL.index("%2Fs3") :]}).replace("&", "\\u0026"),
            '{"url": "%2Fs3%2Faws4_request\\u0026X-Amz-Security-Token=[secret]\\u0026X-Amz-Signature=[secret]"}',
        ),
        (f"X-Amz-Credential={KEY_ID}/20250131/", "X-Amz-Credential=[secret]/20250131/"),
        (f"<Signature>{html.escape(OLD_SIGNATURE)}</Signature>", "<Signature>[secret]</Signature>"),
        (f"payload {b64encode(URL.encode()).decode()}", "payload [secret]"),
        (f"{SIGNATURE[:12]} and {SIGNATURE[-11:]}", f"[secret] and {SIGNATURE[-11:]}"),
        (unquote_plus(OLD_SIGNATURE), "[secret]"),
        (SIGNATURE + OLD_SIGNATURE, "[secret]"),
    ],
    ids=[
        "none", "empty", "query", "percent", "json", "middle", "key id", "html", "base64", "parts", "form", "adjacent"
    ],
)  # fmt: skip
def test_what_is_no_secret_stays_readable(text: str, shown: str) -> None:
    assert without(SECRETS, text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "host answers.example, region ap-northeast-1, 20250131T100000Z, AWS4-HMAC-SHA256, 7200, 1738317600",
        "arn:aws:cloudformation:eu-west-1:123456789012:stack/weather/5f2a7c10|Backfill|9d31",
        "/20250131/ap-northeast-1/s3/aws4_request",
        "X-Amz-Security-Token, X-Amz-Signature and AWSAccessKeyId are missing",
        "https://cloudformation-custom-resource-response-euwest1.s3.eu-west-1.amazonaws.com/ is not reached",
    ],
)
def test_the_public_parts_of_an_address_are_words_like_any_other(text: str) -> None:
    assert without(SECRETS, text) == text


def some_hex(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


ENCODERS: tuple[Callable[[str], str], ...] = (
    lambda text: quote(text, safe=""),
    lambda text: re.sub("%..", lambda escape: escape[0].lower(), quote(text, safe="")),
    some_hex,
    unquote,
    html.escape,
    lambda text: "".join(f"&#{ord(character)};" for character in text),
    lambda text: "".join(f"&#x{ord(character):X};" for character in text),
    lambda text: text.replace("/", "&sol;").replace("=", "&equals;").replace("+", "&plus;"),
    lambda text: json.dumps(text)[1:-1],
    lambda text: text.replace("&", "\\u0026").replace("=", "\\u003D").replace("+", "\\u002b"),
    lambda text: text.replace("/", "\\/"),
    lambda text: "".join(f"\\x{ord(character):02x}" for character in text),
    lambda text: repr({"payload": text}),
    lambda text: repr(text.encode()),
    lambda text: json.dumps({"ResponseURL": text}),
    lambda text: b64encode(text.encode()).decode(),
    lambda text: urlsafe_b64encode(text.encode()).decode().rstrip("="),
)
"""What services, libraries and Python do to a text that they quote."""
# Half of the characters of the first kind are such as are encoded.
values = st.text("aB1+/=", min_size=20, max_size=80) | st.text("0123456789abcdef", min_size=64, max_size=64)


@settings(deadline=None)
@given(
    value=values,
    encoders=st.lists(st.sampled_from(ENCODERS), max_size=3),
    cuts=st.lists(st.floats(0, 1), max_size=3),
    before=st.sampled_from(["", "X-Amz-Signature=", '{"a": "', "cut off ", "name/"]),
)
@example(SIGNATURE, [ENCODERS[-2], ENCODERS[-2]], [], "")
@example(SIGNATURE, [some_hex, some_hex], [0.5], "")
@example(SIGNATURE, [ENCODERS[9], ENCODERS[8], ENCODERS[8]], [0.4, 0.6], "")
def test_no_sixteen_characters_of_a_secret_survive_any_encoding(
    value: str, encoders: list[Callable[[str], str]], cuts: list[float], before: str
) -> None:
    secrets = secrets_of({"ResponseURL": f"https://answers.example/a?Signature={quote(value, safe='')}"})
    encoded = before + value
    for encoder in encoders:
        encoded = encoder(encoded)
    borders = sorted({0, *(int(cut * len(encoded)) for cut in cuts), len(encoded)})
    pieces = [encoded[begin:end] for begin, end in pairwise(borders)]

    shown = [without(secrets, piece) for piece in pieces]

    readable = "\n".join(reading for piece in shown for reading in readings(piece))
    assert not [value[at : at + 16] for at in range(len(value) - 15) if value[at : at + 16] in readable]


def readings(text: str) -> set[str]:
    """All that a patient reader finds in a text, by Python's own decoders."""
    found, new = set[str](), {text}
    while new:
        found |= new
        new = {reading for known in new for reading in read_once(known)} - found
    return found


def read_once(text: str) -> Iterator[str]:
    yield unquote(text)
    yield html.unescape(text)
    yield re.sub(
        r"\\u(....)|\\x(..)",
        lambda escape: (
            chr(int(escape[1] or escape[2], 16))
            if re.fullmatch("[0-9a-fA-F]+", escape[1] or escape[2])
            else ""
        ),
        text,
    )
    yield text.replace("\\", "")
    for piece in re.findall(r"[A-Za-z0-9+/_-]{22,}", text):
        for cut in range(4):
            whole = piece[cut : cut + (len(piece) - cut) // 4 * 4].translate(str.maketrans("-_", "+/"))
            decoded = b64decode(whole).decode("latin-1")
            if len(re.findall(r"[ -~]", decoded)) == len(decoded):
                yield decoded


def test_twelve_characters_are_hidden_wherever_they_stand() -> None:
    for at in range(len(SIGNATURE) - 11):
        for before in range(12):
            assert without(SECRETS, "." * before + SIGNATURE[at : at + 12]) == "." * before + "[secret]"
        assert without(SECRETS, SIGNATURE[at : at + 11]) == SIGNATURE[at : at + 11]


def test_sixteen_characters_are_hidden_in_any_piece_of_base64() -> None:
    encoded = b64encode(SIGNATURE.encode()).decode().rstrip("=")

    for at in range(len(encoded) - 21):
        assert without(SECRETS, encoded[at : at + 22]) == "[secret]"


@pytest.mark.parametrize(
    "quoted",
    ["a&sol;b&equals;&percnt;&plus;c", "a&#47;b&#061;&#37;&#x2b;c", "a&amp;sol;b&#X3D;&AMP;#x025;&#x2B;c"],
)
def test_every_name_of_html_is_read(quoted: str) -> None:
    secrets = Secrets(frozenset(), frozenset({"a/b=%+c"}))

    assert without(secrets, f"({quoted})") == "([secret])"


def test_a_line_of_the_log_costs_no_milliseconds() -> None:
    line = (
        "Response headers: {'x-amzn-RequestId': '5f2a7c10-0000-11ef-8000-0a1b2c3d4e5f'}, stack/weather " * 10
    )
    without(SECRETS, line)

    began = perf_counter()
    for _ in range(100):
        without(SECRETS, line)

    assert (perf_counter() - began) / 100 < 0.002


def test_an_address_of_an_answer_is_a_secret(event_of: Event, properties: dict[str, Any]) -> None:
    new, old, response = (f"https://{name}.example/w?Signature={name:x<12}" for name in ("new", "old", "s3"))
    properties["Wait"] = {"TimeoutSeconds": "60", "SignalUrl": new}
    event = event_of(
        "Update", properties, OldResourceProperties={"Wait": {"SignalUrl": old}}, ResponseURL=response
    )

    secrets = secrets_of(event)

    assert secrets.values == {"newxxxxxxxxx", "oldxxxxxxxxx", "s3xxxxxxxxxx"}
    assert secrets.whole == {text for url in (new, old, response) for text in (url, url.partition("?")[2])}


def test_an_address_without_a_signature_is_a_secret_as_a_whole() -> None:
    secrets = secrets_of({"ResponseURL": "https://answers.example/5f2a7c10?now"})

    assert without(secrets, "PUT https://answers.example/5f2a7c10?now") == "PUT [secret]"
    assert without(secrets, "PUT https://answers.example/") == "PUT https://answers.example/"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"ResponseURL": None, "ResourceProperties": None, "OldResourceProperties": "text"},
        {"ResponseURL": ""},
        {"ResourceProperties": {"Wait": "text"}},
        {"ResourceProperties": {"Wait": {"SignalUrl": ["https://signal.example"]}}},
    ],
)
def test_an_event_of_any_shape_can_be_searched_for_secrets(event: dict[str, Any]) -> None:
    assert secrets_of(event) == Secrets(frozenset())


def test_the_functions_own_credentials_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k" * 40)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t" * 400)

    assert own_credentials() == {"k" * 40, "t" * 400}
    assert secrets_of({}).values == {"k" * 40, "t" * 400}


def test_a_stand_in_for_credentials_is_a_word_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    assert own_credentials() == frozenset()
