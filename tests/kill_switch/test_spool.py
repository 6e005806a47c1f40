import stat
from pathlib import Path

import pytest

from aegis.kill_switch.spool import MAX_ORDERS, Spool, SpoolFull


def test_orders_outlive_the_process_and_keep_their_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", lambda: 7)
    given = [spool.add("ten_a", f"agent:{n}", "because\nof é", "usr_a") for n in range(5)]
    again = Spool(tmp_path / "spool", lambda: 8)
    assert again.orders() == tuple(given)
    assert (given[0].at, given[0].reason) == (7, "because\nof é")
    again.done(given[0])
    again.done(given[0])
    assert spool.orders() == tuple(given[1:])


def test_orders_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    Spool(tmp_path / "spool", lambda: 7).add("ten_a", "tenant", "r", "u")
    for path in [tmp_path / "spool", *(tmp_path / "spool").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_file_that_is_no_order_is_set_aside_and_stops_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, lambda: 7)
    bad = tmp_path / f"{'0' * 36}.kill"
    bad.write_text("{half")
    (tmp_path / "notes.txt").write_text("mine")
    order = spool.add("ten_a", "tenant", "r", "u")
    assert spool.orders() == (order,)
    assert not bad.exists() and bad.with_suffix(".unreadable").exists()


def test_a_full_spool_takes_no_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path, lambda: 7)
    for number in range(MAX_ORDERS):
        (tmp_path / f"{number:036d}.kill").write_text("{}")
    with pytest.raises(SpoolFull):
        spool.add("ten_a", "tenant", "r", "u")


def test_one_process_merges_at_a_time(tmp_path: Path) -> None:
    one, other = Spool(tmp_path, lambda: 7), Spool(tmp_path, lambda: 7)
    with one.alone() as first, other.alone() as second:
        assert (first, second) == (True, False)
    with other.alone() as now:
        assert now


def test_a_refused_order_is_kept_for_people(tmp_path: Path) -> None:
    spool = Spool(tmp_path, lambda: 7)
    order = spool.add("ten_a", "tenant", "r", "u")
    spool.refused(order)
    assert spool.orders() == ()
    assert order.id in (tmp_path / f"{order.id}.refused").read_text()
