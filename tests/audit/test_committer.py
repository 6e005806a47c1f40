"""The log's writer on the real database: order, proofs, who may write what, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from aegis.audit import committer as committer_module
from aegis.audit import keys as log_keys
from aegis.audit import merkle, notes, receipts, rows, tiles
from aegis.audit.committer import Committer
from aegis.audit.evidence import exit_code
from aegis.audit.verifier import LogReport, verify_log
from aegis.db.database import Database
from aegis.embedded.account import server_account
from aegis.embedded.servers import EmbeddedServers
from aegis.kernel.clock import now_us
from aegis.kernel.ids import uuid7
from aegis.kernel.record import Appended, Conflict, Draft, Stale, Unavailable, Usage
from aegis.tenants.accounts import NewTenant, create_tenant
from tests.conftest import SBIN, MigratedPostgres, Wire

pytestmark = pytest.mark.server

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> log_keys.LogKeys:
    return log_keys.load(tmp_path_factory.mktemp("keys"), create=True)


Begin = Callable[..., Any]


@pytest_asyncio.fixture
async def begin(database: Database, keys: log_keys.LogKeys) -> AsyncIterator[Begin]:
    """Starts committers, as processes of one installation have one each."""
    begun: list[Committer] = []

    async def start(instance: str = "one", on: Database | None = None, clock: Callable[[], int] = now_us) -> Committer:
        made = Committer(on or database, keys, instance=instance, clock=clock)
        await made.start()
        begun.append(made)
        return made

    yield start
    for each in begun:
        await each.close()


def decision(tenant: str, agent: str | None = "agt_1", verdict: str = "allow", **more: Any) -> Draft:
    rid = uuid7()
    fields = {"eid": rid, "verdict": verdict, "risk": 0, "findings": [], **more.pop("fields", {})}
    given = {"agent": agent, "verdict": verdict, "counts": (verdict,), "usage": Usage(requests=1), **more}
    return Draft(tenant, "decision", rid=rid, fields=fields, **given)


def outcome(of: Appended, tenant: str, status: str = "ok") -> Draft:
    fields = {"eid": json.loads(of.entry.partition(b"\n")[0])["rid"], "of": of.seq, "status": status}
    return Draft(tenant, "outcome", rid=uuid7(), fields=fields, agent="agt_1", of_seq=of.seq, counts=(status,))


def kill(tenant: str) -> Draft:
    return Draft(tenant, "kill", rid=uuid7(), fields={"scope": "tenant"}, raises_epoch=True)


def row_of(appended: Appended | bytes) -> dict[str, Any]:
    entry = appended if isinstance(appended, bytes) else appended.entry
    found: dict[str, Any] = json.loads(entry.partition(b"\n")[0])
    return found


async def entries(database: Database, tenant: str) -> list[bytes]:
    """The log as it stands, checked for gaps."""
    async with database.scope(tenant) as connection:
        found = await connection.fetch("SELECT seq, entry FROM log.entries WHERE tenant = $1 ORDER BY seq", tenant)
    assert [each["seq"] for each in found] == list(range(len(found)))
    return [bytes(each["entry"]) for each in found]


async def verified(database: Database, ledger: Committer, tenant: NewTenant) -> LogReport:
    """The whole log, exported and checked by who trusts only the log's key."""
    found = await entries(database, tenant.id)
    root = merkle.root_of([merkle.leaf_hash(entry) for entry in found])
    note = ledger.sign_note(tenant.origin, notes.checkpoint(tenant.origin, len(found), root))
    folder = Path(tempfile.mkdtemp(prefix="aegis-log-"))
    try:
        tiles.write_directory(folder, found, note)
        report = verify_log(folder, [notes.Verifier.from_vkey(ledger.vkey(tenant.origin))])
    finally:
        shutil.rmtree(folder)
    assert report.exit == 0, report.findings
    assert report.size == len(found)
    return report


def check_receipt(ledger: Committer, appended: Appended) -> None:
    made = receipts.receipt(
        entry=appended.entry,
        index=appended.seq,
        path=appended.path,
        note=appended.note,
        origin=appended.origin,
        url="/",
    )
    found = receipts.verify_receipt(made, [notes.Verifier.from_vkey(ledger.vkey(appended.origin))])
    assert exit_code(found) == 0, found


# ------------------------------------------------------------------ order and proofs


async def test_a_log_begins_with_its_genesis_and_its_writers_key(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    ledger: Committer = await begin()
    appended = await ledger.append(decision(tenant.id))
    found = [row_of(entry) for entry in await entries(database, tenant.id)]
    assert [row["kind"] for row in found] == ["genesis", "key.add", "decision"]
    assert found[0]["params"]["log_vkey"] == ledger.vkey(tenant.origin)
    assert appended.seq == 2 and appended.size == 3
    again = await begin("another process")
    await again.append(decision(tenant.id))
    assert [row_of(entry)["kind"] for entry in await entries(database, tenant.id)].count("genesis") == 1
    await verified(database, ledger, tenant)


async def test_what_waits_together_is_written_together_in_the_order_of_the_calls(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    ledger: Committer = await begin()
    await ledger.append(decision(tenant.id))
    batches = ledger.fast + ledger.slow
    drafts = [decision(tenant.id) for _ in range(100)]
    appended = await asyncio.gather(*(ledger.append(draft) for draft in drafts))
    assert [each.seq for each in appended] == list(range(appended[0].seq, appended[0].seq + 100))
    assert [row_of(each)["rid"] for each in appended] == [draft.rid for draft in drafts]
    assert ledger.fast + ledger.slow - batches <= 3, "a hundred rows are a few transactions"
    for each in appended:
        check_receipt(ledger, each)
    await verified(database, ledger, tenant)


async def test_the_second_batch_takes_one_statement(tenant: NewTenant, begin: Begin) -> None:
    ledger: Committer = await begin()
    await ledger.append(decision(tenant.id))
    assert (ledger.fast, ledger.slow) == (0, 1)
    await ledger.append(decision(tenant.id, agent="agt_new"))
    assert (ledger.fast, ledger.slow) == (1, 1)


async def test_a_head_that_moved_is_read_anew_and_built_upon(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    one, two = await begin("one"), await begin("two")
    await one.append(decision(tenant.id))
    await two.append(decision(tenant.id))
    appended = await one.append(decision(tenant.id))
    assert (one.fast, one.slow) == (0, 2)
    assert row_of(appended)["an"] == 3 and row_of(appended)["ap"] == appended.seq - 1
    await verified(database, one, tenant)


async def test_two_processes_that_write_at_once_leave_one_chain(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    one, two = await begin("one"), await begin("two")

    async def write(ledger: Committer, agent: str) -> list[Appended]:
        return [await ledger.append(decision(tenant.id, agent=agent)) for _ in range(20)]

    made = await asyncio.gather(*(write(ledger, f"agt_{n}") for ledger in (one, two) for n in range(4)))
    appended = [each for some in made for each in some]
    assert sorted(each.seq for each in appended) == list(range(2, 162))
    stored = await entries(database, tenant.id)
    for each in appended:
        assert stored[each.seq] == each.entry
        check_receipt(one, each)
    for n in range(4):  # each agent's rows are chained over both processes
        chain = [row_of(e) for e in stored if row_of(e).get("agent") == f"agt_{n}"]
        assert [row["an"] for row in chain] == list(range(1, 41))
        assert [row.get("ap") for row in chain] == [None, *(row["seq"] for row in chain[:-1])]
    report = await verified(database, one, tenant)
    assert report.size == 162


async def test_rows_of_several_tenants_go_in_one_batch(database: Database, tenant: NewTenant, begin: Begin) -> None:
    async with database.unscoped() as connection, connection.transaction():
        others = [await create_tenant(connection, f"other {n}") for n in range(3)]
    ledger: Committer = await begin()
    tenants = [tenant, *others]
    for _ in range(3):
        appended = await asyncio.gather(*(ledger.append(decision(each.id)) for each in tenants for _ in range(5)))
        assert len({each.origin for each in appended}) == 4
    assert ledger.fast + ledger.slow <= 6
    for each in tenants:
        assert (await verified(database, ledger, each)).size == 17


async def test_time_never_goes_back_in_a_log(database: Database, tenant: NewTenant, begin: Begin) -> None:
    late = await begin("late", clock=lambda: 2_000_000_000_000_000)
    early = await begin("early", clock=lambda: 1_900_000_000_000_000)
    first, second = await late.append(decision(tenant.id)), await early.append(decision(tenant.id))
    assert second.ts == first.ts


# ------------------------------------------------------------------ kills and outcomes


async def test_an_allow_that_was_judged_before_a_kill_is_never_written(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    one, two = await begin("one"), await begin("two")
    first = await one.append(decision(tenant.id, judged_epoch=0))
    async with two.transaction(tenant.id) as change:
        assert await change.lock() == 0
        await change.append(kill(tenant.id))
    with pytest.raises(Stale) as stale:  # by the database's word: this process had the older head
        await one.append(decision(tenant.id, judged_epoch=0))
    assert stale.value.epoch == 1
    with pytest.raises(Stale):  # by this process's own
        await one.append(decision(tenant.id, judged_epoch=0))
    refused = await one.append(decision(tenant.id, verdict="kill", judged_epoch=None))
    allowed = await one.append(decision(tenant.id, judged_epoch=1))
    assert [refused.seq, allowed.seq] == [first.seq + 2, first.seq + 3]
    assert allowed.kill_epoch == 1
    await verified(database, one, tenant)


async def test_rows_beside_a_stale_one_are_written(tenant: NewTenant, begin: Begin) -> None:
    ledger: Committer = await begin()
    async with ledger.transaction(tenant.id) as change:
        await change.append(kill(tenant.id))
    drafts = [decision(tenant.id, judged_epoch=1), decision(tenant.id, judged_epoch=0), decision(tenant.id)]
    found = await asyncio.gather(*(ledger.append(draft) for draft in drafts), return_exceptions=True)
    assert [type(each) for each in found] == [Appended, Stale, Appended]


async def test_no_allow_stands_behind_a_kill_whoever_raced(database: Database, tenant: NewTenant, begin: Begin) -> None:
    one, two = await begin("one"), await begin("two")

    async def allow(ledger: Committer) -> None:
        while True:
            try:
                await ledger.append(decision(tenant.id, judged_epoch=0))
            except Stale:
                return

    racing = [asyncio.create_task(allow(ledger)) for ledger in (one, two) for _ in range(8)]
    while (await entries_count(database, tenant.id)) < 40:
        await asyncio.sleep(0.005)
    async with two.transaction(tenant.id) as change:
        await change.append(kill(tenant.id))
    order = change.appended[-1]
    await asyncio.wait_for(asyncio.gather(*racing), PATIENCE_S)
    after = [row_of(entry) for entry in (await entries(database, tenant.id))[order.seq + 1 :]]
    assert not [row for row in after if row.get("verdict") == "allow"]


async def entries_count(database: Database, tenant: str) -> int:
    async with database.scope(tenant) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM log.entries WHERE tenant = $1", tenant))


async def test_a_decision_has_one_outcome(database: Database, tenant: NewTenant, begin: Begin) -> None:
    one, two = await begin("one"), await begin("two")
    decided = await one.append(decision(tenant.id, outcome_due=now_us() + 60_000_000))
    found = await asyncio.gather(
        *(ledger.append(outcome(decided, tenant.id, status)) for ledger in (one, two) for status in ("ok", "error")),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in found) == ["Appended", "Conflict", "Conflict", "Conflict"]
    with pytest.raises(Conflict):
        await one.append(outcome(decided, tenant.id))
    async with database.scope(tenant.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM log.open_intents WHERE tenant = $1", tenant.id) == 0
    await verified(database, one, tenant)


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param({"agent": "\ud800"}, id="a lone surrogate in a column"),
        pytest.param({"risk_ppm": 2**40}, id="a number that no column holds"),
        pytest.param({"of_seq": 2**70}, id="a number that no integer type holds"),
        pytest.param({"kind": "nonsense"}, id="a kind that the format does not know"),
        pytest.param({"fields": {"verdict": "\ud800"}}, id="a lone surrogate in the row"),
        pytest.param({"fields": {"verdict": 0.5}}, id="a number that rows do not have"),
    ],
)
async def test_a_poisonous_row_fails_alone(
    database: Database, tenant: NewTenant, begin: Begin, poison: dict[str, Any]
) -> None:
    ledger: Committer = await begin()
    good = [decision(tenant.id) for _ in range(20)]
    bad = replace(decision(tenant.id), **poison)
    found = await asyncio.gather(
        *(ledger.append(draft) for draft in (*good[:13], bad, *good[13:])), return_exceptions=True
    )
    assert [type(each).__name__ for each in found] == ["Appended"] * 13 + ["Unavailable"] + ["Appended"] * 7
    assert (await verified(database, ledger, tenant)).size == 22


async def test_text_that_the_columns_do_not_take_stands_in_the_row(tenant: NewTenant, begin: Begin) -> None:
    ledger: Committer = await begin()
    appended = await ledger.append(decision(tenant.id, tool="a\x00b", fields={"tool": "a\x00b"}))
    assert row_of(appended)["tool"] == "a\x00b"


async def test_a_tenant_without_a_log_fails_alone(tenant: NewTenant, begin: Begin) -> None:
    ledger: Committer = await begin()
    drafts = [decision(tenant.id), decision("ten_nobody"), decision(tenant.id)]
    found = await asyncio.gather(*(ledger.append(draft) for draft in drafts), return_exceptions=True)
    assert [type(each).__name__ for each in found] == ["Appended", "Unavailable", "Appended"]


async def test_a_full_queue_says_so_at_once(
    tenant: NewTenant, begin: Begin, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "QUEUE_LIMIT", 10)
    ledger: Committer = await begin()
    found = await asyncio.gather(*(ledger.append(decision(tenant.id)) for _ in range(30)), return_exceptions=True)
    assert [type(each).__name__ for each in found] == ["Appended"] * 10 + ["Unavailable"] * 20
    assert await entries_count(database, tenant.id) == 12


async def test_a_transaction_that_fails_leaves_nothing(database: Database, tenant: NewTenant, begin: Begin) -> None:
    ledger: Committer = await begin()
    await ledger.append(decision(tenant.id))
    with pytest.raises(ZeroDivisionError):
        async with ledger.transaction(tenant.id) as change:
            await change.connection.execute(
                "INSERT INTO control.teams (tenant, id, name) VALUES ($1, 'team_x', 'x')", tenant.id
            )
            await change.append(kill(tenant.id))
            raise ZeroDivisionError
    assert change.appended == []
    async with database.scope(tenant.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM control.teams WHERE tenant = $1", tenant.id) == 0
    assert await entries_count(database, tenant.id) == 3
    assert (await ledger.append(decision(tenant.id, judged_epoch=0))).seq == 3


async def test_a_transactions_change_and_its_row_stand_together(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    ledger: Committer = await begin()
    async with ledger.transaction(tenant.id) as change:
        await change.connection.execute(
            "INSERT INTO control.teams (tenant, id, name) VALUES ($1, 'team_x', 'x')", tenant.id
        )
        await change.append(kill(tenant.id), decision(tenant.id, agent="agt_2"))
    assert [each.seq for each in change.appended] == [2, 3]
    for each in change.appended:
        check_receipt(ledger, each)
    assert (await ledger.append(decision(tenant.id))).seq == 4
    assert ledger.fast == 1, "the head that the transaction left is known"
    await verified(database, ledger, tenant)


async def test_a_store_that_is_away_is_unavailable_and_what_was_answered_stays(
    wire: Wire, tenant: NewTenant, begin: Begin, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = await Database.connect(wire.url, direct_url=wire.url, max_size=2)
    try:
        ledger: Committer = await begin("behind", on=behind)
        before = await ledger.append(decision(tenant.id))
        await wire.cut()
        with pytest.raises(Unavailable):
            await ledger.append(decision(tenant.id))
        with pytest.raises(Unavailable):
            async with ledger.transaction(tenant.id) as change:
                await change.append(kill(tenant.id))
        await wire.mend()
        after = await ledger.append(decision(tenant.id))
        assert after.seq == before.seq + 1
        await verified(database, ledger, tenant)
    finally:
        await behind.close()


async def test_a_row_whose_answer_was_lost_is_built_upon(
    database: Database, tenant: NewTenant, begin: Begin, postgres: MigratedPostgres
) -> None:
    """The commit stands, its answer doesn't come: the next row finds it under the head."""
    ledger: Committer = await begin()
    await ledger.append(decision(tenant.id))
    owner = await asyncpg.connect(postgres.owner_url)
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE log.entries IN ACCESS EXCLUSIVE MODE")
            lost = asyncio.create_task(ledger.append(decision(tenant.id)))
            while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.005)
            lost.cancel()  # the caller is gone, its row is on its way
    finally:
        await owner.close()
    after = await ledger.append(decision(tenant.id))
    assert after.seq == 4
    await verified(database, ledger, tenant)


async def test_a_stopping_process_answers_everybody(tenant: NewTenant, begin: Begin, database: Database) -> None:
    ledger: Committer = await begin()
    waiting = [asyncio.create_task(ledger.append(decision(tenant.id))) for _ in range(300)]
    await asyncio.sleep(0)
    await ledger.close()
    found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE_S)
    assert {type(each).__name__ for each in found} <= {"Appended", "Unavailable"}
    stored = await entries(database, tenant.id)
    for each in found:
        assert isinstance(each, Unavailable) or stored[each.seq] == each.entry


# ------------------------------------------------------------------ who may do what


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log.entries SET entry = entry",
        "DELETE FROM log.entries",
        "TRUNCATE log.entries",
        "INSERT INTO log.entries (tenant, seq, entry, leaf, kind, ts, rid) VALUES ('t', 0, '', '', 'x', 0, 'x')",
        "UPDATE log.heads SET size = 0",
        "UPDATE log.usage SET requests = 0",
        "DELETE FROM log.usage",
        "DELETE FROM log.open_intents",
        "UPDATE log.checkpoints SET note = ''",
        "DELETE FROM log.checkpoints",
        "ALTER TABLE log.entries DISABLE ROW LEVEL SECURITY",
        "SET ROLE aegis_log",
    ],
)
async def test_the_runtime_login_may_not(database: Database, tenant: NewTenant, begin: Begin, statement: str) -> None:
    ledger: Committer = await begin()
    await ledger.append(decision(tenant.id))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.scope(tenant.id) as connection:
            await connection.execute(statement)


@pytest.mark.parametrize("table", ["entries", "heads", "bodies", "usage", "open_intents", "agent_heads", "checkpoints"])
async def test_no_row_is_seen_without_its_tenant(
    database: Database, tenant: NewTenant, begin: Begin, table: str
) -> None:
    ledger: Committer = await begin()
    await ledger.append(decision(tenant.id, body=b"{}", outcome_due=now_us() + 10**9))
    await ledger._keep()  # the checkpoint, which otherwise follows within a second
    query = f"SELECT count(*) FROM log.{table}"
    async with database.unscoped() as connection:
        assert await connection.fetchval(query) == 0
    async with database.scope("ten_other") as connection:
        assert await connection.fetchval(query) == 0
    async with database.scope(tenant.id) as connection:
        assert await connection.fetchval(query) > 0


# ------------------------------------------------------------------ checkpoints


async def test_a_size_is_never_signed_with_two_roots(tenant: NewTenant, begin: Begin) -> None:
    ledger: Committer = await begin()
    appended = await ledger.append(decision(tenant.id))
    true = appended.note.rpartition("\n\n")[0] + "\n"
    assert ledger.sign_note(tenant.origin, true) == appended.note
    with pytest.raises(RuntimeError, match="second root"):
        ledger.sign_note(tenant.origin, notes.checkpoint(tenant.origin, appended.size, bytes(32)))


async def test_checkpoints_of_several_processes_agree_and_are_kept(
    database: Database, tenant: NewTenant, begin: Begin
) -> None:
    one, two = await begin("one"), await begin("two")
    seen: dict[int, bytes] = {}
    for _ in range(10):
        for appended in await asyncio.gather(*(each.append(decision(tenant.id)) for each in (one, two))):
            head = notes.parse_checkpoint(appended.note.rpartition("\n\n")[0] + "\n")
            assert seen.setdefault(head.size, head.root) == head.root
    for each in (one, two):
        await each._keep()
    async with database.scope(tenant.id) as connection:
        kept = await connection.fetch("SELECT size, root FROM log.checkpoints WHERE tenant = $1", tenant.id)
    assert kept
    stored = [merkle.leaf_hash(entry) for entry in await entries(database, tenant.id)]
    for each in kept:
        assert bytes(each["root"]) == merkle.root_of(stored[: each["size"]])


async def test_rows_are_signed_by_the_key_that_the_log_names(
    database: Database, tenant: NewTenant, begin: Begin, keys: log_keys.LogKeys
) -> None:
    ledger: Committer = await begin()
    appended = await ledger.append(decision(tenant.id))
    parsed = rows.parse_entry(appended.entry)
    assert rows.verify_signature(keys.writer.public, parsed.row_bytes, parsed.sig)


# ------------------------------------------------------------------ through a pooler


@pytest.fixture
def pooler(embedded_servers: EmbeddedServers, postgres: MigratedPostgres) -> Any:
    """PgBouncer in transaction mode before the test's PostgreSQL; its URL. Few connections, so that they are shared."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = embedded_servers.postgres
    account = server_account()
    folder = Path(tempfile.mkdtemp(prefix="aegis-bouncer-"))
    folder.chmod(0o755)
    query = parse_qs(urlsplit(postgres.url).query)
    settings = folder / "bouncer.ini"
    settings.write_text(
        f"""
[databases]
aegis = host={query["host"][0]} dbname=aegis user=aegis_app pool_size=3
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
"""
    )
    # Its own login at the server is by peer: the server must know the account that the pooler runs as.
    ident = server.data / "pg_ident.conf"
    before = ident.read_text()
    ident.write_text(before + f'aegis "{account.name}" aegis_app\n')
    assert server.child is not None
    server.child.send(signal.SIGHUP)
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    assert program is not None
    process = subprocess.Popen(
        [program, "-q", settings],
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"postgresql://aegis_app@127.0.0.1:{port}/aegis"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)
        ident.write_text(before)
        server.child.send(signal.SIGHUP)


async def _connected(url: str) -> Database:
    for _ in range(int(PATIENCE_S / 0.05)):
        try:
            return await Database.connect(url, direct_url=url, min_size=1, max_size=4, pooled=True)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.05)
    raise AssertionError("the pooler never let us in")


@pytest.mark.needs_tool("pgbouncer")
async def test_the_log_grows_through_a_transaction_pooler(
    pooler: str, database: Database, tenant: NewTenant, begin: Begin
) -> None:
    pooled = [await _connected(pooler) for _ in range(2)]
    try:
        ledgers = [await begin(f"pooled {n}", on=each) for n, each in enumerate(pooled)]

        async def write(ledger: Committer, n: int) -> list[Appended]:
            return [await ledger.append(decision(tenant.id, agent=f"agt_{n}")) for _ in range(15)]

        async def order(ledger: Committer) -> None:
            async with ledger.transaction(tenant.id) as change:
                await change.append(kill(tenant.id))

        made = await asyncio.gather(
            *(write(ledger, n) for ledger in ledgers for n in range(4)), *(order(ledger) for ledger in ledgers)
        )
        appended = [each for some in made if some for each in some]
        assert len(appended) == 120
        for each in appended[::7]:
            check_receipt(ledgers[0], each)
        for _ in range(12):  # alone: after a few rows found as they were left, it writes without locking first
            await ledgers[0].append(decision(tenant.id, agent="agt_alone"))
        assert ledgers[0].fast > 0
        assert (await verified(database, ledgers[0], tenant)).size == 136
        async with pooled[0].unscoped() as connection:  # no setting of a tenant stays behind in a shared connection
            assert await connection.fetchval("SELECT count(*) FROM log.entries") == 0
    finally:
        for each in pooled:
            await each.close()
