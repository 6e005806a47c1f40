"""The flight recorder's root: one RFC 6962 leaf a stage, so that the row's signature covers each stage alone.

A leaf is the canonical form of `{n, name, verdict, codes, ...}`: the stage's number and name, its word, the codes of
its findings, its times, and `in` and `out`, commitments to what it read and said, where there are such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aegis.audit import canonical, merkle


def root(stages: Sequence[dict[str, Any]]) -> str:
    """The row's member `stages`: hex root over the leaves in their order. Raises canonical.CanonError."""
    leaves = [merkle.leaf_hash(canonical.encode(stage)) for stage in stages]
    return merkle.Frontier.empty().extend(leaves).root().hex()


def stage_proof(stages: Sequence[dict[str, Any]], n: int) -> list[bytes]:
    """The path from the leaf at position `n` to the root: shows one stage without the others."""
    leaves = [merkle.leaf_hash(canonical.encode(stage)) for stage in stages]
    return merkle.extend_with_proofs(merkle.Frontier.empty(), leaves)[1][n]
