"""A deadline that costs nothing for work that doesn't wait."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Raises TimeoutError when it waits for longer than `seconds`.

    The clock is set when `work` first waits for something: most steps of most stages never do, and setting it costs
    more than they do.
    """
    try:
        awaited = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        return await _resumed(work, awaited)


@types.coroutine
def _resumed(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """`work` from where it waits for `awaited`; the loop's answers and interruptions reach it as they come."""
    try:
        while True:
            try:
                answer = yield awaited
            except BaseException as interruption:
                awaited = work.throw(interruption)
            else:
                awaited = work.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
