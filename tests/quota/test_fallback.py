"""The store gone, hung, emptied and back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio

from aegis.embedded.valkey import Valkey
from aegis.kernel.clock import MicroSeconds
from aegis.quota.fallback import FallbackBuckets
from aegis.quota.periods import period
from aegis.quota.rebuild import Counts, Totals, Used, counts_of
from aegis.quota.settled import SettledBuckets
from aegis.quota.valkey import ValkeyBuckets, connect
from tests.quota.conftest import NOON, SECOND, asked, limits


class Settled:
    """Settled usage as the log would sum it up: the test says what is durable."""

    def __init__(self) -> None:
        self.used = Used()

    async def totals(self, tenant: str, now_us: MicroSeconds, known: Totals | None = None) -> Totals:
        return Totals(period(now_us).day, period(now_us).month, 0, {"agent:a": self.used})

    async def counts(self, tenant: str, now_us: MicroSeconds) -> Counts:
        return counts_of(await self.totals(tenant, now_us))


class Net:
    def __init__(self, server: Valkey) -> None:
        self.server, self.log, self.clock_s = server, Settled(), 0.0
        self.client = connect(server.url)
        self.buckets = FallbackBuckets(
            ValkeyBuckets(self.client, self.log.counts),
            SettledBuckets(self.log.totals, lambda: 1),
            lambda: self.clock_s,
        )

    @asynccontextmanager
    async def hung(self) -> AsyncIterator[None]:
        pid = (await self.client.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest_asyncio.fixture
async def net(own_valkey: Valkey) -> AsyncIterator[Net]:
    made = Net(own_valkey)
    yield made
    await made.client.aclose()


async def test_a_store_that_is_gone_is_not_waited_for(net: Net, tenant: str) -> None:
    net.server.stop()
    scope = limits(daily_requests=5)
    readings = [await net.buckets.take(asked(scope, tenant=tenant)) for _ in range(6)]
    assert [len(r.limited) for r in readings] == [0] * 5 + [1]
    assert all(r.degraded for r in readings)
    assert net.buckets.is_degraded
    assert await net.buckets.settle(readings[0].reservation, 10, NOON, "allow")


async def test_the_first_call_after_the_pause_finds_the_store_again_and_its_counts_catch_up(
    net: Net, tenant: str
) -> None:
    scope = limits(daily_requests=10)
    assert not (await net.buckets.take(asked(scope, tenant=tenant))).degraded
    net.server.stop()
    for _ in range(4):
        assert (await net.buckets.take(asked(scope, tenant=tenant))).degraded
    net.log.used = Used(5, 0, 5, 0)
    net.server.start()
    net.clock_s += 2
    readings = [await net.buckets.take(asked(scope, tenant=tenant)) for _ in range(6)]
    assert not any(r.degraded for r in readings)
    assert [len(r.limited) for r in readings] == [0] * 5 + [1]


async def test_a_store_that_hangs_costs_two_deadlines_and_mixes_up_no_answers(net: Net, tenant: str) -> None:
    await net.buckets.take(asked(limits(daily_requests=50), tenant=tenant, session="s"))
    async with net.hung():
        for _ in range(5):
            assert (await net.buckets.take(asked(limits(daily_requests=50), tenant=tenant))).degraded
    net.clock_s += 2
    for n in range(5):
        reading = await net.buckets.take(asked(limits(daily_requests=50), tenant=tenant, agent="a", tool=f"t{n}"))
        assert not reading.degraded
        assert reading.history is None
        assert reading.recent.run == 1


async def test_what_was_taken_without_the_store_is_charged_when_it_is_back(net: Net, tenant: str) -> None:
    scope = limits(daily_micro_usd=1_000)
    assert not (await net.buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=1))).degraded
    net.server.stop()
    readings = [await net.buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=400)) for _ in range(2)]
    assert all(r.degraded and not r.limited for r in readings)
    net.server.start()
    net.clock_s += 2
    assert await net.buckets.settle(readings[0].reservation, 400, NOON, "allow")
    assert not await net.buckets.settle(readings[0].reservation, 400, NOON, "allow")
    standing = await net.buckets._store.standing(tenant, "agent:a", NOON)
    assert standing is None or standing.used.day_micro_usd == 400
    left = await net.buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=601))
    assert [x.code for x in left.limited] == ["quota.daily_usd"]


async def test_a_settlement_that_the_store_misses_raises_nothing_and_is_read_from_the_log(
    net: Net, tenant: str
) -> None:
    scope = limits(daily_micro_usd=1_000)
    held = await net.buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=10, due_us=NOON + SECOND))
    net.server.stop()
    assert not await net.buckets.settle(held.reservation, 900, NOON, "allow")
    net.log.used = Used(1, 900, 1, 900)
    net.server.start()
    net.clock_s += 2
    later = asked(scope, tenant=tenant, estimate_micro_usd=101, at=NOON + 2 * SECOND)
    assert [x.code for x in (await net.buckets.take(later)).limited] == ["quota.daily_usd"]


async def test_an_emptied_store_is_primed_on_the_way(net: Net, tenant: str) -> None:
    scope = limits(daily_requests=10)
    await net.buckets.take(asked(scope, tenant=tenant))
    net.log.used = Used(9, 0, 9, 0)
    await net.client.flushall()
    readings = await asyncio.gather(*(net.buckets.take(asked(scope, tenant=tenant)) for _ in range(4)))
    assert sum(not r.limited for r in readings) == 1
    assert not any(r.degraded for r in readings)
