"""kill -9 under load: whatever dies, nothing that was acknowledged is lost and nothing runs unrecorded."""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.house import Target, Tenant
from tests.faults.load import CAP, Load
from tests.faults.rounds import VICTIMS, kill_round

ROUNDS = int(os.environ.get("AEGIS_FAULT_ROUNDS", str(len(VICTIMS))))


@pytest.mark.timeout(120 + 30 * ROUNDS)
async def test_whatever_is_killed_nothing_is_lost_and_nothing_runs_unrecorded(tenant: Tenant, shop: Target) -> None:
    load = Load(tenant, shop)
    await load.prepare()
    for number in range(ROUNDS):
        await kill_round(load, VICTIMS[number % len(VICTIMS)], random.uniform(0.2, 0.8))
    log = await load.check()
    assert load.broken, "no kill was noticed by anybody: it tested nothing"
    assert any(asked.answer.status == 429 for asked in load.answered), f"no agent came to its cap of {CAP}"
    assert len(log.entries) > len(load.answered) > 25 * ROUNDS
