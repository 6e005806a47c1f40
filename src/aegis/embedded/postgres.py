"""An embedded PostgreSQL: sockets only, peer authentication through an ident map, one child of this process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from aegis.embedded.account import Account, own_account
from aegis.embedded.binaries import PostgresPrograms
from aegis.embedded.tether import Tethered, spawn
from aegis.embedded.trouble import CannotStart

DATABASE = "aegis"
OWNER = "aegis_owner"
RUNTIME = "aegis_app"
SUPERUSER = "aegis_super"  # no login reaches it: roles and database are made in single-user mode
READY_S = 120.0  # recovery after a crash replays the WAL first
INITDB_S = 60.0
STOP_S = 30.0
POLL_S = 0.01
SMALL_SHM = 64 * 2**20
LOG_BYTES = 16 * 2**20

_ROLES = f"""\
CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE ROLE {RUNTIME} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE ROLE aegis_log NOLOGIN;
GRANT aegis_log TO {OWNER};
CREATE DATABASE {DATABASE} OWNER {OWNER};
REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO {RUNTIME};
"""

# Little memory and short commits on one machine. Durability is not negotiable, so it stands on the command line.
_SETTINGS = {
    "superuser_reserved_connections": "2",
    "work_mem": "8MB",
    "maintenance_work_mem": "32MB",
    "effective_cache_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "huge_pages": "off",
    "max_worker_processes": "2",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "autovacuum_max_workers": "1",
    "random_page_cost": "1.1",
    "idle_in_transaction_session_timeout": "60s",
    "update_process_title": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_checkpoints": "off",
    "log_line_prefix": "'%m [%p] '",
}
_HEADER = "# Written at every start. Your own settings go into ../postgres.local.conf.\n"
"""The first line of postgresql.conf in a cluster of ours; no other has it."""
_DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")


class Postgres:
    """One cluster in `data`, its socket in `runtime`. `start`, use `url`, `stop`. Not safe for several threads."""

    def __init__(
        self,
        data: Path,
        runtime: Path,
        account: Account,
        programs: PostgresPrograms,
        log: Path,
        *,
        buffers_mib: int = 64,
        connections: int = 60,
    ) -> None:
        self.data = data
        self.runtime = runtime
        self.account = account
        self.programs = programs
        self.log = log
        self.buffers_mib = buffers_mib
        self.connections = connections
        self.child: Tethered | None = None

    @property
    def owner_url(self) -> str:
        return self._url(OWNER)

    @property
    def url(self) -> str:
        return self._url(RUNTIME)

    def start(self) -> None:
        """Returns once the server answers. Raises CannotStart with the server's own last words."""
        if not self.data.exists():
            self.initialise()
        self.spawn()
        deadline = time.monotonic() + READY_S
        while not self.ready():
            if time.monotonic() > deadline:
                raise CannotStart(f"couldn't start PostgreSQL within {READY_S:.0f} s: see {self.log}")
            time.sleep(POLL_S)

    def initialise(self) -> None:
        """Makes the cluster with its roles and its database; a start that broke off leaves nothing behind."""
        draft = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self.account.switched:
            os.chown(draft, self.account.uid, self.account.gid)
        self._run(
            [
                self.programs.folder / "initdb",
                f"--pgdata={draft}",
                f"--username={SUPERUSER}",
                "--auth-local=peer",
                "--auth-host=reject",
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
                "--no-instructions",
                *(["--sync-method=syncfs"] if self.programs.major >= 17 and sys.platform == "linux" else []),
            ],
            "",
        )
        self.in_single_user_mode(_ROLES, draft)
        (draft / "postgresql.conf").write_text(_HEADER, "ascii")
        draft.rename(self.data)
        folder = os.open(self.data.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def in_single_user_mode(self, script: str, data: Path | None = None) -> None:
        """Runs statements, one a line, as the superuser on a stopped cluster. Raises CannotStart at the first error."""
        words: list[str | Path] = [
            "--single",
            "-D",
            data or self.data,
            "-cexit_on_error=on",
            "-clog_checkpoints=off",
            "postgres",
        ]
        self._run([self.programs.folder / "postgres", *words], script)

    def spawn(self) -> Tethered:
        """Starts the server without waiting for it. Raises CannotStart when another one runs on the same data."""
        self.end_orphan()
        self._configure()
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        with self.log.open("ab") as output:
            self.child = spawn(
                [self.programs.folder / "postgres", "-D", self.data, *(f"-c{setting}" for setting in _DURABLE)],
                on_parent_death=signal.SIGINT,
                account=self.account,
                environment=_environment(self.data),
                cwd=Path("/"),
                output=output,
            )
        return self.child

    def ready(self) -> bool:
        """True once postmaster.pid names our child and says ready. Raises CannotStart when the child has ended."""
        assert self.child is not None
        if self.child.ended() is not None:
            raise CannotStart(f"couldn't start PostgreSQL: {self._last_words()}")
        lines = _lines(self.data / "postmaster.pid")
        return len(lines) > 7 and lines[0].strip() == str(self.child.pid) and lines[7].strip() == "ready"

    def stop(self, seconds: float = STOP_S) -> None:
        """A fast shutdown (SIGINT): running transactions are broken off, what was committed is on the disk."""
        if self.child is not None:
            self.child.stop(signal.SIGINT, seconds)
            self.child = None

    def _url(self, role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={self.runtime}"

    def _configure(self) -> None:
        settings = _SETTINGS | {
            "max_connections": str(self.connections),
            "shared_buffers": f"{self.buffers_mib}MB",
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.runtime}'",
            "unix_socket_permissions": "0700",
            "dynamic_shared_memory_type": "mmap" if _shm_is_small() else "posix",
        }
        if self.programs.major >= 18:
            settings["io_method"] = "sync"  # no processes for reads that come from memory
        text = _HEADER + "".join(f"{name} = {value}\n" for name, value in settings.items())
        text += "include_if_exists = '../postgres.local.conf'\n"
        self._write("postgresql.conf", text)
        self._write("pg_hba.conf", f"local {DATABASE} {OWNER},{RUNTIME} peer map=aegis\n")
        name = own_account().name
        self._write("pg_ident.conf", "".join(f'aegis "{name}" {role}\n' for role in (OWNER, RUNTIME)))

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        if self.account.switched:
            os.chown(path, self.account.uid, self.account.gid)

    def end_orphan(self) -> None:
        """Our lock is held: a postmaster of this data is an orphan that is ending, a dead one's files are stale."""
        pid_file = self.data / "postmaster.pid"
        lines = _lines(pid_file)
        if lines and lines[0].strip().isdigit():
            pid = int(lines[0])
            if _is_postmaster_of(pid, self.data):
                _end_orphan(pid, self.data)
            pid_file.unlink(missing_ok=True)
        for leftover in self.runtime.glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)

    def _run(self, argv: list[str | Path], text: str) -> None:
        switch = self.account if self.account.switched else None
        done = subprocess.run(
            [os.fspath(word) for word in argv],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INITDB_S,
            cwd="/",
            env=_environment(self.data),
            user=switch.uid if switch else None,
            group=switch.gid if switch else None,
            extra_groups=[] if switch else None,
        )
        if done.returncode:
            self.log.write_bytes(done.stdout)
            raise CannotStart(f"couldn't make the database: {self._last_words()}")

    def _last_words(self) -> str:
        lines = [line for line in _lines(self.log)[-40:] if line.strip() and "hint:" not in line]
        loud = [line for line in lines if re.search(r"FATAL|PANIC|ERROR|error:|could not", line)]
        for line in reversed(loud):
            if "No space left on device" in line:
                return f"the disk is full: {_bare(line)}"
        return f"{_bare((loud or lines or ['it said nothing'])[-1])} (see {self.log})"


def made_by(data: Path) -> int | None:
    """The major version that made the cluster; None where there is nothing yet. Raises CannotStart for anything else
    that stands in its place."""
    try:
        text = (data / "PG_VERSION").read_text("ascii").strip()
    except FileNotFoundError:
        if not data.exists() and not data.is_symlink():
            return None
        held = "nothing" if data.is_dir() and not any(data.iterdir()) else "something else"
        raise CannotStart(
            f"couldn't open the database: expected a PostgreSQL cluster in {data} (a file PG_VERSION), got {held}: "
            f"restore it from a backup, or move {data} away"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise CannotStart(
            f"couldn't open the database: expected a PostgreSQL cluster in {data}, got {why} from its PG_VERSION"
        ) from None
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise CannotStart(f"couldn't read {data / 'PG_VERSION'}: expected a version's number from 10 on")
    return int(text)


def need_own(data: Path, account: Account) -> None:
    """Raises CannotStart for a cluster that Aegis didn't make, or that the servers' account doesn't own: a start would
    write over its settings."""
    try:
        is_ours = (data / "postgresql.conf").read_text("utf-8", "replace").startswith(_HEADER)
        owner = data.stat().st_uid
    except FileNotFoundError:
        is_ours, owner = False, account.uid
    except OSError as error:
        raise CannotStart(f"couldn't read {data / 'postgresql.conf'}: {error.strerror}") from None
    if not is_ours:
        raise CannotStart(
            f"couldn't open the database: {data} was not made by Aegis (its postgresql.conf is another one): "
            "choose another --data-dir, or move it away"
        )
    if owner != account.uid:
        raise CannotStart(
            f"couldn't open the database: {data} belongs to user {owner}, expected {account.name}: type "
            f"`chown -R {account.name} {data}`"
        )


def _environment(home: Path) -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin", "HOME": os.fspath(home.parent)}


def _shm_is_small() -> bool:
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return True
    return found.f_bavail * found.f_frsize < SMALL_SHM


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _bare(line: str) -> str:
    return re.sub(r"^\S+ \S+ \S+ \[\d+\] ", "", line.strip())


def _is_postmaster_of(pid: int, data: Path) -> bool:
    """Whether `pid` is a postgres that works in `data`: numbers are used again, in containers soon."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", data)
    except OSError:
        pass
    try:
        shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return os.fsencode(data) in shown.stdout and b"postgres" in shown.stdout


def _end_orphan(pid: int, data: Path) -> None:
    deadline = time.monotonic() + STOP_S
    os.kill(pid, signal.SIGINT)
    while _is_postmaster_of(pid, data):
        if time.monotonic() > deadline:
            raise CannotStart(f"couldn't start PostgreSQL: process {pid} still runs on {data}")
        time.sleep(POLL_S)
