"""An ASGI application on uvicorn (uvloop, httptools), on sockets of its own or on connections from `aegis up`.

What the channel of a supervised process carries: from here one byte `r` once the application's lifespan has started;
to here one byte `c` with the descriptor of each connection; its end means that the supervisor is gone: drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any

import uvicorn

from aegis.config import Config
from aegis.roles.front import READY
from aegis.surfaces.asgi import DRAINING

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

AT_ONCE = 64
KEEP_ALIVE_S = 75


def serve(
    application: Application,
    config: Config,
    *,
    sockets: Sequence[socket.socket] = (),
    channel: socket.socket | None = None,
) -> None:
    """Serves until SIGTERM, SIGINT or the end of `channel`; then takes nothing new, lets requests in flight end
    within `gateway.drain_s`, and ends the lifespan. The application must handle the scope `lifespan`.

    Raises SystemExit(3) when the lifespan can't start.
    """
    server = _Server(
        uvicorn.Config(
            application,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            limit_concurrency=config.gateway.max_connections,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(config.gateway.drain_s)),
        ),
        channel,
    )
    server.run(sockets=list(sockets))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, channel: socket.socket | None) -> None:
        super().__init__(config)
        self._channel = channel
        self._arriving: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._drain)
        self.lifespan.state[DRAINING] = self._draining
        await super().startup(sockets=sockets)
        if self._channel is not None and self.started:
            self._channel.setblocking(False)
            loop.add_reader(self._channel.fileno(), self._take, self._channel)
            self._channel.send(READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._take(self._channel)  # what was handed over already is served
            if self._arriving:
                await asyncio.wait(self._arriving)
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # ours end the process with status 0
        yield

    def _drain(self) -> None:
        self.should_exit = True
        self._draining.set()

    def _take(self, channel: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                data, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            for descriptor in descriptors:
                task = asyncio.ensure_future(self._connect(socket.socket(fileno=descriptor)))
                self._arriving.add(task)
                task.add_done_callback(self._arriving.discard)
            if not data:
                asyncio.get_running_loop().remove_reader(channel.fileno())
                self._drain()
                return

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # the caller has left already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made
