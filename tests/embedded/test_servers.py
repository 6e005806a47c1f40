from __future__ import annotations

import redis.asyncio as redis

from aegis.db.database import Database


async def test_the_runtime_login_sees_the_schema_and_owns_nothing(database: Database) -> None:
    async with database.unscoped() as connection:
        assert await connection.fetchval("SELECT current_user") == "aegis_app"
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE tableowner = 'aegis_app'") == 0
        assert await connection.fetchval("SELECT count(*) FROM control.installation") in (0, 1)


async def test_valkey_answers_and_never_evicts(valkey_url: str) -> None:
    client = redis.from_url(valkey_url)
    assert await client.ping()
    assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    await client.aclose()
