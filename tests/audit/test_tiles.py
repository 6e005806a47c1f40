from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from audit_logs import LogMaker, sample
from audit_vectors import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.audit import merkle, tiles
from aegis.audit.tiles import Directory, Tile, TileError, counts, decode_bundle, encode_bundle, parse_path


@settings(deadline=None)
@given(st.none() | st.integers(0, 63), st.integers(0, 10**18), st.integers(1, 256))
def test_a_path_leads_back_to_its_tile(level: int | None, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path", ["tile/0/x000/001", "tile/0/1000", "tile/0/000/", "tile/0/000.p/01", "tile/0/000.p/257", "tile/0/../000"]
)
def test_a_path_in_another_form_is_refused(path: str) -> None:
    with pytest.raises(TileError):
        parse_path(path)


@pytest.mark.parametrize("vector", shared("31_tiles.json"))
def test_shared_paths_and_widths(vector: dict[str, Any]) -> None:
    if "bad_path" in vector:
        with pytest.raises(TileError):
            parse_path(vector["bad_path"])
    elif "path" in vector:
        level = None if vector["level"] == "entries" else vector["level"]
        assert Tile(level, vector["index"], vector["width"]).path == vector["path"]
    else:
        shape = list(counts(vector["size"]))
        assert {str(level): full for level, full, _ in shape if full} == vector["full"]
        assert {str(level): rest for level, _, rest in shape if rest} == vector["partial"]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=70), max_size=256))
def test_a_bundle_survives_its_bytes(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x00" * 257], ids=["half a length", "short", "257"])
def test_a_bundle_with_bad_framing_is_refused(data: bytes) -> None:
    with pytest.raises(TileError):
        decode_bundle(data)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogMaker, Path]:
    log = sample(600)
    return log, log.write(tmp_path_factory.mktemp("log"))


def test_written_tiles_hold_every_node(long_log: tuple[LogMaker, Path]) -> None:
    log, directory = long_log
    read, size = Directory(directory).node_reader(len(log.entries)), len(log.entries)
    root = merkle.root_of(log.leaves)
    for index in (0, 255, 256, 511, size - 1):
        merkle.verify_inclusion(log.leaves[index], index, size, merkle.inclusion_proof(index, size, read), root)
    for old in (1, 255, 256, 300, size):
        path = merkle.consistency_proof(old, size, read)
        merkle.verify_consistency(old, size, path, merkle.root_of(log.leaves[:old]), root)


def test_a_directory_holds_exactly_the_tiles_of_its_size(long_log: tuple[LogMaker, Path]) -> None:
    log, directory = long_log
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    wanted = {"checkpoint"}
    for level, full, rest in counts(len(log.entries)):
        for kind in (level, None) if level == 0 else (level,):
            wanted |= {Tile(kind, n).path for n in range(full)} | ({Tile(kind, full, rest).path} if rest else set())
    assert files == wanted


def test_entries_that_do_not_lead_to_the_checkpoint_are_not_published(tmp_path: Path) -> None:
    log = sample()
    with pytest.raises(TileError, match="root"):
        tiles.write_directory(tmp_path, [*log.entries[:-1], b"x"], log.note())
    assert not (tmp_path / "checkpoint").exists()


def test_too_few_entries_are_not_published(tmp_path: Path) -> None:
    log = sample()
    with pytest.raises(TileError):
        tiles.write_directory(tmp_path, log.entries[:-1], log.note())


def test_entries_behind_the_checkpoint_are_left_out(tmp_path: Path) -> None:
    log = sample()
    head = tiles.write_directory(tmp_path, log.entries, log.note(7))
    assert head.size == 7
    assert Directory(tmp_path).bundle(Tile(None, 0, 7)) == log.entries[:7]


def test_a_directory_that_holds_something_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(TileError, match="expected an empty directory: choose another one"):
        sample().write(tmp_path)


def test_links_devices_and_long_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(bytes(11))
    (tmp_path / "link").symlink_to(tmp_path / "long")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    directory = Directory(tmp_path)
    for name in ("long", "link", "pipe", "folder"):
        with pytest.raises(TileError):
            directory.read(name, 10)
    assert directory.read("long", 11) == bytes(11)
    assert directory.read("absent", 10) is None
    assert directory.read("long/below", 10) is None
