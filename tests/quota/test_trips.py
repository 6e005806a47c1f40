"""Takes that come together share their trips to the store, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from redis.asyncio import Redis

from aegis.embedded.valkey import Valkey
from aegis.quota.buckets import BucketsUnavailable
from aegis.quota.valkey import ValkeyBuckets, connect
from tests.quota.conftest import asked, limits, nothing_used, together

MANY = 150


async def calls_of(client: Redis) -> int:
    stats = await client.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("eval", "evalsha"))


async def test_each_of_many_has_its_own_answer_and_none_runs_twice(
    client: Redis, buckets: ValkeyBuckets, tenant: str
) -> None:
    await buckets.take(asked(limits("tenant"), tenant=tenant))
    before = await calls_of(client)
    scopes = [(limits("tenant"), limits(f"tool:{n}", daily_requests=n % 2)) for n in range(MANY)]
    readings = await together(lambda n: buckets.take(asked(*scopes[n], tenant=tenant)), MANY)
    assert [reading.reservation is not None for reading in readings] == [n % 2 == 1 for n in range(MANY)]
    assert await calls_of(client) - before == MANY


async def test_a_store_that_forgot_its_scripts_is_told_them_again(
    client: Redis, buckets: ValkeyBuckets, tenant: str
) -> None:
    scope = limits("tenant", daily_requests=40)
    await buckets.take(asked(scope, tenant=tenant))
    await client.script_flush()
    readings = await together(lambda _: buckets.take(asked(scope, tenant=tenant)), 60)
    assert sum(reading.reservation is not None for reading in readings) == 39


async def test_callers_who_leave_take_nobody_with_them(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits("tenant")
    await buckets.take(asked(scope, tenant=tenant))
    takes = [asyncio.create_task(buckets.take(asked(scope, tenant=tenant))) for _ in range(MANY)]
    await asyncio.sleep(0)
    for take in takes[::3]:
        take.cancel()
    ended = await asyncio.gather(*takes, return_exceptions=True)
    stayed = [each for n, each in enumerate(ended) if n % 3]
    assert all(getattr(each, "reservation", None) is not None for each in stayed), stayed
    assert (await buckets.take(asked(scope, tenant=tenant))).reservation is not None


async def test_a_store_that_hangs_fails_all_of_them_in_time_and_is_used_again(own_valkey: Valkey, tenant: str) -> None:
    client = connect(own_valkey.url)
    buckets = ValkeyBuckets(client, nothing_used, deadline_s=0.2)
    scope = limits("tenant")
    await buckets.take(asked(scope, tenant=tenant))
    pid = (await client.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        takes = [asyncio.create_task(buckets.take(asked(scope, tenant=tenant))) for _ in range(MANY)]
        async with asyncio.timeout(5):
            ended = await asyncio.gather(*takes, return_exceptions=True)
        assert all(isinstance(each, BucketsUnavailable) for each in ended), ended
    finally:
        os.kill(pid, signal.SIGCONT)
    for _ in range(50):
        try:
            assert (await buckets.take(asked(scope, tenant=tenant))).reservation is not None
            break
        except BucketsUnavailable:
            await asyncio.sleep(0.1)
    else:
        pytest.fail("it is not used again")
    await client.aclose()
