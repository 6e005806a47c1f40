"""Approvals on the real store and the real log: who may decide, what is taken, and how often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aegis.audit import keys
from aegis.audit.committer import Committer
from aegis.autonomy.approvals import Approvals, Decider, State, Used, Wanted, judge, use_within
from aegis.db.database import Database
from aegis.kernel.call import Role
from aegis.kernel.clock import now_us
from aegis.kernel.problems import Problem
from aegis.kernel.verdict import Verdict
from aegis.tenants.accounts import NewTenant, create_agent

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
SECOND = 1_000_000


@dataclass
class House:
    database: Database
    store: Approvals
    tenant: str
    agent: str
    now: int

    def wanted(self, **members: Any) -> Wanted:
        made = Wanted("d-1", DIGEST, self.agent, "pay", {"tool": "pay", "arguments": {"to": "a\0b"}}, "k_requester")
        return replace(made, **{"user": "u_session", "session": "s_1", **members})

    async def granted(self, uses: int = 1, **more: Any) -> str:
        asked = await self.store.request(self.tenant, self.wanted(), self.now)
        await self.store.approve(self.tenant, asked.id, ANN, self.now, uses=uses, **more)
        return asked.id

    async def use(self, approval: str, digest: str = DIGEST, agent: str | None = None, later_us: int = 0) -> State:
        used = await self.store.use(self.tenant, approval, agent or self.agent, digest, self.now + later_us)
        return used.state

    async def rows(self) -> list[dict[str, Any]]:
        async with self.database.scope(self.tenant) as connection:
            found = await connection.fetch("SELECT entry FROM log.entries WHERE kind = 'approval' ORDER BY seq")
        return [json.loads(each["entry"].split(b"\n")[0]) for each in found]


ANN = Decider("u_ann", Role.SECURITY, frozenset({"u_ann", "ann@example.com"}), "pseudonym-of-ann")


@pytest.fixture
async def house(database: Database, tenant: NewTenant, tmp_path: Path) -> AsyncIterator[House]:
    ledger = Committer(database, keys.load(tmp_path / "keys", create=True), instance="test", clock=now_us)
    await ledger.start()
    async with database.scope(tenant.id) as connection:
        agent = await create_agent(connection, tenant.id, "payer", owner="Owner@Example.com")
    yield House(database, Approvals(database, ledger), tenant.id, agent.id, now_us())
    await ledger.close()


async def test_an_approval_is_asked_for_granted_used_and_then_used_up(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    assert (asked.status, asked.uses_left, asked.action_digest) == ("pending", 0, DIGEST)
    assert await house.use(asked.id) == "pending"
    given = await house.store.approve(house.tenant, asked.id, ANN, house.now, reason="fine")
    assert (given.status, given.uses_left, given.decided_by, given.reason) == ("approved", 1, "u_ann", "fine")
    assert await house.use(asked.id) == "granted"
    assert await house.use(asked.id) == "used"


async def test_a_decision_stands_in_the_log_without_words_of_people(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    await house.store.approve(house.tenant, asked.id, ANN, house.now, reason="my secret reason", uses=3)
    (row,) = await house.rows()
    assert (row["approval"], row["agent"]) == (asked.id, house.agent)
    assert row["detail"]["status"] == "approved" and row["detail"]["uses"] == 3
    assert row["detail"]["by"] == "pseudonym-of-ann"
    assert "secret" not in json.dumps(row) and "ann@" not in json.dumps(row)


async def test_asking_again_finds_the_question_that_waits(house: House) -> None:
    asks = [house.store.request(house.tenant, house.wanted(decision_id=f"d-{n}"), house.now) for n in range(10)]
    assert len({asked.id for asked in await asyncio.gather(*asks)}) == 1
    other = await house.store.request(house.tenant, house.wanted(session="s_2"), house.now)
    third = await house.store.request(house.tenant, house.wanted(action_digest=OTHER), house.now)
    assert len({other.id, third.id, (await house.store.request(house.tenant, house.wanted(), house.now)).id}) == 3


async def test_what_people_see_holds_the_action_and_what_agents_see_does_not(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    assert asked.public(to_people=True)["action"] == {"tool": "pay", "arguments": {"to": "a\u2400b"}}
    assert not {"action", "reason", "user"} & asked.public(to_people=False).keys()
    assert asked.brief().keys() == {"id", "status", "expires_at", "action_digest"}


@pytest.mark.parametrize("uses", [1, 7])
async def test_fifty_at_once_take_exactly_what_was_granted(house: House, uses: int) -> None:
    approval = await house.granted(uses)
    states = await asyncio.gather(*(house.use(approval) for _ in range(50)))
    assert sorted(states) == ["granted"] * uses + ["used"] * (50 - uses)


async def test_a_use_that_led_to_nothing_is_given_back(house: House) -> None:
    approval = await house.granted()
    assert await house.use(approval) == "granted"
    await house.store.give_back(house.tenant, approval, house.agent)
    assert await house.use(approval) == "granted"
    assert await house.use(approval) == "used"


async def test_a_use_stands_or_falls_with_the_transaction_it_was_taken_in(house: House) -> None:
    approval = await house.granted()
    with pytest.raises(ZeroDivisionError):
        async with house.database.scope(house.tenant) as connection:
            taken = await use_within(connection, house.tenant, approval, house.agent, DIGEST, house.now)
            assert taken.state == "granted"
            raise ZeroDivisionError
    assert await house.use(approval) == "granted"


async def test_another_action_agent_or_tenant_can_not_use_it(house: House) -> None:
    approval = await house.granted(uses=5)
    assert await house.use(approval, digest=OTHER) == "mismatch"
    assert await house.use(approval, agent="agt_other") == "unknown"
    assert await house.use("ap_none") == "unknown"
    assert (await house.store.use("ten_other", approval, house.agent, DIGEST, house.now)).state == "unknown"
    found = await house.store.find(house.tenant, approval, house.now)
    assert found is not None and found.uses_left == 5


async def test_a_grant_ends_at_its_moment(house: House) -> None:
    approval = await house.granted(uses=2, expires_in_s=60)
    assert await house.use(approval, later_us=60 * SECOND - 1) == "granted"
    assert await house.use(approval, later_us=60 * SECOND) == "expired"
    found = await house.store.find(house.tenant, approval, house.now + 60 * SECOND)
    assert found is not None and found.status == "expired"


async def test_a_denied_action_stays_denied(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    await house.store.deny(house.tenant, asked.id, ANN, house.now, reason="no")
    assert await house.use(asked.id) == "denied"
    assert await house.use(asked.id, digest=OTHER) == "mismatch"
    assert [row["detail"]["status"] for row in await house.rows()] == ["denied"]
    with pytest.raises(Problem) as raised:
        await house.store.approve(house.tenant, asked.id, ANN, house.now)
    assert (raised.value.status, raised.value.code) == (409, "approval.decided")


async def test_two_people_who_decide_at_once_do_not_both_win(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    answers = await asyncio.gather(
        house.store.approve(house.tenant, asked.id, ANN, house.now),
        house.store.deny(house.tenant, asked.id, ANN, house.now),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Approval", "Problem"]
    assert len(await house.rows()) == 1


@pytest.mark.parametrize(
    ("decider", "code"),
    [
        pytest.param(replace(ANN, subject="k_requester"), "approval.own", id="the requester"),
        pytest.param(replace(ANN, names=frozenset({"U_Session"})), "approval.own", id="the session's user"),
        pytest.param(replace(ANN, names=frozenset({"owner@example.com"})), "approval.own", id="the agent's owner"),
        pytest.param(replace(ANN, role=Role.AGENT), "approval.role", id="an agent"),
        pytest.param(replace(ANN, role=Role.APPLICATION), "approval.role", id="an application"),
        pytest.param(replace(ANN, role=Role.VIEWER), "approval.role", id="a viewer"),
        pytest.param(replace(ANN, role=Role.AUDITOR), "approval.role", id="an auditor"),
        pytest.param(replace(ANN, role=Role.OPERATOR), "approval.role", id="the operator"),
    ],
)
async def test_who_has_a_part_in_it_can_not_approve(house: House, decider: Decider, code: str) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    with pytest.raises(Problem) as raised:
        await house.store.approve(house.tenant, asked.id, decider, house.now)
    assert (raised.value.status, raised.value.code) == (403, code)
    assert await house.use(asked.id) == "pending" and await house.rows() == []


async def test_a_question_nobody_answered_in_time_is_closed(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    late = house.now + 24 * 3600 * SECOND
    with pytest.raises(Problem) as raised:
        await house.store.approve(house.tenant, asked.id, ANN, late)
    assert (raised.value.status, raised.value.code) == (409, "approval.expired")
    assert (await house.store.request(house.tenant, house.wanted(), late)).id != asked.id
    assert await house.use(asked.id, later_us=24 * 3600 * SECOND) == "expired"


@pytest.mark.parametrize(
    "given",
    [
        {"uses": 0},
        {"uses": 1001},
        {"uses": True},
        {"expires_in_s": 0},
        {"expires_in_s": 604_801},
        {"reason": "x" * 2001},
    ],
)
async def test_a_grant_has_bounds(house: House, given: dict[str, Any]) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    with pytest.raises(Problem) as raised:
        await house.store.approve(house.tenant, asked.id, ANN, house.now, **given)
    assert raised.value.status == 422


async def test_an_unknown_approval_is_not_found(house: House) -> None:
    with pytest.raises(Problem) as raised:
        await house.store.approve(house.tenant, "ap_none", ANN, house.now)
    assert raised.value.status == 404


async def test_a_waiter_is_told_of_a_decision(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    waiting = asyncio.create_task(house.store.wait(house.tenant, asked.id, 30, house.now))
    await house.store.approve(house.tenant, asked.id, ANN, house.now)
    told = await asyncio.wait_for(waiting, 5)
    assert told is not None and told.status == "approved"


async def test_a_waiter_hears_of_a_decision_made_elsewhere(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    elsewhere = Approvals(house.database, house.store._ledger)
    waiting = asyncio.create_task(house.store.wait(house.tenant, asked.id, 30, house.now))
    await elsewhere.approve(house.tenant, asked.id, ANN, house.now)
    told = await asyncio.wait_for(waiting, 5)
    assert told is not None and told.status == "approved"


async def test_a_waiter_gets_what_stands_when_time_is_up(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    told = await house.store.wait(house.tenant, asked.id, 0, house.now)
    assert told is not None and told.status == "pending"
    assert await house.store.wait(house.tenant, "ap_none", 30, house.now) is None
    assert not house.store._news


async def test_pages_go_back_in_time(house: House) -> None:
    ids = []
    for n in range(5):
        asked = await house.store.request(house.tenant, house.wanted(session=f"s_{n}"), house.now + n * SECOND)
        ids.append(asked.id)
    first = await house.store.page(house.tenant, house.now, limit=2)
    rest = await house.store.page(house.tenant, house.now, before=(first[-1].created_at, first[-1].id), limit=10)
    assert [each.id for each in (*first, *rest)] == ids[::-1]
    assert await house.store.page(house.tenant, house.now, status="approved") == []


async def test_a_status_is_that_of_the_moment_that_is_asked_about(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    late = house.now + 10**15
    assert [each.id for each in await house.store.page(house.tenant, house.now, status="pending")] == [asked.id]
    assert await house.store.page(house.tenant, house.now, status="expired") == []
    assert [each.id for each in await house.store.page(house.tenant, late, status="expired")] == [asked.id]
    assert await house.store.page(house.tenant, late, status="pending") == []


async def test_pages_of_one_agent_hold_no_others(house: House) -> None:
    asked = await house.store.request(house.tenant, house.wanted(), house.now)
    assert [each.id for each in await house.store.page(house.tenant, house.now, agent=asked.agent)] == [asked.id]
    assert await house.store.page(house.tenant, house.now, agent="agt_other") == []


async def test_an_agent_can_not_ask_without_end(house: House) -> None:
    for n in range(200):
        await house.store.request(house.tenant, house.wanted(session=f"s_{n}"), house.now)
    with pytest.raises(Problem) as raised:
        await house.store.request(house.tenant, house.wanted(session="s_last"), house.now)
    assert raised.value.status == 429


@pytest.mark.parametrize(
    ("state", "force", "rule"),
    [
        ("granted", None, "aegis.approval.granted"),
        ("pending", Verdict.ESCALATE, "aegis.approval.pending"),
        ("expired", Verdict.ESCALATE, "aegis.approval.expired"),
        ("denied", Verdict.KILL, "approval.denied"),
        ("used", Verdict.KILL, "aegis.approval.used"),
        ("mismatch", Verdict.KILL, "aegis.approval.mismatch"),
        ("unknown", Verdict.KILL, "aegis.approval.unknown"),
    ],
)
def test_each_state_has_its_finding(state: State, force: Verdict | None, rule: str) -> None:
    (found,) = judge(Used(state))
    assert (found.code, found.force, found.rule) == (f"approval.{state}", force, rule)


def test_none_presented_none_judged() -> None:
    assert judge(None) == ()
