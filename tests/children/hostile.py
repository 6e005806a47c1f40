"""A target that does what it is told, for the tests of the pool."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable
from typing import NoReturn


def serve(setup: bytes) -> Callable[[bytes], bytes]:
    if setup == b"refuse":
        raise ValueError("expected another setup")
    heard: list[bytes] = []

    def answer(request: bytes) -> bytes:
        word, _, rest = request.partition(b":")
        if word == b"tell":
            heard.append(rest)
        return DEEDS[word](rest) if word in DEEDS else b"|".join((setup, *heard))

    return answer


def _loop(_: bytes) -> NoReturn:
    while True:
        pass


def _sleep(_: bytes) -> bytes:
    time.sleep(60)
    return b""


def _eat(_: bytes) -> bytes:
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))


def _exit(_: bytes) -> NoReturn:
    os._exit(3)


def _fail(_: bytes) -> bytes:
    raise RuntimeError("expected nothing, got this")


def _twice(_: bytes) -> bytes:
    os.write(0, b"\0\0\0\1x\0\0\0\1y")
    os._exit(0)


def _endless(_: bytes) -> bytes:
    os.write(0, b"\xff\xff\xff\xff")
    return _loop(b"")


def _descriptors(_: bytes) -> bytes:
    kinds = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            kinds.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
        except OSError:
            continue
    return " ".join(kinds).encode()


def _connect(rest: bytes) -> bytes:
    try:
        socket.create_connection(("127.0.0.1", int(rest)), timeout=1).close()
    except OSError as error:
        return type(error).__name__.encode()
    return b"connected"


def _write(rest: bytes) -> bytes:
    try:
        with open(rest, "wb") as file:
            file.write(b"x" * 10)
    except OSError as error:
        return type(error).__name__.encode()
    return b"written"


DEEDS: dict[bytes, Callable[[bytes], bytes]] = {
    b"loop": _loop,
    b"sleep": _sleep,
    b"eat": _eat,
    b"exit": _exit,
    b"fail": _fail,
    b"twice": _twice,
    b"endless": _endless,
    b"descriptors": _descriptors,
    b"connect": _connect,
    b"write": _write,
    b"pid": lambda _: str(os.getpid()).encode(),
    b"environment": lambda _: " ".join(sorted(os.environ)).encode(),
    b"grow": lambda rest: b"x" * int(rest),
    b"files": lambda _: str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]).encode(),
}
