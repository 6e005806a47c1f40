"""Offline verification of a log directory, with nothing but the log's verifier key. Reads as if an enemy wrote it.

Order: (1) the checkpoints' signatures; (2) each entry's place in the tree, the stored tiles and its row, signature
before meaning; (3) the roots at every size that something signed; (4) what only the end shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aegis.audit import merkle, notes
from aegis.audit.evidence import Finding, exit_code
from aegis.audit.notes import ED25519, Verifier
from aegis.audit.signed_head import SignedHead, open_head
from aegis.audit.tiles import WIDTH, Directory, Tile, TileError, Tower, counts, parse_path
from aegis.audit.walk import Findings, Walk
from aegis.kernel.clock import MicroSeconds, from_iso

SKEW: MicroSeconds = 300_000_000
"""How far a witness's clock and a gateway's may be apart."""

Progress = Callable[[int, int], None]
"""Gets the number of entries read and the number that there are."""


@dataclass(frozen=True, slots=True)
class RowSignatures:
    """Which row signatures are verified: every `one_in`-th row's, or none when it is 0. Key rows always are."""

    one_in: int = 1

    @classmethod
    def parse(cls, text: str) -> RowSignatures:
        """`all`, `none` or `sample:N`. Raises ValueError."""
        kind, _, number = text.partition(":")
        if text in ("all", "none"):
            return cls(1 if text == "all" else 0)
        if kind == "sample" and number.isascii() and number.isdigit() and 0 < int(number) < 2**31:
            return cls(int(number))
        raise ValueError(f"expected all, none or sample:N, got {text!r}")

    def chosen(self, seq: int) -> bool:
        return self.one_in != 0 and seq % self.one_in == 0


@dataclass(frozen=True, slots=True)
class LogReport:
    """What verification found. `size`, `root` and `time` say how far the log is complete: never more than that."""

    findings: tuple[Finding, ...]
    origin: str | None
    size: int
    root: bytes
    time: str | None
    rows: int
    signatures: int
    first_bad: int | None
    fork: tuple[str, str] | None = None
    """Two notes that one key signed and that can't both be true: proof that anyone can check."""

    @property
    def exit(self) -> int:
        return exit_code(self.findings)


def verify_log(
    path: Path,
    verifiers: Sequence[Verifier],
    *,
    held: Sequence[tuple[str, str]] = (),
    row_signatures: RowSignatures = RowSignatures(),
    fresh_since: MicroSeconds | None = None,
    progress: Progress | None = None,
) -> LogReport:
    """Verifies the log directory at `path`. No exception escapes for anything that the directory holds.

    `held` are further checkpoints `(what, note)` from elsewhere, older or newer. `fresh_since`: the newest row or
    cosignature must be at least so young, else the evidence doesn't suffice.
    """
    check = _Check(Directory(path), verifiers, row_signatures, progress)
    return check.run(held, fresh_since)


class _Check:
    def __init__(
        self, directory: Directory, verifiers: Sequence[Verifier], chosen: RowSignatures, progress: Progress | None
    ) -> None:
        self.directory, self.verifiers = directory, verifiers
        self.chosen, self.progress = chosen, progress
        self.found = Findings()
        self.frontier = merkle.Frontier.empty()
        self.tower = Tower()
        self.first_differing: int | None = None
        """The first entry that differs from its stored hash."""
        self.fork: tuple[str, str] | None = None
        self.missing: list[tuple[int, int]] = []
        """Ranges of entries that aren't there but whose leaf hashes are."""

    def run(self, held: Sequence[tuple[str, str]], fresh_since: MicroSeconds | None) -> LogReport:
        if not self.directory.root.is_dir():
            self.found.add("E_UNREADABLE", "expected a directory with the file checkpoint and the folder tile")
            return self._report(None, None)
        if not any(verifier.alg == ED25519 for verifier in self.verifiers):
            self.found.add("W_NO_TRUSTED_KEY")
        own = self._own_head()
        others = [head for what, note in held if (head := self._open(note, what)) is not None]
        best = own or max(others, key=lambda head: head.checkpoint.size, default=None)
        others = [head for head in others if best is not None and self._same_origin(head, best)]
        heads = [head for head in (own, *others) if head is not None]
        self._compare(own, heads)
        walk = self._walk(best, heads)
        self._read(walk, best, heads)
        walk.finish()
        self._judge_end(walk, best, heads, fresh_since)
        return self._report(walk, best)

    def _walk(self, best: SignedHead | None, heads: Sequence[SignedHead]) -> Walk:
        origin = best.checkpoint.origin if best else None
        sizes = {head.checkpoint.size for head in heads}
        return Walk(
            self.found,
            origin,
            checks_signature=self.chosen.chosen,
            log_vkeys=frozenset(v.vkey for v in self.verifiers if v.alg == ED25519 and v.name == origin),
            watched=frozenset(sizes | {size - 1 for size in sizes}),
        )

    # (1) the checkpoints

    def _own_head(self) -> SignedHead | None:
        try:
            data = self.directory.read("checkpoint", notes.MAX_NOTE_BYTES)
        except TileError as error:
            self.found.add("E_UNREADABLE", str(error))
            return None
        if data is None:
            return None
        try:
            return self._open(data.decode("utf-8"), "the checkpoint")
        except UnicodeDecodeError:
            self.found.add("E_SIG_CHECKPOINT", "the checkpoint: expected UTF-8")
            return None

    def _open(self, note: str, what: str) -> SignedHead | None:
        head = open_head(note, self.verifiers, what)
        if isinstance(head, SignedHead):
            return head
        for found in head:
            self.found.take(found)
        return None

    def _same_origin(self, head: SignedHead, best: SignedHead) -> bool:
        if head.checkpoint.origin == best.checkpoint.origin:
            return True
        self.found.add("E_ORIGIN", "a checkpoint that you hold is of another log than the directory")
        return False

    def _compare(self, own: SignedHead | None, heads: Sequence[SignedHead]) -> None:
        by_size: dict[int, SignedHead] = {}
        for head in heads:
            twin = by_size.setdefault(head.checkpoint.size, head)
            if twin.checkpoint.root != head.checkpoint.root:
                self.found.add("E_FORK", f"two signed roots for size {head.checkpoint.size}")
                self.fork = self.fork or (twin.note, head.note)
            if own is not None and head.checkpoint.size > own.checkpoint.size:
                self.found.add(
                    "E_ROLLBACK",
                    f"the log ends at size {own.checkpoint.size}, and size {head.checkpoint.size} was signed before",
                    own.checkpoint.size,
                )

    # (2) the entries, and (3) the roots on the way

    def _read(self, walk: Walk, best: SignedHead | None, heads: Sequence[SignedHead]) -> None:
        size = best.checkpoint.size if best else None
        roots = {head.checkpoint.size: head for head in reversed(heads)}  # of two for one size, the log's own
        marks = sorted(roots)
        if 0 in roots:
            self._compare_root(0, roots, best)
        for number, entries, leaves in self._bundles(size):
            start = number * WIDTH
            self._tiles(leaves, entries is not None)
            if entries is None:
                walk.skip(leaves)
            else:
                for entry, leaf in zip(entries, leaves, strict=True):
                    walk.feed(entry, leaf)
            for mark in marks:
                if start < mark <= start + len(leaves):
                    self.frontier = self.frontier.extend(leaves[self.frontier.size - start : mark - start])
                    self._compare_root(mark, roots, best)
            self.frontier = self.frontier.extend(leaves[self.frontier.size - start :])
            if self.progress is not None:
                self.progress(self.frontier.size, size or 0)
        if size is None or self.frontier.size == size:
            for tile, data in self.tower.rest():
                self._tile(tile, data, True)
        if best is not None and self.frontier.size < best.checkpoint.size:
            self.found.add(
                "E_TRUNCATED",
                f"the checkpoint covers {best.checkpoint.size} entries, {self.frontier.size} are there",
                self.frontier.size,
            )

    def _bundles(self, size: int | None) -> Iterator[tuple[int, list[bytes] | None, list[bytes]]]:
        """Number, entries (None where only their hashes are there) and leaf hashes, as far as they reach."""
        number = 0
        while size is None or number * WIDTH < size:
            width = WIDTH if size is None else min(WIDTH, size - number * WIDTH)
            entries = self._bundle(number, width)
            if entries is not None:
                yield number, entries, [merkle.leaf_hash(entry) for entry in entries]
                if len(entries) < width:
                    return
            else:
                hashes = self._hashes(Tile(0, number, width))
                if hashes is None:
                    return
                self.missing.append((number * WIDTH, number * WIDTH + width))
                yield number, None, hashes
            number += 1

    def _bundle(self, number: int, width: int) -> list[bytes] | None:
        """The first `width` entries of bundle `number`, fewer when there are fewer, None when there are none."""
        for candidate in dict.fromkeys((width, WIDTH, *self._partial_widths(number, width))):
            tile = Tile(None, number, candidate)
            try:
                entries = self.directory.bundle(tile)
            except TileError as error:
                self.found.add("E_TILE", str(error), number * WIDTH)
                continue
            if entries is None:
                continue
            if len(entries) != candidate:
                self.found.add("E_TILE", f"{tile.path} holds {len(entries)} entries", number * WIDTH + len(entries))
            return entries[:width] or None
        return None

    def _partial_widths(self, number: int, below: int) -> list[int]:
        """The widths of partial bundles that stand there instead of the one that should, the widest first."""
        folder = self.directory.root / Tile(None, number, 1).path
        try:
            names = os.listdir(folder.parent)[:WIDTH]
        except OSError:
            return []
        widths = (int(name) for name in names if name.isascii() and name.isdigit() and len(name) <= 3)
        return sorted((width for width in widths if 0 < width < WIDTH and width != below), reverse=True)

    def _hashes(self, tile: Tile) -> list[bytes] | None:
        try:
            return self.directory.hashes(tile)
        except TileError as error:
            self.found.add("E_TILE", str(error))
            return None

    def _tiles(self, leaves: Sequence[bytes], from_entries: bool) -> None:
        for leaf in leaves:
            for tile, data in self.tower.push(leaf):
                self._tile(tile, data, from_entries)

    def _tile(self, tile: Tile, data: bytes, from_entries: bool) -> None:
        """Compares a stored tile with what the entries make it; names the first entry that differs from its hash."""
        if tile.level == 0 and not from_entries:
            return  # its own hashes stood in for the entries
        stored = self._hashes(tile)
        if stored is not None and b"".join(stored) == data:
            return
        if stored is None:
            self.found.add("E_TILE", f"{tile.path} is missing or unreadable")
            return
        seq = None
        if tile.level == 0:
            hashes = (data[i : i + merkle.HASH_SIZE] for i in range(0, len(data), merkle.HASH_SIZE))
            seq = tile.index * WIDTH + next(i for i, h in enumerate(hashes) if h != stored[i])
            self.first_differing = seq if self.first_differing is None else self.first_differing
        self.found.add("E_TILE", f"{tile.path} differs from what the entries say", seq)

    def _compare_root(self, size: int, roots: Mapping[int, SignedHead], best: SignedHead | None) -> None:
        head = roots[size].checkpoint
        if self.frontier.root() == head.root:
            return
        if best is not None and size == best.checkpoint.size:
            self.found.add(
                "E_ROOT_MISMATCH", f"the {size} entries lead to another root than the signed one", self.first_differing
            )
        else:
            self.found.add("E_CONSISTENCY", f"a signed tree of size {size} is not the beginning of this log")

    # (4) what only the end shows

    def _judge_end(
        self, walk: Walk, best: SignedHead | None, heads: Sequence[SignedHead], fresh_since: MicroSeconds | None
    ) -> None:
        if walk.position == 0:
            self.found.add("E_GENESIS", "the log holds no entry, not even genesis")
        self._judge_missing(walk)
        self._judge_times(walk, heads)
        if best is None:
            self.found.add("W_NO_FRESH_EVIDENCE", "no trusted checkpoint is held: nothing says where the log ends")
        elif fresh_since is not None and self._newest(walk, heads) < fresh_since:
            self.found.add("W_NO_FRESH_EVIDENCE", f"nothing newer than {walk.last_ts} is held")
        if self.chosen.one_in != 1:
            what = "none" if self.chosen.one_in == 0 else f"one in {self.chosen.one_in}"
            self.found.add("I_NOT_CHECKED", f"row signatures: {what}, and those of key rows ({walk.signatures} in all)")
        if walk.unchecked_keys:
            self.found.add("I_NOT_CHECKED", f"the signatures of {walk.unchecked_keys} rows: their key rows are gone")
        strays = self._strays(best.checkpoint.size if best else self.frontier.size)
        if strays:
            self.found.add("I_EXTRA_FILES", f"{strays} files are no part of this log and were not read")

    def _judge_missing(self, walk: Walk) -> None:
        for begin, end in self.missing:
            if end <= walk.pruned_below:
                self.found.add("I_PRUNED", f"entries {begin} to {end - 1} are pruned; their hashes still verify", begin)
            elif end == self.frontier.size:
                self.found.add("E_TRUNCATED", f"entries {begin} to {end - 1} are missing at the end", begin)
            else:
                self.found.add("E_PRUNED_UNPROVEN", f"entries {begin} to {end - 1} are missing", begin)

    def _judge_times(self, walk: Walk, heads: Sequence[SignedHead]) -> None:
        """Rows before a cosigned checkpoint are not younger than it, rows after it not older."""
        for head in heads:
            size = head.checkpoint.size
            for name, seconds in head.cosigned_at:
                at = seconds * 1_000_000
                covered, beyond = walk.times.get(size - 1), walk.times.get(size)
                if covered is not None and from_iso(covered) > at + SKEW:
                    self.found.add("E_TIME_BOUND", f"the row's time is after {name} cosigned it", size - 1)
                if beyond is not None and from_iso(beyond) < at - SKEW:
                    self.found.add("E_TIME_BOUND", f"the row's time is before {name} cosigned the log without it", size)

    def _newest(self, walk: Walk, heads: Sequence[SignedHead]) -> MicroSeconds:
        cosigned = [seconds * 1_000_000 for head in heads for _, seconds in head.cosigned_at]
        return max([0 if walk.last_ts is None else from_iso(walk.last_ts), *cosigned])

    def _strays(self, size: int) -> int:
        """How many files stand in the directory that a log of `size` doesn't have."""
        shape = {level: (full, partial) for level, full, partial in counts(size)}
        strays = 0
        for folder, _, names in os.walk(self.directory.root):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.directory.root)
                strays += path != "checkpoint" and not _belongs(path, shape)
        return strays

    def _report(self, walk: Walk | None, best: SignedHead | None) -> LogReport:
        origin = best.checkpoint.origin if best else walk.origin if walk else None
        size, root = self.frontier.size, self.frontier.root()
        time = walk.last_ts if walk else None
        if exit_code(self.found.all()) == 0:
            self.found.add("I_VERIFIED", f"{origin} is complete and unchanged up to size {size} at time {time}")
        return LogReport(
            findings=tuple(self.found.all()),
            origin=origin,
            size=size,
            root=root,
            time=time,
            rows=walk.rows if walk else 0,
            signatures=walk.signatures if walk else 0,
            first_bad=self.found.first_bad,
            fork=self.fork,
        )


def _belongs(path: str, shape: Mapping[int, tuple[int, int]]) -> bool:
    try:
        tile = parse_path(path)
    except TileError:
        return False
    full, partial = shape.get(tile.level or 0, (0, 0))
    return tile.index < full if tile.width == WIDTH else (tile.index, tile.width) == (full, partial)
