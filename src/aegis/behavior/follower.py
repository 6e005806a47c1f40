"""Learns baselines from the log and keeps their copies where the hot path reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from aegis.behavior.baseline import Baseline, Event, dump, learn, load
from aegis.db.database import Database
from aegis.db.statements import statements

SQL = statements("aegis.behavior", "follower.sql")

COPY_S = 40 * 86_400
PAGE = 500

KeyOf = Callable[[str, str], str]


class BaselineFollower:
    """`key_of(tenant, agent)` names the copy's key in the store. One follower a tenant at a time."""

    def __init__(self, database: Database, store: Redis, key_of: KeyOf) -> None:
        self._database, self._store, self._key_of = database, store, key_of

    async def follow(self, tenant: str, events: Sequence[Event]) -> None:
        """Learns allowed calls, in the log's order; those that a baseline knows already change nothing.

        The table is written first, and copies follow what it took. Raises asyncpg's and redis's errors; calling again
        with the same events is right.
        """
        by_agent: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_agent[event.agent].append(event)
        if not by_agent:
            return
        async with self._database.scope(tenant) as connection:
            rows = await connection.fetch(SQL.baselines_of, list(by_agent))
            known = {row["agent"]: (load(row["body"]) or Baseline(), row["size"]) for row in rows}
            agents, teams, bodies, sizes = [], [], [], []
            for agent, its in sorted(by_agent.items()):
                baseline, size = known.get(agent, (Baseline(), 0))
                for event in its:
                    if event.seq >= size:
                        baseline, size = learn(baseline, event), event.seq + 1
                agents.append(agent)
                teams.append(its[-1].team)
                bodies.append(dump(baseline).decode("utf-8"))
                sizes.append(size)
            await connection.fetch(SQL.write, tenant, agents, teams, bodies, sizes)
        await self._copy(tenant, dict(zip(agents, bodies, strict=True)))

    async def republish(self, tenant: str) -> None:
        """All copies from the table, for a store that was emptied."""
        after = ""
        while True:
            async with self._database.scope(tenant) as connection:
                rows = await connection.fetch(SQL.page, after, PAGE)
            if not rows:
                return
            await self._copy(tenant, {row["agent"]: row["body"] for row in rows})
            after = rows[-1]["agent"]

    async def _copy(self, tenant: str, bodies: dict[str, str]) -> None:
        async with self._store.pipeline(transaction=False) as pipe:
            for agent, body in bodies.items():
                pipe.set(self._key_of(tenant, agent), body, ex=COPY_S)
            await pipe.execute()
