"""Stage 6, decision: combines everything that was found into one verdict with one risk figure.

Monotone: one more finding, or a higher score or weight, never lowers risk or verdict. A finding with `force` can't be
outvoted and is not weighed; weights and thresholds are the tenant's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from aegis.kernel.call import Call
from aegis.kernel.decision import Decision
from aegis.kernel.findings import Finding, finding
from aegis.kernel.tenancy import Settings, Thresholds, Weights
from aegis.kernel.verdict import Severity, Verdict
from aegis.pipeline.stage import SoFar

AREAS = {"rate_limit": "limits", "inference": "inference", "policy": "policy", "behavior": "behavior"}
FORCED_RISK = {
    Severity.CRITICAL: 970_000,
    Severity.HIGH: 920_000,
    Severity.MEDIUM: 750_000,
    Severity.LOW: 500_000,
    Severity.INFO: 0,
}
MILLION = 1_000_000


class Decide:
    name = "decide"
    deadline_s = 1.0
    failure = "stage.failed"

    async def gather(self, call: Call, so_far: SoFar) -> Settings:
        return so_far.view.settings

    async def analyse(self, call: Call, facts: Settings, so_far: SoFar) -> None:
        return None

    def judge(self, call: Call, facts: Settings, analysis: None, so_far: SoFar) -> tuple[Finding, ...]:
        """A finding of its own only where the weighed risk, and no single finding, decides."""
        findings = tuple(so_far.findings())
        weighed = by_threshold(risk_ppm(findings, facts.weights), facts.thresholds)
        if weighed > max((f.force or Verdict.ALLOW for f in findings), default=Verdict.ALLOW):
            return (finding("decide.risk", force=weighed, verdict=weighed.word),)
        return ()

    def features(self, facts: Settings, analysis: None) -> Mapping[str, Any]:
        return {"settings": facts.version}


def decide(findings: Iterable[Finding], settings: Settings, retry_after_s: float | None = None) -> Decision:
    """The decision over all findings. Pure; the same findings in another order give the same verdict and risk."""
    found = tuple(findings)
    risk = risk_ppm(found, settings.weights)
    forced = max((f.force or Verdict.ALLOW for f in found), default=Verdict.ALLOW)
    verdict = max(forced, by_threshold(risk, settings.thresholds))
    decisive = strongest(found, verdict)
    return Decision(
        verdict=verdict,
        risk_ppm=max(risk, max((FORCED_RISK[f.severity] for f in found if f.force), default=0)),
        rule=decisive.rule if decisive else "",
        findings=found,
        guidance=_guidance(found, decisive),
        retry_after_s=retry_after_s if verdict is Verdict.THROTTLE else None,
    )


def risk_ppm(findings: Iterable[Finding], weights: Weights) -> int:
    """Noisy-or within an area, weighed, then noisy-or over the areas; in millionths."""
    scores: dict[str, list[float]] = {}
    for found in findings:
        area = AREAS.get(found.stage)
        if area is not None and found.force is None and found.score > 0:
            scores.setdefault(area, []).append(found.score)
    kept = prod(
        1 - min(1.0, getattr(weights, area) * (1 - prod(1 - score for score in sorted(area_scores))))
        for area, area_scores in sorted(scores.items())
    )
    risk: int = round((1 - kept) * MILLION)
    return risk


def by_threshold(risk: int, thresholds: Thresholds) -> Verdict:
    for verdict in (Verdict.KILL, Verdict.ESCALATE, Verdict.THROTTLE, Verdict.MONITOR):
        if risk >= getattr(thresholds, verdict.word) * MILLION:
            return verdict
    return Verdict.ALLOW


def strongest(findings: tuple[Finding, ...], verdict: Verdict) -> Finding | None:
    """The finding that is named as the rule; none for a plain allow."""
    if verdict is Verdict.ALLOW:
        return None
    forcing = [f for f in findings if f.force == verdict and f.code != "decide.risk"]
    candidates = forcing or [f for f in findings if f.score > 0] or [f for f in findings if f.force == verdict]
    return max(candidates, key=lambda f: (f.severity, f.score), default=None)


def _guidance(findings: tuple[Finding, ...], decisive: Finding | None) -> str:
    """What was refused and what would be accepted. Templates only: nothing that a stranger wrote."""
    if decisive is None:
        return ""
    named = [decisive, *(f for f in findings if f.force == decisive.force and f.code != decisive.code and f.guidance)]
    return " ".join(f"{_sentence(f.message)} {f.guidance}".strip() for f in named[:3])


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:] + "."
