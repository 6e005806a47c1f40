"""Stage 10, record: makes the rows of a call and has them appended.

A decision row is durable before anything runs, an outcome row follows. Nothing that a person or a stranger wrote
stands in a row: text and values are commitments, opened by the body that erasure may take.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from aegis.audit import flight
from aegis.audit.rows import commitment, pseudonym
from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.decision import STAGES, Decision, StageResult
from aegis.kernel.findings import Finding
from aegis.kernel.ids import uuid7
from aegis.kernel.jsontree import ExactNumber, JsonTree, canonical, dumps
from aegis.kernel.record import Appended, Draft, Ledger, Usage
from aegis.kernel.tenancy import TenantView
from aegis.pipeline.stage import SoFar

FINDINGS_IN_ROW = 32
SALT_BYTES = 32
STATE_BYTES = 4 * 1024
BODY_LIMIT = 4 * 1024 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_.:/\-]{1,128}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision in the log. `action_salt` binds what was decided to what ran: one salt, so equality shows."""

    appended: Appended
    action_salt: bytes
    openings: Mapping[str, Any]
    team: str | None
    user: str | None
    tool: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an allowed action ended. `output` is what the agent gets to see: what was cut out is kept nowhere.

    `reported`: by the caller's word, not by Aegis's own eyes. `kept` goes into the row's body, for who reads it later.
    """

    status: str
    output: JsonTree
    executed_digest: str | None
    findings: tuple[Finding, ...]
    usage: Usage
    effect: str | None = None
    reported: bool = False
    results: tuple[StageResult, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)
    by: str = "aegis"


class Recorder:
    """`random` gives bytes for salts. Raises what the ledger raises: Stale, Conflict, Unavailable."""

    def __init__(self, ledger: Ledger, random: Callable[[int], bytes]) -> None:
        self._ledger, self._random = ledger, random

    async def decided(
        self,
        call: Call,
        so_far: SoFar,
        decision: Decision,
        *,
        policy: str,
        engine: str,
        session: Session | None,
        approval: str | None,
        outcome_due: MicroSeconds | None,
    ) -> Recorded:
        view = so_far.view
        salts = self._random(3 * SALT_BYTES)
        inputs_salt, action_salt, state_salt = salts[:32], salts[32:64], salts[64:]
        inputs = {
            "tool": call.action.asked,
            "arguments": call.action.arguments,
            "resource": call.action.resource,
            "context": call.context.given,
        }
        state = state_of(so_far.results)
        stages = [stage_leaf(result, call.received_at) for result in so_far.results]
        fields: dict[str, Any] = {
            "eid": call.decision_id,
            "door": call.door,
            "action": call.endpoint,
            "tool": plain(call.action.tool, view, "tool"),
            "digest": commitment(action_salt, canonical(call.action.digest).encode()),
            "verdict": decision.verdict.word,
            "risk": decision.risk_ppm,
            "findings": [row_finding(f, view) for f in decision.findings[:FINDINGS_IN_ROW]],
            "stages": flight.root(stages),
            "inputs": commitment(inputs_salt, canonical(inputs).encode()),
            "state": commitment(state_salt, canonical(state).encode()),
        }
        for member, text in (("rule", decision.rule), ("policy", policy), ("engine", engine), ("approval", approval)):
            if text:
                fields[member] = text
        if len(decision.findings) > FINDINGS_IN_ROW:
            fields["more"] = len(decision.findings) - FINDINGS_IN_ROW
        if outcome_due is not None:
            fields["outcome_due"] = iso(outcome_due)
        if call.action.resource is not None:
            fields["resource"] = pseudonym(view.label_key, "resource", call.action.resource)
        if call.context.parent is not None:
            fields["parent"] = plain(call.context.parent, view, "parent")
        if call.context.client_seen is not None:
            fields["client_seen"] = {"size": call.context.client_seen[0], "root": call.context.client_seen[1]}
        user = add_session(fields, session, view)
        openings = {
            "inputs": {"salt": inputs_salt.hex(), "payload": inputs},
            "digest": {"salt": action_salt.hex(), "payload": call.action.digest},
            "state": {"salt": state_salt.hex(), "payload": state},
        }
        body = dump({"flight": [flight_stage(r) for r in so_far.results], "leaves": stages, "openings": openings})
        draft = Draft(
            tenant=call.tenant,
            kind="decision",
            rid=call.decision_id,
            fields=fields,
            agent=call.principal.agent or call.principal.subject,
            team=fields.get("team"),
            user=user,
            session=call.session_id,
            tool=fields["tool"],
            verdict=decision.verdict.word,
            rule=decision.rule or None,
            risk_ppm=decision.risk_ppm,
            codes=codes(decision.findings),
            outcome_due=outcome_due,
            counts=(decision.verdict.word,),
            body=body,
            usage=counted(so_far),
            judged_epoch=view.kill_epoch if decision.verdict.may_run else None,
        )
        appended = await self._ledger.append(draft)
        return Recorded(appended, action_salt, openings, draft.team, user, fields["tool"])

    async def ended(self, decided: Decided, outcome: Outcome, view: TenantView) -> Appended:
        """The outcome row of an allowed decision, or a row of kind `late` when the worker has closed it already."""
        output_salt = self._random(SALT_BYTES)
        stages = [stage_leaf(result, decided.received_at) for result in outcome.results]
        fields: dict[str, Any] = {
            "eid": decided.decision_id,
            "of": decided.seq,
            "status": outcome.status,
            "outputs": commitment(output_salt, canonical(outcome.output).encode()),
            "findings": [row_finding(f, view) for f in outcome.findings[:FINDINGS_IN_ROW]],
            "usage": usage_fields(outcome.usage),
            "by": "caller" if outcome.reported else outcome.by,
        }
        if len(outcome.findings) > FINDINGS_IN_ROW:
            fields["more"] = len(outcome.findings) - FINDINGS_IN_ROW
        if stages:
            fields["stages"] = flight.root(stages)
        if outcome.executed_digest is not None:
            fields["executed"] = commitment(decided.action_salt, canonical(outcome.executed_digest).encode())
        if outcome.effect is not None:
            fields["effect"] = outcome.effect
        for member in ("session", "team", "tool"):
            value = getattr(decided, member)
            if value is not None:
                fields[member] = value
        body = dump(
            {
                "flight": [flight_stage(result) for result in outcome.results],
                "leaves": stages,
                "openings": {"outputs": {"salt": output_salt.hex(), "payload": outcome.output}},
                **outcome.kept,
            }
        )
        kind = "late" if decided.is_closed else "outcome"
        return await self._ledger.append(
            Draft(
                tenant=decided.tenant,
                kind=kind,
                rid=uuid7(),
                fields=fields,
                agent=decided.agent,
                team=decided.team,
                user=decided.user,
                session=decided.session,
                tool=decided.tool,
                codes=codes(outcome.findings),
                of_seq=decided.seq,
                counts=("late",) if decided.is_closed else (outcome.status,),
                body=body,
                usage=outcome.usage,
            )
        )


def state_of(results: Sequence[StageResult]) -> dict[str, Any]:
    """What the stages judged by, in at most 4 KiB: where it is more, the largest stands as its digest only. What a
    reservation is settled from is always kept."""
    state: dict[str, Any] = {result.name: result.features for result in results if result.features}
    sizes = {name: len(canonical(features)) for name, features in state.items()}
    while sum(sizes.values()) + 32 * len(state) > STATE_BYTES:
        largest = max((name for name in state if name != "rate_limit"), key=sizes.__getitem__, default=None)
        if largest is None or "sha256" in state[largest]:
            return state
        digest = hashlib.sha256(canonical(state[largest]).encode()).hexdigest()
        state[largest] = {"sha256": digest, "bytes": sizes[largest]}
        sizes[largest] = len(canonical(state[largest]))
    return state


def counted(so_far: SoFar) -> Usage | None:
    """One request of the tenant's bill, for a call that the limits let in; what they refused counts nowhere."""
    reading = so_far.facts.get("rate_limit")
    return None if reading is None or reading.reservation is None else Usage(requests=1)


@dataclass(frozen=True, slots=True)
class Session:
    """What a row says of session, team and user. `user_known` is `verified` or `asserted`."""

    id: str | None
    team: str | None = None
    user: str | None = None
    user_known: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What an outcome needs of the decision that it belongs to; members as they stand in the row."""

    tenant: str
    decision_id: str
    seq: int
    action_salt: bytes
    agent: str | None
    team: str | None
    user: str | None
    session: str | None
    tool: str | None
    received_at: MicroSeconds
    is_closed: bool = False


def add_session(fields: dict[str, Any], session: Session | None, view: TenantView) -> str | None:
    """Puts session, team and user into the row; returns the user's pseudonym, which the look-up column repeats."""
    if session is None:
        return None
    if session.id is not None:
        fields["session"] = session.id
    if session.team is not None:
        fields["team"] = session.team
    if session.user is None:
        return None
    user = pseudonym(view.label_key, "user", session.user)
    fields["user"] = {"id": user, "known": session.user_known or "asserted"}
    return user


def row_finding(found: Finding, view: TenantView) -> dict[str, str]:
    """Code, rule and path. A path holds argument names, which are a stranger's words: odd ones as a pseudonym."""
    row = {"code": found.code, "rule": found.rule}
    if found.path:
        row["path"] = plain(found.path, view, "path")
    return row


def plain(text: str, view: TenantView, kind: str) -> str:
    """`text` where it is a plain name, else its keyed pseudonym: no sentence gets into a row through a name."""
    return text if _PLAIN.fullmatch(text) else pseudonym(view.label_key, kind, text)


def stage_leaf(result: StageResult, call_began: MicroSeconds) -> dict[str, Any]:
    """The stage as it stands in the flight record's tree; times are microseconds since the call came in."""
    start = max(0, result.started_at - call_began)
    return {
        "n": STAGES.index(result.name),
        "name": result.name,
        "start": start,
        "end": start + result.took_us,
        "verdict": result.word,
        "codes": [found.code for found in result.findings],
    }


def flight_stage(result: StageResult) -> dict[str, Any]:
    """The stage as people see it: findings in full, with what the judgement read."""
    return {
        "stage": result.name,
        "verdict": result.word,
        "started_at": iso(result.started_at),
        "us": result.took_us,
        "findings": [{**f.public(), "score": f.score, "evidence": dict(f.evidence)} for f in result.findings],
        "features": dict(result.features),
    }


def usage_fields(usage: Usage) -> dict[str, int]:
    return {
        "micro_usd": usage.micro_usd,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }


def dump(body: Mapping[str, Any]) -> bytes:
    """The body's bytes; numbers as they came in, so that openings lead to their commitments."""
    data = _bytes(body)
    if len(data) <= BODY_LIMIT:
        return data
    kept = {name: value for name, value in body.items() if name not in ("openings", "answer")}
    return _bytes(kept | {"openings": {}, "withheld": "over the size limit"})


def _bytes(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=_simpler, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # whole numbers beyond 64 bits
        return dumps(_simple(body))


def _simpler(value: object) -> Any:
    return orjson.Fragment(value.source) if isinstance(value, ExactNumber) else str(value)


def _simple(value: Any) -> JsonTree:
    if isinstance(value, Mapping):
        return {str(name): _simple(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_simple(each) for each in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def codes(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found.code for found in findings))
