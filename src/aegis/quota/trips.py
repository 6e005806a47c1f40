"""Scripts that are run together: calls that come while a trip to the store is under way share the next one.

A trip costs two system calls on either side, whatever it carries: under load most of a take was that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

MOST_TOGETHER = 64


@dataclass(eq=False, slots=True)
class _Waiting:
    keys: Sequence[str | bytes]
    ask: bytes
    answer: asyncio.Future[Any]


class Trips:
    """One script of one store; a trip ends after `deadline_s` at the latest. Callers bring a deadline of their own."""

    def __init__(self, client: Redis, script: AsyncScript, deadline_s: float) -> None:
        self._client, self._script, self._deadline_s = client, script, deadline_s
        self._under_way = False
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, keys: Sequence[str | bytes], ask: bytes) -> Any:
        """What the script answers. Raises RedisError, OSError or TimeoutError."""
        if self._under_way:
            waiting = _Waiting(keys, ask, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            return await waiting.answer
        self._under_way = True
        try:
            return await self._script(keys=keys, args=(ask,))
        finally:
            self._next()

    def _next(self) -> None:
        """Sends off those who wait; none of them waits for anybody who gave up."""
        waiting = [each for each in self._waiting if not each.answer.done()]
        together, self._waiting = waiting[:MOST_TOGETHER], waiting[MOST_TOGETHER:]
        self._under_way = bool(together)
        if together:
            self._task = asyncio.create_task(self._go(together), name="quota.trip")

    async def _go(self, together: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                answers = await self._asked(together)
        except (RedisError, OSError, TimeoutError) as error:
            answers = [error] * len(together)
        finally:
            self._next()
        for each, answer in zip(together, answers, strict=True):
            if each.answer.done():
                continue
            if isinstance(answer, Exception):
                each.answer.set_exception(answer)
            else:
                each.answer.set_result(answer)

    async def _asked(self, together: list[_Waiting]) -> list[Any]:
        if len(together) == 1:
            return [await self._script(keys=together[0].keys, args=(together[0].ask,))]
        async with self._client.pipeline(transaction=False) as pipe:
            for each in together:
                pipe.evalsha(self._script.sha, len(each.keys), *each.keys, each.ask)
            answers = await pipe.execute(raise_on_error=False)
        for n, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):  # nothing was run: the store started again and forgot its scripts
                answers[n] = await self._script(keys=together[n].keys, args=(together[n].ask,))
        return answers
