"""The analysing children, seen from a gateway: it asks and never imports what they read hostile text with."""

from __future__ import annotations

from aegis.children.pool import ChildPool

TARGET = "aegis.pipeline.analysis_child:serve"
PARSE, INSPECT = b"p", b"i"


class Analysts:
    """A pool of such children, seen as one of the two rooms in it. Raises what the pool raises."""

    def __init__(self, pool: ChildPool, room: bytes) -> None:
        self._pool, self._room = pool, room

    async def ask(self, payload: bytes, *, key: str = "") -> bytes:
        return await self._pool.ask(self._room + payload, key=key)
