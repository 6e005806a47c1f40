"""Set-up that is written whole under a name: tools, upstreams, quotas, contracts, settings, secrets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from aegis.autonomy.parse import parse as parse_contract
from aegis.console_api.paging import check_match, cursor_of, etag, limit_of, page
from aegis.console_api.routes import Ask, Reply, Route
from aegis.db.database import Connection
from aegis.db.statements import statements
from aegis.execution.credentials import seal
from aegis.execution.network import ForbiddenAddress, Guard
from aegis.identity.roles import Permission
from aegis.inspection.tool_guard import definition_digest
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.problems import Problem
from aegis.kernel.scope import parse_scope
from aegis.surfaces.members import Members

SQL = statements("aegis.console_api", "documents.sql")

TOOL = (
    "effect", "output_trust", "kinds", "alias_of", "risk", "price_usd", "upstream", "description", "input_schema",
)  # fmt: skip
UPSTREAM = ("kind", "url", "credential", "timeout_ms", "max_bytes")
QUOTA = (
    "rps", "burst", "concurrency", "daily_requests", "monthly_requests", "daily_usd", "monthly_usd",
)  # fmt: skip
QUOTA_LATER = ("tokens_per_minute", "total_requests", "total_usd", "total_seconds")
CONTRACT = (
    "mode", "tools", "resources", "time_windows", "delegation", "cross_tenant", "ceilings", "approvals", "intent_by",
    "expires_at",
)  # fmt: skip
SETTINGS = ("degraded_mode", "explain_to_agents", "weights", "thresholds")
WEIGHTS = ("limits", "inference", "policy", "behavior")
THRESHOLDS = {"monitor": 0.3, "throttle": 0.6, "escalate": 0.75, "kill": 0.9}
KINDS = re.compile(r"sql(:[a-z]{1,20})?|shell|code|path|url|recipient|money|k8s|cloud|text")
EFFECTS = ("read", "write", "destructive", "external")
SCHEMA_BYTES = 64 * 1024
_SCHEMES = {"http": ("http://", "https://"), "kubernetes": ("https://", "http://"), "sql": ("postgresql://",)}
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
LOOK_UP_S = 1.0


async def _nothing(ask: Ask, name: str, body: dict[str, JsonTree]) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document. `check` raises Problem 422 for what it doesn't take and returns what is kept.

    `needs` raises Problem 404 within the change for what the document is about and the tenant hasn't. `warn` says what
    is kept and can't work as the installation stands: whatever is missing may come later.
    """

    table: str
    key: str
    check: Callable[[Ask, str], dict[str, JsonTree]]
    warn: Callable[[Ask, str, dict[str, JsonTree]], Awaitable[list[str]]] = _nothing
    needs: Callable[[Ask, str, Connection], Awaitable[None]] | None = None

    def shown(self, record: Any) -> dict[str, Any]:
        body: dict[str, Any] = {self.key: record["key"], **json.loads(record["body"])}
        if "pinned" in record:
            body["pinned"] = record["pinned"]
        return body

    async def list(self, ask: Ask) -> Reply:
        limit = limit_of(ask)
        async with ask.services.database.scope(ask.tenant) as connection:
            rows = await connection.fetch(
                getattr(SQL, f"list_{self.table}"), ask.tenant, cursor_of(ask) or "", limit + 1
            )
        return Reply(body=page([self.shown(row) for row in rows], limit, self.key))

    async def get(self, ask: Ask) -> Reply:
        name = ask.params["name"]
        async with ask.services.database.scope(ask.tenant) as connection:
            row = await connection.fetchrow(getattr(SQL, f"read_{self.table}"), ask.tenant, name)
        if row is None:
            raise missing(self.table)
        shown = self.shown(row)
        return Reply(body=shown, headers=[(b"etag", etag(shown))])

    async def put(self, ask: Ask) -> Reply:
        name = ask.params["name"]
        body = self.check(ask, name)
        warnings = await self.warn(ask, name, body)
        async with ask.services.ledger.transaction(ask.tenant) as change:
            if self.needs is not None:
                await self.needs(ask, name, change.connection)
            before = await change.connection.fetchrow(getattr(SQL, f"get_{self.table}"), ask.tenant, name)
            check_match(ask, None if before is None else self.shown(before))
            given: list[str | None] = [ask.tenant, name, dumps(body).decode()]
            if self.table == "tools":
                given.append(pinned(body))
            await change.connection.execute(getattr(SQL, f"put_{self.table}"), *given)
            after = await change.connection.fetchrow(getattr(SQL, f"read_{self.table}"), ask.tenant, name)
            await change.append(ask.services.change(ask.principal, f"{self.table}.put", **named(name)))
        await settled(ask)
        shown = self.shown(after)
        told = {} if self.warn is _nothing else {"warnings": warnings}
        return Reply(body={**shown, **told}, headers=[(b"etag", etag(shown))])

    async def drop(self, ask: Ask) -> Reply:
        name = ask.params["name"]
        async with ask.services.ledger.transaction(ask.tenant) as change:
            before = await change.connection.fetchrow(getattr(SQL, f"get_{self.table}"), ask.tenant, name)
            if before is None:
                raise missing(self.table)
            check_match(ask, self.shown(before))
            await change.connection.fetchval(getattr(SQL, f"drop_{self.table}"), ask.tenant, name)
            await change.append(ask.services.change(ask.principal, f"{self.table}.delete", **named(name)))
        await settled(ask)
        return Reply(204)


def missing(table: str) -> Problem:
    return Problem(404, f"{table}.unknown", "there is no such thing in this tenant")


def named(name: str) -> dict[str, str]:
    """A name for the log: names are people's words, so an odd one stands as its length only."""
    return {"name": name if re.fullmatch(r"[A-Za-z0-9_.:/\-]{1,128}", name) else f"({len(name)} characters)"}


async def settled(ask: Ask) -> None:
    """This process knows the change, and so do the others that live, before the answer."""
    view = await ask.services.views.refresh(ask.tenant)
    await ask.services.settle(ask.tenant, view.version)


def pinned(body: dict[str, JsonTree]) -> str | None:
    if body.get("description") is None and body.get("input_schema") is None:
        return None
    return definition_digest(body.get("description") or "", body.get("input_schema"))


# ------------------------------------------------------------------ what is taken


def check_tool(ask: Ask, name: str) -> dict[str, JsonTree]:
    members = ask.members(*TOOL)
    _length(members, "name", name)
    members.choice("effect", EFFECTS, required=True)
    members.choice("output_trust", ("trusted", "user", "untrusted"))
    members.text("alias_of", least=1, limit=200)
    members.text("upstream", least=1, limit=200)
    members.text("description", limit=16 * 1024)
    members.number("risk", least=0, most=1)
    members.money("price_usd")
    schema = members.object("input_schema")
    if schema is not None and len(dumps(schema)) > SCHEMA_BYTES:
        members.wrong("input_schema", f"expected at most {SCHEMA_BYTES} bytes")
    for pointer, kind in (members.object("kinds") or {}).items():
        if not pointer.startswith("/"):
            members.wrong("kinds", 'expected JSON pointers below the arguments, such as "/query"')
        elif not isinstance(kind, str) or not KINDS.fullmatch(kind):
            members.wrong("kinds", "expected sql, sql:<dialect>, shell, path, url, recipient, money, k8s, cloud, text")
    if ask.tree.get("alias_of") == name:
        members.wrong("alias_of", "a tool can't be an alias of itself")
    members.finish()
    return _given(ask.tree, TOOL)


def check_upstream(ask: Ask, name: str) -> dict[str, JsonTree]:
    members = ask.members(*UPSTREAM)
    _length(members, "name", name)
    kind = members.choice("kind", ("http", "sql", "mcp", "kubernetes", "model"), required=True)
    url = members.text("url", required=True, least=1, limit=2048)
    if kind in ("mcp", "model"):
        members.wrong("kind", f"not supported yet: {kind} upstreams")
    elif kind is not None and url is not None and not url.startswith(_SCHEMES[kind]):
        members.wrong("url", f"expected {' or '.join(_SCHEMES[kind])}...")
    if url is not None:
        _no_secret(members, kind, url)
    credential = members.object("credential")
    if credential is not None:
        inner = Members(credential, ("ref", "exchange"), "/credential")
        inner.unsupported("exchange", "credentials by token exchange")
        ref = inner.text("ref", least=1, limit=64)
        if ref is not None and not _REF.fullmatch(ref):
            inner.wrong("ref", "expected letters, digits, dots, dashes and underscores")
        members.errors += inner.errors
    members.whole("timeout_ms", least=1, most=600_000)
    members.whole("max_bytes", least=1, most=64 * 1024 * 1024)
    members.finish()
    return _given(ask.tree, UPSTREAM)


def _no_secret(members: Members, kind: str | None, url: str) -> None:
    """A URL is shown to whoever reads the set-up."""
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
    except ValueError:
        return members.wrong("url", "expected a URL")
    if kind != "sql" and (user is not None or password is not None):
        members.wrong("url", "expected no user in the URL; use credential.ref")
    elif password is not None or "password" in parse_qs(parts.query, keep_blank_values=True):
        members.wrong("url", "expected no password in the URL; use credential.ref")


def check_quota(ask: Ask, scope: str) -> dict[str, JsonTree]:
    members = ask.members(*QUOTA, *QUOTA_LATER)
    kind = scope.partition(":")[0]
    if scope == "session" or kind == "user":
        members.wrong("scope", f"not supported yet: quotas of {kind}s")
    else:
        try:
            parse_scope(scope)
        except ValueError:
            members.wrong("scope", "expected tenant, team:{id}, agent:{id} or tool:{name}")
        if kind == "session":
            members.wrong("scope", "expected tenant, team:{id}, agent:{id} or tool:{name}")
    for name in QUOTA_LATER:
        members.unsupported(name, "a cap of this kind")
    members.number("rps", least=0.001, most=1_000_000)
    members.whole("burst", least=1, most=1_000_000)
    members.whole("concurrency", least=1, most=1_000_000)
    members.whole("daily_requests")
    members.whole("monthly_requests")
    members.money("daily_usd")
    members.money("monthly_usd")
    if ask.tree.get("burst") is not None and ask.tree.get("rps") is None:
        members.wrong("burst", "expected rps beside it")
    members.finish()
    return _given(ask.tree, QUOTA)


async def needs_agent(ask: Ask, agent: str, connection: Connection) -> None:
    """By the store, not by this process's view: the agent may have been made through another process just now."""
    if await connection.fetchval(SQL.has_agent, ask.tenant, agent) is None:
        raise Problem(404, "agents.unknown", "there is no such agent in this tenant")


async def needs_holder(ask: Ask, scope: str, connection: Connection) -> None:
    """A cap for an agent or a team that isn't there would hold nobody. Tools need no set-up."""
    kind, _, name = scope.partition(":")
    if kind == "agent":
        await needs_agent(ask, name, connection)
    if kind == "team" and await connection.fetchval(SQL.has_team, ask.tenant, name) is None:
        raise Problem(404, "teams.unknown", "there is no such team in this tenant")


async def warn_tool(ask: Ask, name: str, body: dict[str, JsonTree]) -> list[str]:
    warnings = []
    if "upstream" in body and body["upstream"] not in ask.view.upstreams:
        warnings.append("upstream: there is no such upstream yet; POST /v1/execute answers execute.no_upstream")
    if "alias_of" in body and body["alias_of"] not in ask.view.tools:
        warnings.append("alias_of: there is no such tool yet; calls under this name are of an unregistered tool")
    return warnings


async def warn_upstream(ask: Ask, name: str, body: dict[str, JsonTree]) -> list[str]:
    """Whether Aegis may connect there as things stand. The connected address is checked at each call all the same."""
    parts = urlsplit(str(body["url"]))
    host = parse_qs(parts.query).get("host", [""])[-1] if body["kind"] == "sql" else ""
    host = host or unquote(parts.hostname or "")
    if host.startswith("/"):
        opened = ask.services.guard.allow_unix
        return [] if opened else ["url: Unix sockets are not open; the operator opens them with networks.allow_unix"]
    return await _warn_host(ask.services.guard, host)


async def _warn_host(guard: Guard, host: str) -> list[str]:
    try:
        async with asyncio.timeout(LOOK_UP_S):
            await guard.resolve(host, 0)
    except ForbiddenAddress:
        return [
            "url: its address is on a network that is not open, so calls answer execute.forbidden_address until the "
            "operator opens the network with networks.allow (AEGIS_NETWORKS__ALLOW)"
        ]
    except TimeoutError:
        return []  # a name server that is slow says nothing about the upstream
    except OSError:
        return ["url: its host has no address here yet; calls answer execute.unreachable"]
    return []


def check_contract(ask: Ask, agent: str) -> dict[str, JsonTree]:
    parse_contract(ask.tree, agent=agent)
    return {"mode": "enforce", **_given(ask.tree, CONTRACT)}


def _given(tree: dict[str, JsonTree], known: tuple[str, ...]) -> dict[str, JsonTree]:
    return {name: tree[name] for name in known if tree.get(name) is not None}


def _length(members: Members, what: str, text: str) -> None:
    if not 1 <= len(text) <= 200 or not text.isprintable():
        members.wrong(what, "expected 1 to 200 printable characters in the path")


# ------------------------------------------------------------------ settings, secrets, quotas in use


async def get_settings(ask: Ask) -> Reply:
    async with ask.services.database.scope(ask.tenant) as connection:
        body = json.loads(await connection.fetchval(SQL.settings, ask.tenant) or "{}")
    shown = whole_settings(body)
    return Reply(body=shown, headers=[(b"etag", etag(shown))])


async def put_settings(ask: Ask) -> Reply:
    members = ask.members(*SETTINGS)
    members.choice("degraded_mode", ("block_high_risk", "block_all", "allow_with_audit"))
    members.choice("explain_to_agents", ("none", "code", "full"))
    weights = Members(members.object("weights") or {}, WEIGHTS, "/weights")
    for name in WEIGHTS:
        weights.number(name, least=0, most=100)
    thresholds = Members(members.object("thresholds") or {}, tuple(THRESHOLDS), "/thresholds")
    for name in THRESHOLDS:
        thresholds.number(name, least=0.001, most=1)
    members.errors += weights.errors + thresholds.errors
    members.finish()
    async with ask.services.ledger.transaction(ask.tenant) as change:
        before = json.loads(await change.connection.fetchval(SQL.settings, ask.tenant) or "{}")
        check_match(ask, whole_settings(before))
        after = {**before, **{k: v for k, v in ask.tree.items() if v is not None}}
        for name in ("weights", "thresholds"):
            after[name] = {**before.get(name, {}), **(ask.tree.get(name) or {})}
        order = list(whole_settings(after)["thresholds"].values())
        if order != sorted(order):
            raise Problem(422, "request.invalid", "/thresholds: expected monitor <= throttle <= escalate <= kill")
        await change.connection.execute(SQL.put_settings, ask.tenant, dumps(after).decode())
        await change.append(ask.services.change(ask.principal, "settings.put"))
    await settled(ask)
    shown = whole_settings(after)
    return Reply(body=shown, headers=[(b"etag", etag(shown))])


def whole_settings(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "degraded_mode": body.get("degraded_mode", "block_high_risk"),
        "explain_to_agents": body.get("explain_to_agents", "code"),
        "weights": {**dict.fromkeys(WEIGHTS, 1.0), **body.get("weights", {})},
        "thresholds": {**THRESHOLDS, **body.get("thresholds", {})},
    }


async def put_secret(ask: Ask) -> Reply:
    """Write-only: the value is sealed and never answered."""
    ref = ask.params["name"]
    members = ask.members("value")
    value = members.text("value", required=True, least=1, limit=16 * 1024)
    if not _REF.fullmatch(ref):
        members.wrong("ref", "expected letters, digits, dots, dashes and underscores")
    members.finish()
    assert value is not None
    async with ask.services.ledger.transaction(ask.tenant) as change:
        sealed = seal(ask.services.keys.vault_key, ask.tenant, ref, value)
        await change.connection.execute(SQL.put_secret, ask.tenant, ref, sealed)
        await change.append(ask.services.change(ask.principal, "secrets.put", ref=ref))
    return Reply(204)


async def drop_secret(ask: Ask) -> Reply:
    ref = ask.params["name"]
    async with ask.services.ledger.transaction(ask.tenant) as change:
        if await change.connection.fetchval(SQL.drop_secret, ask.tenant, ref) is None:
            raise missing("secrets")
        await change.append(ask.services.change(ask.principal, "secrets.delete", **named(ref)))
    return Reply(204)


async def get_quota(ask: Ask) -> Reply:
    """The caps with what is used of them; a scope without caps has its usage all the same."""
    scope = ask.params["name"]
    async with ask.services.database.scope(ask.tenant) as connection:
        row = await connection.fetchrow(SQL.read_quotas, ask.tenant, scope)
    if row is None and scope != "tenant":
        raise missing("quotas")
    caps = {} if row is None else json.loads(row["body"])
    shown = {"scope": scope, **caps}
    used = await ask.services.used(ask.tenant, scope, ask.services.clock())
    return Reply(body={**shown, **used}, headers=[(b"etag", etag(shown))])


TOOLS = Kind("tools", "name", check_tool, warn_tool)
UPSTREAMS = Kind("upstreams", "name", check_upstream, warn_upstream)
QUOTAS = Kind("quotas", "scope", check_quota, needs=needs_holder)
CONTRACTS = Kind("contracts", "agent", check_contract, needs=needs_agent)


def _routes(kind: Kind, path: str, write: Permission, members: tuple[str, ...]) -> tuple[Route, ...]:
    one = f"{path}/{{name}}"
    get = get_quota if kind is QUOTAS else kind.get
    what = path.rsplit("/", 1)[1]
    return (
        Route("GET", path, kind.list, Permission.READ_SETUP, f"lists {what}", query=("limit", "cursor")),
        Route("GET", one, get, Permission.READ_SETUP, f"one of the {what}"),
        Route("PUT", one, kind.put, write, f"writes one of the {what}", members=members, takes="json"),
        Route("DELETE", one, kind.drop, write, f"takes one of the {what} away", status=204),
    )


ROUTES: tuple[Route, ...] = (
    *_routes(TOOLS, "/v1/tools", Permission.MANAGE_TOOLS, TOOL),
    *_routes(UPSTREAMS, "/v1/upstreams", Permission.MANAGE_UPSTREAMS, UPSTREAM),
    *_routes(QUOTAS, "/v1/quotas", Permission.MANAGE_QUOTAS, (*QUOTA, *QUOTA_LATER)),
    *_routes(CONTRACTS, "/v1/contracts", Permission.MANAGE_CONTRACTS, CONTRACT),
    Route("GET", "/v1/settings", get_settings, Permission.READ_SETUP, "the tenant's settings"),
    Route(
        "PUT", "/v1/settings", put_settings, Permission.MANAGE_SETTINGS, "merges settings",
        members=SETTINGS, takes="json",
    ),
    Route(
        "PUT", "/v1/secrets/{name}", put_secret, Permission.MANAGE_UPSTREAMS, "keeps a secret, sealed",
        members=("value",), takes="json", status=204,
    ),
    Route("DELETE", "/v1/secrets/{name}", drop_secret, Permission.MANAGE_UPSTREAMS, "forgets a secret", status=204),
)  # fmt: skip
