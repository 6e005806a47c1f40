from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from aegis.pipeline.deadline import within


async def _said(word: str) -> str:
    return word


async def test_work_that_never_waits_is_answered_at_once() -> None:
    assert await within(0.0, _said("done")) == "done"


async def test_work_that_waits_goes_on_where_it_was() -> None:
    async def work() -> list[str]:
        words = [await _said("before")]
        await asyncio.sleep(0)
        for word in await asyncio.gather(_said("one"), _said("two")):
            words.append(word)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(answer.set_result, "after")
        return [*words, await answer]

    assert await within(5.0, work()) == ["before", "one", "two", "after"]


async def test_work_that_waits_too_long_is_told_and_ended() -> None:
    told = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert told == ["cancelled"]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
async def test_what_work_raises_is_raised(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await within(5.0, work())


async def test_a_caller_that_is_cancelled_cancels_the_work() -> None:
    told, waiting = [], asyncio.Event()

    async def work() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            told.append("ended")

    task = asyncio.create_task(within(5.0, work()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["ended"]


async def test_deadlines_nest_and_the_context_is_the_callers() -> None:
    word: ContextVar[str] = ContextVar("word", default="")
    word.set("mine")

    async def inner() -> None:
        await asyncio.Event().wait()

    async def work() -> str:
        with pytest.raises(TimeoutError):
            await within(0.01, inner())
        return word.get()

    assert await within(5.0, work()) == "mine"
