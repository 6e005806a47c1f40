"""Counts from the log, for a bucket store that lost its own. Errs to the stricter side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIECE = 500


@dataclass(frozen=True, slots=True)
class OpenReservation:
    """A decision that may still run or has not been settled; `fields` name where its money is held."""

    decision_id: str
    due_us: int
    micro_usd: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Per field of the store's day and month (`agent:x|r` requests, `agent:x|u` micro-dollars)."""

    day: Mapping[str, int]
    month: Mapping[str, int]
    open: tuple[OpenReservation, ...] = ()


def pieces(counts: Counts) -> Iterator[dict[str, Any]]:
    """The counts in pieces that a script takes without holding the store up for long; the last one says so."""
    day, month, kept = list(counts.day.items()), list(counts.month.items()), counts.open
    steps = max(1, *(-(-len(part) // PIECE) for part in (day, month, kept)))
    for n in range(steps):
        at = slice(n * PIECE, (n + 1) * PIECE)
        yield {
            "day": day[at],
            "month": month[at],
            "open": [(r.decision_id, r.due_us, r.micro_usd, r.fields) for r in kept[at]],
            "last": n == steps - 1,
        }
