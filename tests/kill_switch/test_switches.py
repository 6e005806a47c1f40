"""Kills over several gateways: each has its own pool, views, follower and registry, as processes have."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from aegis.audit import keys
from aegis.audit.committer import Committer
from aegis.db.database import Database
from aegis.kernel.clock import now_us
from aegis.kernel.ids import uuid7
from aegis.kernel.problems import Problem
from aegis.kernel.record import Draft, Stale
from aegis.kill_switch.acknowledge import Obedience
from aegis.kill_switch.in_flight import InFlight
from aegis.kill_switch.judge import CallScope
from aegis.kill_switch.spool import Spool
from aegis.kill_switch.switches import SQL, Switches
from aegis.tenants.accounts import NewTenant
from aegis.tenants.follow import Follower, announce_kill
from aegis.tenants.processes import Processes
from aegis.tenants.views import Views

CALL = CallScope("agt_a", "tea_1", "shell", "ses_1")


@dataclass
class Gateway:
    views: Views
    follower: Follower
    processes: Processes
    in_flight: InFlight
    obedience: Obedience

    def run(self, tenant: NewTenant, call: CallScope = CALL) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.create_task(asyncio.Event().wait())
        self.in_flight.register(tenant.id, call, task)
        return task


@asynccontextmanager
async def gateway(url: str, role: str, client: Redis | None = None) -> AsyncIterator[Gateway]:
    database = await Database.connect(url, min_size=1, max_size=4)
    views, in_flight = Views(database), InFlight()
    processes = Processes(database, role, on_lapse=lambda: obedience.on_lapse())
    obedience = Obedience(database, in_flight, processes.id)
    follower = Follower(views, database, client)
    views.subscribe(obedience.on_view)
    follower.on_kill(obedience.on_order)
    await follower.start()
    await processes.join()
    try:
        yield Gateway(views, follower, processes, in_flight, obedience)
    finally:
        await follower.close()
        await obedience.close()
        await processes.leave()
        database.pool.terminate()


@pytest.fixture
def role() -> str:
    return f"gateway-{uuid.uuid4()}"


@pytest.fixture
async def committer(database: Database, tmp_path: Path) -> AsyncIterator[Committer]:
    made = Committer(database, keys.load(tmp_path / "keys", create=True), instance="gw-test", clock=now_us)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def switches(database: Database, committer: Committer, role: str) -> Switches:
    return Switches(database, committer, role=role)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def is_cancelled(task: "asyncio.Task[Any]") -> bool:
    await asyncio.wait([task], timeout=20)
    return task.cancelled()


async def rows(database: Database, tenant: NewTenant) -> list[dict[str, Any]]:
    async with database.scope(tenant.id) as connection:
        records = await connection.fetch("SELECT entry FROM log.entries ORDER BY seq")
    return [json.loads(bytes(record["entry"]).split(b"\n")[0]) for record in records]


def decision(tenant: NewTenant, epoch: int) -> Draft:
    return Draft(
        tenant.id, "decision", rid=uuid7(), fields={"verdict": "allow"}, agent="agt_a", verdict="allow",
        counts=("allow",), judged_epoch=epoch,
    )  # fmt: skip


async def test_every_gateway_obeys_before_the_answer(
    database: Database, postgres: Any, tenant: NewTenant, switches: Switches, role: str
) -> None:
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(gateway(postgres.url, role)) for _ in range(3)]
        mine = [g.run(tenant) for g in gateways[:2]]
        other = gateways[0].run(tenant, CallScope("agt_b", None, "shell", None))
        answer = await switches.engage(tenant.id, "agent:agt_a", "it went mad", "usr_sec")

        assert answer.durable and answer.silent == ()
        assert {a.process for a in answer.acknowledged} == {g.processes.id for g in gateways}
        assert sorted(a.cancelled for a in answer.acknowledged) == [0, 1, 1]
        assert [await is_cancelled(task) for task in mine] == [True, True]
        assert not other.done()
        for g in gateways:
            view = g.views.peek(tenant.id)
            assert view is not None and "agent:agt_a" in view.switches and view.kill_epoch == answer.epoch
        listed = await switches.engaged(tenant.id)
        assert [(s.scope, s.reason, s.engaged_by) for s in listed] == [("agent:agt_a", "it went mad", "usr_sec")]
        assert listed[0].acknowledged == answer.acknowledged


async def test_no_allow_is_appended_behind_a_kill(
    database: Database, tenant: NewTenant, switches: Switches, committer: Committer
) -> None:
    first = await committer.append(decision(tenant, 0))
    answer = await switches.engage(tenant.id, "tenant", "stop", "usr_sec")
    assert answer.epoch == first.kill_epoch + 1
    with pytest.raises(Stale) as stale:
        await committer.append(decision(tenant, first.kill_epoch))
    view = await Views(database).refresh(tenant.id, at_least_epoch=stale.value.epoch)
    assert "tenant" in view.switches and view.kill_epoch == answer.epoch


async def test_the_row_says_scope_and_epoch_and_none_of_a_persons_words(
    database: Database, tenant: NewTenant, switches: Switches
) -> None:
    await switches.engage(tenant.id, "tool:rm everything & <b>", "Ann Smith broke it", "ann@example.com")
    await switches.engage(tenant.id, "tool:shell", "why", "usr_sec")
    await switches.release(tenant.id, "tool:shell", "all is well", "usr_sec")
    kills = [row for row in await rows(database, tenant) if row["kind"] == "kill"]
    assert [(row["scope"], row["epoch"], row["detail"]["order"]) for row in kills] == [
        ("tool:(text)", 1, "engage"),
        ("tool:shell", 2, "engage"),
        ("tool:shell", 2, "release"),
    ]
    for word in ("Ann", "broke", "example", "rm everything", "well", "why"):
        assert word not in json.dumps(kills)
    async with database.scope(tenant.id) as connection:
        body = await connection.fetchval("SELECT body FROM log.bodies WHERE seq = $1", kills[0]["seq"])
    opening = json.loads(body)["openings"]["inputs"]["payload"]
    assert (opening["reason"], opening["scope"]) == ("Ann Smith broke it", "tool:rm everything & <b>")


async def test_a_release_reaches_every_gateway_and_can_be_given_once(
    postgres: Any, tenant: NewTenant, switches: Switches, role: str
) -> None:
    async with gateway(postgres.url, role) as one:
        await switches.engage(tenant.id, "tenant", "stop", "usr_sec")
        await switches.release(tenant.id, "tenant", "go on", "usr_sec")
        await until(lambda: not (one.views.peek(tenant.id) or _empty()).switches)
        task = one.run(tenant)
        await asyncio.sleep(0)
        assert not task.done()
        with pytest.raises(Problem) as raised:
            await switches.release(tenant.id, "tenant", "again", "usr_sec")
        assert raised.value.status == 404
        again = await switches.engage(tenant.id, "tenant", "stop again", "usr_sec")
        assert again.epoch == 2 and again.silent == () and len(again.acknowledged) == 1
        assert await is_cancelled(task)


def _empty() -> Any:
    raise AssertionError("the view is gone")


async def test_a_gateway_that_is_silent_is_named(
    database: Database, postgres: Any, tenant: NewTenant, switches: Switches, role: str
) -> None:
    dead = Processes(database, role)
    await dead.renew()  # and never again: its lease will lapse
    async with gateway(postgres.url, role) as alive:
        answer = await switches.engage(tenant.id, "tenant", "stop", "usr_sec")
        assert [a.process for a in answer.acknowledged] == [alive.processes.id]
        assert [(s.process, s.is_alive) for s in answer.silent] == [(dead.id, False)]


async def test_redis_that_is_away_changes_nothing(
    database: Database, postgres: Any, tenant: NewTenant, committer: Committer, role: str
) -> None:
    client = Redis.from_url("unix:///nowhere/valkey.sock")
    switches = Switches(database, committer, tell=lambda *order: announce_kill(client, *order), role=role)
    async with gateway(postgres.url, role, client) as one:
        task = one.run(tenant)
        answer = await switches.engage(tenant.id, "session:ses_1", "stop", "usr_sec")
        assert answer.durable and not answer.told and answer.silent == ()
        assert await is_cancelled(task)


async def test_with_postgres_away_running_calls_stop_and_the_order_is_logged_afterwards(
    database: Database, wire: Any, tenant: NewTenant, role: str, valkey_url: str, tmp_path: Path
) -> None:
    client = Redis.from_url(valkey_url)
    through = await Database.connect(wire.url, min_size=1, max_size=4)
    ledger = Committer(through, keys.load(tmp_path / "keys", create=True), instance="gw-wire", clock=now_us)
    spool = Spool(tmp_path / "spool", now_us)
    switches = Switches(through, ledger, tell=lambda *order: announce_kill(client, *order), spool=spool, role=role)
    async with gateway(wire.url, role, client) as one:
        await until(lambda: one.follower.is_subscribed and one.follower.is_listening)
        task, other = one.run(tenant), one.run(tenant, CallScope("agt_b", None, "sql", None))
        await wire.cut()
        answer = await switches.engage(tenant.id, "agent:agt_a", "stop", "usr_sec")
        assert (answer.durable, answer.told, answer.epoch) == (False, True, None)
        assert await is_cancelled(task)
        assert not other.done()
        assert await switches.merge_spooled() == 0 and len(spool.orders()) == 1

        await wire.mend()
        async with asyncio.timeout(20):
            while await switches.merge_spooled() == 0:
                await asyncio.sleep(0.05)
        assert spool.orders() == ()
        row = (await rows(database, tenant))[-1]
        assert (row["kind"], row["scope"], row["epoch"]) == ("kill", "agent:agt_a", 1)
        assert row["detail"]["spooled"] and row["detail"]["ordered_at"] <= row["ts"]
        await until(lambda: "agent:agt_a" in getattr(one.views.peek(tenant.id), "switches", ()))
    through.pool.terminate()
    await client.aclose()


async def test_a_spooled_order_that_the_log_never_takes_does_not_hold_up_the_others(
    database: Database, tenant: NewTenant, committer: Committer, role: str, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool", now_us)
    spool.add(tenant.id, "tenant", "a\x00b", "usr_sec")
    spool.add(tenant.id, "agent:agt_a", "stop", "usr_sec")
    assert await Switches(database, committer, spool=spool, role=role).merge_spooled() == 1
    assert spool.orders() == ()
    assert [row["scope"] for row in await rows(database, tenant) if row["kind"] == "kill"] == ["agent:agt_a"]


async def test_an_order_that_can_neither_be_logged_nor_spooled_is_an_error(
    wire: Any, tenant: NewTenant, tmp_path: Path
) -> None:
    through = await Database.connect(wire.url, min_size=1, max_size=2)
    ledger = Committer(through, keys.load(tmp_path / "keys", create=True), instance="gw-wire", clock=now_us)
    await wire.cut()
    with pytest.raises(Problem) as raised:
        await Switches(through, ledger).engage(tenant.id, "tenant", "stop", "usr_sec")
    assert raised.value.status == 503
    through.pool.terminate()


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("everything", "r"),
        ("tool:", "r"),
        ("tool:\x00", "r"),
        ("tenant", ""),
        ("tenant", "a\x00"),
        ("tenant", "x" * 2001),
    ],
    ids=["no scope", "no name", "NUL in a name", "no reason", "NUL in a reason", "a long reason"],
)
async def test_orders_that_are_no_orders(switches: Switches, tenant: NewTenant, scope: str, reason: str) -> None:
    with pytest.raises(Problem) as raised:
        await switches.engage(tenant.id, scope, reason, "usr_sec")
    assert raised.value.status == 422


async def test_kills_and_changes_of_the_setup_together_do_not_deadlock(
    database: Database, tenant: NewTenant, switches: Switches, committer: Committer
) -> None:
    async def change() -> None:
        async with committer.transaction(tenant.id) as changing:
            await changing.connection.execute("UPDATE control.settings SET body = body WHERE tenant = $1", tenant.id)
            await changing.append(Draft(tenant.id, "config", rid=uuid7()))

    async def kill(number: int) -> None:
        await switches.engage(tenant.id, f"agent:{number}", "stop", "usr_sec")

    async with asyncio.timeout(30):
        await asyncio.gather(*(kill(n) for n in range(10)), *(change() for _ in range(10)))
    kinds = [row["kind"] for row in await rows(database, tenant)]
    assert (kinds.count("kill"), kinds.count("config")) == (10, 10)
    epochs = [row["epoch"] for row in await rows(database, tenant) if row["kind"] == "kill"]
    assert epochs == list(range(1, 11))
    assert {s.epoch for s in await switches.engaged(tenant.id)} == set(epochs)


async def test_an_order_in_the_making_lets_rows_refer_to_its_tenant(database: Database, tenant: NewTenant) -> None:
    """A foreign key's check takes a key share on it, while its row holds the head, which the order wants next."""
    async with database.scope(tenant.id) as ordering, database.scope(tenant.id) as appending:
        await ordering.fetchval(SQL.hold_tenant, tenant.id)
        await appending.execute("SELECT 1 FROM control.tenants WHERE id = $1 FOR KEY SHARE NOWAIT", tenant.id)
