from __future__ import annotations

from aegis.quota.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker


def test_one_failure_is_tolerated_and_two_open_it() -> None:
    breaker = Breaker()
    breaker.failed(0.0)
    assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert breaker.is_open
    assert not breaker.allows(FIRST_PAUSE_S / 2)


def test_after_the_pause_one_call_tries_for_all() -> None:
    breaker = Breaker()
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert [breaker.allows(FIRST_PAUSE_S) for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.allows(FIRST_PAUSE_S) for _ in range(3)] == [True, True, True]


def test_pauses_grow_to_a_second() -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(8):
        breaker.failed(now)
        now += LONGEST_PAUSE_S
    assert not breaker.allows(now - LONGEST_PAUSE_S / 100)
    assert breaker.allows(now)
