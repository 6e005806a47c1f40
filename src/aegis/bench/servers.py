"""Starts what is measured: `aegis up` on a data directory of its own, and the floor on the same PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from aegis.config import Config
from aegis.embedded.account import server_account
from aegis.embedded.places import runtime_dir
from aegis.embedded.postgres import DATABASE, OWNER

READY = re.compile(r"aegis: ready at (http://\S+) ")
PATIENCE_S = 90.0


class Up:
    """A running `aegis up`. `ready_s` are seconds from its start until GET /readyz answered 200."""

    def __init__(self, data: Path, *, workers: int, memo: bool = True) -> None:
        self._output = data.with_name(f"{data.name}.{time.monotonic_ns()}.log")
        began = time.perf_counter()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aegis", "up", "--data-dir", data, "--port", "0", "--workers",
                 str(workers), "--no-console"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"AEGIS_POLICY__MEMO": str(memo).lower()},
                cwd="/",
            )  # fmt: skip
        try:
            self.url = self._announced()
            while not _is_ready(self.url):
                time.sleep(0.002)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - began
        self.credentials: dict[str, Any] = json.loads((data / "credentials.json").read_text("utf-8"))

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pss_mib(self) -> float:
        """Of the whole tree: memory that several processes share counts once. NaN where the kernel doesn't tell."""
        try:
            return sum(map(_pss_kib, _tree(self._process.pid))) / 1024
        except OSError:
            return float("nan")

    def stop(self) -> None:
        _end(self._process)

    def _announced(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := READY.search(said := self._output.read_text("utf-8", "replace"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"couldn't start `aegis up`: {said.strip()[-500:] or 'it said nothing'}")
            time.sleep(0.002)
        return found[1]


class Floor:
    """The running floor, one worker."""

    def __init__(self, database_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aegis.bench.floor", str(listener.fileno()), database_url],
                pass_fds=[listener.fileno()],
                cwd="/",
            )

    def __enter__(self) -> Floor:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)


def owner_url(data: Path, config: Config) -> str:
    """Of the PostgreSQL that `aegis up` runs on `data`; the floor's table is the owner's to make."""
    return f"postgresql://{OWNER}@/{DATABASE}?host={runtime_dir(data, server_account(config.embedded.account))}"


def _is_ready(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """An orderly stop; after a minute by force."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *(below for child in children for below in _tree(int(child)))]


def _pss_kib(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
