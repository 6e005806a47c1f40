"""The whole evening: doors open, the play, the evidence, doors closed. What is printed is in `table`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

from aegis.demo import evidence
from aegis.demo.client import Client
from aegis.demo.customers import CustomerDatabase
from aegis.demo.installation import WORKERS, Installation
from aegis.demo.play import ACTS, SET_UP, Act, SetUp
from aegis.demo.stage import Cast, Figures, Line, Stage, set_up
from aegis.demo.targets import Target, Town


@dataclass(frozen=True, slots=True)
class Performed:
    lines: list[Line]
    figures: Figures
    rows: int
    took_s: float

    @property
    def is_as_expected(self) -> bool:
        return bool(self.lines) and not any(line.wrong for line in self.lines)


@dataclass(frozen=True, slots=True)
class Running:
    """What is left running with --keep."""

    url: str
    credentials: Path
    agent_token: str


@dataclass(frozen=True, slots=True)
class Watching:
    """`progress`: a sentence on what goes on; `line`: a step is over; `stay`: awaited with everything running."""

    progress: Callable[[str], None]
    line: Callable[[Line], None]
    stay: Callable[[Performed, Running], Awaitable[None]] | None = None


def perform(watching: Watching, acts: Sequence[Act] = ACTS, plan: SetUp = SET_UP) -> Performed:
    """From the main thread: servers are started that end with it. Raises CannotStart, NotRunning or Unexpected."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="aegis-demo-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        watching.progress("starting Aegis and the customers' database")
        aegis = Installation(folder / "aegis")
        stack.callback(aegis.clear)
        stack.callback(aegis.end)
        aegis.start()
        database = CustomerDatabase(folder / "shop")
        stack.callback(database.stop)
        database.start()
        return asyncio.run(_evening(folder, aegis, database, watching, acts, plan, began))


async def _evening(
    folder: Path,
    aegis: Installation,
    database: CustomerDatabase,
    watching: Watching,
    acts: Sequence[Act],
    plan: SetUp,
    began: float,
) -> Performed:
    lines: list[Line] = []

    def over(line: Line) -> None:
        lines.append(line)
        watching.line(line)

    async with AsyncExitStack() as stack:
        town = await stack.enter_async_context(Town())
        await database.fill()
        stack.push_async_callback(database.close)
        credentials = await aegis.ready()
        url, vkey = credentials["url"], credentials["log"]["vkey"]
        admin = await stack.enter_async_context(Client(url, credentials["admin"]["token"]))
        watching.progress("registering tools and targets")
        token = await set_up(
            admin, plan, targets_url=town.url, database_url=database.url, workspace=str(town.workspace.directory)
        )
        agent = await stack.enter_async_context(Client(url, token))
        targets: dict[str, Target] = {
            "database": database,
            "crm": town.crm,
            "workspace": town.workspace,
            "cluster": town.cluster,
            "bank": town.bank,
        }
        stage = Stage(Cast(admin, agent, targets, town.crm, (url, token), WORKERS))
        await stage.open_session()
        for act in acts:
            watching.progress(act.title)
            async for line in stage.perform(act):
                over(line)
        watching.progress("exporting the log")
        exported, file = folder / "log", aegis.folder / "credentials.json"
        over(await evidence.export(file, exported))
        if watching.stay is None:
            watching.progress("stopping Aegis")
            stopping = time.monotonic()
            status = await aegis.stop()
            wrong = "" if status == 0 else f"expected exit 0, got {status}: {aegis.said()[-300:]}"
            over(
                Line(
                    evidence.ACT,
                    "Aegis stopped",
                    "SIGTERM",
                    "",
                    "",
                    f"exit {status}",
                    time.monotonic() - stopping,
                    wrong,
                )
            )
        watching.progress("verifying the log offline")
        async for line in evidence.verified(exported, vkey):
            over(line)
        performed = Performed(lines, stage.figures, evidence.rows(exported), time.monotonic() - began)
        if watching.stay is not None:
            await watching.stay(performed, Running(url, file, token))
    return performed
