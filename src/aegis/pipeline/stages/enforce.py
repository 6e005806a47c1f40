"""Stage 7, enforcement: the verdict meets the agent's contract and a person's approval, and becomes what happens.

A contract only adds refusals. An approval turns `escalate` into `allow`, for exactly the action that was approved;
nothing turns `kill` into anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aegis.autonomy import approvals, contracts
from aegis.kernel.call import Call
from aegis.kernel.decision import Decision
from aegis.kernel.findings import Finding
from aegis.kernel.tenancy import Contract
from aegis.kernel.verdict import Verdict
from aegis.pipeline.stage import SoFar
from aegis.pipeline.stages.decide import decide


@dataclass(frozen=True, slots=True)
class Facts:
    contract: Contract | None
    approval: approvals.Used | None


class Enforce:
    name = "enforce"
    deadline_s = 2.5
    failure = "contract.unavailable"

    def __init__(self, store: approvals.Approvals) -> None:
        self._approvals = store

    async def gather(self, call: Call, so_far: SoFar) -> Facts:
        """An approval is used up here, atomically; it is given back when the action does not run after all."""
        agent = call.principal.agent or ""
        used = None
        if call.approval is not None:
            used = await self._approvals.use(call.tenant, call.approval, agent, call.action.digest, call.received_at)
        return Facts(so_far.view.contracts.get(agent), used)

    async def analyse(self, call: Call, facts: Facts, so_far: SoFar) -> None:
        return None

    def judge(self, call: Call, facts: Facts, analysis: None, so_far: SoFar) -> tuple[Finding, ...]:
        session, principal = so_far.facts["authenticate"].session, call.principal
        named = () if call.action.resource is None else (call.action.resource,)
        found = contracts.judge(
            facts.contract,
            tool=call.action.tool,
            resources=(*named, *derived(so_far)),
            now_us=call.received_at,
            opened_by=None if session is None else session.opened_by,
            own=frozenset(name for name in (principal.agent, principal.subject, principal.credential) if name),
        )
        return (*found, *approvals.judge(facts.approval))

    def features(self, facts: Facts, analysis: None) -> Mapping[str, Any]:
        made: dict[str, Any] = {}
        if facts.contract is not None:
            made["contract"] = facts.contract.version
        if facts.approval is not None:
            made["approval"] = facts.approval.state
        return made


def derived(so_far: SoFar) -> tuple[str, ...]:
    """What the arguments themselves name (tables, paths, hosts), as stage 4 read them."""
    analysis = so_far.analyses.get("policy")
    return () if analysis is None else analysis.resources


class ApprovalDesk:
    """Asks a person when a decision escalates; takes back a use that came to nothing."""

    def __init__(self, store: approvals.Approvals) -> None:
        self._approvals = store

    async def request(self, call: Call, decision: Decision, so_far: SoFar) -> dict[str, Any]:
        session = so_far.facts["authenticate"].session
        agent = so_far.view.agents.get(call.principal.agent or "")
        wanted = approvals.Wanted(
            decision_id=call.decision_id,
            action_digest=call.action.digest,
            agent=call.principal.agent or call.principal.subject,
            tool=call.action.tool,
            action={
                "tool": call.action.tool,
                "arguments": call.action.arguments,
                "resource": call.action.resource,
                "findings": [found.public() for found in decision.findings],
            },
            requested_by=call.principal.subject,
            policy=so_far.view.policy or "",
            team=agent.team if agent else None,
            user=session.user.id if session and session.user else None,
            session=call.session_id,
        )
        return (await self._approvals.request(call.tenant, wanted, call.received_at)).brief()

    async def give_back(self, call: Call, so_far: SoFar) -> None:
        facts = so_far.facts.get("enforce")
        used = None if facts is None else facts.approval
        if used is not None and used.state == "granted" and call.approval is not None:
            await self._approvals.give_back(call.tenant, call.approval, call.principal.agent or "")


def enforced(so_far: SoFar) -> Decision:
    """The final decision, over what all stages found: stage 6's, made stricter by stage 7, or approved by a person."""
    assert so_far.decision is not None
    enforce = next((r for r in so_far.results if r.name == "enforce"), None)
    if enforce is None or not enforce.findings:
        return so_far.decision
    found = tuple(so_far.findings())
    decision = decide(found, so_far.view.settings, so_far.decision.retry_after_s)
    is_granted = any(f.code == "approval.granted" for f in enforce.findings)
    if is_granted and decision.verdict is Verdict.ESCALATE:
        return replace(decision, verdict=Verdict.ALLOW, rule="", guidance="")
    return decision
