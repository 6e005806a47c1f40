"""Trust on first use: the first definition of a tool that an agent brings is pinned; a later one is compared."""

from __future__ import annotations

from collections import OrderedDict

from aegis.db.database import Database
from aegis.db.statements import statements

SQL = statements("aegis.tenants", "pins.sql")
REMEMBERED = 50_000


class Pins:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    async def pinned(self, tenant: str, agent: str, tool: str, digest: str) -> str:
        """The pinned digest of `tool` for `agent`; `digest` itself when it is the first. Pins never change."""
        key = (tenant, agent, tool)
        known = self._known.get(key)
        if known is None:
            async with self._database.scope(tenant) as connection:
                known = await connection.fetchval(SQL.pin, tenant, agent, tool, digest)
            self._known[key] = known
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known
