"""Limits without the bucket store: from settled counts in PostgreSQL, and this process's share of what they leave.

With P processes, a process may take, for as long as the store is away, a P-th of what the cap had left when this
process first read the counts, and never more than still fits the newest ones: `settled + P x own <= cap`, where `own`
is what it took and can't be sure to see in them yet. A share is not handed out anew when others left theirs unused,
for they may have taken it since the counts were read: so no cap is passed, however the processes' readings fall.
Requests a second and bursts are divided by P, calls at once too. Calls are refused that would just have fitted: the
stricter side. Session totals are judged by what this process saw. Single-use tokens can't be checked.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

import asyncpg

from aegis.kernel.clock import MicroSeconds
from aegis.quota.buckets import (
    LIMIT_OF,
    BucketsUnavailable,
    Limited,
    Plan,
    Reading,
    Reservation,
    ScopeLimits,
    Take,
    reserved,
)
from aegis.quota.gcra import Meter, Rate, ask
from aegis.quota.periods import Period, period
from aegis.quota.rebuild import NOTHING, Totals
from aegis.quota.report import Standing

FRESH_US = 1_000_000
TENANTS_REMEMBERED = 10_000
METERS_REMEMBERED = 10_000
QUIET_US = 30_000_000
"""After so long without a take from here, the store was back: the next time away has a share of its own."""


class ReadTotals(Protocol):
    def __call__(self, tenant: str, now_us: MicroSeconds, known: Totals | None = None) -> Awaitable[Totals]: ...


@dataclass(slots=True)
class _Own:
    """What this process took of a scope since some reading of the counts."""

    requests: int = 0
    micro_usd: int = 0


@dataclass(slots=True)
class _Tenant:
    """`now` and `before`: takes since the last reading and since the one before that; the latter may or may not be in
    the settled counts, and is taken as not."""

    totals: Totals | None = None
    read_at_us: MicroSeconds = 0
    first: Totals | None = None
    """The counts when the store went away, and `since`: all that this process took since then."""
    since: dict[str, _Own] = field(default_factory=dict)
    taken_at_us: MicroSeconds = 0
    is_back: bool = False
    """The store judged a call since the counts were read: they lack it, and what others took there."""
    now: dict[str, _Own] = field(default_factory=dict)
    before: dict[str, _Own] = field(default_factory=dict)
    open: dict[str, Reservation] = field(default_factory=dict)
    due: list[tuple[MicroSeconds, str]] = field(default_factory=list)
    reserved: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)

    def own(self, scope: str) -> _Own:
        found = (self.now.get(scope), self.before.get(scope))
        return _Own(sum(x.requests for x in found if x), sum(x.micro_usd for x in found if x))

    def add(self, scope: str, requests: int, micro_usd: int) -> None:
        for kept in (self.now, self.since):
            mine = kept.setdefault(scope, _Own())
            mine.requests += requests
            mine.micro_usd += micro_usd

    def begin(self, now_us: MicroSeconds) -> None:
        """A new time away, or a new day in it: the share is of what these counts leave.

        Where the store was back for a moment only, what was taken before stays taken: other processes may still
        hold their share of then.
        """
        assert self.totals is not None
        is_other = self.first is None or (self.first.day, self.first.month) != (self.totals.day, self.totals.month)
        if is_other or now_us - self.taken_at_us > QUIET_US:
            self.first, self.since = self.totals, {}
        elif self.is_back:
            self.first = self.totals
        self.is_back = False
        self.taken_at_us = max(self.taken_at_us, now_us)

    def hold(self, made: Reservation) -> None:
        self.open[made.decision_id] = made
        heappush(self.due, (made.due_us, made.decision_id))
        self.reserved.update(dict.fromkeys(made.scopes, made.micro_usd))
        self.in_flight.update(made.in_flight)

    def drop(self, decision_id: str) -> bool:
        made = self.open.pop(decision_id, None)
        if made is None:
            return False
        self.reserved.subtract(dict.fromkeys(made.scopes, made.micro_usd))
        self.in_flight.subtract(made.in_flight)
        return True

    def lapse(self, now_us: MicroSeconds) -> None:
        while self.due and self.due[0][0] <= now_us:
            self.drop(heappop(self.due)[1])


class SettledBuckets:
    """`processes`: how many share the limits, this one included."""

    def __init__(self, read_totals: ReadTotals, processes: Callable[[], int]) -> None:
        self._read_totals, self._processes = read_totals, processes
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._meters: OrderedDict[tuple[str, str], Meter] = OrderedDict()

    async def take(self, take: Take) -> Reading:
        """Atomic within the process. Raises BucketsUnavailable when the settled counts can't be read either."""
        tenant = await self._tenant(take.tenant, take.now_us)
        when, share = period(take.now_us), max(1, self._processes())
        tenant.lapse(take.now_us)
        tenant.begin(take.now_us)
        limited: list[Limited] = []
        meters: list[tuple[tuple[str, str], Meter]] = []
        for scope in take.scopes:
            limited += self._caps(tenant, scope, take, when, share)
            if scope.rate is not None:
                meter, wait_us = ask(
                    _part(scope.rate, share), self._meters.get((take.tenant, scope.scope)), take.now_us
                )
                if wait_us:
                    limited.append(_limited(scope, "quota.rps", wait_us))
                meters.append(((take.tenant, scope.scope), meter))
        checked = take.jti is None
        if limited:
            return Reading(limited=tuple(limited), degraded=True, token_checked=checked)
        for key, meter in meters:
            self._remember(key, meter)
        if take.probe:
            return Reading(degraded=True, token_checked=checked)
        made = reserved(take, when, Plan.of(take.scopes))
        for name in made.scopes:
            tenant.add(name, 1, 0)
        tenant.hold(made)
        return Reading(reservation=made, degraded=True, token_checked=checked)

    def note_back(self, tenant: str) -> None:
        """The store judged a call of the tenant: counts that were read before are not judged by again."""
        known = self._tenants.get(tenant)
        if known is not None:
            known.is_back = True

    async def settle(self, reservation: Reservation, micro_usd: int, now_us: MicroSeconds, verdict: str) -> bool:
        tenant = self._tenants.get(reservation.tenant)
        if tenant is None or not tenant.drop(reservation.decision_id):
            return False
        for scope in reservation.scopes:
            tenant.add(scope, 0, micro_usd)
        return True

    async def release(self, reservation: Reservation, now_us: MicroSeconds, verdict: str) -> None:
        await self.settle(reservation, 0, now_us, verdict)

    async def standing(self, name: str, scope: str, now_us: MicroSeconds) -> Standing:
        """From the settled counts; reserved is what this process holds. Raises BucketsUnavailable."""
        tenant = await self._tenant(name, now_us)
        assert tenant.totals is not None
        held = tenant.reserved[scope]
        return Standing(tenant.totals.scopes.get(scope, NOTHING), held, held, tenant.in_flight[scope])

    async def _tenant(self, name: str, now_us: MicroSeconds) -> _Tenant:
        tenant = self._tenants.setdefault(name, _Tenant())
        self._tenants.move_to_end(name)
        while len(self._tenants) > TENANTS_REMEMBERED:
            self._tenants.popitem(last=False)
        when, read = period(now_us), tenant.totals
        same = read is not None and (read.day, read.month) == (when.day, when.month)
        if same and not tenant.is_back and 0 <= now_us - tenant.read_at_us < FRESH_US:
            return tenant
        try:
            totals = await self._read_totals(name, now_us, read)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise BucketsUnavailable(f"neither store answers: {type(error).__name__}") from error
        if tenant.totals is read:  # else another call read them meanwhile
            tenant.totals, tenant.read_at_us = totals, now_us
            tenant.before, tenant.now = (tenant.now if same else {}), {}
        return tenant

    @staticmethod
    def _caps(tenant: _Tenant, scope: ScopeLimits, take: Take, when: Period, share: int) -> list[Limited]:
        assert tenant.totals is not None and tenant.first is not None
        used, own = tenant.totals.scopes.get(scope.scope, NOTHING), tenant.own(scope.scope)
        first, since = tenant.first.scopes.get(scope.scope, NOTHING), tenant.since.get(scope.scope, _Own())
        held, running = tenant.reserved[scope.scope], tenant.in_flight[scope.scope]
        is_session = scope.scope.startswith("session:")
        found: list[Limited] = []
        day_us, month_us = when.day_ends_us - take.now_us, when.month_ends_us - take.now_us

        def judge(code: str, cap: int | None, asked: int, wait_us: int, *counts: tuple[int, int]) -> None:
            """`counts`: what was settled at some reading, and what this process took and can't see in it."""
            if cap is None:
                return
            if any(settled >= cap or settled + share * (mine + asked) > cap for settled, mine in counts):
                found.append(_limited(scope, code, wait_us))

        newest, all_of_it = own.requests, since.requests
        judge("quota.daily", scope.daily_requests, 1, day_us,
              (used.day_requests, newest), (first.day_requests, all_of_it))  # fmt: skip
        judge("quota.monthly", scope.monthly_requests, 1, month_us,
              (used.month_requests, newest), (first.month_requests, all_of_it))  # fmt: skip
        if scope.limits_money:
            asked, newest, all_of_it = take.estimate_micro_usd, own.micro_usd + held, since.micro_usd + held
            judge("quota.daily_usd", scope.daily_micro_usd, asked, day_us,
                  (used.day_micro_usd, newest), (first.day_micro_usd, all_of_it))  # fmt: skip
            judge("quota.monthly_usd", scope.monthly_micro_usd, asked, month_us,
                  (used.month_micro_usd, newest), (first.month_micro_usd, all_of_it))  # fmt: skip
            if is_session:
                judge("quota.total_usd", scope.total_micro_usd, asked, month_us, (0, newest), (0, all_of_it))
        judge("quota.concurrency", scope.concurrency, 1, FRESH_US, (0, running))
        if is_session:
            judge("quota.total", scope.total_requests, 1, month_us, (0, own.requests), (0, since.requests))
        return found

    def _remember(self, key: tuple[str, str], meter: Meter) -> None:
        self._meters[key] = meter
        self._meters.move_to_end(key)
        while len(self._meters) > METERS_REMEMBERED:
            self._meters.popitem(last=False)


def _part(rate: Rate, share: int) -> Rate:
    """A burst divided by `share` at an interval times `share` is the same tolerance; one call at least."""
    interval = rate.interval_ns * share
    return Rate(interval, max(interval, rate.tolerance_ns)) if rate.tolerance_ns else rate


def _limited(scope: ScopeLimits, code: str, wait_us: int) -> Limited:
    return Limited(scope.scope, code, getattr(scope, LIMIT_OF[code]), wait_us / 1_000_000)
