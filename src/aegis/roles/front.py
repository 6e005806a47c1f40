"""The listening sockets of one machine: connections are accepted here and handed to the gateways in turn.

Measured with 8 connections opened at once and two gateways: the busier one got 94 % of them from a shared listening
socket and 66 % with SO_REUSEPORT; here it gets half. The price is about 0.1 ms for each new connection, nothing for
each request. A gateway that is killed takes no queue of connections with it, and while none is ready connections wait
instead of being refused.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
from collections.abc import Sequence

from aegis.embedded.trouble import CannotStart
from aegis.roles.supervision import Supervision

BACKLOG = 2048
AT_ONCE = 64
PAUSE_S = 0.005
READY = b"r"
CONNECTION = b"c"


def open_listeners(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """One listening socket for each address, all on the same port (0: one that is free). Raises CannotStart.

    An IPv6 loopback that the machine doesn't have is left out as long as another address works.
    """
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            listener = _listen(address, port)
            if listener is not None:
                listeners.append(listener)
                port = listener.getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"couldn't listen on port {port}: another program has it: choose another one with --port"
            ) from None
        raise CannotStart(f"couldn't listen on {address} port {port}: {error.strerror}") from None
    if not listeners:
        raise CannotStart(f"couldn't listen on {', '.join(addresses)}: the machine has none of these addresses")
    return listeners


def _listen(address: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        if family == socket.AF_INET6:
            return None
        raise
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if address == "::1" and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return listener


class Front:
    """Accepts once `expected` gateways are ready, from then on while at least one is. Lives in the supervisor's loop.

    Otherwise the first one would get, and keep, every connection that waits for the start.
    """

    def __init__(self, listeners: list[socket.socket], supervision: Supervision, *, expected: int = 1) -> None:
        self.listeners = listeners
        self.ready: list[socket.socket] = []
        """The channels of the gateways that said so, the next one in turn first."""
        self._supervision = supervision
        self._expected = expected
        self._held: socket.socket | None = None
        self._accepting = False

    @property
    def port(self) -> int:
        return int(self.listeners[0].getsockname()[1])

    def join(self, channel: socket.socket) -> None:
        """A gateway's end of its channel; it takes part once it has said that it is ready."""
        channel.setblocking(False)
        self._supervision.selector.register(channel, selectors.EVENT_READ, lambda: self._heard(channel))

    def leave(self, channel: socket.socket) -> None:
        if channel in self.ready:
            self.ready.remove(channel)
        with contextlib.suppress(KeyError, ValueError):
            self._supervision.selector.unregister(channel)
        channel.close()
        self._watch_listeners()

    def close(self) -> None:
        """No new connections from here on; those that were handed over go on."""
        self.ready.clear()
        self._watch_listeners()
        for listener in self.listeners:
            listener.close()
        if self._held is not None:
            self._held.close()

    def _heard(self, channel: socket.socket) -> None:
        try:
            said = channel.recv(16)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self.leave(channel)
        elif channel not in self.ready:
            self.ready.append(channel)
            self._watch_listeners()

    def _watch_listeners(self) -> None:
        if len(self.ready) >= self._expected:
            self._expected = 1
        wanted = len(self.ready) >= self._expected and self._held is None
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for listener in self.listeners:
            if wanted:
                self._supervision.selector.register(listener, selectors.EVENT_READ, lambda s=listener: self._accept(s))
            else:
                self._supervision.selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if not self._accepting:
                return
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # the caller left, or descriptors are short: a moment later it may work
                return
            if not self._hand_over(connection):
                self._held = connection
                self._watch_listeners()
                self._supervision.call_later(PAUSE_S, self._again)
                return

    def _again(self) -> None:
        if self._held is None or (self.ready and not self._hand_over(self._held)):
            self._supervision.call_later(PAUSE_S, self._again)
            return
        if self.ready:
            self._held = None
        elif self._held is not None:
            self._supervision.call_later(PAUSE_S, self._again)
        self._watch_listeners()

    def _hand_over(self, connection: socket.socket) -> bool:
        for _ in range(len(self.ready)):
            channel = self.ready.pop(0)
            self.ready.append(channel)
            try:
                socket.send_fds(channel, [CONNECTION], [connection.fileno()])
            except BlockingIOError:
                continue
            except OSError:
                self.leave(channel)
                continue
            connection.close()
            return True
        return False
