"""JSON as text: what is checked, and what stays as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_replay.archive.json_text import check_object, elements, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("nonsense", "Expecting value"),
        ('{"t": 1', "Expecting ',' delimiter"),
        ("12", "it is a int"),
        ("[{}]", "it is a list"),
        ("null", "it is a NoneType"),
        ('{"t": NaN}', "NaN is not JSON"),
        ('{"t": -Infinity}', "-Infinity is not JSON"),
        ('{"t": 1} and more', "Extra data"),
        ('{"t": 1}{"t": 2}', "Extra data"),
        ('{"t": ' + "1" * 5_000 + "}", "Exceeds the limit"),
    ],
)
def test_what_is_no_json_object_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_object(text)


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(RecursionError):
        check_object('{"t":' * 100_000)


@pytest.mark.parametrize("text", ["{}", '{"a": 1}', ' \t\r\n{"a": 1}', '{"a": 1} \t\r\n', '{"a": 1, "a": 2}'])
def test_a_json_object_may_have_blanks_around_it(text: str) -> None:
    check_object(text)


@given(
    values=st.lists(json_values, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,  ", " : ")]),
    around=st.sampled_from(["", " ", "\n", "\r\n\t"]),
    escaped=st.booleans(),
)
def test_elements_are_the_values_of_the_list(
    values: list[Any], indent: int | None, separators: tuple[str, str], around: str, escaped: bool
) -> None:
    text = around + json.dumps(values, indent=indent, separators=separators, ensure_ascii=escaped) + around

    cut = elements(text)

    assert cut is not None
    assert [json.loads(each) for each in cut] == values
    assert not any("\n" in each or "\r" in each for each in cut)


@pytest.mark.parametrize(
    "element",
    ["12345678901234567890.123", "1.10", "1E5", "1e999", '{"a":1,"a":2}', r'"\u00fc\/"', '"ü"', "-0"],
)
def test_elements_keep_their_digits_escapes_and_repeated_names(element: str) -> None:
    assert elements(f"[{element}, {element},{element}]") == [element] * 3


def test_line_breaks_between_tokens_become_blanks() -> None:
    text = '[\r\n  {\r\n    "a": "x\\ny"\r\n  }\r\n]'

    assert elements(text) == ['{      "a": "x\\ny"    }']


@pytest.mark.parametrize("text", ["[]", "[ ]", " [\n] ", "[\t\r\n]"])
def test_an_empty_list_has_no_elements(text: str) -> None:
    assert elements(text) == []


@pytest.mark.parametrize("text", ["null", "{}", '"[1]"', "12", ' {"a": [1]} '])
def test_what_is_no_list_has_no_elements_at_all(text: str) -> None:
    assert elements(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[",
        "[ ",
        "[1",
        "[1,",
        "[1, ",
        "[1,]",
        "[1, ]",
        "[,1]",
        "[,]",
        "[1 2]",
        "[1]2]",
        "[1] [2]",
        "[1], 2]",
        "[1}",
        "[}",
        "[x]",
        "[1, x]",
        "[[1]",
        "[NaN]",
        "[1, Infinity]",
        '["a]',
        "{",
        "[1]]",
        "[1,\v2]",
    ],
)
def test_a_list_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the text is json's own for most of them
        elements(text)


@given(st.text(alphabet='[]{}",: \n\\1aN', max_size=8))
def test_elements_refuse_what_json_refuses(text: str) -> None:
    try:
        expected = parse(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  # whatever json says
            elements(text)
    else:
        cut = elements(text)

        assert (None if cut is None else [parse(each) for each in cut]) == (
            expected if isinstance(expected, list) else None
        )
