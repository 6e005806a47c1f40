"""Who there is: agents, keys, people, teams, issuers, tenants, and signing on."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from aegis.console_api.documents import named, settled
from aegis.console_api.paging import check_match, cursor_of, etag, limit_of, page
from aegis.console_api.routes import Ask, Reply, Route
from aegis.db.statements import statements
from aegis.identity.roles import Permission, may
from aegis.identity.roles import narrowed as within
from aegis.identity.sign_on import revoke as revoke_credential
from aegis.kernel.api_key import OPERATOR_TENANT
from aegis.kernel.call import Role
from aegis.kernel.clock import iso
from aegis.kernel.ids import new_id
from aegis.kernel.problems import Problem
from aegis.surfaces.members import Members
from aegis.tenants import accounts

SQL = statements("aegis.console_api", "accounts.sql")
AGENT = ("name", "owner", "team", "model", "labels", "workspace", "environment", "status")
PEOPLE = tuple(role.value for role in Role if role not in (Role.OPERATOR, Role.AGENT, Role.APPLICATION))
STATUSES = ("active", "quarantined", "retired")
P = Permission


def shown(record: Any) -> dict[str, Any]:
    """A row as it is answered: times in their one form, nothing that is null left out."""
    made = {}
    for name, value in dict(record).items():
        if name in ("created_at", "revoked_at") and value is not None:
            value = iso(int(value.timestamp() * 1_000_000))
        made[name] = json.loads(value) if name == "labels" and isinstance(value, str) else value
    return made


async def _page(ask: Ask, statement: str) -> Reply:
    limit = limit_of(ask)
    async with ask.services.database.scope(ask.tenant) as connection:
        rows = await connection.fetch(statement, ask.tenant, cursor_of(ask) or "", limit + 1)
    return Reply(body=page([shown(row) for row in rows], limit, "id"))


async def _one(ask: Ask, statement: str, what: str) -> Reply:
    async with ask.services.database.scope(ask.tenant) as connection:
        row = await connection.fetchrow(statement, ask.tenant, ask.params["id"])
    if row is None:
        raise Problem(404, f"{what}.unknown", "there is no such thing in this tenant")
    return Reply(body=shown(row), headers=[(b"etag", etag(shown(row)))])


# ------------------------------------------------------------------ agents


async def list_agents(ask: Ask) -> Reply:
    return await _page(ask, SQL.agents)


async def get_agent(ask: Ask) -> Reply:
    return await _one(ask, SQL.agent, "agents")


async def add_agent(ask: Ask) -> Reply:
    members, given = _agent(ask, required=True)
    if ask.tree.get("status") not in (None, "active"):
        members.wrong("status", "a new agent is active")
    members.finish()
    given.pop("status")
    async with ask.services.ledger.transaction(ask.tenant) as change:
        made = await accounts.create_agent(change.connection, ask.tenant, **given)
        await change.append(ask.services.change(ask.principal, "agents.create", id=made.id))
    await settled(ask)
    body = {"id": made.id, "name": made.name, "status": "active", "secret": made.secret, "token": made.token}
    return Reply(201, {**given, **body}, [(b"location", f"/v1/agents/{made.id}".encode())])


async def change_agent(ask: Ask) -> Reply:
    members, given = _agent(ask, required=False)
    members.finish()
    status = given["status"]
    if not may(ask.principal.role, P.MANAGE_AGENTS) and set(ask.tree) - {"status"}:
        raise Problem(403, "auth.role", "this role may change an agent's status only")
    async with ask.services.ledger.transaction(ask.tenant) as change:
        row = await change.connection.fetchrow(SQL.agent, ask.tenant, ask.params["id"])
        if row is None:
            raise Problem(404, "agents.unknown", "there is no such agent in this tenant")
        before = shown(row)
        check_match(ask, before)
        after = {**before, **{name: given[name] for name in AGENT if name in ask.tree and given[name] is not None}}
        if before["status"] == "retired" and after["status"] != "retired":
            raise Problem(409, "agents.retired", "a retired agent does not come back; make a new one")
        try:
            await change.connection.execute(
                SQL.put_agent, ask.tenant, after["id"], after["name"], after["status"], after["owner"], after["team"],
                after["model"], json.dumps(after["labels"]), after["workspace"], after["environment"],
            )  # fmt: skip
        except asyncpg.UniqueViolationError:
            raise Problem(409, "agent.exists", "an agent of this name exists in this tenant") from None
        detail = {"id": after["id"], **({"status": status} if status else {})}
        await change.append(ask.services.change(ask.principal, "agents.change", **detail))
    await settled(ask)
    return Reply(body=after, headers=[(b"etag", etag(after))])


async def retire_agent(ask: Ask) -> Reply:
    async with ask.services.ledger.transaction(ask.tenant) as change:
        row = await change.connection.fetchrow(SQL.agent, ask.tenant, ask.params["id"])
        if row is None:
            raise Problem(404, "agents.unknown", "there is no such agent in this tenant")
        check_match(ask, shown(row))
        after = {**shown(row), "status": "retired"}
        await change.connection.execute(
            SQL.put_agent, ask.tenant, after["id"], after["name"], after["status"], after["owner"], after["team"],
            after["model"], json.dumps(after["labels"]), after["workspace"], after["environment"],
        )  # fmt: skip
        await change.append(ask.services.change(ask.principal, "agents.retire", id=after["id"]))
    await settled(ask)
    return Reply(204)


def _agent(ask: Ask, *, required: bool) -> tuple[Members, dict[str, Any]]:
    members = ask.members(*AGENT)
    name = members.text("name", required=required, least=1, limit=200)
    if name is not None and (not name.isprintable() or name != name.strip()):
        members.wrong("name", "expected printable characters without blanks around them")
    labels = members.object("labels")
    fits = all(isinstance(value, str) and len(value) <= 256 for value in (labels or {}).values())
    if labels is not None and (len(labels) > 64 or not fits):
        members.wrong("labels", "expected at most 64 strings of at most 256 characters")
    team = members.text("team", limit=64)
    given = {
        "name": name,
        "owner": members.text("owner", limit=256),
        "team": team,
        "model": members.text("model", limit=200),
        "labels": labels,
        "workspace": members.text("workspace", limit=4096),
        "environment": members.text("environment", limit=128),
        "status": members.choice("status", STATUSES),
    }
    return members, given


# ------------------------------------------------------------------ keys


async def list_keys(ask: Ask) -> Reply:
    return await _page(ask, SQL.keys)


async def get_key(ask: Ask) -> Reply:
    return await _one(ask, SQL.key, "keys")


async def add_key(ask: Ask) -> Reply:
    """A key never reaches further than its maker; an agent's key names its agent."""
    members = ask.members("name", "role", "agent")
    name = members.text("name", limit=200) or ""
    word = members.choice("role", tuple(role.value for role in Role), required=True)
    agent = members.text("agent", limit=64)
    if (word == "agent") != (agent is not None):
        members.wrong("agent", "expected the agent's id with the role agent, and only then")
    members.finish()
    assert word is not None
    role = Role(word)
    if within(ask.principal.role, role) is not role:
        raise Problem(403, "auth.role", f"the role {ask.principal.role.value} can't make keys of the role {word}")
    async with ask.services.ledger.transaction(ask.tenant) as change:
        if agent is not None and await change.connection.fetchrow(SQL.agent, ask.tenant, agent) is None:
            raise Problem(422, "request.invalid", "/agent: there is no such agent")
        key = new_id("sub") if agent is None else agent
        made = await accounts.create_key(
            change.connection, ask.tenant, role=role, subject=agent or f"key:{key}", name=name, agent=agent
        )
        await change.append(ask.services.change(ask.principal, "keys.create", id=made.id, role=word))
    await settled(ask)
    return Reply(201, {"id": made.id, "name": name, "role": word, "agent": agent, "token": made.token})


async def drop_key(ask: Ask) -> Reply:
    key = ask.params["id"]
    async with ask.services.ledger.transaction(ask.tenant) as change:
        if await change.connection.fetchrow(SQL.key, ask.tenant, key) is None:
            raise Problem(404, "keys.unknown", "there is no such key in this tenant")
        await revoke_credential(change.connection, ask.tenant, key)
        await change.append(ask.services.change(ask.principal, "keys.revoke", id=key))
    await settled(ask)
    return Reply(204)


# ------------------------------------------------------------------ people, teams, issuers


async def list_users(ask: Ask) -> Reply:
    return await _page(ask, SQL.users)


async def get_user(ask: Ask) -> Reply:
    return await _one(ask, SQL.user, "users")


async def add_user(ask: Ask) -> Reply:
    members = ask.members("email", "password", "role", "team")
    email = members.text("email", required=True, least=3, limit=254)
    if email is not None and ("@" not in email or not email.isprintable() or " " in email):
        members.wrong("email", "expected an e-mail address")
    password = members.text("password", least=12, limit=1024)
    role = members.choice("role", PEOPLE, required=True)
    team = members.text("team", limit=64)
    members.finish()
    assert email is not None and role is not None
    hashed = None if password is None else await asyncio.to_thread(ask.services.hash_password, password)
    async with ask.services.ledger.transaction(ask.tenant) as change:
        user = await accounts.create_user(
            change.connection, ask.tenant, email, Role(role), team=team, password_hash=hashed
        )
        await change.append(ask.services.change(ask.principal, "users.create", id=user, role=role))
    return Reply(201, {"id": user, "email": email, "role": role, "team": team})


async def change_user(ask: Ask) -> Reply:
    members = ask.members("password", "role", "team")
    password = members.text("password", least=12, limit=1024)
    role = members.choice("role", PEOPLE)
    team = members.text("team", limit=64)
    members.finish()
    hashed = None if password is None else await asyncio.to_thread(ask.services.hash_password, password)
    user = ask.params["id"]
    async with ask.services.ledger.transaction(ask.tenant) as change:
        row = await change.connection.fetchrow(SQL.user, ask.tenant, user)
        if row is None:
            raise Problem(404, "users.unknown", "there is no such person in this tenant")
        check_match(ask, shown(row))
        after = {**shown(row), **({"role": role} if role else {}), **({"team": team} if team else {})}
        await change.connection.execute(SQL.put_user, ask.tenant, user, after["role"], after["team"], hashed)
        if role is not None and role != row["role"]:
            await revoke_credential(change.connection, ask.tenant, f"subject:{user}", _hours(ask, 2))
        await change.append(ask.services.change(ask.principal, "users.change", id=user))
    await settled(ask)
    return Reply(body=after, headers=[(b"etag", etag(after))])


async def drop_user(ask: Ask) -> Reply:
    user = ask.params["id"]
    async with ask.services.ledger.transaction(ask.tenant) as change:
        row = await change.connection.fetchrow(SQL.user, ask.tenant, user)
        if row is None:
            raise Problem(404, "users.unknown", "there is no such person in this tenant")
        check_match(ask, shown(row))
        await change.connection.execute(SQL.drop_user, ask.tenant, user)
        await revoke_credential(change.connection, ask.tenant, f"subject:{user}", _hours(ask, 2))
        await change.append(ask.services.change(ask.principal, "users.delete", id=user))
    await settled(ask)
    return Reply(204)


def _hours(ask: Ask, hours: int) -> int:
    """Longer than any token of ours lives."""
    return ask.services.clock() + hours * 3600 * 1_000_000


async def list_teams(ask: Ask) -> Reply:
    return await _page(ask, SQL.teams)


async def get_team(ask: Ask) -> Reply:
    return await _one(ask, SQL.team, "teams")


async def add_team(ask: Ask) -> Reply:
    members = ask.members("name")
    name = members.text("name", required=True, least=1, limit=200)
    members.finish()
    team = new_id("tea")
    async with ask.services.ledger.transaction(ask.tenant) as change:
        await change.connection.execute(SQL.add_team, ask.tenant, team, name)
        await change.append(ask.services.change(ask.principal, "teams.create", id=team))
    return Reply(201, {"id": team, "name": name})


ISSUER = ("issuer", "jwks_uri", "audience", "max_role", "role_claim", "agent_claim", "algorithms")


async def list_issuers(ask: Ask) -> Reply:
    return await _page(ask, SQL.issuers)


async def get_issuer(ask: Ask) -> Reply:
    return await _one(ask, SQL.issuer, "issuers")


async def put_issuer(ask: Ask) -> Reply:
    members = ask.members(*ISSUER)
    issuer = members.text("issuer", required=True, least=1, limit=512)
    uri = members.text("jwks_uri", required=True, least=1, limit=2048)
    if uri is not None and urlsplit(uri).scheme not in ("https", "http"):
        members.wrong("jwks_uri", "expected an https address")
    audience = members.text("audience", required=True, least=1, limit=512)
    role = members.choice("max_role", tuple(r.value for r in Role if r is not Role.OPERATOR), required=True)
    claims = [members.text(name, limit=128) for name in ("role_claim", "agent_claim")]
    algorithms = list(members.texts("algorithms", limit=2) or ("RS256", "ES256"))
    if set(algorithms) - {"RS256", "ES256"}:
        members.wrong("algorithms", "expected RS256 or ES256")
    name = ask.params["id"]
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,64}", name):
        members.wrong("id", "expected letters, digits, dots, dashes and underscores in the path")
    members.finish()
    async with ask.services.ledger.transaction(ask.tenant) as change:
        before = await change.connection.fetchrow(SQL.issuer, ask.tenant, name)
        check_match(ask, None if before is None else shown(before))
        try:
            await change.connection.execute(
                SQL.put_issuer, ask.tenant, name, issuer, uri, audience, role, *claims, algorithms
            )
        except asyncpg.UniqueViolationError:
            raise Problem(409, "issuers.exists", "this issuer is configured already") from None
        await change.append(ask.services.change(ask.principal, "issuers.put", id=name))
    await settled(ask)
    body = {"id": name, **dict(zip(ISSUER, (issuer, uri, audience, role, *claims, algorithms), strict=True))}
    return Reply(body=body, headers=[(b"etag", etag(body))])


async def drop_issuer(ask: Ask) -> Reply:
    async with ask.services.ledger.transaction(ask.tenant) as change:
        row = await change.connection.fetchrow(SQL.issuer, ask.tenant, ask.params["id"])
        if row is None:
            raise Problem(404, "issuers.unknown", "there is no such issuer in this tenant")
        check_match(ask, shown(row))
        await change.connection.execute(SQL.drop_issuer, ask.tenant, ask.params["id"])
        await change.append(ask.services.change(ask.principal, "issuers.delete", **named(ask.params["id"])))
    await settled(ask)
    return Reply(204)


# ------------------------------------------------------------------ tenants


async def list_tenants(ask: Ask) -> Reply:
    limit = limit_of(ask)
    async with ask.services.database.unscoped() as connection:
        rows = await connection.fetch(SQL.tenants, cursor_of(ask) or "", limit + 1)
    return Reply(body=page([dict(row) for row in rows], limit, "id"))


async def add_tenant(ask: Ask) -> Reply:
    members = ask.members("name", "organisation")
    name = members.text("name", required=True, least=1, limit=200)
    organisation = members.text("organisation", limit=64)
    members.finish()
    assert name is not None
    async with ask.services.ledger.transaction(ask.tenant) as change:
        try:
            made = await accounts.create_tenant(change.connection, name, organisation=organisation)
        except asyncpg.ForeignKeyViolationError:
            raise Problem(422, "request.invalid", "/organisation: there is no such organisation") from None
        await change.append(ask.services.change(ask.principal, "tenants.create", id=made.id))
    await ask.services.views.refresh(made.id)
    return Reply(201, {"id": made.id, "name": made.name, "status": made.status, "admin": {"token": made.admin.token}})


async def change_tenant(ask: Ask) -> Reply:
    members = ask.members("status")
    status = members.choice("status", ("active", "suspended"), required=True)
    members.finish()
    tenant = ask.params["id"]
    if tenant == OPERATOR_TENANT:
        raise Problem(409, "tenants.operator", "the operator's own tenant stays active")
    async with ask.services.ledger.transaction(ask.tenant) as change:
        await change.connection.execute(SQL.see, tenant)
        row = await change.connection.fetchrow(SQL.put_tenant_status, tenant, status)
        await change.connection.execute(SQL.see, ask.tenant)
        if row is None:
            raise Problem(404, "tenants.unknown", "there is no such tenant")
        await change.append(ask.services.change(ask.principal, "tenants.change", id=tenant, status=str(status)))
    view = await ask.services.views.refresh(tenant)
    await ask.services.settle(tenant, view.version)
    return Reply(body=dict(row))


# ------------------------------------------------------------------ signing on


async def token(ask: Ask) -> Reply:
    """People with e-mail and password, agents with id and secret."""
    members = ask.members("email", "password", "agent_id", "id", "secret")
    email = members.text("email", limit=255)
    password = members.text("password", limit=1024)
    agent = members.text("agent_id", limit=64) or members.text("id", limit=64)
    secret = members.text("secret", limit=256)
    if not ((email and password and not agent and not secret) or (agent and secret and not email and not password)):
        members.wrong("email", "expected email and password, or id and secret")
    members.finish()
    if email is not None and password is not None:
        issued = await ask.services.sign_on.person(email, password, peer=ask.peer)
    else:
        assert agent is not None and secret is not None
        issued = await ask.services.sign_on.agent(agent, secret, peer=ask.peer)
    seconds = max(0, (issued.expires_at - ask.services.clock()) // 1_000_000)
    body = {"token": issued.text, "access_token": issued.text, "token_type": "Bearer", "expires_in": seconds}
    return Reply(body={**body, "expires_at": iso(issued.expires_at)}, headers=[(b"cache-control", b"no-store")])


async def revoke(ask: Ask) -> Reply:
    """Ends the caller's own credential, or, for whoever manages people, the one that the body names."""
    members = ask.members("credential", "jti", "key", "reason")
    names = [members.text(name, least=1, limit=128) for name in ("credential", "jti", "key")]
    wanted = next((name for name in names if name is not None), None)
    members.text("reason", limit=2000)
    members.finish()
    own = ask.principal.credential
    if wanted is not None and wanted != own and not may(ask.principal.role, P.MANAGE_PEOPLE):
        raise Problem(403, "auth.role", "this role may revoke its own credential only")
    credential = wanted or own
    if not re.fullmatch(r"[A-Za-z0-9_:.\-]{1,128}", credential):
        raise Problem(422, "request.invalid", "/credential: expected a key id, a jti or subject:{id}")
    expires = ask.principal.expires_at if credential == own else None
    async with ask.services.ledger.transaction(ask.tenant) as change:
        await revoke_credential(change.connection, ask.tenant, credential, expires)
        await change.append(ask.services.change(ask.principal, "auth.revoke", credential=credential))
    await settled(ask)
    return Reply(body={"revoked": credential})


_ID = ("limit", "cursor")
ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/agents", list_agents, P.READ_SETUP, "lists agents", query=_ID),
    Route("POST", "/v1/agents", add_agent, P.MANAGE_AGENTS, "makes an agent", members=AGENT, takes="json", status=201),
    Route("GET", "/v1/agents/{id}", get_agent, P.READ_SETUP, "one agent"),
    Route("PATCH", "/v1/agents/{id}", change_agent, (P.MANAGE_AGENTS, P.QUARANTINE), "changes an agent", members=AGENT,
          takes="json"),
    Route("PUT", "/v1/agents/{id}", change_agent, (P.MANAGE_AGENTS, P.QUARANTINE), "changes an agent", members=AGENT,
          takes="json"),
    Route("DELETE", "/v1/agents/{id}", retire_agent, P.MANAGE_AGENTS, "retires an agent", status=204),
    Route("GET", "/v1/keys", list_keys, P.MANAGE_PEOPLE, "lists keys", query=_ID),
    Route("POST", "/v1/keys", add_key, P.MANAGE_PEOPLE, "makes a key", members=("name", "role", "agent"), takes="json",
          status=201),
    Route("GET", "/v1/keys/{id}", get_key, P.MANAGE_PEOPLE, "one key"),
    Route("DELETE", "/v1/keys/{id}", drop_key, P.MANAGE_PEOPLE, "revokes a key", status=204),
    Route("GET", "/v1/users", list_users, P.READ_SETUP, "lists people", query=_ID),
    Route("POST", "/v1/users", add_user, P.MANAGE_PEOPLE, "makes a person",
          members=("email", "password", "role", "team"), takes="json", status=201),
    Route("GET", "/v1/users/{id}", get_user, P.READ_SETUP, "one person"),
    Route("PATCH", "/v1/users/{id}", change_user, P.MANAGE_PEOPLE, "changes a person",
          members=("password", "role", "team"), takes="json"),
    Route("DELETE", "/v1/users/{id}", drop_user, P.MANAGE_PEOPLE, "takes a person's access away", status=204),
    Route("GET", "/v1/teams", list_teams, P.READ_SETUP, "lists teams", query=_ID),
    Route("POST", "/v1/teams", add_team, P.MANAGE_PEOPLE, "makes a team", members=("name",), takes="json", status=201),
    Route("GET", "/v1/teams/{id}", get_team, P.READ_SETUP, "one team"),
    Route("GET", "/v1/issuers", list_issuers, P.READ_SETUP, "lists issuers", query=_ID),
    Route("GET", "/v1/issuers/{id}", get_issuer, P.READ_SETUP, "one issuer"),
    Route("PUT", "/v1/issuers/{id}", put_issuer, P.MANAGE_PEOPLE, "writes an issuer", members=ISSUER, takes="json"),
    Route("DELETE", "/v1/issuers/{id}", drop_issuer, P.MANAGE_PEOPLE, "takes an issuer away", status=204),
    Route("GET", "/v1/tenants", list_tenants, P.MANAGE_TENANTS, "lists tenants", query=_ID),
    Route("POST", "/v1/tenants", add_tenant, P.MANAGE_TENANTS, "makes a tenant", members=("name", "organisation"),
          takes="json", status=201),
    Route("PATCH", "/v1/tenants/{id}", change_tenant, P.MANAGE_TENANTS, "suspends a tenant, or takes it up again",
          members=("status",), takes="json"),
    Route("POST", "/v1/auth/token", token, None, "signs on", members=("email", "password", "id", "secret"),
          takes="json", is_public=True),
    Route("POST", "/v1/auth/revoke", revoke, None, "ends a credential", members=("credential", "reason"), takes="json"),
)  # fmt: skip
