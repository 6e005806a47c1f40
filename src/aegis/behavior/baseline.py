"""What an agent usually does, learnt from calls that were allowed. Pure; at most 4 KiB of JSON for each agent.

Built so that an attack in progress can't teach it much: runs and minutes are learnt when they are over, the pace moves
by a bounded step a call, and what is usual grows slowly.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2s
from typing import Any

import orjson

from aegis.kernel.clock import MicroSeconds

VERSION = 1
MAX_BYTES = 4_096
MINUTE_US = 60_000_000
TOOLS = 48
PAIRS = 72
PAIRS_TOTAL = 4_096
SKETCH_BYTES = 192
SKETCH_FULL = 0.4
WARM = 16
"""So many gaps are averaged plainly before the bounded steps begin."""


@dataclass(frozen=True, slots=True)
class Event:
    """An allowed call, in the order of the log. `resource` is 8 hex digits, empty without one."""

    seq: int
    ts_us: MicroSeconds
    agent: str
    tool: str
    resource: str = ""
    micro_usd: int = 0
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Minutes:
    """A measure per minute in which the agent was active: exponentially weighed mean and variance, slow peak."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0
    peak: float = 0.0

    def learn(self, value: float) -> Minutes:
        weight = max(0.05, 1 / (self.count + 1))
        off = value - self.mean
        mean = self.mean + weight * off
        variance = (1 - weight) * (self.variance + weight * off * off)
        return Minutes(self.count + 1, mean, variance, max(value, self.peak * 0.99))

    @property
    def usual(self) -> float:
        """The upper end of what is usual: three deviations above the mean, or the remembered peak."""
        return max(self.mean + 3 * math.sqrt(self.variance), self.peak)


@dataclass(frozen=True, slots=True)
class Baseline:
    """`tools` and `pairs` are keyed by 8 hex digits a tool. `minute` .. `run` hold what is not over yet."""

    calls: int = 0
    last_us: MicroSeconds = 0
    last_tool: str = ""
    gaps: int = 0
    log_gap: float = 0.0
    """Mean of the natural logarithm of the seconds between calls less than a minute apart."""
    run: int = 0
    runs: int = 0
    usual_run: float = 1.0
    minute: int = 0
    minute_calls: int = 0
    minute_micro_usd: int = 0
    minute_new: int = 0
    rate: Minutes = field(default_factory=Minutes)
    cost: Minutes = field(default_factory=Minutes)
    breadth: Minutes = field(default_factory=Minutes)
    tools: Mapping[str, int] = field(default_factory=dict)
    pairs: Mapping[str, int] = field(default_factory=dict)
    sketch: bytes = bytes(SKETCH_BYTES)
    sketch_before: bytes = bytes(SKETCH_BYTES)

    @property
    def usual_gap_s(self) -> float | None:
        return math.exp(self.log_gap) if self.gaps else None

    def knows_resource(self, resource: str) -> bool:
        """True for every resource learnt lately; sometimes for another one too."""
        return any(_has(sketch, resource) for sketch in (self.sketch, self.sketch_before))


def tool_key(tool: str) -> str:
    return blake2s(tool.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def learn(baseline: Baseline, event: Event) -> Baseline:
    """The baseline with one more allowed call. Events come in the log's order; times that go back count as now."""
    ts = max(event.ts_us, baseline.last_us)
    after = _learn_minute(baseline, ts, event)
    after = _learn_pace(after, ts)
    after = _learn_sequence(after, ts, tool_key(event.tool))
    if event.resource:
        after = _learn_resource(after, event.resource)
    return replace(after, calls=after.calls + 1, last_us=ts)


def _learn_minute(b: Baseline, ts: MicroSeconds, event: Event) -> Baseline:
    minute = ts // MINUTE_US
    if minute != b.minute and b.minute_calls:
        b = replace(
            b,
            rate=b.rate.learn(b.minute_calls),
            cost=b.cost.learn(b.minute_micro_usd),
            breadth=b.breadth.learn(b.minute_new),
            minute_calls=0,
            minute_micro_usd=0,
            minute_new=0,
        )
    return replace(
        b,
        minute=minute,
        minute_calls=b.minute_calls + 1,
        minute_micro_usd=b.minute_micro_usd + max(0, event.micro_usd),
    )


def _learn_pace(b: Baseline, ts: MicroSeconds) -> Baseline:
    gap_us = ts - b.last_us
    if not b.calls or gap_us >= MINUTE_US:
        return b
    off = math.log(max(gap_us, 1_000) / 1e6) - b.log_gap
    step = off / (b.gaps + 1) if b.gaps < WARM else 0.02 * max(-0.5, min(0.5, off))
    return replace(b, gaps=b.gaps + 1, log_gap=b.log_gap + step)


def _learn_sequence(b: Baseline, ts: MicroSeconds, tool: str) -> Baseline:
    goes_on = b.last_tool == tool and ts - b.last_us < MINUTE_US
    if b.calls and not goes_on:
        most = b.usual_run * 1.5 + 1 if b.runs >= WARM else b.run
        over = min(b.run, most)
        usual = over if over > b.usual_run else b.usual_run * 0.99 + over * 0.01
        b = replace(b, runs=b.runs + 1, usual_run=max(1.0, usual))
    tools = _counted(b.tools, tool, TOOLS)
    pairs = _counted(b.pairs, b.last_tool + tool, PAIRS) if b.last_tool else b.pairs
    return replace(b, run=b.run + 1 if goes_on else 1, last_tool=tool, tools=tools, pairs=pairs)


def _learn_resource(b: Baseline, resource: str) -> Baseline:
    is_new = not b.knows_resource(resource)
    sketch, before = b.sketch, b.sketch_before
    if sum(byte.bit_count() for byte in sketch) > SKETCH_FULL * SKETCH_BYTES * 8:
        sketch, before = bytes(SKETCH_BYTES), sketch
    return replace(b, sketch=_with(sketch, resource), sketch_before=before, minute_new=b.minute_new + is_new)


def _counted(counts: Mapping[str, int], key: str, most: int) -> dict[str, int]:
    """One more of `key`. Over the total all are halved; over `most` keys the rarest is dropped, never `key` itself."""
    after = dict(counts)
    after[key] = after.get(key, 0) + 1
    if sum(after.values()) > PAIRS_TOTAL:
        after = {k: n // 2 for k, n in after.items() if n > 1 or k == key}
    while len(after) > most:
        del after[min((k for k in after if k != key), key=lambda k: (after[k], k))]
    return after


def _bits(resource: str) -> tuple[int, int]:
    digest = blake2s(resource.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    size = SKETCH_BYTES * 8
    return int.from_bytes(digest[:2], "big") % size, int.from_bytes(digest[2:], "big") % size


def _has(sketch: bytes, resource: str) -> bool:
    return all(sketch[bit >> 3] & 1 << (bit & 7) for bit in _bits(resource))


def _with(sketch: bytes, resource: str) -> bytes:
    changed = bytearray(sketch)
    for bit in _bits(resource):
        changed[bit >> 3] |= 1 << (bit & 7)
    return bytes(changed)


# ------------------------------------------------------------------ as bytes

_PLAIN = (
    "calls", "last_us", "last_tool", "gaps", "log_gap", "run", "runs", "usual_run", "minute", "minute_calls",
    "minute_micro_usd", "minute_new",
)  # fmt: skip
_MINUTES = ("rate", "cost", "breadth")


def dump(baseline: Baseline) -> bytes:
    """JSON of at most 4 KiB; `load` gives the same baseline."""
    b = baseline
    made: dict[str, Any] = {"v": VERSION, **{name: getattr(b, name) for name in _PLAIN}}
    for name in _MINUTES:
        m: Minutes = getattr(b, name)
        made[name] = [m.count, m.mean, m.variance, m.peak]
    made["tools"], made["pairs"] = b.tools, b.pairs
    made["sketch"], made["sketch_before"] = _text(b.sketch), _text(b.sketch_before)
    return orjson.dumps(made)


@lru_cache(maxsize=1_024)
def load(body: bytes | str) -> Baseline | None:
    """None for another version, or for bytes that `dump` did not make: the agent then counts as new."""
    try:
        said = orjson.loads(body)
        if said["v"] != VERSION:
            return None
        measures: dict[str, Any] = {name: Minutes(*said[name]) for name in _MINUTES}
        return Baseline(
            **{name: said[name] for name in _PLAIN},
            **measures,
            tools={str(k): int(n) for k, n in said["tools"].items()},
            pairs={str(k): int(n) for k, n in said["pairs"].items()},
            sketch=_bytes(said["sketch"]),
            sketch_before=_bytes(said["sketch_before"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _text(sketch: bytes) -> str:
    return base64.b64encode(sketch).decode("ascii")


def _bytes(text: str) -> bytes:
    sketch = base64.b64decode(text, validate=True)
    if len(sketch) != SKETCH_BYTES:
        raise ValueError(f"expected a sketch of {SKETCH_BYTES} bytes, got {len(sketch)}")
    return sketch
