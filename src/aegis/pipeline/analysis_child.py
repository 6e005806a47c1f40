"""One child for all reading of hostile text: parsers of code and the scanners. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable

from aegis.children.pool import ChildPool
from aegis.inspection import child as inspection
from aegis.policy.hard_deny import child as parsers

PARSE, INSPECT = b"p", b"i"


def serve(setup: bytes) -> Callable[[bytes], bytes]:
    """The child's target."""
    answers = {PARSE: parsers.serve(setup), INSPECT: inspection.serve(setup)}

    def answer(request: bytes) -> bytes:
        return answers[request[:1]](request[1:])

    return answer


class Analysts:
    """A pool of such children, seen as one of the two rooms in it. Raises what the pool raises."""

    def __init__(self, pool: ChildPool, room: bytes) -> None:
        self._pool, self._room = pool, room

    async def ask(self, payload: bytes, *, key: str = "") -> bytes:
        return await self._pool.ask(self._room + payload, key=key)
