"""What the pipeline says: stage results while it runs, one decision at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aegis.kernel.clock import MicroSeconds
from aegis.kernel.findings import Finding
from aegis.kernel.verdict import Verdict

STAGES = (
    "kill_switch",
    "authenticate",
    "rate_limit",
    "inference",
    "policy",
    "behavior",
    "decide",
    "enforce",
    "execute",
    "filter_output",
    "record",
)


@dataclass(frozen=True, slots=True)
class StageResult:
    """`verdict` None stands for `skipped`. `features` is what the judgement read, at most 4 KiB as JSON."""

    name: str
    verdict: Verdict | None
    findings: tuple[Finding, ...]
    started_at: MicroSeconds
    took_us: int
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return "skipped" if self.verdict is None else self.verdict.word


@dataclass(frozen=True, slots=True)
class Decision:
    """`risk_ppm` is the risk in millionths. `rule` names the finding that decided, empty for a plain allow."""

    verdict: Verdict
    risk_ppm: int
    rule: str
    findings: tuple[Finding, ...]
    guidance: str
    retry_after_s: float | None = None
