"""Merkle trees of RFC 6962 / RFC 9162: roots, growth with proofs, and strict verification.

A node is named `(level, index)`: the root of the perfect subtree over leaves `[index << level, (index + 1) << level)`.
All hashes are 32 bytes. The hot path (`extend_with_proofs`) needs no hash older than the frontier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = hashlib.sha256(b"").digest()

ReadNode = Callable[[int, int], bytes]
"""Gives the hash of the perfect subtree `(level, index)`; raises LookupError when it is not there."""

_sha256 = hashlib.sha256


class ProofError(ValueError):
    """A proof does not hold, or is not shaped as its tree demands."""


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 2.1: SHA-256(0x00 || entry)."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 2.1: SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """What a tree of `size` leaves must remember to grow: the roots of its perfect subtrees, from left to right.

    There is one node for each set bit of `size`, the largest first. Raises ValueError when they don't fit.
    """

    size: int
    nodes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.nodes) != self.size.bit_count():
            raise ValueError(f"couldn't make a frontier of size {self.size}: got {len(self.nodes)} nodes")

    @classmethod
    def empty(cls) -> Frontier:
        return cls(0, ())

    @classmethod
    def from_bytes(cls, size: int, blob: bytes) -> Frontier:
        """The inverse of `to_bytes`. Raises ValueError when the length doesn't fit `size`."""
        if len(blob) != HASH_SIZE * size.bit_count():
            raise ValueError(
                f"couldn't read the frontier of size {size}: expected {HASH_SIZE * size.bit_count()} bytes, "
                f"got {len(blob)}"
            )
        return cls(size, tuple(bytes(blob[i : i + HASH_SIZE]) for i in range(0, len(blob), HASH_SIZE)))

    def to_bytes(self) -> bytes:
        """The nodes, 32 bytes each, largest subtree first."""
        return b"".join(self.nodes)

    def extend(self, leaves: Sequence[bytes]) -> Frontier:
        """The frontier after appending `leaves` (leaf hashes, not entries)."""
        size, nodes = self.size, list(self.nodes)
        for leaf in leaves:
            carry, rest = leaf, size
            while rest & 1:
                carry = _sha256(b"\x01" + nodes.pop() + carry).digest()
                rest >>= 1
            nodes.append(carry)
            size += 1
        return Frontier(size, tuple(nodes))

    def root(self) -> bytes:
        """The RFC 6962 tree hash; SHA-256 of nothing for the empty tree."""
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for left in self.nodes[-2::-1]:
            root = _sha256(b"\x01" + left + root).digest()
        return root


def extend_with_proofs(frontier: Frontier, leaves: Sequence[bytes]) -> tuple[Frontier, list[list[bytes]]]:
    """The frontier after all `leaves`, and for each of them its inclusion path in the tree of that size.

    A new leaf's left siblings are in the frontier or among `leaves`, its right ones among `leaves`.
    """
    if len(leaves) == 1:  # the last leaf's path is the frontier from right to left
        return frontier.extend(leaves), [list(frontier.nodes[::-1])]
    if not leaves:
        return frontier, []
    first, size = frontier.size, frontier.size + len(leaves)
    old, grown = list(frontier.nodes), []
    paths: list[list[bytes]] = [[] for _ in leaves]
    shared: list[bytes] = []  # siblings above the point where all new leaves have met
    nodes, start, level = list(leaves), first, 0
    while True:
        if start & 1:
            start -= 1
            nodes.insert(0, old.pop())
        if size >> level & 1:
            grown.append(nodes[(size >> level) - 1 - start])
        if start == 0 and len(nodes) == 1:
            break
        if first >> level == (size - 1) >> level:
            beside = ((first >> level) - start) ^ 1
            if beside < len(nodes):
                shared.append(nodes[beside])
        else:
            for index, path in enumerate(paths, first):
                beside = ((index >> level) - start) ^ 1
                if beside < len(nodes):
                    path.append(nodes[beside])
        nodes = _pair(nodes)
        start, level = start >> 1, level + 1
    for path in paths:
        path.extend(shared)
    return Frontier(size, tuple(reversed(grown))), paths


def _pair(nodes: list[bytes]) -> list[bytes]:
    """The level above `nodes`, which begin at an even index; an odd last node moves up as it is."""
    above = [_sha256(b"\x01" + nodes[i] + nodes[i + 1]).digest() for i in range(0, len(nodes) - 1, 2)]
    if len(nodes) & 1:
        above.append(nodes[-1])
    return above


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The tree hash of the leaf hashes `leaves`, from the definition in RFC 6962 2.1 and not by way of a frontier."""
    if not leaves:
        return EMPTY_ROOT
    return _definition(leaves, 0, len(leaves))


def _definition(leaves: Sequence[bytes], begin: int, end: int) -> bytes:
    if end - begin == 1:
        return leaves[begin]
    split = begin + _split(end - begin)
    return node_hash(_definition(leaves, begin, split), _definition(leaves, split, end))


def _split(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """The perfect subtrees `(level, index)` that make up leaves `[begin, end)`, from left to right.

    `[begin, end)` is a range that occurs in a tree: `begin` is a multiple of the power of two at or above its length.
    """
    parts = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        parts.append((level, begin >> level))
        begin += 1 << level
    return parts


def range_hash(begin: int, end: int, read: ReadNode) -> bytes:
    """The RFC 6962 hash of leaves `[begin, end)`, from perfect subtrees."""
    parts = subtrees(begin, end)
    root = read(*parts[-1])
    for level, index in parts[-2::-1]:
        root = node_hash(read(level, index), root)
    return root


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaf ranges whose hashes are the inclusion path of leaf `index` in a tree of `size`, leaf side first."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"couldn't prove leaf {index}: expected an index below the size {size}")
    ranges, begin, end = [], 0, size
    while end - begin > 1:
        split = begin + _split(end - begin)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((begin, split))
            begin = split
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The leaf ranges whose hashes prove that the tree of size `old` is the beginning of that of size `new`."""
    if not 0 < old <= new <= MAX_SIZE:
        raise ProofError(f"couldn't prove consistency from {old} to {new}: expected 0 < from <= to")
    ranges, begin, end, complete = [], 0, new, True
    while old != end:  # RFC 6962 2.1.2, SUBPROOF
        split = begin + _split(end - begin)
        if old <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((begin, split))
            begin, complete = split, False
    if not complete:
        ranges.append((begin, end))
    return ranges[::-1]


def inclusion_proof(index: int, size: int, read: ReadNode) -> list[bytes]:
    """RFC 9162 2.1.3.1. Raises ProofError for an index outside the tree; what `read` raises passes through."""
    return [range_hash(begin, end, read) for begin, end in inclusion_ranges(index, size)]


def consistency_proof(old: int, new: int, read: ReadNode) -> list[bytes]:
    """RFC 9162 2.1.4.1. Raises ProofError unless 0 < old <= new; what `read` raises passes through."""
    return [range_hash(begin, end, read) for begin, end in consistency_ranges(old, new)]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """RFC 9162 2.1.3.2: the root that `path` leads to. Raises ProofError when it isn't shaped for `index` in `size`."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"expected an index below the size {size}, got {index}")
    _check_hashes(leaf, *path)
    fn, sn, at = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise ProofError("expected a shorter path: hashes are left over")
        if fn & 1 or fn == sn:
            at = node_hash(sibling, at)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            at = node_hash(at, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofError("expected a longer path: hashes are missing")
    return at


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raises ProofError unless `path` leads from `leaf` at `index` to `root`, the root of a tree of `size` leaves."""
    _check_hashes(root)
    if root_from_path(leaf, index, size, path) != root:
        raise ProofError("the path leads to another root")


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """RFC 9162 2.1.4.2. Raises ProofError unless the tree of size `old` is the beginning of that of size `new`.

    From size 0 is refused: everything is consistent with nothing, so it would prove nothing.
    """
    if not 0 < old <= new <= MAX_SIZE:
        raise ProofError(f"expected 0 < from <= to, got {old} and {new}")
    _check_hashes(old_root, new_root, *path)
    if old == new:
        if path or old_root != new_root:
            raise ProofError("expected no path and one root for one size")
        return
    if not path:
        raise ProofError("expected a path")
    rest = list(path)
    if old & (old - 1) == 0:
        rest.insert(0, old_root)
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    was = now = rest[0]
    for sibling in rest[1:]:
        if sn == 0:
            raise ProofError("expected a shorter path: hashes are left over")
        if fn & 1 or fn == sn:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            now = node_hash(now, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofError("expected a longer path: hashes are missing")
    if was != old_root:
        raise ProofError("the path leads to another root of the older tree")
    if now != new_root:
        raise ProofError("the path leads to another root of the newer tree")


def _check_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise ProofError(f"expected hashes of {HASH_SIZE} bytes, got one of {len(value)}")
