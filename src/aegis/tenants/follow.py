"""Keeps the views fresh by three ways that fail apart: LISTEN, Redis pub/sub, and a poll each second.

Any one of them is enough. Each only says that something changed; what changed is read from PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aegis.db.database import Database
from aegis.db.statements import statements
from aegis.kernel.scope import kill_order, parse_kill_order
from aegis.kernel.tenancy import UnknownTenant, ViewUnavailable
from aegis.tenants.views import Views

SQL = statements("aegis.tenants", "follow.sql")
CHANNEL = "aegis_control"
"""The name in PostgreSQL and in Redis. Payloads: `<tenant> <version>`, and in Redis `kill <tenant> <scope> <epoch>`."""

POLL_S = 1.0
CONNECT_S = 3.0
HEARTBEAT_S = 2.0
MAX_REFRESHES_AT_ONCE = 4
MAX_PAYLOAD = 4096
MAX_PENDING = 10_000

OnKill = Callable[[str, str, int], None]
_STORE_ERRORS = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

log = logging.getLogger("aegis.tenants.follow")


async def announce(client: Redis, tenant: str, version: int) -> None:
    """Tells the other processes through Redis. Raises nothing: PostgreSQL's NOTIFY and the poll tell as well."""
    await _publish(client, f"{tenant} {version}")


async def announce_kill(client: Redis, tenant: str, scope: str, epoch: int) -> bool:
    """Tells every process to cancel what runs in `scope`, whatever PostgreSQL does. False when Redis is away."""
    return await _publish(client, kill_order(tenant, scope, epoch))


class Follower:
    """Follows what people change. `start` returns once the first poll is done or has failed."""

    def __init__(self, views: Views, database: Database, client: Redis | None = None) -> None:
        self._views, self._database, self._client = views, database, client
        self._on_kill: list[OnKill] = []
        self._pending: dict[str, tuple[int, int]] = {}
        self._news = asyncio.Event()
        self._poll_now = asyncio.Event()
        self._polled: dict[str, tuple[int, int]] = {}
        self._polled_at: float | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.is_listening = False
        self.is_subscribed = False

    def on_kill(self, callback: OnKill) -> None:
        """`callback(tenant, scope, epoch)` for each kill order that came through Redis; it must not raise nor wait."""
        self._on_kill.append(callback)

    @property
    def polled_s_ago(self) -> float:
        """Seconds since PostgreSQL last confirmed every version; infinite before the first time."""
        return float("inf") if self._polled_at is None else time.monotonic() - self._polled_at

    async def start(self) -> None:
        with contextlib.suppress(*_STORE_ERRORS):
            await self._poll()
        ways: list[Callable[[], Coroutine[Any, Any, None]]]
        ways = [self._refresh_forever, self._poll_forever, self._listen_forever]
        if self._client is not None:
            ways.append(self._subscribe_forever)
        self._tasks = [asyncio.create_task(way(), name=f"follow.{way.__name__}") for way in ways]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    # what came in

    def _heard(self, payload: str) -> None:
        words = payload.split(" ") if len(payload) <= MAX_PAYLOAD else []
        if words and words[0] == "kill":
            order = parse_kill_order(payload)
            for callback in self._on_kill if order is not None else ():
                assert order is not None
                callback(*order)
        elif len(words) == 2 and words[1].isascii() and words[1].isdigit():
            self._want(words[0], int(words[1][:18]))

    def _want(self, tenant: str, version: int, epoch: int = 0) -> None:
        view = self._views.peek(tenant)
        is_news = view is None or view.version < version or view.kill_epoch < epoch
        if is_news and (tenant in self._pending or len(self._pending) < MAX_PENDING):
            known = self._pending.get(tenant, (0, 0))
            self._pending[tenant] = max(version, known[0]), max(epoch, known[1])
            self._news.set()

    async def _refresh_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            wanted, self._pending = self._pending, {}
            batch = list(wanted.items())
            for start in range(0, len(batch), MAX_REFRESHES_AT_ONCE):
                await asyncio.gather(
                    *(self._refresh(tenant, *wants) for tenant, wants in batch[start : start + MAX_REFRESHES_AT_ONCE])
                )

    async def _refresh(self, tenant: str, version: int, epoch: int) -> None:
        # What fails here is found again by the next poll: its versions stay ahead of the view's.
        with contextlib.suppress(UnknownTenant, ViewUnavailable):
            await self._views.refresh(tenant, at_least_version=version, at_least_epoch=epoch)

    # the poll

    async def _poll_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poll_now.wait(), POLL_S)
            self._poll_now.clear()
            try:
                await self._poll()
            except _STORE_ERRORS as error:
                log.warning("couldn't poll the tenants: %s", type(error).__name__)

    async def _poll(self) -> None:
        async with asyncio.timeout(CONNECT_S), self._database.unscoped() as connection:
            records = await connection.fetch(SQL.poll)
        before, self._polled = self._polled, {r["id"]: (r["version"], r["kill_epoch"] or 0) for r in records}
        self._views.list_known(self._polled)
        for tenant, (version, epoch) in self._polled.items():
            is_held = self._views.peek(tenant) is not None
            if is_held or before.get(tenant, (version, epoch)) != (version, epoch):
                self._want(tenant, version, epoch)
        self._polled_at = time.monotonic()

    # LISTEN

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except _STORE_ERRORS as error:
                log.warning("couldn't listen to PostgreSQL: %s", type(error).__name__)
            self.is_listening = False
            await asyncio.sleep(POLL_S)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._database.direct_url, timeout=CONNECT_S, command_timeout=HEARTBEAT_S)
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        try:
            await connection.add_listener(CHANNEL, lambda _c, _p, _ch, payload: self._heard(str(payload)))
            self.is_listening = True
            self._poll_now.set()  # what was said while nobody listened
            while not gone.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), HEARTBEAT_S)
                    return
                await connection.execute("SELECT 1")  # a connection that died without a word
        finally:
            connection.terminate()

    # Redis

    async def _subscribe_forever(self) -> None:
        while True:
            try:
                await self._subscribe()
            except (TimeoutError, OSError, RedisError) as error:
                log.warning("couldn't subscribe to Redis: %s", type(error).__name__)
            self.is_subscribed = False
            await asyncio.sleep(POLL_S)

    async def _subscribe(self) -> None:
        assert self._client is not None
        async with self._client.pubsub() as channel:
            async with asyncio.timeout(CONNECT_S):
                await channel.subscribe(CHANNEL)
            while True:
                message = await channel.get_message(timeout=HEARTBEAT_S)
                if message is None:
                    async with asyncio.timeout(CONNECT_S):
                        await channel.ping()
                elif message["type"] == "subscribe":
                    self.is_subscribed = True
                elif message["type"] == "message":
                    self._heard(_text(message["data"]))


def _text(payload: bytes | str) -> str:
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload


async def _publish(client: Redis, payload: str) -> bool:
    try:
        async with asyncio.timeout(1.0):
            await client.publish(CHANNEL, payload)
    except (TimeoutError, OSError, RedisError):
        return False
    return True
