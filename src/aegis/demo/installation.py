"""`aegis up` as a child process on a data directory of its own: started, awaited, asked to stop."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aegis.embedded.account import server_account
from aegis.embedded.places import runtime_dir
from aegis.embedded.tether import Tethered, spawn

WORKERS = 2
READY_S = 90.0
STOP_S = 30.0
POLL_S = 0.05
ACCOUNT, POSTGRES = MACHINE = ("AEGIS_EMBEDDED__ACCOUNT", "AEGIS_EMBEDDED__POSTGRES_FOLDER")
OPEN_TO_THE_TARGETS = {"AEGIS_NETWORKS__ALLOW": "127.0.0.0/8", "AEGIS_NETWORKS__ALLOW_UNIX": "true"}


class NotRunning(Exception):
    """Aegis ended, or never got ready; the message has its last words."""


class Installation:
    """`start` from the main thread: the child ends with the thread that started it."""

    def __init__(self, folder: Path, *, workers: int = WORKERS) -> None:
        self.folder = folder
        self._workers = workers
        self._output = folder.with_name(folder.name + ".out")
        self._child: Tethered | None = None

    def start(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        words = ["up", "--data-dir", str(self.folder), "--port", "0", "--workers", str(self._workers)]
        with self._output.open("ab") as output:
            self._child = spawn(
                [sys.executable, "-P", "-m", "aegis", *words],
                on_parent_death=signal.SIGTERM,
                environment=_environment(os.environ),
                cwd=self.folder,
                output=output,
            )

    async def ready(self) -> Mapping[str, Any]:
        """The credentials, once every process is ready. Raises NotRunning."""
        deadline = time.monotonic() + READY_S
        assert self._child is not None
        while "aegis: ready at" not in self.said():
            if self._child.ended() is not None:
                raise NotRunning(f"aegis up ended: {self.said().strip()[-400:]}")
            if time.monotonic() > deadline:
                raise NotRunning(f"aegis up was not ready within {READY_S:.0f} s: {self.said().strip()[-400:]}")
            await asyncio.sleep(POLL_S)
        credentials: dict[str, Any] = json.loads((self.folder / "credentials.json").read_text("utf-8"))
        return credentials

    async def stop(self) -> int:
        """SIGTERM, and the exit status once it has ended."""
        assert self._child is not None
        return await asyncio.to_thread(self._child.stop, signal.SIGTERM, STOP_S)

    def end(self) -> None:
        if self._child is not None:
            self._child.stop(signal.SIGTERM, STOP_S)

    def clear(self) -> None:
        """Takes away where its sockets were; the folder is the caller's."""
        shutil.rmtree(runtime_dir(self.folder, server_account(os.environ.get(ACCOUNT, ""))), ignore_errors=True)

    def said(self) -> str:
        return self._output.read_text("utf-8", "replace")


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours without settings of another installation, but for where the servers come from."""
    kept = {name: value for name, value in environment.items() if not name.startswith("AEGIS_") or name in MACHINE}
    return kept | OPEN_TO_THE_TARGETS
