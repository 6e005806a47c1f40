"""Buckets in Valkey or Redis (6.2 and later, cluster too): one script a call, every key under the tenant's hash tag."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from aegis.kernel.clock import MicroSeconds
from aegis.kernel.ids import new_id
from aegis.kernel.money import MAX_MICRO_USD
from aegis.quota.buckets import (
    LIMIT_OF,
    BucketsUnavailable,
    History,
    Limited,
    NotPrimed,
    Plan,
    Reading,
    Recent,
    Reservation,
    ScopeLimits,
    Take,
    Warned,
    reserved,
)
from aegis.quota.periods import Period, period
from aegis.quota.rebuild import Counts, Used, pieces
from aegis.quota.report import Standing
from aegis.quota.trips import Trips

log = logging.getLogger("aegis.quota")
DEADLINE_S = 0.15
WARM_S = 1.0
PRIME_S = 1.5
"""How long a call waits for its tenant's counts to come back from the log before it counts as not answered."""
ROWS_ARRIVE_S = 0.3
"""From a take to its durable row, with room: a store that lost its counts gets them with those rows in them."""

TENANTS_REMEMBERED = 10_000
SHAPES_REMEMBERED = 4_096
OWN_KEYS = 5
"""Keys of a take that don't depend on its scopes and stand before those that do."""

ReadCounts = Callable[[str, MicroSeconds], Awaitable[Counts]]


def connect(url: str) -> Redis:
    """A client for `ValkeyBuckets`: one connection, on which takes queue; no command is sent twice.

    A queue on one connection costs a third less than a pool (2026-11, redis-py 8.1: 65 against 95 us of CPU a trip).
    """
    client: Redis = Redis.from_url(
        url, single_connection_client=True, retry=Retry(NoBackoff(), 0), socket_connect_timeout=DEADLINE_S
    )
    return client


def _script(name: str) -> str:
    return files("aegis.quota").joinpath(name).read_text("utf-8")


class ValkeyBuckets:
    """`read_counts` gives a tenant's counts from the log: asked when the store has none, once however many wait.

    `when_emptied` puts back what else the store kept of a tenant (the baselines' copies) before its counts stand.
    """

    def __init__(
        self,
        client: Redis,
        read_counts: ReadCounts,
        *,
        when_emptied: Callable[[str], Awaitable[None]] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._client, self._read_counts, self._deadline_s = client, read_counts, deadline_s
        self._when_emptied = when_emptied
        self._take = client.register_script(_script("take.lua"))
        self._takes = Trips(client, self._take, deadline_s)
        self._settle = client.register_script(_script("settle.lua"))
        self._prime = client.register_script(_script("prime.lua"))
        self._catch_up = client.register_script(_script("catch_up.lua"))
        self._priming: dict[str, asyncio.Task[None]] = {}
        self._shapes: dict[int, _Shape] = {}
        self._epochs: OrderedDict[str, str] = OrderedDict()

    async def warm(self) -> None:
        """Connects and loads the scripts, so that no call pays for it; a store that is away is met by the calls."""
        try:
            async with asyncio.timeout(WARM_S):
                for script in (self._take, self._settle, self._prime, self._catch_up):
                    await self._client.script_load(script.script)
        except (RedisError, OSError, TimeoutError):
            log.info("the bucket store isn't there yet", exc_info=True)

    async def take(self, take: Take) -> Reading:
        when = period(take.now_us)
        shape = self._shape(take.tenant, take.scopes, when)
        keys = shape.keys
        p = prefix(take.tenant)
        all_keys = [
            *keys[:6],
            f"{p}a:{take.agent}".encode(),
            baseline_key(take.tenant, take.agent).encode(),
            f"{p}s:{take.session or ''}".encode(),
            spent_key(take.tenant, take.jti or "").encode(),
            f"{p}a:{take.peer or take.agent}".encode(),
            *keys[6:],
        ]
        ask = orjson.dumps(
            {
                "now": take.now_us,
                "id": take.decision_id,
                "day": when.day,
                "month": when.month,
                "day_ends": when.day_ends_us,
                "month_ends": when.month_ends_us,
                "due": take.due_us,
                "est": min(take.estimate_micro_usd, MAX_MICRO_USD),
                "jti": take.jti_ttl_s * 1000 if take.jti is not None else 0,
                "probe": take.probe,
                "tracked": shape.plan.tracked or take.estimate_micro_usd > 0,
                "capped": shape.plan.capped,
                "tool": take.tool,
                "res": f"{take.resource & 0xFFFFFFFF:08x}" if take.resource else "",
                "dig": take.digest,
                "me": take.agent,
                "peer": take.peer or "",
                "in_session": take.session is not None,
                "scopes": shape.scopes,
            }
        )
        for _ in range(2):
            answer = await self._within(self._takes.run(all_keys, ask))
            if answer == b'{"unprimed":true}':
                await self._primed(take.tenant, take.now_us)
                continue
            reading, epoch = _reading(take, when, shape.plan, answer)
            self._know(take.tenant, epoch)
            return reading
        raise NotPrimed("the store lost its counts twice within one call")

    async def settle(
        self, reservation: Reservation, micro_usd: int, now_us: MicroSeconds, verdict: str, *, astray: bool = False
    ) -> bool:
        """`astray`: the store may not know of the take, so a cost counts without its record too."""
        r, p = reservation, prefix(reservation.tenant)
        keys = [
            f"{p}open",
            f"{p}due",
            f"{p}held",
            f"{p}d:{r.day}",
            f"{p}m:{r.month}",
            f"{p}a:{r.agent}",
            f"{p}s:{r.session or ''}",
            f"{p}done:{r.decision_id}",
            *(f"{p}c:{scope}" for scope in r.in_flight),
        ]
        ask = orjson.dumps(
            {
                "now": now_us,
                "id": r.decision_id,
                "micro": min(micro_usd, MAX_MICRO_USD),
                "verdict": verdict,
                "tracked": r.tracked,
                "astray": astray,
                "in_session": r.session is not None,
                "scopes": r.scopes,
            }
        )
        return bool(await self._run(self._settle, keys, ask) == 1)

    async def release(self, reservation: Reservation, now_us: MicroSeconds, verdict: str) -> None:
        if reservation.tracked or reservation.session is not None:
            await self.settle(reservation, 0, now_us, verdict)

    async def standing(self, tenant: str, scope: str, now_us: MicroSeconds) -> Standing | None:
        """What the scope has used and holds; None when the store has to be primed first (any take does)."""
        when, p = period(now_us), prefix(tenant)
        fields = [f"{scope}|r", f"{scope}|u"]
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.exists(f"{p}primed")
            pipe.hmget(f"{p}d:{when.day}", fields)
            pipe.hmget(f"{p}m:{when.month}", fields)
            pipe.hmget(f"{p}held", [f"d{when.day}:{scope}", f"m{when.month}:{scope}"])
            pipe.zcount(f"{p}c:{scope}", now_us, "+inf")
            primed, day, month, held, in_flight = await self._within(pipe.execute())
        if not primed:
            return None
        numbers = [int(n or 0) for n in (*day, *month, *held)]
        return Standing(Used(*numbers[:4]), numbers[4], numbers[5], in_flight)

    def epoch(self, tenant: str) -> str | None:
        """Of the tenant's counts when this process saw them last; another one means that they were rebuilt."""
        return self._epochs.get(tenant)

    async def catch_up(self, tenant: str, epoch: str, day: int, month: int, requests: Mapping[str, int]) -> bool:
        """Adds requests that were let through without the store, unless it was rebuilt from the log after `epoch`.
        Raises BucketsUnavailable."""
        p = prefix(tenant)
        keys = [f"{p}primed", f"{p}d:{day}", f"{p}m:{month}"]
        return bool(
            await self._within(self._catch_up(keys=keys, args=(epoch, orjson.dumps(list(requests.items()))))) == 1
        )

    async def forget(self, tenant: str) -> None:
        """The tenant's counts are read from the log again at its next take; the larger ones stay."""
        await self._within(self._client.delete(f"{prefix(tenant)}primed"))

    def _shape(self, tenant: str, limits: tuple[ScopeLimits, ...], when: Period) -> _Shape:
        """By identity, for resolved limits are the same object from call to call; equal ones are made again."""
        shape = self._shapes.get(id(limits))
        if shape is None or shape.limits is not limits or shape.day != when.day or shape.tenant != tenant:
            if len(self._shapes) >= SHAPES_REMEMBERED:
                self._shapes.clear()
            shape = self._shapes[id(limits)] = _Shape(tenant, limits, when)
        return shape

    def _know(self, tenant: str, epoch: str) -> None:
        if epoch and self._epochs.get(tenant) != epoch:
            self._epochs[tenant] = epoch
            while len(self._epochs) > TENANTS_REMEMBERED:
                self._epochs.popitem(last=False)

    async def _run(self, script: Any, keys: Sequence[str | bytes], ask: bytes) -> Any:
        return await self._within(script(keys=keys, args=(ask,)))

    async def _within(self, work: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await work
        except (RedisError, OSError, TimeoutError) as error:
            raise BucketsUnavailable(f"the bucket store didn't answer: {type(error).__name__}") from error

    async def _primed(self, tenant: str, now_us: MicroSeconds) -> None:
        task = self._priming.get(tenant)
        if task is None:
            task = self._priming[tenant] = asyncio.create_task(self._load(tenant, now_us))
            task.add_done_callback(lambda done: self._forget_task(tenant, done))
        try:
            async with asyncio.timeout(PRIME_S):
                await asyncio.shield(task)
        except TimeoutError as error:
            raise NotPrimed("the counts are still being read from the log") from error

    def _forget_task(self, tenant: str, task: asyncio.Task[None]) -> None:
        self._priming.pop(tenant, None)
        if not task.cancelled():
            task.exception()  # every waiter has it; without any it is nobody's error

    async def _load(self, tenant: str, now_us: MicroSeconds) -> None:
        try:
            counts = await self._read_counts(tenant, now_us)
            if counts.month:  # calls that the old store let through may not have their rows yet
                await asyncio.sleep(ROWS_ARRIVE_S)
                counts = await self._read_counts(tenant, now_us)
            if self._when_emptied is not None:
                await self._when_emptied(tenant)
        except Exception as error:
            raise NotPrimed(f"the counts couldn't be read from the log: {type(error).__name__}") from error
        when, p, epoch = period(now_us), prefix(tenant), new_id("epoch")
        keys = [f"{p}primed", f"{p}d:{when.day}", f"{p}m:{when.month}", f"{p}held", f"{p}open", f"{p}due"]
        for piece in pieces(counts):
            await self._within(self._prime(keys=keys, args=(epoch, orjson.dumps(piece))))


def baseline_key(tenant: str, agent: str) -> str:
    """Where a baseline's copy lies: beside the tenant's buckets, so that one script reads both."""
    return f"{prefix(tenant)}base:{agent}"


def prefix(tenant: str) -> str:
    """The braces are the hash tag: all keys of a tenant live in one slot of a cluster."""
    return f"aegis:{{{tenant}}}:"


def spent_key(tenant: str, credential: str) -> str:
    """Stands while a single-use credential that was used could be sent again."""
    return f"{prefix(tenant)}jti:{credential}"


class _Shape:
    """The part of a take's keys and ask that depends on its scopes and its day alone."""

    __slots__ = ("day", "keys", "limits", "plan", "scopes", "tenant")

    def __init__(self, tenant: str, limits: tuple[ScopeLimits, ...], when: Period) -> None:
        p = prefix(tenant)
        keys = [f"{p}primed", f"{p}d:{when.day}", f"{p}m:{when.month}", f"{p}held", f"{p}open", f"{p}due"]
        self.tenant, self.limits, self.day, self.plan = tenant, limits, when.day, Plan.of(limits)
        self.scopes = orjson.Fragment(orjson.dumps([self._row(scope, keys, p) for scope in limits]))
        self.keys = tuple(key.encode() for key in keys)

    @staticmethod
    def _row(scope: ScopeLimits, keys: list[str], p: str) -> tuple[str | int, ...]:
        meter = in_flight = 0
        if scope.rate is not None:
            keys.append(f"{p}g:{scope.scope}")
            meter = len(keys) + OWN_KEYS
        if scope.concurrency is not None:
            keys.append(f"{p}c:{scope.scope}")
            in_flight = len(keys) + OWN_KEYS
        return (
            scope.scope,
            meter,
            scope.rate.interval_ns if scope.rate is not None else 0,
            scope.rate.tolerance_ns if scope.rate is not None else 0,
            in_flight,
            _or_none(scope.concurrency),
            _or_none(scope.daily_requests),
            _or_none(scope.monthly_requests),
            _or_none(scope.daily_micro_usd),
            _or_none(scope.monthly_micro_usd),
            _or_none(scope.total_requests),
            _or_none(scope.total_micro_usd),
            -1 if scope.total_seconds is None else scope.total_seconds * 1_000_000,
            int(scope.is_counted),
            int(scope.scope.startswith("session:")),
        )


def _or_none(cap: int | None) -> int:
    return -1 if cap is None else cap


def _reading(take: Take, when: Period, plan: Plan, answer: Any) -> tuple[Reading, str]:
    if answer == b'{"replayed":true}':
        return Reading(replayed=True), ""
    limits, warnings, windows, runs, previous, resources, history, epoch = orjson.loads(answer[0])
    limited = tuple(_limited(take.scopes[i], code, wait_us) for i, code, wait_us in limits)
    reservation = None
    if not limited and not take.probe:
        reservation = reserved(take, when, plan)
    reading = Reading(
        limited=limited,
        warnings=tuple(Warned(take.scopes[w[0] - 1].scope, w[2], w[3]) for w in warnings) if reservation else (),
        reservation=reservation,
        recent=_recent([int(n) for n in windows], runs, previous, resources),
        baseline=answer[1],
        history=_history(history) if history else None,
    )
    return reading, epoch


def _recent(w: list[int], runs: list[int], previous: list[str], resources: str) -> Recent:
    return Recent(
        calls_1s=w[0],
        calls_10s=w[3],
        calls_60s=w[6],
        calls_600s=w[9],
        attempts_60s=w[7],
        micro_usd_60s=w[8],
        micro_usd_600s=w[11],
        run=runs[0],
        identical=runs[1],
        back_and_forth=runs[2],
        previous=tuple(tool for tool in previous if tool),
        resources=tuple(dict.fromkeys(resources.split())),
    )


def _limited(scope: ScopeLimits, code: str, wait_us: float) -> Limited:
    return Limited(scope.scope, code, getattr(scope, LIMIT_OF[code]), wait_us / 1_000_000)


def _history(said: list[Any]) -> History:
    steps, money, age, other, tools, last = said
    return History(
        steps=steps,
        tools=tools or {},
        other=other,
        last=tuple(zip(last[0::3], last[1::3], strict=True)) if last else (),
        micro_usd=int(money),
        age_us=int(age),
    )
