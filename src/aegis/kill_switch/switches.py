"""Engages and releases switches: in the log and in the table by one transaction, then waits for everybody's word.

The order of the log is the proof: the kill row raises the head's epoch, and no allow that was judged under an older
epoch can be appended behind it. Telling the processes serves to stop what already runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.ids import uuid7
from aegis.kernel.jsontree import canonical, dumps
from aegis.kernel.problems import FieldError, Problem
from aegis.kernel.record import Appended, Draft, Ledger, Unavailable
from aegis.kernel.scope import parse_scope
from aegis.kill_switch.spool import Order, Spool, SpoolFull

SQL = statements("aegis.kill_switch", "kill_switch.sql")
WAIT_S = 4.5
"""Longer than a lease: who is silent so long is dead, or alive and named."""
LOOK_S = 0.02
READ_S = 2.0
MERGE_S = 1.0
MAX_REASON = 2000
MAX_LISTED = 1000
_PLAIN = re.compile(r"[A-Za-z0-9_.:/\-]{1,128}")
_STORE_ERRORS = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
log = logging.getLogger("aegis.kill_switch")

Tell = Callable[[str, str, int], Awaitable[bool]]
"""`tell(tenant, scope, epoch)`: the order through Redis, to whoever listens. False when Redis is away."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A gateway that obeyed, and how many running calls it stopped."""

    process: UUID
    host: str | None
    pid: int | None
    at: MicroSeconds
    cancelled: int


@dataclass(frozen=True, slots=True)
class Silent:
    """A gateway that has not answered: its lease lapsed meanwhile, or it still holds one (`is_alive`)."""

    process: UUID
    host: str
    pid: int
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Engaged:
    """`durable` False: the order is spooled here and was told through Redis (`told`); it has no epoch yet."""

    scope: str
    epoch: int | None
    durable: bool
    acknowledged: tuple[Acknowledged, ...] = ()
    silent: tuple[Silent, ...] = ()
    appended: Appended | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    scope: str
    epoch: int
    reason: str
    engaged_by: str
    engaged_at: MicroSeconds
    acknowledged: tuple[Acknowledged, ...]


@dataclass(frozen=True, slots=True)
class Released:
    scope: str
    appended: Appended


class Switches:
    def __init__(
        self, database: Database, ledger: Ledger, *, tell: Tell | None = None, spool: Spool | None = None,
        role: str = "gateway",
    ) -> None:  # fmt: skip
        self._database, self._ledger, self._tell, self._spool, self._role = database, ledger, tell, spool, role

    async def engage(self, tenant: str, scope: str, reason: str, by: str) -> Engaged:
        """Returns when every live gateway has obeyed, or its lease has lapsed; the silent ones are named.

        With PostgreSQL away the order is spooled and told through Redis: `durable` is False. Raises Problem 422
        for a bad scope or reason, and 503 when the order could neither be logged nor spooled.
        """
        check_order(scope, reason)
        try:
            epoch, appended = await self._log(tenant, scope, reason, by)
        except (Unavailable, *_STORE_ERRORS):
            return await self._engage_without_store(tenant, scope, reason, by)
        told = self._tell is not None and await self._tell(tenant, scope, epoch)
        acknowledged, silent = await self._wait(tenant, scope, epoch)
        return Engaged(scope, epoch, True, acknowledged, silent, appended, told)

    async def release(self, tenant: str, scope: str, reason: str, by: str) -> Released:
        """Raises Problem 404 where no such switch is engaged, 503 when it can't be logged."""
        check_order(scope, reason)
        try:
            async with self._ledger.transaction(tenant) as change:
                await change.connection.fetchval(SQL.hold_tenant, tenant)
                epoch = await change.connection.fetchval(SQL.release, tenant, scope, by)
                if epoch is None:
                    raise Problem(404, "kill_switch.not_engaged", "no such kill switch is engaged")
                more = {"releases": epoch, "epoch": await change.lock()}
                await change.append(order_row(tenant, "release", scope, reason, by, more))
        except (Unavailable, *_STORE_ERRORS) as error:
            raise Problem(503, "audit.unavailable", "the release couldn't be logged", retry_after_s=1) from error
        return Released(scope, change.appended[-1])

    async def engaged(self, tenant: str) -> tuple[Switch, ...]:
        """The engaged switches, newest first, with who obeyed when. At most 1,000. Raises Problem 503."""
        try:
            async with asyncio.timeout(READ_S), self._database.scope(tenant) as connection:
                records = await connection.fetch(SQL.engaged, tenant, MAX_LISTED)
                return tuple(
                    [
                        Switch(
                            **record,
                            acknowledged=await _acknowledged(connection, tenant, record["scope"], record["epoch"]),
                        )
                        for record in records
                    ]
                )
        except _STORE_ERRORS as error:
            raise Problem(503, "kill_switch.unavailable", "couldn't read the switches", retry_after_s=1) from error

    async def merge_spooled(self) -> int:
        """Logs the orders that were given while PostgreSQL was away; each leaves the spool once it is durable.

        One process of a host merges at a time. An order that the log never takes is set aside.
        """
        if self._spool is None or not self._spool.orders():
            return 0
        merged = 0
        with self._spool.alone() as is_alone:
            for order in self._spool.orders() if is_alone else ():
                try:
                    epoch, _ = await self._log(order.tenant, order.scope, order.reason, order.by, order)
                except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, ValueError) as error:
                    log.error("a spooled kill order was refused by the log: %s", type(error).__name__)
                    self._spool.refused(order)
                    continue
                except (Unavailable, *_STORE_ERRORS):
                    break
                self._spool.done(order)
                merged += 1
                if self._tell is not None:
                    await self._tell(order.tenant, order.scope, epoch)
        return merged

    async def merge_forever(self) -> None:
        """For the process's own task: looks each second whether spooled orders can be logged."""
        while True:
            await asyncio.sleep(MERGE_S)
            try:
                await self.merge_spooled()
            except OSError as error:
                log.error("couldn't read the spool: %s", type(error).__name__)

    async def _log(
        self, tenant: str, scope: str, reason: str, by: str, late: Order | None = None
    ) -> tuple[int, Appended]:
        more = {} if late is None else {"spooled": late.id, "ordered_at": iso(late.at)}
        async with self._ledger.transaction(tenant) as change:
            await change.connection.fetchval(SQL.hold_tenant, tenant)
            epoch = await change.lock() + 1
            await change.connection.execute(SQL.engage, tenant, scope, epoch, reason, by)
            await change.append(order_row(tenant, "engage", scope, reason, by, more))
        appended = change.appended[-1]
        if appended.kill_epoch < epoch:
            raise RuntimeError(f"expected the log at kill epoch {epoch}, got {appended.kill_epoch}")
        return epoch, appended

    async def _engage_without_store(self, tenant: str, scope: str, reason: str, by: str) -> Engaged:
        if self._spool is None:
            raise Problem(503, "audit.unavailable", "the order couldn't be logged", retry_after_s=1)
        try:
            self._spool.add(tenant, scope, reason, by)
        except (OSError, SpoolFull) as error:
            raise Problem(503, "audit.unavailable", "the order couldn't be logged nor spooled") from error
        told = self._tell is not None and await self._tell(tenant, scope, 0)
        return Engaged(scope, None, False, told=told)

    async def _wait(self, tenant: str, scope: str, epoch: int) -> tuple[tuple[Acknowledged, ...], tuple[Silent, ...]]:
        """Asks until nobody who is alive is missing. Who joins after the order is not waited for: it has no older
        picture of the switches, and nothing runs in it yet."""
        deadline = time.monotonic() + WAIT_S
        acknowledged: tuple[Acknowledged, ...] = ()
        missing: dict[UUID, Silent] | None = None
        while True:
            alive: set[UUID] | None = None
            try:
                async with asyncio.timeout(READ_S), self._database.scope(tenant) as connection:
                    records = await connection.fetch(SQL.waiting_for, tenant, scope, epoch, self._role)
                    acknowledged = await _acknowledged(connection, tenant, scope, epoch)
                if missing is None:
                    missing = {r["id"]: Silent(r["id"], r["host"], r["pid"], True) for r in records}
                alive = {r["id"] for r in records} & missing.keys()
            except _STORE_ERRORS as error:
                log.warning("couldn't read acknowledgements: %s", type(error).__name__)
            if alive == set() or time.monotonic() >= deadline:
                break
            await asyncio.sleep(LOOK_S)
        heard = {one.process for one in acknowledged}
        silent = [
            replace(one, is_alive=alive is None or one.process in alive)
            for one in (missing or {}).values()
            if one.process not in heard
        ]
        return acknowledged, tuple(silent)


def check_order(scope: str, reason: str) -> None:
    """Raises Problem 422."""
    try:
        parse_scope(scope)
    except ValueError as error:
        raise Problem(422, "kill_switch.scope", str(error), [FieldError("/scope", str(error))]) from None
    if not 0 < len(reason) <= MAX_REASON or "\x00" in reason:
        message = f"expected a reason of 1 to {MAX_REASON} characters"
        raise Problem(422, "kill_switch.reason", message, [FieldError("/reason", message)])
    if "\x00" in scope:
        raise Problem(422, "kill_switch.scope", "expected no U+0000")


def order_row(tenant: str, order: str, scope: str, reason: str, by: str, more: dict[str, Any]) -> Draft:
    """The row of an order. What people wrote stands in the body; the row holds a salted commitment to it.

    Only engaging raises the epoch: an allow that was judged under a switch that is gone now is an allow all the more.
    """
    salt = secrets.token_bytes(32)
    payload = {"order": order, "scope": scope, "reason": reason, "by": by}
    detail = {"order": order, **{name: value for name, value in more.items() if name != "epoch"}}
    fields = {
        "scope": scope if _PLAIN.fullmatch(scope) else f"{parse_scope(scope).kind}:(text)",
        "inputs": f"c1:{hmac.digest(salt, canonical(payload).encode(), hashlib.sha256).hex()}",
        "detail": detail,
    }
    if "epoch" in more:
        fields["epoch"] = more["epoch"]
    body = dumps({"openings": {"inputs": {"salt": salt.hex(), "payload": payload}}})
    return Draft(tenant, "kill", rid=uuid7(), fields=fields, body=body, raises_epoch=order == "engage")


async def _acknowledged(connection: Connection, tenant: str, scope: str, epoch: int) -> tuple[Acknowledged, ...]:
    records = await connection.fetch(SQL.acknowledgements, tenant, scope, epoch)
    return tuple(Acknowledged(r["process"], r["host"], r["pid"], r["acknowledged_at"], r["cancelled"]) for r in records)
