"""Mixed load with a fault each few seconds, for as long as you like: what `make soak` runs.

    python -m bench.soak --seconds 3600

Every round kills one part with SIGKILL, or freezes it for a while, under load; what must hold is checked every
twenty rounds and at the end (see docs/faults.md). Prints a line each round; exits 1 at the first thing that doesn't
hold, and leaves what the processes said in a file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.house import House, calling, house, target
from tests.faults.load import Load
from tests.faults.rounds import HANGS, VICTIMS, freeze_round, kill_round

CHECKED_EVERY = 20


async def soak(home: House, seconds: float, seed: int) -> int:
    """Rounds for so many seconds, at least one of each kind; returns how many. A new tenant after each check."""
    chance, until, rounds = random.Random(seed), time.monotonic() + seconds, 0
    slowest = 0.0
    kinds = [(kill_round, victim) for victim in VICTIMS] + [(freeze_round, victim) for victim in HANGS]
    while rounds < len(kinds) or time.monotonic() < until:
        async with calling(home) as caller, target() as shop:
            load = Load(await caller.tenant(), shop)
            await load.prepare()
            for _ in range(CHECKED_EVERY):
                play, victim = kinds[rounds] if rounds < len(kinds) else chance.choice(kinds)
                took = await play(load, victim, chance.uniform(0.1, 1.5))
                rounds, slowest = rounds + 1, max(slowest, took)
                print(
                    f"{rounds:5}  {play.__name__:12} {victim:20} ready after {took:5.2f} s, "
                    f"{len(load.answered)} calls answered, {load.broken} tries again, {_memory_mib(home)} MiB",
                    flush=True,
                )
                if rounds >= len(kinds) and time.monotonic() > until:
                    break
            log = await load.check()
            print(f"       holds: {len(log.entries)} rows verified, {load.target.done.total()} actions", flush=True)
    print(f"{rounds} rounds held; the slowest was ready again after {slowest:.2f} s", flush=True)
    return rounds


def _memory_mib(home: House) -> int:
    """Resident memory of the gateways together: a leak shows as a number that only grows."""
    pages = 0
    for pid in home.pids("gateway"):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGESIZE") >> 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.soak", description="load with faults")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=None, help="of the order of the faults")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    with house() as home:
        try:
            asyncio.run(soak(home, asked.seconds, seed))
        except AssertionError as error:
            kept = Path(tempfile.mkdtemp(prefix="aegis-soak-")) / "said.txt"
            kept.write_text(home.said(), "utf-8")
            print(f"does not hold: {error}\nwhat the processes said: {kept}", file=sys.stderr)
            raise SystemExit(1) from None


if __name__ == "__main__":
    main()
