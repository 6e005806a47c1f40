"""Keys of configured issuers: fetched when needed, cached, and never fetched because a stranger asks often."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aegis.identity.jws import Refused, VerifyKey, read_key_set
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.tenancy import Issuer

Fetch = Callable[[str], Awaitable[bytes]]
"""The body at an address, size-capped and kept off private networks by whoever gives it. Raises OSError."""

FETCH_S = 3.0
MAX_BYTES = 256 * 1024
MAX_SETS = 1024
FRESH_US = 3600 * 1_000_000
STALE_US = 24 * 3600 * 1_000_000
"""How old a set may become while its address doesn't answer."""
REFETCH_US = 60 * 1_000_000


class KeysUnavailable(Exception):
    """The issuer's keys couldn't be read, and there are none from before."""


@dataclass(slots=True)
class _Set:
    keys: tuple[VerifyKey, ...] | None = None
    fetched_at: MicroSeconds = -STALE_US
    tried_at: MicroSeconds = -REFETCH_US


class KeySets:
    """One set an issuer. An unknown `kid` leads to at most one fetch a minute."""

    def __init__(self, fetch: Fetch, clock: Callable[[], MicroSeconds]) -> None:
        self._fetch, self._clock = fetch, clock
        self._sets: OrderedDict[tuple[str, str], _Set] = OrderedDict()
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def key(self, issuer: Issuer, kid: str | None, algorithm: str) -> VerifyKey:
        """Raises Refused for a key that the issuer doesn't have, KeysUnavailable when it can't be asked."""
        if algorithm not in issuer.algorithms or algorithm not in ("RS256", "ES256"):
            raise Refused("auth.algorithm", f"expected one of {', '.join(issuer.algorithms)}")
        held = self._held(issuer)
        if self._clock() - held.fetched_at > FRESH_US:
            await self._read(issuer, held)
        found = _choose(held.keys, kid, algorithm)
        if found is None:
            await self._read(issuer, held)
            found = _choose(held.keys, kid, algorithm)
        if held.keys is None or self._clock() - held.fetched_at > STALE_US:
            raise KeysUnavailable(f"couldn't read the keys of issuer {issuer.id}")
        if found is None:
            raise Refused("auth.key_unknown", "the issuer has no such key")
        return found

    def _held(self, issuer: Issuer) -> _Set:
        place = (issuer.id, issuer.jwks_uri)
        held = self._sets.get(place)
        if held is None:
            held = self._sets[place] = _Set()
            while len(self._sets) > MAX_SETS:
                self._sets.popitem(last=False)
        self._sets.move_to_end(place)
        return held

    async def _read(self, issuer: Issuer, held: _Set) -> None:
        """Callers that come together wait for one fetch; a set that can't be had leaves the old one."""
        place = (issuer.id, issuer.jwks_uri)
        lock = self._locks.setdefault(place, asyncio.Lock())
        try:
            async with lock:
                now = self._clock()
                if now - held.tried_at < REFETCH_US:
                    return
                held.tried_at = now
                try:
                    async with asyncio.timeout(FETCH_S):
                        body = await self._fetch(issuer.jwks_uri)
                    if len(body) > MAX_BYTES:
                        raise ValueError(f"expected at most {MAX_BYTES} bytes")
                    held.keys, held.fetched_at = read_key_set(body), now
                except (OSError, TimeoutError, ValueError):
                    return
        finally:
            if not lock.locked():
                self._locks.pop(place, None)


def _choose(keys: tuple[VerifyKey, ...] | None, kid: str | None, algorithm: str) -> VerifyKey | None:
    """By `kid`; a token without one fits only where there is no choice. The algorithm is checked with the key."""
    if kid is not None:
        return next((key for key in keys or () if key.kid == kid), None)
    fitting = [key for key in keys or () if key.algorithm == algorithm]
    return fitting[0] if len(fitting) == 1 else None
