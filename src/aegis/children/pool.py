"""A pool of children that may loop, bloat or crash: late ones are killed and replaced, and late means an exception.

pool = ChildPool(name="policy", target="aegis.policy.opa_child:serve", deadline_ms=250, memory_bytes=512 << 20)
await pool.start()
answer = await pool.ask(request)
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aegis
from aegis.children.frames import HEADER_BYTES, MAX_FRAME_BYTES, length_of, packed

START_S = 30.0
BACKOFF_S = (0.0, 0.1, 0.5, 2.0, 5.0)
REAP_S = 5.0
REAP_EACH_S = 0.01
STRIKE_S = 60.0
GUILTY = 0.1
STRUCK_KEYS = 10_000
ENVIRONMENT = {"GOMAXPROCS": "1", "GOGC": "400", "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}
_BOOT = """
import os, sys
sys.path[:0] = sys.argv.pop(1).split(os.pathsep)
from aegis.children.child import arguments, main
main(*arguments(sys.argv[1:]))
"""


class ChildTimeout(Exception):
    """No answer within the deadline. `lethal`: a child worked on it, for a tenth of that time at least, and is gone.

    Otherwise none was free, or the machine had no time for it: nothing speaks against the request.
    """

    def __init__(self, message: str, *, lethal: bool = False) -> None:
        super().__init__(message)
        self.lethal = lethal


class ChildCrashed(Exception):
    """The child ended while it worked on this request. The request is not tried again."""


class ChildUnavailable(Exception):
    """Nothing was asked: no child could be started, the queue is full, or the pool is closed."""


@dataclass(slots=True, eq=False)
class _Request:
    """`answer` belongs to who asks; `timer` and `child` outlive them, so that a caller who leaves frees no time."""

    payload: bytes
    key: str
    answer: asyncio.Future[bytes]
    timer: asyncio.TimerHandle | None = None
    child: _Child | None = None
    deadline_s: float = 0.0
    worked_s: float = 0.0
    """Processor time of the child when it was handed the request."""

    def settle(self, outcome: bytes | Exception) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.answer.done():
            return
        if isinstance(outcome, bytes):
            self.answer.set_result(outcome)
        else:
            self.answer.set_exception(outcome)


class _Child(asyncio.Protocol):
    """One process and its pipe. At most one request is in flight; a byte out of turn ends the process."""

    def __init__(self, pool: ChildPool) -> None:
        self.pool = pool
        self.process: subprocess.Popen[bytes] | None = None
        self.transport: asyncio.Transport | None = None
        self.request: _Request | None = None
        self.owed: deque[_Request] = deque()
        self.serving = False
        self.gone = False
        self.network = "open"
        self._parts: list[bytes] = []
        self._got = 0
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def send(self, request: _Request) -> None:
        assert self.transport is not None and self.request is None
        self.request = request
        request.child = self
        request.worked_s = self.processor_s()
        self.transport.write(packed(request.payload))

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self.kill()
            return
        self._parts.append(data)
        self._got += len(data)
        if not self._wanted and self._got >= HEADER_BYTES:
            try:
                self._wanted = HEADER_BYTES + length_of(b"".join(self._parts)[:HEADER_BYTES])
            except ValueError:
                self.kill()
                return
        if self._wanted and self._got >= self._wanted:
            self._answered()

    def _answered(self) -> None:
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._got > self._wanted:
            self.kill()
            return
        request, self.request = self.request, None
        self._parts, self._got, self._wanted = [], 0, 0
        assert request is not None
        request.settle(whole[HEADER_BYTES:])
        if self.serving:
            self.pool._freed(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.kill()
        self.pool._lost(self)

    def kill(self) -> None:
        self.gone = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.transport is not None:
            self.transport.abort()

    def processor_s(self) -> float:
        """Processor time of the process so far, in one system call (clock_getcpuclockid's arithmetic); 0 elsewhere."""
        if sys.platform != "linux" or self.process is None:
            return 0.0
        try:
            return time.clock_gettime(~self.process.pid << 3 | 2)
        except OSError:
            return 0.0

    def is_dead(self) -> bool:
        return self.gone or self.process is None or self.process.poll() is not None


@dataclass(slots=True)
class _Strikes:
    count: int = 0
    until: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counted since the pool began."""

    asked: int = 0
    timeouts: int = 0
    crashes: int = 0
    refused: int = 0
    idle_deaths: int = 0
    started: int = 0
    start_failures: int = 0
    by_network: Counter[str] = field(default_factory=Counter)


class ChildPool:
    """`size` children, each with one request at a time; callers wait in one queue, first come, first served.

    `deadline_ms` covers waiting and work. A key that has lately cost a child its life never takes the last free
    child, so one tenant's loop leaves room for the others. Belongs to the event loop (and thread) that starts it.
    """

    def __init__(
        self,
        *,
        name: str,
        target: str,
        size: int = 2,
        deadline_ms: int,
        memory_bytes: int,
        setup: bytes = b"",
        queue: int = 256,
        environment: Mapping[str, str] | None = None,
        sources: Sequence[Path] = (),
    ) -> None:
        """`sources`: further folders that the target may be imported from."""
        self.name = name
        self.tally = Tally()
        self._target = target
        self._size = size
        self._deadline_s = deadline_ms / 1000
        self._memory_bytes = memory_bytes
        self._setup = setup
        self._queue = queue
        self._environment = {**ENVIRONMENT, "GOMEMLIMIT": str(memory_bytes // 2), **(environment or {})}
        self._sources = os.pathsep.join(map(str, (Path(aegis.__file__).parent.parent, *sources)))
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._waiting: deque[_Request] = deque()
        self._struck: OrderedDict[str, _Strikes] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._closed = True

    # -- life

    async def start(self, *, first: int | None = None) -> None:
        """`first` children are ready afterwards (all, unless said) and the rest follow by themselves; otherwise
        ChildUnavailable, and none is left."""
        self._closed = False
        first = self._size if first is None else min(first, self._size)
        started = await asyncio.gather(*(self._begin() for _ in range(first)), return_exceptions=True)
        failed = [each for each in started if isinstance(each, BaseException)]
        if failed:
            await self.close()
            raise ChildUnavailable(f"couldn't start the pool {self.name}: {failed[0]}") from failed[0]
        for _ in range(self._size - first):
            self._own(self._replace())

    async def close(self) -> None:
        """No child is left afterwards; who still waits gets ChildUnavailable."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        while self._waiting:
            self._waiting.popleft().settle(self._unavailable("the pool is closed"))
        processes = [child.process for child in self._children if child.process is not None]
        for child in list(self._children):
            child.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in processes:
            await _reaped(process)
        self._idle.clear()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the children that serve now."""
        return tuple(
            sorted(c.process.pid for c in self._children if c.serving and not c.gone and c.process is not None)
        )

    @property
    def deadline_ms(self) -> int:
        return round(self._deadline_s * 1000)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # -- use

    async def ask(self, payload: bytes, *, deadline_ms: int | None = None, key: str = "") -> bytes:
        """The target's answer. Raises ChildTimeout, ChildCrashed or ChildUnavailable.

        `key` names on whose account a lost child goes.
        """
        request = self._request(payload, key, self._deadline_s if deadline_ms is None else deadline_ms / 1000)
        self.tally.asked += 1
        if not self._waiting and (child := self._take(key)) is not None:
            child.send(request)
        elif len(self._waiting) >= self._queue:
            self.tally.refused += 1
            request.settle(self._unavailable(f"expected at most {self._queue} waiting, got one more"))
        else:
            self._waiting.append(request)
            self._hand_out()
        return await request.answer

    async def broadcast(
        self, payload: bytes, *, key: str | None = None, deadline_ms: int | None = None
    ) -> list[bytes | Exception]:
        """Every child's answer to `payload`, or what it raised instead, each within the deadline.

        With `key`, each later child replays it before it serves; a newer broadcast of the same key takes its place.
        """
        if key is not None:
            self._kept[key] = payload
            self._kept.move_to_end(key)
        deadline_s = self._deadline_s if deadline_ms is None else deadline_ms / 1000
        requests = []
        for child in [each for each in self._children if each.serving]:
            request = self._request(payload, "", deadline_s)
            request.child = child
            child.owed.append(request)
            requests.append(request)
            if child in self._idle:
                self._idle.remove(child)
                self._freed(child)
        return [_outcome(each) for each in await asyncio.gather(*(r.answer for r in requests), return_exceptions=True)]

    def forget(self, key: str) -> None:
        """Later children don't replay the broadcast of `key` any more."""
        self._kept.pop(key, None)

    def strikes(self, key: str) -> int:
        """How many children `key` has cost lately; forgotten a minute after the last."""
        struck = self._struck.get(key)
        if struck is None or struck.until < asyncio.get_running_loop().time():
            return 0
        return struck.count

    # -- inside

    def _request(self, payload: bytes, key: str, deadline_s: float) -> _Request:
        if self._closed:
            raise self._unavailable("the pool is closed")
        if len(payload) > MAX_FRAME_BYTES:
            raise self._unavailable(f"expected at most {MAX_FRAME_BYTES} bytes, got {len(payload)}")
        loop = asyncio.get_running_loop()
        request = _Request(payload, key, loop.create_future())
        request.deadline_s = deadline_s
        request.timer = loop.call_later(deadline_s, self._late, request)
        return request

    def _take(self, key: str) -> _Child | None:
        """The free child that worked last, which is the warmest. One that died while it was free is passed over."""
        while self._idle:
            if len(self._idle) == 1 and self._size > 1 and key and self.strikes(key):
                return None
            child = self._idle.pop()
            if not child.is_dead():
                return child
            self.tally.idle_deaths += 1
            child.kill()
        return None

    def _freed(self, child: _Child) -> None:
        if self._closed or child.gone:
            return
        while child.owed:
            request = child.owed.popleft()
            if not request.answer.done():
                child.send(request)
                return
        self._idle.append(child)
        self._hand_out()

    def _hand_out(self) -> None:
        """The first in the queue that may have a free child gets it; a struck key stands aside, in its place."""
        aside: list[_Request] = []
        while self._waiting and self._idle:
            request = self._waiting.popleft()
            if request.answer.done():
                continue
            taken = self._take(request.key)
            if taken is None:
                aside.append(request)
            else:
                taken.send(request)
        self._waiting.extendleft(reversed(aside))

    def _late(self, request: _Request) -> None:
        child = request.child
        if child is not None and child.request is request:
            self.tally.timeouts += 1
            worked_s = child.processor_s() - request.worked_s
            lethal = sys.platform != "linux" or worked_s >= GUILTY * request.deadline_s
            if lethal:
                self._strike(request.key)
            child.request = None
            request.settle(ChildTimeout(f"{self.name}: no answer after {worked_s:.3f} s of work", lethal=lethal))
            child.kill()
            return
        if request in self._waiting:
            self._waiting.remove(request)
        if request.answer.done():
            return
        if any(each.serving for each in self._children):
            self.tally.timeouts += 1
            request.settle(ChildTimeout(f"{self.name}: no free child within the deadline"))
        else:
            request.settle(self._unavailable("no child is ready"))

    def _lost(self, child: _Child) -> None:
        served, child.serving = child.serving, False
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
            self.tally.idle_deaths += 1
        if child.request is not None:
            if served:
                self.tally.crashes += 1
                self._strike(child.request.key)
            child.request.settle(ChildCrashed(f"{self.name}: the child ended at work"))
            child.request = None
        while child.owed:
            child.owed.popleft().settle(ChildCrashed(f"{self.name}: the child ended before"))
        if child.process is not None:
            self._own(_reaped(child.process))
        if served and not self._closed:
            self._own(self._replace())

    async def _replace(self) -> None:
        while not self._closed:
            await asyncio.sleep(BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)])
            try:
                await self._begin()
            except ChildUnavailable:
                continue
            return

    async def _begin(self) -> None:
        """Starts a child and lets it serve once it has answered to the setup and each kept broadcast."""
        child = _Child(self)
        try:
            async with asyncio.timeout(START_S):
                await self._spawn(child)
                ready = json.loads(await self._first(child, self._setup))
                if "failed" in ready:
                    raise ChildUnavailable(str(ready["failed"]))
                replayed: dict[str, bytes] = {}
                while missing := [key for key in self._kept if replayed.get(key) is not self._kept[key]]:
                    replayed[missing[0]] = self._kept[missing[0]]
                    await self._first(child, replayed[missing[0]])
        except (ChildCrashed, ChildUnavailable, TimeoutError, OSError, ValueError) as error:
            self.tally.start_failures += 1
            self._failures += 1
            self._abandon(child)
            raise ChildUnavailable(f"{self.name}: {error}") from error
        except asyncio.CancelledError:
            self._abandon(child)
            raise
        if self._closed:
            child.kill()
            raise self._unavailable("the pool is closed")
        self._failures = 0
        self.tally.started += 1
        child.network = str(ready.get("network"))
        self.tally.by_network[child.network] += 1
        child.serving = True
        self._freed(child)

    async def _spawn(self, child: _Child) -> None:
        """From the event loop's own thread: the kernel's parent-death signal goes by thread, not by process."""
        ours, theirs = socket.socketpair()
        with theirs:
            child.process = self._launched(theirs)
        self._children.add(child)
        ours.setblocking(False)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
        except BaseException:
            ours.close()
            raise

    def _launched(self, pipe: socket.socket) -> subprocess.Popen[bytes]:
        arguments = [self._sources, self._target, str(self._memory_bytes), str(os.getpid())]
        return subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, *arguments],
            stdin=pipe.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )

    def _abandon(self, child: _Child) -> None:
        child.kill()
        if child.transport is None:
            self._lost(child)

    async def _first(self, child: _Child, payload: bytes) -> bytes:
        if child.gone:
            raise ChildCrashed("the child ended at its start")
        request = _Request(payload, "", asyncio.get_running_loop().create_future())
        child.send(request)
        return await request.answer

    def _strike(self, key: str) -> None:
        if not key:
            return
        struck = self._struck.setdefault(key, _Strikes())
        now = asyncio.get_running_loop().time()
        struck.count = 1 if struck.until < now else struck.count + 1
        struck.until = now + STRIKE_S
        self._struck.move_to_end(key)
        if len(self._struck) > STRUCK_KEYS:
            self._struck.popitem(last=False)

    def _own(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unavailable(self, why: str) -> ChildUnavailable:
        return ChildUnavailable(f"{self.name}: {why}")


def _outcome(answer: bytes | BaseException) -> bytes | Exception:
    if isinstance(answer, bytes | Exception):
        return answer
    raise answer


async def _reaped(process: subprocess.Popen[bytes]) -> None:
    """Leaves no zombie. Gives up after 5 s: the process is killed already and can't run on."""
    for _ in range(int(REAP_S / REAP_EACH_S)):
        if process.poll() is not None:
            return
        await asyncio.sleep(REAP_EACH_S)
