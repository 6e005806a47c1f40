"""The five verdicts and the five severities, each in their order of force."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What may happen to an action; a larger one is stricter, so `max` combines them."""

    ALLOW = 0
    MONITOR = 1
    THROTTLE = 2
    ESCALATE = 3
    KILL = 4

    @property
    def word(self) -> str:
        return VERDICTS[self]

    @property
    def may_run(self) -> bool:
        return self <= Verdict.MONITOR


class Severity(IntEnum):
    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        return SEVERITIES[self]


VERDICTS = tuple(v.name.lower() for v in Verdict)
SEVERITIES = tuple(s.name.lower() for s in Severity)
BY_WORD = {v.word: v for v in Verdict}
