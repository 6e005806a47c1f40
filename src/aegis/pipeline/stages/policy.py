"""Stage 4, policy: hard denials by parsing, then the rules of the shipped bundle and of the tenant's own.

Arguments that hold code are parsed in a child process; what they amount to (`features`) is what the rules see, so that
calls which differ only in their words share one evaluation.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from aegis.children.pool import ChildCrashed, ChildTimeout, ChildUnavailable
from aegis.inspection.secrets import contains_secret
from aegis.kernel.call import Call
from aegis.kernel.codes import CODES
from aegis.kernel.findings import Finding, Phrase, finding
from aegis.kernel.jsontree import dumps
from aegis.kernel.tenancy import Agent
from aegis.pipeline.analysts import Analysts
from aegis.pipeline.stage import SoFar
from aegis.pipeline.stages.policy_input import amounts_to, named_by, policy_input
from aegis.policy.evaluate import Policy as Policies
from aegis.policy.hard_deny import pii
from aegis.policy.kinds import Argument, kinds, tool_words

PLAIN = frozenset({"text", "recipient", "money"})
IN_PROCESS_BYTES = 4096
STATEMENTS = frozenset(
    f"{verb} {what}"
    for verb in ("CREATE", "ALTER", "DROP", "TRUNCATE")
    for what in ("TABLE", "DATABASE", "SCHEMA", "VIEW", "INDEX", "ROLE", "USER", "FUNCTION", "TRIGGER", "SEQUENCE")
)
"""SQL's own phrases, which may stand in a message with their space."""
COMPANY = frozenset({"example.com", "localhost"})


@dataclass(frozen=True, slots=True)
class Facts:
    tenant_bundle: str | None
    workspace: str | None
    environment: str | None


@dataclass(frozen=True, slots=True)
class Analysis:
    findings: tuple[Finding, ...]
    bundle: str
    engine: str
    memo: str
    inferred: tuple[tuple[str, str], ...]
    """Path and kind of the arguments that hold code, as they were understood."""
    resources: tuple[str, ...]
    """What the arguments name by themselves: tables, paths, hosts."""


class PolicyStage:
    name = "policy"
    deadline_s = 6.0
    failure = "policy.unavailable"

    def __init__(self, policies: Policies, parsers: Analysts, *, deadline_ms: int) -> None:
        self._policies, self._parsers, self._deadline_ms = policies, parsers, deadline_ms

    async def gather(self, call: Call, so_far: SoFar) -> Facts:
        agent = so_far.view.agents.get(call.principal.agent or "")
        return Facts(so_far.view.policy, workspace(agent, call), environment(agent, call))

    async def analyse(self, call: Call, facts: Facts, so_far: SoFar) -> Analysis:
        tool = so_far.view.tools.get(call.action.tool)
        arguments = kinds(tool, call.action.asked, call.action.arguments)
        said = await self._parse(call, facts, arguments)
        amounts = amounts_to(arguments, call.action.arguments, said["features"], contains_secret)
        given = policy_input(call, so_far, tool, amounts, environment=facts.environment, workspace=facts.workspace)
        answer = await self._policies.judge_inputs(call.tenant, facts.tenant_bundle, given)
        return Analysis(
            findings=(*_findings(said["findings"]), *answer.findings),
            bundle=" ".join(answer.bundles.values()),
            engine=answer.engine,
            memo=answer.memo,
            inferred=tuple((a.path, a.kind) for a in arguments if a.kind not in PLAIN)[:16],
            resources=named_by(arguments, said["features"]),
        )

    def judge(self, call: Call, facts: Facts, analysis: Analysis, so_far: SoFar) -> tuple[Finding, ...]:
        return analysis.findings

    def features(self, facts: Facts, analysis: Analysis) -> Mapping[str, Any]:
        made: dict[str, Any] = {"bundle": analysis.bundle}
        if facts.environment is not None:
            made["environment"] = facts.environment
        if analysis.inferred:
            made["kinds"] = [list(pair) for pair in analysis.inferred]
        return made

    async def _parse(self, call: Call, facts: Facts, arguments: tuple[Argument, ...]) -> dict[str, Any]:
        """Findings and features of the arguments. Small ones without code are looked at here, all others in a child."""
        action = call.action
        if call.size_bytes <= IN_PROCESS_BYTES and all(a.kind in PLAIN for a in arguments):
            found = pii.judge(tool_words(action.tool), action.arguments, COMPANY)
            return {
                "findings": [{"code": code, "path": "/arguments", "values": values} for code, values in found],
                "features": {},
            }
        request = {
            "tool": action.tool,
            "tool_arguments": action.arguments,
            "arguments": [
                {"path": a.path, "kind": a.kind, "text": a.text, "declared": a.declared}
                for a in arguments
                if a.kind not in PLAIN
            ],
            "workspace": facts.workspace,
            "environment": facts.environment,
            "now_us": call.received_at,
        }
        try:
            answer = await self._parsers.ask(dumps(request), key=call.tenant)
        except ChildTimeout:
            return _failed("analysis.timeout", self._deadline_ms)
        except (ChildCrashed, ChildUnavailable):
            return _failed("analysis.unavailable", 0)
        return orjson.loads(answer)  # type: ignore[no-any-return]


def workspace(agent: Agent | None, call: Call) -> str | None:
    """The administrator's directory, narrowed by the caller's where that lies inside."""
    bound, asked = agent.workspace if agent else None, call.context.workspace
    if bound is None or asked is None:
        return bound or asked
    inside = posixpath.normpath(asked)
    return inside if inside == bound or inside.startswith(bound.rstrip("/") + "/") else bound


def environment(agent: Agent | None, call: Call) -> str | None:
    """The administrator's word stands; without one the caller's is taken."""
    return (agent.environment if agent else None) or call.context.environment


def _findings(said: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """The analysers' words as findings; a code that the table doesn't have is a failure, not a pass."""
    found = []
    for each in said:
        code = each["code"] if each["code"] in CODES else "analysis.unavailable"
        values = {name: value for name, value in each.get("values", {}).items() if name not in ("path", "score")}
        found.append(_finding(code, each.get("path", ""), each.get("score"), values))
    return tuple(found)


def _finding(code: str, path: str, score: float | None, values: Mapping[str, Any]) -> Finding:
    known = {"statement": "", "object": "", "command": "", "verb": "", "kind": "", "service": "", "operation": "",
             "count": "", "dialect": "", "scheme": "", "amount": "", "size": "", "ms": ""}  # fmt: skip
    made = {**known, **values}
    statement = str(made["statement"]).replace("_", " ")
    if statement in STATEMENTS:
        made["statement"] = Phrase(statement)
    return finding(code, path=path, score=score, **made)


def _failed(code: str, ms: int) -> dict[str, Any]:
    return {"findings": [{"code": code, "values": {"ms": ms}}], "features": {}}
