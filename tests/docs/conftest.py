"""One `aegis up` for all pages, as the README starts it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import quick_folder

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    data: Path


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    folder = quick_folder("aegis-docs-")
    port = free_port()
    said = folder / "said"
    command = [sys.executable, "-P", "-m", "aegis", "up", "--data-dir", folder / "data", "--port", str(port)]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AEGIS_")}
    with said.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment | {"AEGIS_NETWORKS__ALLOW": "127.0.0.0/8"},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while not _is_ready(url):
            assert process.poll() is None and time.monotonic() < deadline, said.read_text("utf-8", "replace")
            time.sleep(0.1)
        yield Running(url, folder / "data")
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
