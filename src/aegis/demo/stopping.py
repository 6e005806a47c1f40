"""Engages a kill switch while a call runs, and measures: the target's end of the call, each process's first refusal."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aegis.demo.client import Client, Reply, Unexpected
from aegis.demo.targets import Crm

CONNECTIONS = 4
BEGIN_S = 10.0
BOTH_S = 10.0
PAUSE_S = 0.004


@dataclass(frozen=True, slots=True)
class Probe:
    """A decide of which the answer told the process; times are of time.monotonic()."""

    process: str
    verdict: str
    sent_at: float
    answered_at: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """Seconds from the moment when the order was sent. `refused_s`: by process, the first refusal's arrival."""

    cancelled_s: float
    answered_s: float
    refused_s: Mapping[str, float]
    rule: str
    says: str
    wrong: str


async def stop_while_running(
    *,
    admin: Client,
    agent: Client,
    address: tuple[str, str],
    crm: Crm,
    session: str,
    scope: str,
    slow: Mapping[str, Any],
    probe: Mapping[str, Any],
    processes: int,
) -> Stopped:
    """The scope is released again, and the release obeyed, when this returns."""
    crm.slow_began.clear()
    running = asyncio.create_task(agent.ask("POST", "/v1/execute", {"session_id": session, **slow}))
    probes: list[Probe] = []
    over = asyncio.Event()
    probing = [asyncio.create_task(_probe(address, session, probe, probes, over)) for _ in range(CONNECTIONS)]
    path = f"/v1/kill-switches/{quote(scope, safe='')}"
    try:
        await asyncio.wait_for(crm.slow_began.wait(), BEGIN_S)
        await _until(lambda: len({each.process for each in probes}) >= processes)
        sent_at = time.monotonic()
        engaged = (await admin.ask("PUT", path, {"reason": "the demo's fire drill"})).expect(200)
        answered_at = time.monotonic()
        killed = await running
        await _until(lambda: len(_first_refusals(probes)) >= processes and crm.slow_cancelled_at is not None)
        assert crm.slow_cancelled_at is not None
        cancelled_s = crm.slow_cancelled_at - sent_at
    except TimeoutError as error:
        raise Unexpected("expected the slow call to begin and to end, and every process to refuse") from error
    finally:
        over.set()
        running.cancel()
        await asyncio.gather(running, *probing, return_exceptions=True)
        await admin.ask("POST", f"{path}/release", {"reason": "the drill is over"})
    refused = {process: at - sent_at for process, at in _first_refusals(probes).items()}
    late = [each for each in probes if each.sent_at > answered_at and each.verdict != "kill"]
    wrong = _wrong(engaged.body, killed, late, processes)
    said = killed.body if isinstance(killed.body, dict) else {}
    return Stopped(
        cancelled_s, answered_at - sent_at, refused, said.get("rule", ""), _says(cancelled_s, refused), wrong
    )


async def _probe(
    address: tuple[str, str], session: str, probe: Mapping[str, Any], probes: list[Probe], over: asyncio.Event
) -> None:
    """Asks again and again, over a new connection each time: the front hands them to the processes in turn."""
    async with Client(*address, fresh=True) as client:
        while not over.is_set():
            sent_at = time.monotonic()
            reply = await client.ask("POST", "/v1/decide", {"session_id": session, "outcome": "none", **probe})
            if reply.status == 200 and reply.body["receipt"] is not None:
                process = json.loads(reply.body["receipt"]["row"])["gw"]
                probes.append(Probe(process, reply.body["verdict"], sent_at, time.monotonic()))
            await asyncio.sleep(PAUSE_S)


async def _until(is_so: Any) -> None:
    async with asyncio.timeout(BOTH_S):
        while not is_so():
            await asyncio.sleep(PAUSE_S)


def _first_refusals(probes: list[Probe]) -> dict[str, float]:
    first: dict[str, float] = {}
    for each in probes:
        if each.verdict == "kill":
            first[each.process] = min(each.answered_at, first.get(each.process, each.answered_at))
    return first


def _wrong(engaged: Mapping[str, Any], killed: Reply, late: list[Probe], processes: int) -> str:
    if len(engaged["acknowledged"]) != processes or engaged["silent"]:
        return f"expected {processes} processes to obey, got {len(engaged['acknowledged'])}"
    if engaged["cancelled"] < 1:
        return "the order says that it cancelled nothing"
    if killed.status != 403 or killed.body.get("verdict") != "kill":
        return f"expected the running call to be killed, got {killed.status}"
    if late:
        return f"{late[0].process} let a call through after the order was answered"
    return ""


def _says(cancelled_s: float, refused: Mapping[str, float]) -> str:
    after = ", ".join(f"{seconds * 1000:.0f}" for seconds in sorted(refused.values()))
    return f"call gone after {cancelled_s * 1000:.0f} ms; refused after {after} ms"
