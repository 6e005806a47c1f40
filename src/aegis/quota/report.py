"""What people see of a quota: used, reserved, what remains, when it starts anew, and where it is heading. Pure.

The projection is linear from what was used so far in the period. Its band holds about nine in ten outcomes if calls
come at random (Poisson), and money if calls differ in cost as much as they cost on average; early in a period it is
wide, and before any use there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.money import dollars
from aegis.quota.buckets import ScopeLimits
from aegis.quota.periods import period
from aegis.quota.rebuild import Used

Z = 1.645


@dataclass(frozen=True, slots=True)
class Standing:
    """A scope's usage now. `reserved_*` are micro-dollars of calls that are not settled."""

    used: Used
    reserved_day_micro_usd: int = 0
    reserved_month_micro_usd: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Projection:
    """At the end of the period. `runs_out_at`: when the cap is reached at this pace, if before that."""

    expected: int
    low: int
    high: int
    runs_out_at: MicroSeconds | None


def project(
    used: int, requests: int, cap: int | None, starts_us: MicroSeconds, ends_us: MicroSeconds, now_us: MicroSeconds
) -> Projection | None:
    """`requests`: how many calls made up `used` (the same number when calls are what is counted). None before any."""
    passed, left = now_us - starts_us, ends_us - now_us
    if requests <= 0 or passed <= 0 or left < 0:
        return None
    coming = used * left / passed
    # The pace so far is uncertain, and what comes scatters about it; a cost varies as much again.
    deviation = math.sqrt(requests) * left / passed * math.sqrt(1 + passed / left) if left else 0.0
    if used != requests:
        deviation *= used / requests * math.sqrt(2)
    runs_out = None
    if cap is not None and used < cap < used + coming:
        runs_out = now_us + round((cap - used) * passed / used)
    elif cap is not None and used >= cap:
        runs_out = now_us
    return Projection(
        expected=round(used + coming),
        low=max(used, round(used + coming - Z * deviation)),
        high=round(used + coming + Z * deviation),
        runs_out_at=runs_out,
    )


def report(limits: ScopeLimits, standing: Standing, now_us: MicroSeconds) -> dict[str, Any]:
    """The members that `GET /v1/quotas/{scope}` adds, each with one member per kind of cap; no cap, no remainder."""
    when, used = period(now_us), standing.used
    daily, monthly = (when.day_starts_us, when.day_ends_us), (when.month_starts_us, when.month_ends_us)
    rows = (
        ("daily_requests", used.day_requests, 0, used.day_requests, limits.daily_requests, daily),
        ("monthly_requests", used.month_requests, 0, used.month_requests, limits.monthly_requests, monthly),
        ("daily_usd", used.day_micro_usd, standing.reserved_day_micro_usd, used.day_requests,
         limits.daily_micro_usd, daily),
        ("monthly_usd", used.month_micro_usd, standing.reserved_month_micro_usd, used.month_requests,
         limits.monthly_micro_usd, monthly),
    )  # fmt: skip
    made: dict[str, dict[str, Any]] = {k: {} for k in ("used", "reserved", "remaining", "resets_at", "projection")}
    for name, spent, held, requests, cap, (starts, ends) in rows:
        show = dollars if name.endswith("_usd") else int
        made["used"][name] = show(spent)
        made["reserved"][name] = show(held)
        made["remaining"][name] = None if cap is None else show(max(0, cap - spent - held))
        made["resets_at"][name] = iso(ends)
        ahead = project(spent, requests, cap, starts, ends, now_us)
        made["projection"][name] = None if ahead is None else {
            "expected": show(ahead.expected),
            "low": show(ahead.low),
            "high": show(ahead.high),
            "runs_out_at": None if ahead.runs_out_at is None else iso(ahead.runs_out_at),
        }  # fmt: skip
    made["reserved"]["concurrency"] = standing.in_flight
    return made
