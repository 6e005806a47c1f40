"""The whole benchmark, in the order that a machine warms up. Aegis and the floor are measured in turn."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop

from aegis.bench import load
from aegis.bench.figures import Figure, Report, at_most, is_busy, throughput, times_floor
from aegis.bench.in_process import cpu_of_handle
from aegis.bench.load import Connection, Tally, quantile
from aegis.bench.machine import machine, versions
from aegis.bench.servers import Floor, Up, owner_url
from aegis.bench.workload import AGENTS, SEED, Member, request, requests, set_up
from aegis.config import Config
from aegis.embedded.servers import EmbeddedServers
from aegis.roles.up import server_options

WORKERS = 2
IN_FLIGHT = 32
RATE = 100.0
PARTS = ("latency", "throughput", "memo-off", "in-process", "start", "memory")
P50_TIMES, P99_TIMES, P50_TIMES_WITHOUT_MEMO = 2.5, 3.0, 4.0
LEAST_PER_S, LEAST_PART = 1000.0, 0.3
CPU_US, FIRST_START_S, LATER_START_S, MEMORY_MIB = 300.0, 4.0, 1.5, 900.0
_MEMO = re.compile(rb'^aegis_policy_memo\{what="(\w+)"\} (\S+)$', re.MULTILINE)

Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. `singles` are requests a round, the rest seconds."""

    rounds: int = 5
    singles: int = 1500
    rate_s: float = 8.0
    flight_s: float = 5.0
    warm_s: float = 4.0
    cpu_calls: int = 3000
    later_starts: int = 3
    agents: int = AGENTS


QUICK = Extent(rounds=1, singles=100, rate_s=1.0, flight_s=1.0, warm_s=0.5, cpu_calls=100, later_starts=1, agents=20)


@dataclass(slots=True)
class Taken:
    """The rounds of one way to load, Aegis's and the floor's, in turn."""

    aegis: list[Tally] = field(default_factory=list)
    floor: list[Tally] = field(default_factory=list)

    def ms(self, part: float) -> tuple[float, float]:
        """Medians over the rounds of a quantile: Aegis's and the floor's."""
        aegis, floor = ([1000 * t.quantile(part) for t in some] for some in (self.aegis, self.floor))
        return median(aegis), median(floor)

    def rates(self) -> tuple[float, float]:
        return median(t.rate for t in self.aegis), median(t.rate for t in self.floor)

    def verdicts(self, name: str) -> list[Figure]:
        """Errors, which there may be none of, and how many were not let through: the load is what it says it is."""
        failed = sum((t.failed for t in (*self.aegis, *self.floor)), Counter[str]())
        errors = failed.total()
        of = ", ".join(f"{count} x {code}" for code, count in failed.most_common(5))
        answered = sum(len(t.took) for t in self.aegis)
        let_through = sum(t.verdicts.get(word, 0) for t in self.aegis for word in ("allow", "monitor"))
        return [
            Figure(f"{name}, errors", errors, "", None, "= 0", errors == 0, of),
            Figure(f"{name}, refused", 100 * (answered - let_through) / (answered or 1), "%"),
        ]


class _Bench:
    def __init__(self, config: Config, extent: Extent, parts: Sequence[str], say: Said, data: Path) -> None:
        self.config, self.extent, self.parts, self.say, self.data = config, extent, parts, say, data
        self.figures: list[Figure] = []
        self._members: list[Member] = []
        self._tenant = ""
        self._singles: list[Tally] = []
        """The floor's, one at a time and with many in flight: whether the machine was busy."""
        self._flights: list[Tally] = []
        self._seeds = itertools.count(SEED)

    def wants(self, *parts: str) -> bool:
        return any(part in self.parts for part in parts)

    def is_busy(self) -> bool:
        return is_busy(
            [1000 * t.quantile(0.5) for t in self._singles],
            [1000 * t.quantile(0.99) for t in self._singles],
            [t.rate for t in self._flights],
        )

    # ------------------------------------------------------------------ the three scenes

    def first_start(self) -> None:
        """A start on an empty directory, then everything that is measured with the memo on."""
        self.say("first start")
        with Up(self.data, workers=WORKERS) as up:
            self._tenant = up.credentials["tenant"]
            if self.wants("start"):
                self.figures.append(at_most("aegis up, first start to ready", up.ready_s, "s", FIRST_START_S))
            if self.wants("latency", "throughput", "memo-off", "in-process", "memory"):
                uvloop.run(self._loaded(up))

    def later_starts(self) -> None:
        """Starts on the same directory; the first of them without the memo is measured too."""
        if self.wants("memo-off"):
            self.say("start without the memo")
            with Up(self.data, workers=WORKERS, memo=False) as up:
                uvloop.run(self._without_memo(up))
        if self.wants("start"):
            took = []
            for turn in range(self.extent.later_starts):
                self.say(f"later start {turn + 1} of {self.extent.later_starts}")
                with Up(self.data, workers=WORKERS) as up:
                    took.append(up.ready_s)
            self.figures.append(at_most("aegis up, later start to ready", median(took), "s", LATER_START_S))

    def in_process(self) -> None:
        if not self.wants("in-process"):
            return
        self.say("pipeline.handle in this process")
        with EmbeddedServers.claim(self.data, server_options(self.config)) as servers:
            config = dataclasses.replace(
                self.config,
                data_dir=os.fspath(self.data),
                database_url=servers.postgres.url,
                database_direct_url=servers.postgres.url,
                redis_url=servers.valkey.url,
                keys=dataclasses.replace(self.config.keys, dir=self.config.keys.dir or os.fspath(self.data / "keys")),
            )
            calls = self.extent.cpu_calls
            took = uvloop.run(cpu_of_handle(config, self._tenant, self._members, count=calls, warm=calls // 3))
        name = "pipeline.handle without code in the arguments, CPU"
        self.figures += [
            at_most(f"{name} p50", 1e6 * quantile(took, 0.5), "us", CPU_US),
            Figure(f"{name} p99", 1e6 * quantile(took, 0.99), "us"),
        ]

    # ------------------------------------------------------------------ under load

    async def _loaded(self, up: Up) -> None:
        connections = [await Connection.open(up.url) for _ in range(IN_FLIGHT)]
        self.say("agents, tools, sessions, policy")
        self._members = await set_up(connections, up.credentials["admin"]["token"], self.extent.agents)
        if self.wants("latency", "throughput", "memory"):
            self.say("warming up")
            await load.in_flight(connections, self._requests(), self.extent.warm_s)
        if self.wants("latency", "throughput"):
            with Floor(owner_url(self.data, self.config)) as floor:
                floors = [await opened(floor.url) for _ in range(IN_FLIGHT)]
                if self.wants("latency"):
                    await self._latency(connections, floors, "", P50_TIMES, P99_TIMES)
                    await self._memo(connections)
                if self.wants("throughput"):
                    await self._throughput(connections, floors)
        if self.wants("memory"):
            if not self.wants("throughput"):
                await load.in_flight(connections, self._requests(), self.extent.flight_s)
            name = f"memory of everything, {WORKERS} workers, after the load (PSS)"
            self.figures.append(at_most(name, up.pss_mib, "MiB", MEMORY_MIB))

    async def _without_memo(self, up: Up) -> None:
        connections = [await Connection.open(up.url) for _ in range(IN_FLIGHT)]
        self.say("warming up without the memo")
        await load.in_flight(connections, self._requests(), self.extent.warm_s)
        with Floor(owner_url(self.data, self.config)) as floor:
            floors = [await opened(floor.url) for _ in range(IN_FLIGHT)]
            await self._latency(connections, floors, ", memo off", P50_TIMES_WITHOUT_MEMO, None)

    async def _latency(
        self,
        aegis: Sequence[Connection],
        floor: Sequence[Connection],
        suffix: str,
        p50_times: float,
        p99_times: float | None,
    ) -> None:
        extent = self.extent

        async def single(connections: Sequence[Connection]) -> Tally:
            return await load.one_at_a_time(connections[0], self._requests(), extent.singles)

        async def paced(connections: Sequence[Connection]) -> Tally:
            return await load.at_rate(connections, self._requests(), RATE, extent.rate_s, next(self._seeds))

        for way, measure in ((f"one at a time{suffix}", single), (f"open loop at {RATE:g}/s{suffix}", paced)):
            taken = await self._in_turn(way, measure, aegis, floor)
            if measure is single:
                self._singles += taken.floor
            for label, part, times in (("p50", 0.5, p50_times), ("p99", 0.99, p99_times)):
                value, beside = taken.ms(part)
                name = f"decide, {way}, {label}"
                if times is None:
                    self.figures.append(Figure(name, value, "ms", beside))
                else:
                    self.figures.append(times_floor(name, value, "ms", beside, times))
            self.figures += taken.verdicts(f"decide, {way}")

    async def _throughput(self, aegis: Sequence[Connection], floor: Sequence[Connection]) -> None:
        async def full(connections: Sequence[Connection]) -> Tally:
            return await load.in_flight(connections, self._requests(), self.extent.flight_s)

        way = f"{IN_FLIGHT} in flight"
        taken = await self._in_turn(way, full, aegis, floor)
        self._flights += taken.floor
        value, beside = taken.rates()
        self.figures.append(throughput(f"decide, {way}, throughput", value, beside, LEAST_PER_S, LEAST_PART))
        for label, part in (("p50", 0.5), ("p99", 0.99)):
            value, beside = taken.ms(part)
            self.figures.append(Figure(f"decide, {way}, {label}", value, "ms", beside))
        self.figures += taken.verdicts(f"decide, {way}")

    async def _in_turn(
        self,
        way: str,
        measure: Callable[[Sequence[Connection]], Awaitable[Tally]],
        aegis: Sequence[Connection],
        floor: Sequence[Connection],
    ) -> Taken:
        taken = Taken()
        for turn in range(self.extent.rounds):
            self.say(f"{way}, round {turn + 1} of {self.extent.rounds}")
            taken.floor.append(await _undisturbed(measure, floor))
            taken.aegis.append(await _undisturbed(measure, aegis))
        return taken

    async def _memo(self, connections: Sequence[Connection]) -> None:
        """Of all gateways: connections are handed to them in turn, so the first ones lead to different ones."""
        counts = dict.fromkeys(("hits", "misses"), 0.0)
        for connection in connections[:WORKERS]:
            await connection.ready()
            _, text, _ = await connection.asked(request("GET", "/metrics", ""))
            for name, value in _MEMO.findall(text):
                counts[name.decode()] = counts.get(name.decode(), 0.0) + float(value)
        asked = sum(counts.values())
        self.figures.append(Figure("policy memo, answers from memory", 100 * counts["hits"] / (asked or 1), "%"))

    def _requests(self) -> Iterator[bytes]:
        """Made before the clock runs as far as they are few; no two of them are alike in the whole run."""
        return requests(self._members, next(self._seeds))


def run(config: Config, *, extent: Extent, parts: Sequence[str], say: Said, folder: Path | None = None) -> Report:
    """Measures in a directory of its own below `folder`, which is gone afterwards. `say` hears what is being done."""
    place = Path(tempfile.mkdtemp(prefix="aegis-bench-", dir=folder))
    try:
        bench = _Bench(config, extent, parts, say, place / "data")
        bench.data.mkdir(mode=0o700)
        bench.first_start()
        bench.later_starts()
        bench.in_process()
        say("")
        told = versions(bench.data, config.embedded.account, config.embedded.postgres_folder)
        return Report(machine(bench.data), told, bench.figures, bench.is_busy())
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def opened(url: str) -> Connection:
    """A connection to the floor, which may still be starting."""
    for _ in range(500):
        try:
            return await Connection.open(url)
        except OSError:
            await asyncio.sleep(0.02)
    raise RuntimeError("couldn't reach the floor within 10 s")


async def _undisturbed(
    measure: Callable[[Sequence[Connection]], Awaitable[Tally]], connections: Sequence[Connection]
) -> Tally:
    """Over connections that are open, for a server closes those that rest; the client's collector rests meanwhile."""
    for connection in connections:
        await connection.ready()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        return await measure(connections)
    finally:
        gc.enable()
        gc.unfreeze()
