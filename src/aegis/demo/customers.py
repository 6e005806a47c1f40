"""A PostgreSQL of its own with 5000 customers in it, reached over its Unix socket; it logs every statement it gets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from string import Template

import asyncpg

from aegis.demo.installation import ACCOUNT, POSTGRES
from aegis.demo.targets import ORDERS, PEOPLE, Standing, many
from aegis.embedded.account import server_account
from aegis.embedded.binaries import find_postgres
from aegis.embedded.places import make_reachable, program_places, runtime_dir
from aegis.embedded.postgres import Postgres

_LOGGING = "log_statement = 'all'\nlog_line_prefix = 'by %a: '\n"
_WITNESS = "witness"
_TABLES = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, phone text NOT NULL);
INSERT INTO customers
SELECT n, 'Customer ' || n, 'customer' || n || '@example.com', '+49 30 ' || lpad(n::text, 7, '0')
FROM generate_series(1, $people) n;
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, total numeric NOT NULL);
INSERT INTO orders SELECT n, 1 + n % $people, (n % 90) + 9.90 FROM generate_series(1, $orders) n;
"""


class CustomerDatabase:
    """`start` from the main thread, before any event loop: the server dies with the thread that started it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        account = server_account(os.environ.get(ACCOUNT, ""))
        make_reachable(folder, account)
        (folder / "postgres.local.conf").write_text(_LOGGING, "ascii")
        (folder / "postgres.local.conf").chmod(0o644)
        self._log = folder / "postgres.log"
        self._server = Postgres(
            folder / "postgres",
            runtime_dir(folder, account),
            account,
            find_postgres(account, program_places(folder), folder=os.environ.get(POSTGRES, "")),
            self._log,
            buffers_mib=16,
            connections=20,
        )
        self._connection: asyncpg.Connection | None = None

    @property
    def url(self) -> str:
        """As its owner, who may do anything to the tables: what protects them is Aegis alone."""
        return self._server.owner_url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        shutil.rmtree(self._server.runtime, ignore_errors=True)

    async def fill(self) -> None:
        self._connection = await asyncpg.connect(self.url, server_settings={"application_name": _WITNESS})
        await self._connection.execute(Template(_TABLES).substitute(people=PEOPLE, orders=ORDERS))

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def standing(self) -> Standing:
        assert self._connection is not None
        tables = await self._connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        names = [row[0] for row in tables]
        rows = [await self._connection.fetchval(f'SELECT count(*) FROM "{name}"') for name in names]  # noqa: S608
        said = self._log.read_text("utf-8", "replace").splitlines()
        mine = f"by {_WITNESS}: "
        reached = sum("LOG:" in line and _is_work(line) and not line.startswith(mine) for line in said)
        holds = tuple(f"{count} {name}" for name, count in zip(names, rows, strict=True))
        return Standing(reached, holds, f"{many(reached, 'statement')}, holds {', '.join(holds) or 'nothing'}")


def _is_work(line: str) -> bool:
    """Whether a line of the log is a statement of a caller, not the frame of its transaction."""
    statement = line.partition("LOG:")[2].strip()
    kind, _, text = statement.partition(": ")
    frame = (
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SET ",
        "SELECT pg_advisory_unlock",
        "DISCARD",
        "RESET",
        "CLOSE",
        "UNLISTEN",
    )
    return kind.startswith(("statement", "execute")) and not text.lstrip().startswith(frame)
