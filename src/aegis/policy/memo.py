"""Remembered answers of bundles. An answer stands for every input that agrees on the paths that the bundle reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from aegis.kernel.findings import Finding
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.policy.engine import Loaded

MAX_ENTRIES = 4096
MAX_KEY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Remembered:
    """`awake`: a rule that reads history or the time may have a say, so the engine has to be asked."""

    findings: tuple[Finding, ...]
    awake: bool


@dataclass(slots=True)
class MemoTally:
    hits: int = 0
    misses: int = 0
    awake: int = 0
    unfit: int = 0

    @property
    def hit_rate(self) -> float:
        asked = self.hits + self.misses + self.awake + self.unfit
        return self.hits / asked if asked else 0.0


class Memo:
    """Bounded, least lately used out first; one a process. A bundle's digest is part of each key."""

    def __init__(self, entries: int = MAX_ENTRIES) -> None:
        self._entries = entries
        self._remembered: OrderedDict[tuple[str, bytes], Remembered] = OrderedDict()
        self.tally = MemoTally()

    def recall(
        self, bundle: Loaded, given: Mapping[str, JsonTree]
    ) -> tuple[tuple[str, bytes] | None, Remembered | None]:
        """The key to remember the answer under (None: it may not be remembered), and the answer if it is known."""
        key = key_of(bundle, given)
        if key is None:
            self.tally.unfit += 1
            return None, None
        known = self._remembered.get(key)
        if known is None:
            self.tally.misses += 1
            return key, None
        self._remembered.move_to_end(key)
        if known.awake:
            self.tally.awake += 1
            return None, None
        self.tally.hits += 1
        return None, known

    def remember(self, key: tuple[str, bytes], answer: Remembered) -> None:
        """Only what the engine said; a failure is asked again."""
        self._remembered[key] = answer
        if len(self._remembered) > self._entries:
            self._remembered.popitem(last=False)

    def __len__(self) -> int:
        return len(self._remembered)


def key_of(bundle: Loaded, given: Mapping[str, JsonTree]) -> tuple[str, bytes] | None:
    """None where the bundle may not be remembered, or its part of the input is larger than 16 KiB."""
    if bundle.why_not:
        return None
    values = dumps([value_at(given, path) for path in bundle.reads])
    return (bundle.digest, values) if len(values) <= MAX_KEY_BYTES else None


def value_at(given: Mapping[str, JsonTree], path: tuple[str, ...]) -> list[JsonTree]:
    """In a list of its own, so that an absent member is told from null."""
    place: JsonTree = given
    for name in path:
        if not isinstance(place, dict) or name not in place:
            return []
        place = place[name]
    return [place]
