"""Opens sessions: POST /v1/sessions. An agent opens its own; an application names the agent that it opens one for."""

from __future__ import annotations

from typing import Any, Protocol

from aegis.identity.roles import Permission, may
from aegis.identity.sessions import LIFETIME_US, Sessions, SessionsUnavailable, SessionTool, SessionUser
from aegis.identity.verify import Authenticator
from aegis.kernel.call import Principal
from aegis.kernel.clock import iso
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.problems import Problem
from aegis.kernel.tenancy import TenantView
from aegis.surfaces.members import Members

TOOLS_LIMIT = 512
TOOL_BYTES = 64 * 1024
METADATA_BYTES = 16 * 1024


class ViewSource(Protocol):
    async def with_agent(self, tenant: str, agent: str | None) -> TenantView: ...


class SessionDesk:
    def __init__(self, sessions: Sessions, authenticator: Authenticator, views: ViewSource) -> None:
        self._sessions, self._authenticator, self._views = sessions, authenticator, views

    async def open(self, principal: Principal, tree: dict[str, JsonTree]) -> dict[str, Any]:
        """`{"session_id", "expires_at"}`. Raises Problem 403, 422 or 503."""
        members = Members(tree, ("intent", "user", "agent", "tools", "metadata"))
        intent = members.text("intent", limit=64 * 1024)
        named = members.text("agent", limit=128)
        metadata = members.object("metadata") or {}
        if len(dumps(metadata)) > METADATA_BYTES:
            members.wrong("metadata", f"expected at most {METADATA_BYTES} bytes")
        tools = _tools(tree.get("tools"), members)
        user, id_token = _user(members)
        members.finish()
        view = await self._views.with_agent(principal.tenant, named)
        agent = self._agent(principal, view, named)
        if user is not None and id_token is not None:
            user = await self._verified(principal, user, id_token)
        known = view.agents[agent]
        try:
            facts = await self._sessions.open(
                principal.tenant,
                agent=agent,
                opened_by=principal.subject,
                team=known.team,
                user=user,
                intent=intent,
                tools=tools,
                metadata=metadata,
            )
        except SessionsUnavailable as error:
            raise Problem(503, "session.unavailable", "the session couldn't be stored", retry_after_s=1) from error
        return {"session_id": facts.id, "expires_at": iso(facts.created_at + LIFETIME_US)}

    @staticmethod
    def _agent(principal: Principal, view: TenantView, named: str | None) -> str:
        own = principal.agent
        if named is not None and named != own and not may(principal.role, Permission.OPEN_SESSION_FOR):
            raise Problem(403, "auth.role", "an agent opens sessions for itself only")
        agent = named or own
        if agent is None:
            raise Problem(422, "request.invalid", "/agent: expected the agent that the session is for")
        known = view.agents.get(agent)
        if known is None:
            raise Problem(422, "request.invalid", "/agent: there is no such agent")
        if known.status != "active":
            raise Problem(403, "auth.agent", f"this agent is {known.status}")
        return agent

    async def _verified(self, principal: Principal, user: SessionUser, id_token: str) -> SessionUser:
        person = await self._authenticator.person(principal.tenant, id_token)
        if person.id != user.id:
            raise Problem(422, "request.invalid", "/user/id: the ID token is about somebody else")
        return SessionUser(person.id, "verified", tuple(person.groups))


def _user(outer: Members) -> tuple[SessionUser | None, str | None]:
    given = outer.object("user")
    if given is None:
        return None, None
    members = Members(given, ("id", "groups", "id_token"), "/user")
    name = members.text("id", required=True, least=1, limit=256)
    groups = members.texts("groups", limit=256) or ()
    id_token = members.text("id_token", limit=8192)
    outer.errors += members.errors
    return (None if name is None else SessionUser(name, "asserted", groups)), id_token


def _tools(given: JsonTree, outer: Members) -> list[SessionTool] | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > TOOLS_LIMIT:
        outer.wrong("tools", f"expected a list of at most {TOOLS_LIMIT} tools")
        return None
    tools = []
    for number, each in enumerate(given):
        if not isinstance(each, dict):
            outer.wrong(f"tools/{number}", "expected an object")
            continue
        members = Members(each, ("name", "description", "input_schema"), f"/tools/{number}")
        name = members.text("name", required=True, least=1, limit=200)
        description = members.text("description", limit=16 * 1024) or ""
        schema = members.object("input_schema")
        if schema is not None and len(dumps(schema)) > TOOL_BYTES:
            members.wrong("input_schema", f"expected at most {TOOL_BYTES} bytes")
        outer.errors += members.errors
        if name is not None:
            tools.append(SessionTool(name, description, schema))
    names = [tool.name for tool in tools]
    if len(set(names)) != len(names):
        outer.wrong("tools", "expected each name once")
    return tools
