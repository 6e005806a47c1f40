from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.kernel.ids import new_id
from aegis.quota.gcra import MAX_TOLERANCE_NS, SKEW_US, Meter, Rate, ask, drained, rate
from aegis.quota.valkey import ValkeyBuckets
from tests.quota.conftest import NOON, SECOND, asked, limits

RATES = st.builds(
    rate,
    st.one_of(st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 7.0, 5_000.0]), st.floats(0.001, 100_000.0)),
    st.one_of(st.none(), st.integers(1, 500)),
)
STEPS = st.lists(st.one_of(st.integers(0, 400_000), st.integers(-5 * SECOND, 5 * SECOND)), min_size=1, max_size=60)


def admitted(limit: Rate, times: list[int]) -> list[int]:
    meter: Meter | None = None
    through = []
    for now in times:
        meter, wait_us = ask(limit, meter, now)
        if wait_us == 0:
            through.append(now)
    return through


@given(st.integers(1, 200), st.integers(1, 50), st.lists(st.integers(0, 300_000), max_size=120))
def test_no_span_of_time_lets_more_through_than_burst_and_rate(rps: int, burst: int, gaps: list[int]) -> None:
    limit, now, times = rate(rps, burst), NOON, []
    for gap in gaps:
        now += gap
        times.append(now)
    through = admitted(limit, times)
    for i, first in enumerate(through):
        for j in range(i, len(through)):
            fits = burst + (through[j] - first) * 1000 // limit.interval_ns
            assert j - i + 1 <= fits


@given(st.integers(1, 500), st.integers(1, 50))
def test_a_caller_who_keeps_to_the_rate_is_never_refused(rps: int, burst: int) -> None:
    limit = rate(rps, burst)
    pace_us = -(-limit.interval_ns // 1000)
    assert len(admitted(limit, [NOON + n * pace_us for n in range(200)])) == 200


@given(RATES, st.integers(0, 2**40))
def test_after_the_time_to_wait_there_is_room_and_a_microsecond_earlier_there_is_none(limit: Rate, debt: int) -> None:
    meter = Meter(NOON, min(debt, limit.tolerance_ns))
    _, wait_us = ask(limit, meter, NOON)
    if limit.tolerance_ns == 0 or wait_us == 0:
        return
    assert ask(limit, meter, NOON + wait_us)[1] == 0
    assert ask(limit, meter, NOON + wait_us - 1)[1] == 1


@given(RATES, st.integers(1, 1_000))
def test_asking_in_vain_changes_nothing(limit: Rate, asks: int) -> None:
    full = Meter(NOON, limit.tolerance_ns)
    meter = full
    for _ in range(min(asks, 20)):
        meter, wait_us = ask(limit, meter, NOON)
        assert wait_us > 0
    assert meter == full


@pytest.mark.parametrize(
    ("back_us", "expected"),
    [
        pytest.param(SKEW_US - 1, Meter(NOON, 5_000), id="a process that lags a little gains nothing"),
        pytest.param(SKEW_US, Meter(NOON - SKEW_US, 5_000), id="a clock that was set back keeps its debt and goes on"),
    ],
)
def test_clocks_that_go_back(back_us: int, expected: Meter) -> None:
    assert drained(Meter(NOON, 5_000), NOON - back_us) == expected


def test_a_full_meter_drains_on_a_clock_that_was_set_back() -> None:
    limit, meter = rate(1, 1), Meter(NOON, 10**9)
    meter, wait_us = ask(limit, meter, NOON - 3_600 * SECOND)
    assert wait_us == SECOND
    assert ask(limit, meter, NOON - 3_599 * SECOND)[1] == 0


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, SKEW_US - 1))
def test_two_processes_whose_clocks_differ_share_one_rate(rps: int, burst: int, skew_us: int) -> None:
    limit = rate(rps, burst)
    times = [NOON + n * 10_000 - (skew_us if n % 2 else 0) for n in range(200)]
    span_us = 200 * 10_000
    assert len(admitted(limit, times)) <= burst + span_us * 1000 // limit.interval_ns + 1


@pytest.mark.parametrize(
    ("rps", "burst", "expected"),
    [
        pytest.param(10, None, Rate(100_000_000, 1_000_000_000), id="a second's worth at once unless said"),
        pytest.param(0.5, None, Rate(2_000_000_000, 2_000_000_000), id="slower than one a second holds one"),
        pytest.param(10, 3, Rate(100_000_000, 300_000_000), id="burst as given"),
        pytest.param(0, None, Rate(MAX_TOLERANCE_NS, 0), id="zero lets nothing through"),
        pytest.param(1e-9, 10, Rate(MAX_TOLERANCE_NS, MAX_TOLERANCE_NS), id="bounded so that doubles stay exact"),
    ],
)
def test_rates(rps: float, burst: int | None, expected: Rate) -> None:
    assert rate(rps, burst) == expected


def test_zero_requests_a_second_lets_nothing_through() -> None:
    assert admitted(rate(0), [NOON + n * 3_600 * SECOND for n in range(10)]) == []


async def test_the_script_counts_as_the_arithmetic_does(buckets: ValkeyBuckets) -> None:
    @given(RATES, STEPS)
    @settings(max_examples=40, deadline=None)
    def same(limit: Rate, steps: list[int]) -> None:
        cases.append((limit, steps))

    cases: list[tuple[Rate, list[int]]] = []
    same()
    for limit, steps in cases:
        tenant, meter, now = new_id("ten"), None, NOON
        for step in steps:
            now += step
            meter, wait_us = ask(limit, meter, now)
            reading = await buckets.take(asked(limits(rate=limit, rps=1.0), tenant=tenant, at=now))
            said = [round(found.retry_after_s * SECOND) for found in reading.limited]
            assert said == ([min(wait_us, 32 * 86_400 * SECOND)] if wait_us else [])
