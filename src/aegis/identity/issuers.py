"""Which tenant an issuer belongs to: remembered, also that it belongs to none, and asked about seldom."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import asyncpg

from aegis.db.database import Database
from aegis.db.statements import statements
from aegis.kernel.clock import MicroSeconds

SQL = statements("aegis.identity", "issuers.sql")
KNOWN_US = 60 * 1_000_000
UNKNOWN_US = 5 * 1_000_000
MAX_REMEMBERED = 4096
MAX_QUESTIONS_A_SECOND = 20
MAX_LENGTH = 1024
ASK_S = 2.0


class IssuersUnavailable(Exception):
    """Whose issuer it is couldn't be found out now."""


class IssuerDirectory:
    """Names of issuers come from strangers, so both the memory and the questions are bounded."""

    def __init__(self, database: Database, clock: Callable[[], MicroSeconds]) -> None:
        self._database, self._clock = database, clock
        self._known: OrderedDict[str, tuple[str | None, MicroSeconds]] = OrderedDict()
        self._second, self._asked = 0, 0

    async def tenant_of(self, issuer: str) -> str | None:
        """None where it is nobody's. Raises IssuersUnavailable."""
        if len(issuer) > MAX_LENGTH:
            return None
        now = self._clock()
        tenant, until = self._known.get(issuer, (None, 0))
        if until > now:
            return tenant
        if now // 1_000_000 != self._second:
            self._second, self._asked = now // 1_000_000, 0
        self._asked += 1
        if self._asked > MAX_QUESTIONS_A_SECOND:
            raise IssuersUnavailable("too many unknown issuers in this second")
        try:
            async with asyncio.timeout(ASK_S), self._database.unscoped() as connection:
                found: str | None = await connection.fetchval(SQL.tenant_of_issuer, issuer)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise IssuersUnavailable(f"couldn't ask: {type(error).__name__}") from error
        self._known[issuer] = (found, now + (UNKNOWN_US if found is None else KNOWN_US))
        self._known.move_to_end(issuer)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return found

    def forget(self, issuer: str) -> None:
        self._known.pop(issuer, None)
