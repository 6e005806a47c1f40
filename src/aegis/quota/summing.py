"""A caller that is throttled all the time gets one row a second with a count, not a row for each. Pure.

The first 20 throttles of a caller within a second have rows of their own. The further ones share a row that is written
when the second is over; its decision id is handed out before, so `due` must be asked at least every half second. A
process that dies loses the sums of its last second: refusals, which let nothing run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from aegis.kernel.clock import MicroSeconds

ROWS_A_SECOND = 20
SECOND_US = 1_000_000
MAX_CALLERS = 50_000


@dataclass(frozen=True, slots=True)
class Row:
    """This throttle gets a row of its own."""


@dataclass(frozen=True, slots=True)
class Sum:
    """This throttle is part of the row `decision_id`, which is readable within two seconds."""

    decision_id: str


@dataclass(frozen=True, slots=True)
class Summed:
    """A row to write: `count` throttles of one caller in the second that began at `began_us`, by finding code."""

    caller: Hashable
    decision_id: str
    began_us: MicroSeconds
    count: int
    codes: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _Second:
    began_us: MicroSeconds
    rows: int = 0
    decision_id: str = ""
    codes: Counter[str] = field(default_factory=Counter)


class Summing:
    """`mint` makes decision ids. A caller is whatever tells callers apart: tenant and agent."""

    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint
        self._open: dict[Hashable, _Second] = {}
        self._over: list[Summed] = []

    def note(self, caller: Hashable, now_us: MicroSeconds, code: str) -> Row | Sum:
        began_us = now_us - now_us % SECOND_US
        second = self._open.get(caller)
        if second is not None and second.began_us < began_us:  # a clock that goes back stays in the later second
            self._close(caller, second)
            second = None
        if second is None:
            if len(self._open) >= MAX_CALLERS:
                return Row()
            second = self._open[caller] = _Second(began_us)
        if second.rows < ROWS_A_SECOND:
            second.rows += 1
            return Row()
        second.decision_id = second.decision_id or self._mint()
        second.codes[code] += 1
        return Sum(second.decision_id)

    def due(self, now_us: MicroSeconds) -> list[Summed]:
        """The rows of seconds that are over, each returned once. A clock set back by over a second ends them too."""
        for caller, second in list(self._open.items()):
            if not -SECOND_US <= now_us - second.began_us < SECOND_US:
                self._close(caller, second)
        over, self._over = self._over, []
        return over

    def drain(self) -> list[Summed]:
        """All that is open, for a process that stops."""
        for caller, second in list(self._open.items()):
            self._close(caller, second)
        over, self._over = self._over, []
        return over

    def _close(self, caller: Hashable, second: _Second) -> None:
        del self._open[caller]
        if second.decision_id:
            count = second.codes.total()
            codes = tuple(sorted(second.codes.items()))
            self._over.append(Summed(caller, second.decision_id, second.began_us, count, codes))
