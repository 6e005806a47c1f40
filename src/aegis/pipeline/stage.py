"""What a stage is: three steps, so that the past can be judged again.

`gather` reads the world under a deadline; what it returns is recorded. `analyse` is heavy or hostile work on it, pure,
done in a child process and done again in replay. `judge` is pure and cheap: no clock, no I/O, no randomness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.decision import Decision, StageResult
from aegis.kernel.findings import Finding
from aegis.kernel.tenancy import TenantView
from aegis.kernel.verdict import Verdict


@dataclass(slots=True)
class SoFar:
    """What the earlier stages left behind. A stage reads it and adds nothing itself."""

    view: TenantView
    results: list[StageResult] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    analyses: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    """Set after stage 6, replaced after stage 7."""

    def findings(self) -> Iterator[Finding]:
        for result in self.results:
            yield from result.findings

    @property
    def is_settled(self) -> bool:
        """Whether no later stage could change the answer: it is refused, or told to come back later."""
        return any(result.verdict in (Verdict.KILL, Verdict.THROTTLE) for result in self.results)


class Stage(Protocol):
    """`failure` is the code of the finding that stands in when the stage fails or is late: a failed stage denies."""

    name: str
    deadline_s: float
    failure: str

    async def gather(self, call: Call, so_far: SoFar) -> Any: ...

    async def analyse(self, call: Call, facts: Any, so_far: SoFar) -> Any: ...

    def judge(self, call: Call, facts: Any, analysis: Any, so_far: SoFar) -> tuple[Finding, ...]: ...

    def features(self, facts: Any, analysis: Any) -> Mapping[str, Any]:
        """What the judgement read, small and without the caller's text: goes into the row's `state`."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    started_at: MicroSeconds
    took_us: int
