"""A gateway's metrics and readiness. One observer makes the figures from each answer; stages know nothing of them."""

from __future__ import annotations

import asyncio
from collections import Counter

import asyncpg
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Counted

from aegis.audit.committer import Committer
from aegis.children.pool import ChildPool
from aegis.db.database import Database
from aegis.kernel.decision import STAGES
from aegis.kernel.verdict import VERDICTS
from aegis.pipeline.pipeline import Answer
from aegis.policy.memo import Memo
from aegis.tenants.follow import Follower
from aegis.tenants.processes import Processes

SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0)
STALE_S = 5.0


class Figures:
    """Of this process alone. No label holds a tenant, an agent or a word of a caller's."""

    def __init__(self, *, committer: Committer, memo: Memo | None, analysts: ChildPool, refusals: Counter[str]) -> None:
        self._registry = CollectorRegistry()
        self._committer, self._memo, self._analysts, self._refusals = committer, memo, analysts, refusals
        self._decisions = Counted("aegis_decisions", "Decisions by verdict.", ("verdict",), registry=self._registry)
        self._findings = Counted("aegis_findings", "Findings by code.", ("code",), registry=self._registry)
        self._seconds = Histogram(
            "aegis_decision_seconds", "From the call's arrival to its durable row.", registry=self._registry,
            buckets=SECONDS,
        )  # fmt: skip
        self._stage = Histogram(
            "aegis_stage_seconds", "Time of each stage.", ("stage",), registry=self._registry, buckets=SECONDS
        )
        self._outcomes = Counted("aegis_outcomes", "Executions by status.", ("status",), registry=self._registry)
        self._batches = Gauge("aegis_log_batches", "Group commits by path.", ("path",), registry=self._registry)
        self._memos = Gauge("aegis_policy_memo", "Remembered policy answers.", ("what",), registry=self._registry)
        self._refused = Gauge("aegis_unauthenticated", "Refused credentials.", ("code",), registry=self._registry)
        self._by_verdict = {word: self._decisions.labels(word) for word in VERDICTS}
        self._by_stage = {name: self._stage.labels(name) for name in STAGES}

    def observe(self, answer: Answer) -> None:
        judged = answer.judged
        self._by_verdict[judged.decision.verdict.word].inc()
        self._seconds.observe(judged.took_us / 1_000_000)
        for result in judged.so_far.results:
            self._by_stage[result.name].observe(result.took_us / 1_000_000)
        for found in judged.decision.findings:
            self._findings.labels(found.code).inc()
        if answer.ran is not None:
            self._outcomes.labels(answer.ran.status).inc()

    def text(self) -> bytes:
        self._batches.labels("fast").set(self._committer.fast)
        self._batches.labels("locked").set(self._committer.slow)
        if self._memo is not None:
            self._memos.labels("hits").set(self._memo.tally.hits)
            self._memos.labels("misses").set(self._memo.tally.misses)
        for code, count in self._refusals.items():
            self._refused.labels(code).set(count)
        return generate_latest(self._registry)


class Readiness:
    """What a decision needs beside this process itself."""

    def __init__(self, database: Database, follower: Follower, processes: Processes) -> None:
        self._database, self._follower, self._processes = database, follower, processes

    async def missing(self) -> dict[str, str]:
        """What isn't there, by name; empty when this process can decide."""
        found = {}
        try:
            async with asyncio.timeout(1.0), self._database.unscoped() as connection:
                await connection.fetchval("SELECT true")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            found["postgresql"] = "the record store doesn't answer"
        if self._follower.polled_s_ago > STALE_S:
            found["switches"] = "kill switches were not confirmed lately"
        if not self._processes.holds_lease:
            found["lease"] = "this process holds no lease"
        return found
