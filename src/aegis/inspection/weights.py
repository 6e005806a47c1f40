"""The linear model beside the rules: one signed byte for each bucket that hashed words and word classes fall into.

File: scale and bias (IEEE 754 single, little-endian), then 2**14 signed bytes.
Made by `bench/train/train_injection.py`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

from aegis.inspection import lexicon

BUCKETS = 1 << 14
PAIR_GAP = 6
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
    """Buckets of word classes, of pairs of them up to PAIR_GAP words apart, of stems and of neighbouring stems."""
    for words in sentences:
        last: list[tuple[int, str]] = []
        before = ""
        for position, word in enumerate(words):
            stem = word if word.isupper() else word[:6]
            yield _bucket(stem)
            yield _bucket(f"{before} {stem}")
            before = stem
            last = [(at, name) for at, name in last if position - at <= PAIR_GAP]
            for name in sorted(lexicon.classes_of(word)):
                yield _bucket("class " + name)
                for _, earlier in last:
                    yield _bucket(f"{earlier}>{name}")
            last.extend((position, name) for name in sorted(lexicon.classes_of(word)))


def _bucket(feature: str) -> int:
    return crc32(feature.encode("utf-8", "surrogatepass")) % BUCKETS


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
