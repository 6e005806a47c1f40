"""The tenant's degraded mode: what happens to a call whose behaviour can't be judged. Pure; each use is a finding."""

from __future__ import annotations

from aegis.kernel.findings import Finding, finding

MODES = ("block_high_risk", "block_all", "allow_with_audit")
HIGH_RISK_EFFECTS = frozenset({"destructive", "external"})
HIGH_RISK = 0.5


def is_high_risk(effect: str | None, risk: float) -> bool:
    """`effect` and `risk` as the tool is registered. A tool that nobody registered (None) may do anything."""
    return effect is None or effect in HIGH_RISK_EFFECTS or risk >= HIGH_RISK


def judge(mode: str, effect: str | None, risk: float) -> tuple[Finding, ...]:
    """One finding: let through, or refused. A mode that is not known refuses."""
    match mode:
        case "allow_with_audit":
            passes = True
        case "block_high_risk":
            passes = not is_high_risk(effect, risk)
        case _:
            passes = False
    code = "behavior.degraded_allowed" if passes else "behavior.degraded_blocked"
    return (finding(code, evidence={"mode": mode, "effect": effect, "risk": risk}),)
