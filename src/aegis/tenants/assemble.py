"""From the rows of the control tables to a `TenantView`, whole or as a difference to the one before. Pure.

A row that can't be understood closes its tenant (`status` becomes `unreadable`): leaving it out could be laxer
than what somebody wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from aegis.kernel.clock import MicroSeconds, from_iso
from aegis.kernel.money import micro_usd
from aegis.kernel.tenancy import (
    Agent,
    ApiKey,
    ApprovalRule,
    Contract,
    Issuer,
    KillSwitch,
    Quota,
    Settings,
    TenantView,
    Thresholds,
    TimeWindow,
    Tool,
    Upstream,
    Weights,
)

UNREADABLE = "unreadable"
ENDED_KEPT_US = 20 * 60 * 1_000_000
"""How long views name an ended session; whoever caches sessions must forget them sooner."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one control table. `kind` names the table as `views.sql` does."""

    kind: str
    key: str
    version: int
    gone: bool
    body: Body


@dataclass(frozen=True, slots=True)
class Held:
    """A view, and what is needed to carry it forward: ends of revocations, times of ends, unreadable rows."""

    view: TenantView
    revoked_until: Mapping[str, MicroSeconds | None] = field(default_factory=dict)
    ended_at: Mapping[str, MicroSeconds] = field(default_factory=dict)
    broken: frozenset[tuple[str, str]] = frozenset()


def assemble(tenant: str, before: Held | None, rows: Iterable[Row], now: MicroSeconds) -> Held | None:
    """`before` carried forward by `rows`; None when the tenant doesn't exist. Tables without news are shared."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    if "tenant" not in by_kind:
        return None
    head = by_kind["tenant"][0]
    held = before or Held(_empty(tenant))
    broken = set(held.broken)
    tables: dict[str, Any] = {}
    for kind, read in _TABLES.items():
        if kind in by_kind:
            tables[kind] = _merge(getattr(held.view, kind), by_kind[kind], read, broken)
    for row in by_kind.get("settings", ()):
        tables["settings"] = _read(row, settings_from, broken) or Settings()
    for row in sorted(by_kind.get("policies", ()), key=lambda r: r.version):
        tables["policy"] = _active(tables.get("policy", held.view.policy), row)
    revoked, ended = held.revoked_until, held.ended_at
    if "revocations" in by_kind:
        revoked = {k: v for k, v in revoked.items() if v is None or v > now}
        for row in by_kind["revocations"]:
            revoked.pop(row.key, None) if row.gone else revoked.update({row.key: row.body["until"]})
        tables["revoked"] = frozenset(revoked)
    if "ended" in by_kind:
        ended = {k: v for k, v in ended.items() if v > now - ENDED_KEPT_US}
        ended.update((row.key, row.body["at"]) for row in by_kind["ended"])
        tables["ended_sessions"] = frozenset(ended)
    view = replace(
        held.view,
        name=head.body["name"],
        status=UNREADABLE if broken else head.body["status"],
        version=head.version,
        kill_epoch=head.body["kill_epoch"],
        label_key=bytes.fromhex(head.body["label_key"]),
        **tables,
    )
    return Held(view, revoked, ended, frozenset(broken))


def agent_from(row: Row) -> Agent:
    return Agent(id=row.key, **row.body)


def tool_from(row: Row) -> Tool:
    body = row.body["body"]
    return Tool(
        name=row.key,
        effect=body["effect"],
        output_trust=body.get("output_trust", "untrusted"),
        kinds=body.get("kinds") or {},
        alias_of=body.get("alias_of"),
        risk=float(body.get("risk") or 0.0),
        price_micro_usd=micro_usd(body["price_usd"]) if body.get("price_usd") is not None else 0,
        upstream=body.get("upstream"),
        description=body.get("description"),
        input_schema=body.get("input_schema"),
        pinned=row.body["pinned"],
    )


def upstream_from(row: Row) -> Upstream:
    given = {k: v for k, v in row.body.items() if k in {"timeout_ms", "max_bytes"} and v is not None}
    reference = (row.body.get("credential") or {}).get("ref")
    return Upstream(row.key, row.body["kind"], row.body["url"], credential_ref=reference, **given)


_CAPS = {f.name for f in fields(Quota)} - {"scope"}


def quota_from(row: Row) -> Quota:
    """Raises ValueError for a cap that this program doesn't know: passing it over would leave it out."""
    caps = {}
    for name, value in row.body.items():
        if value is None:
            continue
        is_money = name.endswith("_usd")
        cap = f"{name.removesuffix('_usd')}_micro_usd" if is_money else name
        if cap not in _CAPS:
            raise ValueError(f"expected known caps, got {name!r}")
        caps[cap] = micro_usd(value) if is_money else value
    return Quota(scope=row.key, **caps)


_TERMS = frozenset({"mode", "tools", "resources", "time_windows", "approvals", "intent_by", "expires_at"})


def contract_from(row: Row) -> Contract:
    """Raises ValueError for a term that this program doesn't know: passing it over would be laxer than was written."""
    body = row.body
    unknown = body.keys() - _TERMS | {k for rule in body.get("approvals") or () for k in rule.keys() - {"tool"}}
    if unknown:
        raise ValueError(f"expected known terms, got {sorted(unknown)}")
    tools, resources = body.get("tools") or {}, body.get("resources") or {}
    windows, expires = body.get("time_windows"), body.get("expires_at")
    return Contract(
        agent=row.key,
        version=row.version,
        mode=body["mode"],
        tools_allow=_globs(tools.get("allow")),
        tools_deny=_globs(tools.get("deny")) or (),
        resources_allow=_globs(resources.get("allow")),
        resources_deny=_globs(resources.get("deny")) or (),
        time_windows=None if windows is None else tuple(map(_window, windows)),
        approvals=tuple(ApprovalRule(rule["tool"]) for rule in body.get("approvals") or ()),
        intent_by=body.get("intent_by"),
        expires_at=None if expires is None else from_iso(expires),
    )


def settings_from(row: Row) -> Settings:
    body = row.body
    words = {k: body[k] for k in ("degraded_mode", "explain_to_agents") if body.get(k) is not None}
    return Settings(
        weights=Weights(**(body.get("weights") or {})),
        thresholds=Thresholds(**(body.get("thresholds") or {})),
        version=row.version,
        **words,
    )


def _switch(row: Row) -> KillSwitch:
    return KillSwitch(scope=row.key, **row.body)


def _key(row: Row) -> ApiKey:
    return ApiKey(id=row.key, **{**row.body, "digest": bytes.fromhex(row.body["digest"])})


def _issuer(row: Row) -> Issuer:
    return Issuer(id=row.key, **{**row.body, "algorithms": tuple(row.body["algorithms"])})


_TABLES: dict[str, Callable[[Row], Any]] = {
    "agents": agent_from,
    "tools": tool_from,
    "upstreams": upstream_from,
    "quotas": quota_from,
    "contracts": contract_from,
    "switches": _switch,
    "keys": _key,
    "issuers": _issuer,
}


def _merge(
    before: Mapping[str, Any], rows: list[Row], read: Callable[[Row], Any], broken: set[tuple[str, str]]
) -> Mapping[str, Any]:
    after = dict(before)
    for row in rows:
        value = _read(row, read, broken)
        if value is None:
            after.pop(row.key, None)
        else:
            after[row.key] = value
    return after


def _read(row: Row, read: Callable[[Row], Any], broken: set[tuple[str, str]]) -> Any | None:
    broken.discard((row.kind, row.key))
    if row.gone:
        return None
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return read(row)
    broken.add((row.kind, row.key))
    return None


def _active(before: str | None, row: Row) -> str | None:
    if row.body["active"] and not row.gone:
        return row.key
    return None if before == row.key else before


def _globs(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def _window(body: Body) -> TimeWindow:
    return TimeWindow(tuple(body["days"]), _minute(body["from"]), _minute(body["to"]), body["tz"])


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    value = int(hours) * 60 + int(minutes)
    if not (len(text) == 5 and 0 <= int(minutes) < 60 and 0 <= value <= 24 * 60):
        raise ValueError(f"expected a time such as 08:00, got {text!r}")
    return value


def _empty(tenant: str) -> TenantView:
    return TenantView(
        tenant=tenant, name="", status="active", version=0, kill_epoch=0, settings=Settings(), agents={}, tools={},
        upstreams={}, quotas={}, contracts={}, switches={}, keys={}, issuers={}, revoked=frozenset(),
        ended_sessions=frozenset(), policy=None, label_key=b"",
    )  # fmt: skip
