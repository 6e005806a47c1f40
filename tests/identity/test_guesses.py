from hypothesis import given
from hypothesis import strategies as st

from aegis.identity.guesses import FORGOTTEN_US, FREE, LONGEST_WAIT_US, MAX_REMEMBERED, Guesses

SECOND = 1_000_000


def after(failures: int) -> int:
    guesses = Guesses()
    for _ in range(failures):
        guesses.failed("a", 0)
    return guesses.wait_us("a", 0)


def test_the_first_failures_cost_nothing_and_then_the_wait_doubles_up_to_its_end() -> None:
    assert [after(n) for n in range(FREE + 1)] == [0] * (FREE + 1)
    assert [after(FREE + n) // SECOND for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert after(FREE + 100) == LONGEST_WAIT_US


def test_an_hour_without_a_failure_forgets_them() -> None:
    guesses = Guesses()
    for _ in range(FREE + 3):
        guesses.failed("a", 0)
    assert guesses.wait_us("a", FORGOTTEN_US + 1) == 0
    guesses.failed("a", FORGOTTEN_US + 1)
    assert guesses.wait_us("a", FORGOTTEN_US + 1) == 0


def test_success_forgets_its_own_key_alone() -> None:
    guesses = Guesses(free=0)
    guesses.failed("a", 0)
    guesses.failed("b", 0)
    guesses.succeeded("a")
    assert (guesses.wait_us("a", 0), guesses.wait_us("b", 0)) == (0, SECOND)


def test_the_memory_is_bounded_and_the_oldest_go_first() -> None:
    guesses = Guesses(free=0)
    for number in range(MAX_REMEMBERED + 1):
        guesses.failed(str(number), 0)
    assert guesses.wait_us("0", 0) == 0
    assert guesses.wait_us(str(MAX_REMEMBERED), 0) == SECOND


@given(st.lists(st.integers(0, 10**9), max_size=40))
def test_a_wait_is_never_negative_nor_longer_than_the_longest(times: list[int]) -> None:
    guesses = Guesses()
    for now in sorted(times):
        guesses.failed("a", now)
        assert 0 <= guesses.wait_us("a", now) <= LONGEST_WAIT_US
