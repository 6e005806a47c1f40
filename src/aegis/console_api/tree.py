"""Hashes of a tenant's tree out of the store: full tiles where they were made, leaves for the rest.

A node is read through tiles of 256 hashes (C2SP tlog-tiles). Full tiles are made when they are first needed and kept,
so a proof reads a handful of rows however long the log is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aegis.audit import merkle
from aegis.console_api.decisions_sql import SQL
from aegis.db.database import Connection

WIDTH = 256


@dataclass(slots=True)
class StoredTree:
    """Reads within one transaction of the tenant's scope; `size` is the tree's."""

    connection: Connection
    tenant: str
    size: int
    _read: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    async def inclusion(self, index: int) -> list[bytes]:
        """The path of leaf `index` in the tree of `size`."""
        return [await self.range_hash(begin, end) for begin, end in merkle.inclusion_ranges(index, self.size)]

    async def consistency(self, old: int) -> list[bytes]:
        return [await self.range_hash(begin, end) for begin, end in merkle.consistency_ranges(old, self.size)]

    async def root(self, size: int) -> bytes:
        nodes = [await self._node(level, index) for level, index in merkle.subtrees(0, size)]
        return _fold(nodes)

    async def range_hash(self, begin: int, end: int) -> bytes:
        return _fold([await self._node(level, index) for level, index in merkle.subtrees(begin, end)])

    async def tile(self, level: int, index: int, width: int = WIDTH) -> list[bytes]:
        """The hashes of a tile of `level` (in units of eight tree levels), at most `width` of them."""
        known = self._read.get((level, index))
        if known is not None and len(known) >= width:
            return known[:width]
        hashes = await self._stored(level, index) if width == WIDTH else None
        if hashes is None:
            hashes = await self._made(level, index, width)
        self._read[level, index] = hashes
        return hashes

    async def _stored(self, level: int, index: int) -> list[bytes] | None:
        found = await self.connection.fetchval(SQL.tile, self.tenant, level, index)
        return None if found is None else [found[at : at + 32] for at in range(0, WIDTH * 32, 32)]

    async def _made(self, level: int, index: int, width: int) -> list[bytes]:
        first = index * WIDTH
        if level == 0:
            rows = await self.connection.fetch(SQL.leaves, self.tenant, first, first + width)
            hashes = [bytes(row["leaf"]) for row in rows]
        else:
            hashes = [_perfect(await self.tile(level - 1, first + n)) for n in range(width)]
        if len(hashes) != width:
            raise LookupError(f"expected {width} hashes in tile {level}/{index}, got {len(hashes)}")
        if width == WIDTH:
            await self.connection.execute(SQL.keep_tile, self.tenant, level, index, b"".join(hashes))
        return hashes

    async def _node(self, level: int, index: int) -> bytes:
        """The root of the perfect subtree of 2^level leaves at `index`."""
        tile_level, height = divmod(level, 8)
        first = index << height
        tile, at = divmod(first, WIDTH)
        available = (self.size >> (8 * tile_level)) - tile * WIDTH
        hashes = await self.tile(tile_level, tile, min(WIDTH, available))
        return _perfect(hashes[at : at + (1 << height)])


def _perfect(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [merkle.node_hash(hashes[n], hashes[n + 1]) for n in range(0, len(hashes), 2)]
    return hashes[0]


def _fold(nodes: list[bytes]) -> bytes:
    """Nodes of a range from left to right, joined as RFC 6962 does: from the right."""
    joined: Any = nodes[-1]
    for node in reversed(nodes[:-1]):
        joined = merkle.node_hash(node, joined)
    return bytes(joined)
