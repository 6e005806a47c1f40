"""Words for persons and for what is personal, and whether a query hands out persons without bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from aegis.policy.hard_deny.persons import is_personal, is_persons
from aegis.policy.hard_deny.predicate import is_bounded_by, selects_everything

_FOLDING = (
    exp.Count,
    exp.Sum,
    exp.Avg,
    exp.Min,
    exp.Max,
    exp.Stddev,
    exp.StddevPop,
    exp.StddevSamp,
    exp.Variance,
    exp.VariancePop,
    exp.Quantile,
    exp.PercentileCont,
    exp.PercentileDisc,
    exp.ApproxDistinct,
    exp.Exists,
    exp.CountIf,
    exp.Median,
    exp.Corr,
    exp.LogicalAnd,
    exp.LogicalOr,
)


def handed_out(tree: exp.Expr, now: float) -> str | None:
    """The table of persons that the query gives out without bound (1,000 rows and more), or None."""
    ctes: dict[str, exp.Expr] = {cte.alias.lower(): cte.this for cte in tree.find_all(exp.CTE)}
    return _given(tree, ctes, now, 0)


def _given(query: exp.Expr | None, ctes: Mapping[str, exp.Expr], now: float, depth: int) -> str | None:
    if query is None or depth > 40:
        return None
    if is_few(query.args.get("limit")):
        return None
    if isinstance(query, (exp.Subquery, exp.Paren)):
        return _given(query.this, ctes, now, depth + 1)
    if isinstance(query, exp.SetOperation):
        return _given(query.left, ctes, now, depth + 1) or (
            _given(query.right, ctes, now, depth + 1) if isinstance(query, exp.Union) else None
        )
    if not isinstance(query, exp.Select):
        return None
    return _given_by_select(query, ctes, now, depth)


def is_few(limit: exp.Expr | None) -> bool:
    """A bound under 1,000, or a parameter, whose value the call doesn't show."""
    if is_bounded_by(limit):
        return True
    count = None if limit is None else limit.args.get("expression", limit.args.get("count"))
    return isinstance(count, (exp.Placeholder, exp.Parameter))


def _given_by_select(select: exp.Select, ctes: Mapping[str, exp.Expr], now: float, depth: int) -> str | None:
    columns, star = _row_level(select)
    for projection in select.expressions:
        for inner in projection.find_all(exp.Subquery):
            if inner.find_ancestor(exp.Exists) is None and (given := _given(inner.this, ctes, now, depth + 1)):
                return given
    if not columns and not star:
        return None
    names = frozenset(s.alias_or_name.lower() for s in _sources(select))
    if not selects_everything(select.args.get("where"), "", names, now=now, joins_are_true=True):
        return None
    for source in _sources(select):
        if isinstance(source, exp.Table):
            name = source.name.lower()
            if name in ctes and not source.db:
                rest = {k: v for k, v in ctes.items() if k != name}
                if given := _given(ctes[name], rest, now, depth + 1):
                    return given
                continue
            persons = is_persons(source.name)
            whole_row = star or source.alias_or_name.lower() in {c.lower() for c, _ in columns}
            if persons and whole_row:
                return source.name
            own = {source.alias_or_name.lower(), *([""] if persons else [])}
            if any(is_personal(c, persons and owner in own) for c, owner in columns):
                return source.name
        elif given := _given(source, ctes, now, depth + 1):
            return given
    return None


def _sources(select: exp.Select) -> Iterator[exp.Expr]:
    origin = select.args.get("from_")
    if origin is not None:
        yield origin.this
    for join in select.args.get("joins") or []:
        yield join.this
    yield from select.args.get("laterals") or []


def _row_level(select: exp.Select) -> tuple[list[tuple[str, str]], bool]:
    """(name, qualifier) of columns that come out row by row, and whether all do. What is counted or summed is not."""
    columns: list[tuple[str, str]] = []
    star = False
    stack = list(select.expressions)
    while stack:
        node = stack.pop()
        if isinstance(node, (_FOLDING, exp.Subquery, exp.Select)):
            continue
        if isinstance(node, exp.Star):
            star = True
        elif isinstance(node, exp.Column):
            if isinstance(node.this, exp.Star):
                star = True
            else:
                columns.append((node.name, node.table.lower()))
        elif isinstance(node, exp.Anonymous) and node.name.lower() in _FOLDING_NAMES:
            continue
        else:
            stack.extend(node.iter_expressions())
    return columns, star


_FOLDING_NAMES = frozenset(
    "length char_length len percentile_cont percentile_disc approx_count_distinct countif hll_count uniq "
    "uniqexact bool_and "
    "bool_or every checksum checksum_agg var_pop var_samp grouping".split()
)
