"""Counts from the log, for a bucket store that lost its own. Errs to the stricter side.

Stricter: an outcome counts in the period in which it was recorded, a reservation keeps what it was made for, and
where store and log differ the larger number stays. What was taken but is not durable yet is missing for the moment
of the reading; its own settlement adds its money.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.decision import STAGES
from aegis.quota.periods import Period, period

SQL = statements("aegis.quota", "rebuild.sql")

PIECE = 500
PAGE = 100
MAX_OPEN = 5_000
FLIGHT_BYTES = 64 * 1024
_FLIGHT = b'{"flight":'
_RATE_LIMIT = STAGES.index("rate_limit")


@dataclass(frozen=True, slots=True)
class Used:
    """What a scope used in the day and the month of `Totals`."""

    day_requests: int = 0
    day_micro_usd: int = 0
    month_requests: int = 0
    month_micro_usd: int = 0

    def and_also(self, more: Used) -> Used:
        return Used(
            self.day_requests + more.day_requests,
            self.day_micro_usd + more.day_micro_usd,
            self.month_requests + more.month_requests,
            self.month_micro_usd + more.month_micro_usd,
        )


NOTHING = Used()


@dataclass(frozen=True, slots=True)
class Totals:
    """A tenant's settled usage in one day and its month, from all rows up to `seq`."""

    day: int
    month: int
    seq: int
    scopes: Mapping[str, Used] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenReservation:
    """A decision that may still run; `holds` are the fields under which the store keeps its money."""

    decision_id: str
    due_us: MicroSeconds
    micro_usd: int
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Per field of the store's day and month (`agent:x|r` requests, `agent:x|u` micro-dollars)."""

    day: Mapping[str, int]
    month: Mapping[str, int]
    open: tuple[OpenReservation, ...] = ()


class UsageLog:
    """Reads settled usage and open reservations. Raises asyncpg's errors and OSError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self, tenant: str, now_us: MicroSeconds, known: Totals | None = None) -> Totals:
        """From the rows after `known.seq` where `known` is of the same day, else from the whole month's."""
        async with self._database.scope(tenant) as connection:
            return await read_totals(connection, period(now_us), known)

    async def counts(self, tenant: str, now_us: MicroSeconds) -> Counts:
        async with self._database.scope(tenant) as connection:
            # Reservations first: one that settles in between is then counted twice and not lost.
            held = await _read_open(connection)
            totals = await read_totals(connection, period(now_us), None)
        return counts_of(totals, held)


async def read_totals(connection: Connection, when: Period, known: Totals | None) -> Totals:
    newest = await connection.fetchval(SQL.newest_seq)
    if newest is None:
        return Totals(when.day, when.month, -1)
    if known is not None and (known.day, known.month) == (when.day, when.month):
        first, scopes = known.seq + 1, dict(known.scopes)
    else:
        first, scopes = await _first_seq(connection, when.month_starts_us, newest), {}
    for row in await connection.fetch(
        SQL.totals, first, newest, when.day_starts_us, when.day_ends_us, when.month_starts_us, when.month_ends_us
    ):
        scope = row["kind"] if row["kind"] == "tenant" else f"{row['kind']}:{row['name']}"
        scopes[scope] = scopes.get(scope, NOTHING).and_also(Used(*row[2:]))
    return Totals(when.day, when.month, newest, scopes)


async def _first_seq(connection: Connection, since_us: MicroSeconds, newest: int) -> int:
    """The first row of the month, found by bisection: a log's times never go back, and years may lie before it."""
    low, high = 0, newest + 1
    while low < high:
        middle = (low + high) // 2
        row = await connection.fetchrow(SQL.ts_from_seq, middle)
        if row is None or row["ts"] >= since_us:
            high = middle
        else:
            low = row["seq"] + 1
    return low


async def _read_open(connection: Connection) -> tuple[OpenReservation, ...]:
    held: list[OpenReservation] = []
    after = -1
    while len(held) < MAX_OPEN:
        rows = await connection.fetch(SQL.open_reservations, after, PAGE, FLIGHT_BYTES)
        held += [found for row in rows if (found := open_reservation(row["rid"], row["body"])) is not None]
        if len(rows) < PAGE:
            break
        after = rows[-1]["seq"]
    return tuple(held)


def open_reservation(decision_id: str, body: bytes) -> OpenReservation | None:
    """What the decision reserved, as the flight record at the beginning of its body says.

    Only the flight record is parsed: it is ours, what follows is the caller's. None where nothing was reserved, or
    nobody can say any more what (an erased body).
    """
    if not body.startswith(_FLIGHT):
        return None
    try:
        flight, _ = json.JSONDecoder().raw_decode(body[len(_FLIGHT) :].decode("utf-8", "ignore"))
        kept = flight[_RATE_LIMIT]["features"]["reservation"]
        holds = [f"{unit}{int(kept[name])}:{scope}" for scope in kept["scopes"] for unit, name in _UNITS]
        found = OpenReservation(decision_id, int(kept["due_us"]), int(kept["micro_usd"]), tuple(holds))
        return found if kept["tracked"] else None
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        return None


_UNITS = (("d", "day"), ("m", "month"))


def counts_of(totals: Totals, held: tuple[OpenReservation, ...] = ()) -> Counts:
    day, month = {}, {}
    for scope, used in totals.scopes.items():
        day[f"{scope}|r"], day[f"{scope}|u"] = used.day_requests, used.day_micro_usd
        month[f"{scope}|r"], month[f"{scope}|u"] = used.month_requests, used.month_micro_usd
    return Counts({k: n for k, n in day.items() if n}, {k: n for k, n in month.items() if n}, held)


def pieces(counts: Counts) -> Iterator[dict[str, Any]]:
    """The counts in pieces that a script takes without holding the store up for long; the last one says so."""
    day, month, kept = list(counts.day.items()), list(counts.month.items()), counts.open
    steps = max(1, *(-(-len(part) // PIECE) for part in (day, month, kept)))
    for n in range(steps):
        at = slice(n * PIECE, (n + 1) * PIECE)
        yield {
            "day": day[at],
            "month": month[at],
            "open": [(r.decision_id, r.due_us, r.micro_usd, r.holds) for r in kept[at]],
            "last": n == steps - 1,
        }
