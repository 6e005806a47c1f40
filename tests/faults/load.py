"""Mixed load that insists: every call is repeated with its idempotency key until it has an answer that counts."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from tests.faults.house import Agent, Answer, Log, Target, Tenant

CALLERS = 6
CAP = 40
TRY_FOR_S = 60.0
FAILED = {"quota.unavailable", "policy.unavailable", "policy.timeout", "analysis.unavailable", "analysis.timeout"}
"""A stage that met a store or child which was away: it denies, with its code."""
AGAIN = {"audit.unavailable", "idempotency.in_flight", "tenant.unavailable", "store.unavailable"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One call and the answer that counts."""

    n: int
    endpoint: str
    agent: Agent
    answer: Answer


@dataclass(eq=False, slots=True)
class Load:
    """Callers of one tenant. `capped` are agents with at most `CAP` requests a day, a new one each round."""

    tenant: Tenant
    target: Target
    answered: list[Asked] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    capped: list[Agent] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    broken: int = 0
    """Tries that met a cut connection or a 503."""
    free: Agent | None = None

    async def prepare(self) -> None:
        await self.tenant.tool("pay", "write", self.target)
        await self.tenant.tool("read", "read")
        self.free = await self.tenant.agent("without a cap")

    async def add_capped(self) -> None:
        agent = await self.tenant.agent(f"capped {len(self.capped)}")
        await self.tenant.set_up("PUT", f"/v1/quotas/agent:{agent.id}", {"daily_requests": CAP})
        self.capped.append(agent)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and until what was begun has its answer."""
        assert self.free is not None
        agents = [self.free, self.capped[-1]]
        await asyncio.gather(*(self._caller(agents[n % 2], stop) for n in range(CALLERS)))

    async def _caller(self, agent: Agent, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._insist(next(self.numbers), agent)
            await asyncio.sleep(0.01)

    async def _insist(self, n: int, agent: Agent) -> None:
        endpoint, tool = random.choice([("execute", "pay"), ("execute", "pay"), ("decide", "read")])
        body = {"tool": tool, "arguments": {"n": n}, "idempotency_key": f"key {n}"}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TRY_FOR_S
        while loop.time() < deadline:
            try:
                answer = await self.tenant.caller.ask("POST", f"/v1/{endpoint}", body, token=agent.token)
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.broken += 1
                await asyncio.sleep(0.05)
                continue
            if answer.code in AGAIN:
                self.broken += answer.status == 503
                await asyncio.sleep(0.1)
                continue
            if not (answer.status in (200, 429) or answer.code == "execute.unknown" or answer.codes & FAILED):
                self.odd.append(f"{endpoint} {n}: {answer.status} {answer.code} {sorted(answer.codes)}")
            self.answered.append(Asked(n, endpoint, agent, answer))
            return
        self.odd.append(f"{endpoint} {n}: no answer within {TRY_FOR_S} s")

    # ------------------------------------------------------------------ what must hold

    async def check(self) -> Log:
        """What must hold whatever was killed."""
        assert not self.odd, "\n".join([*self.odd[:10], self.tenant.caller.house.said()[-8000:]])
        log = await self.tenant.log()
        log.verify()
        self._nothing_lost(log)
        await self._nothing_ran_unrecorded(log)
        self._nothing_over_its_cap(log)
        return log

    def _nothing_lost(self, log: Log) -> None:
        """Each acknowledged row is in the log."""
        for asked in self.answered:
            for member in ("receipt", "outcome_receipt"):
                receipt = asked.answer.body.get(member)
                if receipt is not None:
                    log.check_receipt(receipt)
            if asked.endpoint == "execute" and asked.answer.status == 200:
                assert log.outcome_of(asked.answer.body["decision_id"]) is not None, "an outcome is lost"

    async def _nothing_ran_unrecorded(self, log: Log) -> None:
        """Each action that reached its target has its decision row, and ran once. What was answered did run."""
        bodies = await self.tenant.bodies()
        allowed: dict[int, int] = defaultdict(int)
        for row in log.of("decision"):
            if row["verdict"] in ("allow", "monitor"):
                allowed[bodies[row["seq"]]["openings"]["inputs"]["payload"]["arguments"]["n"]] += 1
        unrecorded = sorted(n for n in self.target.begun if n not in allowed)
        assert not unrecorded, f"ran without a decision row: {unrecorded}"
        twice = {n: count for n, count in self.target.begun.items() if count > 1}
        assert not twice, f"ran more than once: {twice}"
        for asked in self.answered:
            if asked.answer.status in (403, 429):
                assert asked.n not in self.target.begun, f"{asked.n} was refused and ran"
            if asked.endpoint == "execute" and asked.answer.status == 200:
                assert self.target.done[asked.n] == 1, f"{asked.n} was answered and did not run"

    def _nothing_over_its_cap(self, log: Log) -> None:
        taken = Counter(row["agent"] for row in log.of("decision") if row["verdict"] in ("allow", "monitor"))
        over = {number: taken[agent.id] for number, agent in enumerate(self.capped, 1) if taken[agent.id] > CAP}
        assert not over, f"more than {CAP} requests a day, by rounds: {over}"
