"""Time windows around midnight, week ends and the days when clocks are changed."""

from __future__ import annotations

import pytest

from aegis.autonomy.windows import is_within, zone_names
from aegis.kernel.clock import from_iso
from aegis.kernel.tenancy import TimeWindow

WORK = TimeWindow(("mon", "tue", "wed", "thu", "fri"), 8 * 60, 18 * 60, "Europe/Berlin")
NIGHT = TimeWindow(("fri",), 22 * 60, 6 * 60, "Europe/Berlin")
SUNDAY_NIGHT = TimeWindow(("sun",), 22 * 60, 6 * 60, "UTC")
ALL_DAY = TimeWindow(("wed",), 0, 24 * 60, "UTC")
SMALL_HOURS = TimeWindow(("sun",), 2 * 60, 3 * 60, "Europe/Berlin")
NEW_YORK = TimeWindow(("sun",), 60, 120, "America/New_York")
KATHMANDU = TimeWindow(("thu",), 0, 60, "Asia/Kathmandu")
LORD_HOWE = TimeWindow(("sun",), 90, 120, "Australia/Lord_Howe")


@pytest.mark.parametrize(
    ("window", "now", "inside"),
    [
        pytest.param(WORK, "2026-11-25T07:00:00Z", True, id="eight in winter is inside"),
        pytest.param(WORK, "2026-11-25T06:59:59.999999Z", False, id="a microsecond before is not"),
        pytest.param(WORK, "2026-11-25T16:59:59.999999Z", True, id="the last microsecond"),
        pytest.param(WORK, "2026-11-25T17:00:00Z", False, id="the end is outside"),
        pytest.param(WORK, "2026-07-01T06:00:00Z", True, id="eight in summer"),
        pytest.param(WORK, "2026-07-01T16:00:00Z", False, id="the end in summer"),
        pytest.param(WORK, "2026-11-28T10:00:00Z", False, id="saturday"),
        pytest.param(WORK, "2026-11-29T23:30:00Z", False, id="monday's first hour there, sunday in UTC"),
        pytest.param(NIGHT, "2026-11-27T21:00:00Z", True, id="friday at ten"),
        pytest.param(NIGHT, "2026-11-27T20:59:59Z", False, id="friday just before ten"),
        pytest.param(NIGHT, "2026-11-28T04:59:59Z", True, id="saturday before six belongs to friday"),
        pytest.param(NIGHT, "2026-11-28T05:00:00Z", False, id="saturday at six"),
        pytest.param(NIGHT, "2026-11-28T21:30:00Z", False, id="saturday night is not friday's"),
        pytest.param(NIGHT, "2026-11-27T04:00:00Z", False, id="friday's early morning belongs to thursday"),
        pytest.param(SUNDAY_NIGHT, "2026-11-30T05:59:00Z", True, id="over the end of the week"),
        pytest.param(SUNDAY_NIGHT, "2026-11-30T06:00:00Z", False, id="monday at six"),
        pytest.param(ALL_DAY, "2026-11-25T00:00:00Z", True, id="a whole day from its start"),
        pytest.param(ALL_DAY, "2026-11-25T23:59:59.999999Z", True, id="a whole day to its end"),
        pytest.param(ALL_DAY, "2026-11-26T00:00:00Z", False, id="not the next day"),
        pytest.param(SMALL_HOURS, "2026-03-29T00:59:59Z", False, id="spring: 01:59:59 there"),
        pytest.param(SMALL_HOURS, "2026-03-29T01:00:00Z", False, id="spring: two o'clock is left out, it is three"),
        pytest.param(SMALL_HOURS, "2026-10-25T00:00:00Z", True, id="autumn: the first two o'clock"),
        pytest.param(SMALL_HOURS, "2026-10-25T01:30:00Z", True, id="autumn: the second half past two"),
        pytest.param(SMALL_HOURS, "2026-10-25T02:00:00Z", False, id="autumn: three o'clock"),
        pytest.param(NEW_YORK, "2026-11-01T05:30:00Z", True, id="New York: the first half past one"),
        pytest.param(NEW_YORK, "2026-11-01T06:30:00Z", True, id="New York: the second half past one"),
        pytest.param(NEW_YORK, "2026-11-01T07:00:00Z", False, id="New York: two o'clock"),
        pytest.param(KATHMANDU, "2026-11-25T18:15:00Z", True, id="a quarter-hour zone: thursday's midnight"),
        pytest.param(KATHMANDU, "2026-11-25T18:14:59Z", False, id="a quarter-hour zone: wednesday's last second"),
        pytest.param(LORD_HOWE, "2026-04-04T14:45:00Z", True, id="a half-hour change: 01:45 before it"),
        pytest.param(LORD_HOWE, "2026-04-04T15:15:00Z", True, id="a half-hour change: 01:45 after it"),
    ],
)
def test_a_window_follows_the_clock_on_the_wall_there(window: TimeWindow, now: str, inside: bool) -> None:
    assert is_within(window, from_iso(now)) is inside


def test_zones_come_from_the_package() -> None:
    assert {"Europe/Berlin", "UTC", "America/New_York"} <= zone_names()
    assert not {"", "../etc/passwd", "europe/berlin"} & zone_names()
