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
from tests.quota.conftest import NOON, asked, limits


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


async def test_what_was_taken_while_the_store_hung_is_added_exactly(net: Net, tenant: str) -> None:
    scope = limits(daily_requests=20, daily_micro_usd=10_000)
    for _ in range(3):
        await net.buckets.take(asked(scope, tenant=tenant))
    net.log.used = Used(3, 0, 3, 0)
    async with net.hung():
        readings = [await net.buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=50)) for _ in range(4)]
        assert all(r.degraded and not r.limited for r in readings)
        assert await net.buckets.settle(readings[0].reservation, 40, NOON, "allow")
    net.clock_s += 2
    assert not (await net.buckets.take(asked(scope, tenant=tenant))).degraded
    await asyncio.gather(*net.buckets._late)
    for held in readings[1:3]:
        assert await net.buckets.settle(held.reservation, 30, NOON, "allow")
        assert not await net.buckets.settle(held.reservation, 30, NOON, "allow")
    standing = await net.buckets.standing(tenant, "agent:a", NOON)
    # The first of the four was sent before the store hung up on it, and may have been counted by it as well.
    assert standing.used.day_requests - 8 in (0, 1, 2)
    assert standing.used.day_micro_usd == 100


async def test_a_settlement_that_the_store_misses_raises_nothing_and_follows_later(net: Net, tenant: str) -> None:
    scope = limits(daily_micro_usd=1_000)
    held = await net.buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=100))
    async with net.hung():
        assert not await net.buckets.settle(held.reservation, 900, NOON, "allow")
        await net.buckets.take(asked(scope, tenant=tenant))
    net.clock_s += 2
    await net.buckets.take(asked(scope, tenant=tenant))
    await asyncio.gather(*net.buckets._late)
    standing = await net.buckets.standing(tenant, "agent:a", NOON)
    assert (standing.used.day_micro_usd, standing.reserved_day_micro_usd) == (900, 0)


async def test_a_store_that_lost_everything_has_it_from_the_log_and_not_twice(net: Net, tenant: str) -> None:
    scope = limits(daily_requests=20)
    await net.buckets.take(asked(scope, tenant=tenant))
    net.server.stop()
    for _ in range(4):
        assert (await net.buckets.take(asked(scope, tenant=tenant))).degraded
    net.log.used = Used(5, 0, 5, 0)
    net.server.start()
    net.clock_s += 2
    await net.buckets.take(asked(scope, tenant=tenant))
    assert (await net.buckets.standing(tenant, "agent:a", NOON)).used.day_requests == 6


async def test_counts_that_take_long_to_read_do_not_cut_other_tenants_off(net: Net, tenant: str) -> None:
    async def never(name: str, now_us: int) -> Counts:
        raise ConnectionRefusedError

    buckets = FallbackBuckets(
        ValkeyBuckets(net.client, never), SettledBuckets(net.log.totals, lambda: 1), lambda: net.clock_s
    )
    for _ in range(5):
        assert (await buckets.take(asked(limits(), tenant=tenant))).degraded
    assert not buckets.is_degraded


async def test_standing_is_known_without_the_store(net: Net, tenant: str) -> None:
    net.server.stop()
    net.log.used = Used(5, 70, 6, 80)
    await net.buckets.take(asked(limits(daily_micro_usd=1_000), tenant=tenant, estimate_micro_usd=9))
    standing = await net.buckets.standing(tenant, "agent:a", NOON)
    assert (standing.used, standing.reserved_day_micro_usd) == (Used(5, 70, 6, 80), 9)


async def test_an_emptied_store_is_primed_on_the_way(net: Net, tenant: str) -> None:
    scope = limits(daily_requests=10)
    await net.buckets.take(asked(scope, tenant=tenant))
    net.log.used = Used(9, 0, 9, 0)
    await net.client.flushall()
    readings = await asyncio.gather(*(net.buckets.take(asked(scope, tenant=tenant)) for _ in range(4)))
    assert sum(not r.limited for r in readings) == 1
    assert not any(r.degraded for r in readings)


async def test_what_else_the_store_kept_comes_back_before_the_counts(net: Net, tenant: str) -> None:
    emptied: list[str] = []

    async def put_back(name: str) -> None:
        emptied.append(name)

    buckets = ValkeyBuckets(net.client, net.log.counts, when_emptied=put_back)
    for _ in range(2):
        await buckets.take(asked(limits(), tenant=tenant))
    assert emptied == [tenant]
