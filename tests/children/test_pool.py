from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from aegis.children.pool import ChildCrashed, ChildPool, ChildTimeout, ChildUnavailable

HERE = Path(__file__).parent
PATIENCE_S = 20.0
PROMPT_MS = 10_000
LATE_MS = 150
MEMORY = 192 << 20


@asynccontextmanager
async def hostile(**changes: Any) -> AsyncIterator[ChildPool]:
    given: dict[str, Any] = {"deadline_ms": PROMPT_MS, "memory_bytes": MEMORY, "sources": [HERE]} | changes
    pool = ChildPool(name="test", target="hostile:serve", **given)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_an_answer_comes_from_another_process_with_the_setup() -> None:
    async with hostile(setup=b"set up") as pool:
        assert await pool.ask(b"hello") == b"set up"
        assert int(await pool.ask(b"pid")) in pool.pids
        assert len(pool.pids) == 2


def test_the_pool_works_on_uvloop() -> None:
    async def story() -> None:
        async with hostile(setup=b"s") as pool:
            assert await pool.ask(b"") == b"s"
            assert await pool.ask(b"grow:3000000") == b"x" * 3_000_000
            with pytest.raises(ChildTimeout):
                await pool.ask(b"loop", deadline_ms=LATE_MS)
            await until(lambda: len(pool.pids) == 2)

    uvloop.run(story())


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
async def test_frames_of_any_size_pass_in_both_directions(size: int) -> None:
    async with hostile(size=1) as pool:
        assert len(await pool.ask(b"grow:%d" % size)) == size
        assert await pool.ask(b"tell:" + b"y" * size) == b"|" + b"y" * size


async def test_a_late_child_is_killed_and_replaced() -> None:
    async with hostile(size=1) as pool:
        (before,) = pool.pids
        with pytest.raises(ChildTimeout):
            await pool.ask(b"loop", deadline_ms=LATE_MS)
        assert await pool.ask(b"hello") == b""
        assert pool.pids != (before,)
        assert not is_running(before)
        assert pool.tally.timeouts == 1


@pytest.mark.parametrize("deed", [b"exit", b"fail", b"eat", b"twice", b"endless"])
async def test_a_child_that_ends_at_work_is_a_crash_that_is_not_tried_again(deed: bytes) -> None:
    async with hostile(size=1) as pool:
        (before,) = pool.pids
        with pytest.raises(ChildCrashed):
            await pool.ask(deed)
        assert await pool.ask(b"hello") == b""
        assert not is_running(before)
        assert pool.tally.crashes == 1
        assert pool.tally.started == 2


async def test_a_memory_bomb_ends_at_the_cap_not_at_the_machine() -> None:
    async with hostile(size=1, memory_bytes=64 << 20) as pool:
        (pid,) = pool.pids
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert str(64 << 20) in next(line for line in limits.splitlines() if line.startswith("Max data size"))
        with pytest.raises(ChildCrashed):
            await pool.ask(b"eat")


async def test_a_child_that_died_while_idle_costs_no_request() -> None:
    async with hostile() as pool:
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: not is_running(pid))  # type: ignore[misc]
        assert await pool.ask(b"hello") == b""
        assert pool.tally.crashes == 0
        assert pool.tally.idle_deaths == 2


async def test_one_key_that_loops_leaves_a_child_to_the_others() -> None:
    async with hostile() as pool:
        with pytest.raises(ChildTimeout):
            await pool.ask(b"loop", deadline_ms=1_000, key="evil")
        await until(lambda: len(pool.pids) == 2)
        loops = [asyncio.create_task(pool.ask(b"loop", deadline_ms=2_000, key="evil")) for _ in range(4)]
        await until(lambda: pool.waiting == 3)
        assert await pool.ask(b"hello", key="good") == b""
        assert not any(loop.done() for loop in loops)
        outcomes = await asyncio.gather(*loops, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ChildTimeout}
        assert pool.strikes("evil") == 2
        assert pool.strikes("good") == 0


async def test_only_a_child_that_worked_counts_against_its_caller() -> None:
    async with hostile(size=1) as pool:
        with pytest.raises(ChildTimeout) as caught:
            await pool.ask(b"sleep", deadline_ms=LATE_MS, key="slow")
        assert not caught.value.lethal
        with pytest.raises(ChildTimeout) as caught:
            await pool.ask(b"loop", deadline_ms=1_000, key="evil")
        assert caught.value.lethal
        assert (pool.strikes("slow"), pool.strikes("evil")) == (0, 1)


async def test_the_deadline_covers_waiting() -> None:
    async with hostile(size=1) as pool:
        slow = asyncio.create_task(pool.ask(b"loop", deadline_ms=1_500))
        await asyncio.sleep(0)
        with pytest.raises(ChildTimeout):
            await pool.ask(b"hello", deadline_ms=50)
        assert not slow.done()
        with pytest.raises(ChildTimeout):
            await slow


async def test_a_full_queue_refuses_at_once() -> None:
    async with hostile(size=1, queue=2) as pool:
        waiting = [asyncio.create_task(pool.ask(b"loop", deadline_ms=500)) for _ in range(3)]
        await until(lambda: pool.waiting == 2)
        with pytest.raises(ChildUnavailable):
            await pool.ask(b"hello")
        assert pool.tally.refused == 1
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_callers_are_served_in_the_order_they_came() -> None:
    async with hostile(size=1) as pool:
        order: list[int] = []

        async def one(number: int) -> None:
            await pool.ask(b"tell:%d" % number)
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        assert order == list(range(20))
        assert await pool.ask(b"") == b"|".join([b"", *(b"%d" % number for number in range(20))])


async def test_a_caller_who_leaves_does_not_leave_a_looping_child_behind() -> None:
    async with hostile(size=1) as pool:
        (before,) = pool.pids
        asking = asyncio.create_task(pool.ask(b"loop", deadline_ms=LATE_MS))
        await asyncio.sleep(0)
        asking.cancel()
        await until(lambda: not is_running(before))
        assert await pool.ask(b"hello") == b""


async def test_a_broadcast_reaches_every_child_and_its_replacements() -> None:
    async with hostile(setup=b"s") as pool:
        assert await pool.broadcast(b"tell:one", key="k") == [b"s|one", b"s|one"]
        await pool.broadcast(b"tell:two", key="k")
        await pool.broadcast(b"tell:passing")
        with pytest.raises(ChildCrashed):
            await pool.ask(b"exit")
        await until(lambda: len(pool.pids) == 2)
        heard = set(await asyncio.gather(*(pool.ask(b"") for _ in range(8))))
        assert heard == {b"s|one|two|passing", b"s|two"}


async def test_a_broadcast_waits_for_a_child_at_work_and_says_who_was_lost() -> None:
    async with hostile() as pool:
        loop = asyncio.create_task(pool.ask(b"loop", deadline_ms=LATE_MS))
        await asyncio.sleep(0)
        answers = await pool.broadcast(b"tell:x")
        assert sorted(type(answer).__name__ for answer in answers) == ["ChildCrashed", "bytes"]
        with pytest.raises(ChildTimeout):
            await loop


async def test_a_pool_whose_target_refuses_its_setup_does_not_start() -> None:
    pool = ChildPool(
        name="test", target="hostile:serve", deadline_ms=100, memory_bytes=MEMORY, setup=b"refuse", sources=[HERE]
    )
    with pytest.raises(ChildUnavailable, match="expected another setup"):
        await pool.start()
    with pytest.raises(ChildUnavailable):
        await pool.ask(b"hello")


async def test_a_closed_pool_leaves_no_process_and_answers_everybody() -> None:
    async with hostile() as pool:
        pids = pool.pids
        loops = [asyncio.create_task(pool.ask(b"loop")) for _ in range(3)]
        await until(lambda: pool.waiting == 1)
        await pool.close()
        outcomes = await asyncio.gather(*loops, return_exceptions=True)
        assert {type(each) for each in outcomes} == {ChildCrashed, ChildUnavailable}
        assert not any(map(is_running, pids))
        assert pool.pids == ()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_child_inherits_nothing() -> None:
    probe = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(probe, True)
    os.environ["AEGIS_TEST_SECRET"] = "x"
    try:
        async with hostile() as pool:
            assert await pool.ask(b"descriptors") == b"socket /dev/null /dev/null"
            assert b"SECRET" not in await pool.ask(b"environment")
            assert b"PATH" not in await pool.ask(b"environment")
            assert int(await pool.ask(b"files")) <= 64
    finally:
        os.close(probe)
        del os.environ["AEGIS_TEST_SECRET"]


async def test_a_child_writes_no_file(tmp_path: Path) -> None:
    async with hostile(size=1) as pool:
        assert await pool.ask(b"write:" + bytes(tmp_path / "file")) != b"written"


async def test_a_child_reaches_no_network() -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    async with server, hostile(size=1) as pool:
        if pool.tally.by_network["open"]:
            pytest.skip("this machine permits no network namespace")
        port = server.sockets[0].getsockname()[1]
        assert await pool.ask(b"connect:%d" % port) != b"connected"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_children_end_with_a_killed_parent() -> None:
    story = f"""
import asyncio, os, sys
from pathlib import Path
from aegis.children.pool import ChildPool
async def main():
    pool = ChildPool(name="t", target="hostile:serve", deadline_ms=60_000, memory_bytes={MEMORY},
                     sources=[Path({str(HERE)!r})])
    await pool.start()
    asking = asyncio.create_task(pool.ask(b"loop"))
    await asyncio.sleep(0)
    print(*pool.pids, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    parent = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", story], capture_output=True, timeout=PATIENCE_S, check=False
    )
    pids = [int(word) for word in parent.stdout.split()]
    assert len(pids) == 2, parent.stderr
    await until(lambda: not any(map(is_running, pids)))
