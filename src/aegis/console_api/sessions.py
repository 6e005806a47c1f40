"""Sessions as they stand, and their end."""

from __future__ import annotations

from typing import Any

from aegis.console_api.documents import settled
from aegis.console_api.routes import Ask, Reply, Route
from aegis.identity.roles import Permission, may
from aegis.identity.sessions import LIFETIME_US, SessionFacts
from aegis.kernel.clock import iso
from aegis.kernel.problems import Problem

P = Permission


async def _own(ask: Ask) -> SessionFacts:
    """Raises Problem 404 for a session that isn't there, or is another agent's."""
    found = await ask.services.sessions.find(ask.tenant, ask.params["id"])
    is_own = found is not None and ask.principal.subject in (found.agent, found.opened_by)
    if found is None or not (is_own or may(ask.principal.role, P.READ_DECISIONS)):
        raise Problem(404, "sessions.unknown", "there is no such session")
    return found


async def get_session(ask: Ask) -> Reply:
    found = await _own(ask)
    user = found.user
    body: dict[str, Any] = {
        "session_id": found.id,
        "agent": found.agent,
        "team": found.team,
        "intent": found.intent,
        "user": None if user is None else {"id": user.id, "known": user.known, "groups": list(user.groups)},
        "tools": None if found.tools is None else [tool.name for tool in found.tools],
        "created_at": iso(found.created_at),
        "expires_at": iso(found.created_at + LIFETIME_US),
        "ended": found.has_ended or found.id in ask.view.ended_sessions,
    }
    return Reply(body=body)


async def end_session(ask: Ask) -> Reply:
    found = await _own(ask)
    async with ask.services.ledger.transaction(ask.tenant) as change:
        if await ask.services.sessions.end(change.connection, ask.tenant, found.id):
            await change.append(ask.services.change(ask.principal, "sessions.end", id=found.id))
    await settled(ask)
    return Reply(204)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/sessions/{id}", get_session, (P.READ_OWN, P.READ_DECISIONS, P.OPEN_SESSION_FOR), "one session"),
    Route("DELETE", "/v1/sessions/{id}", end_session, (P.OPEN_SESSION, P.OPEN_SESSION_FOR, P.KILL), "ends a session",
          status=204),
)  # fmt: skip
