"""Who is alive: each process holds a row with a lease. A kill waits for exactly these."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from aegis.db.database import Database
from aegis.db.statements import statements

SQL = statements("aegis.tenants", "processes.sql")
LEASE_S = 4.0
"""Shorter than a kill waits, and four renewals long: a process that misses them all is taken for dead."""
RENEW_S = 1.0

_STORE_ERRORS = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
log = logging.getLogger("aegis.tenants.processes")


@dataclass(frozen=True, slots=True)
class Process:
    id: uuid.UUID
    role: str
    host: str
    pid: int


class Processes:
    """This process's lease, and the list of those who hold one.

    `join` after the follower has started: from then on kills wait for this process's word.
    """

    def __init__(self, database: Database, role: str, *, on_lapse: Callable[[], None] | None = None) -> None:
        self.own = Process(uuid.uuid4(), role, socket.gethostname()[:255], os.getpid())
        self._database = database
        self._on_lapse = on_lapse
        self._held_until = 0.0
        self._has_lapsed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def id(self) -> uuid.UUID:
        return self.own.id

    @property
    def holds_lease(self) -> bool:
        """By this process's own clock, counted from before the renewal was sent: never longer than others believe."""
        return time.monotonic() < self._held_until

    async def join(self) -> None:
        """Takes the lease and keeps it. Raises what the store raises when it can't be taken at first."""
        await self.renew()
        self._task = asyncio.create_task(self._renew_forever(), name="processes.renew")

    async def renew(self) -> None:
        began = time.monotonic()
        own = self.own
        async with asyncio.timeout(LEASE_S / 2), self._database.unscoped() as connection:
            await connection.execute(SQL.join, own.id, own.role, own.host, own.pid, LEASE_S)
        self._held_until, self._has_lapsed = began + LEASE_S, False

    async def leave(self) -> None:
        """Gives the lease back; a store that is away lets it lapse instead."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._held_until = 0.0
        try:
            async with asyncio.timeout(LEASE_S / 2), self._database.unscoped() as connection:
                await connection.execute(SQL.leave, self.own.id)
                await connection.execute(SQL.sweep)
        except _STORE_ERRORS as error:
            log.warning("couldn't give the lease back: %s", type(error).__name__)

    async def live(self, role: str = "gateway") -> tuple[Process, ...]:
        async with self._database.unscoped() as connection:
            return tuple(Process(**record) for record in await connection.fetch(SQL.live, role))

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self.renew()
            except _STORE_ERRORS as error:
                log.warning("couldn't renew the lease: %s", type(error).__name__)
            if not self.holds_lease and not self._has_lapsed:
                self._has_lapsed = True
                if self._on_lapse is not None:
                    self._on_lapse()
