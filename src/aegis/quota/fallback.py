"""The bucket store with a net: while it is away, calls are judged from settled counts, and it catches up afterwards."""

from __future__ import annotations

from collections.abc import Callable

from aegis.kernel.clock import MicroSeconds
from aegis.quota.breaker import Breaker
from aegis.quota.buckets import BucketsUnavailable, Reading, Reservation, Take
from aegis.quota.settled import SettledBuckets
from aegis.quota.valkey import ValkeyBuckets


class FallbackBuckets:
    """Never waits longer for the store than its deadline, and not at all while the breaker is open.

    A tenant that was judged without the store, or whose settlement did not reach it, is astray: its counts are read
    from the log again before the store judges its next call. `clock_s` is steady.
    """

    def __init__(self, store: ValkeyBuckets, settled: SettledBuckets, clock_s: Callable[[], float]) -> None:
        self._store, self._settled, self._clock_s = store, settled, clock_s
        self._breaker = Breaker()
        self._astray: set[str] = set()
        self._without_store: dict[str, MicroSeconds] = {}

    @property
    def is_degraded(self) -> bool:
        return self._breaker.is_open

    async def take(self, take: Take) -> Reading:
        """Raises BucketsUnavailable when neither store nor log can be read."""
        if self._breaker.allows(self._clock_s()):
            try:
                reading = await self._take_from_store(take)
            except BucketsUnavailable:
                self._breaker.failed(self._clock_s())
            else:
                self._breaker.succeeded()
                return reading
        self._astray.add(take.tenant)
        reading = await self._settled.take(take)
        if reading.reservation is not None:
            self._note(reading.reservation, take.now_us)
        return reading

    async def settle(self, reservation: Reservation, micro_usd: int, now_us: MicroSeconds, verdict: str) -> bool:
        """Never raises: what the store doesn't hear of, it reads from the log when it is back."""
        astray = self._without_store.pop(reservation.decision_id, None) is not None
        counted = await self._settled.settle(reservation, micro_usd, now_us, verdict) if astray else False
        if self._breaker.allows(self._clock_s()):
            try:
                counted |= await self._store.settle(reservation, micro_usd, now_us, verdict, astray=astray)
            except BucketsUnavailable:
                self._breaker.failed(self._clock_s())
            else:
                self._breaker.succeeded()
                return counted
        self._astray.add(reservation.tenant)
        return counted

    async def release(self, reservation: Reservation, now_us: MicroSeconds, verdict: str) -> None:
        if reservation.tracked or reservation.session is not None or reservation.decision_id in self._without_store:
            await self.settle(reservation, 0, now_us, verdict)

    async def _take_from_store(self, take: Take) -> Reading:
        if take.tenant in self._astray:
            await self._store.forget(take.tenant)
            self._astray.discard(take.tenant)
        return await self._store.take(take)

    def _note(self, reservation: Reservation, now_us: MicroSeconds) -> None:
        self._without_store[reservation.decision_id] = reservation.due_us
        if len(self._without_store) > 10_000:
            self._without_store = {k: due for k, due in self._without_store.items() if due > now_us}
