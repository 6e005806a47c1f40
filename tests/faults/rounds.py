"""One round of load with a fault in it. Both kinds return the seconds until Aegis was ready again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.house import House, eventually
from tests.faults.load import Load

VICTIMS = ("gateway", "postgres", "valkey", "backend", "both gateways", "postgres and valkey")
HANGS = ("gateway", "postgres", "valkey")
RESUMES_S = 30.0
HANGS_S = 2.0


async def kill_round(load: Load, victim: str, after_s: float) -> float:
    """Load, a kill -9 after some of it, load until all is well again."""
    house = load.tenant.caller.house

    async def fault() -> None:
        victims = _victims(house, victim)
        house.kill(*victims)
        await eventually(lambda: not set(_victims(house, victim)) & set(victims), f"{victim} ended")

    return await _round(load, fault, after_s)


async def freeze_round(load: Load, victim: str, after_s: float) -> float:
    """Load, something that stands still for two seconds, load until all is well again."""
    house = load.tenant.caller.house

    async def fault() -> None:
        if victim == "postgres":
            house.freeze_postgres()
        else:
            house.freeze(*_victims(house, victim))
        await asyncio.sleep(HANGS_S)
        house.thaw()

    return await _round(load, fault, after_s)


async def _round(load: Load, fault: Callable[[], Awaitable[None]], after_s: float) -> float:
    caller = load.tenant.caller
    await load.add_capped()
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    try:
        await asyncio.sleep(after_s)
        await fault()
        took = await caller.ready(RESUMES_S)
        answered = len(load.answered)
        await eventually(lambda: len(load.answered) > answered + 10, "calls are answered again", RESUMES_S)
    finally:
        stop.set()
        await running
    return took


def _victims(house: House, name: str) -> list[int]:
    match name:
        case "gateway" | "backend":
            return house.pids(name)[:1]
        case "both gateways":
            return house.pids("gateway")
        case "postgres and valkey":
            return [*house.pids("postgres"), *house.pids("valkey")]
        case _:
            return house.pids(name)
