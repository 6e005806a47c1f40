from __future__ import annotations

import asyncio
import getpass
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from aegis.db.migrate import PoolerInTheWay, SchemaTooNew, migrate
from aegis.embedded.account import server_account
from aegis.embedded.servers import EmbeddedServers, ServerOptions
from tests.conftest import quick_folder
from tests.embedded.conftest import eventually

pytestmark = pytest.mark.server
OBJECTS = """
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('control', 'log', 'work') AND c.relkind IN ('r', 'p')
"""


@pytest.fixture(
    params=["", pytest.param("/usr/lib/postgresql/15/bin", marks=pytest.mark.needs_postgres(15))],
    ids=["PostgreSQL of the wheel", "PostgreSQL 15"],
)
def fresh(request: pytest.FixtureRequest) -> Iterator[EmbeddedServers]:
    """An empty database, and a second one for owners of another kind."""
    folder = quick_folder("aegis-migrate-")
    servers = EmbeddedServers.claim(folder, ServerOptions(postgres_folder=request.param))
    with servers:
        yield servers
    shutil.rmtree(folder)


@pytest_asyncio.fixture
async def migrated(fresh: EmbeddedServers) -> AsyncIterator[asyncpg.Connection]:
    await migrate(fresh.postgres.owner_url)
    connection = await asyncpg.connect(fresh.postgres.owner_url)
    yield connection
    await connection.close()


async def test_a_second_migration_changes_nothing(fresh: EmbeddedServers, migrated: asyncpg.Connection) -> None:
    before = await migrated.fetch(OBJECTS)
    assert len(before) > 20
    revision = await migrated.fetchval("SELECT version_num FROM schema_version")
    assert await migrate(fresh.postgres.owner_url) == revision
    assert await migrated.fetch(OBJECTS) == before


async def test_two_migrations_at_once_agree(fresh: EmbeddedServers) -> None:
    first, second = await asyncio.gather(migrate(fresh.postgres.owner_url), migrate(fresh.postgres.owner_url))
    assert first == second


async def test_a_schema_of_a_later_aegis_is_refused(fresh: EmbeddedServers, migrated: asyncpg.Connection) -> None:
    await migrated.execute("UPDATE schema_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="the database has schema 9999"):
        await migrate(fresh.postgres.owner_url)


async def test_an_owner_who_may_make_roles_needs_nothing_prepared(fresh: EmbeddedServers) -> None:
    fresh.postgres.stop()
    fresh.postgres.in_single_user_mode(
        "DROP DATABASE aegis\nDROP ROLE aegis_log\nDROP ROLE aegis_app\n"
        "ALTER ROLE aegis_owner CREATEROLE\nCREATE DATABASE aegis OWNER aegis_owner\n"
    )
    fresh.postgres.start()
    await migrate(fresh.postgres.owner_url)
    connection = await asyncpg.connect(fresh.postgres.url)
    assert await connection.fetch("SELECT * FROM control.all_tenants()") == []
    await connection.close()


async def test_every_tenants_table_forces_its_row_security(migrated: asyncpg.Connection) -> None:
    open_tables = await migrated.fetch(
        """
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('control', 'log', 'work') AND c.relkind IN ('r', 'p')
           AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
         ORDER BY 1
        """
    )
    assert {record[0] for record in open_tables} <= {
        "control.installation",
        "control.organisations",
        "control.processes",
    }


async def test_the_log_grows_through_its_functions_alone(fresh: EmbeddedServers, migrated: asyncpg.Connection) -> None:
    assert await migrated.fetchval("SELECT pg_has_role('aegis_app', 'aegis_log', 'MEMBER')") is False
    connection = await asyncpg.connect(fresh.postgres.url)
    try:
        for statement in ("DELETE FROM log.entries", "UPDATE log.entries SET seq = 1", "UPDATE log.heads SET size = 0"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.needs_tool("pgbouncer")
async def test_a_pooler_is_refused_before_anything_is_done(fresh: EmbeddedServers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="aegis-bouncer-"))
    folder.chmod(0o755)
    settings = folder / "bouncer.ini"
    settings.write_text(
        f"""
[databases]
aegis = host={fresh.postgres.runtime} dbname=aegis user=aegis_owner
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
"""
    )
    shutil.chown(settings, getpass.getuser())
    # Its own login at the server is by peer, so it must be us; and it refuses to be root.
    ident = fresh.postgres.data / "pg_ident.conf"
    ident.write_text(ident.read_text() + f'aegis "{server_account().name}" aegis_owner\n')
    assert fresh.postgres.child is not None
    fresh.postgres.child.send(signal.SIGHUP)
    account = server_account()
    pooler = subprocess.Popen(
        ["pgbouncer", "-q", settings],
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _answers(port), "the pooler listens")
        with pytest.raises(PoolerInTheWay, match="set AEGIS_DATABASE_DIRECT_URL"):
            await migrate(f"postgresql://aegis_owner@127.0.0.1:{port}/aegis")
    finally:
        pooler.terminate()
        pooler.wait(20)
        shutil.rmtree(folder)
    connection = await asyncpg.connect(fresh.postgres.owner_url)
    assert not await connection.fetch(OBJECTS)
    await connection.close()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
