"""What the control API works with; the gateway role builds it once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aegis.audit.keys import LogKeys
from aegis.autonomy.approvals import Approvals
from aegis.db.database import Database
from aegis.execution.network import Guard
from aegis.identity.sessions import Sessions
from aegis.identity.sign_on import SignOn
from aegis.identity.spent import Spent
from aegis.identity.verify import Authenticator
from aegis.kernel.call import Principal
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.ids import uuid7
from aegis.kernel.record import Draft, Ledger, Unavailable
from aegis.kill_switch.switches import Switches
from aegis.policy.engine import PolicyEngine
from aegis.policy.store import PolicyStore
from aegis.tenants.processes import Processes
from aegis.tenants.views import Views


@dataclass(frozen=True, slots=True)
class Services:
    """`settle` returns once every live gateway knows a change, or a moment has passed. `ready` says what is not."""

    database: Database
    views: Views
    authenticator: Authenticator
    spent: Spent
    ledger: Ledger
    keys: LogKeys
    guard: Guard
    vkey: Callable[[str], str]
    sign_note: Callable[[str, str], str]
    permit_vkey: str
    switches: Switches
    processes: Processes
    approvals: Approvals
    sessions: Sessions
    sign_on: SignOn
    hash_password: Callable[[str], str]
    engine: PolicyEngine
    policies: PolicyStore
    settle: Callable[[str, int], Awaitable[None]]
    used: Callable[[str, str, MicroSeconds], Awaitable[Any]]
    ready: Callable[[], Awaitable[dict[str, str]]]
    metrics: Callable[[], bytes]
    clock: Callable[[], MicroSeconds]
    body_limit: int

    async def refused(self, principal: Principal, what: str) -> None:
        """Records the attempt of a role that may not. A store that is away does not turn a refusal into anything."""
        detail = {"action": "refused", "role": principal.role.value, "what": what[:200]}
        try:
            await self.ledger.append(Draft(principal.tenant, "access", uuid7(), {"detail": detail}))
        except Unavailable:
            return

    def change(self, principal: Principal, action: str, **detail: str) -> Draft:
        """The row that a change of the set-up leaves: who did what to which thing, without its text."""
        by = principal.credential or principal.subject
        return Draft(principal.tenant, "config", uuid7(), {"action": action, "detail": {**detail, "by": by}})
