import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from aegis.db.database import Database
from aegis.kernel.tenancy import TenantView
from aegis.tenants.accounts import NewTenant, create_agent
from aegis.tenants.follow import CHANNEL, Follower, announce, announce_kill
from aegis.tenants.views import Views

WITHIN_S = 15


@asynccontextmanager
async def following(views: Views, database: Database, client: Redis | None = None) -> AsyncIterator[Follower]:
    follower = Follower(views, database, client)
    await follower.start()
    try:
        yield follower
    finally:
        await follower.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.01)


async def add_agent(database: Database, tenant: NewTenant, name: str) -> str:
    async with database.scope(tenant.id) as connection:
        return (await create_agent(connection, tenant.id, name)).id


async def sees(views: Views, tenant: NewTenant, agent: str) -> None:
    def is_there() -> bool:
        view = views.peek(tenant.id)
        return view is not None and agent in view.agents

    await until(is_there)


async def test_a_change_is_seen_without_redis(database: Database, tenant: NewTenant) -> None:
    views = Views(database)
    await views.get(tenant.id)
    async with following(views, database) as follower:
        await until(lambda: follower.is_listening)
        await sees(views, tenant, await add_agent(database, tenant, "heard"))


async def test_a_tenant_that_nobody_asked_for_is_loaded_when_it_changes(database: Database, tenant: NewTenant) -> None:
    views = Views(database)
    async with following(views, database) as follower:
        await until(lambda: follower.is_listening)
        assert views.peek(tenant.id) is None
        await sees(views, tenant, await add_agent(database, tenant, "loaded"))


async def test_the_poll_alone_is_enough(database: Database, tenant: NewTenant) -> None:
    deaf = Database(database.pool, database.url, "postgresql://aegis_app@/aegis?host=/nowhere")
    views = Views(database)
    await views.get(tenant.id)
    async with following(views, deaf) as follower:
        await sees(views, tenant, await add_agent(database, tenant, "polled"))
        assert not follower.is_listening
        assert follower.polled_s_ago < WITHIN_S


async def test_redis_that_is_away_changes_nothing(database: Database, tenant: NewTenant) -> None:
    client = Redis.from_url("unix:///nowhere/valkey.sock")
    views = Views(database)
    await views.get(tenant.id)
    async with following(views, database, client) as follower:
        await sees(views, tenant, await add_agent(database, tenant, "anyway"))
        assert not follower.is_subscribed
    await announce(client, tenant.id, 7)
    assert await announce_kill(client, tenant.id, "tenant", 1) is False


async def test_a_change_that_was_made_while_postgres_was_away_is_seen_afterwards(
    database: Database, tenant: NewTenant, wire: Any
) -> None:
    through = await Database.connect(wire.url, min_size=1, max_size=3)
    try:
        views = Views(through)
        held = await views.get(tenant.id)
        async with following(views, through) as follower:
            await until(lambda: follower.is_listening)
            await wire.cut()
            await until(lambda: not follower.is_listening)
            agent = await add_agent(database, tenant, "missed")
            assert await views.get(tenant.id) is held
            await wire.mend()
            await sees(views, tenant, agent)
            await until(lambda: follower.is_listening)
    finally:
        through.pool.terminate()


async def test_a_listener_whose_server_process_died_listens_again(database: Database, tenant: NewTenant) -> None:
    views = Views(database)
    await views.get(tenant.id)
    async with following(views, database) as follower:
        await until(lambda: follower.is_listening)
        async with database.unscoped() as connection:
            killed = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE query ILIKE 'LISTEN%' OR query = 'SELECT 1'"
            )
        assert killed >= 1
        await sees(views, tenant, await add_agent(database, tenant, "again"))
        await until(lambda: follower.is_listening)


async def test_redis_tells_of_changes_and_of_kills(database: Database, tenant: NewTenant, valkey_url: str) -> None:
    client = Redis.from_url(valkey_url)
    deaf = Database(database.pool, database.url, "postgresql://aegis_app@/aegis?host=/nowhere")
    views, orders = Views(database), []
    seen: list[TenantView] = []
    views.subscribe(lambda _tenant, _old, new: seen.append(new))
    async with following(views, deaf, client) as follower:
        follower.on_kill(lambda *order: orders.append(order))
        await until(lambda: follower.is_subscribed)
        assert await announce_kill(client, tenant.id, "tool:rm -rf / 100%é", 9)
        await announce(client, tenant.id, 1)
        await until(lambda: orders and seen)
    await client.aclose()
    assert orders == [(tenant.id, "tool:rm -rf / 100%é", 9)]
    assert seen[0].tenant == tenant.id


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "ten_x",
        "ten_x -1",
        "ten_x ²",
        "ten_x 1 2",
        "kill",
        "kill ten_x tenant",
        "kill ten_x everything 1",
        "kill ten_x tenant 1 1",
        "kill * tenant 1",
        "x" * 100_000,
        b"\xff\xfe 1",
    ],
    ids=lambda payload: repr(payload[:24]),
)
async def test_what_is_no_message_is_passed_over(
    payload: str | bytes, database: Database, tenant: NewTenant, valkey_url: str
) -> None:
    client = Redis.from_url(valkey_url)
    views, orders = Views(database), []
    async with following(views, database, client) as follower:
        follower.on_kill(lambda *order: orders.append(order))
        await until(lambda: follower.is_subscribed)
        await client.publish(CHANNEL, payload)
        await announce_kill(client, tenant.id, "tenant", 1)  # in order: when this came, the other came before
        await until(lambda: orders)
    await client.aclose()
    assert orders == [(tenant.id, "tenant", 1)]
