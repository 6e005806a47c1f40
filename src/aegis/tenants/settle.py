"""Waits until every gateway process knows a change, so that who was told "done" is believed by all of them.

Each process says in Redis which version of a tenant it has. Without Redis nobody waits: the poll of each process
closes the gap within a second, and kill switches, which can't wait that long, have acknowledgements of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aegis.kernel.tenancy import TenantView
from aegis.tenants.processes import Process

WAIT_S = 0.5
LOOK_S = 0.004
KEPT_S = 60


class Settling:
    """`live` lists the gateways that hold a lease. Plug `on_view` into `Views.subscribe`."""

    def __init__(self, client: Redis, own: str, live: Callable[[], Awaitable[tuple[Process, ...]]]) -> None:
        self._client, self._own, self._live = client, own, live
        self._telling: set[asyncio.Task[None]] = set()

    def on_view(self, tenant: str, old: TenantView | None, new: TenantView) -> None:
        task = asyncio.get_running_loop().create_task(self._tell(tenant, new.version), name="tenants.tell_version")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def wait(self, tenant: str, version: int) -> None:
        """Returns when all live gateways have at least `version`, after half a second, or when Redis is away."""
        try:
            async with asyncio.timeout(WAIT_S):
                others = [str(each.id) for each in await self._live() if str(each.id) != self._own]
                while others:
                    seen = await self._client.hmget(_key(tenant), others)
                    if all(each is not None and int(each) >= version for each in seen):
                        return
                    await asyncio.sleep(LOOK_S)
        except (TimeoutError, RedisError, OSError):
            return

    async def _tell(self, tenant: str, version: int) -> None:
        try:
            async with asyncio.timeout(WAIT_S), self._client.pipeline(transaction=False) as pipe:
                pipe.hset(_key(tenant), self._own, str(version))
                pipe.expire(_key(tenant), KEPT_S)
                await pipe.execute()
        except (TimeoutError, RedisError, OSError):
            return


def _key(tenant: str) -> str:
    return f"aegis:{{{tenant}}}:seen"
