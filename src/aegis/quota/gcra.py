"""The arithmetic of requests per second: GCRA as a meter, in integers. Pure; `take.lua` mirrors it line for line.

A meter holds a debt that drains with time. A call costs one interval; it has room while debt + interval stays within
the tolerance (burst x interval). The debt is the theoretical arrival time of the classic form, minus now.
"""

from __future__ import annotations

from dataclasses import dataclass

from aegis.kernel.clock import MicroSeconds

SKEW_US = 2_000_000
"""Clocks of processes that differ by less share a meter without gain: time never runs backwards for it. A larger step
back is a clock that was set: the debt stays and drains on the new clock, so a step costs at most one burst."""

MAX_TOLERANCE_NS = 2**51
"""About 26 days; keeps every sum exact in a double, which is what Lua counts with."""


@dataclass(frozen=True, slots=True)
class Rate:
    interval_ns: int
    tolerance_ns: int


@dataclass(frozen=True, slots=True)
class Meter:
    """`at_us`: when `debt_ns` was right."""

    at_us: MicroSeconds
    debt_ns: int


def rate(rps: float, burst: int | None = None) -> Rate:
    """`burst` is what an idle caller may ask at once: a second's worth unless given. 0 requests a second: nothing."""
    if rps <= 0:
        return Rate(MAX_TOLERANCE_NS, 0)
    interval = min(max(1, round(1e9 / rps)), MAX_TOLERANCE_NS)
    room = max(1, burst if burst is not None else -int(-rps // 1))
    return Rate(interval, min(room * interval, MAX_TOLERANCE_NS))


def drained(meter: Meter | None, now_us: MicroSeconds) -> Meter:
    """The meter at `now_us`, or at its own time where that is later by less than the skew."""
    if meter is None:
        return Meter(now_us, 0)
    passed_us = now_us - meter.at_us
    if passed_us >= 0:
        return Meter(now_us, max(0, meter.debt_ns - passed_us * 1000))
    return meter if passed_us > -SKEW_US else Meter(now_us, meter.debt_ns)


def ask(limit: Rate, meter: Meter | None, now_us: MicroSeconds) -> tuple[Meter, int]:
    """The meter with the call in it and 0; or, without room, the meter to keep and the microseconds to wait.

    A refused call adds nothing, so a caller that keeps asking gets its rate and is not starved. The meter changes for
    it only when the clock was set back: else it would stand in the future and never drain.
    """
    now = drained(meter, now_us)
    debt = now.debt_ns + limit.interval_ns
    if debt > limit.tolerance_ns:
        return (now if meter is None or now.at_us < meter.at_us else meter), -((limit.tolerance_ns - debt) // 1000)
    return Meter(now.at_us, debt), 0
