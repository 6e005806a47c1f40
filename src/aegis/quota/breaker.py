"""When to leave a store alone that doesn't answer. Pure: time comes in as seconds of any steady clock."""

from __future__ import annotations

from dataclasses import dataclass

TOLERATED = 2
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 1.0


@dataclass(slots=True)
class Breaker:
    """Two failures in a row open it; after a pause one call at a time may try, and the pause doubles to a second."""

    _failures: int = 0
    _pause_s: float = FIRST_PAUSE_S
    _until: float = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= TOLERATED

    def allows(self, now_s: float) -> bool:
        """Whether this call may try; whoever is told so while it is open is the one that tries for all."""
        if not self.is_open:
            return True
        if now_s < self._until:
            return False
        self._until = now_s + self._pause_s
        return True

    def failed(self, now_s: float) -> None:
        self._failures += 1
        if self.is_open:
            self._until = now_s + self._pause_s
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def succeeded(self) -> None:
        self._failures, self._pause_s = 0, FIRST_PAUSE_S
