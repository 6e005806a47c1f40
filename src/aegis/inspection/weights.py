"""The linear model's weights: one signed byte for each bucket that hashed words fall into.

File: 4 bytes scale (IEEE 754 single, little-endian), 4 bytes bias, then 2**15 signed bytes. Made by `bench/train`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

BUCKETS = 1 << 15
FILE = Path(__file__).parent / "model" / "injection.weights"


@dataclass(frozen=True, slots=True)
class Weights:
    """`scale` times a bucket's byte is the weight of its features; `bias` stands alone."""

    scale: float
    bias: float
    values: bytes

    def probability(self, sentences: Sequence[Sequence[str]]) -> float:
        """0..1: how much the words are like those of orders to an agent."""
        seen = set(features(sentences))
        if not seen:
            return 0.5
        total = sum(b - 256 if (b := self.values[f]) > 127 else b for f in seen)
        logit = self.bias + self.scale * total / math.sqrt(len(seen))
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))


def features(sentences: Sequence[Sequence[str]]) -> Iterator[int]:
    """Buckets of the stems of words, of neighbours, and of pairs one apart."""
    for words in sentences:
        stems = [w if w.isupper() else w[:6] for w in words]
        for i, stem in enumerate(stems):
            yield crc32(stem.encode("utf-8", "surrogatepass")) % BUCKETS
            if i:
                yield crc32(f"{stems[i - 1]} {stem}".encode("utf-8", "surrogatepass")) % BUCKETS
            if i > 1:
                yield crc32(f"{stems[i - 2]} * {stem}".encode("utf-8", "surrogatepass")) % BUCKETS


def unpacked(raw: bytes) -> Weights:
    """Raises ValueError when `raw` has another length than the format's."""
    if len(raw) != 8 + BUCKETS:
        raise ValueError(f"couldn't read weights: expected {8 + BUCKETS} bytes, got {len(raw)}")
    scale, bias = struct.unpack_from("<ff", raw)
    return Weights(scale, bias, raw[8:])


def packed(weights: Weights) -> bytes:
    return struct.pack("<ff", weights.scale, weights.bias) + weights.values


@cache
def shipped() -> Weights:
    """The weights of the package."""
    return unpacked(FILE.read_bytes())
