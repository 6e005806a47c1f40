"""Limits without the bucket store: no cap is passed, however the processes' readings of the counts fall."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from aegis.quota.buckets import ScopeLimits, Take
from aegis.quota.periods import period
from aegis.quota.rebuild import Totals, Used
from aegis.quota.settled import SettledBuckets

NOON = 1_795_600_800_000_000
CAP = 30


class Log:
    """What became durable, as PostgreSQL would sum it."""

    def __init__(self) -> None:
        self.requests = 10

    async def totals(self, tenant: str, now_us: int, known: Totals | None = None) -> Totals:
        when = period(now_us)
        used = Used(day_requests=self.requests, month_requests=self.requests)
        return Totals(when.day, when.month, self.requests, {"agent:a": used})


def ask(n: int, now_us: int) -> Take:
    return Take("ten_a", "a", "t", now_us, f"d{n}", (ScopeLimits("agent:a", daily_requests=CAP),), now_us + 10**9)


STEPS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3_000_000), st.booleans()), max_size=80)


@given(STEPS)
def test_processes_that_read_at_different_times_never_pass_a_cap(steps: list[tuple[int, int, bool]]) -> None:
    """Each step: which process asks, how much time passed, and whether the rows taken so far became durable."""

    async def play() -> int:
        log = Log()
        processes = [SettledBuckets(log.totals, lambda: 2) for _ in range(2)]
        now, taken = NOON, 0
        for number, (which, passed, durable) in enumerate(steps):
            now += passed
            reading = await processes[which].take(ask(number, now))
            taken += not reading.limited
            if durable:
                log.requests = 10 + taken
        return taken

    assert asyncio.run(play()) <= CAP - 10


async def test_counts_read_before_the_store_was_back_for_a_moment_are_not_judged_by() -> None:
    """What the store let through meanwhile is in no reading of before; a share handed out then would pass the cap."""
    log = Log()
    log.requests = 0
    processes = [SettledBuckets(log.totals, lambda: 2) for _ in range(2)]
    for number, buckets in enumerate(processes):
        other = Take("ten_a", "b", "t", NOON, f"other{number}", (ScopeLimits("agent:b", daily_requests=CAP),), NOON)
        assert not (await buckets.take(other)).limited
        buckets.note_back("ten_a")
    log.requests = 10
    readings = [await buckets.take(ask(n, NOON + 1)) for n in range(CAP) for buckets in processes]
    assert sum(not reading.limited for reading in readings) == CAP - 10
