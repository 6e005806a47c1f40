"""Whether a WHERE clause selects rows at all: truth by folding constants and by trying rows.

A predicate is tried on a few dozen made-up rows whose values come from what the columns are compared with and what
their names say (keys are positive and never null, a creation date lies in the past). One that no row fails selects
every row, however it is written. What can't be evaluated counts as selective where it depends on the row, and as no
condition where it doesn't.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2
from sqlglot import exp

from aegis.policy.hard_deny.persons import MANY

ROWS = 60
"""Rows from which on a limit bounds nothing."""


_SIGNS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NullSafeEQ: "=",
    exp.NullSafeNEQ: "<>",
}


class _Unknown:
    def __bool__(self) -> bool:
        raise TypeError("an unknown value has no truth")

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
Value = Any  # None (NULL), bool, int, float, str, Day, UNKNOWN


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """A moment as days since 1970."""

    days: float


_KEY = re.compile(r"(?:^|_)(?:id|uuid|guid|pk|no|nr|key|rowid|oid|ctid|seq|number)$|^(?:id|row_?id)", re.IGNORECASE)
_REQUIRED = re.compile(
    r"^(?:created|created_at|created_on|updated_at|inserted_at|name|email|username|login|title|ctid|rowid)$",
    re.IGNORECASE,
)
_PAST = re.compile(
    r"^(?:created|inserted|registered|signed_?up|joined|opened|ordered|placed|updated|modified|date_of_birth|"
    r"birth|dob|started|added|logged|first_seen|timestamp|ts$|time$|event_time)",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"balance|delta|diff|offset|temp|change|latitude|longitude|lat$|lng$|lon$|profit", re.IGNORECASE)
_DATE = re.compile(r"\s*(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{2}).*)?\s*\Z")
_KEYS = (1, 2, 3, 7, 42, 311, 4711, 12345, 98765)
_NUMBERS = (0, 1, 2, 5, 19.9, 100, 2500, 87001)
_WORDS = ("alpha", "Kim", "mo@example.org", "foo bar", "Zeta-9", "north", "open", "b7", "77")
_MAILS = ("mo@example.org", "kim.li@mail.example", "a@b.example", "Zoe+1@example.com", "info@shop.example")
_AGES = (0.01, 0.6, 1.5, 3, 10, 40, 200, 800, 3000, 9000)
_UNITS = {
    "second": 1 / 86400,
    "minute": 1 / 1440,
    "hour": 1 / 24,
    "day": 1.0,
    "week": 7.0,
    "month": 30.4,
    "quarter": 91.3,
    "year": 365.25,
    "microsecond": 1e-6 / 86400,
    "millisecond": 1e-3 / 86400,
    "decade": 3652.5,
    "century": 36525.0,
}


def selects_everything(
    where: exp.Expr | None,
    table: str,
    names: frozenset[str],
    whole: Sequence[str] = (),
    now: float = 20820.0,
    joins_are_true: bool = False,
) -> bool:
    """True if no row of `table` fails `where`; `names` are its names and aliases here, `whole` the names of derived
    tables that hold all of it. `now` in days since 1970."""
    if where is None:
        return True
    return _Trial(table, names, frozenset(whole), now, joins_are_true).run(where)


class _Trial:
    def __init__(self, table: str, names: frozenset[str], whole: frozenset[str], now: float, joins: bool) -> None:
        self.table = table
        self.names = names | {table.rsplit(".", 1)[-1]}
        self.whole = whole
        self.now = now
        self.joins = joins
        self.row: dict[str, Value] = {}

    def run(self, where: exp.Expr) -> bool:
        columns = {self._key(c) for c in where.find_all(exp.Column) if not _in_subquery(c, where)}
        correlated = any(not self._uncorrelated(s) for s in where.find_all(exp.Subquery, exp.Exists))
        if not columns:
            verdict = self._truth(where)
            if verdict is UNKNOWN:
                return not correlated
            return verdict is True
        pools = self._pools(where, columns)
        ordered = sorted(pools)
        for index in range(ROWS):
            self.row = {}
            for place, name in enumerate(ordered):
                pool = pools[name]
                step = index if place == 0 else index * (2 * place + 1) // (place + 1) + index // max(1, len(pool))
                self.row[name] = pool[step % len(pool)]
            if self._truth(where) is not True:
                return False
        return True

    def _key(self, column: exp.Column) -> str:
        name = column.name.lower()
        owner = column.table.lower()
        return name if not owner or owner in self.names or owner in self.whole else f"{owner}.{name}"

    def _uncorrelated(self, node: exp.Expr) -> bool:
        select = node.find(exp.Select)
        if select is None:
            return True
        inner = {t.alias_or_name.lower() for t in select.find_all(exp.Table)}
        return all(not c.table or c.table.lower() in inner for c in select.find_all(exp.Column))

    def _pools(self, where: exp.Expr, columns: set[str]) -> dict[str, list[Value]]:
        partners: dict[str, list[Value]] = {name: [] for name in columns}
        nullable: set[str] = set()
        for node in where.find_all(exp.Binary, exp.Between, exp.In, exp.Is, exp.Coalesce):
            own = {self._key(c) for c in _operands(node) if isinstance(c, exp.Column)} & columns
            if not own:
                continue
            if isinstance(node, (exp.Is, exp.Coalesce)):
                nullable |= own
                if not isinstance(node.this, exp.Column):
                    continue
            negative = (
                isinstance(node, exp.NEQ)
                or isinstance(node.parent, exp.Not)
                or (isinstance(node.parent, exp.Paren) and isinstance(node.parent.parent, exp.Not))
            )
            for name in own:
                if negative and _KEY.search(name):
                    continue
                for operand in _operands(node):
                    value = self._fold(operand)
                    if isinstance(node, (exp.Like, exp.ILike)) and isinstance(value, str):
                        value = value.replace("%", "q").replace("_", "w")
                    if value is not UNKNOWN:
                        partners[name].append(value)
        return {name: self._pool(name, partners[name], name in nullable, where) for name in columns}

    def _fold(self, operand: exp.Expr) -> Value:
        if operand.find(exp.Column) is not None or isinstance(operand, (exp.Subquery, exp.Select)):
            return UNKNOWN
        return self._value(operand)

    def _pool(self, name: str, partners: list[Value], nullable: bool, where: exp.Expr) -> list[Value]:
        bare = name.rsplit(".", 1)[-1]
        is_key = _KEY.search(bare) is not None
        days = [p if isinstance(p, Day) else _day(p) for p in partners if p is not None]
        pool: list[Value]
        if any(d is not None for d in days):
            past = _PAST.search(bare) is not None
            pool = [Day(self.now - age) for age in _AGES] + (
                [] if past else [Day(self.now + a) for a in (0.5, 12, 400)]
            )
            for day in days:
                if day is not None:
                    pool += [
                        Day(d)
                        for d in (day.days - 1, day.days, day.days + 1)
                        if not past or self.now - _AGES[-1] < d < self.now
                    ]
        elif any(isinstance(p, bool) for p in partners):
            pool = [True, False]
        elif any(isinstance(p, (int, float)) for p in partners):
            numbers = [p for p in partners if isinstance(p, (int, float)) and not isinstance(p, bool)]
            if is_key:
                pool = [*_KEYS, *(n for n in numbers if 0 < n < 100000)]
            else:
                pool = [*_NUMBERS, *numbers, *(n + 1 for n in numbers), *(n - 1 for n in numbers)]
                pool = [n for n in pool if n >= 0 or _SIGNED.search(bare)] + ([-3] if _SIGNED.search(bare) else [])
        elif any(isinstance(p, str) for p in partners):
            own_words = _MAILS if "mail" in bare else _WORDS
            pool = [*own_words, *(p for p in partners if isinstance(p, str) and p.strip())]
        elif any(
            isinstance(c.parent, (exp.And, exp.Or, exp.Not, exp.Where, exp.Paren)) and self._key(c) == name
            for c in where.find_all(exp.Column)
        ):
            pool = [True, False]
        else:
            pool = list(_KEYS) if is_key else list(_WORDS)
        if nullable and not is_key and not _REQUIRED.search(bare):
            return [*pool, None]
        return pool

    # truth

    def _truth(self, node: exp.Expr) -> Value:
        value = self._value(node)
        if value is UNKNOWN or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return bool(value.strip()) if not _number(value) else _number(value) != 0
        return value != 0 if isinstance(value, (int, float)) else UNKNOWN

    def _value(self, node: exp.Expr | None) -> Value:
        match node:
            case None:
                return UNKNOWN
            case exp.Where() | exp.Paren() | exp.Having():
                return self._value(node.this)
            case exp.Literal():
                return node.this if node.is_string else _number(node.this)
            case exp.Boolean():
                return bool(node.this)
            case exp.Null():
                return None
            case exp.And():
                return _and(self._truth(node.left), self._truth(node.right))
            case exp.Or():
                return _or(self._truth(node.left), self._truth(node.right))
            case exp.Xor():
                a, b = self._truth(node.left), self._truth(node.right)
                return a != b if isinstance(a, bool) and isinstance(b, bool) else UNKNOWN
            case exp.Not():
                truth = self._truth(node.this)
                return truth if truth is UNKNOWN or truth is None else not truth
            case exp.Column():
                return self.row.get(self._key(node), UNKNOWN)
            case (
                exp.EQ()
                | exp.NEQ()
                | exp.GT()
                | exp.GTE()
                | exp.LT()
                | exp.LTE()
                | exp.NullSafeEQ()
                | exp.NullSafeNEQ()
            ):
                return self._compare(node)
            case exp.Between():
                value, low, high = (self._value(node.args.get(k)) for k in ("this", "low", "high"))
                return _and(_order(value, low, ">="), _order(value, high, "<="))
            case exp.Is():
                return self._is(node)
            case exp.In():
                return self._in(node)
            case exp.Exists():
                return self._exists(node)
            case exp.Like() | exp.ILike() | exp.SimilarTo() | exp.RegexpLike() | exp.RegexpILike() | exp.Glob():
                return self._like(node)
            case exp.Neg():
                value = self._value(node.this)
                return -value if _is_number(value) else UNKNOWN
            case exp.Case():
                return self._case(node)
            case exp.If():
                return self._value(node.args.get("true") if self._truth(node.this) is True else node.args.get("false"))
            case exp.Coalesce():
                for part in (node.this, *node.expressions):
                    value = self._value(part)
                    if value is not None:
                        return value
                return None
            case exp.Nullif():
                same = _order(self._value(node.this), self._value(node.expression), "=")
                return None if same is True else self._value(node.this)
            case exp.CurrentDate() | exp.CurrentTimestamp() | exp.CurrentDatetime() | exp.CurrentTime():
                return Day(self.now)
            case exp.Cast() | exp.TryCast() | exp.TsOrDsToDate() | exp.Date() | exp.Timestamp() | exp.StrToDate():
                return self._cast(node)
            case exp.Interval():
                return self._interval(node)
            case exp.Subquery() | exp.Select():
                return self._scalar(node)
            case exp.Any():
                return self._value(node.this)
            case exp.Binary():
                return self._arithmetic(node)
            case exp.Func():
                return self._function(node)
        return UNKNOWN

    def _compare(self, node: exp.Expr) -> Value:
        left, right = node.this, node.expression
        sign = _SIGNS[type(node)]
        if self.joins and isinstance(left, exp.Column) and isinstance(right, exp.Column) and left.table != right.table:
            return True
        for a, b in ((left, right), (right, left)):
            is_pair = isinstance(b, (exp.Any, exp.Subquery)) and isinstance(a, exp.Column)
            if is_pair and self._extreme(b, sign if a is left else _mirrored(sign)):
                return True
        if sign in ("=", ">=", "<=") and left == right and not isinstance(left, exp.Placeholder):
            return True
        return _order(self._value(left), self._value(right), sign)

    def _extreme(self, node: exp.Expr, sign: str) -> bool:
        """`id >= (SELECT min(id) FROM t)` and `id = ANY (SELECT id FROM t)` on the same table."""
        select = node.find(exp.Select)
        if select is None or not self._is_whole(select):
            return False
        if isinstance(node, exp.Any):
            return sign == "="
        first = select.expressions[0].unalias() if select.expressions else None
        return (isinstance(first, exp.Min) and sign == ">=") or (isinstance(first, exp.Max) and sign == "<=")

    def _is(self, node: exp.Is) -> Value:
        value = self._value(node.this)
        if value is UNKNOWN:
            return UNKNOWN
        other = node.expression
        if isinstance(other, exp.Null):
            if self.joins and isinstance(node.this, exp.Column):
                return True
            truth = value is None
        elif isinstance(other, exp.Boolean):
            truth = value is bool(other.this)
        else:
            return UNKNOWN
        return truth != bool(node.args.get("negate"))

    def _in(self, node: exp.In) -> Value:
        query = node.args.get("query")
        if query is not None:
            select = query.find(exp.Select)
            if select is None:
                return UNKNOWN
            if self._is_empty(select):
                return False
            if select.args.get("from_") is None and len(select.expressions) == 1:
                return _order(self._value(node.this), self._value(select.expressions[0].unalias()), "=")
            return True if self._is_whole(select) or self._is_parent(node.this, select) else UNKNOWN
        value = self._value(node.this)
        if value is UNKNOWN or value is None:
            return value
        result: Value = False
        for item in node.expressions:
            if item == node.this:
                return True
            result = _or(result, _order(value, self._value(item), "="))
        return result

    def _exists(self, node: exp.Exists) -> Value:
        select = node.find(exp.Select)
        if select is None:
            return UNKNOWN
        if self._is_empty(select):
            return False
        if self._uncorrelated(node):
            return True
        source = select.args.get("from_")
        if source is not None and isinstance(source.this, exp.Table) and source.this.name.lower() == self.table:
            alias = source.this.alias_or_name.lower()
            where = select.args.get("where")
            if where is None or selects_everything(where, self.table, self.names | {alias}, now=self.now):
                return True
        return UNKNOWN

    def _is_empty(self, select: exp.Select) -> bool:
        where = select.args.get("where")
        if where is None or where.find(exp.Column) is not None:
            return False
        return self._truth(where) in (False, None) and self._truth(where) is not UNKNOWN

    def _is_whole(self, select: exp.Select) -> bool:
        """Whether `select` gives every row of the table in question."""
        return is_whole(select, self.table, self.whole, self.now)

    def _is_parent(self, column: exp.Expr, select: exp.Select) -> bool:
        """`customer_id IN (SELECT id FROM customers)`: every row has a parent."""
        if not isinstance(column, exp.Column) or not column.name.lower().endswith("_id"):
            return False
        source = select.args.get("from_")
        if source is None or not isinstance(source.this, exp.Table):
            return False
        stem = column.name.lower()[:-3]
        name = source.this.name.lower()
        first = select.expressions[0].unalias().name.lower() if select.expressions else ""
        return (
            name in (stem, stem + "s", stem + "es", stem[:-1] + "ies")
            and first in ("id", column.name.lower())
            and (is_whole(select, name, frozenset(), self.now))
        )

    def _scalar(self, node: exp.Expr) -> Value:
        select = node.find(exp.Select)
        if select is None or select.args.get("from_") is not None or len(select.expressions) != 1:
            return UNKNOWN
        return self._value(select.expressions[0].unalias())

    def _like(self, node: exp.Expr) -> Value:
        if node.this == node.expression:
            return True
        text, pattern = self._value(node.this), self._value(node.expression)
        if isinstance(node.expression, exp.Escape):
            pattern = self._value(node.expression.this)
        if pattern is UNKNOWN or not isinstance(pattern, str):
            return UNKNOWN
        if pattern and not pattern.strip("%"):
            return True if text is not None else None
        if text is UNKNOWN or text is None:
            return text
        text = str(text)
        if isinstance(node, (exp.RegexpLike, exp.RegexpILike)):
            return _search(pattern if isinstance(node, exp.RegexpLike) else f"(?i){pattern}", text)
        if isinstance(node, exp.Glob):
            return _search("^" + re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") + "$", text)
        if isinstance(node, exp.SimilarTo):
            return _search("^(?:" + pattern.replace("%", ".*").replace("_", ".") + ")$", text)
        body = re.escape(pattern).replace("%", ".*").replace("_", ".")
        return _search(f"(?is)^{body}$", text)

    def _case(self, node: exp.Case) -> Value:
        subject = node.args.get("this")
        for branch in node.args.get("ifs") or []:
            if subject is None:
                hit = self._truth(branch.this)
            else:
                hit = _order(self._value(subject), self._value(branch.this), "=")
            if hit is UNKNOWN:
                return UNKNOWN
            if hit is True:
                return self._value(branch.args.get("true"))
        default = node.args.get("default")
        return None if default is None else self._value(default)

    def _cast(self, node: exp.Expr) -> Value:
        value = self._value(node.this)
        target = node.args.get("to")
        kind = target.this.name.upper() if target is not None and hasattr(target.this, "name") else "DATE"
        if isinstance(value, str):
            if "DATE" in kind or "TIME" in kind:
                return _day(value) or UNKNOWN
            if "INT" in kind or kind in ("DECIMAL", "DOUBLE", "FLOAT", "NUMERIC"):
                return _number(value) if _number(value) is not None else UNKNOWN
            if "BOOL" in kind:
                return value.strip().lower() in ("t", "true", "1", "yes", "on", "y")
        if isinstance(value, Day) or value is UNKNOWN or value is None:
            return value
        return str(value) if "CHAR" in kind or kind == "TEXT" else value

    def _interval(self, node: exp.Interval) -> Value:
        amount = self._value(node.this)
        unit = (node.unit.name if node.unit is not None else "day").lower().rstrip("s")
        if isinstance(amount, str):
            parts = amount.split()
            number = _number(parts[0]) if parts else None
            if len(parts) > 1:
                unit = parts[1].lower().rstrip("s")
            amount = number
        if not _is_number(amount) or unit not in _UNITS:
            return UNKNOWN
        return float(amount) * _UNITS[unit] + 0.0

    def _arithmetic(self, node: exp.Binary) -> Value:
        a, b = self._value(node.left), self._value(node.right)
        if a is UNKNOWN or b is UNKNOWN:
            return UNKNOWN
        if a is None or b is None:
            return None
        if isinstance(node, (exp.DPipe,)):
            return f"{a}{b}"
        if isinstance(a, Day) and _is_number(b) and isinstance(node, (exp.Sub, exp.Add)):
            return Day(a.days - b if isinstance(node, exp.Sub) else a.days + b)
        if isinstance(a, Day) and isinstance(b, Day) and isinstance(node, exp.Sub):
            return a.days - b.days
        a, b = _as_number(a), _as_number(b)
        if a is None or b is None:
            return UNKNOWN
        if max(abs(a), abs(b)) > 1e18:
            return UNKNOWN
        try:
            match node:
                case exp.Add():
                    return a + b
                case exp.Sub():
                    return a - b
                case exp.Mul():
                    return a * b
                case exp.Div():
                    return a / b if b else None
                case exp.IntDiv():
                    return a // b if b else None
                case exp.Mod():
                    return math.fmod(a, b) if b else None
                case exp.BitwiseAnd():
                    return int(a) & int(b)
                case exp.BitwiseOr():
                    return int(a) | int(b)
                case exp.BitwiseXor():
                    return int(a) ^ int(b)
        except (OverflowError, ValueError):
            return UNKNOWN
        return UNKNOWN

    def _function(self, node: exp.Func) -> Value:
        name = node.name.lower() if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        if name in (
            "now",
            "getdate",
            "sysdate",
            "sysdatetime",
            "current_timestamp",
            "localtimestamp",
            "clock_timestamp",
            "getutcdate",
            "statement_timestamp",
            "transaction_timestamp",
            "utc_timestamp",
            "curdate",
        ):
            return Day(self.now)
        arguments = [self._value(x) for x in _arguments(node)]
        if any(x is UNKNOWN for x in arguments):
            return UNKNOWN
        if any(x is None for x in arguments):
            return None
        first: Any = arguments[0] if arguments else None
        match name, arguments:
            case (("length" | "char_length" | "len" | "character_length" | "octet_length"), [_]):
                return len(str(first))
            case (("upper" | "ucase"), [_]):
                return str(first).upper()
            case (("lower" | "lcase"), [_]):
                return str(first).lower()
            case (("trim" | "ltrim" | "rtrim"), [_, *_]):
                return str(first).strip()
            case (("abs" | "round" | "floor" | "ceil" | "ceiling" | "sign" | "sqrt"), [_, *_]) if _is_number(first):
                if name == "sign":
                    return (first > 0) - (first < 0)
                if name == "sqrt":
                    return math.sqrt(first) if first >= 0 else UNKNOWN
                return (
                    abs(first)
                    if name == "abs"
                    else math.floor(first)
                    if name in ("floor", "round")
                    else math.ceil(first)
                )
            case (("concat" | "concat_ws"), [_, *_]):
                return "".join(map(str, arguments))
            case "reverse", [_]:
                return str(first)[::-1]
            case "ascii" | "ord", [_] if first:
                return ord(str(first)[0])
            case (("left" | "substring" | "substr"), [_, b]) if isinstance(b, (int, float)):
                return str(first)[: int(b)] if name == "left" else str(first)[max(0, int(b) - 1) :]
            case (("greatest" | "max"), [_, _, *_]) if all(map(_is_number, arguments)):
                return max(arguments)
            case (("least" | "min"), [_, _, *_]) if all(map(_is_number, arguments)):
                return min(arguments)
            case (("power" | "pow"), [a, b]) if _is_number(a) and _is_number(b) and abs(a) < 1000 and abs(b) < 10:
                return a**b if a > 0 else UNKNOWN
        return UNKNOWN


def is_whole(select: exp.Expr, table: str, whole: frozenset[str], now: float) -> bool:
    """Whether `select` gives every row of `table` (or of a derived table in `whole` that does)."""
    if not isinstance(select, exp.Select):
        return False
    source = select.args.get("from_")
    if source is None or select.args.get("having") is not None or is_bounded_by(select.args.get("limit")):
        return False
    origin = source.this
    if isinstance(origin, exp.Subquery):
        inside = is_whole(origin.unnest(), table, whole, now)
    else:
        inside = isinstance(origin, exp.Table) and origin.name.lower() in {table, *whole}
    if not inside:
        return False
    names = frozenset({origin.alias_or_name.lower(), table})
    return selects_everything(select.args.get("where"), table, names, sorted(whole), now)


def is_bounded_by(limit: exp.Expr | None) -> bool:
    """Whether a LIMIT, TOP or FETCH clause keeps the rows under `MANY`. A parameter doesn't show it."""
    count = None
    if isinstance(limit, exp.Fetch):
        count = limit.args.get("count")
    elif limit is not None:
        count = limit.args.get("expression")
    while isinstance(count, exp.Paren):
        count = count.this
    return isinstance(count, exp.Literal) and (number := _number(count.this)) is not None and 0 <= number < MANY


def _in_subquery(node: exp.Expr, root: exp.Expr) -> bool:
    parent = node.parent
    while parent is not None and parent is not root:
        if isinstance(parent, (exp.Select, exp.Subquery, exp.Exists)):
            return True
        parent = parent.parent
    return False


def _operands(node: exp.Expr) -> Iterator[exp.Expr]:
    for child in node.iter_expressions():
        yield child
        if isinstance(child, (exp.Paren, exp.Cast, exp.Coalesce, exp.Lower, exp.Upper)) or (
            isinstance(child, exp.Binary) and not isinstance(child, (exp.Connector, exp.Predicate))
        ):
            yield from child.find_all(exp.Column)


def _arguments(node: exp.Expr) -> Iterator[exp.Expr]:
    for value in node.args.values():
        if isinstance(value, exp.Expr):
            yield value
        elif isinstance(value, list):
            yield from (x for x in value if isinstance(x, exp.Expr))


def _and(a: Value, b: Value) -> Value:
    if a is False or b is False:
        return False
    if a is UNKNOWN or b is UNKNOWN:
        return UNKNOWN
    return None if a is None or b is None else True


def _or(a: Value, b: Value) -> Value:
    if a is True or b is True:
        return True
    if a is UNKNOWN or b is UNKNOWN:
        return UNKNOWN
    return None if a is None or b is None else False


def _mirrored(sign: str) -> str:
    return {">": "<", "<": ">", ">=": "<=", "<=": ">="}.get(sign, sign)


def _order(a: Value, b: Value, sign: str) -> Value:
    if a is UNKNOWN or b is UNKNOWN:
        return UNKNOWN
    if a is None or b is None:
        return None
    pair = _comparable(a, b)
    if pair is None:
        return UNKNOWN
    x, y = pair
    match sign:
        case "=":
            return bool(x == y)
        case "<>":
            return bool(x != y)
        case ">":
            return bool(x > y)
        case ">=":
            return bool(x >= y)
        case "<":
            return bool(x < y)
    return bool(x <= y)


def _comparable(a: Value, b: Value) -> tuple[Any, Any] | None:
    if isinstance(a, Day) or isinstance(b, Day):
        x, y = (v if isinstance(v, Day) else _day(v) for v in (a, b))
        return (x, y) if x is not None and y is not None else None
    if isinstance(a, bool) or isinstance(b, bool):
        words = {"t": True, "true": True, "f": False, "false": False}
        a, b = (words.get(v.lower(), v) if isinstance(v, str) else v for v in (a, b))
    if isinstance(a, str) and isinstance(b, str):
        return a, b
    m, n = _as_number(a), _as_number(b)
    return (m, n) if m is not None and n is not None else (str(a), str(b))


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_number(value: Value) -> float | int | None:
    if isinstance(value, (bool, int, float)):
        return value
    return _number(value) if isinstance(value, str) else None


def _number(text: str) -> float | int | None:
    if len(text) > 40:
        return None
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return None


def _day(value: Value) -> Day | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    match = _DATE.match(value)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    try:
        ordinal = datetime.date(year, month, day).toordinal() - datetime.date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    return Day(ordinal + (int(match[4] or 0) + int(match[5] or 0) / 60) / 24)


def _search(pattern: str, text: str) -> Value:
    try:
        return re2.search(pattern, text) is not None
    except re2.error:
        return UNKNOWN
