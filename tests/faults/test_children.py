"""Policy engines and analysts that hang, die or eat memory: the call is denied with its code, the next one is fine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aegis.policy.bundle import build
from tests.faults.house import Agent, Answer, House, Tenant, eventually, known_to_both

AT_ONCE = 8
ENGINE, ANALYST = "opa_child", "analysis_child"
QUERY = {"query": "SELECT name FROM people WHERE id = 7"}


async def prepared(tenant: Tenant) -> Agent:
    await tenant.tool("look", "read")
    await tenant.tool("sql.query", "read", kinds={"/query": "sql:postgres"})
    agent = await tenant.agent("one")
    await known_to_both(tenant, agent, "look")
    return agent


async def answers(tenant: Tenant, agent: Agent, kind: str) -> list[Answer]:
    """Calls that need the child, some at each gateway."""
    if kind == ENGINE:
        return await asyncio.gather(*(tenant.decide(agent, "look", {"n": n}) for n in range(AT_ONCE)))
    return await asyncio.gather(*(tenant.decide(agent, "sql.query", QUERY) for _ in range(AT_ONCE)))


async def all_allowed(tenant: Tenant, agent: Agent, kind: str) -> bool:
    return {answer.code for answer in await answers(tenant, agent, kind)} == {"allow"}


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [pytest.param(ENGINE, "policy", id="a policy engine"), pytest.param(ANALYST, "analysis", id="an analyst")],
)
@pytest.mark.parametrize("harm", [pytest.param(House.freeze, id="hangs"), pytest.param(House.kill, id="is killed")])
async def test_a_child_is_replaced_and_its_calls_are_denied_with_its_code(
    home: House, tenant: Tenant, kind: str, prefix: str, harm: Callable[..., None]
) -> None:
    agent = await prepared(tenant)
    await eventually(lambda: all_allowed(tenant, agent, kind), "the child serves")
    before = await eventually(lambda: _full(home, kind), "all children are there")
    harm(home, *before)
    found = await answers(tenant, agent, kind)
    failures = [answer.codes & {f"{prefix}.timeout", f"{prefix}.unavailable"} for answer in found]
    for answer, failed in zip(found, failures, strict=True):
        assert answer.code == ("kill" if failed else "allow"), answer
    if harm is House.freeze:  # a killed one may be replaced before anybody asks; one that hangs is noticed by its calls
        assert all(failures) and {f"{prefix}.timeout"} in failures
    await eventually(lambda: all_allowed(tenant, agent, kind), "another child serves")
    await eventually(lambda: _full(home, kind) and not set(home.pids(kind)) & set(before), "all were replaced")
    (await tenant.log()).verify()


def _full(home: House, kind: str) -> list[int]:
    """The children, once there are as many as two gateways with two each have."""
    found = home.pids(kind)
    return found if len(found) == 4 else []


BUNDLE = """
package tenant.greedy

findings contains {{"code": "policy.rule", "rule": "tenant.greedy"}} if {{
    input.action.tool == "look"
    {body}
}}
"""


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        pytest.param(
            "count([x | some a in numbers.range(1, 30000); some b in numbers.range(1, 30000); x := a * b]) == 0",
            {"policy.timeout", "policy.unavailable"},
            id="loops over very much and keeps it",
        ),
        pytest.param(
            'count(strings.render_template("x", {})) + count(concat("", [x | some _ in numbers.range(1, 200000);'
            ' x := concat("", [y | some _ in numbers.range(1, 20000); y := "xxxxxxxxxxxxxxxx"])])) == 0',
            {"policy.timeout", "policy.unavailable", "policy.error"},
            id="builds a text that no memory holds",
        ),
    ],
)
async def test_a_greedy_policy_costs_its_own_tenant_alone(tenant: Tenant, body: str, codes: set[str]) -> None:
    agent = await prepared(tenant)
    neighbour = await tenant.caller.tenant()
    other = await prepared(neighbour)
    archive = build({"rules.rego": BUNDLE.format(body=body).encode()}).archive
    made = await tenant.caller.ask("POST", "/v1/policies", data=archive, token=tenant.admin)
    assert made.status == 201, made
    await tenant.set_up("POST", f"/v1/policies/{made.body['digest']}/activate", {})

    async def in_force() -> bool:
        return all(answer.code == "kill" for answer in await answers(tenant, agent, ENGINE))

    await eventually(in_force, "the bundle is in force, and no call passes it")
    for answer in await answers(tenant, agent, ENGINE):
        assert answer.codes & codes, answer
    await eventually(lambda: all_allowed(neighbour, other, ENGINE), "the neighbour's calls are allowed", 15)
