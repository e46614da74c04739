"""A stream's prefix: what Firehose refuses, and what can be listed by time."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay.firehose_prefix import Unit, check, formats, split

TIME = datetime(2026, 3, 5, 7, 9, 11)  # noqa: DTZ001  # the clock of the keys


@pytest.mark.parametrize(
    ("prefix", "parts"),
    [
        ("", ("", "")),
        ("raw", ("raw", "")),
        ("raw/!{timestamp:yyyy}/", ("raw/", "!{timestamp:yyyy}/")),
        (
            "!{firehose:random-string}/raw/!{timestamp:yyyy}/",
            ("", "!{firehose:random-string}/raw/!{timestamp:yyyy}/"),
        ),
    ],
)
def test_the_root_is_what_stands_before_the_first_expression(prefix: str, parts: tuple[str, str]) -> None:
    assert split(prefix) == parts


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("", {"YEAR": "2026/", "MONTH": "2026/03/", "DAY": "2026/03/05/", "HOUR": "2026/03/05/07/"}),
        ("!{timestamp:yyyy/MM/dd}/", {"YEAR": "2026/", "MONTH": "2026/03/", "DAY": "2026/03/05/"}),
        ("!{timestamp:uuuu-MM}/", {"YEAR": "2026-", "MONTH": "2026-03/"}),
        ("!{timestamp:'it''s 'yyyy''}/", {"YEAR": "it's 2026'/"}),
        ("!{timestamp:yy/DDD}/", {"YEAR": "26/", "DAY": "26/064/"}),
        ("!{timestamp:yyyy/M/d/H}/", {"YEAR": "2026/", "MONTH": "2026/3/", "DAY": "2026/3/5/", "HOUR": "2026/3/5/7/"}),
        ("!{timestamp:yyyy/M}", {"YEAR": "2026/"}),
        ("!{timestamp:yyyyMd}/", {"YEAR": "2026"}),
        ("!{timestamp:yyyy/M}!{timestamp:'1'}", {"YEAR": "2026/"}),
        ("!{timestamp:yyyy/MMM/dd}/", {"YEAR": "2026/"}),
        ("!{timestamp:yyyy/MM/dd/hh a}/", {"YEAR": "2026/", "MONTH": "2026/03/", "DAY": "2026/03/05/"}),
        ("!{timestamp:yyyy/dd/MM}/", {"YEAR": "2026/"}),
        ("!{timestamp:yyyy/HH}/", {"YEAR": "2026/"}),
        ("!{timestamp:yyyy[/MM]}/", {"YEAR": "2026"}),
        ("!{timestamp:MM/yyyy}/", {}),
        ("!{timestamp:YYYY}/", {}),
        ("!{timestamp:yyyy/MM}/!{timestamp:yyyy-MM-dd}/", {"YEAR": "2026/", "MONTH": "2026/03/2026-03-", "DAY": "2026/03/2026-03-05/"}),
        ("!{timestamp:yyyy}/id=!{partitionKeyFromQuery:id}/!{timestamp:MM}/", {"YEAR": "2026/id="}),
        ("!{partitionKeyFromLambda:id}/", {}),
        ("!{firehose:random-string}", {}),
    ],
)  # fmt: skip
def test_what_keys_begin_with_is_known_as_far_as_the_time_decides_it(
    path: str, texts: dict[str, str]
) -> None:
    found = {unit.name: text.format(t=TIME) for unit, text in formats(path).items()}

    assert found == texts
    assert list(found) == [unit.name for unit in Unit if unit.name in found]


EXPRESSIONS = (
    "must have no other expressions than '!{timestamp:...}', '!{firehose:random-string}', "
    "'!{partitionKeyFromQuery:...}' and '!{partitionKeyFromLambda:...}', got "
)
PATTERN = "must have a pattern of Java's DateTimeFormatter in "
QUOTES = "; put literal text in single quotes, as in 'year='yyyy"


@pytest.mark.parametrize(
    ("prefix", "flaw"),
    [
        ("raw/!{timestamp:yyyy", "must close each '!{' with '}', got '!{timestamp:yyyy'"),
        (
            "!{timestamp:!{timestamp:yyyy}}/",
            "must close each '!{' with '}', got '!{timestamp:!{timestamp:yyyy'",
        ),
        ("!{date:yyyy}/", EXPRESSIONS + "'!{date:yyyy}'"),
        ("!{timestamp}/", EXPRESSIONS + "'!{timestamp}'"),
        ("!{timestamp:}/", EXPRESSIONS + "'!{timestamp:}'"),
        ("!{firehose:random}/", EXPRESSIONS + "'!{firehose:random}'"),
        ("!{partitionKeyFromQuery:}/", EXPRESSIONS + "'!{partitionKeyFromQuery:}'"),
        ("!{timestamp:year=yyyy}/", PATTERN + "'!{timestamp:year=yyyy}', got 'r' in it" + QUOTES),
        ("!{timestamp:yyyy/MM/ddd}/", PATTERN + "'!{timestamp:yyyy/MM/ddd}', got 'ddd' in it" + QUOTES),
        (
            "!{timestamp:'year=yyyy}/",
            "must close each single quote, and have no '{' and '#', in ''year=yyyy'",
        ),
        ("!{timestamp:yyyy#MM}/", "must close each single quote, and have no '{' and '#', in 'yyyy#MM'"),
        ("r" * 499, "must have at most 512 characters when it is evaluated, got 513"),
        ("!{timestamp:yyyy}" + "r" * 509, "must have at most 512 characters when it is evaluated, got 513"),
        (
            "!{firehose:error-output-type}/",
            "must be without '!{firehose:error-output-type}', got '!{firehose:error-output-type}/'; Firehose takes it "
            "in an error output prefix only, which error_output=ErrorOutput.REPLAY replays",
        ),
    ],
)
def test_what_firehose_refuses_is_refused_with_the_way_out(prefix: str, flaw: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        check(prefix)

    assert str(caught.value) == flaw


@pytest.mark.parametrize(
    "prefix",
    [
        "r" * 498,
        "!{timestamp:yyyy}" + "r" * 508,
        "!{timestamp:'year='yyyy'/month='MM'/day='dd'/hour='HH}/",
        "a/!{timestamp:EEE, d MMM yyyy HH:mm:ss.SSS Z}/!{firehose:random-string}/",
        "id=!{partitionKeyFromQuery:customer_id}/!{partitionKeyFromLambda:day}/",
    ],
)
def test_what_firehose_takes_is_taken(prefix: str) -> None:
    check(prefix)


def test_an_error_output_prefix_may_have_the_type_of_the_error() -> None:
    check("errors/!{firehose:error-output-type}/!{timestamp:yyyy/}", error_output=True)


@given(prefix=st.text("!{}:'timestampyMdHqz/[]#", max_size=40))
def test_any_text_is_taken_or_refused(prefix: str) -> None:
    try:
        check(prefix)
    except ValueError:
        return
    texts = [text.format(t=TIME) for text in formats(split(prefix)[1]).values()]

    assert all(longer.startswith(shorter) for shorter, longer in pairwise(texts))
