"""What a tenant has set up, as values. `TenantView` is one consistent picture of it at one version.

The truth is in PostgreSQL; each process holds views and replaces them whole, so a judge that was handed a view
sees no change under its hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aegis.kernel.clock import MicroSeconds
from aegis.kernel.problems import Problem


@dataclass(frozen=True, slots=True)
class Agent:
    id: str
    name: str
    status: str
    """`active`, `quarantined` or `retired`."""
    owner: str | None = None
    team: str | None = None
    model: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    workspace: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    effect: str
    """`read`, `write`, `destructive` or `external`."""
    output_trust: str = "untrusted"
    kinds: Mapping[str, str] = field(default_factory=dict)
    """JSON pointer below the arguments -> `sql:postgres`, `shell`, `path`, `recipient`, `money`, `url`."""
    alias_of: str | None = None
    risk: float = 0.0
    price_micro_usd: int = 0
    upstream: str | None = None
    description: str | None = None
    input_schema: Mapping[str, Any] | None = None
    pinned: str | None = None
    """Digest of description and schema that an administrator accepted."""


@dataclass(frozen=True, slots=True)
class Upstream:
    name: str
    kind: str
    """`http`, `sql` or `kubernetes`."""
    url: str
    credential_ref: str | None = None
    timeout_ms: int = 30_000
    max_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Quota:
    """None means no cap of that kind. Money in micro-dollars."""

    scope: str
    rps: float | None = None
    burst: int | None = None
    concurrency: int | None = None
    daily_requests: int | None = None
    monthly_requests: int | None = None
    daily_micro_usd: int | None = None
    monthly_micro_usd: int | None = None


@dataclass(frozen=True, slots=True)
class TimeWindow:
    days: tuple[str, ...]
    from_minute: int
    to_minute: int
    """Minutes after midnight; `to` before `from` goes over midnight and belongs to the day it began on."""
    tz: str


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    tool: str


@dataclass(frozen=True, slots=True)
class Contract:
    """None: what the contract doesn't mention it doesn't limit."""

    agent: str
    version: int
    mode: str
    """`enforce` or `shadow`."""
    tools_allow: tuple[str, ...] | None = None
    tools_deny: tuple[str, ...] = ()
    resources_allow: tuple[str, ...] | None = None
    resources_deny: tuple[str, ...] = ()
    time_windows: tuple[TimeWindow, ...] | None = None
    approvals: tuple[ApprovalRule, ...] = ()
    intent_by: str | None = None
    expires_at: MicroSeconds | None = None


@dataclass(frozen=True, slots=True)
class KillSwitch:
    scope: str
    """`tenant`, `team:{id}`, `agent:{id}`, `tool:{name}` or `session:{id}`."""
    epoch: int
    engaged_at: MicroSeconds
    reason: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    digest: bytes
    role: str
    subject: str
    agent: str | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Issuer:
    id: str
    issuer: str
    jwks_uri: str
    audience: str
    max_role: str
    role_claim: str | None = None
    agent_claim: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256")


@dataclass(frozen=True, slots=True)
class Weights:
    limits: float = 1.0
    inference: float = 1.0
    policy: float = 1.0
    behavior: float = 1.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    monitor: float = 0.3
    throttle: float = 0.6
    escalate: float = 0.75
    kill: float = 0.9


@dataclass(frozen=True, slots=True)
class Settings:
    degraded_mode: str = "block_high_risk"
    explain_to_agents: str = "code"
    weights: Weights = field(default_factory=Weights)
    thresholds: Thresholds = field(default_factory=Thresholds)
    version: int = 0


@dataclass(frozen=True, slots=True)
class TenantView:
    """One tenant at one `version`. Mappings are never changed after construction."""

    tenant: str
    name: str
    status: str
    version: int
    kill_epoch: int
    settings: Settings
    agents: Mapping[str, Agent]
    tools: Mapping[str, Tool]
    upstreams: Mapping[str, Upstream]
    quotas: Mapping[str, Quota]
    contracts: Mapping[str, Contract]
    switches: Mapping[str, KillSwitch]
    keys: Mapping[str, ApiKey]
    issuers: Mapping[str, Issuer]
    revoked: frozenset[str]
    """Credentials (key ids and jti) that were revoked and have not expired."""
    ended_sessions: frozenset[str]
    policy: str | None
    """Digest of the tenant's own active bundle, beside the shipped one."""
    label_key: bytes
    """Makes the tenant's pseudonyms; destroyed at off-boarding."""

    def tool(self, asked: str) -> Tool | None:
        """The tool that a door's name means: aliases followed once."""
        found = self.tools.get(asked)
        if found is not None and found.alias_of is not None:
            return self.tools.get(found.alias_of)
        return found


class UnknownTenant(Exception):
    """There is no such tenant, as far as this process could find out within its limits."""


class ViewUnavailable(Problem):
    """The tenant's set-up couldn't be read in time, or not as new as asked; an older view is kept."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "tenant.unavailable", detail, retry_after_s=1)
