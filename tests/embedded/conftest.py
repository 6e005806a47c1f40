"""Servers of a test's own, and what these tests ask the operating system."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aegis.embedded.servers import EmbeddedServers, ServerOptions
from tests.conftest import quick_folder

TRIES_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty directory of mode 0700, as `mktemp -d` makes it."""
    path = quick_folder("aegis-embedded-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def own_servers(folder: Path) -> Iterator[EmbeddedServers]:
    servers = EmbeddedServers.claim(folder / "data", ServerOptions())
    with servers:
        yield servers


@pytest.fixture
def mounted() -> Iterator[Callable[..., Path]]:
    """Mounts small file systems: `mounted("size=64m,noexec")`. For root only."""
    points: list[Path] = []

    def mount(options: str) -> Path:
        point = Path(tempfile.mkdtemp(prefix="aegis-mount-"))
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", point], capture_output=True, text=True)
        if done.returncode:
            point.rmdir()
            pytest.skip("needs the right to mount file systems")
        points.append(point)
        point.chmod(0o755)
        return point

    yield mount
    for point in points:
        subprocess.run(["umount", "-l", point], check=True)
        point.rmdir()


def eventually(holds: Callable[[], object], what: str) -> None:
    """Returns as soon as `holds()`; fails after half a minute."""
    deadline = time.monotonic() + TRIES_S
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and ") Z " in stat.read_text())
