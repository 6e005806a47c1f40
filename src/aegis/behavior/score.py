"""How unusual a call is for its agent: each finding states the numbers that it stands on. Pure.

`observe` boils recent activity and baseline down to a few numbers, which are recorded; `score` judges those and
nothing else, so the same numbers give the same findings ever after.

Cold start: a finding's score grows with what is known about the agent (its confidence), and without a baseline nothing
is unusual, so a new agent is never refused for being new. Fast is not bad as such: every measure has a floor that
ordinary work stays below, and only what is several times the agent's own usual counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from aegis.behavior.baseline import Baseline, tool_key
from aegis.kernel.findings import Finding, finding
from aegis.kernel.money import dollars


class Recent(Protocol):
    """What the agent did lately, this call included; as the buckets read it."""

    @property
    def calls_1s(self) -> int: ...
    @property
    def calls_10s(self) -> int: ...
    @property
    def calls_60s(self) -> int: ...
    @property
    def micro_usd_60s(self) -> int: ...
    @property
    def run(self) -> int: ...
    @property
    def back_and_forth(self) -> int: ...
    @property
    def previous(self) -> Sequence[str]: ...
    @property
    def resources(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Floors: what is never unusual, for anybody. `times`: how many times its usual an agent may do."""

    calls_1s: int = 60
    calls_10s: int = 75
    calls_60s: int = 90
    run: int = 30
    back_and_forth: int = 8
    micro_usd_60s: int = 1_000_000
    new_resources: int = 24
    times: float = 4.0
    faster: float = 3.0
    """A long run is unusual only at this many times the agent's usual pace."""
    calls_known: float = 8.0
    """After so many allowed calls the confidence is 63 %, after three times as many 95 %."""


NORMAL = Sensitivity()

MINUTES_KNOWN = 3
"""What is counted by the minute is unknown before three minutes of activity are over."""

NEW_TOOL, NEW_PAIR = 0.28, 0.14
"""The most that a pair of tools which never was counts: less than a mark for review, more together with something."""

NOTABLE, STRONG = 0.35, 0.7
"""The score just above a limit, and from a quarter above it on."""


@dataclass(frozen=True, slots=True)
class Features:
    """What stage 5 judges by. `known`: allowed calls that the baseline knows, 0 for a new agent."""

    tool: str
    previous: str
    known: int
    calls_1s: int
    calls_10s: int
    calls_60s: int
    usual_gap_ms: int
    """0: not known."""
    usual_60s: int
    run: int
    usual_run: int
    micro_usd_60s: int
    usual_micro_usd_60s: int
    cost_minutes: int
    new_resources: int
    usual_new_resources: int
    breadth_minutes: int
    tool_seen: int
    previous_seen: int
    pair_seen: int
    tools_known: int
    back_and_forth: int
    peer: str

    def fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def of(cls, said: dict[str, Any]) -> Features:
        """Raises KeyError for what `fields()` did not make."""
        return cls(**{f.name: said[f.name] for f in fields(cls)})


_FIELDS = tuple(f.name for f in fields(Features))


def observe(recent: Recent, baseline: Baseline | None, tool: str, peer: str | None = None) -> Features:
    """`peer`: the agent that this call hands something over to."""
    b = baseline or Baseline()
    previous = recent.previous[0] if recent.previous else ""
    key, before = tool_key(tool), tool_key(previous) if previous else ""
    gap_s = b.usual_gap_s
    return Features(
        tool=tool,
        previous=previous,
        known=b.calls,
        calls_1s=recent.calls_1s,
        calls_10s=recent.calls_10s,
        calls_60s=recent.calls_60s,
        usual_gap_ms=0 if gap_s is None else max(1, round(gap_s * 1000)),
        usual_60s=math.ceil(b.rate.usual),
        run=recent.run,
        usual_run=math.ceil(b.usual_run),
        micro_usd_60s=recent.micro_usd_60s,
        usual_micro_usd_60s=math.ceil(b.cost.usual),
        cost_minutes=b.cost.count,
        new_resources=sum(not b.knows_resource(resource) for resource in recent.resources),
        usual_new_resources=math.ceil(b.breadth.usual),
        breadth_minutes=b.breadth.count,
        tool_seen=b.tools.get(key, 0),
        previous_seen=sum(n for pair, n in b.pairs.items() if before and pair.startswith(before)),
        pair_seen=b.pairs.get(before + key, 0) if before else 0,
        tools_known=len(b.tools),
        back_and_forth=recent.back_and_forth if peer else 0,
        peer=peer or "",
    )


def score(features: Features, sensitivity: Sensitivity = NORMAL) -> tuple[Finding, ...]:
    """What is unusual, the most unusual first. For an agent without a baseline only that it goes round in circles with
    another, which needs no baseline to be told."""
    trust = confidence(features.known, sensitivity)
    found = (
        _loop(features, sensitivity),
        _velocity(features, trust, sensitivity),
        _repetition(features, trust, sensitivity),
        _cost(features, trust, sensitivity),
        _breadth(features, trust, sensitivity),
        _sequence(features, trust),
    )
    return tuple(sorted((f for f in found if f is not None), key=lambda f: -f.score))


def confidence(known: int, sensitivity: Sensitivity = NORMAL) -> float:
    """0 for a new agent, towards 1 with every allowed call."""
    return 1.0 - math.exp(-max(0, known) / sensitivity.calls_known)


def _velocity(f: Features, trust: float, s: Sensitivity) -> Finding | None:
    if not f.usual_gap_ms:
        return None
    a_second = 1000 / f.usual_gap_ms
    spans = ((1, f.calls_1s, s.calls_1s), (10, f.calls_10s, s.calls_10s), (60, f.calls_60s, s.calls_60s))
    excess = 0.0
    worst = (0, 0.0)
    for seconds, calls, floor in spans:
        usual = max(a_second * seconds, f.usual_60s * seconds / 60)
        over = calls / max(floor, s.times * usual)
        if over > excess:
            excess, worst = over, (calls * 60 // seconds, usual * 60 / seconds)
    if excess <= 1:
        return None
    return finding(
        "behavior.velocity", score=_ramp(excess) * trust, rate=worst[0], usual=_short(worst[1]), evidence=_why(f, trust)
    )


def _repetition(f: Features, trust: float, s: Sensitivity) -> Finding | None:
    if not f.usual_gap_ms:
        return None
    # A call or two prove no pace: a window counts from five calls on.
    paces = [calls / seconds for seconds, calls in ((1, f.calls_1s), (10, f.calls_10s), (60, f.calls_60s)) if calls > 4]
    faster = max(paces, default=0.0) * f.usual_gap_ms / 1000
    excess = f.run / max(s.run, s.times * f.usual_run)
    if excess <= 1 or faster < s.faster:
        return None
    return finding(
        "behavior.repetition",
        score=_ramp(excess) * trust,
        tool=f.tool,
        count=f.run,
        usual=f.usual_run,
        evidence=_why(f, trust),
    )


def _loop(f: Features, s: Sensitivity) -> Finding | None:
    excess = f.back_and_forth / s.back_and_forth
    if excess <= 1:
        return None
    return finding("behavior.delegation_loop", score=_ramp(excess), count=f.back_and_forth, peer=f.peer)


def _cost(f: Features, trust: float, s: Sensitivity) -> Finding | None:
    if f.cost_minutes < MINUTES_KNOWN:
        return None
    excess = f.micro_usd_60s / max(s.micro_usd_60s, s.times * f.usual_micro_usd_60s)
    if excess <= 1:
        return None
    return finding(
        "behavior.cost",
        score=_ramp(excess) * trust,
        usd=dollars(f.micro_usd_60s),
        usual=dollars(f.usual_micro_usd_60s),
        evidence=_why(f, trust),
    )


def _breadth(f: Features, trust: float, s: Sensitivity) -> Finding | None:
    if f.breadth_minutes < MINUTES_KNOWN:
        return None
    excess = f.new_resources / max(s.new_resources, s.times * f.usual_new_resources)
    if excess <= 1:
        return None
    return finding(
        "behavior.breadth",
        score=min(0.5, _ramp(excess)) * trust,
        count=f.new_resources,
        evidence=_why(f, trust),
    )


def _sequence(f: Features, trust: float) -> Finding | None:
    """Surprise of the pair in bits, with one imagined observation for each known tool and one for a new one."""
    if not f.previous or f.pair_seen or f.previous_seen < 5:
        return None
    bits = math.log2(f.previous_seen + f.tools_known + 1)
    return finding(
        "behavior.sequence",
        score=(NEW_TOOL if f.tool_seen == 0 else NEW_PAIR) * min(1.0, bits / 8) * trust,
        tool=f.tool,
        previous=f.previous,
        count=f.previous_seen,
        evidence=_why(f, trust) | {"bits": round(bits, 2)},
    )


def _ramp(excess: float) -> float:
    return NOTABLE + (STRONG - NOTABLE) * min(1.0, (excess - 1) / 0.25)


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _why(f: Features, trust: float) -> dict[str, Any]:
    return {"confidence": round(trust, 3), "known_calls": f.known}
