"""Without the record store nothing is allowed and nothing runs; a kill order is still taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.house import Agent, House, Target, Tenant, eventually, known_to_both

AWAY = [
    pytest.param(lambda house: house.freeze_postgres(), id="PostgreSQL hangs"),
    pytest.param(lambda house: house.take_away("postgres"), id="PostgreSQL is gone"),
]
WARM = 24


async def warmed(tenant: Tenant, shop: Target) -> tuple[Agent, Agent]:
    """Two agents whose tenant both gateways know, with connections open to both."""
    await tenant.tool("pay", "write", shop)
    await tenant.tool("slow", "write", shop)
    agent, other = await tenant.agent("stopped"), await tenant.agent("free")
    await known_to_both(tenant, agent, "pay", WARM)
    return agent, other


@pytest.mark.parametrize("away", AWAY)
async def test_nothing_is_allowed_and_nothing_runs(
    home: House, tenant: Tenant, shop: Target, away: Callable[[House], None]
) -> None:
    agent, _ = await warmed(tenant, shop)
    before = len((await tenant.log()).entries)
    away(home)
    answers = await asyncio.gather(
        *(tenant.decide(agent, "pay", {"n": n}) for n in range(4)),
        *(tenant.execute(agent, "pay", {"n": 100 + n}) for n in range(4)),
        *(tenant.execute(agent, "pay", {"n": 200 + n}, idempotency_key=f"away {n}") for n in range(4)),
    )
    assert {(answer.status, answer.code) for answer in answers} == {(503, "audit.unavailable")}
    assert not shop.begun
    home.thaw()
    await tenant.caller.ready()
    log = await tenant.log()
    log.verify()
    # A row that was on its way may stand, but nothing of it ran.
    assert not [row for row in log.rows[before:] if row["kind"] == "outcome"]
    # The keys are free again: what was refused may be asked anew, and runs.
    for n in range(4):
        again = await eventually(lambda n=n: _ran(tenant, agent, n), "a key of a refused call is free again")
        assert again
    assert all(shop.done[200 + n] == 1 for n in range(4))


async def _ran(tenant: Tenant, agent: Agent, n: int) -> bool:
    answer = await tenant.execute(agent, "pay", {"n": 200 + n}, idempotency_key=f"away {n}")
    assert answer.status == 200 or answer.code in ("idempotency.in_flight", "audit.unavailable"), answer
    return answer.status == 200


@pytest.mark.parametrize("away", AWAY)
async def test_a_kill_order_is_spooled_obeyed_and_logged_later(
    home: House, tenant: Tenant, shop: Target, away: Callable[[House], None]
) -> None:
    agent, other = await warmed(tenant, shop)
    caller = tenant.caller
    running = asyncio.create_task(tenant.execute(agent, "slow", {"n": 1}))
    await eventually(lambda: shop.begun[1], "the slow action runs")
    away(home)
    order = await caller.ask("PUT", f"/v1/kill-switches/agent:{agent.id}", {"reason": "test"}, token=tenant.admin)
    assert (order.status, order.body["durable"]) == (202, False)
    await eventually(lambda: shop.cancelled[1], "what ran was cancelled at its target")
    home.thaw()
    await caller.ready()
    await eventually(lambda: _code(tenant, agent, "kill"), "the order is in force")
    assert await _code(tenant, other, "allow")
    assert (await running).status in (403, 503)
    log = await tenant.log()
    log.verify()
    [row] = log.of("kill")
    assert row["scope"] == f"agent:{agent.id}" and "spooled" in row["detail"]
    [outcome] = log.of("outcome")
    assert outcome["status"] in ("cancelled", "unknown")


async def _code(tenant: Tenant, agent: Agent, code: str) -> bool:
    return (await tenant.decide(agent, "pay", {"n": 0})).code == code
