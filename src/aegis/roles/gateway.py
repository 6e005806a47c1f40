"""A gateway process: every door. Straight-line construction, then uvicorn until it is asked to drain.

Run by `aegis up` with a `channel`, in production with listening `sockets`; see `roles.serving.serve`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence

from aegis.config import Config
from aegis.db.database import Database
from aegis.roles.serving import Application, Message, Scope, serve

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def main(config: Config, *, sockets: Sequence[socket.socket] = (), channel: socket.socket | None = None) -> None:
    """Returns after draining. Raises SystemExit(3) when something it needs can't be had at the start."""
    serve(application(config), config, sockets=sockets, channel=channel)


def application(config: Config) -> Application:
    opened: list[Database] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            opened.append(await Database.connect(config.database_url, max_size=config.gateway.database_connections))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await opened.pop().close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        status = 404
        if scope["path"] == "/healthz":
            status = 200
        elif scope["path"] == "/readyz":
            status = 200 if await _answers(opened[0]) else 503
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return app


async def _answers(database: Database) -> bool:
    try:
        async with database.unscoped() as connection:
            return bool(await connection.fetchval("SELECT true"))
    except Exception:
        return False
