"""Throttles beyond twenty a second of one caller: one signed row a second with their count."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.decision import Decision
from aegis.kernel.ids import uuid7
from aegis.kernel.record import Draft, Ledger, Unavailable
from aegis.quota.summing import Sum, Summed, Summing

LOOK_S = 0.25
log = logging.getLogger("aegis.throttles")


class Throttles:
    def __init__(self, ledger: Ledger, clock: Callable[[], MicroSeconds]) -> None:
        self._ledger, self._clock = ledger, clock
        self._summing = Summing(uuid7)

    def note(self, call: Call, decision: Decision) -> str | None:
        """The decision id of the row that will sum this throttle; None when it gets a row of its own."""
        agent = call.principal.agent or call.principal.subject
        code = next((f.code for f in decision.findings if f.stage == "rate_limit"), "quota.rps")
        noted = self._summing.note((call.tenant, agent), call.received_at, code)
        return noted.decision_id if isinstance(noted, Sum) else None

    async def run(self) -> None:
        """Writes the rows of seconds that are over, until cancelled; then those that are open."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                await self._write(self._summing.due(self._clock()))
        finally:
            await asyncio.shield(self._write(self._summing.drain()))

    async def _write(self, sums: list[Summed]) -> None:
        for summed in sums:
            try:
                await self._ledger.append(_draft(summed))
            except Unavailable:
                log.warning("a row that sums %d throttles could not be written", summed.count)


def _draft(summed: Summed) -> Draft:
    tenant, agent = cast(tuple[str, str], summed.caller)
    codes = tuple(code for code, _ in summed.codes)
    return Draft(
        tenant=tenant,
        kind="throttled",
        rid=summed.decision_id,
        fields={
            "eid": summed.decision_id,
            "count": summed.count,
            "verdict": "throttle",
            "rule": f"aegis.{codes[0]}" if codes else "aegis.quota.rps",
            "findings": [{"code": code, "rule": f"aegis.{code}"} for code in codes],
            "detail": {"second": iso(summed.began_us), **dict(summed.codes)},
        },
        agent=agent,
        verdict="throttle",
        rule=f"aegis.{codes[0]}" if codes else None,
        codes=codes,
        counts=("throttle",),
        count=summed.count,
    )
