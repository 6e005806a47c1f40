"""One round of load with a kill in it."""

from __future__ import annotations

import asyncio

from tests.faults.house import eventually
from tests.faults.load import Load

VICTIMS = ("gateway", "postgres", "valkey", "backend", "both gateways", "postgres and valkey")
RESUMES_S = 30.0


async def kill_round(load: Load, victim: str, after_s: float) -> float:
    """Load, a kill -9 after some of it, load until all is well again; returns the seconds until it was ready."""
    caller, house = load.tenant.caller, load.tenant.caller.house
    await load.add_capped()
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    try:
        await asyncio.sleep(after_s)
        victims = _victims(house, victim)
        house.kill(*victims)
        await eventually(lambda: not set(_victims(house, victim)) & set(victims), f"{victim} ended")
        took = await caller.ready(RESUMES_S)
        answered = len(load.answered)
        await eventually(lambda: len(load.answered) > answered + 10, "calls are answered again", RESUMES_S)
    finally:
        stop.set()
        await running
    return took


def _victims(house: object, name: str) -> list[int]:
    pids = house.pids  # type: ignore[attr-defined]
    match name:
        case "gateway" | "backend":
            return list(pids(name)[:1])
        case "both gateways":
            return list(pids("gateway"))
        case "postgres and valkey":
            return [*pids("postgres"), *pids("valkey")]
        case _:
            return list(pids(name))
