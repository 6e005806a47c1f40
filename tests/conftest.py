"""Fixtures on real servers: one PostgreSQL and one Valkey for the whole run, with a fresh database each run."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from aegis.db.database import Database
from aegis.db.migrate import migrate
from aegis.embedded.servers import EmbeddedServers, ServerOptions


@dataclass(frozen=True, slots=True)
class MigratedPostgres:
    """A running, migrated PostgreSQL. `owner_url` logs in as the schema's owner, `url` as aegis_app."""

    owner_url: str
    url: str
    major: int


@pytest.fixture(scope="session")
def embedded_servers() -> Iterator[EmbeddedServers]:
    """AEGIS_TEST_POSTGRES names a folder with other PostgreSQL programs, such as /usr/lib/postgresql/15/bin."""
    folder = Path(tempfile.mkdtemp(prefix="aegis-tests-"))
    options = ServerOptions(postgres_folder=os.environ.get("AEGIS_TEST_POSTGRES", ""))
    try:
        with EmbeddedServers.claim(folder, options) as servers:
            yield servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(embedded_servers: EmbeddedServers) -> MigratedPostgres:
    server = embedded_servers.postgres
    with ThreadPoolExecutor(1) as apart:  # a loop of its own, whatever loop the first test has
        apart.submit(lambda: asyncio.run(migrate(server.owner_url))).result(60)
    return MigratedPostgres(server.owner_url, server.url, server.programs.major)


@pytest.fixture(scope="session")
def valkey_url(embedded_servers: EmbeddedServers) -> str:
    return embedded_servers.valkey.url


@pytest_asyncio.fixture
async def database(postgres: MigratedPostgres) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres.url, direct_url=postgres.url, min_size=1, max_size=4)
    yield opened
    await opened.close()
