"""Expressions of the filter and math activities: read by sqlglot, worked out by SQLite, never by `eval`.

What may stand in one: attributes (`temp`, `device.temp`, `"any name"`), numbers, strings, `+ - * / %`,
comparisons, `AND OR NOT`, `IS NULL`, `BETWEEN`, `IN (...)` and the functions of the service's math activity.

Rules, where the service's documentation leaves them open:

- A division is exact, also of two integers. Dividing by zero, the root of a negative number and the like give no value.
- In arithmetic a string that spells a number is that number (as documented); a boolean, an object or a missing attribute
  is no value, and neither is what is computed from it.
- Values of different kinds (a number and a string) do not compare: the outcome is unknown, as with NULL in SQL. A filter
  passes only what is known to be true.
"""

import functools
import json
import math
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any, ClassVar

from sqlglot import exp, parse_one
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.parser import Parser

from local_aws.iot_analytics.attributes import Attribute
from local_aws.iot_analytics.errors import ServiceError, invalid_request
from local_aws.iot_analytics.messages import Message

Number = int | float

_SPELT_NUMBER = re.compile(r"[+-]?(\d{1,300}\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Filter:
    """Which messages go on.

    Args:
        text: The condition, like a WHERE clause.

    Raises:
        ServiceError: InvalidRequestException if it is not a condition.
    """

    def __init__(self, text: str) -> None:
        self._query = _Query.of("filter", text, _Kind.BOOLEAN)

    def passing(self, messages: Sequence[Message]) -> list[Message]:
        """The messages of which the condition is true, in their order."""
        verdicts = self._query.values(messages)
        return [message for message, verdict in zip(messages, verdicts, strict=True) if verdict]


class Formula:
    """A number from a message's attributes.

    Args:
        text: The arithmetic expression.

    Raises:
        ServiceError: InvalidRequestException if it is not an arithmetic expression.
    """

    def __init__(self, text: str) -> None:
        self._query = _Query.of("math", text, _Kind.NUMBER)

    def values(self, messages: Sequence[Message]) -> list[Number | None]:
        """A number for each message, None where there is none."""
        return [_number(value) for value in self._query.values(messages)]


_Typed = tuple[exp.Expr, "_Kind"]


class _Kind(Enum):
    NUMBER = "a number"
    TEXT = "a string"
    BOOLEAN = "a condition"
    NULL = "NULL"
    ATTRIBUTE = "an attribute"


@dataclass(frozen=True)
class _Column:
    """An attribute in the way in which the expression uses it: what is not of the kind wanted is no value."""

    name: str
    reading: Callable[[Any], Any]


class _Plain(Parser):
    # Every call stays a call under its own name: the functions of this language are few, and sqlglot knows some of the
    # same names with another meaning.
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {}
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}


class _Language(Dialect):
    class Parser(_Plain):
        """As the class above; the dialect looks for it under this name."""


@dataclass(frozen=True)
class _Query:
    sql: str
    columns: tuple[tuple[Attribute, Callable[[Any], Any]], ...]

    @classmethod
    def of(cls, activity: str, text: str, wanted: _Kind) -> "_Query":
        try:
            tree = parse_one(text, dialect=_Language)
            if any(node.comments for node in tree.walk()):
                raise invalid_request(
                    "'--' and '/*' begin a comment, and there are none here; write 'a - (-b)'"
                )
            translation = _Translation()
            translated = translation.number(tree) if wanted is _Kind.NUMBER else translation.condition(tree)
        except SqlglotError as error:
            raise invalid_request(f"the {activity} expression '{text}' is broken: {_reason(error)}") from None
        except RecursionError:
            raise invalid_request(f"the {activity} expression '{text}' is nested too deeply") from None
        except ServiceError as error:
            raise invalid_request(f"the {activity} expression '{text}' is broken: {error.message}") from None
        wide = "".join(
            f", json_extract(value, '$[{index}]') AS c{index}" for index in range(len(translation.columns))
        )
        wanted_value = translated.sql(dialect="sqlite")
        return cls(
            # The user's text is in it only as sqlglot's rendering of the nodes that the translation lets pass.
            sql=f"SELECT {wanted_value} FROM (SELECT key{wide} FROM json_each(?)) ORDER BY key",  # noqa: S608  # see above
            columns=tuple((Attribute(column.name), column.reading) for column in translation.columns),
        )

    def values(self, messages: Sequence[Message]) -> list[Any]:
        rows = [
            [reading(attribute.of(message)) for attribute, reading in self.columns] for message in messages
        ]
        with closing(sqlite3.connect(":memory:")) as database:
            for name, function in _FUNCTIONS.items():
                database.create_function(f"f_{name}", function.arity, function, deterministic=True)
            database.create_function("f_compare", 2, _compare, deterministic=True)
            return [value for (value,) in database.execute(self.sql, [json.dumps(rows)])]


@dataclass
class _Translation:
    """From the tree as parsed to one that SQLite works out, letting pass only what is named here."""

    columns: list[_Column] = field(default_factory=list)

    def number(self, node: exp.Expr) -> exp.Expr:
        """The node where a number is needed."""
        return self._wanted(_Kind.NUMBER, node, _number)

    def condition(self, node: exp.Expr) -> exp.Expr:
        """The node where true or false is needed."""
        return self._wanted(_Kind.BOOLEAN, node, _only(bool))

    def _of(self, node: exp.Expr) -> _Typed:
        for kind_of_node in (self._atom, self._arithmetic, self._logic):
            if translated := kind_of_node(node):
                return translated
        raise invalid_request(f"'{node.sql()}' is not for expressions; see what may stand in one")

    def _atom(self, node: exp.Expr) -> _Typed | None:
        match node:
            case exp.Paren():
                inner, kind = self._of(node.this)
                return exp.Paren(this=inner), kind
            case exp.Column() | exp.Dot() if attribute := _attribute(node):
                return self._column(attribute, _anything), _Kind.ATTRIBUTE
            case exp.Literal():
                return node.copy(), _Kind.TEXT if node.is_string else _Kind.NUMBER
            case exp.Boolean():
                return node.copy(), _Kind.BOOLEAN
            case exp.Null():
                return exp.Null(), _Kind.NULL
        return None

    def _arithmetic(self, node: exp.Expr) -> _Typed | None:
        match node:
            case exp.Neg():
                return exp.Neg(this=self.number(node.this)), _Kind.NUMBER
            case exp.Add() | exp.Sub() | exp.Mul():
                return type(node)(
                    this=self.number(node.left), expression=self.number(node.right)
                ), _Kind.NUMBER
            # SQLite divides and takes remainders of integers in its own way.
            case exp.Div():
                return _call("divide", self.number(node.left), self.number(node.right)), _Kind.NUMBER
            case exp.Mod():
                return _call("mod", self.number(node.left), self.number(node.right)), _Kind.NUMBER
            case exp.Anonymous():
                return self._function(node), _Kind.NUMBER
        return None

    def _logic(self, node: exp.Expr) -> _Typed | None:
        translated: exp.Expr
        match node:
            case exp.And() | exp.Or():
                translated = type(node)(this=self.condition(node.left), expression=self.condition(node.right))
            case exp.Not():
                translated = exp.Not(this=self.condition(node.this))
            case exp.EQ() | exp.NEQ() | exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
                translated = self._comparison(type(node), node.left, node.right)
            case exp.Is() if isinstance(node.expression, exp.Null | exp.Boolean):
                translated = exp.Is(this=self._of(node.this)[0], expression=node.expression.copy())
            case exp.Between():
                low = self._comparison(exp.GTE, node.this, node.args["low"])
                high = self._comparison(exp.LTE, node.this, node.args["high"])
                translated = exp.Paren(this=exp.And(this=low, expression=high))
            case exp.In() if node.expressions and not node.args.get("query"):
                choices = [self._comparison(exp.EQ, node.this, choice) for choice in node.expressions]
                translated = exp.Paren(
                    this=functools.reduce(lambda left, right: exp.Or(this=left, expression=right), choices)
                )
            case _:
                return None
        return translated, _Kind.BOOLEAN

    def _column(self, node: exp.Column | exp.Dot, reading: Callable[[Any], Any]) -> exp.Expr:
        column = _Column(".".join(part.name for part in node.parts), reading)
        if column not in self.columns:
            self.columns.append(column)
        return exp.column(f"c{self.columns.index(column)}")

    def _wanted(self, kind: _Kind, node: exp.Expr, reading: Callable[[Any], Any]) -> exp.Expr:
        attribute = _attribute(node)
        if attribute is not None:
            return self._column(attribute, reading)
        translated, its_kind = self._of(node)
        if its_kind is not kind:
            raise invalid_request(f"'{node.sql()}' must be {kind.value}, and is {its_kind.value}")
        return translated

    def _comparison(self, operator: type[exp.Binary], *nodes: exp.Expr) -> exp.Expr:
        sides = [self._of(node) for node in nodes if _attribute(node) is None]
        kinds = [kind for _, kind in sides]
        if _Kind.NULL in kinds:
            raise invalid_request("nothing compares with NULL; write IS NULL or IS NOT NULL")
        if len(set(kinds)) > 1:
            raise invalid_request(
                f"{' and '.join(kind.value for kind in kinds)} do not compare, in '{nodes[0].sql()}' and '{nodes[1].sql()}'"
            )
        reading = _READINGS[kinds[0]] if kinds else _anything
        translated = [
            self._of(node)[0] if (attribute := _attribute(node)) is None else self._column(attribute, reading)
            for node in nodes
        ]
        return operator(this=_call("compare", *translated), expression=exp.Literal.number(0))

    def _function(self, node: exp.Anonymous) -> exp.Expr:
        name = str(node.this).lower()
        if name not in _DOCUMENTED:
            raise invalid_request(
                f"there is no function '{node.this}'; there are: {', '.join(sorted(_DOCUMENTED))}"
            )
        arguments = [self.number(argument) for argument in node.expressions]
        if len(arguments) != _FUNCTIONS[name].arity:
            raise invalid_request(
                f"'{name}' takes {_FUNCTIONS[name].arity} argument(s), got {len(arguments)}"
            )
        return _call(name, *arguments)


def _attribute(node: exp.Expr) -> exp.Column | exp.Dot | None:
    inner = node.unnest()
    return inner if isinstance(inner, exp.Column | exp.Dot) and not isinstance(inner.this, exp.Star) else None


def _reason(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if not details or not details[0].get("description"):
        return "it cannot be read"
    if details[0]["description"].startswith("Required keyword"):
        return "something is missing beside an operator"
    return f"{details[0]['description'].rstrip('.')}, at '{details[0]['highlight']}'"


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=f"f_{name}", expressions=list(arguments))


def _anything(value: Any) -> Any:
    # Of objects and lists one can only ask whether there is something.
    return "{}" if isinstance(value, dict | list) else _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case str():
            # JSON can spell half a character, SQLite's text cannot hold it.
            return value.encode(errors="replace").decode()
        case int() | float() if not isinstance(value, bool):
            return _number(value)
        case _:
            return value


@functools.cache
def _only(*kinds: type) -> Callable[[Any], Any]:
    return lambda value: _scalar(value) if type(value) in kinds else None


def _number(value: Any) -> Number | None:
    """The number that a value is or spells."""
    if isinstance(value, str) and _SPELT_NUMBER.fullmatch(value):
        value = float(value) if set(value) & set(".eE") else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # SQLite's integers end here.
    if isinstance(value, float) or not -(2**63) <= value < 2**63:
        try:
            value = float(value)
        except OverflowError:
            return None
        return value if math.isfinite(value) else None
    return value


def _compare(left: Any, right: Any) -> int | None:
    """Negative, zero or positive as left is less, equal or greater; None where the two do not compare."""
    if left is None or right is None or isinstance(left, str) is not isinstance(right, str):
        return None
    return int(left > right) - int(left < right)


@dataclass(frozen=True)
class _Function:
    arity: int
    body: Callable[..., Number | None]

    def __call__(self, *arguments: Number | None) -> Number | None:
        if any(argument is None for argument in arguments):
            return None
        try:
            return _number(self.body(*arguments))
        except (ValueError, ArithmeticError):
            return None


def _remainder(left: Number, right: Number) -> Number:
    # As in Java and C: the sign of the left side.
    if isinstance(left, int) and isinstance(right, int):
        return int(math.copysign(abs(left) % abs(right), left)) if left else 0 % right
    return math.fmod(left, right)


def _power(base: Number, exponent: Number) -> float:
    return math.pow(base, exponent)


def _truncated(value: Number, places: Number) -> Number:
    digits = min(max(int(places), 0), 34)
    if isinstance(value, int):
        return value
    # Far more digits than a double has; quantize refuses what does not fit.
    if abs(value) >= 2**53:
        return value
    shown = Decimal(repr(value))
    if -int(shown.as_tuple().exponent) <= digits:
        return value
    return float(shown.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_DOWN))


# The documented functions of the math activity.
_DOCUMENTED: dict[str, _Function] = {
    "abs": _Function(1, abs),
    "acos": _Function(1, math.acos),
    "asin": _Function(1, math.asin),
    "atan": _Function(1, math.atan),
    "atan2": _Function(2, math.atan2),
    "ceil": _Function(1, math.ceil),
    "cos": _Function(1, math.cos),
    "cosh": _Function(1, math.cosh),
    "exp": _Function(1, math.exp),
    "ln": _Function(1, math.log),
    "log": _Function(1, math.log10),
    "mod": _Function(2, _remainder),
    "power": _Function(2, _power),
    # Halves go away from zero: Round(-1.5) is -2 in the documentation.
    "round": _Function(1, lambda value: int(Decimal(repr(value)).to_integral_value(ROUND_HALF_UP))),
    "sign": _Function(1, lambda value: (value > 0) - (value < 0)),
    "sin": _Function(1, math.sin),
    "sinh": _Function(1, math.sinh),
    "sqrt": _Function(1, math.sqrt),
    "tan": _Function(1, math.tan),
    "tanh": _Function(1, math.tanh),
    "trunc": _Function(2, _truncated),
}
_FUNCTIONS = _DOCUMENTED | {"divide": _Function(2, lambda left, right: left / right)}
_READINGS = {_Kind.NUMBER: _only(int, float), _Kind.TEXT: _only(str), _Kind.BOOLEAN: _only(bool)}
