"""How often a secret may be guessed: after some failures each further one costs a longer wait."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from aegis.kernel.clock import MicroSeconds

FREE = 5
FREE_FOR_PEER = 50
"""Many people may stand behind one address."""
FIRST_WAIT_US = 1_000_000
LONGEST_WAIT_US = 15 * 60 * 1_000_000
FORGOTTEN_US = 3600 * 1_000_000
MAX_REMEMBERED = 20_000


@dataclass(slots=True)
class _Tries:
    failures: int
    wait_until: MicroSeconds
    last_at: MicroSeconds


class Guesses:
    """Failures by key, in the memory of one process.

    `free` of them cost nothing, then the wait doubles from 1 s to 15 min; an hour without one forgets them.
    Success forgets its own key only, so that one right password doesn't open the way for guesses at others.
    """

    def __init__(self, free: int = FREE) -> None:
        self._free = free
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def wait_us(self, key: str, now: MicroSeconds) -> MicroSeconds:
        """How long until the next try may be made; 0 for now."""
        tries = self._tries.get(key)
        if tries is None:
            return 0
        if now - tries.last_at > FORGOTTEN_US:
            del self._tries[key]
            return 0
        return max(0, tries.wait_until - now)

    def failed(self, key: str, now: MicroSeconds) -> None:
        tries = self._tries.setdefault(key, _Tries(0, 0, now))
        tries.failures += 1
        tries.last_at = now
        if tries.failures > self._free:
            tries.wait_until = now + min(LONGEST_WAIT_US, FIRST_WAIT_US << min(20, tries.failures - self._free - 1))
        self._tries.move_to_end(key)
        while len(self._tries) > MAX_REMEMBERED:
            self._tries.popitem(last=False)

    def succeeded(self, key: str) -> None:
        self._tries.pop(key, None)
