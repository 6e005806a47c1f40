from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from aegis.kernel.clock import from_iso, iso
from aegis.quota.periods import period


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001  # hypothesis wants naive ones
def test_days_and_months_are_those_of_the_calendar_in_utc(when: datetime) -> None:
    found = period(from_iso(when.isoformat() + "+00:00"))
    day = when.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    ends = [day, day + timedelta(days=1), month, next_month]
    assert [found.day_starts_us, found.day_ends_us, found.month_starts_us, found.month_ends_us] == [
        round(end.replace(tzinfo=UTC).timestamp()) * 1_000_000 for end in ends
    ]
    assert (found.day, found.month) == ((day - datetime(1970, 1, 1)).days, when.year * 100 + when.month)  # noqa: DTZ001  # hypothesis wants naive ones


def test_the_last_microsecond_of_a_leap_february() -> None:
    last = period(from_iso("2028-02-29T23:59:59.999999Z"))
    assert (last.month, iso(last.month_ends_us)) == (202802, "2028-03-01T00:00:00.000000Z")
