from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from aegis.db.database import Database
from aegis.kernel.ids import new_id
from aegis.quota.buckets import BucketsUnavailable, Reservation
from aegis.quota.periods import period
from aegis.quota.rebuild import (
    PIECE,
    Counts,
    OpenReservation,
    Totals,
    UsageLog,
    Used,
    counts_of,
    open_reservation,
    pieces,
)
from aegis.quota.settled import SettledBuckets
from aegis.quota.valkey import ValkeyBuckets
from tests.quota.conftest import DAY, NOON, SECOND, asked, limits, nothing_used


class Log:
    """Writes what the log's own function would write, as the schema's owner."""

    def __init__(self, connection: Any, tenant: str) -> None:
        self.connection, self.tenant, self.seq = connection, tenant, 0

    async def usage(self, at: int, *, agent: str = "a", requests: int = 1, micro_usd: int = 0, **more: str) -> int:
        seq, self.seq = self.seq, self.seq + 1
        await self._do(
            "INSERT INTO log.usage (tenant, seq, ts, agent, team, user_id, session, tool, requests, micro_usd,"
            " input_tokens, output_tokens) VALUES ($1, $2, $3, $4, $5, null, null, $6, $7, $8, 0, 0)",
            self.tenant, seq, at, agent, more.get("team"), more.get("tool"), requests, micro_usd,
        )  # fmt: skip
        return seq

    async def open(self, made: Reservation, features: dict[str, Any] | None = None) -> None:
        seq = await self.usage(made.due_us - 600 * SECOND)
        flight = [{}, {}, {"stage": "rate_limit", "features": features or {"reservation": made.fields()}}]
        body = json.dumps({"flight": flight, "text": "\x00", "reservation": {}}, separators=(",", ":")).encode()
        await self._do(
            "INSERT INTO log.entries (tenant, seq, entry, leaf, kind, ts, rid)"
            " VALUES ($1, $2, '', '', 'decision', 0, $3)",
            self.tenant, seq, made.decision_id,
        )  # fmt: skip
        await self._do("INSERT INTO log.bodies (tenant, seq, body) VALUES ($1, $2, $3)", self.tenant, seq, body)
        await self._do(
            "INSERT INTO log.open_intents (tenant, seq, due) VALUES ($1, $2, $3)", self.tenant, seq, made.due_us
        )

    async def _do(self, statement: str, *values: Any) -> None:
        async with self.connection.transaction():
            await self.connection.execute("SELECT set_config('aegis.tenant', $1, true)", self.tenant)
            await self.connection.execute(statement, *values)


@pytest_asyncio.fixture
async def log(postgres: Any, tenant: str) -> AsyncIterator[Log]:
    connection = await asyncpg.connect(postgres.owner_url)
    organisation = new_id("org")
    await connection.execute("INSERT INTO control.organisations (id, name) VALUES ($1, 'o')", organisation)
    async with connection.transaction():
        await connection.execute("SELECT set_config('aegis.tenant', $1, true)", tenant)
        await connection.execute(
            "INSERT INTO control.tenants (id, organisation, name, label_key) VALUES ($1, $2, 't', $3)",
            tenant, organisation, bytes(32),
        )  # fmt: skip
    yield Log(connection, tenant)
    await connection.close()


def reservation(tenant: str, micro_usd: int = 700, decision_id: str = "d1") -> Reservation:
    when = period(NOON)
    return Reservation(
        tenant, decision_id, "a", None, when.day, when.month, ("tenant", "agent:a"), (), micro_usd,
        NOON + 600 * SECOND, True,
    )  # fmt: skip


async def test_sums_are_those_of_the_day_and_the_month_per_scope(database: Database, log: Log) -> None:
    for at in (NOON - 40 * DAY, NOON - 35 * DAY):
        await log.usage(at, micro_usd=1_000)
    month = period(NOON + 5 * DAY)
    for at in (month.month_starts_us - 1, month.month_starts_us, NOON + 5 * DAY, NOON + 5 * DAY):
        await log.usage(at, micro_usd=10, team="x", tool="crm.read")
    await log.usage(NOON + 5 * DAY, agent="b", micro_usd=5)
    totals = await UsageLog(database).totals(log.tenant, NOON + 5 * DAY)
    assert totals.scopes == {
        "tenant": Used(3, 25, 4, 35),
        "agent:a": Used(2, 20, 3, 30),
        "agent:b": Used(1, 5, 1, 5),
        "team:x": Used(2, 20, 3, 30),
        "tool:crm.read": Used(2, 20, 3, 30),
    }


async def test_a_reading_goes_on_where_the_last_one_ended(database: Database, log: Log) -> None:
    source = UsageLog(database)
    await log.usage(NOON, micro_usd=10)
    first = await source.totals(log.tenant, NOON)
    await log.usage(NOON, micro_usd=5)
    assert await source.totals(log.tenant, NOON, first) == await source.totals(log.tenant, NOON)
    assert (await source.totals(log.tenant, NOON, first)).scopes["tenant"] == Used(2, 15, 2, 15)


async def test_another_tenants_usage_is_not_seen(database: Database, log: Log) -> None:
    await log.usage(NOON)
    assert await UsageLog(database).totals(new_id("ten"), NOON) == Totals(period(NOON).day, period(NOON).month, -1)


async def test_open_decisions_bring_their_reservations_back(
    database: Database, log: Log, buckets: ValkeyBuckets, client: Any
) -> None:
    made = reservation(log.tenant)
    await log.open(made)
    await log.open(reservation(log.tenant, decision_id="d2"), {"degraded": False})
    emptied = ValkeyBuckets(client, UsageLog(database).counts, deadline_s=5.0)
    scope = limits(daily_micro_usd=1_000)
    refused = await emptied.take(asked(scope, tenant=log.tenant, estimate_micro_usd=301))
    assert [x.code for x in refused.limited] == ["quota.daily_usd"]
    assert await emptied.settle(made, 100, NOON, "allow")
    assert not await emptied.settle(made, 100, NOON, "allow")
    assert not (await emptied.take(asked(scope, tenant=log.tenant, estimate_micro_usd=900))).limited
    assert (await emptied.standing(log.tenant, "agent:a", NOON)).used == Used(3, 100, 3, 100)


async def test_settled_counts_limit_calls_without_a_store(database: Database, log: Log) -> None:
    for _ in range(3):
        await log.usage(NOON, micro_usd=100)
    settled = SettledBuckets(UsageLog(database).totals, lambda: 1)
    scope = limits(daily_requests=5, daily_micro_usd=1_000)
    readings = [await settled.take(asked(scope, tenant=log.tenant, estimate_micro_usd=350)) for _ in range(3)]
    assert [[x.code for x in r.limited] for r in readings] == [[], [], ["quota.daily", "quota.daily_usd"]]
    assert all(r.degraded and r.recent is None for r in readings)
    await settled.settle(readings[0].reservation, 50, NOON, "allow")
    await settled.release(readings[1].reservation, NOON, "kill")
    dear = limits(daily_micro_usd=1_000)
    assert not (await settled.take(asked(dear, tenant=log.tenant, estimate_micro_usd=650))).limited
    assert (await settled.take(asked(dear, tenant=log.tenant, estimate_micro_usd=1))).limited


async def test_processes_that_share_a_cap_never_pass_it_together(database: Database, log: Log) -> None:
    await log.usage(NOON)
    processes = [SettledBuckets(UsageLog(database).totals, lambda: 3) for _ in range(3)]
    scope = limits(daily_requests=11, rate=None)
    taken = 0
    for process in processes:
        for _ in range(8):
            taken += not (await process.take(asked(scope, tenant=log.tenant))).limited
    assert taken == 9  # (11 - 1) / 3 for each


async def test_a_rate_is_divided_by_the_processes(database: Database, log: Log) -> None:
    from aegis.quota.gcra import rate

    settled = SettledBuckets(UsageLog(database).totals, lambda: 2)
    scope = limits(rate=rate(10, 4), rps=10.0)
    readings = [await settled.take(asked(scope, tenant=log.tenant)) for _ in range(3)]
    assert [[x.code for x in r.limited] for r in readings] == [[], [], ["quota.rps"]]
    assert readings[2].limited[0].retry_after_s == 0.2


async def test_calls_at_once_are_divided_too_and_come_back(database: Database, log: Log) -> None:
    settled = SettledBuckets(UsageLog(database).totals, lambda: 2)
    scope = limits(concurrency=2)
    first = await settled.take(asked(scope, tenant=log.tenant))
    assert [x.code for x in (await settled.take(asked(scope, tenant=log.tenant))).limited] == ["quota.concurrency"]
    await settled.release(first.reservation, NOON, "kill")
    assert not (await settled.take(asked(scope, tenant=log.tenant))).limited


async def test_single_use_tokens_are_not_vouched_for(database: Database, log: Log) -> None:
    settled = SettledBuckets(UsageLog(database).totals, lambda: 1)
    assert not (await settled.take(asked(tenant=log.tenant, jti="j", jti_ttl_s=5))).token_checked
    assert (await settled.take(asked(tenant=log.tenant))).token_checked


async def test_without_the_log_nothing_is_judged(tenant: str) -> None:
    async def away(name: str, now_us: int, known: Totals | None = None) -> Totals:
        raise ConnectionRefusedError

    with pytest.raises(BucketsUnavailable):
        await SettledBuckets(away, lambda: 1).take(asked(tenant=tenant))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="erased"),
        pytest.param(b'{"openings":{}}', id="without a flight record"),
        pytest.param(b'{"flight":[{},{},{"features":{"reserv', id="cut off"),
        pytest.param(b'{"flight":[{},{},{"features":{"reservation":{"day":"x"}}}]}', id="of another shape"),
        pytest.param(b'{"flight":[{},{},{"features":{}}],"reservation":{"day":1}}', id="with the caller's word only"),
        pytest.param(b'{"flight":' + b"[" * 60_000, id="nested without end"),
    ],
)
def test_a_body_that_says_nothing_reserves_nothing(body: bytes) -> None:
    assert open_reservation("d", body) is None


def test_counts_go_to_the_store_in_pieces_that_end_with_the_last() -> None:
    day = {f"agent:{n}|r": n for n in range(2 * PIECE + 1)}
    held = (OpenReservation("d", NOON, 5, ("d1:tenant",)),)
    made = list(pieces(Counts(day, {}, held)))
    assert dict(pair for piece in made for pair in piece["day"]) == day
    assert [piece["last"] for piece in made] == [False, False, True]
    assert [piece["last"] for piece in pieces(Counts({}, {}))] == [True]


def test_scopes_become_fields_without_empty_ones() -> None:
    counts = counts_of(Totals(1, 202601, 5, {"agent:a": Used(0, 0, 3, 40)}))
    assert (counts.day, counts.month) == ({}, {"agent:a|r": 3, "agent:a|u": 40})


async def test_the_store_keeps_the_larger_of_both(client: Any, tenant: str) -> None:
    fresh = ValkeyBuckets(client, nothing_used, deadline_s=5.0)
    for _ in range(3):
        await fresh.take(asked(limits(), tenant=tenant))
    await fresh.forget(tenant)

    async def fewer(name: str, now_us: int) -> Counts:
        return Counts({"agent:a|r": 2}, {"agent:a|r": 9})

    again = ValkeyBuckets(client, fewer, deadline_s=5.0)
    await again.take(asked(limits(), tenant=tenant))
    standing = await again.standing(tenant, "agent:a", NOON)
    assert (standing.used.day_requests, standing.used.month_requests) == (4, 10)
