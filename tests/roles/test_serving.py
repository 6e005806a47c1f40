from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis.roles.front import CONNECTION, READY

APPLICATION = """
import asyncio, pathlib, socket, sys
from aegis.config import Config
from aegis.roles.serving import serve

kind, number, gate = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        print("up", flush=True)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        print("down", flush=True)
        return
    print("asked", flush=True)
    while scope["path"] == "/slow" and not gate.exists():
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})

given = socket.socket(fileno=number)
if kind == "sockets":
    serve(app, Config(), sockets=[given])
else:
    serve(app, Config(), channel=given)
"""


class Served:
    def __init__(self, kind: str, given: socket.socket, gate: Path) -> None:
        self.gate = gate
        self.process = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, kind, str(given.fileno()), gate],
            stdout=subprocess.PIPE,
            pass_fds=[given.fileno()],
            text=True,
        )
        assert self.line() == "up"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.gate.touch()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[Served, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Served("sockets", listener, tmp_path / "gate")
        port = listener.getsockname()[1]
    yield served, port
    served.end()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[tuple[Served, socket.socket]]:
    ours, theirs = socket.socketpair()
    with theirs:
        served = Served("channel", theirs, tmp_path / "gate")
    ours.settimeout(20)
    assert ours.recv(1) == READY
    yield served, ours
    ours.close()
    served.end()


def _ask(call: socket.socket, path: str) -> None:
    call.settimeout(20)
    call.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def _answer(call: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"done"):
        part = call.recv(4096)
        if not part:
            break
        said += part
    return said


def _hand_over(channel: socket.socket) -> socket.socket:
    """Our end of a connection whose other end went through the channel."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        call = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    with accepted:
        socket.send_fds(channel, [CONNECTION], [accepted.fileno()])
    return call


def test_a_request_in_flight_is_answered_after_sigterm_and_nothing_new_is_taken(listening: tuple[Served, int]) -> None:
    served, port = listening
    with socket.create_connection(("127.0.0.1", port)) as call:
        _ask(call, "/slow")
        assert served.line() == "asked"
        served.process.send_signal(signal.SIGTERM)
        refused = False
        while not refused:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                refused = True
        served.gate.touch()
        assert _answer(call).startswith(b"HTTP/1.1 200")
    assert served.process.wait(20) == 0
    assert served.line() == "down"


def test_connections_come_through_the_channel(supervised: tuple[Served, socket.socket]) -> None:
    _, channel = supervised
    with _hand_over(channel) as first, _hand_over(channel) as second:
        for call in (first, second, first):
            _ask(call, "/")
            assert _answer(call).startswith(b"HTTP/1.1 200")


def test_the_end_of_the_channel_drains(supervised: tuple[Served, socket.socket]) -> None:
    served, channel = supervised
    with _hand_over(channel) as call:
        _ask(call, "/slow")
        assert served.line() == "asked"
        channel.close()
        served.gate.touch()
        assert _answer(call).startswith(b"HTTP/1.1 200")
    assert served.process.wait(20) == 0


def test_what_was_handed_over_before_sigterm_is_served(supervised: tuple[Served, socket.socket]) -> None:
    served, channel = supervised
    served.process.send_signal(signal.SIGSTOP)
    with _hand_over(channel) as call:
        _ask(call, "/")
        served.process.send_signal(signal.SIGTERM)
        served.process.send_signal(signal.SIGCONT)
        assert _answer(call).startswith(b"HTTP/1.1 200")
    assert served.process.wait(20) == 0
