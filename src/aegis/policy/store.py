"""Tenants' bundles in PostgreSQL: kept for ever under their digest, one active at a time.

Each change is one transaction; the tenant's version rises with it, which is how other processes hear of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.policy.bundle import digest_of
from aegis.policy.evaluate import BundleMissing

SQL = statements("aegis.policy", "store.sql")


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """`status`: draft, shadow, active, retired or suspended."""

    digest: str
    status: str
    created_at: datetime
    activated_at: datetime | None


class PolicyStore:
    """A `BundleSource`. Whoever drafts a bundle has it checked first: the store doesn't read it.

    A change is part of the caller's transaction where one of the tenant's scope is given as `within`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, tenant: str, digest: str) -> bytes:
        """Raises BundleMissing; OSError when the database is away."""
        try:
            async with self._database.scope(tenant) as connection:
                archive = await connection.fetchval(SQL.fetch, tenant, digest)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise OSError(f"couldn't fetch a bundle: {type(error).__name__}") from error
        if archive is None:
            raise BundleMissing(digest)
        return bytes(archive)

    async def draft(self, tenant: str, archive: bytes, *, within: Connection | None = None) -> tuple[str, str]:
        """Keeps `archive`; answers its digest and its status: a draft, or what it was when it is known."""
        digest = digest_of(archive)
        async with self._scope(tenant, within) as connection:
            await connection.execute(SQL.lock, tenant)
            await connection.execute(SQL.keep, tenant, digest, archive)
            return digest, str(await connection.fetchval(SQL.draft, tenant, digest))

    async def activate(self, tenant: str, digest: str, *, within: Connection | None = None) -> str | None:
        """Answers the digest that was active before. Raises BundleMissing: roll back then, and nothing has changed."""
        async with self._scope(tenant, within) as connection:
            await connection.execute(SQL.lock, tenant)
            before = await connection.fetchval(SQL.retire, tenant)
            if await connection.fetchval(SQL.activate, tenant, digest) is None:
                raise BundleMissing(digest)
            return None if before is None else str(before)

    async def shadow(self, tenant: str, digest: str) -> None:
        """Raises BundleMissing for a bundle that is not known, or is active."""
        async with self._database.scope(tenant) as connection:
            if await connection.fetchval(SQL.shadow, tenant, digest) is None:
                raise BundleMissing(digest)

    async def roll_back(self, tenant: str, *, within: Connection | None = None) -> str:
        """Makes the bundle active that was so before, and answers its digest. Raises BundleMissing without one."""
        async with self._scope(tenant, within) as connection:
            await connection.execute(SQL.lock, tenant)
            digest = await connection.fetchval(SQL.before, tenant)
            if digest is None:
                raise BundleMissing("no bundle was active before")
            await connection.fetchval(SQL.retire, tenant)
            await connection.fetchval(SQL.activate, tenant, digest)
            return str(digest)

    async def all_of(self, tenant: str) -> list[KeptPolicy]:
        """The newest first, at most 500."""
        async with self._database.scope(tenant) as connection:
            return _kept(await connection.fetch(SQL.all_of, tenant))

    @asynccontextmanager
    async def _scope(self, tenant: str, within: Connection | None) -> AsyncIterator[Connection]:
        if within is not None:
            yield within
            return
        async with self._database.scope(tenant) as connection:
            yield connection


def _kept(rows: list[asyncpg.Record]) -> list[KeptPolicy]:
    return [KeptPolicy(row["digest"], row["status"], row["created_at"], row["activated_at"]) for row in rows]
