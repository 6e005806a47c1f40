"""kill -9 under load: whatever dies, nothing that was acknowledged is lost and nothing runs unrecorded."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.house import House, calling, house, target
from tests.faults.load import CAP, Load
from tests.faults.rounds import VICTIMS, kill_round

pytestmark = [pytest.mark.server, pytest.mark.needs_linux]

ROUNDS = int(os.environ.get("AEGIS_FAULT_ROUNDS", str(len(VICTIMS))))


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as opened:
        yield opened


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_whatever_is_killed_nothing_is_lost_and_nothing_runs_unrecorded(home: House) -> None:
    async with calling(home) as caller, target() as pay:
        load = Load(await caller.tenant(), pay)
        await load.prepare()
        for number in range(ROUNDS):
            await kill_round(load, VICTIMS[number % len(VICTIMS)], random.uniform(0.2, 0.8))
        log = await load.check()
        assert len(load.answered) > 50 * ROUNDS / 2
        assert load.broken, "no kill was noticed by anybody: it tested nothing"
        assert any(asked.answer.status == 429 for asked in load.answered), f"no agent came to its cap of {CAP}"
        assert len(log.entries) > len(load.answered)
        await asyncio.sleep(0)
