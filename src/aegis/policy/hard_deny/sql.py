"""SQL read by syntax tree: what it destroys, writes without bound, grants, reaches or builds at run time.

Without a declared dialect every plausible one is tried, and where they read the text differently, the strictest
reading that parses holds. What parses in none is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from aegis.policy.hard_deny import sql_statements as said
from aegis.policy.hard_deny.personal import handed_out, is_few
from aegis.policy.hard_deny.persons import is_secret
from aegis.policy.hard_deny.predicate import is_bounded_by, is_whole, selects_everything
from aegis.policy.kinds import folded

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

DIALECTS = ("postgres", "mysql", "sqlite", "tsql", "bigquery", "snowflake", "oracle")
KNOWN = frozenset(
    {*DIALECTS, "redshift", "duckdb", "clickhouse", "trino", "presto", "athena", "databricks", "spark", "hive"}
)
DEPTH = 120
"""Nested parentheses that are still read; sqlglot's descent uses some 15 Python frames for each."""
SHORT = 32 * 1024
"""Characters below which a text is read without a look at how many tokens it has."""
_ROUGHLY = re.compile(r"\w+|[^\w\s]")
_LITERALS = re.compile(r"'[^']*'")
STATEMENTS = 200
TOKENS = 8_000
"""Of one text; several dialects are tried within the time of one call."""
_AMBIGUOUS = re.compile(r"""[\\$#`"\[{]|/\*|--|\|\||&&|N'|U&|(?<![A-Za-z])[EeRrBb]'|:=""")
_CONDITIONAL = re.compile(r"/\*!M?\d{0,6}(.*?)\*/", re.DOTALL)
_BATCH = re.compile(r"^[ \t]*GO[ \t]*\d*[ \t]*$", re.IGNORECASE | re.MULTILINE)
_MYSQL_LIKE = frozenset({"mysql"})

Found = tuple[str, dict[str, str]]
_ROWS_OF = "SELECT * FROM "
"""What `TABLE x` and `COPY x TO STDOUT` mean; read here, never run."""


@dataclass(slots=True)
class Reading:
    """`findings` are (code, values for the message). `parsed` is False if a part had no tree and no known heading."""

    findings: list[Found] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    limit: int | None = None
    writes: bool = False
    parsed: bool = True

    def add(self, code: str, **values: str) -> None:
        if all(code != c or values.get("object") != v.get("object") for c, v in self.findings):
            self.findings.append((code, values))

    def features(self) -> dict[str, Any]:
        return {
            "statements": self.statements[:32],
            "tables": sorted(set(self.tables))[:32],
            "columns": sorted(set(self.columns))[:64],
            "limit": self.limit,
            "has_limit": self.limit is not None,
            "writes": self.writes,
            "bulk_personal": any(c == "pii.bulk_export" for c, _ in self.findings),
        }


def read(text: str, dialect: str | None = None, now: float = 20820.0) -> Reading:
    """The strictest reading of `text`; never raises. `now` in days since 1970."""
    if len(text) > SHORT and sum(1 for _ in _ROUGHLY.finditer(_LITERALS.sub("''", text))) > TOKENS:
        return _unreadable(Reading(), dialect or "SQL")
    variants = {text, folded(text)} if not text.isascii() else {text}
    readings = [_read_in_dialects(v, dialect, now) for v in sorted(variants)]
    return _strictest(readings)


def _read_in_dialects(text: str, dialect: str | None, now: float) -> Reading:
    if dialect is not None and dialect.lower() in KNOWN:
        name = dialect.lower()
        return _read_conditional(text, name, now) if name in _MYSQL_LIKE else _read(text, name, now)
    if not _AMBIGUOUS.search(text):
        fallback: list[Reading] = []
        for name in DIALECTS:
            reading = _read(text, name, now)
            if reading.parsed:
                return reading
            fallback.append(reading)
        return _strictest(fallback)
    return _strictest([_read_conditional(text, n, now) if n in _MYSQL_LIKE else _read(text, n, now) for n in DIALECTS])


def _read_conditional(text: str, dialect: str, now: float) -> Reading:
    """MySQL runs what stands in `/*! */`; read with it and without it."""
    plain = _read(text, dialect, now)
    if "/*!" not in text and "/*M!" not in text:
        return plain
    return _strictest([_read(_CONDITIONAL.sub(r" \1 ", text.replace("/*M!", "/*!")), dialect, now), plain])


def _strictest(readings: Sequence[Reading]) -> Reading:
    """All findings of the readings that parse; if none does, those that the tokens of the others show."""
    parsed = [r for r in readings if r.parsed]
    chosen = parsed or list(readings)
    best = max(chosen, key=lambda r: (len(r.findings), len(r.statements)))
    for other in chosen:
        for code, values in other.findings:
            if not parsed and code == "sql.unparseable":
                continue
            if all(code != c for c, _ in best.findings):
                best.findings.append((code, values))
    return best


def nesting(text: str) -> int:
    """The deepest level of brackets in `text`, without regard to quotes: an upper bound."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth = max(0, depth - 1)
    return deepest


def _read(text: str, dialect: str, now: float) -> Reading:
    reading = Reading()
    if nesting(text) > DEPTH:
        return _unreadable(reading, dialect)
    if dialect == "tsql":
        text = _BATCH.sub(";", text)
    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(text)
        if len(tokens) > TOKENS:
            return _unreadable(reading, dialect)
        parts = _split(_spliced(tokens, dialect))
        if len(parts) > STATEMENTS:
            return _unreadable(reading, dialect)
        for part in parts:
            _statement(part, text, dialect, now, reading)
    except (SqlglotError, RecursionError, ValueError, IndexError, AttributeError, TypeError, KeyError):
        return _unreadable(reading, dialect)
    if len(parts) > 1 and sum(s not in _TRANSACTIONS for s in reading.statements) > 1:
        reading.add("sql.stacked", count=str(len(parts)))
    return reading


_TRANSACTIONS = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "START", "END", "SET", "USE", "SAVEPOINT", "RELEASE"})


def _unreadable(reading: Reading, dialect: str) -> Reading:
    reading.parsed = False
    reading.add("sql.unparseable", dialect=dialect)
    return reading


def _spliced(tokens: Sequence[Token], dialect: str) -> list[Token]:
    """sqlglot keeps a command's rest as one string; here it stands as tokens again."""
    result: list[Token] = []
    for token in tokens:
        swallowed = result and result[-1].token_type == TokenType.COMMAND and token.token_type == TokenType.STRING
        if swallowed and token.text:
            try:
                result.extend(_spliced_rest(token.text, dialect))
            except SqlglotError:
                result.append(token)
        else:
            result.append(token)
    return result


def _spliced_rest(text: str, dialect: str) -> list[Token]:
    tokens = Dialect.get_or_raise(dialect).tokenize(text)
    if len(tokens) > 1 and tokens[0].token_type == TokenType.COMMAND and tokens[1].token_type == TokenType.STRING:
        return [tokens[0], *Dialect.get_or_raise(dialect).tokenize(tokens[1].text), *tokens[2:]]
    return tokens


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            parts.append([])
        else:
            parts[-1].append(token)
    return [p for p in parts if p]


def _statement(tokens: list[Token], text: str, dialect: str, now: float, reading: Reading) -> None:
    heading = said.heading(tokens)
    _by_tokens(tokens, reading)
    if heading is None:
        if reading.statements and reading.statements[-1] in ("BEGIN", "DECLARE", "IF", "WHILE"):
            _block(tokens, text, dialect, now, reading)
        else:
            _unreadable(reading, dialect)
        return
    reading.statements.append(heading.statement.split(" ", 1)[0])
    if heading.code == said.TIME:
        reading.add(said.TIME)
    elif heading.code is not None:
        reading.add(heading.code, statement=heading.statement.replace(" ", "_"), object=heading.target, dialect=dialect)
    if heading.statement not in ("EXPLAIN", "SHOW", "DESCRIBE", "DESC"):
        reading.writes = reading.writes or heading.statement not in ("SELECT", "WITH", "VALUES", "(", "FROM")
    if heading.inner is not None and heading.inner < len(tokens):
        _statement(tokens[heading.inner :], text, dialect, now, reading)
    if heading.statement == "TABLE" and len(tokens) > 1:
        _statement_of(_ROWS_OF + said.name_after(tokens, 1), dialect, now, reading)
    if (
        heading.statement == "COPY"
        and heading.code is None
        and heading.inner is None
        and "STDOUT" in said.words(tokens)
    ):
        _statement_of(_ROWS_OF + said.name_after(tokens, 1), dialect, now, reading)
    if heading.block or heading.code == said.DYNAMIC:
        _block(tokens, text, dialect, now, reading)
    if heading.tree:
        _tree(tokens, text, dialect, now, reading)


def _statement_of(text: str, dialect: str, now: float, reading: Reading) -> None:
    tokens = Dialect.get_or_raise(dialect).tokenize(text)
    _tree(tokens, text, dialect, now, reading)


def _by_tokens(tokens: list[Token], reading: Reading) -> None:
    for code, function in said.called(tokens):
        reading.add(code, statement=function, object=function)
    if (into := said.files_in(tokens)) is not None:
        reading.add(said.FILE, statement=into.replace(" ", "_"))
    w = said.words(tokens)
    if w[0] in ("INSERT", "UPDATE", "DELETE", "REPLACE") and any(
        t.text.lower() in ("sqlite_master", "sqlite_schema", "sqlite_temp_master") for t in tokens[1:4]
    ):
        reading.add(said.DESTRUCTIVE, statement=w[0], object="sqlite_master")
    if any(
        t.token_type == TokenType.STRING and "<!ENTITY" in t.text.upper() and "SYSTEM" in t.text.upper() for t in tokens
    ):
        reading.add(said.EXFILTRATION, statement="ENTITY")
    if "WAITFOR" in w:
        reading.add(said.TIME)
    for index, token in enumerate(tokens):
        if token.token_type in (TokenType.STRING, TokenType.NUMBER):
            continue
        schema = tokens[index - 2].text if index >= 2 and tokens[index - 1].text == "." else ""
        if said.credential_table(token.text, schema) and (index + 1 >= len(tokens) or tokens[index + 1].text != "("):
            reading.add(said.SENSITIVE, object=token.text)


_OPENERS = frozenset({"BEGIN", "THEN", "ELSE", "LOOP", "DO", "AS", "TRY", "RETURN", "FOR", "IS", "INSTEAD", "ALSO"})
_VERBS = frozenset(
    "SELECT INSERT UPDATE DELETE MERGE DROP TRUNCATE ALTER GRANT REVOKE CREATE EXECUTE EXEC COPY WITH CALL "
    "PREPARE SET".split()
)


_CHANGING = frozenset({"DROP", "TRUNCATE", "DELETE", "UPDATE", "ALTER", "GRANT", "EXEC", "EXECUTE", "MERGE"})
"""Verbs that need nothing before them: `IF 1 = 1 DROP TABLE x`."""


def _block(tokens: list[Token], text: str, dialect: str, now: float, reading: Reading) -> None:
    """Statements inside a block or a quoted body. What is no statement there (control flow) is passed over."""
    bodies = [t.text for t in tokens if t.token_type in said._QUOTED - {TokenType.IDENTIFIER} and _has_verb(t.text)]
    for body in bodies:
        try:
            inner = _spliced(Dialect.get_or_raise(dialect).tokenize(body.strip()), dialect)
        except SqlglotError:
            reading.add("sql.dynamic", statement="body")
            continue
        for part in _split(inner):
            _fragments(part, body, dialect, now, reading)
    _fragments(tokens[1:], text, dialect, now, reading)


def _fragments(tokens: list[Token], text: str, dialect: str, now: float, reading: Reading) -> None:
    w = said.words(tokens)
    conditional = reading.statements[-1:] in (["IF"], ["WHILE"])
    for index, word in enumerate(w):
        before = w[index - 1] if index else "BEGIN"
        begins = before in _OPENERS or before == ")" or index == 0 or (conditional and word in _CHANGING)
        if word not in _VERBS or not begins:
            continue
        if word == "SET" or (word in ("DELETE", "UPDATE", "SELECT", "INSERT", "TRUNCATE") and "TRIGGER" in w[:index]):
            continue
        if word in ("EXECUTE",) and index + 1 < len(w) and w[index + 1] in ("FUNCTION", "PROCEDURE"):
            continue
        inside = Reading()
        part = tokens[index:]
        if reading.statements[-1:] == ["WHILE"] and w[index + 1 : index + 2] == ["TOP"]:
            end = next((i for i, t in enumerate(part) if t.text == ")"), 1)
            part = [part[0], *part[end + 1 :]]  # a loop repeats the bounded statement until nothing is left
        _statement(part, text, dialect, now, inside)
        for code, values in inside.findings:
            if code not in ("sql.unparseable", "pii.bulk_export"):
                reading.add(code, **values)
        return


def _has_verb(text: str) -> bool:
    upper = text.upper()
    return any(
        verb in upper for verb in ("DROP", "TRUNCATE", "DELETE", "UPDATE", "ALTER", "GRANT", "EXEC", "CREATE", "COPY")
    )


def _tree(tokens: list[Token], text: str, dialect: str, now: float, reading: Reading) -> None:
    if said.words(tokens)[:2] in (["DELETE", "TOP"], ["UPDATE", "TOP"]):
        end = next((i for i, t in enumerate(tokens) if t.text == ")"), 2)
        top = tokens[3].text if len(tokens) > 3 else ""
        share = said.words(tokens[end + 1 : end + 2]) == ["PERCENT"]
        if top.isdigit() and int(top) < 1000 and not share:
            return
        tokens = [tokens[0], *tokens[end + 1 + share :]]
    trees = Dialect.get_or_raise(dialect).parser().parse(tokens, text)
    for tree in trees:
        if tree is None:
            continue
        if isinstance(tree, exp.Command):
            if tokens[0].text.upper() != "CREATE" or {"DELETE", "UPDATE", "DROP", "INSERT"} & set(said.words(tokens)):
                _unreadable(reading, dialect)
            continue
        _examine(tree, now, reading)


def _examine(tree: exp.Expr, now: float, reading: Reading) -> None:
    for table in tree.find_all(exp.Table):
        if table.name:
            reading.tables.append(table.name.lower())
    for column in tree.find_all(exp.Column):
        reading.columns.append(column.name.lower())
    for node in tree.find_all(exp.Delete, exp.Update):
        _write(node, tree, now, reading)
    for merge in tree.find_all(exp.Merge):
        _merge(merge, now, reading)
    for node in tree.find_all(exp.Drop, exp.TruncateTable):
        reading.add("sql.destructive", statement=type(node).__name__, object="")
    if isinstance(tree, (exp.Query, exp.Subquery)):
        _reads(tree, now, reading)


def _reads(tree: exp.Expr, now: float, reading: Reading) -> None:
    limit = tree.args.get("limit")
    if limit is not None:
        count = limit.args.get("expression", limit.args.get("count"))
        reading.limit = int(count.this) if isinstance(count, exp.Literal) and str(count.this).isdigit() else -1
    if (table := handed_out(tree, now)) is not None:
        reading.add("pii.bulk_export", count="all" if limit is None else str(reading.limit), object=table)
    for union in tree.find_all(exp.Union):
        for side in (union.left, union.right):
            select = side.find(exp.Select)
            if select is None or is_few(select.args.get("limit")):
                continue
            where = select.args.get("where")
            if where is None and any(is_secret(c.name) for e in select.expressions for c in e.find_all(exp.Column)):
                reading.add("sql.exfiltration", statement="UNION")


def _write(node: exp.Expr, tree: exp.Expr, now: float, reading: Reading) -> None:
    """A DELETE or UPDATE whose condition no row fails, with joined and derived tables taken into account."""
    verb = "DELETE" if isinstance(node, exp.Delete) else "UPDATE"
    reading.writes = True
    target = node.this if isinstance(node.this, exp.Table) else node.find(exp.Table)
    if target is None:
        return
    others = [*(node.args.get("using") or []), *(target.args.get("joins") or []), *(node.args.get("joins") or [])]
    origin = node.args.get("from_")
    if origin is not None:
        others += [origin.this, *(origin.this.args.get("joins") or [])]
    named = node.args.get("tables") or []
    table = target.name.lower()
    if origin is not None and isinstance(origin.this, exp.Table) and table == origin.this.alias.lower():
        table = origin.this.name.lower()
    names = {target.alias_or_name.lower(), table, *(t.name.lower() for t in named if isinstance(t, exp.Table))}
    whole = _whole(tree, others, table, now)
    condition = node.args.get("where")
    for join in others:
        if isinstance(join, exp.Join) and (on := join.args.get("on")) is not None and condition is None:
            condition = exp.Where(this=on.copy())
    limit = node.args.get("limit")
    if limit is not None and is_bounded_by(limit):
        return
    if selects_everything(condition, table, frozenset(names), sorted(whole), now):
        reading.add("sql.unbounded_write", statement=verb, object=table)


def _whole(tree: exp.Expr, others: Sequence[exp.Expr], table: str, now: float) -> set[str]:
    """Names of derived tables that hold every row of `table`."""
    whole: set[str] = set()
    for cte in tree.find_all(exp.CTE):
        if is_whole(cte.this, table, frozenset(whole), now):
            whole.add(cte.alias.lower())
    names = set(whole)
    for other in others:
        source = other.this if isinstance(other, exp.Join) else other
        if (isinstance(source, exp.Table) and (source.name.lower() in whole or source.name.lower() == table)) or (
            isinstance(source, exp.Subquery) and is_whole(source.unnest(), table, frozenset(whole), now)
        ):
            names.add(source.alias_or_name.lower())
    return names


def _merge(node: exp.Merge, now: float, reading: Reading) -> None:
    reading.writes = True
    target = node.this.name.lower() if isinstance(node.this, exp.Table) else ""
    names = frozenset({node.this.alias_or_name.lower()})
    source = node.args.get("using")
    whole = sorted(_whole(node, [source] if source is not None else [], target, now))
    always = selects_everything(node.args.get("on"), target, names, whole, now)
    whens = node.args.get("whens")
    for when in whens.expressions if whens is not None else []:
        then = when.args.get("then")
        changes = isinstance(then, exp.Update) or (then is not None and then.name.upper() == "DELETE")
        if not changes:
            continue
        condition = when.args.get("condition")
        every = condition is None or selects_everything(condition, target, names, (), now)
        if every and ((when.args.get("matched") and always) or when.args.get("source")):
            reading.add("sql.unbounded_write", statement="MERGE", object=target)
