"""Stage 0, kill switch: nothing in a stopped scope goes on.

Judged on this process's picture of the switches; the kill epoch is compared once more under the log's lock, so a
picture that is a moment old can refuse late but never let a row pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aegis.kernel.call import Call
from aegis.kernel.findings import Finding
from aegis.kernel.tenancy import TenantView
from aegis.kill_switch.judge import CallScope, judge
from aegis.pipeline.stage import SoFar


@dataclass(frozen=True, slots=True)
class Facts:
    view: TenantView
    team: str | None


class KillSwitch:
    name = "kill_switch"
    deadline_s = 0.2
    failure = "kill_switch.unavailable"

    async def gather(self, call: Call, so_far: SoFar) -> Facts:
        return Facts(so_far.view, team_of(so_far.view, call.principal.agent))

    async def analyse(self, call: Call, facts: Facts, so_far: SoFar) -> None:
        return None

    def judge(self, call: Call, facts: Facts, analysis: None, so_far: SoFar) -> tuple[Finding, ...]:
        return stopped(call, facts.view)

    def features(self, facts: Facts, analysis: None) -> Mapping[str, Any]:
        return {"epoch": facts.view.kill_epoch, "version": facts.view.version}


def stopped(call: Call, view: TenantView) -> tuple[Finding, ...]:
    """A finding for each engaged switch whose scope the call is in."""
    agent = call.principal.agent
    return judge(
        view,
        agent=agent,
        team=team_of(view, agent),
        tool=call.action.tool,
        session=call.session_id,
        asked=call.action.asked,
    )


def scope_of(call: Call, view: TenantView) -> CallScope:
    """What a switch may name of the call. Both names of an aliased tool count."""
    agent = call.principal.agent
    return CallScope(agent, team_of(view, agent), call.action.tool, call.session_id, call.action.asked)


def team_of(view: TenantView, agent: str | None) -> str | None:
    known = view.agents.get(agent or "")
    return None if known is None else known.team
