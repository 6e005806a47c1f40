"""Stage 5, behaviour: the call against what this agent usually does.

Reads what stage 2's script brought along. Where the bucket store or the baseline can't be read, the tenant's degraded
mode decides, and the row says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aegis.behavior import baseline, degraded
from aegis.behavior.peers import Peers
from aegis.behavior.score import Features, observe, score
from aegis.kernel.call import Call
from aegis.kernel.findings import Finding
from aegis.pipeline.stage import SoFar


@dataclass(frozen=True, slots=True)
class Facts:
    """`features` None: behaviour couldn't be read."""

    features: Features | None
    mode: str
    effect: str | None
    risk: float


class Behavior:
    name = "behavior"
    deadline_s = 0.5
    failure = "behavior.unavailable"

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def gather(self, call: Call, so_far: SoFar) -> Facts:
        reading = so_far.facts["rate_limit"]
        tool = so_far.view.tools.get(call.action.tool)
        known = None if reading.baseline is None else baseline.load(reading.baseline)
        is_broken = reading.baseline is not None and known is None
        features = None
        agent = call.principal.agent or call.principal.subject
        if reading.recent is not None and not is_broken:
            features = observe(
                reading.recent, known, call.action.tool, self._peers.of(so_far.view, agent, call.action.arguments)
            )
        mode = so_far.view.settings.degraded_mode
        return Facts(features, mode, tool.effect if tool else None, tool.risk if tool else 0.0)

    async def analyse(self, call: Call, facts: Facts, so_far: SoFar) -> None:
        return None

    def judge(self, call: Call, facts: Facts, analysis: None, so_far: SoFar) -> tuple[Finding, ...]:
        if facts.features is None:
            return degraded.judge(facts.mode, facts.effect, facts.risk)
        return score(facts.features)

    def features(self, facts: Facts, analysis: None) -> Mapping[str, Any]:
        if facts.features is None:
            return {"mode": facts.mode, "effect": facts.effect}
        return facts.features.fields()
