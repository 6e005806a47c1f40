"""A whole gateway in this process, on real servers, with a tenant and an agent of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from aegis.audit import keys
from aegis.config import load_config
from aegis.db.database import Database
from aegis.kernel.call import Call, Principal, Role
from aegis.kernel.clock import now_us
from aegis.kernel.ids import uuid7
from aegis.pipeline.pipeline import Answer, Pipeline
from aegis.roles.gateway import build
from aegis.surfaces import asks
from aegis.surfaces.rest import Rest
from aegis.tenants.accounts import NewTenant, create_agent


@dataclass
class Gateway:
    """`ask` runs a call of the agent through the pipeline, without HTTP."""

    rest: Rest
    database: Database
    tenant: str
    agent: str

    @property
    def pipeline(self) -> Pipeline:
        return self.rest.pipeline

    async def call(self, tool: str = "note", endpoint: str = "decide", **members: Any) -> Call:
        view = await self.pipeline.views.get(self.tenant)
        principal = Principal(self.tenant, self.agent, Role.AGENT, agent=self.agent, credential="")
        return asks.ask(
            {"tool": tool, "arguments": {"text": "hello"}, **members},
            principal,
            view,
            endpoint=endpoint,
            door="test",
            decision_id=uuid7(),
            now=now_us(),
            size_bytes=100,
        )

    async def ask(self, **members: Any) -> Answer:
        return await self.pipeline.handle(await self.call(**members))

    async def rows(self, statement: str) -> list[Any]:
        """What the log says; `$1` is the tenant."""
        async with self.database.scope(self.tenant) as connection:
            return list(await connection.fetch(statement, self.tenant))


@pytest_asyncio.fixture
async def gateway(
    postgres: Any, valkey_url: str, tenant: NewTenant, database: Database, tmp_path: Path
) -> AsyncIterator[Gateway]:
    keys.load(tmp_path / "keys", create=True)
    config = load_config(
        environment={
            "AEGIS_DATABASE_URL": postgres.url,
            "AEGIS_REDIS_URL": valkey_url,
            "AEGIS_DATA_DIR": str(tmp_path),
            "AEGIS_NETWORKS__ALLOW": "127.0.0.0/8",
            "AEGIS_KEYS__DIR": str(tmp_path / "keys"),
            "AEGIS_CHILDREN__POLICY_COUNT": "1",
            "AEGIS_CHILDREN__ANALYSIS_COUNT": "1",
            "AEGIS_CHILDREN__POLICY_DEADLINE_MS": "20000",
            "AEGIS_CHILDREN__ANALYSIS_DEADLINE_MS": "20000",
        }
    )
    async with database.scope(tenant.id) as connection:
        agent = await create_agent(connection, tenant.id, "tester")
    async with AsyncExitStack() as stack:
        rest = await build(config, stack)
        await rest.pipeline.views.refresh(tenant.id)
        yield Gateway(rest, database, tenant.id, agent.id)
