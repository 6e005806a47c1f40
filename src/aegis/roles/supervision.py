"""Keeps children alive: one thread, one loop, no imports worth mentioning. A child that ends is started again.

The waits grow from 0.1 s to 5 s while a child keeps ending, and begin anew once it has lived for 30 s.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aegis.embedded.tether import Tethered
from aegis.embedded.trouble import CannotStart

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
SETTLED_S = 30.0
LOOK_AGAIN_S = 0.02


@dataclass(slots=True)
class Kept:
    """One child. `launch` starts it and returns at once; it may raise CannotStart or OSError."""

    name: str
    launch: Callable[[], Tethered]
    ended: Callable[[], None] = lambda: None
    may_launch: Callable[[], bool] = lambda: True
    """False while what it needs is not there: it waits without counting as a failure."""
    stop_signal: signal.Signals = signal.SIGTERM
    child: Tethered | None = None
    failures: int = 0
    started_at: float = 0.0
    due: float = 0.0

    def wait_s(self) -> float:
        return float(min(FIRST_WAIT_S * 2 ** min(self.failures, 10), LONGEST_WAIT_S))


@dataclass(slots=True)
class Supervision:
    """`run` returns when asked to stop by a signal, or when `until` says so. One per process: it owns the signals."""

    kept: list[Kept] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    stopping: int = 0
    """How often SIGTERM or SIGINT came: the second one hurries."""
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def add(self, kept: Kept) -> None:
        """Starts it, or takes it over when it runs already."""
        self.kept.append(kept)
        if kept.child is None:
            self._launch(kept)
        kept.started_at = time.monotonic()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.later.append((time.monotonic() + seconds, call))

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        while not self.stopping and not until():
            self.turn(restart=True)

    def turn(self, *, restart: bool, longest_s: float = 1.0) -> None:
        """One round: waits for news, serves it, notices who ended, and starts again what is due."""
        for key, _ in self.selector.select(self._wait_s(longest_s, restart)):
            key.data()
        now = time.monotonic()
        ready = [call for when, call in self.later if when <= now]
        self.later = [(when, call) for when, call in self.later if when > now]
        for call in ready:
            call()
        for kept in self.kept:
            if kept.child is not None and (status := kept.child.ended()) is not None:
                self._ended(kept, status, told=not restart)
            if restart and kept.child is None and kept.due <= time.monotonic():
                self._launch(kept)

    def stop(self, names: Callable[[str], bool], seconds: float) -> None:
        """Asks the named children to end and waits for all of them together; whoever is late is killed."""
        going = [kept for kept in self.kept if names(kept.name) and kept.child is not None]
        self.kept = [kept for kept in self.kept if not names(kept.name)]
        for kept in going:
            assert kept.child is not None
            kept.child.send(kept.stop_signal)
        asked, deadline = self.stopping, time.monotonic() + seconds
        while any(kept.child is not None and kept.child.ended() is None for kept in going):
            if time.monotonic() > deadline or self.stopping > max(asked, 1):
                break
            self.turn(restart=False, longest_s=0.05)
        for kept in going:
            if kept.child is not None and kept.child.ended() is None:
                say(f"{kept.name} did not end within {seconds:g} s and is killed")
                kept.child.stop(signal.SIGKILL, 5)
            kept.child = None
            kept.ended()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask to stop; SIGCHLD and they end a wait at once."""
        news, bell = socket.socketpair()
        news.setblocking(False)
        bell.setblocking(False)

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                while news.recv(512):
                    pass

        def asked(number: int, frame: object) -> None:
            self.stopping += 1

        before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        before_fd = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        self.selector.register(news, selectors.EVENT_READ, heard)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.selector.unregister(news)
            news.close()
            bell.close()

    def _wait_s(self, longest_s: float, restart: bool) -> float:
        times = [when for when, _ in self.later]
        if restart:
            times += [kept.due for kept in self.kept if kept.child is None]
        return max(0.0, min([longest_s, *(when - time.monotonic() for when in times)]))

    def _launch(self, kept: Kept) -> None:
        if not kept.may_launch():
            kept.due = time.monotonic() + LOOK_AGAIN_S
            return
        try:
            kept.child = kept.launch()
            kept.started_at = time.monotonic()
        except (CannotStart, OSError) as error:
            self._plan(kept, str(error))

    def _ended(self, kept: Kept, status: int, *, told: bool) -> None:
        kept.child = None
        kept.ended()
        if told:
            return
        if time.monotonic() - kept.started_at > SETTLED_S:
            kept.failures = 0
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        self._plan(kept, f"{kept.name} {how}")

    def _plan(self, kept: Kept, what: str) -> None:
        wait_s = kept.wait_s()
        kept.failures += 1
        kept.due = time.monotonic() + wait_s
        say(f"{what}; {kept.name} is started again in {wait_s:g} s")


def say(line: str) -> None:
    """One line for the terminal."""
    print(f"aegis: {line}", file=sys.stderr, flush=True)
