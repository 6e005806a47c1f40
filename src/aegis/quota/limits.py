"""Which limits a call has, and what a reading of the buckets says about them. Pure, but for the memory of `Limits`."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields, replace

from aegis.kernel.findings import Finding, finding
from aegis.kernel.money import dollars
from aegis.kernel.tenancy import Quota, TenantView
from aegis.quota.buckets import Limited, Reading, ScopeLimits
from aegis.quota.gcra import rate

GUARD_RPS = 5_000.0
"""What a tenant has unless its quota says otherwise: a guard against loops, no cap."""

TENANTS_REMEMBERED = 256
CALLERS_REMEMBERED = 4_096

_CAPS = tuple({f.name for f in fields(Quota)} & {f.name for f in fields(ScopeLimits)} - {"scope", "rps"})
_MONEY = frozenset({"quota.daily_usd", "quota.monthly_usd", "quota.total_usd"})


def resolve(
    view: TenantView,
    agent: str | None,
    team: str | None = None,
    tool: str | None = None,
    session: str | None = None,
    user: str | None = None,
) -> tuple[ScopeLimits, ...]:
    """The scopes that a call counts in, the widest first; every one of them must have room.

    Tenant, agent, team, tool and user count with or without a quota, so that a cap set later knows what was used.
    A session is a scope only where the quota `session` exists.
    """
    found = [limits_of(view.quotas.get("tenant"), "tenant", guard=True)]
    for kind, name in (("team", team), ("agent", agent), ("user", user), ("tool", tool)):
        if name is not None:
            scope = f"{kind}:{name}"
            found.append(limits_of(view.quotas.get(scope), scope))
    each_session = view.quotas.get("session")
    if session is not None and each_session is not None:
        found.append(limits_of(each_session, f"session:{session}"))
    return tuple(found)


def limits_of(quota: Quota | None, scope: str, *, guard: bool = False) -> ScopeLimits:
    rps = GUARD_RPS if guard else None
    if quota is None:
        return ScopeLimits(scope, rate=None if rps is None else rate(rps), rps=rps)
    rps = quota.rps if quota.rps is not None else rps
    return replace(
        ScopeLimits(scope, rate=None if rps is None else rate(rps, quota.burst), rps=rps),
        **{cap: getattr(quota, cap) for cap in _CAPS},
    )


class Limits:
    """`resolve`, remembered per view: a new version of a tenant's set-up forgets what was resolved under the old."""

    def __init__(self) -> None:
        self._views: OrderedDict[str, tuple[TenantView, dict[tuple[str | None, ...], tuple[ScopeLimits, ...]]]]
        self._views = OrderedDict()

    def resolve(
        self,
        view: TenantView,
        agent: str | None,
        team: str | None = None,
        tool: str | None = None,
        session: str | None = None,
        user: str | None = None,
    ) -> tuple[ScopeLimits, ...]:
        held = self._views.get(view.tenant)
        if held is None or held[0] is not view:
            held = self._views[view.tenant] = (view, {})
            while len(self._views) > TENANTS_REMEMBERED:
                self._views.popitem(last=False)
        key = (agent, team, tool, session if "session" in view.quotas else None, user)
        found = held[1].get(key)
        if found is None:
            if len(held[1]) >= CALLERS_REMEMBERED:
                held[1].clear()
            found = held[1][key] = resolve(view, agent, team, tool, session, user)
        return found


def findings(reading: Reading) -> tuple[Finding, ...]:
    """Refusals first, then one-shot warnings, then that the store was away."""
    found = [_refusal(limited) for limited in reading.limited]
    found += [
        finding("quota.warning", used=warning.percent, cap=warning.cap, scope=warning.scope)
        for warning in reading.warnings
    ]
    if reading.degraded:
        found.append(finding("quota.degraded"))
    return tuple(found)


def retry_after_s(reading: Reading) -> float | None:
    """When the scope that takes longest has room again; None when nothing was limited."""
    return max((limited.retry_after_s for limited in reading.limited), default=None)


def _refusal(limited: Limited) -> Finding:
    value = limited.limit
    limit = dollars(int(value)) if limited.code in _MONEY else str(int(value) if value == int(value) else value)
    return finding(limited.code, limit=limit, scope=limited.scope)
