"""Kill orders that met a dead database: a file each, fsynced, until the log has them."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from aegis.kernel.clock import MicroSeconds
from aegis.kernel.ids import uuid7

MAX_ORDERS = 1000
_NAME = re.compile(r"[0-9a-f-]{36}\.kill")


class SpoolFull(Exception):
    """No more orders are taken before some are logged."""


@dataclass(frozen=True, slots=True)
class Order:
    id: str
    tenant: str
    scope: str
    reason: str
    by: str
    at: MicroSeconds


class Spool:
    """A folder of this host, shared by its processes.

    An order is whole or absent: written aside, synced, renamed, synced.
    """

    def __init__(self, folder: Path, clock: Callable[[], MicroSeconds]) -> None:
        self._folder, self._clock = folder, clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(self, tenant: str, scope: str, reason: str, by: str) -> Order:
        """Durable when it returns. Raises SpoolFull or OSError."""
        if len(self._names()) >= MAX_ORDERS:
            raise SpoolFull(f"expected fewer than {MAX_ORDERS} orders in the spool")
        order = Order(uuid7(), tenant, scope, reason, by, self._clock())
        scratch = self._folder / f".{order.id}"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, json.dumps(asdict(order)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        scratch.rename(self._folder / f"{order.id}.kill")
        self._sync()
        return order

    def orders(self) -> tuple[Order, ...]:
        """In the order in which they were given. A file that is none of ours is set aside as `.unreadable`."""
        found = []
        for name in self._names():
            path = self._folder / name
            try:
                found.append(Order(**json.loads(path.read_bytes())))
            except FileNotFoundError:
                continue  # another process of this host was done with it
            except (ValueError, TypeError):
                path.rename(path.with_suffix(".unreadable"))
        return tuple(found)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this process alone merges meanwhile; the lock goes with the process."""
        descriptor = os.open(self._folder / ".merging", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def refused(self, order: Order) -> None:
        """Sets aside an order that the log doesn't take, for a person to look at."""
        path = self._folder / f"{order.id}.kill"
        path.rename(path.with_suffix(".refused"))
        self._sync()

    def done(self, order: Order) -> None:
        (self._folder / f"{order.id}.kill").unlink(missing_ok=True)
        self._sync()

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._folder.iterdir() if _NAME.fullmatch(entry.name))

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
