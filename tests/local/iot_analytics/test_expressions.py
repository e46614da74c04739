"""Expressions, compared with values worked out in another way."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.iot_analytics.errors import ServiceError
from local_aws.iot_analytics.expressions import Filter, Formula

NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-6),
)


def _value(text: str, **attributes: Any) -> Any:
    [value] = Formula(text).values([attributes])
    return value


def _passes(text: str, **attributes: Any) -> bool:
    return Filter(text).passing([attributes]) == [attributes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The examples of the documentation, and what the examples leave out.
        ("abs(-5)", 5),
        ("acos(0)", 1.5707963267948966),
        ("asin(0)", 0.0),
        ("atan(0)", 0.0),
        ("atan2(1, 0)", 1.5707963267948966),
        ("ceil(1.2)", 2),
        ("ceil(-1.2)", -1),
        ("cos(0)", 1),
        ("cosh(2.3)", 5.037220649268761),
        ("exp(1)", 2.718281828459045),
        ("ln(2.718281828459045)", 1),
        ("log(100)", 2.0),
        ("mod(8, 3)", 2),
        ("8 % 3", 2),
        ("mod(-7, 2)", -1),
        ("mod(7, -2)", 1),
        ("mod(7.5, 2)", 1.5),
        ("power(2, 5)", 32.0),
        ("round(1.2)", 1),
        ("round(1.5)", 2),
        ("round(2.5)", 3),
        ("Round(1.7)", 2),
        ("round(-1.1)", -1),
        ("round(-1.5)", -2),
        ("sign(-7)", -1),
        ("sign(0)", 0),
        ("sign(13)", 1),
        ("sin(0)", 0.0),
        ("sinh(2.3)", 4.936961805545957),
        ("sqrt(9)", 3.0),
        ("tan(3)", -0.1425465430742778),
        ("tanh(2.3)", 0.9800963962661914),
        ("trunc(2.3, 0)", 2),
        ("trunc(2.3123, 2)", 2.31),
        ("trunc(2.888, 2)", 2.88),
        ("trunc(-2.888, 2)", -2.88),
        ("trunc(2.888, -3)", 2),
        ("trunc(2.00, 5)", 2),
        ("1 / 2", 0.5),
        ("7 - 2 - 1", 4),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("-(2 - 5)", 3),
        ("1e3 + .5", 1000.5),
    ],
)
def test_functions_and_operators_give_the_documented_numbers(text: str, expected: float) -> None:
    assert _value(text) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    ["1 / 0", "mod(1, 0)", "1.0 % 0", "sqrt(-1)", "ln(0)", "acos(2)", "exp(1000)", "power(0, -1)", "1e999"],
)
def test_what_has_no_value_gives_none(text: str) -> None:
    assert _value(text) is None


@pytest.mark.parametrize(
    "value", [None, True, False, "warm", "", {"a": 1}, [1], "nan", "inf", "1_000", "\u0661", 10**400]
)
def test_what_is_no_number_gives_none(value: Any) -> None:
    assert _value("t + 1", t=value) is None
    assert _value("t", t=value) is None
    assert _value("abs(t)", t=value) is None


def test_a_string_that_spells_a_number_is_that_number() -> None:
    assert _value("a + b", a="2", b="0.5") == 2.5


@pytest.mark.parametrize("value", ["\ud800", "a\0b", "ü", "'", '"'])
def test_any_text_can_be_compared(value: str) -> None:
    assert _passes("s <> 'x'", s=value)
    assert _passes("s = t", s=value, t=value)


def test_numbers_beyond_all_bounds_compare_with_nothing() -> None:
    assert not _passes("t > 1", t=10**400)
    assert not _passes("t > 1", t=float("nan"))
    assert _passes("t > 1", t=10**30)


def test_a_missing_attribute_gives_none() -> None:
    assert _value("t + 1") is None


def test_nested_and_quoted_attributes_are_found() -> None:
    message = {"device": {"temp": 3, "a": {"b": {"c": {"d": 4}}}}, "select": 5, "odd name": 6}

    assert _value("device.temp * 2", **message) == 6
    assert _value("device.a.b.c.d", **message) == 4
    assert _value('"odd name" + 0', **message) == 6


def test_large_integers_become_floats_and_do_not_fail() -> None:
    assert _value("a * a", a=2**62) == pytest.approx(2.0**124)
    assert _value("a", a=10**30) == pytest.approx(1e30)
    assert _value("mod(a, 10)", a=2**62 + 1) == (2**62 + 1) % 10


@given(a=NUMBERS, b=NUMBERS, c=NUMBERS)
def test_arithmetic_agrees_with_exact_fractions(a: float, b: float, c: float) -> None:
    got = _value("(a - b) * c + a * 2 - b", a=a, b=b, c=c)

    exact = (Fraction(a) - Fraction(b)) * Fraction(c) + Fraction(a) * 2 - Fraction(b)
    size = (abs(a) + abs(b)) * (abs(c) + 2)
    assert float(abs(Fraction(got) - exact)) <= 1e-14 * size


@given(fahrenheit=st.floats(-500, 500))
def test_fahrenheit_becomes_celsius_to_the_last_bit(fahrenheit: float) -> None:
    assert _value("(f - 32) * 5 / 9", f=fahrenheit) == (fahrenheit - 32) * 5 / 9


@given(value=st.decimals(-1000, 1000, places=4), places=st.integers(0, 4))
def test_trunc_cuts_decimal_places(value: Decimal, places: int) -> None:
    got = _value("trunc(v, p)", v=float(value), p=places)

    assert got == float(int(value * 10**places) / Decimal(10**places))


@given(values=st.lists(NUMBERS, max_size=50))
def test_a_whole_object_is_worked_out_in_its_order(values: list[float]) -> None:
    messages = [{"v": value} for value in values]

    assert Formula("v * 2").values(messages) == [value * 2 for value in values]
    assert Filter("v > 0").passing(messages) == [{"v": value} for value in values if value > 0]


@pytest.mark.parametrize(
    ("text", "attributes", "expected"),
    [
        ("t > 1", {"t": 2}, True),
        ("t >= 2", {"t": 2}, True),
        ("t < 2", {"t": 2}, False),
        ("t <= 2", {"t": 2}, True),
        ("t = 2", {"t": 2.0}, True),
        ("t <> 2", {"t": 2}, False),
        ("t != 2", {"t": 3}, True),
        ("2 < t", {"t": 3}, True),
        ("city = 'Seattle'", {"city": "Seattle"}, True),
        ("city < 'T'", {"city": "Seattle"}, True),
        ("city = 'it''s'", {"city": "it's"}, True),
        ("t BETWEEN 1 AND 2", {"t": 2}, True),
        ("t BETWEEN 1 AND 2", {"t": 2.1}, False),
        ("NOT t BETWEEN 1 AND 2", {"t": 3}, True),
        ("t IN (1, 3, 5)", {"t": 3}, True),
        ("t NOT IN (1, 3, 5)", {"t": 3}, False),
        ("t IN (1) AND u = 1", {"t": 1, "u": 2}, False),
        ("a = 1 OR b = 1 AND c = 1", {"a": 1, "b": 0, "c": 0}, True),
        ("(a = 1 OR b = 1) AND c = 1", {"a": 1, "b": 0, "c": 0}, False),
        ("t IS NULL", {}, True),
        ("t IS NULL", {"t": None}, True),
        ("t IS NOT NULL", {"t": {"a": 1}}, True),
        ("t IS NOT NULL", {"t": 0}, True),
        ("ok", {"ok": True}, True),
        ("NOT ok", {"ok": False}, True),
        ("ok = TRUE", {"ok": True}, True),
        ("ok IS FALSE", {"ok": False}, True),
        ("a = b", {"a": 1, "b": 1.0}, True),
        ("a = b", {"a": "x", "b": "x"}, True),
        ("abs(t - 3) < 0.5", {"t": 2.75}, True),
        ("device.temp > 1", {"device": {"temp": 2}}, True),
        # Unknown is not true, and neither is its opposite.
        ("t > 1", {}, False),
        ("NOT t > 1", {}, False),
        ("t > 1", {"t": "2"}, False),
        ("t <> 'a'", {"t": 1}, False),
        ("t > 0", {"t": True}, False),
        ("a = b", {"a": 1, "b": "1"}, False),
        ("ok", {"ok": 1}, False),
        ("t > 1 OR u = 1", {"u": 1}, True),
        ("1 / t > 0 OR t = 0", {"t": 0}, True),
    ],
)
def test_a_filter_is_a_where_clause(text: str, attributes: dict[str, Any], expected: bool) -> None:
    assert _passes(text, **attributes) is expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("t >", "something is missing beside an operator"),
        ("", "it cannot be read"),
        ("t + 1", "'t + 1' must be a condition, and is a number"),
        ("t > 'a' AND t + 1", "'t + 1' must be a condition, and is a number"),
        ("t > NULL", "nothing compares with NULL; write IS NULL or IS NOT NULL"),
        ("1 > 'a'", "a number and a string do not compare, in '1' and ''a''"),
        ("t IN (SELECT 1)", "'t IN (SELECT 1)' is not for expressions; see what may stand in one"),
        ("t LIKE 'a%'", "'t LIKE 'a%'' is not for expressions; see what may stand in one"),
        ("EXISTS (SELECT 1)", "is not for expressions"),
        ("SELECT 1", "is not for expressions"),
        ("t = 1; DROP TABLE x", "is not for expressions"),
        ("CASE WHEN t THEN u END", "is not for expressions"),
        ("CAST(t AS INT) = 1", "there is no function 'CAST'"),
        ("t[0] = 1", "'t[0]' is not for expressions"),
        ("* = 1", "is not for expressions"),
        ("t = ?", "is not for expressions"),
        ("t || 'a' = 'b'", "is not for expressions"),
        ("load_extension('x') = 1", "there is no function 'load_extension'; there are: abs, acos, "),
        ("f_compare(t, 1) = 1", "there is no function 'f_compare'"),
        ("mod(t) = 1", "'mod' takes 2 argument(s), got 1"),
        ("t = 1 -- a", "'--' and '/*' begin a comment, and there are none here; write 'a - (-b)'"),
        ("t = (1", "at '"),
        ("(" * 3000 + "t" + ")" * 3000, "nested too deeply"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ServiceError) as caught:
        Filter(text)

    assert caught.value.code == "InvalidRequestException"
    assert caught.value.message.startswith(f"the filter expression '{text}' is ")
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("t > 1", "'t > 1' must be a number, and is a condition"),
        ("'a'", "''a'' must be a number, and is a string"),
        ("t + 'a'", "''a'' must be a number, and is a string"),
        ("TRUE + 1", "'TRUE' must be a number, and is a condition"),
        ("a--b", "'--' and '/*' begin a comment"),
        ("t ** 2", "at '"),
        ("floor(t)", "there is no function 'floor'"),
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ServiceError) as caught:
        Formula(text)

    assert caught.value.message.startswith(f"the math expression '{text}' is broken: ")
    assert problem in caught.value.message


@given(text=st.text("t1. +-*/%()<>='\"ANDORNOTISNULLBETWEENINselect,;?:@[]$\\\n", max_size=40))
def test_whatever_is_written_is_refused_or_works(text: str) -> None:
    for kind in (Filter, Formula):
        try:
            expression = kind(text)
        except ServiceError:
            continue
        if isinstance(expression, Filter):
            expression.passing([{"t": 1}, {}])
        else:
            assert all(value is None or math.isfinite(value) for value in expression.values([{"t": 1}, {}]))
