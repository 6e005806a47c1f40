"""Stage 1, judged: what a genuine credential may not do here. Pure."""

from __future__ import annotations

from aegis.identity.roles import Permission, may
from aegis.identity.sessions import SessionFacts
from aegis.kernel.call import Principal, Role
from aegis.kernel.findings import Finding, finding
from aegis.kernel.problems import Problem
from aegis.kernel.tenancy import TenantView


def judge(
    principal: Principal,
    view: TenantView,
    session: SessionFacts | None,
    *,
    session_id: str | None,
    replayed: bool,
) -> tuple[Finding, ...]:
    """`session_id` is what the call named, `session` what was found under it; `replayed`: a spent single-use token."""
    found: list[Finding] = []
    if view.status == "suspended":
        found.append(finding("auth.tenant_suspended"))
    elif view.status != "active":
        found.append(finding("auth.unavailable"))
    if is_revoked(principal, view):
        found.append(finding("auth.revoked"))
    if replayed:
        found.append(finding("auth.replayed"))
    if not may(principal.role, Permission.DECIDE):
        found.append(finding("auth.role", role=principal.role))
    else:
        found += _agent(principal, view)
    if session_id is not None:
        found += _session(principal, view, session, session_id)
    return tuple(found)


def check_standing(principal: Principal, view: TenantView) -> None:
    """What stage 1 does for calls, for every other request. Raises Problem 401 or 403."""
    if is_revoked(principal, view):
        raise Problem(401, "auth.revoked", "this credential was revoked")
    if view.status != "active" and principal.role is not Role.OPERATOR:
        raise Problem(403, "auth.tenant_suspended", "this tenant is suspended")
    if principal.role is Role.AGENT:
        for found in _agent(principal, view):
            raise Problem(403, found.code, "this agent is not active")


def is_revoked(principal: Principal, view: TenantView) -> bool:
    """By name, or because the API key was revoked or removed; a person or agent as a whole by its subject."""
    if principal.credential in view.revoked or f"subject:{principal.subject}" in view.revoked:
        return True
    if not principal.credential.startswith("key_"):
        return False
    key = view.keys.get(principal.credential)
    return key is None or key.revoked


def _agent(principal: Principal, view: TenantView) -> list[Finding]:
    agent = view.agents.get(principal.agent or "")
    if agent is None:
        return [finding("auth.agent_unknown")]
    if agent.status == "active":
        return []
    return [finding("auth.agent_retired" if agent.status == "retired" else "auth.agent_quarantined")]


def _session(principal: Principal, view: TenantView, session: SessionFacts | None, session_id: str) -> list[Finding]:
    if session is None or session.tenant != principal.tenant or session.agent != principal.agent:
        return [finding("auth.session_unknown", path="/session_id")]
    if session.has_ended or session_id in view.ended_sessions:
        return [finding("auth.session_ended", path="/session_id")]
    return []
