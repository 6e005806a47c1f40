"""The flight recorder's root: one RFC 6962 leaf a stage, so that the row's signature covers each stage alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aegis.audit import canonical, merkle


@dataclass(frozen=True, slots=True)
class StageLeaf:
    """One stage of one call. `n` is its number (0 to 10), `start` and `end` microseconds since the call came in;
    `entered` and `left` are commitments to what it read and what it said, where there are such."""

    n: int
    name: str
    start: int
    end: int
    verdict: str
    codes: tuple[str, ...] = ()
    entered: str | None = None
    left: str | None = None

    def encode(self) -> bytes:
        """The canonical bytes that are hashed; `codes` stand in their order."""
        leaf: dict[str, Any] = {
            "n": self.n,
            "name": self.name,
            "start": self.start,
            "end": self.end,
            "verdict": self.verdict,
            "codes": list(self.codes),
        }
        if self.entered is not None:
            leaf["in"] = self.entered
        if self.left is not None:
            leaf["out"] = self.left
        return canonical.encode(leaf)


def root(leaves: Sequence[StageLeaf]) -> str:
    """The row's member `stages`: hex root over the stages in their order."""
    return root_of_encoded([leaf.encode() for leaf in leaves])


def root_of_encoded(leaves: Sequence[bytes]) -> str:
    """The same over leaves that are encoded already."""
    return merkle.Frontier.empty().extend([merkle.leaf_hash(leaf) for leaf in leaves]).root().hex()
