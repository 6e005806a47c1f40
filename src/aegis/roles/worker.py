"""A worker process: follows the log, closes what nobody reported, sweeps. Slow work, away from the doors.

Any number may run: cursors are locked rows, closing a decision twice is refused by the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aegis.audit import keys as log_keys
from aegis.audit.committer import Committer
from aegis.behavior.baseline import Event
from aegis.behavior.follower import BaselineFollower
from aegis.config import Config
from aegis.db.database import Database
from aegis.db.statements import statements
from aegis.kernel.clock import now_us
from aegis.kernel.ids import uuid7
from aegis.kernel.record import Unavailable
from aegis.kernel.tenancy import UnknownTenant, ViewUnavailable
from aegis.pipeline.idempotency import Idempotency
from aegis.pipeline.outcomes import Closer
from aegis.pipeline.recorder import Recorder
from aegis.quota.valkey import baseline_key
from aegis.roles.front import READY
from aegis.roles.logs import log_to_stderr
from aegis.tenants.processes import Processes
from aegis.tenants.views import Views

SQL = statements("aegis.behavior", "events.sql")
FOLLOWER = "baselines"
PAGE = 500
IDLE_S = 0.5
CLOSE_EVERY_S = 5.0
SWEEP_EVERY_S = 3600.0
MARK = "aegis:baselines-are-here"
PASSING = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, Unavailable,
           UnknownTenant, ViewUnavailable)  # fmt: skip
log = logging.getLogger("aegis.worker")


def main(config: Config, *, channel: socket.socket | None = None) -> None:
    """Returns after SIGTERM, SIGINT or the end of `channel`."""
    log_to_stderr(config.log_level)
    uvloop.run(_live(config, channel))


async def _live(config: Config, channel: socket.socket | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        work = await build(config, stack)
        if channel is not None:
            channel.setblocking(False)
            loop.add_reader(channel.fileno(), stop.set)  # nothing is ever sent to a worker: readable means its end
            channel.send(READY)
        tasks = [asyncio.create_task(each) for each in work]
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, *tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def build(config: Config, stack: AsyncExitStack) -> tuple[Coroutine[Any, Any, None], ...]:
    """The loops of a worker. Raises what can't be had."""
    keys = log_keys.load(Path(config.keys.dir), create=False)
    database = await Database.connect(
        config.database_url, direct_url=config.direct_url, max_size=3, pooled=config.database_pooled
    )
    stack.push_async_callback(database.close)
    client = Redis.from_url(config.redis_url, socket_timeout=2.0, socket_connect_timeout=1.0)
    stack.push_async_callback(client.aclose)
    views = Views(database)
    processes = Processes(database, "worker")
    stack.push_async_callback(processes.leave)
    await processes.join()
    committer = Committer(database, keys, instance=str(processes.id), clock=now_us)
    stack.push_async_callback(committer.close)
    await committer.start()
    closer = Closer(database, Recorder(committer, os.urandom), now_us)
    baselines = Baselines(database, client, BaselineFollower(database, client, baseline_key))
    sweeping = Sweeping(database, Idempotency(database, processes.id))
    return (
        _forever("baselines", baselines.follow, IDLE_S),
        _forever("copies", baselines.restore, CLOSE_EVERY_S),
        _forever("overdue outcomes", lambda: closer.close_overdue(views.get), CLOSE_EVERY_S),
        _forever("expired keys", sweeping.sweep, SWEEP_EVERY_S),
    )


async def _forever(name: str, work: Callable[[], Awaitable[Any]], pause_s: float) -> None:
    """A store that is away is waited for; anything else ends the process, which is started anew."""
    while True:
        try:
            await work()
        except PASSING as error:
            log.warning("%s: %s", name, type(error).__name__)
        await asyncio.sleep(pause_s)


class Baselines:
    """Reads allowed decisions behind each tenant's cursor and has them learnt."""

    def __init__(self, database: Database, client: Redis, follower: BaselineFollower) -> None:
        self._database, self._client, self._follower = database, client, follower
        self._behind: set[str] = set()

    async def follow(self) -> None:
        async with self._database.unscoped() as connection:
            self._behind |= {row["tenant"] for row in await connection.fetch(SQL.news, PAGE)}
        for tenant in sorted(self._behind):
            if await self._page(tenant) < PAGE:
                self._behind.discard(tenant)

    async def restore(self) -> None:
        """Copies everything again after the bucket store was emptied, and looks once at every tenant's cursor."""
        if await self._client.get(MARK):
            return
        async with self._database.unscoped() as connection:
            tenants = [row["id"] for row in await connection.fetch("SELECT id FROM control.all_tenants()")]
        for tenant in tenants:
            await self._follower.republish(tenant)
        self._behind |= set(tenants)
        await self._client.set(MARK, uuid7())

    async def _page(self, tenant: str) -> int:
        """Learns at most one page; returns how many entries it had. The cursor's row is locked meanwhile."""
        async with self._database.scope(tenant) as connection:
            size = await connection.fetchval(SQL.cursor, tenant, FOLLOWER)
            entries = await connection.fetch(SQL.allowed, tenant, size, PAGE)
            if entries:
                await self._follower.follow(tenant, [_event(entry) for entry in entries if entry["is_allowed"]])
                await connection.execute(SQL.advance, tenant, FOLLOWER, entries[-1]["seq"] + 1)
        return len(entries)


class Sweeping:
    def __init__(self, database: Database, idempotency: Idempotency) -> None:
        self._database, self._idempotency = database, idempotency

    async def sweep(self) -> None:
        async with self._database.unscoped() as connection:
            tenants = [row["id"] for row in await connection.fetch("SELECT id FROM control.all_tenants()")]
        for tenant in tenants:
            await self._idempotency.sweep(tenant)


def _event(entry: Any) -> Event:
    resource, micro_usd = None, 0
    with suppress(KeyError, TypeError, ValueError):
        openings = json.loads(entry["body"])["openings"]
        resource = openings["inputs"]["payload"]["resource"]
        micro_usd = openings["state"]["payload"]["rate_limit"]["reservation"]["micro_usd"]
    return Event(
        seq=entry["seq"],
        ts_us=entry["ts"],
        agent=entry["agent"],
        tool=entry["tool"] or "",
        resource="" if resource is None else f"{zlib.crc32(resource.encode()):08x}",
        micro_usd=micro_usd,
        team=entry["team"],
    )
