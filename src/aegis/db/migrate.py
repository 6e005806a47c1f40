"""Brings the schema up to date: once, under an advisory lock, on the direct connection, as the schema's owner."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

CONNECT_S = 10.0
_LOCK = 0x41454749  # "AEGI": held by the transaction, so a pooler can't leave it behind

ROLES = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aegis_app') THEN CREATE ROLE aegis_app LOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aegis_log') THEN CREATE ROLE aegis_log NOLOGIN; END IF;
    -- From 16 on, who makes a role may administer it but not become it, and giving it functions needs the latter.
    IF NOT pg_has_role(current_user, 'aegis_log',
                       CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE format('GRANT aegis_log TO %I', current_user);
    END IF;
END $$;
"""


class SchemaTooNew(RuntimeError):
    """The database was migrated by a later Aegis; the message says which one is needed."""


class PoolerInTheWay(RuntimeError):
    """The URL leads to a pooler, through which neither LISTEN nor a migration is safe."""


async def migrate(url: str) -> str:
    """Runs what is missing and returns the schema's revision. Atomic: all or nothing.

    Raises SchemaTooNew when the database is ahead of this program, PoolerInTheWay, and what the driver raises.
    """
    engine = create_async_engine(_sqlalchemy_url(url), poolclass=NullPool, connect_args={"timeout": CONNECT_S})
    try:
        async with engine.begin() as connection:
            await refuse_pooler((await connection.get_raw_connection()).driver_connection)
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def refuse_pooler(connection: Any) -> None:
    """Raises PoolerInTheWay unless the asyncpg `connection` is PostgreSQL's own.

    A pooler greets with a key of its own, so the process number in it is not the one that the server knows.
    """
    if connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()"):
        raise PoolerInTheWay(
            "couldn't use the direct connection to PostgreSQL: expected the server itself, got a pooler: "
            "set AEGIS_DATABASE_DIRECT_URL to the server's own address"
        )


def run_file(name: str) -> None:
    """Runs one file of `migrations/sql` as it stands, on the migration's connection."""
    sql = files("aegis.db.migrations").joinpath("sql", name).read_text("utf-8")
    _execute_script(op.get_bind(), sql)


def _upgrade(connection: Connection) -> str:
    config = Config()
    config.set_main_option("script_location", str(Path(str(files("aegis.db.migrations")))))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection, opts={"version_table": "schema_version"}).get_current_revision()
    if current is not None and current not in known:
        raise SchemaTooNew(
            f"the database has schema {current}, this Aegis knows {', '.join(sorted(known))}: install the newer Aegis"
        )
    _execute_script(connection, ROLES)
    command.upgrade(config, "head")
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None
    return head


def _execute_script(connection: Connection, sql: str) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    await_only(driver.execute(sql))


def _sqlalchemy_url(url: str) -> str:
    scheme, rest = url.split("://", 1)
    assert scheme in {"postgresql", "postgres"}, scheme
    return f"postgresql+asyncpg://{rest}"
