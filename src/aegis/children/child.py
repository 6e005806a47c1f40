"""The inside of a child: locks itself in, builds its target, then answers one frame after the other on descriptor 0.

Imports nothing but what the target needs, so that a child stays small. Started by `aegis.children.pool` only.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from aegis.children.frames import HEADER_BYTES, MAX_FRAME_BYTES, length_of, packed

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
OPEN_FILES = 64
NICE = 2
WATCH_S = 0.01


def main(target: str, memory_bytes: int, parent: int) -> None:
    """Serves until the pipe ends. An exception of the target ends the process: the pool counts it as a crash."""
    die_with(parent)
    network = leave_network()
    bound_resources(memory_bytes)
    setup = read_frame()
    if setup is None:
        return
    try:
        module, name = target.split(":")
        answer: Callable[[bytes], bytes] = getattr(import_module(module), name)(setup)
    except Exception as error:  # whatever it is, the pool must hear why no child starts
        write_frame(json.dumps({"failed": f"{type(error).__name__}: {error}"[:2000]}).encode())
        return
    gc.collect()
    gc.freeze()
    write_frame(json.dumps({"network": network}).encode())
    while (request := read_frame()) is not None:
        write_frame(answer(request))


def die_with(parent: int) -> None:
    """The kernel kills this process when the parent's thread ends; a parent that is gone already is noticed."""
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def leave_network() -> str:
    """Moves into an empty network namespace where that is permitted: `namespace`, `user namespace` or `open`.

    Must run while the process has one thread: a user namespace is refused to processes with more.
    """
    if sys.platform != "linux":
        return "open"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) == 0:
        return "namespace"
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        return "user namespace"
    return "open"


def bound_resources(memory_bytes: int) -> None:
    """RLIMIT_DATA caps private writable memory, which Go's reserved address space is not part of (RLIMIT_AS would be).

    Files can't be written (their largest size is 0), no core is left, and this process goes first when memory ends.
    """
    os.nice(NICE)
    os.umask(0o077)
    for kind, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(kind, (most, most))
    if sys.platform == "linux":
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _go_first()
    else:
        _watch_memory(memory_bytes)


def read_frame() -> bytes | None:
    """The next frame's bytes, None at the end of the pipe."""
    header = _read(HEADER_BYTES)
    return None if header is None else _read(length_of(header))


def write_frame(payload: bytes) -> None:
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"couldn't answer: expected at most {MAX_FRAME_BYTES} bytes, got {len(payload)}")
    rest = memoryview(packed(payload))
    while rest:
        rest = rest[os.write(0, rest) :]


def _read(size: int) -> bytes | None:
    first = os.read(0, size) if size else b""
    if len(first) == size:
        return first
    parts, got = [first], len(first)
    while got < size:
        part = os.read(0, min(size - got, 1 << 20))
        if not part:
            return None
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def _go_first() -> None:
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, b"1000")
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _watch_memory(memory_bytes: int) -> None:
    """For systems whose kernel doesn't hold RLIMIT_DATA: a thread that ends the process at the cap."""
    import threading  # not needed elsewhere
    import time

    def watch() -> None:
        while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < memory_bytes:
            time.sleep(WATCH_S)
        os._exit(137)

    threading.Thread(target=watch, daemon=True).start()


def echo(setup: bytes) -> Callable[[bytes], bytes]:
    """A target that answers `setup` and the request; what the pool's overhead is measured with."""

    def answer(request: bytes) -> bytes:
        return setup + request

    return answer


def arguments(argv: list[str]) -> tuple[Any, ...]:
    target, memory_bytes, parent = argv
    return target, int(memory_bytes), int(parent)
