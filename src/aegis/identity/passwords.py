"""Passwords as argon2id (RFC 9106, the profile for little memory: 64 MiB, three passes, four lanes)."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

MAX_PASSWORD = 1024
MIN_PASSWORD = 12
AT_ONCE = 2
MAX_WAITING = 32
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=32, salt_len=16)
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$cG9sYXJpcy1uby1ib2R5$9V3r1zG1y7m0o6D1Yj0q0Z1g4mR0q3n8s0K2V5c9b4E"


class TooManyAtOnce(Exception):
    """More passwords wait to be checked than this process takes on."""


def hash_password(text: str) -> str:
    """Takes about 50 ms of a core; not for the event loop."""
    return _HASHER.hash(text)


def matches(stored: str | None, text: str) -> bool:
    """As slow for nobody's password as for somebody's. Not for the event loop."""
    try:
        is_right = _HASHER.verify(stored or _NOBODY, text)
    except (Argon2Error, InvalidHashError):
        return False
    return is_right and stored is not None


class PasswordChecks:
    """Checks passwords in threads, two at once: guessing can't take the whole machine."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def matches(self, stored: str | None, text: str) -> bool:
        """Raises TooManyAtOnce. A text over 1,024 characters never matches."""
        if len(text) > MAX_PASSWORD:
            return False
        if self._waiting >= MAX_WAITING:
            raise TooManyAtOnce
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(matches, stored, text)
        finally:
            self._waiting -= 1
