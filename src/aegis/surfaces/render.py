"""Renders the pipeline's answers as API.md has them. What an agent sees of the reasons is its tenant's setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegis.audit import proofs, receipts
from aegis.kernel.call import Call, Principal, Role
from aegis.kernel.clock import iso
from aegis.kernel.findings import Finding
from aegis.kernel.problems import Problem
from aegis.kernel.record import Appended
from aegis.kernel.tenancy import TenantView
from aegis.kernel.verdict import Verdict
from aegis.pipeline.pipeline import Answer, Judged

REFUSED = {Verdict.KILL: 403, Verdict.ESCALATE: 403, Verdict.THROTTLE: 429}
TITLES = {
    Verdict.KILL: "the action was refused",
    Verdict.ESCALATE: "the action needs a person's approval",
    Verdict.THROTTLE: "try again later",
}


def decision(judged: Judged, *, with_receipt: bool, permit: str | None = None) -> dict[str, Any]:
    """The body of POST /v1/decide."""
    call, made, view = judged.call, judged.decision, judged.so_far.view
    explain = explained(call.principal, view)
    says = explain != "none"
    return {
        "decision_id": call.decision_id,
        "verdict": made.verdict.word,
        "risk": made.risk_ppm / 1_000_000,
        "rule": made.rule if says else "",
        "findings": [shown(f, explain) for f in made.findings] if says else [],
        "guidance": made.guidance,
        "approval": judged.approval,
        "retry_after": made.retry_after_s,
        "permit": permit,
        "rewrites": [],
        "action_digest": call.action.digest,
        "policy": {"bundle": judged.policy, "engine": judged.engine},
        "stages": [{"stage": r.name, "verdict": r.word, "us": r.took_us} for r in judged.so_far.results]
        if says
        else [],
        "outcome_due": None if judged.outcome_due is None else iso(judged.outcome_due),
        "receipt": receipt(judged, explain) if with_receipt else None,
    }


def explained(principal: Principal, view: TenantView) -> str:
    """How much of the reasons the caller sees: an agent what its tenant's setting says, people all."""
    return view.settings.explain_to_agents if principal.role is Role.AGENT else "full"


def shown(found: Finding, explain: str) -> dict[str, Any]:
    public = found.public()
    if explain == "full":
        public["score"] = found.score
    return public


def receipt(judged: Judged, explain: str) -> dict[str, Any] | None:
    if judged.recorded is None:
        return None
    return receipt_of(judged.recorded.appended, judged.call.decision_id, explain)


def receipt_of(appended: Appended, decision_id: str, explain: str = "full") -> dict[str, Any]:
    made = receipts.receipt(
        entry=appended.entry,
        index=appended.seq,
        path=appended.path,
        note=appended.note,
        origin=appended.origin,
        url=f"/v1/decisions/{decision_id}/receipt",
    )
    if explain == "none":
        del made["row"], made["sig"]
    return made


def executed(answer: Answer, *, with_receipt: bool) -> dict[str, Any]:
    """The 200 body of POST /v1/execute. Raises Problem for everything that is not a result."""
    judged, ran = answer.judged, answer.ran
    body = decision(judged, with_receipt=with_receipt)
    if ran is None:
        raise refusal(judged, body, effect="none")
    codes = {found.code for found in ran.findings}
    explain = explained(judged.call.principal, judged.so_far.view)
    body["findings"] += [shown(found, explain) for found in ran.findings if explain != "none"]
    if ran.status != "ok":
        body["guidance"] = run_guidance(ran.findings, ran.effect)
    if "execute.killed" in codes:
        raise refusal(judged, {**body, **_killed(ran.findings, explain)}, effect=ran.effect, status=403)
    if "execute.timeout" in codes:
        raise problem(504, "execute.timeout", "the target did not answer in time", body, effect=ran.effect)
    body |= {
        "status": ran.status,
        "output": ran.output,
        "redactions": list(ran.redactions),
        "effect": ran.effect,
        "target_code": ran.target_code,
    }
    if ran.appended is not None:
        made = receipt_of(ran.appended, judged.call.decision_id, explain) if with_receipt else None
        body["outcome_receipt"] = made
    return body


def run_guidance(findings: tuple[Finding, ...], effect: str) -> str:
    """Why the run gave no result, whether anything happened, and what to do. Templates only."""
    told = [f"{f.message[:1].upper()}{f.message[1:]}. {f.guidance}".strip() for f in findings if f.stage == "execute"]
    return " ".join(["Nothing happened.", *told] if effect == "none" and told else told)


def refusal(judged: Judged, body: Mapping[str, Any], *, effect: str, status: int | None = None) -> Problem:
    verdict = judged.decision.verdict
    made = problem(
        status or REFUSED[verdict],
        f"verdict.{body['verdict']}",
        str(body["guidance"]) or TITLES.get(verdict, "the action was stopped"),
        body,
        effect=effect,
    )
    made.retry_after_s = judged.decision.retry_after_s
    return made


def problem(status: int, code: str, detail: str, body: Mapping[str, Any], *, effect: str) -> Problem:
    members = {
        name: body[name]
        for name in (
            "verdict",
            "decision_id",
            "risk",
            "rule",
            "findings",
            "guidance",
            "approval",
            "receipt",
            "stages",
            "action_digest",
            "policy",
            "retry_after",
        )
    }
    return Problem(status, code, detail, members={**members, "effect": effect})


def _killed(findings: tuple[Finding, ...], explain: str) -> dict[str, Any]:
    if explain == "none":
        return {"verdict": "kill", "rule": "", "findings": []}
    killed = next(f for f in findings if f.code == "execute.killed")
    return {"verdict": "kill", "rule": killed.rule, "findings": [shown(f, explain) for f in findings]}


def outcome(
    said: Mapping[str, Any], appended: Appended | None, decision_id: str, explain: str, *, with_receipt: bool
) -> dict[str, Any]:
    """The body of POST /v1/decisions/{id}/outcome. `appended` is None where the same report came before."""
    made = None if appended is None or not with_receipt else receipt_of(appended, decision_id, explain)
    return {**said, **({"findings": []} if explain == "none" else {}), "receipt": made}


def overhead_headers(call: Call, took_us: int) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-aegis-decision-id", call.decision_id.encode()),
        (b"x-aegis-overhead-us", str(took_us).encode()),
    ]


def proof_text(appended: Appended) -> str:
    """The receipt as C2SP tlog-proof text."""
    return proofs.format_proof(appended.seq, appended.path, appended.note)
