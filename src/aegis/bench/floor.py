"""The floor: an ASGI server that keeps one 900-byte row and answers a constant.

It has Aegis's HTTP stack (uvicorn, uvloop, httptools; one worker), its PostgreSQL and its driver, and does nothing
else: no credential, no JSON, no decision. What Aegis costs is told as a multiple of it.

    python -m aegis.bench.floor <descriptor of a listening socket> <owner's database URL>
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import asyncpg
import uvicorn

ROW = os.urandom(900)
ANSWER = b'{"verdict":"allow"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
CONNECTIONS = 8
KEEP_ALIVE_S = 75
SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE IF NOT EXISTS bench.floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line bytea NOT NULL);
"""
INSERT = "INSERT INTO bench.floor (line) VALUES ($1)"

Message = MutableMapping[str, Any]


class Floor:
    """One request, one durable row."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        while (await receive()).get("more_body"):
            pass
        assert self._pool is not None
        await self._pool.execute(INSERT, ROW)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": ANSWER})

    async def _live(
        self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        await receive()
        async with asyncpg.create_pool(self._url, min_size=CONNECTIONS, max_size=CONNECTIONS) as self._pool:
            await self._pool.execute(SCHEMA)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def main(descriptor: int, url: str) -> None:
    config = uvicorn.Config(
        Floor(url), loop="uvloop", http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
