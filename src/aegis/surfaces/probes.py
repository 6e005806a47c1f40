"""POST /v1/scan: the prompt-injection scanner alone. Counts against the caller's limits, has no row of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aegis.inspection.injection import Scan, Scanner
from aegis.kernel.call import Principal
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.ids import uuid7
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.problems import Problem
from aegis.kernel.record import Draft, Ledger, Unavailable
from aegis.kernel.tenancy import TenantView
from aegis.quota.buckets import Buckets, BucketsUnavailable, Take
from aegis.quota.limits import Limits, findings, retry_after_s
from aegis.surfaces.members import Members

IN_PROCESS_CHARACTERS = 2048
LIMIT = 1024 * 1024
HOUR_US = 3600 * 1_000_000


class Probes:
    """`far` scans long texts in a child process. Hourly, a `note` row sums what each tenant's callers scanned."""

    def __init__(
        self,
        buckets: Buckets,
        limits: Limits,
        scanner: Scanner,
        far: Callable[[str, str], Awaitable[Scan]],
        ledger: Ledger,
        clock: Callable[[], MicroSeconds],
    ) -> None:
        self._buckets, self._limits, self._scanner, self._far = buckets, limits, scanner, far
        self._ledger, self._clock = ledger, clock
        self._scans: Counter[tuple[str, bool]] = Counter()
        self._summed_at = clock()

    async def scan(self, principal: Principal, view: TenantView, tree: dict[str, JsonTree]) -> dict[str, Any]:
        """`{"flagged", "score", "findings"}`. Raises Problem 422, 429, or 503 when the scanner is away."""
        members = Members(tree, ("text", "source"))
        text = members.text("text", required=True, limit=LIMIT)
        source = members.choice("source", ("user", "tool", "document")) or "document"
        members.finish()
        assert text is not None
        await self._count(principal, view)
        try:
            is_short = len(text) <= IN_PROCESS_CHARACTERS
            scan = self._scanner.scan(text, source) if is_short else await self._far(text, source)  # type: ignore[arg-type]
        except Exception as error:
            raise Problem(503, "inference.unavailable", "the scanner is away", retry_after_s=1) from error
        self._scans[principal.tenant, scan.flagged] += 1
        return {
            "flagged": scan.flagged,
            "score": round(scan.score, 4),
            "findings": [{**f.public(), "path": "/text"} for f in scan.findings],
        }

    async def run(self) -> None:
        """Sums up by the hour, until cancelled."""
        while True:
            await asyncio.sleep(60)
            await self.sum_up()

    async def sum_up(self) -> None:
        """Writes the notes that are due; a store that is away gets them an hour later."""
        now = self._clock()
        if now - self._summed_at < HOUR_US:
            return
        self._summed_at, scans, self._scans = now, self._scans, Counter()
        for tenant in sorted({tenant for tenant, _ in scans}):
            detail = {"note": "scans", "flagged": scans[tenant, True], "clean": scans[tenant, False]}
            try:
                await self._ledger.append(Draft(tenant, "note", uuid7(), {"detail": detail}))
            except Unavailable:
                self._scans.update({key: n for key, n in scans.items() if key[0] == tenant})

    async def _count(self, principal: Principal, view: TenantView) -> None:
        agent = principal.agent or principal.subject
        now = self._clock()
        take = Take(
            tenant=principal.tenant,
            agent=agent,
            tool="aegis.scan",
            now_us=now,
            decision_id=uuid7(),
            scopes=self._limits.resolve(view, agent),
            due_us=now,
            probe=True,
        )
        try:
            reading = await self._buckets.take(take)
        except BucketsUnavailable as error:
            raise Problem(503, "quota.unavailable", "the limits couldn't be read", retry_after_s=1) from error
        if reading.limited:
            raise Problem(429, "quota.limited", findings(reading)[0].message, retry_after_s=retry_after_s(reading))
