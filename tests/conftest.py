"""Fixtures on real servers, and the table of what this machine could not run.

One PostgreSQL and one Valkey serve the whole run, with a fresh database each run. A test that asks for one of them is
marked `server`. AEGIS_REQUIRE_ALL=1 makes a table that isn't empty a failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from aegis.db.database import Database
from aegis.db.migrate import migrate
from aegis.embedded.servers import EmbeddedServers, ServerOptions
from aegis.kernel.api_key import OPERATOR_TENANT
from aegis.tenants.accounts import NewTenant, create_tenant
from aegis.tenants.bootstrap import bootstrap

SERVER_FIXTURES = {"embedded_servers", "postgres", "valkey_url", "database"}
SYSTEM_POSTGRES = "/usr/lib/postgresql/{}/bin"
SBIN = "/usr/sbin:/sbin"

left_out: dict[str, list[str]] = defaultdict(list)
"""Reason: the tests that it kept from running."""


# ------------------------------------------------------------------ servers


@dataclass(frozen=True, slots=True)
class MigratedPostgres:
    """A running, migrated PostgreSQL. `owner_url` logs in as the schema's owner, `url` as aegis_app."""

    owner_url: str
    url: str
    major: int


def quick_folder(prefix: str) -> Path:
    """An empty directory of mode 0700, in memory where there is plenty: a test's commits need not outlive the power."""
    memory = Path("/dev/shm")
    plenty = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if plenty else None))


@pytest.fixture(scope="session")
def embedded_servers() -> Iterator[EmbeddedServers]:
    """AEGIS_TEST_POSTGRES names a folder with other PostgreSQL programs, such as /usr/lib/postgresql/15/bin."""
    folder = quick_folder("aegis-tests-")
    options = ServerOptions(postgres_folder=os.environ.get("AEGIS_TEST_POSTGRES", ""))
    servers = EmbeddedServers.claim(folder, options)
    try:
        with servers:
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


# ------------------------------------------------------------------ what this machine can't run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for reason in _lacking(item):
        pytest.skip(reason)


def _lacking(item: pytest.Item) -> Iterator[str]:
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        yield "needs root"
    if item.get_closest_marker("needs_linux") and sys.platform != "linux":
        yield "needs Linux"
    for mark in item.iter_markers("needs_tool"):
        if shutil.which(mark.args[0], path=f"{os.environ.get('PATH', '')}:{SBIN}") is None:
            yield f"needs the program {mark.args[0]}"
    for mark in item.iter_markers("needs_postgres"):
        if not Path(SYSTEM_POSTGRES.format(mark.args[0])).is_dir():
            yield f"needs the system's PostgreSQL {mark.args[0]}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's result
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        left_out[reason].append(item.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        left_out[str(report.longrepr[2]).removeprefix("Skipped: ")].append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("what could not run on this machine")
    if not left_out:
        terminalreporter.line("nothing: every test ran")
    for reason, tests in sorted(left_out.items()):
        files = sorted({test.partition("::")[0] for test in tests})
        terminalreporter.line(f"{len(tests):4}  {reason}  ({', '.join(files[:3])}{', ...' if len(files) > 3 else ''})")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    of_the_machine = [
        reason for reason in left_out if "nothing to do" not in reason and "empty parameter" not in reason
    ]
    if of_the_machine and os.environ.get("AEGIS_REQUIRE_ALL") == "1" and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest_asyncio.fixture
async def tenant(database: Database) -> NewTenant:
    """A tenant of its own for the test, with its empty log and an admin key."""
    await bootstrap(database, url="http://test", hash_password=lambda _: "none", installation_name="aegis-test.local")
    async with database.scope(OPERATOR_TENANT) as connection:
        return await create_tenant(connection, "tests")


@dataclass(eq=False)
class Wire:
    """A PostgreSQL address that can be cut: `url` leads nowhere between `cut` and `mend`."""

    url: str
    socket: Path
    target: str
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    server: asyncio.AbstractServer | None = None

    async def mend(self) -> None:
        self.server = await asyncio.start_unix_server(self._carry, str(self.socket))

    async def cut(self) -> None:
        """Every connection ends at once and no new one begins."""
        assert self.server is not None
        self.server.close()
        self.socket.unlink(missing_ok=True)
        for writer in tuple(self.writers):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        self.writers |= {writer, far_writer}
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self.writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


@pytest_asyncio.fixture
async def wire(postgres: MigratedPostgres) -> AsyncIterator[Wire]:
    """The test's PostgreSQL behind a connection that can be cut."""
    parts = urlsplit(postgres.url)
    query = parse_qs(parts.query)
    name = f".s.PGSQL.{query.get('port', ['5432'])[0]}"
    folder = Path(tempfile.mkdtemp(prefix="aegis-wire-"))
    url = postgres.url.replace(query["host"][0], str(folder))
    opened = Wire(url, folder / name, str(Path(query["host"][0]) / name))
    await opened.mend()
    yield opened
    await opened.cut()
    shutil.rmtree(folder, ignore_errors=True)
