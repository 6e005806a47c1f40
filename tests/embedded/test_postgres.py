from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from aegis.embedded.account import server_account
from aegis.embedded.postgres import SUPERUSER, Postgres
from aegis.embedded.servers import EmbeddedServers, ServerOptions
from aegis.embedded.tether import spawn
from aegis.embedded.trouble import CannotStart
from tests.embedded.conftest import eventually, is_running

pytestmark = pytest.mark.server


async def _ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def _greeting(servers: EmbeddedServers, role: str) -> bytes:
    """The server's answer to a login: R and a zero when let in, E with the reason when not."""
    words = b"user\0" + role.encode() + b"\0database\0aegis\0\0"
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(10)
        door.connect(str(servers.postgres.runtime / ".s.PGSQL.5432"))
        door.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        return door.recv(4096)


def _as_user(uid: int, gid: int, call: Callable[[], bytes]) -> bytes:
    """What `call` answers in a child that runs as somebody else."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            answer = call()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}".encode()
        os.write(writer, answer[:60_000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer


async def test_what_was_written_is_there_after_a_stop_and_a_start(own_servers: EmbeddedServers) -> None:
    postgres = own_servers.postgres
    await _ask(postgres.owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
    postgres.stop()
    postgres.start()
    assert await _ask(postgres.owner_url, "SELECT n FROM kept") == 7


async def test_a_commit_is_on_the_disk_whatever_the_operators_file_says(own_servers: EmbeddedServers) -> None:
    (own_servers.data.path / "postgres.local.conf").write_text(
        "fsync = off\nsynchronous_commit = off\nwork_mem = 5MB\n"
    )
    shutil.chown(own_servers.data.path / "postgres.local.conf", own_servers.postgres.account.uid)
    own_servers.postgres.stop()
    own_servers.postgres.start()
    assert await _ask(own_servers.postgres.url, "SHOW fsync") == "on"
    assert await _ask(own_servers.postgres.url, "SHOW synchronous_commit") == "on"
    assert await _ask(own_servers.postgres.url, "SHOW work_mem") == "5MB"


async def test_the_logins_are_no_superusers(own_servers: EmbeddedServers) -> None:
    for url in (own_servers.postgres.url, own_servers.postgres.owner_url):
        question = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls FROM pg_roles WHERE rolname = user"
        assert await _ask(url, question) is False


def test_nobody_logs_in_as_the_superuser(own_servers: EmbeddedServers) -> None:
    assert _greeting(own_servers, "aegis_app").startswith(b"R")
    refused = _greeting(own_servers, SUPERUSER)
    assert refused.startswith(b"E")
    assert b"no pg_hba.conf entry" in refused


@pytest.mark.needs_root
def test_another_user_who_reaches_the_socket_is_refused(own_servers: EmbeddedServers) -> None:
    account = own_servers.postgres.account
    refused = _as_user(account.uid, account.gid, lambda: _greeting(own_servers, "aegis_app"))
    assert refused.startswith(b"E")
    assert b"Peer authentication failed" in refused


@pytest.mark.needs_root
def test_other_users_do_not_reach_the_sockets(own_servers: EmbeddedServers) -> None:
    other = pwd.getpwnam("daemon")
    assert _as_user(other.pw_uid, other.pw_gid, lambda: _greeting(own_servers, "aegis_app")).startswith(b"Permission")


@pytest.mark.needs_linux
def test_neither_server_listens_on_the_network(own_servers: EmbeddedServers) -> None:
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listening.add(f"socket:[{fields[9]}]")
    for child in (own_servers.postgres.child, own_servers.valkey.child):
        assert child is not None
        held = {os.readlink(path) for path in Path(f"/proc/{child.pid}/fd").iterdir()}
        assert held
        assert not held & listening


def test_a_killed_postmaster_is_followed_by_another(own_servers: EmbeddedServers) -> None:
    postgres = own_servers.postgres
    assert postgres.child is not None
    postgres.child.send(signal.SIGKILL)
    postgres.child.process.wait()
    assert (postgres.data / "postmaster.pid").exists()

    def starts() -> bool:  # the first tries may find the dead one's backends still ending
        try:
            postgres.start()
        except CannotStart as error:
            assert "shared memory" in str(error)
            return False
        return True

    eventually(starts, "PostgreSQL started again")


def test_a_pid_file_that_names_somebody_elses_process_is_stale(own_servers: EmbeddedServers) -> None:
    postgres = own_servers.postgres
    pid_file = postgres.data / "postmaster.pid"
    text = pid_file.read_text()
    postgres.stop()
    bystander = spawn(["sleep", "600"], on_parent_death=signal.SIGTERM, account=postgres.account)
    try:
        pid_file.write_text(text.replace(text.partition("\n")[0], str(bystander.pid), 1))
        postgres.start()
        assert bystander.ended() is None
    finally:
        bystander.stop(signal.SIGTERM, 5)


def test_a_postmaster_without_its_parent_is_ended_first(own_servers: EmbeddedServers) -> None:
    first = own_servers.postgres
    assert first.child is not None
    second = Postgres(first.data, first.runtime, first.account, first.programs, first.log)
    second.start()
    assert first.child.wait(10) == 0
    second.stop()
    first.child = None


def test_a_start_that_fails_says_why_in_one_line(own_servers: EmbeddedServers) -> None:
    own_servers.postgres.stop()
    (own_servers.data.path / "postgres.local.conf").write_text("shared_buffers = 'a lot'\n")
    shutil.chown(own_servers.data.path / "postgres.local.conf", own_servers.postgres.account.uid)
    with pytest.raises(CannotStart, match=r"PostgreSQL: .*local.conf.* contains errors") as caught:
        own_servers.postgres.start()
    assert "\n" not in str(caught.value)


def test_data_of_another_version_is_one_line(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("11\n")
    with pytest.raises(CannotStart, match="it was made by PostgreSQL 11"):
        EmbeddedServers.claim(folder)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "expected a PostgreSQL cluster in .*/postgres .*, got nothing: restore it from a backup"),
        ({"notes.txt": "mine"}, "expected a PostgreSQL cluster in .*, got something else: restore it"),
        ({"PG_VERSION": "9.6\n"}, "expected a version's number from 10 on"),
        ({"PG_VERSION": "\xff\n"}, "got no text from its PG_VERSION"),
        ({"PG_VERSION": "18\n"}, "was not made by Aegis .*: choose another --data-dir"),
        ({"PG_VERSION": "18\n", "postgresql.conf": "port = 5432\n"}, "was not made by Aegis"),
    ],
    ids=["nothing", "something else", "an old version", "no version", "without settings", "another program's"],
)
def test_another_thing_in_the_databases_place_is_one_line_and_stays_as_it_is(
    folder: Path, files: dict[str, str], said: str
) -> None:
    (folder / "postgres").mkdir()
    for name, text in files.items():
        (folder / "postgres" / name).write_text(text, "latin-1")
    with pytest.raises(CannotStart, match=said) as caught:
        EmbeddedServers.claim(folder)
    assert "\n" not in str(caught.value)
    held = {path.name: path.read_text("latin-1") for path in (folder / "postgres").iterdir()}
    assert held == files


def test_a_file_in_the_databases_place_is_one_line(folder: Path) -> None:
    (folder / "postgres").write_text("mine")
    with pytest.raises(CannotStart, match="Not a directory from its PG_VERSION"):
        EmbeddedServers.claim(folder)


@pytest.mark.needs_root
def test_a_cluster_that_another_account_owns_is_one_line(own_servers: EmbeddedServers) -> None:
    own_servers.stop()
    os.chown(own_servers.postgres.data, 0, 0)
    name = own_servers.postgres.account.name
    with pytest.raises(CannotStart, match=f"belongs to user 0, expected {name}: type `chown -R {name} "):
        EmbeddedServers.claim(own_servers.data.path)


def test_a_deep_data_directory_works(folder: Path) -> None:
    deep = folder.joinpath(*["a-directory-with-a-long-name"] * 8)
    servers = EmbeddedServers.claim(deep)
    with servers:
        assert _greeting(servers, "aegis_app").startswith(b"R")


def test_an_initdb_that_was_broken_off_is_no_obstacle(folder: Path) -> None:
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "half").touch()
    servers = EmbeddedServers.claim(folder)
    with servers:
        assert not (folder / "postgres.new").exists()


@pytest.mark.needs_root
def test_as_root_both_servers_run_under_another_account(own_servers: EmbeddedServers) -> None:
    for child in (own_servers.postgres.child, own_servers.valkey.child):
        assert child is not None
        assert os.stat(f"/proc/{child.pid}").st_uid == server_account().uid != 0


@pytest.mark.needs_root
def test_an_ordinary_user_runs_both(folder: Path) -> None:
    person = pwd.getpwnam("nobody")
    os.chown(folder, person.pw_uid, person.pw_gid)

    def run() -> bytes:
        with EmbeddedServers.claim(folder / "data") as servers:
            answer = _greeting(servers, "aegis_app")
        return answer

    answer = _as_user(person.pw_uid, person.pw_gid, run)
    assert answer.startswith(b"R"), answer


PARENT = """
import sys, time
from pathlib import Path
from aegis.embedded.servers import EmbeddedServers
servers = EmbeddedServers.claim(Path(sys.argv[1]))
servers.start()
print(servers.postgres.child.pid, servers.valkey.child.pid, flush=True)
time.sleep(600)
"""


def test_both_end_when_their_parent_is_killed_and_start_again(folder: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, folder], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    postgres, valkey = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with EmbeddedServers.claim(folder) as servers:  # doesn't wait for the old ones to be gone
        assert _greeting(servers, "aegis_app").startswith(b"R")
        assert not is_running(int(postgres))
        eventually(lambda: not is_running(int(valkey)), "the old Valkey ended")


@pytest.mark.needs_postgres(15)
def test_the_systems_postgres_serves_as_well(folder: Path) -> None:
    servers = EmbeddedServers.claim(folder, ServerOptions(postgres_folder="/usr/lib/postgresql/15/bin"))
    with servers:
        assert servers.postgres.programs.major == 15
        assert _greeting(servers, "aegis_owner").startswith(b"R")
