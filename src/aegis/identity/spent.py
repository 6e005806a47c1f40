"""Single-use credentials: each is spent once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aegis.kernel.call import Principal
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.problems import Problem

SPEND_S = 1.0
LONGEST_US = 24 * 3600 * 1_000_000
LEEWAY_US = 60 * 1_000_000


class SpentUnavailable(Exception):
    """Whether it was spent couldn't be found out: the call is to be refused."""


class Spent:
    """Atomic: of two processes that spend the same token, one is told that it came second.

    `name` gives the store's key for tenant and credential: the one that stage 2's script spends calls under, so that a
    token is good for one request of any kind.
    """

    def __init__(self, client: Redis, clock: Callable[[], MicroSeconds], name: Callable[[str, str], str]) -> None:
        self._client, self._clock, self._name = client, clock, name

    async def spend(self, principal: Principal) -> None:
        """What stage 2 does for calls, for every other request. Raises Problem 401 for a token that was used before,
        503 when that can't be known."""
        try:
            is_replayed = await self.is_replayed(principal)
        except SpentUnavailable:
            raise Problem(503, "auth.unavailable", "the credential couldn't be checked", retry_after_s=1) from None
        if is_replayed:
            raise Problem(401, "auth.replayed", "this single-use token was used before")

    async def is_replayed(self, principal: Principal) -> bool:
        """Spends a single-use credential; others are never replayed. Raises SpentUnavailable.

        A token that outlives the replay window of a day can't be remembered long enough and counts as replayed.
        """
        if not principal.single_use:
            return False
        left_us = (principal.expires_at or self._clock() + 2 * LONGEST_US) - self._clock()
        if left_us > LONGEST_US:
            return True
        key = self._name(principal.tenant, principal.credential)
        try:
            async with asyncio.timeout(SPEND_S):
                was_new = await self._client.set(key, b"1", nx=True, px=max(1, (left_us + LEEWAY_US) // 1000))
        except (TimeoutError, OSError, RedisError) as error:
            raise SpentUnavailable("couldn't spend a token") from error
        return not was_new
