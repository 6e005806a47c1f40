"""Days and months of caps: UTC, by the clock that the caller handed in."""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass
from functools import lru_cache

from aegis.kernel.clock import MicroSeconds

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Period:
    """`day` counts from 1970, `month` is yyyymm; the ends are the first microsecond of the next one."""

    day: int
    month: int
    day_starts_us: MicroSeconds
    month_starts_us: MicroSeconds
    day_ends_us: MicroSeconds
    month_ends_us: MicroSeconds


def period(now_us: MicroSeconds) -> Period:
    return _period(now_us // DAY_US)


@lru_cache(maxsize=64)
def _period(day: int) -> Period:
    when = time.gmtime(day * 86_400)
    days = calendar.monthrange(when.tm_year, when.tm_mon)[1]
    first = day - when.tm_mday + 1
    return Period(
        day=day,
        month=when.tm_year * 100 + when.tm_mon,
        day_starts_us=day * DAY_US,
        month_starts_us=first * DAY_US,
        day_ends_us=(day + 1) * DAY_US,
        month_ends_us=(first + days) * DAY_US,
    )
