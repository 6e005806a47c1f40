from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from aegis.embedded.account import Account, own_account, server_account
from aegis.embedded.places import DataDir, default_data_dir, make_reachable, runtime_dir
from aegis.embedded.servers import EmbeddedServers
from aegis.embedded.trouble import CannotStart


def test_a_second_claim_names_the_process_that_holds_the_first(folder: Path) -> None:
    first = DataDir.claim(folder)
    with pytest.raises(CannotStart, match=f"in use by process {os.getpid()}"):
        DataDir.claim(folder)
    first.release()
    DataDir.claim(folder).release()


def test_a_data_directory_that_is_a_file_is_one_line(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(CannotStart, match=r"couldn't use .*file as the data directory"):
        DataDir.claim(folder / "file")


def test_the_runtime_directory_is_short_closed_and_the_same_again(folder: Path) -> None:
    account = server_account()
    deep = folder.joinpath(*["a-rather-long-name"] * 12)
    first = runtime_dir(deep, account)
    assert first == runtime_dir(deep, account)
    assert len(str(first / ".s.PGSQL.5432.lock")) <= 103
    found = first.stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == account.uid
    first.rmdir()


def test_two_data_directories_have_two_runtime_directories(folder: Path) -> None:
    account = server_account()
    one, other = runtime_dir(folder / "a", account), runtime_dir(folder / "b", account)
    assert one != other
    one.rmdir()
    other.rmdir()


def test_a_runtime_directory_that_is_a_link_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))  # a second place, which not every login has
    account = own_account()
    trap = runtime_dir(folder, account)
    trap.rmdir()
    trap.symlink_to(folder)
    try:
        assert runtime_dir(folder, account) != trap
    finally:
        trap.unlink()


@pytest.mark.needs_root
def test_a_closed_directory_is_opened_for_one_account_and_nobody_else(folder: Path) -> None:
    account = server_account()
    inner = folder / "inner"
    inner.mkdir(mode=0o700)
    assert make_reachable(inner, account) == [folder, inner]
    assert make_reachable(inner, account) == []
    other = next(e for e in pwd.getpwall() if e.pw_uid not in {0, account.uid} and e.pw_gid != account.gid)
    with pytest.raises(CannotStart):  # it would have to be opened, and this directory isn't root's any more
        os.chown(folder, account.uid, -1)
        make_reachable(inner, Account(other.pw_name, other.pw_uid, other.pw_gid, switched=True))


@pytest.mark.needs_root
def test_another_persons_closed_directory_stays_closed(folder: Path) -> None:
    person = pwd.getpwnam("daemon")
    os.chown(folder, person.pw_uid, person.pw_gid)
    (folder / "data").mkdir()
    before = folder.stat()
    with pytest.raises(CannotStart, match=f"{folder} is closed to it; choose another --data-dir"):
        make_reachable(folder / "data", server_account())
    assert folder.stat().st_mode == before.st_mode


@pytest.mark.needs_root
def test_a_full_disk_is_one_line(mounted: Callable[[str], Path]) -> None:
    disk = mounted("size=48m")
    with pytest.raises(CannotStart, match=r"expected \d+ MiB free where .* is, got \d+ MiB"):
        EmbeddedServers.claim(disk / "data")
    (disk / "data").rmdir() if not any((disk / "data").iterdir()) else None


def test_a_data_directory_without_the_right_to_it_says_who_wants_to_write() -> None:
    with pytest.raises(CannotStart, match=f"the user {os.geteuid()} may write to: choose another --data-dir"):
        DataDir.claim(Path("/proc/aegis"))


@pytest.mark.needs_root
def test_roots_data_is_where_the_servers_account_can_go() -> None:
    assert default_data_dir() == Path("/var/lib/aegis")
