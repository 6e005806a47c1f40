"""Outcomes that come from outside: the caller's report, and the worker's closing of what nobody reported.

One outcome for each allowed decision. A report that comes after the closing is a row of kind `late`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aegis.db.database import Database
from aegis.db.statements import statements
from aegis.kernel.call import Principal
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.findings import finding
from aegis.kernel.jsontree import JsonTree, canonical
from aegis.kernel.problems import Problem
from aegis.kernel.record import Appended, Conflict, Unavailable, Usage
from aegis.kernel.tenancy import TenantView
from aegis.pipeline.recorder import Decided, Outcome, Recorder
from aegis.pipeline.run import OutputFilter

SQL = statements("aegis.pipeline", "outcomes.sql")
CLOSED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What the caller says came of an allowed action."""

    status: str
    output: JsonTree
    executed_digest: str | None
    usage: Usage

    @property
    def digest(self) -> str:
        """Tells one report from another: the same one again gets the stored answer."""
        said = [self.status, self.output, self.executed_digest, self.usage.micro_usd, self.usage.input_tokens]
        return hashlib.sha256(canonical([*said, self.usage.output_tokens]).encode()).hexdigest()


class Settling(Protocol):
    async def settle_recorded(
        self, tenant: str, decision_id: str, features: Mapping[str, Any], usage: Usage, agent: str, session: str | None
    ) -> None: ...


@dataclass(eq=False, slots=True)
class Outcomes:
    database: Database
    recorder: Recorder
    output_filter: OutputFilter
    settling: Settling
    clock: Callable[[], MicroSeconds]

    async def report(
        self, principal: Principal, view: TenantView, decision_id: str, report: Report
    ) -> tuple[dict[str, Any], Appended | None]:
        """What may be shown to the agent, and the row (None: the same report came before).

        Raises Problem 404 for a decision that is not this agent's, 409 for one that owes no outcome or has another.
        """
        row = await self._decision(principal, decision_id)
        digest = report.digest
        if row["outcome"] is not None:
            closing = await self._body(view.tenant, row["outcome"])
            if closing.get("report") is not None or not closing.get("closed"):
                return self._again(closing, digest), None
            late = await self._late(view.tenant, row["seq"])
            if late is not None:
                return self._again(late, digest), None
        decided = _decided(view.tenant, decision_id, row, is_closed=row["outcome"] is not None)
        shown = await self.output_filter.show(report.output, view.tools.get(row["tool"] or ""))
        found = list(shown.findings)
        expected = _opening(row, "digest")
        if report.executed_digest is not None and report.executed_digest != expected:
            found.append(finding("execute.other_action", path="/executed_digest"))
        said = {
            "output": shown.output,
            "redactions": list(shown.redactions),
            "findings": [f.public() for f in found],
        }
        outcome = Outcome(
            status=report.status,
            output=shown.output,
            executed_digest=report.executed_digest,
            findings=tuple(found),
            usage=report.usage,
            reported=True,
            kept={"report": digest, "answer": said},
        )
        try:
            appended = await self.recorder.ended(decided, outcome, view)
        except Conflict:  # another report of this decision was a moment earlier
            raise Problem(409, "outcome.conflict", "this decision has another outcome already") from None
        except Unavailable as error:
            raise Problem(503, "audit.unavailable", "the outcome couldn't be recorded", retry_after_s=1) from error
        await self.settling.settle_recorded(
            view.tenant, decision_id, _limits_read(row), report.usage, row["agent"], row["session"]
        )
        return said, appended

    async def _decision(self, principal: Principal, decision_id: str) -> Mapping[str, Any]:
        async with self.database.scope(principal.tenant) as connection:
            row = await connection.fetchrow(SQL.decision, principal.tenant, decision_id)
        if row is None or row["agent"] != principal.agent:
            raise Problem(404, "decision.unknown", "there is no such decision of this agent")
        if row["verdict"] not in ("allow", "monitor"):
            raise Problem(409, "outcome.not_allowed", f"this decision was {row['verdict']}: nothing may have run")
        if row["outcome_due"] is None:
            raise Problem(409, "outcome.none", "this decision was asked for without an outcome")
        found: Mapping[str, Any] = row
        return found

    async def _body(self, tenant: str, seq: int) -> dict[str, Any]:
        async with self.database.scope(tenant) as connection:
            body = await connection.fetchval(SQL.body, tenant, seq)
        return json.loads(body) if body else {}

    async def _late(self, tenant: str, of: int) -> dict[str, Any] | None:
        async with self.database.scope(tenant) as connection:
            seq = await connection.fetchval(SQL.late, tenant, of)
        return None if seq is None else await self._body(tenant, seq)

    @staticmethod
    def _again(body: Mapping[str, Any], digest: str) -> dict[str, Any]:
        if body.get("report") != digest:
            raise Problem(409, "outcome.conflict", "this decision has another outcome already")
        said: dict[str, Any] = body["answer"]
        return said


@dataclass(eq=False, slots=True)
class Closer:
    """Closes decisions whose outcome is overdue with an `unknown` row, over all tenants."""

    database: Database
    recorder: Recorder
    clock: Callable[[], MicroSeconds]

    async def close_overdue(self, views: Callable[[str], Awaitable[TenantView]]) -> int:
        """Closes decisions whose outcome is overdue with an `unknown` row; returns how many there were."""
        async with self.database.unscoped() as connection:
            overdue = await connection.fetch(SQL.overdue, self.clock(), CLOSED_AT_ONCE)
        for due in overdue:
            async with self.database.scope(due["tenant"]) as connection:
                row = await connection.fetchrow(SQL.decision_at, due["tenant"], due["seq"])
            if row is None or row["outcome"] is not None:
                continue
            view = await views(due["tenant"])
            found = (finding("execute.unknown"),)
            outcome = Outcome("unknown", None, None, found, Usage(), kept={"closed": True}, by="worker")
            try:
                await self.recorder.ended(_decided(due["tenant"], row["rid"], row), outcome, view)
            except Conflict:
                continue
        return len(overdue)


def _decided(tenant: str, decision_id: str, row: Mapping[str, Any], *, is_closed: bool = False) -> Decided:
    salt = _openings(row).get("digest", {}).get("salt")
    return Decided(
        tenant=tenant,
        decision_id=decision_id,
        seq=row["seq"],
        action_salt=bytes.fromhex(salt) if salt else bytes(32),
        agent=row["agent"],
        team=row["team"],
        user=row["user_id"],
        session=row["session"],
        tool=row["tool"],
        received_at=row["ts"],
        is_closed=is_closed,
    )


def _openings(row: Mapping[str, Any]) -> dict[str, Any]:
    """Empty where erasure, or the size limit, left none: the row stands all the same."""
    found: dict[str, Any] = json.loads(row["body"]).get("openings", {}) if row["body"] else {}
    return found


def _opening(row: Mapping[str, Any], name: str) -> Any:
    return _openings(row).get(name, {}).get("payload")


def _limits_read(row: Mapping[str, Any]) -> Mapping[str, Any]:
    state: dict[str, Any] = _opening(row, "state") or {}
    found: dict[str, Any] = state.get("rate_limit", {})
    return found
