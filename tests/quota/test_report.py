from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.quota.buckets import ScopeLimits
from aegis.quota.periods import period
from aegis.quota.rebuild import Used
from aegis.quota.report import Projection, Standing, project, report
from aegis.quota.valkey import ValkeyBuckets
from tests.quota.conftest import DAY, NOON, SECOND, asked, limits


def test_the_report_of_a_capped_agent_at_noon() -> None:
    scope = ScopeLimits("agent:a", daily_requests=150, daily_micro_usd=12_500_000)
    made = report(scope, Standing(Used(100, 5_000_000, 900, 40_000_000), 500_000, 500_000, 3), NOON)
    assert made["used"] == {
        "daily_requests": 100, "monthly_requests": 900, "daily_usd": "5.00", "monthly_usd": "40.00"
    }  # fmt: skip
    assert made["remaining"] == {
        "daily_requests": 50, "monthly_requests": None, "daily_usd": "7.00", "monthly_usd": None
    }  # fmt: skip
    assert made["reserved"]["daily_usd"] == "0.50"
    assert made["reserved"]["concurrency"] == 3
    assert made["resets_at"]["daily_usd"] == "2026-06-02T00:00:00.000000Z"
    assert made["resets_at"]["monthly_requests"] == "2026-07-01T00:00:00.000000Z"
    ahead = made["projection"]["daily_requests"]
    assert (ahead["expected"], ahead["runs_out_at"]) == (200, "2026-06-01T18:00:00.000000Z")
    assert ahead["low"] < 200 < ahead["high"]
    assert made["projection"]["daily_usd"]["runs_out_at"] is None


@pytest.mark.parametrize(
    ("used", "cap", "runs_out_at"),
    [
        pytest.param(10, None, None, id="no cap, no end"),
        pytest.param(10, 20, None, id="just enough for the day"),
        pytest.param(10, 15, 75 * SECOND, id="half way on it has half left"),
        pytest.param(15, 15, 50 * SECOND, id="used up already"),
    ],
)
def test_when_a_cap_runs_out(used: int, cap: int | None, runs_out_at: int | None) -> None:
    ahead = project(used, used, cap, 0, 100 * SECOND, 50 * SECOND)
    assert ahead is not None
    assert ahead.runs_out_at == runs_out_at


def test_nothing_is_projected_from_nothing() -> None:
    assert project(0, 0, 10, 0, 100, 50) is None


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, DAY - 1))
def test_the_band_holds_what_is_expected_and_never_less_than_what_is_used(used: int, calls: int, now: int) -> None:
    ahead = project(used, calls, None, 0, DAY, now)
    assert isinstance(ahead, Projection)
    assert used <= ahead.low <= max(ahead.expected, used) <= ahead.high


async def test_the_store_says_how_a_scope_stands(buckets: ValkeyBuckets, tenant: str) -> None:
    assert await buckets.standing(tenant, "agent:a", NOON) is None
    scope = limits(daily_micro_usd=100, concurrency=5)
    first = await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=30))
    await buckets.take(asked(scope, tenant=tenant, estimate_micro_usd=20))
    await buckets.settle(first.reservation, 25, NOON, "allow")
    standing = await buckets.standing(tenant, "agent:a", NOON)
    assert standing == Standing(Used(2, 25, 2, 25), 20, 20, 1)
    assert period(NOON).day == first.reservation.day
