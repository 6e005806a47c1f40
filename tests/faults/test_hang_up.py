"""A caller that hangs up in the middle of an action loses nothing but the answer."""

from __future__ import annotations

import asyncio

from tests.faults.house import Target, Tenant, eventually, known_to_both


async def test_the_outcome_is_recorded_when_the_caller_hangs_up(tenant: Tenant, shop: Target) -> None:
    await tenant.tool("slow", "write", shop)
    agent = await tenant.agent("hurried")
    await tenant.set_up("PUT", f"/v1/quotas/agent:{agent.id}", {"concurrency": 4})
    await known_to_both(tenant, agent, "slow", 2)
    before = len((await tenant.log()).of("outcome"))
    calls = [
        asyncio.create_task(tenant.execute(agent, "slow", {"n": n}, idempotency_key=f"hurried {n}")) for n in range(2)
    ]
    await eventually(lambda: shop.begun[0] and shop.begun[1], "both actions run")
    for call in calls:
        call.cancel()  # closes the connection
    await asyncio.gather(*calls, return_exceptions=True)
    shop.gate.set()
    outcomes = await eventually(lambda: _outcomes(tenant, before + 2), "both outcomes are in the log")
    assert {row["status"] for row in outcomes[-2:]} == {"ok"}
    assert {row["by"] for row in outcomes[-2:]} == {"aegis"}
    assert not shop.cancelled and shop.done == {0: 1, 1: 1}
    (await tenant.log()).verify()
    # Who asks again is told what came of it, and it doesn't run again.
    for n in range(2):
        again = await tenant.execute(agent, "slow", {"n": n}, idempotency_key=f"hurried {n}")
        assert (again.status, again.body["status"], again.body["output"]) == (200, "ok", {"done": n})
    assert shop.done == {0: 1, 1: 1}


async def _outcomes(tenant: Tenant, least: int) -> list[dict[str, object]]:
    found = (await tenant.log()).of("outcome")
    return found if len(found) >= least else []


async def test_a_caller_that_never_ends_its_request_costs_a_connection_and_no_row(tenant: Tenant) -> None:
    host, port = tenant.caller.house.url.removeprefix("http://").split(":")
    agent = await tenant.agent("slow")
    await tenant.tool("look", "read")
    await known_to_both(tenant, agent, "look", 2)
    before = len((await tenant.log()).entries)
    head = (
        f"POST /v1/decide HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + b'{"tool": "look", ')
        await writer.drain()
        writers.append(writer)
    assert (await tenant.decide(agent, "look", {"n": 1})).code == "allow"
    for writer in writers:
        writer.transport.abort()
    assert (await tenant.decide(agent, "look", {"n": 2})).code == "allow"
    assert len((await tenant.log()).entries) == before + 2
