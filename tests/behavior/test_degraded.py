from __future__ import annotations

import pytest

from aegis.behavior.degraded import judge
from aegis.kernel.verdict import Verdict

ALLOWED, BLOCKED = "behavior.degraded_allowed", "behavior.degraded_blocked"


@pytest.mark.parametrize(
    ("mode", "effect", "risk", "code"),
    [
        pytest.param("block_high_risk", "read", 0.0, ALLOWED, id="reading passes"),
        pytest.param("block_high_risk", "write", 0.49, ALLOWED, id="writing passes below the risk"),
        pytest.param("block_high_risk", "read", 0.5, BLOCKED, id="a risky tool is refused"),
        pytest.param("block_high_risk", "destructive", 0.0, BLOCKED, id="destroying is refused"),
        pytest.param("block_high_risk", "external", 0.0, BLOCKED, id="leaving the house is refused"),
        pytest.param("block_high_risk", None, 0.0, BLOCKED, id="a tool that nobody registered is refused"),
        pytest.param("block_all", "read", 0.0, BLOCKED, id="everything is refused"),
        pytest.param("allow_with_audit", "destructive", 1.0, ALLOWED, id="everything passes, with a finding"),
        pytest.param("no such mode", "read", 0.0, BLOCKED, id="an unknown mode refuses"),
    ],
)
def test_degraded_modes(mode: str, effect: str | None, risk: float, code: str) -> None:
    (found,) = judge(mode, effect, risk)
    assert found.code == code
    assert (found.force is Verdict.KILL) == (code == BLOCKED)
    assert found.evidence["mode"] == mode
