"""The first start: the installation's name, the operator, the tenant `default` with its administrator and agent."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aegis.db.database import Database
from aegis.kernel.api_key import OPERATOR_TENANT
from aegis.kernel.call import Role
from aegis.tenants.accounts import SQL, NewAgent, NewTenant, create_agent, create_tenant, create_user

ADMIN_EMAIL = "admin@localhost"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything that the first start hands out, once."""

    url: str
    operator: NewTenant
    tenant: NewTenant
    password: str = field(repr=False)
    agent: NewAgent

    def members(self, vkey: str | None = None) -> dict[str, Any]:
        """As `credentials.json` has it; the log's `vkey` comes from whoever holds its key."""
        log = {"origin": self.tenant.origin} if vkey is None else {"origin": self.tenant.origin, "vkey": vkey}
        return {
            "url": self.url,
            "tenant": self.tenant.id,
            "operator": {"token": self.operator.admin.token},
            "admin": {"email": ADMIN_EMAIL, "password": self.password, "token": self.tenant.admin.token},
            "agents": {"default": {"id": self.agent.id, "token": self.agent.token}},
            "log": log,
        }


async def bootstrap(
    database: Database, *, url: str, hash_password: Callable[[str], str], installation_name: str | None = None
) -> Credentials | None:
    """Makes all of it in one transaction, or nothing: None when the installation is there already.

    Two processes that start at once agree: the second waits for the first and gets None.
    """
    name = installation_name or f"aegis-{base64.b32encode(os.urandom(5)).decode().lower()}.local"
    password = secrets.token_urlsafe(18)
    password_hash = hash_password(password)
    async with database.scope(OPERATOR_TENANT) as connection:
        if await connection.fetchval(SQL.install, name) is None:
            return None
        operator = await create_tenant(connection, "operator", id=OPERATOR_TENANT)
        tenant = await create_tenant(connection, "default")
        await connection.execute(SQL.see, tenant.id)
        await create_user(connection, tenant.id, ADMIN_EMAIL, Role.ADMIN, password_hash=password_hash)
        agent = await create_agent(connection, tenant.id, "default")
    return Credentials(url, operator, tenant, password, agent)
