"""Brings the schema up to date: once, under an advisory lock, on the direct connection, as the schema's owner."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

_LOCK = 0x41454749  # "AEGI": held by the transaction, so a pooler can't leave it behind

ROLES = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aegis_app') THEN CREATE ROLE aegis_app LOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aegis_log') THEN CREATE ROLE aegis_log NOLOGIN; END IF;
    IF NOT pg_has_role(current_user, 'aegis_log', 'MEMBER') THEN
        EXECUTE format('GRANT aegis_log TO %I', current_user);
    END IF;
END $$;
"""


class SchemaTooNew(RuntimeError):
    """The database was migrated by a later Aegis; the message says which one is needed."""


async def migrate(url: str) -> str:
    """Runs what is missing and returns the schema's revision. Atomic: all or nothing.

    Raises SchemaTooNew when the database is ahead of this program.
    """
    engine = create_async_engine(_sqlalchemy_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


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
