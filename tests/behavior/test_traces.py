"""Labelled traces, played on a clock of their own through the real store: whom the scores stop, and whom they don't."""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from aegis.behavior.baseline import Baseline, Event, learn
from aegis.behavior.score import observe, score
from aegis.kernel.ids import new_id, uuid7
from aegis.kernel.tenancy import Thresholds
from aegis.quota.buckets import ScopeLimits, Take
from aegis.quota.rebuild import Counts
from aegis.quota.valkey import ValkeyBuckets, connect

SHARED = Path(os.environ.get("AEGIS_SHARED", Path(__file__).parents[3] / "shared")) / "eval"
NOON = 1_780_315_200_000_000
ANSWERED_US = 12_000
LEARNT_AFTER_US = 500_000
"""How far the follower of the log lags behind."""

RATE_FAMILIES = {"velocity_burst", "id_scan", "cost_spike", "delegation_loop"}

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs test vectors that are no part of this repository: nothing to do"
)


def records(name: str) -> Iterator[dict[str, Any]]:
    with (SHARED / name).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


async def nothing_used(tenant: str, now_us: int) -> Counts:
    return Counts({}, {})


async def played(buckets: ValkeyBuckets, record: dict[str, Any], scale: float) -> list[tuple[str, bool]]:
    """The label of each step, and whether behaviour alone would have throttled it."""
    tenant, now, said = new_id("ten"), NOON, []
    baselines: dict[str, Baseline] = {}
    waiting: list[tuple[int, Event]] = []
    for part in (*record.get("prior", ()), record):
        for step in part["steps"]:
            now += round((step.get("gap_s") or 0) * 1e6 * scale) + ANSWERED_US
            while waiting and waiting[0][0] <= now:
                event = waiting.pop(0)[1]
                baselines[event.agent] = learn(baselines.get(event.agent, Baseline()), event)
            agent, tool = step.get("agent") or record.get("agent") or "fresh", step["call"]["tool"]
            peer = step["call"]["arguments"].get("to") if tool.startswith("agent.") else None
            resource = zlib.crc32(json.dumps(step["call"]["arguments"]).encode())
            take = Take(
                tenant=tenant, agent=agent, tool=tool, now_us=now, decision_id=uuid7(), scopes=(ScopeLimits("tenant"),),
                due_us=now + 10**9, session="s", resource=resource, peer=peer,
            )  # fmt: skip
            recent = (await buckets.take(take)).recent
            assert recent is not None
            found = score(observe(recent, baselines.get(agent), tool, peer))
            throttled = any(f.score >= Thresholds().throttle for f in found)
            said.append((step["label"], throttled))
            if not throttled:
                waiting.append((now + LEARNT_AFTER_US, Event(0, now, agent, tool, f"{resource:08x}")))
    return said


@needs_shared
@pytest.mark.parametrize("scale", [pytest.param(0.01, id="hundred times faster"), pytest.param(0.0, id="at once")])
async def test_busy_harmless_agents_are_never_stopped(valkey_url: str, scale: float) -> None:
    client = connect(valkey_url)
    buckets = ValkeyBuckets(client, nothing_used, deadline_s=5.0)
    for record in islice(records("benign_traces.jsonl"), 0, None, 3):
        assert not any(throttled for _, throttled in await played(buckets, record, scale)), record["id"]
    await client.aclose()


@needs_shared
async def test_bursts_scans_spikes_and_loops_are_slowed_and_their_harmless_twins_are_not(valkey_url: str) -> None:
    client = connect(valkey_url)
    buckets = ValkeyBuckets(client, nothing_used, deadline_s=5.0)
    slowed: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for record in records("behavior.jsonl"):
        steps = await played(buckets, record, 0.01)
        assert not any(throttled for label, throttled in steps if label == "benign"), record["id"]
        if record["label"] == "attack" and record["family"] in RATE_FAMILIES:
            there[record["family"]] += 1
            slowed[record["family"]] += any(throttled for label, throttled in steps if label == "attack")
    assert slowed == there
    await client.aclose()
