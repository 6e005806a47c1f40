"""This process's pictures of the tenants: read from memory, replaced whole when something changed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from aegis.db.database import Database
from aegis.db.statements import statements
from aegis.kernel.clock import now_us
from aegis.kernel.tenancy import TenantView, UnknownTenant, ViewUnavailable
from aegis.tenants.assemble import Held, Row, assemble

SQL = statements("aegis.tenants", "views.sql")

LOAD_S = 2.0
MAX_LOADS_AT_ONCE = 8
MAX_UNKNOWN = 4096
UNKNOWN_S = 5.0
MAX_STRANGERS_A_SECOND = 50
"""Look-ups of ids that the last poll didn't list: enough for tenants made a moment ago, no burden when guessed."""

_ID = re.compile(r"ten_(?:[a-z2-7]{16}|operator)")

OnChange = Callable[[str, TenantView | None, TenantView], None]


@dataclass(slots=True)
class _Strangers:
    """Ids that don't exist, and how many of them may be asked for in this second."""

    seen: OrderedDict[str, float] = field(default_factory=OrderedDict)
    second: int = 0
    asked: int = 0

    def remembers(self, tenant: str, now: float) -> bool:
        until = self.seen.get(tenant)
        return until is not None and until > now

    def remember(self, tenant: str, now: float) -> None:
        self.seen[tenant] = now + UNKNOWN_S
        self.seen.move_to_end(tenant)
        while len(self.seen) > MAX_UNKNOWN:
            self.seen.popitem(last=False)

    def may_ask(self, now: float) -> bool:
        if int(now) != self.second:
            self.second, self.asked = int(now), 0
        self.asked += 1
        return self.asked <= MAX_STRANGERS_A_SECOND


class Views:
    """Holds one `TenantView` a tenant. A view never goes back: neither its version nor its kill epoch.

    When PostgreSQL is away the last views stay; the log refuses to append, so nothing runs on a stale one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, Held] = {}
        self._views: dict[str, TenantView] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loads = asyncio.Semaphore(MAX_LOADS_AT_ONCE)
        self._strangers = _Strangers()
        self._listed: frozenset[str] | None = None
        self._subscribers: list[OnChange] = []

    def peek(self, tenant: str) -> TenantView | None:
        """The view in memory: one dict look-up, no wait."""
        return self._views.get(tenant)

    def held(self) -> tuple[TenantView, ...]:
        return tuple(self._views.values())

    async def get(self, tenant: str) -> TenantView:
        """The view in memory, loaded where it is missing. Raises UnknownTenant or ViewUnavailable (within 2 s)."""
        view = self._views.get(tenant)
        return view if view is not None else await self._first(tenant)

    async def with_agent(self, tenant: str, agent: str | None) -> TenantView:
        """As `get`, read again where the view lacks `agent`: it may have been made through another process just now.

        A view that can't be read again is answered as it is, without the agent.
        """
        view = await self.get(tenant)
        if agent is None or agent in view.agents:
            return view
        try:
            return await self.refresh(tenant)
        except ViewUnavailable:
            return view

    async def refresh(
        self, tenant: str, at_least_version: int | None = None, at_least_epoch: int | None = None
    ) -> TenantView:
        """The view, at least as new as asked; with nothing asked it is read again. One read at a time a tenant.

        Raises UnknownTenant, or ViewUnavailable when it couldn't be read, or is older than what was asked for.
        """
        lock = self._locks.setdefault(tenant, asyncio.Lock())
        try:
            async with asyncio.timeout(LOAD_S), lock:
                view = self._views.get(tenant)
                if view is None or not _satisfies(view, at_least_version, at_least_epoch):
                    view = await self._load(tenant)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ViewUnavailable(f"couldn't read tenant {tenant}: {type(error).__name__}") from error
        finally:
            if tenant not in self._views and not lock.locked():
                self._locks.pop(tenant, None)
        if not _satisfies(view, at_least_version or 0, at_least_epoch):
            raise ViewUnavailable(
                f"couldn't read tenant {tenant}: expected version {at_least_version} and epoch {at_least_epoch},"
                f" got {view.version} and {view.kill_epoch}"
            )
        return view

    def subscribe(self, callback: OnChange) -> Callable[[], None]:
        """`callback(tenant, old, new)` runs after each replacement, in the event loop; it must not raise nor wait.

        Answers what ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def list_known(self, tenants: Iterable[str]) -> None:
        """Tells which tenants exist, so that others needn't be looked for (the follower's poll)."""
        self._listed = frozenset(tenants)

    async def _first(self, tenant: str) -> TenantView:
        now = time.monotonic()
        if _ID.fullmatch(tenant) is None or self._strangers.remembers(tenant, now):
            raise UnknownTenant(tenant)
        is_listed = self._listed is not None and tenant in self._listed
        if not is_listed and not self._strangers.may_ask(now):
            raise UnknownTenant(tenant)
        try:
            return await self.refresh(tenant, at_least_version=0)
        except UnknownTenant:
            self._strangers.remember(tenant, now)
            raise

    async def _load(self, tenant: str) -> TenantView:
        before = self._held.get(tenant)
        async with self._loads, self._database.scope(tenant) as connection:
            records = await connection.fetch(SQL.load, tenant, before.view.version if before else -1)
        after = assemble(tenant, before, map(_row, records), now_us())
        if after is None:
            raise UnknownTenant(tenant)
        old, new = before.view if before else None, after.view
        if old is not None:
            if (new.version, new.kill_epoch) == (old.version, old.kill_epoch):
                return old
            if new.version < old.version or new.kill_epoch < old.kill_epoch:
                raise ViewUnavailable(f"couldn't take tenant {tenant}: expected version {old.version} or more")
        self._held[tenant] = after
        self._views[tenant] = new
        for callback in tuple(self._subscribers):
            callback(tenant, old, new)
        return new


def _satisfies(view: TenantView, version: int | None, epoch: int | None) -> bool:
    if version is None and epoch is None:
        return False
    return view.version >= (version or 0) and view.kill_epoch >= (epoch or 0)


def _row(record: Any) -> Row:
    return Row(record["kind"], record["key"], record["version"], record["gone"], json.loads(record["body"]))
