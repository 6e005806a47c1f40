"""Sessions: one task of one agent. Ids are minted and signed here, so a forged one costs no look-up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.ids import new_id
from aegis.kernel.problems import Problem

SQL = statements("aegis.identity", "sessions.sql")

LIFETIME_US = 24 * 3600 * 1_000_000
"""A session ends after this long without a call."""
KEPT_US = 10 * 60 * 1_000_000
"""How long facts are believed without a look; shorter than views name ended sessions."""
TOUCH_US = 60 * 1_000_000
MAX_KEPT = 10_000
FIND_S = 2.0
_ID = re.compile(r"ses_([a-z2-7]{16})([a-z2-7]{16})")


class SessionsUnavailable(Exception):
    """The store didn't answer in time."""


@dataclass(frozen=True, slots=True)
class SessionUser:
    """The human whose task it is. `known`: `verified` by a configured issuer, or `asserted` by the harness."""

    id: str
    known: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionTool:
    name: str
    description: str = ""
    input_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What was said when the session was opened. `tools` None: the list is open."""

    id: str
    tenant: str
    agent: str
    opened_by: str
    created_at: MicroSeconds
    team: str | None = None
    user: SessionUser | None = None
    intent: str | None = None
    tools: tuple[SessionTool, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    has_ended: bool = False


@dataclass(slots=True)
class _Kept:
    facts: SessionFacts
    read_at: MicroSeconds
    last_call_at: MicroSeconds
    touched_at: MicroSeconds


class SessionIds:
    """`ses_`, 80 random bits, and 80 bits of a MAC over tenant and them. `key` is 32 bytes, the same everywhere."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"aegis-session-ids", hashlib.sha256)

    def mint(self, tenant: str) -> str:
        base = new_id("ses")
        return base + self._mac(tenant, base)

    def is_genuine(self, tenant: str, session: str) -> bool:
        found = _ID.fullmatch(session)
        return found is not None and hmac.compare_digest(self._mac(tenant, f"ses_{found[1]}"), found[2])

    def _mac(self, tenant: str, base: str) -> str:
        mac = hmac.digest(self._key, f"{tenant}\x00{base}".encode(), hashlib.sha256)
        return base64.b32encode(mac[:10]).decode("ascii").lower()


class Sessions:
    """Opens, finds and ends sessions. Facts are kept for ten minutes; views say what ended since."""

    def __init__(self, database: Database, key: bytes, clock: Callable[[], MicroSeconds]) -> None:
        self._database, self._clock = database, clock
        self.ids = SessionIds(key)
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._touches: set[asyncio.Task[None]] = set()

    async def open(
        self,
        tenant: str,
        *,
        agent: str,
        opened_by: str,
        team: str | None = None,
        user: SessionUser | None = None,
        intent: str | None = None,
        tools: Sequence[SessionTool] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> SessionFacts:
        """Durable when it returns. Raises SessionsUnavailable. `expires_at` is `LIFETIME_US` after the last call."""
        facts = SessionFacts(
            id=self.ids.mint(tenant),
            tenant=tenant,
            agent=agent,
            opened_by=opened_by,
            created_at=0,
            team=team,
            user=user,
            intent=intent,
            tools=None if tools is None else tuple(tools),
            metadata=metadata or {},
        )
        try:
            async with asyncio.timeout(FIND_S), self._database.scope(tenant) as connection:
                began = await connection.fetchval(SQL.open, *_columns(facts))
        except asyncpg.DataError:
            raise Problem(422, "session.text", "expected text without the character U+0000") from None
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SessionsUnavailable(f"couldn't open a session: {type(error).__name__}") from error
        facts = replace(facts, created_at=began)
        self._keep(facts, began)
        return facts

    async def find(self, tenant: str, session: str) -> SessionFacts | None:
        """The session, which counts as a call in it; None for a forged or unknown id. Raises SessionsUnavailable."""
        now = self._clock()
        kept = self._kept.get((tenant, session))
        if kept is None or now - kept.read_at > KEPT_US:
            if not self.ids.is_genuine(tenant, session):
                return None
            kept = await self._read(tenant, session)
            if kept is None:
                return None
        else:
            self._kept.move_to_end((tenant, session))
        if kept.facts.has_ended or now - kept.last_call_at > LIFETIME_US:
            return replace(kept.facts, has_ended=True)
        kept.last_call_at = max(kept.last_call_at, now)
        if now - kept.touched_at > TOUCH_US:
            kept.touched_at = now
            self._touch_later(tenant, session, now)
        return kept.facts

    async def end(self, connection: Connection, tenant: str, session: str) -> bool:
        """Ends it in the caller's transaction; False when it had ended or never was."""
        if await connection.fetchval(SQL.end, tenant, session) is None:
            return False
        await connection.execute(SQL.tell_ended, tenant, session)
        self._kept.pop((tenant, session), None)
        return True

    async def close(self) -> None:
        """Waits for the times of last calls that are being written."""
        await asyncio.gather(*self._touches, return_exceptions=True)

    async def _read(self, tenant: str, session: str) -> _Kept | None:
        try:
            async with asyncio.timeout(FIND_S), self._database.scope(tenant) as connection:
                record = await connection.fetchrow(SQL.find, tenant, session)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SessionsUnavailable(f"couldn't read a session: {type(error).__name__}") from error
        return None if record is None else self._keep(_facts(tenant, session, record), record["last_call_at"])

    def _keep(self, facts: SessionFacts, last_call_at: MicroSeconds) -> _Kept:
        place = (facts.tenant, facts.id)
        kept = self._kept[place] = _Kept(facts, self._clock(), last_call_at, last_call_at)
        self._kept.move_to_end(place)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return kept

    def _touch_later(self, tenant: str, session: str, now: MicroSeconds) -> None:
        task = asyncio.get_running_loop().create_task(self._touch(tenant, session, now))
        self._touches.add(task)
        task.add_done_callback(self._touches.discard)

    async def _touch(self, tenant: str, session: str, now: MicroSeconds) -> None:
        """A lost touch shortens the session's life by a minute at most: the next call writes again."""
        try:
            async with asyncio.timeout(FIND_S), self._database.scope(tenant) as connection:
                await connection.execute(SQL.touch, tenant, session, now)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return


def _columns(facts: SessionFacts) -> tuple[Any, ...]:
    user = facts.user
    tools = None
    if facts.tools is not None:
        tools = json.dumps(
            [{"name": t.name, "description": t.description, "input_schema": t.input_schema} for t in facts.tools]
        )
    return (
        facts.tenant,
        facts.id,
        facts.agent,
        facts.team,
        None if user is None else user.id,
        None if user is None else user.known,
        [] if user is None else list(user.groups),
        facts.intent,
        tools,
        json.dumps(dict(facts.metadata)),
        facts.opened_by,
    )


def _facts(tenant: str, session: str, record: Any) -> SessionFacts:
    user, tools = None, None
    if record["user_id"] is not None:
        user = SessionUser(record["user_id"], record["user_known"] or "asserted", tuple(record["user_groups"]))
    if record["tools"] is not None:
        tools = tuple(SessionTool(**tool) for tool in json.loads(record["tools"]))
    return SessionFacts(
        id=session,
        tenant=tenant,
        agent=record["agent"],
        opened_by=record["opened_by"],
        created_at=record["created_at"],
        team=record["team"],
        user=user,
        intent=record["intent"],
        tools=tools,
        metadata=json.loads(record["metadata"]),
        has_ended=record["ended"],
    )
