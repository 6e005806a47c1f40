"""Stages 8 and 9 and the outcome row: runs what was allowed, shows what may be seen, records how it ended.

Order, and why: the call is in the register of running calls before the switches are looked at once more, so a kill
that was acknowledged in between is seen here, and a later one finds the call and cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aegis.execution.run import Execution
from aegis.execution.targets import Result, Stop
from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.decision import StageResult
from aegis.kernel.findings import Finding, finding
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.problems import Problem
from aegis.kernel.record import Appended, Conflict, Unavailable, Usage
from aegis.kernel.tenancy import TenantView, Tool, Upstream
from aegis.kernel.verdict import Verdict
from aegis.kill_switch.in_flight import InFlight, Running
from aegis.pipeline.idempotency import Idempotency
from aegis.pipeline.pipeline import Judged, Ran, ViewSource
from aegis.pipeline.recorder import Decided, Outcome, Recorder
from aegis.pipeline.stages.kill_switch import scope_of

REPORT_WITHIN_S = 15 * 60
SETTLE_WITHIN_S = 60
RECORDED_WITHIN_S = 20.0
"""How long the outcome of what ran is tried to be recorded: longer than a store takes to recover from a crash."""
AGAIN_S = 0.25


class Register:
    """The running calls of this process, so that a kill finds them."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    def entered(self, call: Call, view: TenantView, stop: Stop) -> Running:
        return self._in_flight.register(call.tenant, scope_of(call, view), lambda scope: stop.pull("killed"))


@dataclass(frozen=True, slots=True)
class Shown:
    """A result as the agent may see it."""

    output: JsonTree
    redactions: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...]


class OutputFilter(Protocol):
    """Stage 9. Never raises: what can't be filtered is withheld, with a finding that says so."""

    async def show(self, output: JsonTree, tool: Tool | None) -> Shown: ...


class Settlement(Protocol):
    """What an ended call really cost replaces what was reserved for it."""

    async def settle(self, judged: Judged, usage: Usage) -> None: ...


@dataclass(eq=False, slots=True)
class Runs:
    execution: Execution
    running: Register
    output_filter: OutputFilter
    settlement: Settlement
    recorder: Recorder
    views: ViewSource
    is_stopped: Callable[[Call, TenantView], bool]
    """Stage 0's judgement, on the newest view of this process."""
    idempotency: Idempotency
    clock: Callable[[], MicroSeconds]
    ticks: Callable[[], int]

    def outcome_due(self, call: Call, view: TenantView) -> MicroSeconds | None:
        """Until when an outcome is owed, as microseconds since 1970; None where the caller said that none comes."""
        if not call.owes_outcome:
            return None
        within = REPORT_WITHIN_S
        if call.endpoint == "execute":
            upstream = _upstream(view, call)
            within = SETTLE_WITHIN_S + (upstream.timeout_ms // 1000 if upstream else 0)
        return call.received_at + within * 1_000_000

    async def run(self, judged: Judged) -> Ran:
        """Runs the action and returns what came of it, its outcome row durable.

        Raises Problem 503 when the outcome couldn't be recorded; the decision row stands, and the worker closes it.
        """
        call, view = judged.call, judged.so_far.view
        await self.idempotency.running(call)
        began, ticked = self.clock(), self.ticks()
        stop = Stop()
        with self.running.entered(call, view, stop):
            newest = await self.views.get(call.tenant)
            if self.is_stopped(call, newest):
                result = Result("cancelled", None, "none", (finding("execute.killed"),), failure="execute.killed")
            else:
                result = await self.execution.run(
                    call.tenant,
                    _tool(view, call),
                    call.action.arguments,
                    call.action.resource,
                    _upstream(view, call),
                    stop=stop,
                )
        executed = StageResult("execute", _force(result.findings), result.findings, began, self._since(ticked))
        began, ticked = self.clock(), self.ticks()
        shown = await self.output_filter.show(result.output, _tool(view, call))
        filtered = StageResult("filter_output", _force(shown.findings), shown.findings, began, self._since(ticked))
        usage = Usage(micro_usd=cost(view, call) if result.effect != "none" else 0)
        outcome = Outcome(
            status=result.status,
            output=shown.output,
            executed_digest=call.action.digest if result.effect != "none" else None,
            findings=(*result.findings, *shown.findings),
            usage=usage,
            effect=result.effect,
            results=(executed, filtered),
        )
        appended = await self.record(decided_now(judged), outcome, view)
        await self.settlement.settle(judged, usage)
        return Ran(
            result.status,
            result.effect,
            shown.output,
            shown.redactions,
            outcome.findings,
            appended,
            result.target_code,
        )

    async def record(self, decided: Decided, outcome: Outcome, view: TenantView) -> Appended | None:
        """Appends the outcome, again while the store comes back: what ran must not stay unrecorded. None where the
        row of a try stands whose answer was lost. Raises Problem 409 and 503."""
        loop = asyncio.get_running_loop()
        until, is_first = loop.time() + RECORDED_WITHIN_S, True
        while True:
            try:
                return await self.recorder.ended(decided, outcome, view)
            except Conflict:
                if not is_first:
                    return None
                raise Problem(409, "outcome.conflict", "this decision has an outcome already") from None
            except Unavailable as error:
                if loop.time() > until:
                    raise Problem(
                        503,
                        "audit.unavailable",
                        "the action ran, and its outcome couldn't be recorded in time; it will be closed as unknown",
                        members={"effect": outcome.effect or "unknown", "decision_id": decided.decision_id},
                    ) from error
            is_first = False
            await asyncio.sleep(AGAIN_S)

    def _since(self, ticked: int) -> int:
        return (self.ticks() - ticked) // 1000


def decided_now(judged: Judged) -> Decided:
    """The decision that was just recorded, as its outcome row refers to it."""
    assert judged.recorded is not None
    call = judged.call
    return Decided(
        tenant=call.tenant,
        decision_id=call.decision_id,
        seq=judged.recorded.appended.seq,
        action_salt=judged.recorded.action_salt,
        agent=call.principal.agent,
        team=judged.recorded.team,
        user=judged.recorded.user,
        session=call.session_id,
        tool=judged.recorded.tool,
        received_at=call.received_at,
    )


def cost(view: TenantView, call: Call) -> int:
    """Micro-dollars: the tool's price, or the caller's own estimate where that is higher."""
    tool = view.tools.get(call.action.tool)
    return max(tool.price_micro_usd if tool else 0, call.context.estimated_micro_usd)


def _tool(view: TenantView, call: Call) -> Tool:
    return view.tools.get(call.action.tool) or Tool(call.action.tool, "write")


def _upstream(view: TenantView, call: Call) -> Upstream | None:
    tool = view.tools.get(call.action.tool)
    return None if tool is None or tool.upstream is None else view.upstreams.get(tool.upstream)


def _force(findings: tuple[Finding, ...]) -> Verdict:
    return max((f.force or Verdict.ALLOW for f in findings), default=Verdict.ALLOW)
