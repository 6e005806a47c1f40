"""A lean HTTP/1.1 client and the three ways to load a server: one at a time, at a fixed rate, so many in flight.

It knows no more of HTTP than a server of ours answers: a status, a content-length, keep-alive. On one machine the
client's own work is part of every figure, so there is little of it, and the floor is measured with the same.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CODE = re.compile(rb'"code":"([^"]*)"')
PATIENCE_S = 30.0

Answered = Callable[[int, bytes, float], None]
"""Status (0: the connection broke), body, seconds from the first byte sent to the last one received."""


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answered: Answered | None = None
        self._sent_at = 0.0

    @classmethod
    async def open(cls, url: str) -> Connection:
        parts = urlsplit(url)
        connection = cls(parts.hostname or "", parts.port or 80)
        await connection.ready()
        return connection

    async def ready(self) -> None:
        """Connects again where the server has closed the connection meanwhile."""
        if self._transport is None or self._transport.is_closing():
            await asyncio.get_running_loop().create_connection(lambda: self, *self._place)

    def ask(self, request: bytes, answered: Answered) -> None:
        self._answered = answered
        self._sent_at = time.perf_counter()
        if self._transport is None or self._transport.is_closing():
            return self._end(0, b"")
        self._transport.write(request)

    async def asked(self, request: bytes) -> tuple[int, bytes, float]:
        """Raises TimeoutError after 30 s."""
        answer: asyncio.Future[tuple[int, bytes, float]] = asyncio.get_running_loop().create_future()
        self.ask(request, lambda *said: None if answer.done() else answer.set_result(said))
        return await asyncio.wait_for(answer, PATIENCE_S)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own type is not derived from it

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        head = received.find(END_OF_HEAD)
        if head < 0:
            return
        length = _LENGTH.search(received, 0, head)
        body = head + len(END_OF_HEAD)
        if len(received) >= body + (int(length[1]) if length else 0):
            self._received = b""
            self._end(int(received[9:12]), received[body:])

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._end(0, b"")

    def _end(self, status: int, body: bytes) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status, body, time.perf_counter() - self._sent_at)


@dataclass(slots=True)
class Tally:
    """What came back. `took` are seconds, in the order of the answers."""

    took: list[float] = field(default_factory=list)
    errors: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    """What the errors were: a problem's code, or the status."""
    seconds: float = 0.0

    def add(self, status: int, body: bytes, took: float) -> None:
        if status != 200:
            self.errors += 1
            code = _CODE.search(body)
            self.failed[code[1].decode("ascii", "replace") if code else str(status)] += 1
            return
        self.took.append(took)
        at = body.find(b'"verdict":"') + 11
        verdict = body[at : body.find(b'"', at)].decode("ascii", "replace")
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1

    def quantile(self, part: float) -> float:
        """In seconds."""
        return quantile(self.took, part)

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds if self.seconds else 0.0


def quantile(values: Sequence[float], part: float) -> float:
    """The value that `part` of all did not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


async def one_at_a_time(connection: Connection, requests: Iterator[bytes], count: int) -> Tally:
    tally, began = Tally(), time.perf_counter()
    done = asyncio.get_running_loop().create_future()

    def answered(status: int, body: bytes, took: float) -> None:
        nonlocal count
        tally.add(status, body, took)
        count -= 1
        if count > 0 and status:
            connection.ask(next(requests), answered)
        elif not done.done():
            done.set_result(None)

    connection.ask(next(requests), answered)
    await done
    tally.seconds = time.perf_counter() - began
    return tally


async def in_flight(connections: Sequence[Connection], requests: Iterator[bytes], seconds: float) -> Tally:
    """Every connection asks again as soon as it is answered, until the time is over."""
    tally, began = Tally(), time.perf_counter()
    open_, done = len(connections), asyncio.get_running_loop().create_future()

    def drive(connection: Connection) -> None:
        def answered(status: int, body: bytes, took: float) -> None:
            nonlocal open_
            tally.add(status, body, took)
            if status and time.perf_counter() - began < seconds:
                return connection.ask(next(requests), answered)
            open_ -= 1
            if not open_:
                done.set_result(None)

        connection.ask(next(requests), answered)

    for connection in connections:
        drive(connection)
    await done
    tally.seconds = time.perf_counter() - began
    return tally


async def at_rate(
    connections: Sequence[Connection], requests: Iterator[bytes], per_second: float, seconds: float, seed: int
) -> Tally:
    """Arrivals at random times that know nothing of the answers. One that finds every connection taken waits, and its
    wait counts."""
    loop, chance = asyncio.get_running_loop(), random.Random(seed)  # noqa: S311
    tally, began = Tally(), time.perf_counter()
    free, waiting = list(connections), list[float]()
    idle = asyncio.Event()

    def send(connection: Connection, arrived: float) -> None:
        waited = time.perf_counter() - arrived

        def answered(status: int, body: bytes, took: float) -> None:
            tally.add(status, body, waited + took)
            if waiting:
                return send(connection, waiting.pop(0))
            free.append(connection)
            idle.set()

        connection.ask(next(requests), answered)

    arrival = loop.time()
    ends = arrival + seconds
    while (arrival := arrival + chance.expovariate(per_second)) < ends:
        await asyncio.sleep(arrival - loop.time())
        now = time.perf_counter()
        if free:
            send(free.pop(), now)
        else:
            waiting.append(now)
    while len(free) < len(connections):
        idle.clear()
        await asyncio.wait_for(idle.wait(), PATIENCE_S)
    tally.seconds = time.perf_counter() - began
    return tally
