from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.quota.summing import ROWS_A_SECOND, SECOND_US, Row, Sum, Summed, Summing

NOON = 1_780_315_200_000_000


def mint() -> Iterator[str]:
    return (f"id{n}" for n in count(1))


@pytest.fixture
def summing() -> Summing:
    return Summing(mint().__next__)


def test_the_first_twenty_of_a_second_have_rows_and_the_rest_share_one(summing: Summing) -> None:
    said = [summing.note("a", NOON + n, "quota.rps") for n in range(30)]
    assert said == [Row()] * ROWS_A_SECOND + [Sum("id1")] * 10
    assert summing.due(NOON + SECOND_US - 1) == []
    assert summing.due(NOON + SECOND_US) == [Summed("a", "id1", NOON, 10, (("quota.rps", 10),))]
    assert summing.due(NOON + SECOND_US) == []


def test_callers_are_counted_apart(summing: Summing) -> None:
    for n in range(25):
        assert isinstance(summing.note(f"agent{n}", NOON, "quota.rps"), Row)


def test_a_new_second_has_rows_again_and_an_id_of_its_own(summing: Summing) -> None:
    for second in (0, 1):
        said = [summing.note("a", NOON + second * SECOND_US, "quota.rps") for _ in range(21)]
        assert said[-1] == Sum(f"id{second + 1}")
    assert [(s.decision_id, s.began_us) for s in summing.due(NOON + 2 * SECOND_US)] == [
        ("id1", NOON),
        ("id2", NOON + SECOND_US),
    ]


def test_a_caller_that_stays_below_leaves_no_sum(summing: Summing) -> None:
    for _ in range(ROWS_A_SECOND):
        summing.note("a", NOON, "quota.rps")
    assert summing.due(NOON + SECOND_US) == summing.drain() == []


def test_a_process_that_stops_hands_out_what_is_open(summing: Summing) -> None:
    for n in range(22):
        summing.note("a", NOON, "quota.daily" if n == 21 else "quota.rps")
    assert summing.drain() == [Summed("a", "id1", NOON, 2, (("quota.daily", 1), ("quota.rps", 1)))]


def test_a_clock_set_back_does_not_keep_a_sum_for_ever(summing: Summing) -> None:
    for _ in range(21):
        summing.note("a", NOON, "quota.rps")
    assert len(summing.due(NOON - 3_600 * SECOND_US)) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-200_000, 300_000)), max_size=300))
def test_every_throttle_is_a_row_or_counted_once(steps: list[tuple[str, int]]) -> None:
    summing, now, rows, ids, written = Summing(mint().__next__), NOON, 0, [], []
    for caller, step in steps:
        now += step
        said = summing.note(caller, now, "quota.rps")
        rows += isinstance(said, Row)
        ids += [said.decision_id] if isinstance(said, Sum) else []
        written += summing.due(now)
    written += summing.drain()
    assert rows + sum(s.count for s in written) == len(steps)
    assert {s.decision_id: s.count for s in written} == {i: ids.count(i) for i in ids}
