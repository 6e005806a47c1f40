"""The kill switch raced: after its answer no allow stands in its scope, and what ran is cancelled at its target."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.house import Agent, House, Target, Tenant, eventually, known_to_both

RACING = 12
STAYS = 4
"""Slow actions that run when the order comes."""

Scope = Callable[[Tenant, Agent, str], str]
SCOPES: list[tuple[str, Scope]] = [
    ("tenant", lambda tenant, agent, session: "tenant"),
    ("agent", lambda tenant, agent, session: f"agent:{agent.id}"),
    ("tool", lambda tenant, agent, session: "tool:pay"),
    ("session", lambda tenant, agent, session: f"session:{session}"),
]


@pytest.mark.parametrize("scope_of", [pytest.param(scope, id=name) for name, scope in SCOPES])
@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda house: None, id="all is well"),
        pytest.param(lambda house: house.freeze(*house.pids("valkey")), id="Valkey hangs"),
    ],
)
async def test_no_allow_stands_behind_the_order(
    home: House, tenant: Tenant, shop: Target, scope_of: Scope, harm: Callable[[House], None]
) -> None:
    await tenant.tool("pay", "write", shop)
    await tenant.tool("slow", "write", shop)
    await tenant.set_up("PUT", "/v1/tools/slow-pay", {"effect": "write", "output_trust": "trusted", "alias_of": "pay"})
    agent, other = await tenant.agent("raced"), await tenant.agent("other")
    await known_to_both(tenant, agent, "pay")
    await known_to_both(tenant, other, "pay")
    opened = await tenant.caller.ask("POST", "/v1/sessions", {}, token=agent.token)
    session = opened.body["session_id"]
    scope = scope_of(tenant, agent, session)
    harm(home)

    in_scope = {"session_id": session}
    numbers = itertools.count(1000)
    answered, stop = asyncio.Event(), asyncio.Event()
    late: list[Any] = []

    async def race() -> None:
        while not stop.is_set():
            was_answered = answered.is_set()  # before the call: whatever begins after the answer is refused
            answer = await tenant.execute(agent, "pay", {"n": next(numbers)}, **in_scope)
            assert answer.status in (200, 403), answer
            if was_answered:
                late.append(answer)

    racing = [asyncio.create_task(race()) for _ in range(RACING)]

    # Tool scopes stop what the tool does, so slow actions of another tool go on there.
    async def run_slow(n: int) -> Any:
        answer = await tenant.execute(agent, "slow", {"n": n}, **in_scope)
        while not shop.begun[n]:  # a call that meets the fault's first moment may be refused
            answer = await tenant.execute(agent, "slow", {"n": n}, **in_scope)
        return answer

    slow = [asyncio.create_task(run_slow(n)) for n in range(STAYS)]
    await eventually(lambda: all(shop.begun[n] for n in range(STAYS)), "the slow actions run")
    await eventually(lambda: shop.done.total() > 30, "many fast ones ran")
    order = await tenant.caller.ask("PUT", f"/v1/kill-switches/{scope}", {"reason": "race"}, token=tenant.admin)
    answered.set()
    ran = shop.begun.total()
    assert (order.status, order.body["durable"], order.body["silent"]) == (200, True, [])
    assert len(order.body["acknowledged"]) == 2
    await eventually(lambda: len(late) > 3 * RACING, "calls came after the answer")
    stop.set()
    await asyncio.gather(*racing)

    assert {answer.code for answer in late} == {"verdict.kill"}
    assert shop.begun.total() == ran, "something began at its target after the answer"
    if scope == "tool:pay":
        shop.gate.set()
        assert {answer.status for answer in await asyncio.gather(*slow)} == {200}
    else:
        await eventually(lambda: all(shop.cancelled[n] for n in range(STAYS)), "what ran was cancelled at its target")
        assert {(answer.status, answer.code) for answer in await asyncio.gather(*slow)} == {(403, "verdict.kill")}
        assert order.body["cancelled"] >= STAYS
    free = await tenant.decide(other, "pay" if scope != "tool:pay" else "slow", {"n": 1})
    assert free.code == ("kill" if scope == "tenant" else "allow")

    home.thaw()
    log = await tenant.log()
    log.verify()
    [kill] = log.of("kill")
    assert kill["scope"] == (scope if not scope.startswith("session") else kill["scope"])
    behind = [
        row
        for row in log.of("decision")
        if row["seq"] > kill["seq"] and row["verdict"] in ("allow", "monitor") and _in_scope(row, scope, agent)
    ]
    assert not behind, f"allowed behind the order: {behind[:3]}"
    assert [row for row in log.of("decision", verdict="allow") if row["seq"] < kill["seq"]]


def _in_scope(row: dict[str, Any], scope: str, agent: Agent) -> bool:
    if scope == "tool:pay":
        return bool(row["tool"] == "pay")
    return scope == "tenant" or bool(row["agent"] == agent.id)


async def test_every_running_action_gets_its_outcome_row(tenant: Tenant, shop: Target) -> None:
    await tenant.tool("slow", "write", shop)
    agent = await tenant.agent("stopped")
    await known_to_both(tenant, agent, "slow", 2)
    slow = [asyncio.create_task(tenant.execute(agent, "slow", {"n": n})) for n in range(STAYS)]
    await eventually(lambda: all(shop.begun[n] for n in range(STAYS)), "the slow actions run")
    await tenant.set_up("PUT", f"/v1/kill-switches/agent:{agent.id}", {"reason": "stop"})
    answers = await asyncio.gather(*slow)
    log = await tenant.log()
    for answer in answers:
        assert answer.body["effect"] == "unknown"
        outcome = log.outcome_of(answer.body["decision_id"])
        assert outcome is not None and outcome["status"] == "cancelled"
        assert "execute.killed" in {found["code"] for found in outcome["findings"]}


async def test_a_gateway_that_died_does_not_hold_up_the_order(home: House, tenant: Tenant, shop: Target) -> None:
    await tenant.tool("pay", "write", shop)
    agent = await tenant.agent("one")
    await known_to_both(tenant, agent, "pay")
    home.kill(home.pids("gateway")[0])
    order = await eventually(lambda: _ordered(tenant, agent), "the order is taken")
    assert order["durable"] and not [each for each in order["silent"] if each["is_alive"]]
    await eventually(lambda: _refused(tenant, agent), "the new gateway refuses too")


async def _ordered(tenant: Tenant, agent: Agent) -> Any:
    path = f"/v1/kill-switches/agent:{agent.id}"
    answer = await tenant.caller.ask("PUT", path, {"reason": "race"}, token=tenant.admin)
    return answer.body if answer.status == 200 else None


async def _refused(tenant: Tenant, agent: Agent) -> bool:
    answers = await asyncio.gather(*(tenant.decide(agent, "pay", {"n": n}) for n in range(8)))
    assert {answer.code for answer in answers} <= {"kill"}, answers
    return True


async def test_changes_of_one_tenant_that_come_together_wait_for_each_other(tenant: Tenant) -> None:
    """Each locks documents, the tenant's version and the log's head: in a knot one of them would be lost."""
    agent = await tenant.agent("one")
    scope = f"/v1/kill-switches/agent:{agent.id}"
    for n in range(4):
        contract = {"mode": "enforce", "tools": {"allow": [f"tool {n}"]}}
        quota = {"daily_requests": n}
        await asyncio.gather(
            *(tenant.set_up("PUT", f"/v1/contracts/{agent.id}", contract) for _ in range(6)),
            *(tenant.set_up("PUT", f"/v1/quotas/agent:{agent.id}", quota) for _ in range(6)),
            *(tenant.set_up("PUT", scope, {"reason": "test"}) for _ in range(6)),
            *(tenant.set_up("PUT", f"/v1/tools/made-{n}", {"effect": "read"}) for _ in range(6)),
        )
        await tenant.set_up("POST", f"{scope}/release", {"reason": "test"})
    (await tenant.log()).verify()
