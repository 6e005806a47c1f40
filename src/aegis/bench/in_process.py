"""What one call costs this process: CPU time of `Pipeline.handle`, with the real stores behind it.

Included: everything that happens in the gateway's process for a call, from stage 0 to the durable row, with the drivers
of PostgreSQL and Valkey, the signature, and what runs beside it (group commit, metrics). Not included: HTTP, and the
processes of the stores and of the policy engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

from aegis.bench.workload import Ask, Member, asks
from aegis.config import Config
from aegis.kernel.call import Call, Principal, Role
from aegis.kernel.clock import now_us
from aegis.kernel.ids import uuid7
from aegis.kernel.tenancy import TenantView
from aegis.roles.gateway import build
from aegis.surfaces.asks import ask as parsed

BODY_BYTES = 400


async def cpu_of_handle(
    config: Config, tenant: str, members: Sequence[Member], *, count: int, warm: int
) -> list[float]:
    """Seconds of CPU of each of `count` calls whose arguments hold no code, after `warm` that aren't counted."""
    took: list[float] = []
    async with AsyncExitStack() as stack:
        pipeline = (await build(config, stack)).pipeline
        view = await pipeline.views.get(tenant)
        calls = _calls(view, tenant, members)
        for number in range(warm + count):
            call = next(calls)
            began = time.process_time()
            await pipeline.handle(call)
            if number >= warm:
                took.append(time.process_time() - began)
    return took


def _calls(view: TenantView, tenant: str, members: Sequence[Member]) -> Iterator[Call]:
    plain = (each for each in asks() if each.kind == "plain")
    for turn, each in enumerate(plain):
        yield _call(each, view, tenant, members[turn % len(members)])


def _call(each: Ask, view: TenantView, tenant: str, member: Member) -> Call:
    return parsed(
        {"session_id": member.session, "tool": each.tool, "arguments": each.arguments},
        Principal(tenant, member.id, Role.AGENT, agent=member.id, credential="bench"),
        view,
        endpoint="decide",
        door="rest",
        decision_id=uuid7(),
        now=now_us(),
        size_bytes=BODY_BYTES,
    )
