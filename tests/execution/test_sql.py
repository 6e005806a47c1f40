"""PostgreSQL targets, through `Execution`, against a real server: over its socket and over loopback TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from aegis.execution.credentials import Credentials, EnvironmentSecrets
from aegis.execution.network import Guard
from aegis.execution.run import Execution
from aegis.execution.targets import Result, Stop
from aegis.kernel.jsontree import ExactNumber, parse
from aegis.kernel.tenancy import Tool, Upstream

TENANT = "t_abcdefghij234567"
READ, WRITE = Tool("db.query", "read"), Tool("db.write", "write")


@pytest.fixture
async def owner(postgres: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres.owner_url)
    await connection.execute(
        "DROP SCHEMA IF EXISTS shop CASCADE; CREATE SCHEMA shop;CREATE TABLE shop.items (id int PRIMARY KEY, name text)"
    )
    await connection.execute("INSERT INTO shop.items SELECT n, 'item ' || n FROM generate_series(1, 5) n")
    yield connection
    await connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
    await connection.close()


@pytest.fixture
def upstream(postgres: Any, owner: Any) -> Upstream:
    return Upstream("shop", "sql", postgres.owner_url, timeout_ms=10_000)


@pytest.fixture
async def execution() -> AsyncIterator[Execution]:
    made = Execution.over(Guard.of(["127.0.0.0/8"], allow_unix=True), Credentials(EnvironmentSecrets({})))
    yield made
    await made.close()


async def ask(execution: Execution, to: Upstream, query: str, *params: Any, tool: Tool = READ, **more: Any) -> Result:
    return await execution.run(TENANT, tool, {"query": query, "params": list(params)}, None, to, **more)


async def count(owner: Any) -> int:
    counted: int = await owner.fetchval("SELECT count(*) FROM shop.items")
    return counted


async def test_rows_come_back_as_a_table(execution: Execution, upstream: Upstream) -> None:
    result = await ask(execution, upstream, "SELECT id, name FROM shop.items WHERE id < $1 ORDER BY id", 3)
    assert result == Result(
        "ok", {"columns": ["id", "name"], "rows": [[1, "item 1"], [2, "item 2"]], "row_count": 2}, "done"
    )


async def test_a_write_is_durable_and_counted(execution: Execution, upstream: Upstream, owner: Any) -> None:
    result = await ask(execution, upstream, "DELETE FROM shop.items WHERE id > $1", 3, tool=WRITE)
    assert (result.output, result.effect) == ({"columns": [], "rows": [], "row_count": 2}, "done")
    result = await ask(execution, upstream, "INSERT INTO shop.items VALUES (9, 'x') RETURNING id", tool=WRITE)
    assert result.output["rows"] == [[9]]
    assert await count(owner) == 4


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM shop.items",
        "WITH gone AS (DELETE FROM shop.items RETURNING id) SELECT * FROM gone",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM shop.items; END $$",
        "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM shop.items; END $$",
        "EXPLAIN ANALYZE DELETE FROM shop.items",
        "DO $$ BEGIN COMMIT; DELETE FROM shop.items; END $$",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "CREATE TABLE shop.more (id int)",
        "DROP TABLE shop.items",
        "SELECT nextval('shop.counter')",
    ],
)
async def test_a_tool_that_reads_can_not_write(
    execution: Execution, upstream: Upstream, owner: Any, query: str
) -> None:
    await owner.execute("CREATE SEQUENCE shop.counter")
    result = await ask(execution, upstream, query)
    assert (result.status, result.effect) == ("error", "none")
    assert await count(owner) == 5


@pytest.mark.parametrize(
    "query",
    [
        "", "  ", "-- nothing", "COMMIT", "/* a */ commit", "ROLLBACK", "BEGIN", "PREPARE TRANSACTION 'x'",
        "SAVEPOINT a", "COPY shop.items TO STDOUT", "COPY shop.items FROM STDIN", "(COPY shop.items TO STDOUT)",
        "LISTEN x", "NOTIFY x", "UNLISTEN *", "SET statement_timeout = 0", "RESET ALL", "DISCARD ALL", "LOAD 'x'",
        "VACUUM", "LOCK shop.items",
        "DECLARE c CURSOR FOR SELECT 1", "EXECUTE p", "END", "/* /* */ COMMIT */", "/* open", "1", "SELECT 1\0",
    ],
)  # fmt: skip
async def test_what_is_no_plain_statement_never_reaches_the_server(
    execution: Execution, upstream: Upstream, query: str
) -> None:
    result = await ask(execution, upstream, query, tool=WRITE)
    assert (result.failure, result.effect) == ("execute.arguments", "none")


@pytest.mark.parametrize("first", ["SELECT 1", "DELETE FROM shop.items", ""])
async def test_two_statements_in_one_call_do_not_run(
    execution: Execution, upstream: Upstream, owner: Any, first: str
) -> None:
    result = await ask(execution, upstream, f"{first}; DELETE FROM shop.items", tool=WRITE)
    assert (result.status, result.effect) == ("error", "none")
    assert await count(owner) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": 1},
        {},
        [],
        None,
        {"query": "SELECT 1", "sql": "x"},
        {"query": "SELECT 1", "params": {}},
        {"query": "SELECT 1", "params": [1]},
        {"query": "SELECT $1::int", "params": []},
        {"query": "SELECT $1::int", "params": ["x; DROP"]},
        {"query": "SELECT $1::int", "params": [2**70]},
        {"query": "SELECT $1::date", "params": ["yesterday"]},
        {"query": "SELECT $1::int[]", "params": [1]},
        {"query": "SELECT $1::bool", "params": ["true"]},
    ],
)
async def test_arguments_that_do_not_fit(execution: Execution, upstream: Upstream, arguments: Any) -> None:
    result = await execution.run(TENANT, READ, arguments, None, upstream)
    assert (result.failure, result.effect) == ("execute.arguments", "none")


@pytest.mark.parametrize(
    ("expression", "tree"),
    [
        ("1::int8", 1),
        ("true", True),
        ("null", None),
        ("1.5::numeric", 1.5),
        ("12.50::numeric", 12.5),
        ("10000000000000000000000::numeric", 10**22),
        ("0.1234567890123456789012::numeric", "0.1234567890123456789012"),
        ("'NaN'::numeric", "NaN"),
        ("'NaN'::float8", "NaN"),
        ("'-Infinity'::float8", "-Infinity"),
        ("'Infinity'::numeric", "Infinity"),
        ("1.5::float8", 1.5),
        ("'2026-03-29T01:30:00Z'::timestamptz", "2026-03-29T01:30:00+00:00"),
        ("'2026-03-29 01:30:00.5'::timestamp", "2026-03-29T01:30:00.500000"),
        ("'2026-03-29'::date", "2026-03-29"),
        ("'infinity'::date", "infinity"),
        ("'-infinity'::timestamptz", "-infinity"),
        ("'01:02:03'::time", "01:02:03"),
        ("'1 day 2 hours'::interval", 93600.0),
        (r"'\x00ff'::bytea", "AP8="),
        ("'a1b2c3d4-0000-0000-0000-000000000001'::uuid", "a1b2c3d4-0000-0000-0000-000000000001"),
        ("'10.0.0.1'::inet", "10.0.0.1"),
        ("ARRAY[1,2,null]", [1, 2, None]),
        ("""'{"a": [1, 2.5], "b": null}'::jsonb""", {"a": [1, 2.5], "b": None}),
        ("""'{"a": 1, "a": 2}'::json""", '{"a": 1, "a": 2}'),
        ("int4range(1, 5)", {"lower": 1, "upper": 5, "bounds": "[)"}),
        ("row(1, 'a'::text)", [1, "a"]),
        ("(SELECT i FROM shop.items i WHERE id = 1)", {"id": 1, "name": "item 1"}),
        ("B'101'", "101"),
        ("'x'::\"char\"", "x"),
        ("'grün'::text", "grün"),
        ("point(1,2)", [1.0, 2.0]),
    ],
)
async def test_every_type_has_a_json_form(execution: Execution, upstream: Upstream, expression: str, tree: Any) -> None:
    result = await ask(execution, upstream, f"SELECT {expression}")
    value = result.output["rows"][0][0]
    assert (value.source if isinstance(value, ExactNumber) else value) == tree


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("int8", 9007199254740993, "9007199254740993"),
        ("int4", "42", "42"),
        ("numeric", ExactNumber("0.1234567890123456789012"), "0.1234567890123456789012"),
        ("numeric", "12.50", "12.50"),
        ("float8", 1, "1"),
        ("text", "a'b", "a'b"),
        ("text", 5, "5"),
        ("bool", False, "false"),
        ("timestamptz", "2026-03-29T01:30:00Z", "2026-03-29 01:30:00+00"),
        ("timestamp", "2026-03-29T03:30:00+02:00", "2026-03-29 01:30:00"),
        ("date", "2026-03-29", "2026-03-29"),
        ("bytea", "AP8=", r"\x00ff"),
        ("jsonb", {"a": [1, None]}, '{"a": [1, null]}'),
        ("int4[]", [1, None], "{1,NULL}"),
        ("uuid", "a1b2c3d4-0000-0000-0000-000000000001", "a1b2c3d4-0000-0000-0000-000000000001"),
        ("interval", 90, "00:01:30"),
        ("inet", "10.0.0.1", "10.0.0.1/32"),
    ],
)
async def test_parameters_follow_the_types_asked_for(
    execution: Execution, upstream: Upstream, kind: str, given: Any, text: str
) -> None:
    result = await ask(execution, upstream, f'SELECT ($1::{kind})::text COLLATE "C"', given)
    assert result.output["rows"] == [[text]]


async def test_an_error_of_the_server_is_an_answer_and_undoes_everything(
    execution: Execution, upstream: Upstream, owner: Any
) -> None:
    result = await ask(execution, upstream, "INSERT INTO shop.items VALUES (7, 'x'), (1, 'twice')", tool=WRITE)
    assert (result.status, result.effect, result.target_code) == ("error", "none", "23505")
    assert result.output["sqlstate"] == "23505"
    assert await count(owner) == 5


@pytest.mark.parametrize(
    ("query", "failure"),
    [
        pytest.param("SELECT repeat('x', 1000) FROM generate_series(1, 100000)", "execute.too_large", id="many rows"),
        pytest.param("SELECT repeat('x', 20000000)", "execute.too_large", id="one huge value"),
        pytest.param("SELECT n FROM generate_series(1, 60000) n", "execute.too_many_rows", id="very many small rows"),
    ],
)
async def test_a_large_answer_is_refused(execution: Execution, upstream: Upstream, query: str, failure: str) -> None:
    small = Upstream("small", "sql", upstream.url, timeout_ms=10_000, max_bytes=1_000_000)
    result = await ask(execution, small, query)
    assert (result.failure, result.output) == (failure, None)
    assert (await ask(execution, small, "SELECT 1")).status == "ok"


async def test_a_write_whose_answer_is_too_large_is_undone(
    execution: Execution, upstream: Upstream, owner: Any
) -> None:
    small = Upstream("small", "sql", upstream.url, timeout_ms=10_000, max_bytes=1_000)
    result = await ask(execution, small, "DELETE FROM shop.items RETURNING repeat(name, 1000)", tool=WRITE)
    assert (result.failure, result.effect) == ("execute.too_large", "none")
    assert await count(owner) == 5


async def started(owner: Any, mark: str) -> None:
    async with asyncio.timeout(10):
        while not await owner.fetchval(RUNNING, f"%{mark}%"):
            await asyncio.sleep(0.01)


async def gone(owner: Any, mark: str) -> None:
    async with asyncio.timeout(5):
        while await owner.fetchval(RUNNING, f"%{mark}%"):
            await asyncio.sleep(0.01)


RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()"


async def test_a_stop_cancels_the_statement_on_the_server(execution: Execution, upstream: Upstream, owner: Any) -> None:
    stop = Stop()
    slow = "UPDATE shop.items SET name = 'changed' WHERE pg_sleep(60) IS NOT NULL /* mark-stop */"
    running = asyncio.create_task(ask(execution, upstream, slow, tool=WRITE, stop=stop, deadline_ms=30_000))
    await started(owner, "mark-stop")
    stop.pull("killed")
    result = await running
    assert (result.status, result.failure, result.effect) == ("cancelled", "execute.killed", "none")
    await gone(owner, "mark-stop")
    assert await owner.fetchval("SELECT count(*) FROM shop.items WHERE name = 'changed'") == 0


async def test_a_cancelled_caller_cancels_the_statement_on_the_server(
    execution: Execution, upstream: Upstream, owner: Any
) -> None:
    running = asyncio.create_task(ask(execution, upstream, "SELECT pg_sleep(60) /* mark-cancel */"))
    await started(owner, "mark-cancel")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(owner, "mark-cancel")


async def test_a_late_statement_is_ended_on_the_server(execution: Execution, upstream: Upstream, owner: Any) -> None:
    result = await ask(execution, upstream, "SELECT pg_sleep(60) /* mark-late */", deadline_ms=300)
    assert (result.status, result.failure, result.effect) == ("error", "execute.timeout", "none")
    await gone(owner, "mark-late")


async def test_what_a_call_leaves_in_its_session_is_gone_for_the_next(execution: Execution, upstream: Upstream) -> None:
    pids = set()
    for _ in range(2):
        kept = await ask(execution, upstream, "SELECT current_setting('app.user', true), pg_backend_pid()")
        pids.add(kept.output["rows"][0][1])
        assert kept.output["rows"][0][0] in {None, ""}
        await ask(execution, upstream, "SELECT set_config('app.user', 'ann', false), pg_advisory_lock(7)", tool=WRITE)
        await ask(execution, upstream, "CREATE TEMPORARY TABLE left_over (id int)", tool=WRITE)
    assert len(pids) == 1
    held = await ask(execution, upstream, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert held.output["rows"] == [[0]]


async def test_tenants_share_no_connection(execution: Execution, upstream: Upstream) -> None:
    pids = [
        (await execution.run(tenant, READ, {"query": "SELECT pg_backend_pid()"}, None, upstream)).output["rows"]
        for tenant in ("t_one", "t_two", "t_one")
    ]
    assert pids[0] == pids[2] != pids[1]


async def test_sockets_are_closed_unless_the_operator_opened_them(upstream: Upstream) -> None:
    closed = Execution.over(Guard.of(["0.0.0.0/0", "::/0"]), Credentials())
    result = await ask(closed, upstream, "SELECT 1")
    await closed.close()
    assert (result.failure, result.effect) == ("execute.forbidden_address", "none")


CUT = "cut-at-commit"


@pytest.fixture
async def tcp(postgres: Any, owner: Any) -> AsyncIterator[str]:
    """A loopback port in front of the server's socket. It goes away when a transaction marked with `CUT` commits."""
    parts = urlsplit(postgres.owner_url)
    given = parse_qs(parts.query)
    path = f"{given['host'][0]}/.s.PGSQL.{given.get('port', ['5432'])[0]}"

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        is_marked = False
        try:
            while some := await source.read(65_536):
                is_marked = is_marked or CUT.encode() in some
                if is_marked and b"COMMIT" in some:
                    break
                sink.write(some)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        await asyncio.wait(
            [asyncio.ensure_future(pump(reader, inner_writer)), asyncio.ensure_future(pump(inner_reader, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        writer.close()
        inner_writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield f"postgresql://{parts.username}@{{host}}:{server.sockets[0].getsockname()[1]}{parts.path}"
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_opened_network_is_reached_over_tcp(execution: Execution, tcp: str, host: str) -> None:
    result = await ask(execution, Upstream("tcp", "sql", tcp.format(host=host)), "SELECT 1")
    assert result.output["rows"] == [[1]]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_a_closed_network_is_not(tcp: str, host: str) -> None:
    closed = Execution.over(Guard(), Credentials())
    result = await ask(closed, Upstream("tcp", "sql", tcp.format(host=host)), "SELECT 1")
    await closed.close()
    assert (result.failure, result.effect) == ("execute.forbidden_address", "none")


async def test_a_cancel_request_goes_to_the_checked_address_too(execution: Execution, tcp: str, owner: Any) -> None:
    stop = Stop()
    to = Upstream("tcp", "sql", tcp.format(host="localhost"))
    running = asyncio.create_task(ask(execution, to, "SELECT pg_sleep(60) /* mark-tcp */", stop=stop))
    await started(owner, "mark-tcp")
    stop.pull("killed")
    assert (await running).failure == "execute.killed"
    await gone(owner, "mark-tcp")


async def test_a_connection_lost_while_committing_leaves_the_effect_unknown(execution: Execution, tcp: str) -> None:
    to = Upstream("tcp", "sql", tcp.format(host="127.0.0.1"), timeout_ms=5_000)
    result = await ask(execution, to, f"DELETE FROM shop.items /* {CUT} */", tool=WRITE)
    assert (result.status, result.failure, result.effect) == ("unknown", "execute.unknown", "unknown")


async def test_an_error_while_committing_undoes_everything(
    execution: Execution, upstream: Upstream, owner: Any
) -> None:
    await owner.execute("ALTER TABLE shop.items ADD CONSTRAINT one UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")
    result = await ask(execution, upstream, "UPDATE shop.items SET name = 'same'", tool=WRITE)
    assert (result.status, result.effect, result.target_code) == ("error", "none", "23505")


async def test_a_database_that_is_away_had_no_effect(execution: Execution, unused_tcp_port: int) -> None:
    to = Upstream("away", "sql", f"postgresql://ann@127.0.0.1:{unused_tcp_port}/shop")
    result = await ask(execution, to, "SELECT 1")
    assert (result.failure, result.effect) == ("execute.unreachable", "none")


async def test_a_server_that_refuses_the_sign_on_is_told_from_a_credential_that_is_not_there(
    execution: Execution, upstream: Upstream
) -> None:
    to = replace(upstream, name="refused", url=upstream.url.replace("aegis_owner@", "stranger@"))
    refused = await ask(execution, to, "SELECT 1")
    missing = await ask(execution, replace(to, name="missing", credential_ref="nowhere"), "SELECT 1")
    assert (refused.failure, refused.effect) == ("execute.credential_refused", "none")
    assert (missing.failure, missing.effect) == ("execute.credential", "none")


async def test_a_server_that_goes_away_before_the_commit_left_nothing(
    execution: Execution, upstream: Upstream, owner: Any
) -> None:
    kill_self = "SELECT pg_terminate_backend(pg_backend_pid())"
    result = await ask(execution, upstream, kill_self, tool=WRITE)
    assert (result.status, result.effect) == ("error", "none")


def test_trees_of_numbers_agree_with_the_parser() -> None:
    assert parse(b"0.1234567890123456789012") == ExactNumber("0.1234567890123456789012")
