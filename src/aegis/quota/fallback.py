"""The bucket store with a net: while it is away, calls are judged from settled counts, and it catches up afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aegis.kernel.clock import MicroSeconds
from aegis.quota.breaker import Breaker
from aegis.quota.buckets import BucketsUnavailable, NotPrimed, Reading, Reservation, Take
from aegis.quota.report import Standing
from aegis.quota.settled import SettledBuckets
from aegis.quota.valkey import ValkeyBuckets

MAX_SETTLEMENTS = 10_000


@dataclass(slots=True)
class _Missed:
    """What the store hasn't heard of a tenant. `epoch`: that of the counts which lack it."""

    epoch: str | None
    requests: dict[tuple[int, int], Counter[str]] = field(default_factory=dict)
    settlements: dict[str, tuple[Reservation, int, MicroSeconds, str]] = field(default_factory=dict)


class FallbackBuckets:
    """Never waits longer for the store than its deadline, and not at all while the breaker is open.

    What happened without the store is told to it before it judges the tenant's next call: requests are added at once,
    settlements follow behind. A store that was rebuilt from the log in between has the requests from there. Where this
    process can't say what is missing, the counts are read from the log again. `clock_s` is steady.
    """

    def __init__(self, store: ValkeyBuckets, settled: SettledBuckets, clock_s: Callable[[], float]) -> None:
        self._store, self._settled, self._clock_s = store, settled, clock_s
        self._breaker = Breaker()
        self._missed: dict[str, _Missed] = {}
        self._without_store: dict[str, MicroSeconds] = {}
        self._late: set[asyncio.Task[None]] = set()

    @property
    def is_degraded(self) -> bool:
        return self._breaker.is_open

    async def take(self, take: Take) -> Reading:
        """Raises BucketsUnavailable when neither store nor log can be read."""
        if self._breaker.allows(self._clock_s()):
            try:
                reading = await self._take_from_store(take)
            except NotPrimed:
                self._breaker.succeeded()
            except BucketsUnavailable:
                self._breaker.failed(self._clock_s())
            else:
                self._breaker.succeeded()
                self._settled.note_back(take.tenant)
                return reading
        reading = await self._settled.take(take)
        if reading.reservation is not None:
            self._note(reading.reservation, take.now_us)
        return reading

    async def settle(self, reservation: Reservation, micro_usd: int, now_us: MicroSeconds, verdict: str) -> bool:
        """Never raises: what the store doesn't hear of is told to it when it is back. False for now in that case,
        unless the call was taken without the store."""
        astray = reservation.decision_id in self._without_store
        counted = await self._settled.settle(reservation, micro_usd, now_us, verdict) if astray else False
        if self._breaker.allows(self._clock_s()):
            try:
                counted |= await self._store.settle(reservation, micro_usd, now_us, verdict, astray=astray)
            except BucketsUnavailable:
                self._breaker.failed(self._clock_s())
            else:
                self._breaker.succeeded()
                self._without_store.pop(reservation.decision_id, None)
                return counted
        self._settle_later(reservation, micro_usd, now_us, verdict)
        return counted

    async def release(self, reservation: Reservation, now_us: MicroSeconds, verdict: str) -> None:
        if reservation.tracked or reservation.session is not None or reservation.decision_id in self._without_store:
            await self.settle(reservation, 0, now_us, verdict)

    async def standing(self, tenant: str, scope: str, now_us: MicroSeconds) -> Standing:
        """Raises BucketsUnavailable when neither store nor log can be read."""
        if not self._breaker.is_open:
            try:
                found = await self._store.standing(tenant, scope, now_us)
                if found is not None:
                    return found
            except BucketsUnavailable:
                self._breaker.failed(self._clock_s())
        return await self._settled.standing(tenant, scope, now_us)

    async def _take_from_store(self, take: Take) -> Reading:
        missed = self._missed.get(take.tenant)
        if missed is not None:
            await self._tell(take.tenant, missed)
        return await self._store.take(take)

    async def _tell(self, tenant: str, missed: _Missed) -> None:
        """Forgets only what the store has heard: a call that comes between finds the rest still noted."""
        if missed.epoch is None:
            await self._store.forget(tenant)
            missed.requests.clear()
        for at in list(missed.requests):
            requests = missed.requests.pop(at)
            try:
                await self._store.catch_up(tenant, missed.epoch or "", *at, requests)
            except BucketsUnavailable:
                missed.requests.setdefault(at, Counter()).update(requests)
                raise
        if self._missed.get(tenant) is missed:
            del self._missed[tenant]
        if missed.settlements:
            task = asyncio.create_task(self._settle_late(missed))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _settle_late(self, missed: _Missed) -> None:
        left = list(missed.settlements.values())
        while left:
            reservation, micro_usd, now_us, verdict = left[-1]
            astray = reservation.decision_id in self._without_store
            try:
                await self._store.settle(reservation, micro_usd, now_us, verdict, astray=astray)
            except BucketsUnavailable:
                for entry in left:
                    self._settle_later(*entry)
                return
            self._without_store.pop(reservation.decision_id, None)
            left.pop()

    def _settle_later(self, reservation: Reservation, micro_usd: int, now_us: MicroSeconds, verdict: str) -> None:
        missed = self._of(reservation.tenant)
        if len(missed.settlements) < MAX_SETTLEMENTS:
            missed.settlements.setdefault(reservation.decision_id, (reservation, micro_usd, now_us, verdict))
        else:
            missed.epoch = None

    def _of(self, tenant: str) -> _Missed:
        found = self._missed.get(tenant)
        if found is None:
            found = self._missed[tenant] = _Missed(self._store.epoch(tenant))
        return found

    def _note(self, made: Reservation, now_us: MicroSeconds) -> None:
        requests = self._of(made.tenant).requests.setdefault((made.day, made.month), Counter())
        requests.update(made.scopes)
        self._without_store[made.decision_id] = made.due_us
        if len(self._without_store) > MAX_SETTLEMENTS:
            self._without_store = {k: due for k, due in self._without_store.items() if due > now_us}
