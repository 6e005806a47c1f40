"""Which role may do what: one table. Tenants are kept apart elsewhere; a role never reaches beyond its own."""

from __future__ import annotations

from enum import StrEnum

from aegis.kernel.call import Role


class Permission(StrEnum):
    DECIDE = "decide"
    """decide, execute, outcome and the doors that run the pipeline: always as an agent."""
    SCAN = "scan"
    DRY_RUN = "dry_run"
    OPEN_SESSION = "open_session"
    OPEN_SESSION_FOR = "open_session_for"
    """A session of an agent that is not the caller."""
    READ_OWN = "read_own"
    """An agent's own sessions, approvals and decisions."""
    DELEGATE = "delegate"
    READ_DASHBOARDS = "read_dashboards"
    READ_DECISIONS = "read_decisions"
    READ_PAYLOADS = "read_payloads"
    """Arguments, outputs and evidence of decisions."""
    READ_SETUP = "read_setup"
    READ_POLICIES = "read_policies"
    READ_AUDIT = "read_audit"
    EXPORT_AUDIT = "export_audit"
    ERASE = "erase"
    KILL = "kill"
    APPROVE = "approve"
    MANAGE_POLICIES = "manage_policies"
    INVESTIGATE = "investigate"
    QUARANTINE = "quarantine"
    MANAGE_AGENTS = "manage_agents"
    MANAGE_TOOLS = "manage_tools"
    MANAGE_UPSTREAMS = "manage_upstreams"
    MANAGE_QUOTAS = "manage_quotas"
    MANAGE_CONTRACTS = "manage_contracts"
    MANAGE_PEOPLE = "manage_people"
    """Users, teams, keys and issuers."""
    MANAGE_SETTINGS = "manage_settings"
    MANAGE_WEBHOOKS = "manage_webhooks"
    MANAGE_TENANTS = "manage_tenants"
    MANAGE_INSTALLATION = "manage_installation"


P = Permission
_INSTALLATION = frozenset({P.MANAGE_TENANTS, P.MANAGE_INSTALLATION})
_AGENT = frozenset({P.DECIDE, P.SCAN, P.OPEN_SESSION, P.READ_OWN, P.DELEGATE})
_VIEWER = frozenset({P.READ_DASHBOARDS})
_READER = frozenset({P.READ_DASHBOARDS, P.READ_DECISIONS, P.READ_PAYLOADS, P.READ_SETUP, P.READ_POLICIES, P.READ_AUDIT})

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OPERATOR: _INSTALLATION,
    Role.ADMIN: (frozenset(P) - _INSTALLATION - _AGENT) | {P.SCAN},
    Role.SECURITY: _READER
    | {P.KILL, P.APPROVE, P.MANAGE_POLICIES, P.INVESTIGATE, P.QUARANTINE, P.EXPORT_AUDIT, P.DRY_RUN, P.SCAN},
    Role.AUDITOR: _READER | {P.EXPORT_AUDIT},
    Role.VIEWER: _VIEWER,
    Role.AGENT: _AGENT,
    Role.APPLICATION: frozenset({P.OPEN_SESSION_FOR, P.SCAN}),
}

_WITHIN: dict[Role, frozenset[Role]] = {
    Role.OPERATOR: frozenset({Role.OPERATOR}),
    Role.ADMIN: frozenset(Role) - {Role.OPERATOR},
    Role.SECURITY: frozenset({Role.SECURITY, Role.VIEWER}),
    Role.AUDITOR: frozenset({Role.AUDITOR, Role.VIEWER}),
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.AGENT: frozenset({Role.AGENT}),
    Role.APPLICATION: frozenset({Role.APPLICATION, Role.AGENT}),
}
"""Roles that a credential of a highest role may be narrowed to."""


def may(role: Role, permission: Permission) -> bool:
    return permission in PERMISSIONS[role]


def narrowed(highest: Role, claimed: Role) -> Role | None:
    """What both allow: the narrower of the two; None where neither contains the other."""
    if claimed in _WITHIN[highest]:
        return claimed
    return highest if highest in _WITHIN[claimed] else None
