from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest_asyncio
import redis.asyncio as redis

from aegis.behavior.baseline import Event, load
from aegis.behavior.follower import BaselineFollower
from aegis.db.database import Database
from aegis.kernel.ids import new_id

NOON = 1_780_315_200_000_000


@pytest_asyncio.fixture
async def tenant(postgres: Any) -> AsyncIterator[str]:
    connection = await asyncpg.connect(postgres.owner_url)
    made, organisation = new_id("ten"), new_id("org")
    await connection.execute("INSERT INTO control.organisations (id, name) VALUES ($1, 'o')", organisation)
    async with connection.transaction():
        await connection.execute("SELECT set_config('aegis.tenant', $1, true)", made)
        await connection.execute(
            "INSERT INTO control.tenants (id, organisation, name, label_key) VALUES ($1, $2, 't', $3)",
            made, organisation, bytes(32),
        )  # fmt: skip
    await connection.close()
    yield made


@pytest_asyncio.fixture
async def store(valkey_url: str) -> AsyncIterator[redis.Redis]:
    client = redis.from_url(valkey_url)
    yield client
    await client.aclose()


def key(tenant: str, agent: str) -> str:
    return f"test:{{{tenant}}}:{agent}"


def calls(first: int, count: int, agent: str = "a") -> list[Event]:
    return [Event(n, NOON + n * 1_000_000, agent, f"t{n % 3}") for n in range(first, first + count)]


async def test_table_and_copy_learn_the_same(database: Database, store: redis.Redis, tenant: str) -> None:
    follower = BaselineFollower(database, store, key)
    await follower.follow(tenant, calls(0, 5) + calls(5, 2, "b"))
    await follower.follow(tenant, calls(7, 3))
    copy = load(await store.get(key(tenant, "a")))
    assert copy is not None
    assert (copy.calls, copy.last_us) == (8, NOON + 9_000_000)
    assert (load(await store.get(key(tenant, "b"))) or copy).calls == 2
    assert await store.ttl(key(tenant, "a")) > 0


async def test_the_same_events_again_teach_nothing(database: Database, store: redis.Redis, tenant: str) -> None:
    follower = BaselineFollower(database, store, key)
    await follower.follow(tenant, calls(0, 5))
    await follower.follow(tenant, calls(0, 6))
    learnt = load(await store.get(key(tenant, "a")))
    assert learnt is not None
    assert learnt.calls == 6


async def test_an_emptied_store_gets_its_copies_back(database: Database, store: redis.Redis, tenant: str) -> None:
    follower = BaselineFollower(database, store, key)
    await follower.follow(tenant, calls(0, 5) + calls(5, 2, "b"))
    await store.delete(key(tenant, "a"), key(tenant, "b"))
    await follower.republish(tenant)
    assert [load(await store.get(key(tenant, agent))).calls for agent in "ab"] == [5, 2]  # type: ignore[union-attr]


async def test_nothing_to_learn_is_nothing_to_do(database: Database, store: redis.Redis, tenant: str) -> None:
    await BaselineFollower(database, store, key).follow(tenant, [])
    assert await store.get(key(tenant, "a")) is None
