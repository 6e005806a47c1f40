"""Without Valkey: limits from settled counts, the tenant's degraded mode, and kill switches that work all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.house import Agent, Answer, House, Target, Tenant, eventually, known_to_both

AWAY = [
    pytest.param(lambda house: house.freeze(*house.pids("valkey")), id="Valkey hangs"),
    pytest.param(lambda house: house.take_away("valkey"), id="Valkey is gone"),
]
WARM = 8
OPEN = 48
"""Connections: while the supervisor is frozen, no other is accepted."""


async def warmed(tenant: Tenant, shop: Target, mode: str | None = None) -> Agent:
    """An agent whose tenant both gateways know, with connections open to both."""
    if mode is not None:
        await tenant.set_up("PUT", "/v1/settings", {"degraded_mode": mode})
    await tenant.tool("look", "read")
    await tenant.tool("slow", "read", shop)
    await tenant.tool("wipe", "destructive", shop)
    agent = await tenant.agent("one")
    await known_to_both(tenant, agent, "look", OPEN)
    return agent


async def degraded(tenant: Tenant, agent: Agent) -> None:
    """Both gateways know that the bucket store is away."""

    async def told() -> bool:
        answers = await asyncio.gather(*(tenant.decide(agent, "look", {"n": n}) for n in range(WARM)))
        return all("quota.degraded" in answer.codes for answer in answers)

    await eventually(told, "calls are judged without the bucket store")


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize(
    ("mode", "look", "wipe"),
    [
        (None, "behavior.degraded_allowed", "behavior.degraded_blocked"),
        ("block_all", "behavior.degraded_blocked", "behavior.degraded_blocked"),
        ("allow_with_audit", "behavior.degraded_allowed", "behavior.degraded_allowed"),
    ],
    ids=["block_high_risk is the default", "block_all", "allow_with_audit"],
)
async def test_the_tenants_degraded_mode_decides(
    home: House, tenant: Tenant, shop: Target, away: Callable[[House], None], mode: str | None, look: str, wipe: str
) -> None:
    agent = await warmed(tenant, shop, mode)
    away(home)
    await degraded(tenant, agent)
    answers = await asyncio.gather(
        *(tenant.decide(agent, "look", {"n": n}) for n in range(4)),
        *(tenant.execute(agent, "wipe", {"n": n}) for n in range(4)),
    )
    for answer, code in zip(answers, [look] * 4 + [wipe] * 4, strict=True):
        assert {code, "quota.degraded"} <= answer.codes, answer
        assert _passes(answer) is (code == "behavior.degraded_allowed"), answer
    assert bool(shop.begun) is (wipe == "behavior.degraded_allowed")
    home.thaw()
    await tenant.caller.ready()
    log = await tenant.log()
    log.verify()
    assert look in {found["code"] for row in log.of("decision") for found in row["findings"]}

    async def mended() -> bool:
        answers = await asyncio.gather(*(tenant.decide(agent, "look", {"n": n}) for n in range(WARM)))
        return all(answer.code == "allow" and not answer.codes for answer in answers)

    await eventually(mended, "limits are judged by the bucket store again")


def _passes(answer: Answer) -> bool:
    return answer.body["verdict"] in ("allow", "monitor")


@pytest.mark.parametrize("away", AWAY)
async def test_no_daily_cap_is_passed_without_it_nor_afterwards(
    home: House, tenant: Tenant, shop: Target, away: Callable[[House], None]
) -> None:
    agent, capped = await warmed(tenant, shop), await tenant.agent("capped")
    cap = 30
    await tenant.set_up("PUT", f"/v1/quotas/agent:{capped.id}", {"daily_requests": cap})

    async def ask(times: int) -> int:
        answers = await asyncio.gather(*(tenant.decide(capped, "look", {"n": n}) for n in range(times)))
        assert {answer.body["verdict"] for answer in answers} <= {"allow", "throttle"}
        return sum(answer.code == "allow" for answer in answers)

    taken = await ask(10)
    assert taken == 10
    away(home)
    await degraded(tenant, agent)
    without = await ask(40)
    assert 0 < without <= cap - taken
    home.thaw()
    await tenant.caller.ready()
    rest = await ask(40)
    allowed = [row for row in (await tenant.log()).of("decision", agent=capped.id) if row["verdict"] == "allow"]
    assert len(allowed) == taken + without + rest <= cap


@pytest.mark.parametrize("away", AWAY)
async def test_kill_switches_work_through_postgresql(
    home: House, tenant: Tenant, shop: Target, away: Callable[[House], None]
) -> None:
    agent, other = await warmed(tenant, shop), await tenant.agent("other")
    running = asyncio.create_task(tenant.execute(agent, "slow", {"n": 1}))
    await eventually(lambda: shop.begun[1], "the slow action runs")
    away(home)
    path = f"/v1/kill-switches/agent:{agent.id}"
    order = await tenant.caller.ask("PUT", path, {"reason": "test"}, token=tenant.admin)
    assert (order.status, order.body["durable"], order.body["silent"]) == (200, True, [])
    assert len(order.body["acknowledged"]) == 2
    answers = await asyncio.gather(*(tenant.decide(agent, "look", {"n": n}) for n in range(WARM)))
    assert {answer.code for answer in answers} == {"kill"}
    await eventually(lambda: shop.cancelled[1], "what ran was cancelled at its target")
    assert (await running).status == 403
    assert (await tenant.decide(other, "look", {"n": 1})).code == "allow"
    await tenant.set_up("POST", f"{path}/release", {"reason": "test"})
    assert (await tenant.decide(agent, "look", {"n": 1})).code == "allow"


@pytest.mark.parametrize("away", AWAY)
async def test_both_gateways_take_up_an_agent_that_was_made_through_one_of_them(
    home: House, tenant: Tenant, shop: Target, away: Callable[[House], None]
) -> None:
    """Nobody tells the other process at once: it has to look for what it doesn't know."""
    known = await warmed(tenant, shop)
    away(home)
    await degraded(tenant, known)
    for n in range(4):
        agent = await tenant.agent(f"new {n}")
        quota, contract = f"/v1/quotas/agent:{agent.id}", f"/v1/contracts/{agent.id}"
        await asyncio.gather(
            *(tenant.set_up("PUT", quota, {"daily_requests": 5}) for _ in range(WARM)),
            *(tenant.set_up("PUT", contract, {"mode": "enforce"}) for _ in range(WARM)),
            *(tenant.set_up("POST", "/v1/keys", {"name": "k", "role": "agent", "agent": agent.id}) for _ in range(4)),
            *(tenant.caller.ask("POST", "/v1/sessions", {}, token=agent.token) for _ in range(WARM)),
        )
        answers = await asyncio.gather(*(tenant.decide(agent, "look", {"n": n}) for n in range(2)))
        assert not any("auth.agent_unknown" in answer.codes for answer in answers), answers
