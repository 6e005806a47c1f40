"""A call: who asks, for what, in which surroundings. Everything in it came through a surface's parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aegis.kernel.clock import MicroSeconds
from aegis.kernel.jsontree import JsonTree


class Role(StrEnum):
    OPERATOR = "operator"
    ADMIN = "admin"
    SECURITY = "security"
    AUDITOR = "auditor"
    VIEWER = "viewer"
    AGENT = "agent"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose credential it is. The signature was checked; revocation, replay and role are stage 1's."""

    tenant: str
    subject: str
    role: Role
    agent: str | None = None
    credential: str = ""
    """Key id or `jti`: what a revocation names."""
    single_use: bool = False
    expires_at: MicroSeconds | None = None
    issued_at: MicroSeconds | None = None
    issuer: str = "aegis"


@dataclass(frozen=True, slots=True)
class Action:
    """`tool` is the canonical name, `asked` the name that the door used. `digest` binds approvals and rows."""

    tool: str
    asked: str
    arguments: JsonTree
    resource: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Context:
    """`given` holds every member as it came; the named ones have a meaning."""

    workspace: str | None = None
    environment: str | None = None
    model: str | None = None
    estimated_micro_usd: int = 0
    purpose: str | None = None
    parent: str | None = None
    client_seen: tuple[int, str] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    decision_id: str
    principal: Principal
    action: Action
    context: Context
    door: str
    endpoint: str
    """`decide` or `execute`: what an idempotency key belongs to."""
    received_at: MicroSeconds
    size_bytes: int
    session_id: str | None = None
    approval: str | None = None
    idempotency_key: str | None = None
    owes_outcome: bool = True

    @property
    def tenant(self) -> str:
        return self.principal.tenant
