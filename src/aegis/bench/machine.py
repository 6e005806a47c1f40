"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aegis.embedded.account import server_account
from aegis.embedded.binaries import find_postgres, find_valkey
from aegis.embedded.places import program_places
from aegis.policy.opa import engine_name

PACKAGES = ("aegis-control-plane", "uvicorn", "uvloop", "httptools", "asyncpg", "redis", "orjson")


def machine(data: Path) -> dict[str, Any]:
    return {
        "cores": _cores(),
        "cpu": next(_told("/proc/cpuinfo", "model name"), platform.processor() or platform.machine()),
        "memory_mib": int(next(_told("/proc/meminfo", "MemTotal"), "0 kB").split()[0]) // 1024,
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(data),
    }


def versions(data: Path, account: str, folder: str) -> dict[str, str]:
    found = {name: _version(name) for name in PACKAGES}
    who, places = server_account(account), program_places(data)
    programs = find_postgres(who, places, folder=folder, major=None)
    found["postgresql"] = _said([os.fspath(programs.folder / "postgres"), "--version"])
    found["valkey"] = _said([os.fspath(find_valkey(who, places)), "--version"])
    found["policy engine"] = engine_name()
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return version(name)
    return "unknown"


def _said(command: list[str]) -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=10, text=True, cwd="/").stdout.strip()[:100]
    return "unknown"


def _told(path: str, name: str) -> Iterator[str]:
    with suppress(OSError):
        for line in Path(path).read_text("utf-8", "replace").splitlines():
            before, _, after = line.partition(":")
            if before.strip() == name:
                yield after.strip()


def _file_system(path: Path) -> str:
    """Commits go to it: a figure from memory says nothing of one from a disk."""
    best = ("", "unknown")
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text("utf-8", "replace").splitlines():
            _, place, kind, *_ = line.split()
            if path.resolve().is_relative_to(place) and len(place) > len(best[0]):
                best = (place, kind)
    return best[1]
