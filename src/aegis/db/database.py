"""Connections to PostgreSQL, and the one way to a tenant's rows: `Database.scope(tenant)`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

Connection = Any  # asyncpg's connection, pooled or not: its stubs do not fit both

ACQUIRE_S = 2.0
COMMAND_S = 5.0


class Database:
    """A pool on the (possibly pooled) URL. Every query has a deadline; nothing is kept in the server's session.

    `statement_cache_size` is 0 behind a transaction pooler, where prepared statements don't outlive a transaction.
    """

    def __init__(self, pool: asyncpg.Pool, url: str, direct_url: str) -> None:
        self.pool = pool
        self.url = url
        self.direct_url = direct_url

    @classmethod
    async def connect(
        cls, url: str, *, direct_url: str | None = None, min_size: int = 1, max_size: int = 8, pooled: bool = False
    ) -> Database:
        """Raises OSError or asyncpg.PostgresError when the server can't be reached within 5 s."""
        pool = await asyncpg.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            timeout=COMMAND_S,
            command_timeout=COMMAND_S,
            statement_cache_size=0 if pooled else 256,
            server_settings=None if pooled else {"application_name": "aegis"},
            reset=_nothing_to_reset,
        )
        return cls(pool, url, direct_url or url)

    @asynccontextmanager
    async def scope(self, tenant: str) -> AsyncIterator[Connection]:
        """One transaction that sees `tenant` and no other. Commits at the end, rolls back on any exception."""
        with _told_as_away():
            async with self.pool.acquire(timeout=ACQUIRE_S) as connection, connection.transaction():
                await connection.execute("SELECT set_config('aegis.tenant', $1, true)", tenant)
                yield connection

    @asynccontextmanager
    async def unscoped(self) -> AsyncIterator[Connection]:
        """A connection that sees no tenant's rows: for the installation's tables and functions."""
        with _told_as_away():
            async with self.pool.acquire(timeout=ACQUIRE_S) as connection:
                yield connection

    async def close(self) -> None:
        await self.pool.close()


async def _nothing_to_reset(connection: Connection) -> None:
    """In place of a round trip at each release: every setting here is a transaction's own, and asyncpg has rolled an
    open transaction back before this is called. A transaction pooler would not reset anything either."""


@contextmanager
def _told_as_away() -> Iterator[None]:
    """A server that dies between two statements can leave asyncpg's client in a state that it calls its own error
    (asyncpg 0.32: `cannot switch to state ...`), which is none of the exceptions that mean a broken connection."""
    try:
        yield
    except asyncpg.InternalClientError as error:
        raise asyncpg.InterfaceError("the connection broke between two statements") from error
