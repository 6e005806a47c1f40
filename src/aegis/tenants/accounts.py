"""Makes tenants, agents, people and keys, each inside the caller's transaction. Secrets are returned this once.

`connection` is scoped to the tenant (`Database.scope` or a ledger's transaction), except for `create_tenant`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from aegis.db.database import Connection
from aegis.db.statements import statements
from aegis.kernel import api_key
from aegis.kernel.call import Role
from aegis.kernel.ids import new_id
from aegis.kernel.problems import Problem

SQL = statements("aegis.tenants", "accounts.sql")


@dataclass(frozen=True, slots=True)
class NewAgent:
    id: str
    name: str
    secret: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewKey:
    id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewTenant:
    """`admin` is an API key of role admin."""

    id: str
    name: str
    status: str
    origin: str
    admin: NewKey


def label_of(label_key: bytes, tenant: str) -> str:
    """The tenant's name in public places: 26 characters of base32 that say nothing without the label key."""
    mac = hmac.digest(label_key, tenant.encode("ascii"), hashlib.sha256)
    return base64.b32encode(mac).decode("ascii").lower()[:26]


def origin_of(installation: str, label_key: bytes, tenant: str) -> str:
    return f"{installation}/t/{label_of(label_key, tenant)}"


async def create_tenant(
    connection: Connection, name: str, *, organisation: str | None = None, id: str | None = None
) -> NewTenant:
    """A tenant with default settings, its empty log and one admin key. The connection sees afterwards what it saw.

    Without `organisation` it gets one of its own. The first row of the log is written with the first append.
    """
    before = await connection.fetchval(SQL.seen)
    installation = await connection.fetchval(SQL.installation)
    tenant, label_key = id or new_id("ten"), secrets.token_bytes(32)
    if organisation is None:
        organisation = new_id("org")
        await connection.execute(SQL.add_organisation, organisation, name)
    await connection.execute(SQL.see, tenant)
    await connection.execute(SQL.add_tenant, tenant, organisation, name, label_key)
    await connection.execute(SQL.add_settings, tenant)
    origin = origin_of(installation, label_key, tenant)
    await connection.execute(SQL.open_log, tenant, origin)
    role = Role.OPERATOR if tenant == api_key.OPERATOR_TENANT else Role.ADMIN
    admin = await create_key(connection, tenant, role=role, subject=f"key:{role}", name=f"first {role} key")
    await connection.execute(SQL.see, before)
    return NewTenant(tenant, name, "active", origin, admin)


async def create_agent(
    connection: Connection,
    tenant: str,
    name: str,
    *,
    owner: str | None = None,
    team: str | None = None,
    model: str | None = None,
    labels: Mapping[str, str] | None = None,
    workspace: str | None = None,
    environment: str | None = None,
) -> NewAgent:
    """An agent with a secret (for POST /v1/auth/token) and an API key. Raises Problem 409 when the name is taken."""
    agent, secret = new_id("agt"), api_key.new_secret()
    digest = api_key.digest(await _label_key(connection, tenant), secret)
    try:
        await connection.execute(
            SQL.add_agent, tenant, agent, name, owner, team, model, json.dumps(dict(labels or {})), workspace,
            environment, digest,
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        raise Problem(409, "agent.exists", "an agent of this name exists in this tenant") from None
    key = await create_key(connection, tenant, role=Role.AGENT, subject=agent, agent=agent, team=team, name=name)
    return NewAgent(agent, name, str(api_key.AgentSecretText(tenant, secret)), key.token)


async def create_user(
    connection: Connection, tenant: str, email: str, role: Role, *, team: str | None = None,
    password_hash: str | None = None,
) -> str:  # fmt: skip
    """A person's id. Raises Problem 409 when the address belongs to somebody of the installation."""
    user = new_id("usr")
    try:
        await connection.execute(SQL.add_user, tenant, user, email, role.value, team, password_hash)
    except asyncpg.UniqueViolationError:
        raise Problem(409, "user.exists", "this address is in use") from None
    return user


async def create_key(
    connection: Connection, tenant: str, *, role: Role, subject: str, name: str = "", agent: str | None = None,
    team: str | None = None, user: str | None = None,
) -> NewKey:  # fmt: skip
    """An API key: no expiry, revocable."""
    key, secret = new_id("key"), api_key.new_secret()
    digest = api_key.digest(await _label_key(connection, tenant), secret)
    await connection.execute(SQL.add_key, tenant, key, name, digest, role.value, subject, agent, team, user)
    return NewKey(key, str(api_key.ApiKeyText(tenant, key, secret)))


async def _label_key(connection: Connection, tenant: str) -> bytes:
    found = await connection.fetchval(SQL.label_key, tenant)
    if found is None:
        raise LookupError(f"couldn't find tenant {tenant} in this transaction")
    return bytes(found)
