"""Time windows of contracts: local wall-clock hours on days of the week, in the zones of the `tzdata` package.

A window holds from its first minute until just before its last. Over midnight it belongs to the day it began on. Clocks
that are set back make an hour of it twice as long, clocks that are set forward leave a part out: what counts is what a
clock on the wall there shows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from aegis.kernel.clock import MicroSeconds
from aegis.kernel.tenancy import TimeWindow

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def zone_names() -> frozenset[str]:
    """The zones of the installed `tzdata`, whatever the machine has: every process reads the same clock."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@cache
def zone(name: str) -> ZoneInfo:
    """Raises KeyError for a name that `tzdata` doesn't know."""
    if name not in zone_names():
        raise KeyError(name)
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def is_within(window: TimeWindow, now_us: MicroSeconds) -> bool:
    local = (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone(window.tz))
    minute = local.hour * 60 + local.minute
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    if window.from_minute < window.to_minute:
        return today in window.days and window.from_minute <= minute < window.to_minute
    return (today in window.days and minute >= window.from_minute) or (
        yesterday in window.days and minute < window.to_minute
    )
