"""A log as files: C2SP tlog-tiles (hash tiles of height 8, entry bundles, `checkpoint`), written and read.

`tile/<L>/<N>[.p/<W>]` holds up to 256 hashes of level 8*L, `tile/entries/<N>[.p/<W>]` up to 256 entries, each behind
its length in two bytes, big-endian. N is written in groups of three digits: 1234067 is `x001/x234/067`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aegis.audit import merkle, notes
from aegis.audit.rows import MAX_ENTRY_BYTES

WIDTH = 256
HEIGHT = 8
MAX_LEVEL = 63
MAX_BUNDLE_BYTES = WIDTH * (2 + 0xFFFF)
MAX_TILE_BYTES = WIDTH * merkle.HASH_SIZE

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class TileError(ValueError):
    """A path, bundle or directory is not what the layout says."""


@dataclass(frozen=True, slots=True)
class Tile:
    """`level` is None for entry bundles. `width` is 256 for full tiles, 1 to 255 for partial ones."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        kind = "entries" if self.level is None else str(self.level)
        return f"tile/{kind}/{number}" + ("" if self.width == WIDTH else f".p/{self.width}")


def parse_path(path: str) -> Tile:
    """The inverse of `Tile.path`. Raises TileError for any path that `Tile.path` doesn't write."""
    parts = _PATH.fullmatch(path)
    if parts is None:
        raise TileError(f"couldn't read the path of a tile: got {path[:100]!r}")
    level = None if parts[1] == "entries" else int(parts[1])
    width = WIDTH if parts[3] is None else int(parts[3])
    tile = Tile(level, int(parts[2].replace("x", "").replace("/", "")), width)
    if (level or 0) > MAX_LEVEL or width > WIDTH or tile.path != path:
        raise TileError(f"couldn't read the path of a tile: got {path[:100]!r}")
    return tile


def counts(size: int) -> Iterator[tuple[int, int, int]]:
    """For a tree of `size`: `(level, full tiles, width of the partial tile or 0)` of each level that has any."""
    level = 0
    while size > 0:
        yield level, size // WIDTH, size % WIDTH
        size //= WIDTH
        level += 1


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes) -> list[bytes]:
    """The bundle's entries. Raises TileError where a length leads past the end or there are more than 256."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data) or len(entries) == WIDTH:
            raise TileError(f"expected at most {WIDTH} entries behind their lengths, got a bad one at byte {at}")
        entries.append(data[at + 2 : end])
        at = end
    return entries


class Tower:
    """Grows the hash tiles of a tree: takes leaf hashes in order, gives each tile once it is full.

    `rest` gives the partial tiles at the end. One list of at most 255 hashes a level is kept.
    """

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]
        self._done: list[int] = [0]

    def push(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """The tiles that `leaf` completes, each with its bytes."""
        full: list[tuple[Tile, bytes]] = []
        level, node = 0, leaf
        while True:
            if level == len(self._levels):
                self._levels.append([])
                self._done.append(0)
            nodes = self._levels[level]
            nodes.append(node)
            if len(nodes) < WIDTH:
                return full
            full.append((Tile(level, self._done[level]), b"".join(nodes)))
            node = merkle.Frontier.empty().extend(nodes).root()
            nodes.clear()
            self._done[level] += 1
            level += 1

    def rest(self) -> list[tuple[Tile, bytes]]:
        return [
            (Tile(level, self._done[level], len(nodes)), b"".join(nodes))
            for level, nodes in enumerate(self._levels)
            if nodes
        ]


def write_directory(directory: Path, entries: Iterable[bytes], checkpoint_note: str) -> notes.Checkpoint:
    """Writes the log that `checkpoint_note` signs, `checkpoint` last; `entries` from sequence 0 on, more are ignored.

    Nothing is left under `checkpoint` unless the entries lead to its root. Raises TileError when they don't, or when
    the directory holds something already; OSError passes through.
    """
    head = notes.parse_checkpoint(notes.split_note(checkpoint_note)[0])
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise TileError(f"couldn't write the log to {directory}: expected an empty directory: choose another one")
    tower, frontier, number = Tower(), merkle.Frontier.empty(), 0
    stream = iter(entries)
    while frontier.size < head.size:
        bundle = list(islice(stream, min(WIDTH, head.size - frontier.size)))
        if not bundle:
            break
        if any(len(entry) > MAX_ENTRY_BYTES for entry in bundle):
            raise TileError(f"couldn't write the log: expected entries of at most {MAX_ENTRY_BYTES} bytes")
        leaves = [merkle.leaf_hash(entry) for entry in bundle]
        frontier = frontier.extend(leaves)
        _write(directory / Tile(None, number, len(bundle)).path, encode_bundle(bundle))
        for leaf in leaves:
            for tile, data in tower.push(leaf):
                _write(directory / tile.path, data)
        number += 1
    for tile, data in tower.rest():
        _write(directory / tile.path, data)
    if frontier.size != head.size or frontier.root() != head.root:
        raise TileError(f"couldn't write the log: expected the root of {head.size} entries, got another")
    _write(directory / "checkpoint", checkpoint_note.encode("utf-8"))
    return head


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class Directory:
    """A log directory that is read as hostile: no links, no devices, nothing longer than it may be."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str, limit: int) -> bytes | None:
        """The file's bytes, None when it isn't there. Raises TileError for what is no plain file or over `limit`."""
        try:
            descriptor = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TileError(f"couldn't read {path}: {error.strerror}") from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise TileError(f"couldn't read {path}: expected a plain file")
            if found.st_size > limit:
                raise TileError(f"couldn't read {path}: expected at most {limit} bytes, got {found.st_size}")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit)
        except OSError as error:
            raise TileError(f"couldn't read {path}: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def hashes(self, tile: Tile) -> list[bytes] | None:
        """The tile's hashes, None when it isn't there. Raises TileError when it doesn't hold `tile.width` of them."""
        data = self.read(tile.path, MAX_TILE_BYTES)
        if data is None:
            return None
        if len(data) != tile.width * merkle.HASH_SIZE:
            raise TileError(f"couldn't read {tile.path}: expected {tile.width} hashes, got {len(data)} bytes")
        return [data[i : i + merkle.HASH_SIZE] for i in range(0, len(data), merkle.HASH_SIZE)]

    def bundle(self, tile: Tile) -> list[bytes] | None:
        """The bundle's entries, None when it isn't there. Raises TileError for bad framing."""
        data = self.read(tile.path, MAX_BUNDLE_BYTES)
        if data is None:
            return None
        try:
            return decode_bundle(data)
        except TileError as error:
            raise TileError(f"couldn't read {tile.path}: {error}") from None

    def node_reader(self, size: int) -> merkle.ReadNode:
        """Reads nodes of the tree of `size` from its hash tiles; raises LookupError for a missing tile."""

        def read(level: int, index: int) -> bytes:
            row, inside = divmod(level, HEIGHT)
            count = 1 << inside
            number, offset = divmod(index << inside, WIDTH)
            width = min(WIDTH, (size >> HEIGHT * row) - number * WIDTH)
            nodes = self.hashes(Tile(row, number, width))
            if nodes is None:
                raise LookupError(f"couldn't read {Tile(row, number, width).path}: it is missing")
            return merkle.Frontier.empty().extend(nodes[offset : offset + count]).root()

        return read
