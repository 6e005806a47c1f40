"""`aegis up` as people start it: one process, killed and stopped in the ways that happen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis.audit import keys
from aegis.config import Config
from aegis.embedded.trouble import CannotStart
from aegis.roles.up import KEY_FILES, need_policy_engine
from tests.conftest import quick_folder

pytestmark = [pytest.mark.server, pytest.mark.needs_linux]

READY = re.compile(r"aegis: ready at (http://\S+) \(process (\d+)")
PATIENCE_S = 60.0


class Up:
    """A running `aegis up`. `lines` are what it has said so far."""

    def __init__(self, data: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.data = data
        self.output = data.with_name(f"{time.monotonic_ns()}.out")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "aegis",
                    "up",
                    "--data-dir",
                    data,
                    "--port",
                    "0",
                    "--workers",
                    "2",
                    *options,
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | (environment or {}),
                cwd="/",
            )
        self.url = ""

    def ready(self) -> Up:
        eventually(lambda: self.process.poll() is not None or READY.findall(self.said()), "it said that it is ready")
        assert self.process.poll() is None, self.said()
        self.url = READY.findall(self.said())[-1][0]
        return self

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def is_ready(self) -> bool:
        address = self.url + "/readyz"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def children(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        found: dict[str, list[int]] = {"postgres": [], "valkey": [], "gateway": []}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                for name in found:
                    if name.encode() in words or name in os.path.basename(words[0].decode()):
                        found[name].append(int(pid))
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def eventually(holds: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def _ends(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    path = quick_folder("aegis-up-")
    try:
        yield path / "data"
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with _directory() as data:
        data.mkdir(mode=0o700)
        running = Up(data)
        try:
            yield running.ready()
        finally:
            status = running.stop()
        assert status == 0, running.said()


def test_the_credentials_are_for_the_owner_alone_and_complete(up: Up) -> None:
    path = up.data / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text())
    assert found["url"] == up.url
    assert found["operator"]["token"]
    assert found["admin"].keys() == {"email", "password", "token"}
    assert found["agents"]["default"].keys() == {"id", "token"}
    assert found["log"]["vkey"].startswith(found["log"]["origin"] + "+")


def test_both_loopbacks_answer(up: Up) -> None:
    port = int(up.url.rpartition(":")[2])
    for address in ("127.0.0.1", "::1"):
        try:
            call = socket.create_connection((address, port), timeout=5)
        except OSError:
            assert address == "::1"
            assert not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists()
            continue
        with call:
            call.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert call.recv(64).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("same_port", [False, True], ids=["another port", "the same port"])
def test_a_second_one_on_the_same_data_says_who_has_it(up: Up, same_port: bool) -> None:
    second = Up(up.data, *(["--port", up.url.rpartition(":")[2]] if same_port else []))
    assert second.process.wait(PATIENCE_S) == 1
    held = f"the data directory {up.data} is in use by process {up.process.pid}: stop it with `kill {up.process.pid}`"
    assert held in second.said()
    assert up.is_ready()


def test_a_port_that_is_taken_is_one_line(up: Up) -> None:
    with _directory() as data:
        second = Up(data, "--port", up.url.rpartition(":")[2])
        assert second.process.wait(PATIENCE_S) == 1
        assert second.said().count("\n") == 1
        assert "another program has it: choose another one with --port" in second.said()
        assert not data.exists()


def test_a_misspelt_setting_is_one_line() -> None:
    with _directory() as data:
        wrong = Up(data, environment={"AEGIS_GATEWAY__PROT": "1"})
        assert wrong.process.wait(PATIENCE_S) == 1
        assert wrong.said() == (
            "aegis: couldn't read AEGIS_GATEWAY__PROT: no such setting; "
            "did you mean gateway.port (AEGIS_GATEWAY__PORT)?\n"
        )


def test_a_policy_engine_that_is_missing_is_one_line_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    need_policy_engine(Config())
    monkeypatch.setitem(sys.modules, "opa_bindings", None)  # as Python itself marks what can't be imported
    with pytest.raises(CannotStart, match=r"the policy engine opa: .* type `make install`") as caught:
        need_policy_engine(Config())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gateway", "valkey", "postgres"])
def test_what_is_killed_comes_back(up: Up, name: str) -> None:
    eventually(up.is_ready, "it was ready")
    before = up.children()[name]
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: _ends(before[0]), f"the {name} is gone")
    eventually(
        lambda: len(up.children()[name]) == len(before) and before[0] not in up.children()[name] and up.is_ready(),
        f"another {name} serves",
    )


def test_everything_ends_with_a_supervisor_that_is_killed_and_starts_again() -> None:
    with _directory() as data:
        first = Up(data).ready()
        children = [pid for pids in first.children().values() for pid in pids]
        assert len(children) >= 4
        first.process.kill()
        first.process.wait()
        second = Up(data).ready()
        assert second.is_ready()
        eventually(lambda: all(map(_ends, children)), "the first one's children ended")
        assert json.loads((data / "credentials.json").read_text())["url"] == second.url
        assert second.stop(signal.SIGINT) == 0


def test_a_first_start_that_was_broken_off_begins_anew_and_deletes_nothing() -> None:
    with _directory() as data:
        first = Up(data).ready()
        assert first.stop() == 0
        assert not (data / "first-start").exists()
        (data / "credentials.json").unlink()
        (data / "prepared").rename(data / "first-start")
        second = Up(data).ready()
        assert (data / "credentials.json").exists()
        assert second.stop() == 0
        [aside] = data.glob("postgres.broken-*")
        assert (aside / "PG_VERSION").exists()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["keys"], r"the log in \S+/postgres needs its keys, and \S+/keys lacks root.key, log.key, .*: restore them"),
        (["keys/log.key"], r"needs its keys, and \S+/keys lacks log.key: restore them"),
        (["postgres"], r"has the credentials.json of an installation and no postgres beside it: restore that"),
        (["postgres/PG_VERSION"], r"expected a PostgreSQL cluster in \S+/postgres .*, got something else: restore it"),
    ],
    ids=["no keys", "one key short", "no database", "half a database"],
)
def test_an_incomplete_restore_is_one_line_and_is_left_as_it_is(
    restorable: Path, missing: list[str], said: str
) -> None:
    for name in missing:
        (restorable / name).rename(restorable / f"{name}.away")
    before = sorted(map(str, restorable.rglob("*")))
    refused = Up(restorable)
    assert refused.process.wait(PATIENCE_S) == 1
    after = sorted(map(str, restorable.rglob("*")))
    for name in missing:
        (restorable / f"{name}.away").rename(restorable / name)
    assert re.search(said, refused.said()) and refused.said().count("\n") == 1, refused.said()
    assert after == before


def test_a_database_and_its_keys_are_a_whole_restore(restorable: Path) -> None:
    token = json.loads((restorable / "credentials.json").read_text())["agents"]["default"]["token"]
    with _directory() as data:
        data.mkdir(mode=0o700)
        for name in ("postgres", "keys"):
            subprocess.run(["cp", "-a", restorable / name, data / name], check=True)
        restored = Up(data).ready()
        call = urllib.request.Request(
            restored.url + "/v1/decide",
            b'{"tool": "note", "arguments": {}}',
            {"authorization": f"Bearer {token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(call, timeout=30) as answer:
            assert json.load(answer)["receipt"]["index"] >= 1
        assert restored.stop() == 0
        assert "there is no credentials.json, and its tokens go on being valid" in restored.said()


def test_the_supervisor_knows_the_names_of_all_keys() -> None:
    assert tuple(f"{role}.key" for role in keys.ROLES) == KEY_FILES


@pytest.fixture(scope="module")
def restorable() -> Iterator[Path]:
    """The data directory of an installation that is stopped."""
    with _directory() as data:
        assert Up(data).ready().stop() == 0
        yield data


def test_credentials_that_were_put_away_are_not_made_again() -> None:
    with _directory() as data:
        assert Up(data).ready().stop() == 0
        (data / "credentials.json").unlink()
        second = Up(data).ready()
        assert not (data / "credentials.json").exists()
        assert second.stop() == 0
