from __future__ import annotations

import pytest

from aegis.db.database import Database

TENANT = "SELECT coalesce(current_setting('aegis.tenant', true), '')"


async def _one_connection(url: str) -> Database:
    return await Database.connect(url, min_size=1, max_size=1)


async def test_the_tenant_of_a_scope_does_not_outlive_it(database: Database) -> None:
    only = await _one_connection(database.url)
    async with only.scope("ten_a") as connection:
        assert await connection.fetchval(TENANT) == "ten_a"
        first = await connection.fetchval("SELECT pg_backend_pid()")
    async with only.unscoped() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == first
        assert await connection.fetchval(TENANT) == ""
    await only.close()


async def test_a_scope_that_failed_leaves_neither_tenant_nor_transaction(database: Database) -> None:
    only = await _one_connection(database.url)
    with pytest.raises(ZeroDivisionError):
        async with only.scope("ten_a"):
            raise ZeroDivisionError
    async with only.unscoped() as connection:
        assert await connection.fetchval(TENANT) == ""
        assert not connection.is_in_transaction()
    await only.close()


async def test_a_transaction_that_was_left_open_is_rolled_back(database: Database) -> None:
    only = await _one_connection(database.url)
    async with only.unscoped() as connection:
        await connection.execute("BEGIN")
        await connection.execute("SELECT set_config('aegis.tenant', 'ten_a', true)")
    async with only.unscoped() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval(TENANT) == ""
    await only.close()
