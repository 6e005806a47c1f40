"""The port to the buckets: one take a call, one settlement or release after it.

What counts: requests a second count every call that had room, whatever later stages say to it; a refused call adds
nothing, so a caller that keeps asking is slowed and not starved. Daily and monthly requests count the calls that
were not limited. Money is reserved as the estimate and becomes what the call really cost, charged to the day and month
of the take, where the room for it was found. Probes (dry runs, scans) are judged by every limit and add to the
requests a second only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aegis.kernel.clock import MicroSeconds
from aegis.quota.gcra import Rate
from aegis.quota.periods import Period


@dataclass(frozen=True, slots=True)
class ScopeLimits:
    """What one scope may take. None: no limit of that kind; its requests and money are counted all the same.

    The totals are of one session and count only in a scope `session:{id}`.
    """

    scope: str
    rate: Rate | None = None
    rps: float | None = None
    concurrency: int | None = None
    daily_requests: int | None = None
    monthly_requests: int | None = None
    daily_micro_usd: int | None = None
    monthly_micro_usd: int | None = None
    total_requests: int | None = None
    total_micro_usd: int | None = None
    total_seconds: int | None = None

    @property
    def limits_money(self) -> bool:
        caps = (self.daily_micro_usd, self.monthly_micro_usd, self.total_micro_usd)
        return any(cap is not None for cap in caps)

    @property
    def is_capped(self) -> bool:
        return self.limits_money or self.daily_requests is not None or self.monthly_requests is not None

    @property
    def is_counted(self) -> bool:
        """A session's requests and money stand in its own state unless it has caps per day or month."""
        return self.is_capped or not self.scope.startswith("session:")


LIMIT_OF = {
    "quota.rps": "rps",
    "quota.concurrency": "concurrency",
    "quota.daily": "daily_requests",
    "quota.monthly": "monthly_requests",
    "quota.daily_usd": "daily_micro_usd",
    "quota.monthly_usd": "monthly_micro_usd",
    "quota.total": "total_requests",
    "quota.total_usd": "total_micro_usd",
    "quota.total_seconds": "total_seconds",
}
"""The member of `ScopeLimits` that a code is about."""


@dataclass(frozen=True, slots=True)
class Take:
    """What is asked. `digest` (below 2^48) and `resource` (below 2^32) are hashes that tell calls apart; 0: none.

    `due_us`: when the reservation lapses if nobody settles it: the outcome's due time and a grace.
    """

    tenant: str
    agent: str
    tool: str
    now_us: MicroSeconds
    decision_id: str
    scopes: tuple[ScopeLimits, ...]
    due_us: MicroSeconds
    session: str | None = None
    estimate_micro_usd: int = 0
    jti: str | None = None
    jti_ttl_s: int = 0
    digest: int = 0
    resource: int = 0
    peer: str | None = None
    """The agent that this call hands something over to."""
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Limited:
    """A scope without room. `limit` is requests, calls, seconds or micro-dollars, as the code says."""

    scope: str
    code: str
    limit: float
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Warned:
    """A cap of a scope that came to 80 % for the first time in its period (or since the cap was changed)."""

    scope: str
    cap: str
    percent: int


@dataclass(frozen=True, slots=True)
class Recent:
    """What an agent did lately, this call included when it was taken. Windows slide: they are weighed, not exact."""

    calls_1s: int
    calls_10s: int
    calls_60s: int
    calls_600s: int
    attempts_60s: int
    micro_usd_60s: int
    micro_usd_600s: int
    run: int
    """Calls of this tool in a row, none more than a minute after the one before."""
    identical: int
    """Calls of exactly this action in a row, likewise."""
    back_and_forth: int
    """Hand-overs between this agent and the call's peer, in turn and to nobody else."""
    previous: tuple[str, ...]
    """The tools before this call, newest first, at most three."""
    resources: tuple[str, ...]
    """Distinct resources of the last one to two minutes as 8 hex digits, oldest first, at most 48 a minute."""


@dataclass(frozen=True, slots=True)
class History:
    """A session before this call: what a policy over history may see. Only calls that were not limited stand in it."""

    steps: int
    tools: Mapping[str, int]
    """At most 32 tools; `other` counts the calls of further ones."""
    other: int
    last: tuple[tuple[str, str], ...]
    """The last 16 calls, oldest first: tool and verdict, empty while the call is open."""
    micro_usd: int
    age_us: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a take holds until it is settled or released. `fields()` survives a crash in the decision row."""

    tenant: str
    decision_id: str
    agent: str
    session: str | None
    day: int
    month: int
    scopes: tuple[str, ...]
    in_flight: tuple[str, ...]
    """Scopes with a limit on calls at once."""
    micro_usd: int
    due_us: MicroSeconds
    tracked: bool
    """Whether the store keeps a record of it; without one only a settlement with a cost has anything to say."""

    def fields(self) -> dict[str, Any]:
        return {
            "day": self.day,
            "month": self.month,
            "scopes": list(self.scopes),
            "in_flight": list(self.in_flight),
            "micro_usd": self.micro_usd,
            "due_us": self.due_us,
            "tracked": self.tracked,
        }

    @classmethod
    def of(
        cls, tenant: str, decision_id: str, agent: str, session: str | None, fields: Mapping[str, Any]
    ) -> Reservation:
        """Raises KeyError, TypeError or ValueError for what `fields()` did not make."""
        return cls(
            tenant=tenant,
            decision_id=decision_id,
            agent=agent,
            session=session,
            day=int(fields["day"]),
            month=int(fields["month"]),
            scopes=tuple(map(str, fields["scopes"])),
            in_flight=tuple(map(str, fields["in_flight"])),
            micro_usd=int(fields["micro_usd"]),
            due_us=int(fields["due_us"]),
            tracked=bool(fields["tracked"]),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from the scopes of a take alone."""

    counted: tuple[str, ...]
    in_flight: tuple[str, ...]
    tracked: bool
    capped: bool

    @classmethod
    def of(cls, scopes: tuple[ScopeLimits, ...]) -> Plan:
        return cls(
            counted=tuple(scope.scope for scope in scopes if scope.is_counted),
            in_flight=tuple(scope.scope for scope in scopes if scope.concurrency is not None),
            tracked=any(scope.limits_money or scope.concurrency is not None for scope in scopes),
            capped=any(scope.is_capped for scope in scopes),
        )


def reserved(take: Take, when: Period, plan: Plan) -> Reservation:
    return Reservation(
        tenant=take.tenant,
        decision_id=take.decision_id,
        agent=take.agent,
        session=take.session,
        day=when.day,
        month=when.month,
        scopes=plan.counted,
        in_flight=plan.in_flight,
        micro_usd=take.estimate_micro_usd,
        due_us=take.due_us,
        tracked=plan.tracked or take.estimate_micro_usd > 0,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """What came back. Taken, unless `replayed`, `limited` or a probe: then there is no reservation.

    `recent` is None when the store was away; then `token_checked` is False for a single-use token, which must
    not be accepted.
    """

    replayed: bool = False
    token_checked: bool = True
    limited: tuple[Limited, ...] = ()
    warnings: tuple[Warned, ...] = ()
    reservation: Reservation | None = None
    recent: Recent | None = None
    baseline: bytes | None = None
    history: History | None = None
    degraded: bool = False

    def features(self) -> dict[str, Any]:
        """What stage 2 judged by, for the row; `reservation` in it is what a rebuild reads."""
        made: dict[str, Any] = {"degraded": self.degraded}
        if self.limited:
            made["limited"] = [[x.scope, x.code, x.limit, x.retry_after_s] for x in self.limited]
        if self.warnings:
            made["warnings"] = [[x.scope, x.cap, x.percent] for x in self.warnings]
        if self.reservation is not None:
            made["reservation"] = self.reservation.fields()
        return made


class BucketsUnavailable(Exception):
    """The store did not answer in time; whether something was taken is not known, and lapses by itself."""


class NotPrimed(BucketsUnavailable):
    """The store answers, but has no counts of this tenant yet. Nothing was taken."""


class Buckets(Protocol):
    async def take(self, take: Take) -> Reading:
        """Atomic over all scopes: all have room and all is taken, or nothing is. Raises BucketsUnavailable."""
        ...

    async def settle(self, reservation: Reservation, micro_usd: int, now_us: MicroSeconds, verdict: str) -> bool:
        """`micro_usd` replaces the estimate, once per decision however often it is called: True for the time that
        counted. A reservation that has lapsed still settles for two days. Raises BucketsUnavailable."""
        ...

    async def release(self, reservation: Reservation, now_us: MicroSeconds, verdict: str) -> None:
        """The call doesn't run: its money and its place among the calls at once are free again.
        Raises BucketsUnavailable."""
        ...
