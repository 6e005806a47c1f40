"""Time as a value: integer microseconds since 1970, UTC. Judges never read it; it comes in."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

MicroSeconds = int


def now_us() -> MicroSeconds:
    return time.time_ns() // 1000


def iso(us: MicroSeconds) -> str:
    """`2026-11-23T08:00:00.000000Z`, the one form of a time in rows and answers."""
    seconds, rest = divmod(us, 1_000_000)
    return f"{_to_the_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def from_iso(text: str) -> MicroSeconds:
    """Raises ValueError for what is not an RFC 3339 time with an offset."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"expected a time with an offset such as 2026-11-23T08:00:00Z, got {text!r}")
    delta = when.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
