"""Idempotency keys on the real store: the whole table, and what crashes leave behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from aegis.audit import keys
from aegis.audit.committer import Committer
from aegis.db.database import Database
from aegis.kernel.call import Action, Call, Context, Principal, Role
from aegis.kernel.clock import now_us
from aegis.kernel.ids import uuid7
from aegis.kernel.jsontree import parse
from aegis.kernel.problems import Problem
from aegis.kernel.record import Draft
from aegis.pipeline.idempotency import Fresh, Idempotency, Stored, request_digest
from aegis.tenants.accounts import NewTenant

BODY = {"tool": "pay", "arguments": {"amount": 1}}
OTHER_BODY = {"tool": "pay", "arguments": {"amount": 2}}


@dataclass
class House:
    database: Database
    ledger: Committer
    tenant: str

    async def process(self, *, is_alive: bool = True) -> Idempotency:
        """The store as a process of that fate has it."""
        made = uuid4()
        async with self.database.unscoped() as connection:
            await connection.execute(
                "INSERT INTO control.processes (id, role, host, pid, lease_until)"
                " VALUES ($1, 'gateway', $2, $3, now() + interval '1 minute')",
                made,
                socket.gethostname(),
                os.getpid(),
            )
        store = Idempotency(self.database, made)
        if not is_alive:
            await self.kill(store)
        return store

    async def kill(self, store: Idempotency) -> None:
        process: UUID = store._process
        async with self.database.unscoped() as connection:
            await connection.execute(
                "UPDATE control.processes SET lease_until = now() - interval '1 second' WHERE id = $1", process
            )

    def call(self, **members: Any) -> Call:
        principal = Principal(self.tenant, "k_1", Role.AGENT, agent=members.pop("agent", "agt_1"))
        action = Action("pay", "pay", {}, None, "sha256:0")
        made = Call(uuid7(), principal, action, Context(), "rest", "execute", now_us(), 10, idempotency_key="key")
        return replace(made, **members)

    async def record(self, call: Call, verdict: str) -> int:
        draft = Draft(
            tenant=self.tenant,
            kind="decision",
            rid=call.decision_id,
            fields={"verdict": verdict},
            agent="agt_1",
            verdict=verdict,
            counts=(verdict,),
        )
        return (await self.ledger.append(draft)).seq

    async def end(self, seq: int) -> None:
        fields = {"of": seq, "status": "ok"}
        await self.ledger.append(
            Draft(tenant=self.tenant, kind="outcome", rid=uuid7(), fields=fields, of_seq=seq, counts=("ok",))
        )


@pytest.fixture
async def house(database: Database, tenant: NewTenant, tmp_path: Path) -> AsyncIterator[House]:
    ledger = Committer(database, keys.load(tmp_path / "keys", create=True), instance="test", clock=now_us)
    await ledger.start()
    yield House(database, ledger, tenant.id)
    await ledger.close()


async def refused(store: Idempotency, call: Call, body: Any = BODY) -> Problem:
    with pytest.raises(Problem) as raised:
        await store.begin(call, body)
    assert raised.value.status == 409
    return raised.value


async def test_a_first_call_is_fresh_and_its_answer_is_kept(house: House) -> None:
    store, call = await house.process(), house.call()
    assert await store.begin(call, BODY) == Fresh()
    await house.record(call, "kill")
    await store.finish(call, 403, b'{"verdict":"kill"}')
    assert await store.begin(house.call(), BODY) == Stored(403, b'{"verdict":"kill"}', call.decision_id)
    elsewhere = await house.process()
    assert await elsewhere.begin(house.call(), BODY) == Stored(403, b'{"verdict":"kill"}', call.decision_id)


async def test_another_body_is_a_mismatch_whatever_became_of_the_first(house: House) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    assert (await refused(store, house.call(), OTHER_BODY)).code == "idempotency.mismatch"
    await store.finish(call, 403, b"{}")
    assert (await refused(store, house.call(), OTHER_BODY)).code == "idempotency.mismatch"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (b'{"a":1,"b":[1.0]}', b'{ "b": [1], "a": 1.0 }', True),
        (b'{"a":1}', b'{"a":1.0000000000000000000001}', False),
        (b'{"a":1}', b'{"a":"1"}', False),
        (b'{"a":null}', b"{}", False),
    ],
)
def test_the_same_body_is_the_same_tree(one: bytes, two: bytes, same: bool) -> None:
    assert (request_digest(parse(one)) == request_digest(parse(two))) is same


@pytest.mark.parametrize("is_running", [False, True])
async def test_one_in_flight_is_told_to_wait(house: House, is_running: bool) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    if is_running:
        await store.running(call)
    problem = await refused(await house.process(), house.call())
    assert (problem.code, problem.retry_after_s) == ("idempotency.in_flight", 1.0)
    assert problem.members["decision_id"] == call.decision_id


async def test_of_many_at_once_one_is_fresh(house: House) -> None:
    stores = [await house.process() for _ in range(2)]
    asked = [stores[n % 2].begin(house.call(), BODY) for n in range(40)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, Problem)] == [Fresh()]
    assert {answer.code for answer in answers if isinstance(answer, Problem)} == {"idempotency.in_flight"}


@pytest.mark.parametrize("verdict", [None, "allow", "kill"])
async def test_what_a_dead_process_only_judged_is_judged_again(house: House, verdict: str | None) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    if verdict is not None:
        await house.record(call, verdict)
    await house.kill(store)
    heir, again = await house.process(), house.call()
    assert await heir.begin(again, BODY) == Fresh()
    await heir.running(again)
    await heir.finish(again, 200, b"{}")


async def test_of_many_heirs_one_takes_over(house: House) -> None:
    store = await house.process()
    await store.begin(house.call(), BODY)
    await house.kill(store)
    heir = await house.process()
    answers = await asyncio.gather(*(heir.begin(house.call(), BODY) for _ in range(20)), return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, Problem)] == [Fresh()]


async def test_one_taken_for_dead_that_lives_does_not_run(house: House) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    await house.kill(store)
    heir, again = await house.process(), house.call()
    await heir.begin(again, BODY)
    with pytest.raises(Problem) as raised:
        await store.running(call)
    assert raised.value.code == "idempotency.in_flight"
    await store.finish(call, 200, b"the ghost's")
    await store.abandon(call)
    await heir.finish(again, 200, b"the heir's")
    assert await heir.begin(house.call(), BODY) == Stored(200, b"the heir's", again.decision_id)


async def test_what_ran_in_a_process_that_died_never_runs_again(house: House) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    seq = await house.record(call, "allow")
    await store.running(call)
    await house.kill(store)
    heir = await house.process()
    for _ in range(2):
        problem = await refused(heir, house.call())
        assert (problem.code, problem.members) == (
            "execute.unknown", {"effect": "unknown", "decision_id": call.decision_id}
        )  # fmt: skip
    await house.end(seq)
    assert (await refused(heir, house.call())).members["effect"] == "done"


async def test_what_ran_and_lost_its_answer_never_runs_again(house: House) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    await house.record(call, "allow")
    await store.running(call)
    await store.abandon(call)
    assert (await refused(store, house.call())).code == "execute.unknown"


async def test_what_was_abandoned_before_it_ran_is_fresh(house: House) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    await store.abandon(call)
    assert await store.begin(house.call(), OTHER_BODY) == Fresh()


@pytest.mark.parametrize("verdict", ["allow", "monitor"])
async def test_an_allow_that_has_not_run_is_judged_again(house: House, verdict: str) -> None:
    store, call = await house.process(), house.call(endpoint="decide")
    await store.begin(call, BODY)
    seq = await house.record(call, verdict)
    await store.finish(call, 200, b"first")
    again = house.call(endpoint="decide")
    assert await store.begin(again, BODY) == Fresh()
    assert (await refused(store, house.call(endpoint="decide"))).code == "idempotency.in_flight"

    seq = await house.record(again, verdict)
    await store.finish(again, 200, b"second")
    await house.end(seq)
    assert await store.begin(house.call(endpoint="decide"), BODY) == Stored(200, b"second", again.decision_id)


@pytest.mark.parametrize("verdict", ["throttle", "escalate", "kill"])
async def test_a_refusal_is_answered_as_before(house: House, verdict: str) -> None:
    store, call = await house.process(), house.call(endpoint="decide")
    await store.begin(call, BODY)
    await house.record(call, verdict)
    await store.finish(call, 200, b"refused")
    assert isinstance(await store.begin(house.call(endpoint="decide"), BODY), Stored)


@pytest.mark.parametrize(
    "members",
    [{"agent": "agt_2"}, {"agent": None}, {"endpoint": "decide"}, {"idempotency_key": "other"}],
    ids=["another agent", "no agent", "another endpoint", "another key"],
)
async def test_keys_are_apart(house: House, members: dict[str, Any]) -> None:
    store = await house.process()
    await store.begin(house.call(), BODY)
    assert await store.begin(house.call(**members), OTHER_BODY) == Fresh()


@pytest.mark.parametrize("state", ["judging", "running", "done"])
async def test_a_key_ends_after_a_day(house: House, state: str) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    async with house.database.scope(house.tenant) as connection:
        left = await connection.fetchval("SELECT expires_at - now() FROM control.idempotency")
        assert 86_300 < left.total_seconds() <= 86_400
        await connection.execute("UPDATE control.idempotency SET expires_at = now(), state = $1", state)
    assert await store.begin(house.call(), OTHER_BODY) == Fresh()


async def test_a_sweep_takes_expired_keys_only(house: House) -> None:
    store = await house.process()
    await store.begin(house.call(), BODY)
    await store.begin(house.call(idempotency_key="old"), BODY)
    async with house.database.scope(house.tenant) as connection:
        await connection.execute("UPDATE control.idempotency SET expires_at = now() WHERE key = 'old'")
    await store.sweep(house.tenant)
    async with house.database.scope(house.tenant) as connection:
        assert [row["key"] for row in await connection.fetch("SELECT key FROM control.idempotency")] == ["key"]


async def test_a_call_without_a_key_needs_no_row_to_run(house: House) -> None:
    await (await house.process()).running(house.call(idempotency_key=None))


async def test_without_the_store_nothing_begins_and_nothing_runs(house: House) -> None:
    store, call = await house.process(), house.call()
    await store.begin(call, BODY)
    await house.database.pool.close()
    for refused_by in (store.begin(call, BODY), store.running(call)):
        with pytest.raises(Problem) as raised:
            await refused_by
        assert (raised.value.status, raised.value.code) == (503, "audit.unavailable")
    assert await store.finish(call, 200, b"{}") is False
