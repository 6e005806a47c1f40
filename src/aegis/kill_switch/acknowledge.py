"""Obeys new switches in this process: stops what runs, then says so in the database."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from uuid import UUID

import asyncpg

from aegis.db.database import Database
from aegis.db.statements import statements
from aegis.kernel.tenancy import TenantView
from aegis.kill_switch.in_flight import InFlight

SQL = statements("aegis.kill_switch", "kill_switch.sql")
WRITE_S = 2.0
AGAIN_S = 0.25
TRIES = 20
MAX_ORDERS = 1024
_STORE_ERRORS = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
log = logging.getLogger("aegis.kill_switch")


class Obedience:
    """Plug `on_view` into `Views.subscribe` and `on_order` into `Follower.on_kill`.

    An acknowledgement is written even where nothing ran, and after the calls were told to stop, never before.
    """

    def __init__(self, database: Database, in_flight: InFlight, process: UUID) -> None:
        self._database, self._in_flight, self._process = database, in_flight, process
        self._writing: set[asyncio.Task[None]] = set()
        self._ordered: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def on_view(self, tenant: str, old: TenantView | None, new: TenantView) -> None:
        for scope, epoch, cancelled in self._in_flight.obey(tenant, old, new):
            earlier = self._ordered.pop((tenant, scope, epoch), 0)
            task = asyncio.get_running_loop().create_task(
                self._acknowledge(tenant, scope, epoch, cancelled + earlier), name="kill_switch.acknowledge"
            )
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    def on_order(self, tenant: str, scope: str, epoch: int) -> None:
        """An order through Redis: stops what runs at once; the view follows when PostgreSQL can be read."""
        count = self._in_flight.order(tenant, scope, epoch)
        key = (tenant, scope, epoch)
        self._ordered[key] = self._ordered.get(key, 0) + count
        while len(self._ordered) > MAX_ORDERS:
            self._ordered.popitem(last=False)

    def on_lapse(self) -> None:
        """For `Processes`: nobody waits for this process any more, so nothing may run in it unheard."""
        stopped = self._in_flight.cancel_all()
        log.warning("the lease lapsed: %d calls were stopped", stopped)

    async def close(self) -> None:
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _acknowledge(self, tenant: str, scope: str, epoch: int, cancelled: int) -> None:
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(WRITE_S), self._database.scope(tenant) as connection:
                    await connection.execute(SQL.acknowledge, tenant, scope, epoch, self._process, cancelled)
                return
            except _STORE_ERRORS as error:
                log.warning("couldn't acknowledge a kill: %s", type(error).__name__)
                await asyncio.sleep(AGAIN_S)
