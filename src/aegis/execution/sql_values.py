"""What goes to PostgreSQL and what comes back, as JSON trees. Pure.

Parameters follow the type that the server asks for: times and dates as ISO 8601 text, numeric as a number or text,
bytea as base64 text, json as any tree, interval in seconds, arrays as lists. Results: numbers stay exact; NaN and the
infinities are text, as are times, uuids and addresses; bytea is base64 text, an interval its seconds, a row of a
composite type an object, json its tree.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from aegis.kernel.jsontree import ExactNumber, JsonError, JsonTree, dumps, parse

MAX_STATEMENT_CHARACTERS = 1_000_000
MAX_PARAMETERS = 1_000

# What one call may be. Everything else is refused: transaction control and session state are ours, COPY and LISTEN
# change the protocol's direction, and what can't run inside a transaction can't be undone when a call is stopped.
STATEMENTS = frozenset(
    {
        "SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "INSERT", "UPDATE", "DELETE", "MERGE", "CALL", "DO",
        "CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE", "REFRESH", "REINDEX", "ANALYZE", "IMPORT",
        "SECURITY", "REASSIGN",
    }
)  # fmt: skip
_BLANK = re.compile(r"[\s(]+")
_WORD = re.compile(r"[A-Za-z]+")
_INTEGERS = frozenset({"int2", "int4", "int8", "oid"})
_FLOATS = frozenset({"float4", "float8"})
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "unknown"})


class NotFitting(ValueError):
    """The query or a parameter doesn't fit; the message is one word for it."""


def check_statement(query: str) -> str:
    """The leading word of `query`, in capitals. Raises NotFitting for what one call may not be."""
    if not query.strip() or len(query) > MAX_STATEMENT_CHARACTERS or "\0" in query:
        raise NotFitting("query")
    word = _WORD.match(query, _skip_blank(query))
    if word is None or word[0].upper() not in STATEMENTS:
        raise NotFitting("statement")
    return word[0].upper()


def to_parameter(value: JsonTree, kind: str) -> object:
    """`value` for a parameter of PostgreSQL's type `kind`. Raises NotFitting."""
    if value is None:
        return None
    if kind.endswith("[]"):
        if not isinstance(value, list):
            raise NotFitting("params")
        return [to_parameter(item, kind[:-2]) for item in value]
    try:
        return _scalar(value, kind)
    except (ValueError, TypeError, ArithmeticError):
        raise NotFitting("params") from None


def to_tree(value: Any, kind: str = "") -> JsonTree:
    """A value of PostgreSQL's type `kind` as asyncpg gives it, as a JSON tree. What it doesn't know becomes text."""
    match value:
        case str() if kind in {"json", "jsonb"}:
            return _json_tree(value)
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else _not_finite(str(value))
        case Decimal():
            return _decimal(value)
        case bytes() if kind == "char":
            return value.decode("latin-1")
        case bytes() | bytearray() | memoryview():
            return b64encode(bytes(value)).decode("ascii")
        case datetime() | date():
            return _moment(value)
        case time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case asyncpg.BitString():
            return value.as_string()
        case asyncpg.Range():
            return _range(value)
        case asyncpg.Record() | Mapping():
            return {name: to_tree(member) for name, member in value.items()}
        case list() | tuple():
            return [to_tree(member) for member in value]
        case _:
            return str(value)


def _skip_blank(query: str) -> int:
    """Where the first word begins: after blanks, opening brackets and comments, which nest in PostgreSQL."""
    at = 0
    while True:
        blank = _BLANK.match(query, at)
        if blank is not None:
            at = blank.end()
        if query.startswith("--", at):
            end = query.find("\n", at)
            at = len(query) if end < 0 else end
        elif query.startswith("/*", at):
            at = _comment_end(query, at)
        else:
            return at


def _comment_end(query: str, at: int) -> int:
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(query, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise NotFitting("statement")


def _scalar(value: JsonTree, kind: str) -> object:
    if kind in _INTEGERS:
        return _whole(value)
    if kind in _FLOATS:
        return _number(value)
    if kind in _TEXTS:
        return value if isinstance(value, str) else dumps(value).decode("utf-8")
    match kind:
        case "numeric":
            return _decimal_in(value)
        case "bool" if isinstance(value, bool):
            return value
        case "json" | "jsonb":
            return dumps(value).decode("utf-8")
        case "bytea":
            return b64decode(_string(value), validate=True)
        case "date":
            return date.fromisoformat(_string(value))
        case "time" | "timetz":
            return time.fromisoformat(_string(value))
        case "timestamptz":
            moment = datetime.fromisoformat(_string(value))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        case "timestamp":
            moment = datetime.fromisoformat(_string(value))
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        case "interval":
            return timedelta(seconds=float(_number(value)))
        case _:
            return _string(value)


def _string(value: JsonTree) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: JsonTree) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _whole(value: JsonTree) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _decimal_in(value: JsonTree) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    return Decimal(value.source if isinstance(value, ExactNumber) else str(value))


def _decimal(value: Decimal) -> JsonTree:
    """As the same number read from JSON would stand: a double where it is exact, else the source's digits."""
    if not value.is_finite():
        return _not_finite(str(value))
    if value == value.to_integral_value() and value.adjusted() < 400:
        return int(value)
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == value else ExactNumber(str(value))


def _json_tree(text: str) -> JsonTree:
    """As text where it isn't JSON as Aegis takes it (a key twice, say)."""
    try:
        return parse(text.encode("utf-8"))
    except (JsonError, UnicodeEncodeError):
        return text


def _not_finite(text: str) -> str:
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(text.lower(), text)


def _moment(value: date) -> str:
    """asyncpg reads `infinity` as the largest moment that Python knows, `-infinity` as the smallest."""
    bare = value.replace(tzinfo=None) if isinstance(value, datetime) else value
    if bare == type(bare).max:
        return "infinity"
    return "-infinity" if bare == type(bare).min else value.isoformat()


def _range(value: Any) -> JsonTree:
    if value.isempty:
        return {"empty": True}
    return {
        "lower": to_tree(value.lower),
        "upper": to_tree(value.upper),
        "bounds": ("[" if value.lower_inc else "(") + ("]" if value.upper_inc else ")"),
    }
