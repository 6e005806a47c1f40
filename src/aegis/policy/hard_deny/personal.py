"""Words for persons and for what is personal, and whether a query hands out persons without bound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sqlglot import exp

from aegis.policy.hard_deny.predicate import is_bounded_by, selects_everything

PERSONS = frozenset(
    "customer client user member employee patient person people contact lead subscriber student citizen "
    "resident applicant "
    "candidate passenger guest donor voter staff worker driver cardholder card beneficiary policyholder "
    "insured participant "
    "attendee visitor respondent payroll salary profile pupil teacher nurse doctor caller borrower debtor tenant_user "
    "recipient kunde kunden mitarbeiter patienten individual consumer buyer shopper player rider household "
    "identity kyc "
    "crm hr personnel workforce enrollee inmate volunteer fan friend follower personal pii prospect alumni "
    "alumnus colleague "
    "cardholders payee payer signatory claimant dependent spouse child parent account_holder".split()
)
_TRAILING = frozenset(
    "archive archived backup bak old copy tmp temp history hist all master data table tbl prod v1 v2 v3 view "
    "dim fact info "
    "information detail details list record records register registry base db 2020 2021 2022 2023 2024 2025 "
    "2026 export full "
    "complete dump raw stage staging snapshot current new mart entity main table_ core directory file files t".split()
)
_STRONG = re.compile(
    r"(?:^|_)(?:e?mail(?:_?address)?|emails|phone(?:_?(?:number|no))?|mobile(?:_?(?:number|no))?|ssn|social_security\w*|iban|bic|"
    r"card_?(?:number|no|num)|pan|cvv|cvc|cc_?num(?:ber)?|credit_?card\w*|password\w*|passwd|pwd|pass_?hash|passport\w*|dob|"
    r"birth_?(?:date|day)|date_of_birth|salary|diagnos[ie]s|tax_?id|national_?id|id_?card\w*|driv(?:er|ing)_?licen[cs]e\w*|"
    r"bank_?account\w*|account_?no|routing_?number|medical\w*|health_?record\w*|home_?address|street_?address|nino|nhs_?number|"
    r"insurance_?(?:no|number)|personal_?(?:no|number|id)|api_?key|secret|token_?hash|mfa_?secret|biometric\w*|religion|ethnicity)$",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:^|_)(?:(?:first|last|full|sur|given|family|middle|maiden|display|nick|user)_?name|name|names|address\w*|street|zip|zipcode|"
    r"postal_?code|postcode|gender|age|nationality|login|username|wage|bonus|income|contact)$",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"pass(?:word|wd|_?hash)|pwd|secret|token|card_?(?:number|no)|cvv|ssn|api_?key|private_?key|iban|authentication_string|salt$",
    re.IGNORECASE,
)
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
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def is_persons(name: str) -> bool:
    """Whether a table or object is named for persons: `customers`, `user_profiles`, `tbl_patient_2024`."""
    parts = [p.lower() for p in _PARTS.findall(name.rsplit(".", 1)[-1][:128])]
    while len(parts) > 1 and (parts[-1] in _TRAILING or parts[-1].isdigit()):
        parts.pop()
    if not parts:
        return False
    last = parts[-1]
    return any(word in PERSONS for word in _singulars(last)) or (
        last in ("account", "accounts") and len(parts) > 1 and any(w in PERSONS for w in _singulars(parts[-2]))
    )


def _singulars(word: str) -> tuple[str, ...]:
    if word.endswith("ies"):
        return word, word[:-3] + "y"
    if word.endswith(("ses", "xes")):
        return word, word[:-2], word[:-1]
    return (word, word[:-1]) if word.endswith("s") else (word,)


def is_personal(column: str, of_persons: bool) -> bool:
    """Whether a column is personal by its name, the weaker names only in a table of persons."""
    return bool(_STRONG.search(column) or (of_persons and _WEAK.search(column)))


def is_secret(column: str) -> bool:
    return bool(_SECRET.search(column))


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
