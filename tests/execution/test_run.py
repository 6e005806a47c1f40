"""What `Execution` makes of targets that misbehave. The targets here are small ones of the port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aegis.execution.credentials import Credentials, Secret
from aegis.execution.run import Execution
from aegis.execution.targets import Answer, Effect, Result, Run, Stop
from aegis.kernel.tenancy import Tool, Upstream

UPSTREAM = Upstream("x", "http", "http://x", timeout_ms=5_000)
Behaviour = Callable[[Run], Awaitable[Answer]]


class Small:
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.seen: list[Run] = []

    async def run(self, run: Run, upstream: Upstream, credential: Secret | None) -> Answer:
        self.seen.append(run)
        return await self.behaviour(run)

    async def close(self) -> None:
        return None


async def execute(behaviour: Behaviour, upstream: Upstream = UPSTREAM, **more: object) -> tuple[Result, Small]:
    target = Small(behaviour)
    execution = Execution({"http": target}, Credentials())
    result = await execution.run("t", Tool("x", "write"), {}, None, upstream, **more)  # type: ignore[arg-type]
    return result, target


@pytest.mark.parametrize(
    ("effect", "status", "failure"),
    [
        ("none", "error", "execute.failed"),
        ("unknown", "unknown", "execute.unknown"),
        ("done", "error", "execute.failed"),
    ],
)
async def test_a_target_that_fails_in_its_own_way_is_a_result_too(effect: Effect, status: str, failure: str) -> None:
    async def breaks(run: Run) -> Answer:
        run.progress.effect = effect
        raise RuntimeError("text of an inner exception")

    result, _ = await execute(breaks)
    assert (result.status, result.failure, result.effect) == (status, failure, effect)
    assert result.findings[0].evidence == {"error": "RuntimeError"}
    assert "inner" not in repr(result)


async def test_a_target_that_cancels_itself_is_a_result_too() -> None:
    async def cancels(run: Run) -> Answer:
        raise asyncio.CancelledError

    result, _ = await execute(cancels)
    assert result.failure == "execute.failed"


async def test_a_target_that_will_not_be_cancelled_is_left_behind() -> None:
    release = asyncio.Event()

    async def clings(run: Run) -> Answer:
        run.progress.effect = "unknown"
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Answer(None)

    result, _ = await execute(clings, deadline_ms=50)
    release.set()
    assert (result.status, result.failure, result.effect) == ("unknown", "execute.timeout", "unknown")


@pytest.mark.parametrize(
    ("timeout_ms", "deadline_ms", "limit_ms"),
    [(5_000, None, 5_000), (5_000, 100, 100), (100, 5_000, 100), (10_000_000, None, 600_000)],
)
async def test_the_shortest_limit_holds(timeout_ms: int, deadline_ms: int | None, limit_ms: int) -> None:
    async def answers(run: Run) -> Answer:
        return Answer(run.deadline_ms)

    upstream = Upstream("x", "http", "http://x", timeout_ms=timeout_ms, max_bytes=2**40)
    result, target = await execute(answers, upstream, deadline_ms=deadline_ms)
    assert result.output == limit_ms
    assert target.seen[0].max_bytes == 64 * 1024 * 1024


async def test_the_first_reason_of_a_stop_stands() -> None:
    stop = Stop()
    stop.pull("cancelled")
    stop.pull("killed")
    assert await stop.wait() == "cancelled"
