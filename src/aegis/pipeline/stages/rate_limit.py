"""Stage 2, rate limiting: every scope that applies has room, and what the call takes is reserved.

One script in the bucket store does all of it at once, and reads what stage 5 needs. Without the store, settled counts
and this process's share decide, and the row says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from aegis.behavior.peers import Peers
from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.findings import Finding, finding
from aegis.kernel.record import Usage
from aegis.pipeline.pipeline import Judged
from aegis.pipeline.run import cost
from aegis.pipeline.stage import SoFar
from aegis.pipeline.stages.kill_switch import team_of
from aegis.quota.buckets import Buckets, BucketsUnavailable, Reading, Reservation, Take
from aegis.quota.limits import Limits, findings

RESERVED_US = 20 * 60 * 1_000_000


class RateLimit:
    name = "rate_limit"
    deadline_s = 1.5
    failure = "quota.unavailable"

    def __init__(self, buckets: Buckets, limits: Limits, peers: Peers) -> None:
        self._buckets, self._limits, self._peers = buckets, limits, peers

    async def gather(self, call: Call, so_far: SoFar) -> Reading:
        return await self._buckets.take(self._take(call, so_far))

    async def analyse(self, call: Call, facts: Reading, so_far: SoFar) -> None:
        return None

    def judge(self, call: Call, facts: Reading, analysis: None, so_far: SoFar) -> tuple[Finding, ...]:
        if facts.replayed:
            return (finding("auth.replayed"),)
        if not facts.token_checked:
            return (finding("auth.unavailable"),)
        return findings(facts)

    def features(self, facts: Reading, analysis: None) -> Mapping[str, Any]:
        return facts.features()

    def _take(self, call: Call, so_far: SoFar) -> Take:
        view, principal = so_far.view, call.principal
        session = so_far.facts["authenticate"].session
        user = None if session is None or session.user is None else session.user.id
        agent = principal.agent or principal.subject
        once = principal.credential if principal.single_use else None
        return Take(
            tenant=call.tenant,
            agent=agent,
            tool=call.action.tool,
            now_us=call.received_at,
            decision_id=call.decision_id,
            scopes=self._limits.resolve(view, agent, team_of(view, agent), call.action.tool, call.session_id, user),
            due_us=call.received_at + RESERVED_US,
            session=call.session_id,
            estimate_micro_usd=cost(view, call),
            jti=once,
            jti_ttl_s=_seconds_left(principal.expires_at, call.received_at),
            digest=int(call.action.digest[7:19], 16),
            peer=self._peers.of(view, agent, call.action.arguments),
            resource=0 if call.action.resource is None else zlib.crc32(call.action.resource.encode()),
        )


def _seconds_left(expires_at: int | None, now: int) -> int:
    return 3600 if expires_at is None else max(60, (expires_at - now) // 1_000_000 + 60)


class Holdings:
    """What calls hold in the buckets, given back or settled. A store that is away takes it back by itself: every
    reservation lapses, and settled usage stands in the log."""

    def __init__(self, buckets: Buckets, clock: Callable[[], MicroSeconds]) -> None:
        self._buckets, self._clock = buckets, clock

    async def release(self, call: Call, so_far: SoFar) -> None:
        reservation = reservation_of(so_far)
        if reservation is None or not (reservation.tracked or reservation.session):
            return
        verdict = so_far.decision.verdict.word if so_far.decision else "kill"
        with suppress(BucketsUnavailable):
            await self._buckets.release(reservation, call.received_at, verdict)

    async def settle(self, judged: Judged, usage: Usage) -> None:
        reservation = reservation_of(judged.so_far)
        if reservation is not None:
            await self._settle(reservation, usage.micro_usd, judged.decision.verdict.word)

    async def settle_recorded(
        self, tenant: str, decision_id: str, features: Mapping[str, Any], usage: Usage, agent: str, session: str | None
    ) -> None:
        """The same from the decision's own row, when the outcome comes later and perhaps through another process."""
        with suppress(KeyError, TypeError, ValueError):
            held = Reservation.of(tenant, decision_id, agent, session, features["reservation"])
            await self._settle(held, usage.micro_usd, "allow")

    async def _settle(self, reservation: Reservation, micro_usd: int, verdict: str) -> None:
        if reservation.tracked or reservation.session or micro_usd:
            with suppress(BucketsUnavailable):
                await self._buckets.settle(reservation, micro_usd, self._clock(), verdict)


def reservation_of(so_far: SoFar) -> Reservation | None:
    reading = so_far.facts.get("rate_limit")
    return None if reading is None else reading.reservation
