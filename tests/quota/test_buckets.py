"""What the port promises, on a real store."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from aegis.quota.buckets import Reservation, Take
from aegis.quota.gcra import rate
from aegis.quota.periods import period
from aegis.quota.rebuild import Counts
from aegis.quota.valkey import ValkeyBuckets, prefix
from tests.quota.conftest import DAY, NOON, SECOND, asked, limits, together

DOLLAR = 1_000_000


def codes(reading: Any) -> list[str]:
    return [found.code for found in reading.limited]


@pytest.mark.parametrize(
    ("caps", "code", "fits"),
    [
        pytest.param({"rate": rate(1, 3), "rps": 1.0}, "quota.rps", 3, id="a burst"),
        pytest.param({"daily_requests": 4}, "quota.daily", 4, id="requests a day"),
        pytest.param({"monthly_requests": 5}, "quota.monthly", 5, id="requests a month"),
        pytest.param({"daily_micro_usd": 6 * DOLLAR}, "quota.daily_usd", 6, id="dollars a day"),
        pytest.param({"monthly_micro_usd": 7 * DOLLAR}, "quota.monthly_usd", 7, id="dollars a month"),
        pytest.param({"concurrency": 2}, "quota.concurrency", 2, id="calls at once"),
        pytest.param({"daily_requests": 0}, "quota.daily", 0, id="a cap of nothing"),
        pytest.param({"daily_micro_usd": 0}, "quota.daily_usd", 0, id="no money at all"),
    ],
)
async def test_many_at_once_take_exactly_what_there_is(
    buckets: ValkeyBuckets, tenant: str, caps: dict[str, Any], code: str, fits: int
) -> None:
    scopes = (limits("tenant"), limits(**caps))
    readings = await together(lambda _: buckets.take(asked(*scopes, tenant=tenant, estimate_micro_usd=DOLLAR)), 24)
    taken = [reading for reading in readings if reading.reservation is not None]
    assert len(taken) == fits
    assert {tuple(codes(r)) for r in readings if r.reservation is None} == {(code,)}


async def test_processes_with_connections_of_their_own_share_the_caps(store_url: str, tenant: str) -> None:
    from aegis.quota.valkey import connect
    from tests.quota.conftest import nothing_used

    clients = [connect(store_url) for _ in range(4)]
    stores = [ValkeyBuckets(client, nothing_used, deadline_s=5.0) for client in clients]
    scope = limits(daily_micro_usd=10 * DOLLAR, daily_requests=1_000)
    dice = random.Random(7)
    costs = [dice.randrange(DOLLAR // 10, DOLLAR) for _ in range(120)]

    async def call(n: int) -> tuple[int, bool]:
        store, cost = stores[n % 4], costs[n]
        reading = await store.take(asked(scope, tenant=tenant, estimate_micro_usd=cost))
        if reading.reservation is None:
            return 0, False
        if n % 3 == 0:
            await store.release(reading.reservation, NOON, "kill")
            return 0, True
        assert await store.settle(reading.reservation, cost - cost // 10, NOON, "allow")
        return cost - cost // 10, True

    spent = sum(cost for cost, _ in await together(call, 120))
    assert spent <= 10 * DOLLAR
    left = 10 * DOLLAR - spent
    assert (await stores[0].take(asked(scope, tenant=tenant, estimate_micro_usd=left + 1))).limited
    if left:
        assert not (await stores[0].take(asked(scope, tenant=tenant, estimate_micro_usd=left))).limited
    await asyncio.gather(*(client.aclose() for client in clients))


async def test_nothing_is_taken_anywhere_when_one_scope_has_no_room(buckets: ValkeyBuckets, tenant: str) -> None:
    wide = limits("tenant", rate=rate(1, 2), rps=1.0, daily_requests=2, daily_micro_usd=2 * DOLLAR, concurrency=2)
    narrow = limits("agent:a", daily_requests=0)
    for _ in range(5):
        reading = await buckets.take(asked(wide, narrow, tenant=tenant, estimate_micro_usd=DOLLAR))
        assert codes(reading) == ["quota.daily"]
    for _ in range(2):
        assert not (await buckets.take(asked(wide, tenant=tenant, estimate_micro_usd=DOLLAR))).limited


async def test_every_scope_without_room_is_named(buckets: ValkeyBuckets, tenant: str) -> None:
    reading = await buckets.take(
        asked(limits("tenant", daily_requests=0), limits("agent:a", monthly_micro_usd=0), tenant=tenant)
    )
    assert [(x.scope, x.code, x.limit) for x in reading.limited] == [
        ("tenant", "quota.daily", 0),
        ("agent:a", "quota.monthly_usd", 0),
    ]


async def test_a_refused_call_says_when_there_is_room_again(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(daily_requests=1, monthly_requests=1)
    await buckets.take(asked(scope, tenant=tenant))
    day, month = (await buckets.take(asked(scope, tenant=tenant))).limited
    assert (day.retry_after_s, month.retry_after_s) == (12 * 3600, 29.5 * 86_400)


async def test_where_only_reservations_stand_in_the_way_it_is_worth_asking_again_soon(
    buckets: ValkeyBuckets, tenant: str
) -> None:
    scope = limits(daily_micro_usd=DOLLAR)
    held = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR))
    refused = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR))
    assert refused.limited[0].retry_after_s == 1.0
    await buckets.release(held.reservation, NOON, "kill")
    assert not (await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR))).limited


async def test_what_it_cost_replaces_what_was_reserved_once(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(daily_micro_usd=10 * DOLLAR)
    reading = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=9 * DOLLAR))
    assert [await buckets.settle(reading.reservation, DOLLAR, NOON, "allow") for _ in range(3)] == [True, False, False]
    await buckets.release(reading.reservation, NOON, "kill")
    assert not (await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=9 * DOLLAR))).limited
    assert codes(await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=1))) == ["quota.daily_usd"]


async def test_a_call_without_estimate_settles_once_too(buckets: ValkeyBuckets, tenant: str, client: Redis) -> None:
    reading = await buckets.take(asked(limits("tenant"), tenant=tenant))
    assert not reading.reservation.tracked
    assert [await buckets.settle(reading.reservation, 5, NOON, "allow") for _ in range(2)] == [True, False]
    assert await client.hget(f"{prefix(tenant)}d:{period(NOON).day}", "tenant|u") == b"5"


async def test_a_cost_above_the_estimate_counts_in_full(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(daily_micro_usd=3 * DOLLAR)
    reading = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR))
    await buckets.settle(reading.reservation, 3 * DOLLAR, NOON, "allow")
    assert codes(await buckets.take(asked(scope, tenant=tenant))) == ["quota.daily_usd"]


async def test_a_reservation_of_a_dead_process_lapses_and_still_settles_later(
    buckets: ValkeyBuckets, tenant: str
) -> None:
    scope = limits(daily_micro_usd=DOLLAR)
    dead = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR, due_us=NOON + 60 * SECOND))
    early = asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR, at=NOON + 59 * SECOND)
    assert codes(await buckets.take(early)) == ["quota.daily_usd"]
    after = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR // 2, at=NOON + 60 * SECOND))
    assert not after.limited
    assert await buckets.settle(dead.reservation, DOLLAR // 2, NOON + 61 * SECOND, "allow")
    assert not await buckets.settle(dead.reservation, DOLLAR // 2, NOON + 61 * SECOND, "allow")
    full = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=1, at=NOON + 62 * SECOND))
    assert codes(full) == ["quota.daily_usd"]


async def test_money_is_charged_to_the_month_in_which_room_was_found(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(monthly_micro_usd=DOLLAR, daily_micro_usd=DOLLAR)
    last = period(NOON).month_ends_us - 1
    reading = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR, at=last))
    assert codes(await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=1, at=last))) == [
        "quota.daily_usd",
        "quota.monthly_usd",
    ]
    assert not (await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR, at=last + 1))).limited
    assert await buckets.settle(reading.reservation, DOLLAR, last + 1, "allow")
    assert codes(await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=1, at=last + 2))) == [
        "quota.daily_usd",
        "quota.monthly_usd",
    ]


async def test_a_new_day_is_empty_and_a_clock_set_back_finds_the_old_one_as_it_was(
    buckets: ValkeyBuckets, tenant: str
) -> None:
    scope = limits(daily_requests=1, monthly_requests=10)
    assert not (await buckets.take(asked(scope, tenant=tenant))).limited
    assert not (await buckets.take(asked(scope, tenant=tenant, at=NOON + DAY))).limited
    assert codes(await buckets.take(asked(scope, tenant=tenant, at=NOON))) == ["quota.daily"]
    assert codes(await buckets.take(asked(scope, tenant=tenant, at=NOON + DAY))) == ["quota.daily"]


async def test_each_cap_warns_once_a_period_and_anew_when_it_was_changed(buckets: ValkeyBuckets, tenant: str) -> None:
    async def warned(at: int = NOON, cap: int = 10) -> list[tuple[str, str, int]]:
        reading = await buckets.take(asked(limits(daily_requests=cap), tenant=tenant, at=at))
        return [(w.scope, w.cap, w.percent) for w in reading.warnings]

    assert [await warned() for _ in range(9)] == [[]] * 7 + [[("agent:a", "daily", 80)], []]
    assert await warned(cap=12) == [("agent:a", "daily", 83)]
    assert await warned(cap=12) == []
    assert [await warned(at=NOON + DAY, cap=1)] == [[("agent:a", "daily", 100)]]


async def test_reserved_money_warns_too(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(monthly_micro_usd=10 * DOLLAR)
    reading = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=8 * DOLLAR))
    assert [(w.cap, w.percent) for w in reading.warnings] == [("monthly_usd", 80)]


async def test_a_single_use_token_is_taken_once_by_whoever_comes_first(buckets: ValkeyBuckets, tenant: str) -> None:
    readings = await together(lambda _: buckets.take(asked(tenant=tenant, jti="j1", jti_ttl_s=60)), 12)
    assert sum(not reading.replayed for reading in readings) == 1
    assert not (await buckets.take(asked(tenant=tenant, jti="j2", jti_ttl_s=60))).replayed


async def test_a_replayed_token_takes_nothing(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(daily_requests=2)
    for _ in range(5):
        await buckets.take(asked(scope, tenant=tenant, jti="j", jti_ttl_s=60))
    assert not (await buckets.take(asked(scope, tenant=tenant))).limited


async def test_a_probe_is_judged_by_every_limit_and_takes_only_its_place_in_the_rate(
    buckets: ValkeyBuckets, tenant: str
) -> None:
    scope = limits(rate=rate(1, 3), rps=1.0, daily_requests=1, daily_micro_usd=DOLLAR)
    for _ in range(2):
        probe = await buckets.take(asked(scope, tenant=tenant, probe=True, estimate_micro_usd=DOLLAR, session="s"))
        assert (probe.limited, probe.reservation) == ((), None)
    real = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=DOLLAR, session="s"))
    assert (real.limited, real.recent.calls_600s, real.history.steps) == ((), 1, 0)
    assert codes(await buckets.take(asked(scope, tenant=tenant, probe=True, estimate_micro_usd=1))) == [
        "quota.rps",
        "quota.daily",
        "quota.daily_usd",
    ]


async def test_released_and_settled_calls_leave_their_place_to_others(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(concurrency=1)
    for end in (buckets.release, lambda held, at, verdict: buckets.settle(held, 0, at, verdict)):
        held = await buckets.take(asked(scope, tenant=tenant))
        assert codes(await buckets.take(asked(scope, tenant=tenant))) == ["quota.concurrency"]
        await end(held.reservation, NOON, "kill")
    held = await buckets.take(asked(scope, tenant=tenant, due_us=NOON + SECOND))
    assert not (await buckets.take(asked(scope, tenant=tenant, at=NOON + SECOND))).limited


async def test_a_session_ends_at_its_totals(buckets: ValkeyBuckets, tenant: str) -> None:
    async def step(at: int = NOON, cost: int = 0, **totals: int) -> list[str]:
        scope = limits(f"session:{totals}", **totals)
        return codes(
            await buckets.take(asked(scope, tenant=tenant, session=str(totals), at=at, estimate_micro_usd=cost))
        )

    assert [await step(total_requests=2) for _ in range(3)] == [[], [], ["quota.total"]]
    assert [await step(total_micro_usd=2, cost=1) for _ in range(3)] == [[], [], ["quota.total_usd"]]
    assert [await step(total_seconds=60, at=NOON + n * 30 * SECOND) for n in range(3)] == [
        [],
        [],
        ["quota.total_seconds"],
    ]


async def test_a_session_shows_what_was_before_the_call(buckets: ValkeyBuckets, tenant: str) -> None:
    async def step(tool: str, at: int) -> Any:
        return await buckets.take(asked(limits("tenant"), tenant=tenant, session="s", tool=tool, at=at))

    first = await step("crm.read", NOON)
    second = await step("crm.read", NOON + SECOND)
    assert (first.history.steps, first.history.tools, first.history.last) == (0, {}, ())
    await buckets.settle(first.reservation, 70, NOON + SECOND, "allow")
    await buckets.release(second.reservation, NOON + SECOND, "kill")
    third = await step("mail.send", NOON + 2 * SECOND)
    assert third.history.steps == 2
    assert third.history.tools == {"crm.read": 2}
    assert third.history.last == (("crm.read", "allow"), ("crm.read", "kill"))
    assert (third.history.micro_usd, third.history.age_us) == (70, 2 * SECOND)


async def test_a_sessions_memory_is_bounded(buckets: ValkeyBuckets, tenant: str) -> None:
    for n in range(40):
        reading = await buckets.take(asked(tenant=tenant, session="s", tool=f"t{n}"))
    assert (len(reading.history.tools), reading.history.other, len(reading.history.last)) == (32, 7, 16)


async def test_recent_behaviour_counts_calls_attempts_runs_and_resources(buckets: ValkeyBuckets, tenant: str) -> None:
    async def call(n: int, *, tool: str = "crm.read", digest: int = 1, cap: int = 100) -> Any:
        return (
            await buckets.take(
                asked(
                    limits(daily_requests=cap),
                    tenant=tenant,
                    tool=tool,
                    at=NOON + n * SECOND,
                    digest=digest,
                    resource=n % 3 + 1,
                    estimate_micro_usd=10,
                )
            )
        ).recent

    for n in range(5):
        recent = await call(n)
    assert (recent.calls_1s, recent.calls_10s, recent.calls_600s, recent.micro_usd_600s) == (2, 5, 5, 50)
    assert (recent.run, recent.identical, recent.previous) == (5, 5, ("crm.read",) * 3)
    assert recent.resources == ("00000001", "00000002", "00000003")
    refused = await call(5, cap=5)
    assert (refused.calls_60s, refused.attempts_60s, refused.run) == (5, 6, 5)
    other = await call(6, tool="mail.send", digest=2)
    assert (other.run, other.identical, other.previous[0]) == (1, 1, "crm.read")
    after_a_pause = await call(600, tool="mail.send", digest=2)
    assert (after_a_pause.run, after_a_pause.calls_60s) == (1, 1)


async def test_a_window_forgets_gradually(buckets: ValkeyBuckets, tenant: str) -> None:
    for n in range(10):
        await buckets.take(asked(tenant=tenant, at=NOON + n))
    later = await buckets.take(asked(tenant=tenant, at=NOON + 90 * SECOND))
    assert later.recent.calls_60s == 6  # half of the ten of the minute before, and this one


async def test_what_a_call_really_cost_shows_in_the_windows(buckets: ValkeyBuckets, tenant: str) -> None:
    reading = await buckets.take(asked(tenant=tenant))
    await buckets.settle(reading.reservation, 500, NOON + 1, "allow")
    assert (await buckets.take(asked(tenant=tenant, at=NOON + 2))).recent.micro_usd_60s == 500


async def test_the_agents_baseline_comes_along(buckets: ValkeyBuckets, tenant: str, client: Redis) -> None:
    assert (await buckets.take(asked(tenant=tenant))).baseline is None
    await client.set(f"{prefix(tenant)}base:a", b'{"v":1}', ex=60)
    assert (await buckets.take(asked(tenant=tenant))).baseline == b'{"v":1}'


async def test_every_key_ends_some_day_and_lives_in_one_slot(
    buckets: ValkeyBuckets, tenant: str, client: Redis
) -> None:
    scope = limits(rate=rate(5), rps=5.0, daily_micro_usd=DOLLAR, concurrency=3)
    reading = await buckets.take(
        asked(scope, tenant=tenant, session="s", jti="j", jti_ttl_s=60, estimate_micro_usd=5, resource=3)
    )
    await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=5))
    await buckets.settle(reading.reservation, 4, NOON, "allow")
    free = await buckets.take(asked(tenant=tenant))
    await buckets.settle(free.reservation, 4, NOON, "allow")
    keys = [key async for key in client.scan_iter(match=f"*{tenant}*")]
    assert len(keys) >= 12
    assert all(f"{{{tenant}}}".encode() in key for key in keys)
    assert [key for key in keys if await client.ttl(key) <= 0] == []


async def test_scripts_that_the_store_forgot_are_sent_again(buckets: ValkeyBuckets, tenant: str, client: Redis) -> None:
    await buckets.take(asked(tenant=tenant))
    await client.script_flush()
    assert not (await buckets.take(asked(tenant=tenant))).limited


async def test_an_emptied_store_gets_its_counts_from_the_log_before_it_judges(client: Redis, tenant: str) -> None:
    asks = 0

    async def counts(name: str, now_us: int) -> Counts:
        nonlocal asks
        asks += 1
        await asyncio.sleep(0)
        return Counts({"agent:a|r": 8, "agent:a|u": 5 * DOLLAR}, {"agent:a|r": 50})

    buckets = ValkeyBuckets(client, counts, deadline_s=5.0)
    scope = limits(daily_requests=10)
    readings = await together(lambda _: buckets.take(asked(scope, tenant=tenant)), 12)
    assert (sum(not r.limited for r in readings), asks) == (2, 2)  # once more, for rows that were on their way
    dear = limits(daily_micro_usd=6 * DOLLAR)
    assert codes(await buckets.take(asked(dear, tenant=tenant, estimate_micro_usd=DOLLAR + 1))) == ["quota.daily_usd"]
    assert codes(await buckets.take(asked(limits(monthly_requests=51), tenant=tenant))) == ["quota.monthly"]


async def test_counts_from_the_log_never_lower_what_the_store_has(buckets: ValkeyBuckets, tenant: str) -> None:
    scope = limits(daily_requests=2)
    for _ in range(2):
        await buckets.take(asked(scope, tenant=tenant))
    await buckets.forget(tenant)
    assert codes(await buckets.take(asked(scope, tenant=tenant))) == ["quota.daily"]


@given(st.builds(Reservation, *map(st.from_type, (str, str, str)), st.none() | st.text(), *[st.integers(0, 2**53)] * 2,
                 *[st.tuples(st.text())] * 2, *[st.integers(0, 2**53)] * 2, st.booleans()))  # fmt: skip
def test_a_reservation_comes_back_from_the_fields_in_its_row(made: Reservation) -> None:
    assert Reservation.of(made.tenant, made.decision_id, made.agent, made.session, made.fields()) == made


def test_a_take_is_a_value() -> None:
    assert asked(limits(), decision_id="d") == asked(limits(), decision_id="d")
    assert isinstance(asked(), Take)
